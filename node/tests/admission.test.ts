/** Who may come in: a token where others reach the node, hosts, origins, and how much stands at the door. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";

import { io, type Socket } from "socket.io-client";
import { expect } from "vitest";
import { WebSocket } from "ws";

import { environment } from "../../scripts/environment.mjs";
import { test } from "../../test/e2e/fixture.js";
import { event, nodeBinary, until, type World } from "../../test/e2e/harness.js";

/** ms that a connection has to come in. */
const HANDSHAKE = 5_000;
/** Connections of one address that may stand at the door of a node that wants a token. */
const AT_THE_DOOR = 256;

/** A node that wants a token, by an address of it that can be called. */
interface Guarded {
  readonly url: string;
  readonly port: number;
  readonly data: string;
  readonly token: string;
}

/** `cairn token` for a data directory. */
async function showToken(data: string, ...more: string[]): Promise<string> {
  const args = ["token", "--json", "--data", data, ...more];
  const { stdout } = await promisify(execFile)(nodeBinary(), args, { env: environment({}) });
  return (JSON.parse(stdout) as { token: string }).token;
}

/** All addresses of this machine are "elsewhere", because others reach some of them; 127.0.0.2 would not be. */
async function guarded(world: World, ...args: string[]): Promise<Guarded> {
  const { data, port } = await world.node({ listen: "0.0.0.0:0", args });
  return { url: `http://127.0.0.1:${port}`, port, data, token: await showToken(data) };
}

/** Why a connection is refused. */
async function refusal(world: World, url: string, auth: object, namespace = "/", transport = "websocket"): Promise<string> {
  const options = { auth, transports: [transport], forceNew: true, reconnection: false };
  const socket = io(new URL(namespace, url).href, options);
  world.onClose(() => void socket.disconnect());
  const connected = event(socket, "connect").then(() => "it was let in");
  return Promise.race([connected, event<Error>(socket, "connect_error").then((error) => error.message)]);
}

/** A plain Engine.IO connection: what it gets, and when it ends. */
function raw(world: World, url: string, onOpen: (socket: WebSocket) => void = () => {}): { got: string[]; closed: Promise<void> } {
  const socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  world.onClose(() => socket.terminate());
  const got: string[] = [];
  socket.on("error", () => {});
  socket.on("message", (data) => {
    const text = String(data);
    if (text === "2") return socket.send("3");
    if (text.startsWith("0{")) onOpen(socket);
    got.push(text);
  });
  return { got, closed: new Promise((resolve) => socket.on("close", () => resolve())) };
}

/** A request with any Host, which `fetch` does not send. */
function ask(port: number, path: string, headers: Record<string, string>): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path, headers, setHost: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("end", () => resolve({ status: response.statusCode!, body }));
    });
    asked.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode!, body: "" });
    });
    asked.on("error", reject).end();
  });
}

const UPGRADE = {
  connection: "upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

const ROUTES: readonly (readonly [path: string, status: number, headers: Record<string, string>])[] = [
  ["/", 200, {}],
  ["/healthz", 200, {}],
  ["/status.json", 200, {}],
  ["/metrics", 200, {}],
  ["/nothing", 404, {}],
  ["/control/ledgers", 401, {}],
  ["/socket.io/?EIO=4&transport=polling", 200, {}],
  ["/socket.io/?EIO=4&transport=websocket", 101, UPGRADE],
];

test("on its own machine a node wants no token, and takes any", async ({ world }) => {
  const node = await world.node();
  for (const auth of [{}, { token: "abcd" }, { token: 7 }]) {
    let answered: unknown;
    const socket = await world.socket(node, { auth }, (socket) => socket.on("auth", (value) => (answered = value)));
    await until(() => answered !== undefined, "the auth was answered");
    expect(answered).toEqual(auth);
    expect(await socket.emitWithAck("add_ledger_entry", 1)).toMatchObject({ ok: true });
  }
  expect((await fetch(`${node.url}/status.json`)).status).toBe(200);
  expect(existsSync(join(node.data, "client.token"))).toBe(false);
});

test.for(["websocket", "polling"])("over %s only the right token lets a client of elsewhere in", async (transport, { world }) => {
  const node = await guarded(world);
  for (const [auth, came] of [
    [{}, "no token came"],
    [{ token: 7 }, "no token came"],
    [{ token: "" }, "of 0 bytes"],
    [{ token: "abcd" }, "of 4 bytes"],
    [{ token: node.token.slice(1) }, "of 63 bytes"],
    [{ token: node.token.replace(/^./, (digit) => (digit === "0" ? "1" : "0")) }, "of 64 bytes"],
  ] as const) {
    for (const namespace of ["/", "/p2p"]) {
      const message = await refusal(world, node.url, { node_id: "a", ...auth }, namespace, transport);
      expect(message).toMatch(/^unauthorized: .*; \{token\} in the auth of the connection is expected/);
      expect(message).toContain(came);
    }
  }
  const socket = await world.socket(node, { auth: { token: node.token }, transports: [transport] });
  expect(await socket.emitWithAck("add_ledger_entry", 1)).toMatchObject({ ok: true });
  await world.socket(node, { namespace: "/p2p", auth: { node_id: "a", token: node.token } });
});

test("who does not come in gets nothing, and is closed in time", async ({ world }) => {
  const node = await guarded(world);
  const began = Date.now();
  const wrong = raw(world, node.url, (socket) => {
    // What is sent as if it had come in is nobody's.
    for (const packet of ['40{"token":"wrong"}', "40", '40/p2p,{"node_id":"a"}']) socket.send(packet);
    socket.send('40/nowhere,{"token":"wrong"}');
  });
  const silent = raw(world, node.url);
  await until(() => wrong.got.length >= 4 && silent.got.length === 1, "the connections are there");
  const right = await world.socket(node, { auth: { token: node.token } });
  const told = event(right, "ledger_entry_added");
  expect(await right.emitWithAck("add_ledger_entry", "a secret")).toMatchObject({ ok: true });
  await told;
  await Promise.all([wrong.closed, silent.closed]);
  const after = Date.now() - began;
  expect(after).toBeGreaterThanOrEqual(HANDSHAKE - 500);
  expect(after).toBeLessThan(4 * HANDSHAKE);
  for (const { got } of [wrong, silent]) for (const text of got) expect(text).toMatch(/^(0\{"sid"|44|1$)/);
  expect(wrong.got.filter((text) => text.includes("unauthorized"))).not.toEqual([]);
  expect(right.connected).toBe(true);

  const pushing = raw(world, node.url, (socket) => socket.send('42["add_ledger_entry",1]'));
  await pushing.closed;
  expect(pushing.got.filter((text) => text.startsWith("42"))).toEqual([]);
  expect(await right.emitWithAck("get_ledger")).toMatchObject({ entries: [{ data: "a secret" }] });
});

test("over HTTP everything but the page and a plain health check wants the token", async ({ world }) => {
  const node = await guarded(world);
  const get = async (path: string, authorization?: string): Promise<[number, string]> => {
    const response = await fetch(`${node.url}${path}`, { headers: authorization === undefined ? {} : { authorization } });
    if (response.status === 401) expect(response.headers.get("www-authenticate")).toBe('Bearer realm="cairn"');
    return [response.status, await response.text()];
  };
  const right = `Bearer ${node.token}`;
  expect((await get("/"))[0]).toBe(200);
  for (const path of ["/status.json", "/metrics"]) {
    for (const wrong of [undefined, "Bearer wrong", node.token, `Basic ${node.token}`]) {
      const [status, body] = await get(path, wrong);
      expect([status, (JSON.parse(body) as { code: string }).code]).toEqual([401, "unauthorized"]);
    }
    expect((await get(path, right))[0]).toBe(200);
  }
  expect(await get("/healthz")).toEqual([200, '{"ok":true}']);
  expect((await get("/healthz", "Bearer wrong"))[0]).toBe(401);
  expect(JSON.parse((await get("/healthz", right))[1])).toMatchObject({ ok: true, name: "commons" });
});

test("a renewed token closes those that came in by the old one", async ({ world }) => {
  const node = await guarded(world);
  const sockets: Socket[] = [];
  for (const namespace of ["/", "/p2p"]) {
    sockets.push(await world.socket(node, { namespace, auth: { node_id: "a", token: node.token }, reconnection: false }));
  }
  const errors = sockets.map((socket) => event(socket, "error"));
  const ends = sockets.map((socket) => event(socket, "disconnect"));
  const renewed = await showToken(node.data, "--renew");
  expect(renewed).not.toBe(node.token);
  for (const error of errors) expect(await error).toMatchObject({ code: "unauthorized", event: null });
  await Promise.all(ends);
  expect(await refusal(world, node.url, { token: node.token })).toMatch(/^unauthorized: /);
  const socket = await world.socket(node, { auth: { token: renewed } });
  expect(await socket.emitWithAck("add_ledger_entry", 1)).toMatchObject({ ok: true });
});

test("a request for another host is refused on every route", async ({ world }) => {
  const [plain, named] = [await world.node(), await guarded(world, "--allow-host", "node.example")];
  for (const [path, status, headers] of ROUTES) {
    for (const host of ["localhost", `localhost:${plain.port}`, "127.0.0.1", "[::1]:3000"]) {
      expect((await ask(plain.port, path, { ...headers, host })).status, `${path} of ${host}`).toBe(status);
    }
    for (const host of ["evil.example", `evil.example:${plain.port}`, "192.0.2.1", "0.0.0.0", "node.example", ""]) {
      const answer = await ask(plain.port, path, { ...headers, host });
      expect(answer.status, `${path} of ${host}`).toBe(421);
      expect(JSON.parse(answer.body)).toMatchObject({ code: "wrong_host", error: expect.stringContaining("--allow-host") });
    }
    const authorization = path.startsWith("/control") ? "" : `Bearer ${named.token}`;
    for (const host of ["node.example", "Node.Example:443", "localhost"]) {
      expect((await ask(named.port, path, { authorization, ...headers, host })).status, `${path} of ${host}`).toBe(status);
    }
    expect((await ask(named.port, path, { authorization, ...headers, host: "evil.example" })).status).toBe(421);
  }
});

test("a node behind a proxy wants the token, whoever seems to come", async ({ world }) => {
  const node = await world.node({ args: ["--allow-host", "node.example"] });
  expect(await refusal(world, node.url, {})).toMatch(/^unauthorized: /);
  await world.socket(node, { auth: { token: await showToken(node.data) } });
});

test("pages of elsewhere are refused, those that were named are not, and programs have no origin", async ({ world }) => {
  const node = await world.node({ env: { CAIRN_ALLOW_ORIGIN: "https://app.example,https://other.example:8443" } });
  const host = `127.0.0.1:${node.port}`;
  for (const [path, status, headers] of ROUTES) {
    for (const origin of ["https://evil.example", "http://app.example", "https://other.example", "null"]) {
      const answer = await ask(node.port, path, { ...headers, host, origin });
      expect(answer.status, `${path} from ${origin}`).toBe(403);
      expect(JSON.parse(answer.body)).toMatchObject({ code: "forbidden_origin" });
    }
    for (const origin of ["https://app.example", "https://other.example:8443", `http://${host}`]) {
      expect((await ask(node.port, path, { ...headers, host, origin })).status, `${path} from ${origin}`).toBe(status);
    }
    expect((await ask(node.port, path, { ...headers, host })).status).toBe(status);
  }
  const headers = { origin: "https://app.example", "access-control-request-method": "GET" };
  const preflight = await fetch(`${node.url}/status.json`, { method: "OPTIONS", headers });
  expect(preflight.headers.get("access-control-allow-headers")).toContain("authorization");
});

test("many wrong tokens are answered late, while the right one lets in at once", async ({ world }) => {
  const node = await guarded(world);
  const count = 40;
  const answered: number[] = [];
  const guesses = Array.from({ length: count }, () => {
    let sent = 0;
    const guess = raw(world, node.url, (socket) => {
      socket.on("message", (data) => String(data).startsWith("44") && answered.push(Date.now() - sent));
      sent = Date.now();
      socket.send('40{"token":"a guess"}');
    });
    return guess.closed;
  });
  await until(() => answered.length >= 10, "the first wrong tokens are answered");
  const socket = await world.socket(node, { auth: { token: node.token } });
  expect(await socket.emitWithAck("add_ledger_entry", 1)).toMatchObject({ ok: true });
  expect((await fetch(`${node.url}/status.json`, { headers: { authorization: `Bearer ${node.token}` } })).status).toBe(200);
  expect(answered.length, "the right token waited behind the wrong ones").toBeLessThan(count / 2);
  await Promise.all(guesses);
  // The last ones wait for nearly as long as a handshake may take, and some of them for longer than there is.
  expect(answered.filter((ms) => ms >= 3_900).length).toBeGreaterThan(count / 2);
  const metrics = await fetch(`${node.url}/metrics`, { headers: { authorization: `Bearer ${node.token}` } });
  expect(await metrics.text()).toContain(`cairn_unauthorized_total ${count}\n`);
});

test("an address has its share of the door, and a place there is free again in time", async ({ world }) => {
  const node = await guarded(world);
  const knock = async (): Promise<number> => {
    const response = await fetch(`${node.url}/socket.io/?EIO=4&transport=polling`);
    if (response.status === 503) {
      expect(response.headers.get("retry-after")).toBe("1");
      expect(await response.json()).toMatchObject({ code: "busy", error: expect.stringContaining(`${AT_THE_DOOR} connections of this address`) });
    }
    return response.status;
  };
  const statuses: number[] = [];
  // Those that knocked first may be gone before the last one comes.
  while (!statuses.includes(503) && statuses.length < 20 * AT_THE_DOOR) {
    statuses.push(...(await Promise.all(Array.from({ length: 32 }, knock))));
  }
  expect(statuses).toContain(503);
  expect(statuses.indexOf(503)).toBeGreaterThanOrEqual(AT_THE_DOOR - 32);
  // The official client tries again by itself.
  const socket = await world.socket(node, { auth: { token: node.token } });
  expect(await socket.emitWithAck("add_ledger_entry", 1)).toMatchObject({ ok: true });
  // Whoever came in stands there no more.
  for (let n = 0; n < 2 * AT_THE_DOOR; n += 32) {
    await Promise.all(Array.from({ length: 32 }, () => world.socket(node, { auth: { token: node.token } })));
  }
});
