"use strict";

const EVERY = 2_000;
const origin = document.getElementById("origin");
const status = document.getElementById("status");
const newest = document.getElementById("newest");

origin.textContent = location.origin;

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
    const response = await fetch("/status.json", { signal: AbortSignal.timeout(10_000) });
    if (!response.ok) throw new Error(`the node answers ${response.status}`);
    show(await response.json());
  } catch (error) {
    showStatus([["status", `no answer from the node: ${error.message}`]]);
  }
  setTimeout(refresh, EVERY);
}

refresh();
