"use strict";

const EVERY = 2_000;
const origin = document.getElementById("origin");
const status = document.getElementById("status");
const newest = document.getElementById("newest");

const token = takeToken();

origin.textContent = location.origin;

/** The token of the link that `cairn token` shows. It stays in this tab, and not in the address bar. */
function takeToken() {
  const came = new URLSearchParams(location.hash.slice(1)).get("token");
  if (came !== null) {
    sessionStorage.setItem("token", came);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("token");
}

function element(name, text) {
  const created = document.createElement(name);
  created.textContent = text;
  return created;
}

function showStatus(rows) {
  status.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function show(answer) {
  const { node, name, totals, links, relays, known_nodes: nodes, held } = answer.status;
  const relay = relays.map(({ url, state }) => `${url} (${state})`).join(", ");
  showStatus([
    ["node", node],
    ["ledger", name],
    ["entries", `${totals.entries} in ${totals.blocks} blocks`],
    ["nodes known", String(nodes.length)],
    ["links", `${links.length}, ${held.nodes} hold everything this node wrote`],
    ["relay", relay || "none"],
  ]);
  const items = answer.newest.map((entry) => {
    const data = JSON.stringify(entry.data);
    return element("li", `${entry.timestamp} ${data.length > 400 ? `${data.slice(0, 400)} …` : data}`);
  });
  newest.replaceChildren(...(items.length > 0 ? items.reverse() : [element("li", "none yet")]));
}

async function refresh() {
  try {
    const headers = token === null ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch("/status.json", { headers, signal: AbortSignal.timeout(10_000) });
    if (response.status === 401) {
      // Asking again would give no other answer.
      const what = token === null ? "this node wants a token" : "this node has another token";
      return showStatus([["status", `${what}: open the link that "cairn token" shows where it runs`]]);
    }
    if (!response.ok) throw new Error(`the node answers ${response.status}`);
    show(await response.json());
  } catch (error) {
    showStatus([["status", `no answer from the node: ${error.message}`]]);
  }
  setTimeout(refresh, EVERY);
}

refresh();
