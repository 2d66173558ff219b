/** The relay in workerd, seen from outside: HTTP, the JSON text side, keepalive, and what a link may not do. */

import { generateKeyPairSync, randomBytes, randomUUID } from "node:crypto";
import { request } from "node:http";

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

import { until, World, type Relay } from "../../test/e2e/harness.js";
import type { TextClient } from "../../test/e2e/text.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const NODE_ID = /^[0-9a-f]{64}$/;
/** `limits::TEXT_FAULTS`, `TEXT_FRAME_BYTES`, `FRAME_BYTES`. */
const TEXT_FAULTS = 16;
const TEXT_FRAME_BYTES = 128 * 1024;
const FRAME_BYTES = 512 * 1024;

interface ErrorPayload {
  readonly code: string;
  readonly message: string;
}

const world = new World();
let relay: Relay;

beforeAll(async () => {
  relay = await world.relay();
});

afterAll(async () => {
  await world.close();
});

/** An open ledger that no other test uses: the first byte of an id says of which kind it is. */
function newLedger(): string {
  return `00${randomBytes(31).toString("hex")}`;
}

/** A WebSocket without any of the text client's comforts. */
async function link(path: string): Promise<{ socket: WebSocket; closed: Promise<{ code: number; reason: string }> }> {
  const socket = new WebSocket(relay.url + path, { perMessageDeflate: false });
  socket.on("error", () => {});
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once("close", (code, reason) => resolve({ code, reason: String(reason) }));
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  return { socket, closed };
}

/** A request whose headers are exactly those given: `fetch` would not send `Upgrade`. */
function plain(method: string, path: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(relay.http + path, { method, headers }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

/** Proves that everything sent to a client before has arrived: the relay answers in order. */
async function nodes(client: TextClient): Promise<string[]> {
  client.send("NodeListRequest", {});
  const { payload } = await client.take<{ nodes: string[] }>("NodeListResponse");
  return payload.nodes;
}

describe("HTTP", () => {
  test("the relay says that it lives", async () => {
    const response = await fetch(`${relay.http}/healthz`);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: "ok", role: "relay", version: expect.any(String) });
  });

  test.each(["/", `/ledger/${"ab".repeat(32)}`])("a room wants a WebSocket: %s", async (path) => {
    const response = await fetch(relay.http + path);
    expect([response.status, await response.text()]).toEqual([426, "Expected Upgrade: websocket"]);
  });

  test.each([
    ["GET", "/nothing", 404, "not_found"],
    ["GET", "/ledger", 404, "not_found"],
    ["GET", `/ledger/${"ab".repeat(32)}/more`, 404, "not_found"],
    ["POST", "/nothing", 404, "not_found"],
    ["GET", "/ledger/", 400, "wrong_ledger_id"],
    ["GET", "/ledger/xyz", 400, "wrong_ledger_id"],
    ["GET", `/ledger/${"ab".repeat(31)}`, 400, "wrong_ledger_id"],
    ["GET", `/ledger/${"ab".repeat(33)}`, 400, "wrong_ledger_id"],
    ["GET", `/ledger/${"zz".repeat(32)}`, 400, "wrong_ledger_id"],
    ["GET", `/ledger/${"%20".repeat(64)}`, 400, "wrong_ledger_id"],
    ["POST", "/", 405, "method_not_allowed"],
    ["OPTIONS", "/", 405, "method_not_allowed"],
    ["PUT", "/healthz", 405, "method_not_allowed"],
    ["DELETE", `/ledger/${"ab".repeat(32)}`, 405, "method_not_allowed"],
  ])("%s %s is refused with %i %s", async (method, path, status, code) => {
    const { status: came, body } = await plain(method, path);
    expect(came).toBe(status);
    expect(JSON.parse(body)).toEqual({ code, error: expect.any(String) });
  });

  test("a browser gets a page that may ask nobody for anything", async () => {
    const response = await fetch(relay.http, { headers: { Accept: "text/html,application/xhtml+xml,*/*;q=0.8" } });
    expect([response.status, response.headers.get("content-type")]).toEqual([200, expect.stringMatching(/^text\/html; ?charset=utf-8$/i)]);
    const page = await response.text();
    const nonce = /'nonce-([0-9a-f]{32})'/.exec(response.headers.get("content-security-policy")!)![1];
    expect(response.headers.get("content-security-policy")).toBe(
      `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    );
    expect(response.headers.get("referrer-policy")).toBe("no-referrer");
    expect(page.match(/<(script|style) nonce="[0-9a-f]+">/g)).toEqual([`<style nonce="${nonce}">`, `<script nonce="${nonce}">`]);
    // Nothing of it is inline elsewhere, and nothing comes from anywhere; one link leads to the reader's own node.
    const ownNode = "http://localhost:3000/#join=";
    expect(page.split(ownNode)).toHaveLength(2);
    expect(page.replace(ownNode, "")).not.toMatch(/\s(style|on\w+|src|href)=|https?:|url\(|@import|innerHTML|NONCE/);
    const again = await fetch(relay.http, { headers: { Accept: "text/html" } });
    expect(again.headers.get("content-security-policy")).not.toContain(nonce);
  });

  test("a browser that asks for a ledger gets no page", async () => {
    const { status } = await plain("GET", `/ledger/${"ab".repeat(32)}`, { Accept: "text/html" });
    expect(status).toBe(426);
  });

  test("an upgrade to a wrong ledger is refused too", async () => {
    const socket = new WebSocket(`${relay.url}/ledger/xyz`);
    const message = await new Promise<string>((resolve) => socket.once("error", (error) => resolve(error.message)));
    expect(message).toContain("400");
  });

  test("an upgrade to something else than a WebSocket is refused", async () => {
    const { status } = await plain("GET", "/", { Connection: "Upgrade", Upgrade: "h2c" });
    expect(status).toBe(426);
  });
});

describe("the lobby", () => {
  test("peers find one another", async () => {
    const first = await world.text(relay);
    first.send("NodeAnnounce", { node_id: first.id });
    expect(await nodes(first)).toContain(first.id);

    const second = await world.text(relay);
    const present = await second.next<{ node_id: string }>((frame) => frame.sender_id === first.id);
    expect(present).toMatchObject({ message_type: "NodeAnnounce", recipient_id: "", payload: { node_id: first.id } });
    expect(present.message_id).toMatch(UUID);

    const sent = second.send("NodeAnnounce", { node_id: second.id, extra: [1, { a: null }] });
    const announced = await first.next((frame) => frame.message_id === sent);
    expect(announced.payload).toEqual({ node_id: second.id, extra: [1, { a: null }] });
    expect(await nodes(second)).toEqual(expect.arrayContaining([first.id, second.id]));

    await first.close();
    // The relay hears of the end a moment after this side.
    while ((await nodes(second)).includes(first.id));
    await second.close();
  });

  test("envelopes go to all others or to whom they name, unchanged", async () => {
    const [a, b, c] = [await world.text(relay), await world.text(relay), await world.text(relay)];
    b.send("NodeAnnounce", { node_id: b.id });
    await nodes(b);

    const payload = { text: "grüße 🪨", number: 1e21, nested: [[], {}] };
    const toAll = a.send("Chat", payload);
    for (const client of [b, c]) {
      const frame = await client.next((frame) => frame.message_id === toAll);
      expect(frame).toEqual({ message_type: "Chat", message_id: toAll, sender_id: a.id, recipient_id: "", payload });
      expect(Object.keys(frame)).toEqual(["message_type", "message_id", "sender_id", "recipient_id", "payload"]);
    }

    const toOne = a.send("Chat", payload, b.id);
    await b.next((frame) => frame.message_id === toOne);
    await nodes(c);
    await nodes(a);
    for (const client of [a, c]) expect(client.drain().join()).not.toContain(toOne);

    a.send("Chat", payload, randomUUID());
    expect((await a.take<ErrorPayload>("Error")).payload.code).toBe("unknown_recipient");
    for (const client of [a, b, c]) await client.close();
  });

  test("a binary frame ends the link, and the lobby lives", async () => {
    const other = await world.text(relay);
    const { socket, closed } = await link("/");
    socket.send(randomBytes(100));
    expect(await closed).toEqual({ code: 1002, reason: "a binary frame came, the lobby takes text frames only" });
    await nodes(other);
    await other.close();
  });
});

describe("text frames", () => {
  test("what does not parse gets its error, is passed on to nobody, and ends the connection at the limit", async () => {
    const good = { message_type: "Chat", message_id: randomUUID(), sender_id: "s", recipient_id: "", payload: "mark" };
    const table: [string, string][] = [
      ["", "malformed"],
      ["mark", "malformed"],
      ["null", "malformed"],
      ["[]", "malformed"],
      ['{"mark":', "malformed"],
      [JSON.stringify({ ...good, extra: 1 }), "malformed"],
      [JSON.stringify({ ...good, sender_id: 7 }), "malformed"],
      [JSON.stringify({ ...good, message_type: "mark".repeat(100) }), "malformed"],
      [JSON.stringify(Object.values(good)), "malformed"],
      ...Object.keys(good).map((field): [string, string] => [JSON.stringify({ ...good, [field]: undefined }), "malformed"]),
      [JSON.stringify({ ...good, payload: "x".repeat(TEXT_FRAME_BYTES) }), "too_large"],
      [JSON.stringify({ ...good, message_type: "NodeAnnounce" }), "bad_payload"],
    ];
    expect(table.length).toBe(TEXT_FAULTS);
    const listener = await world.text(relay);
    const client = await world.text(relay);
    for (const [text, code] of table) {
      client.raw(text);
      const error = await client.take<ErrorPayload>("Error");
      expect(error.payload, text.slice(0, 80)).toEqual({ code, message: expect.any(String) });
      expect(error.message_id).toMatch(UUID);
      expect(error.sender_id).toMatch(NODE_ID);
    }
    expect(await client.closed).toEqual({ code: 4008, reason: "too many frames that do not parse" });
    await nodes(listener);
    expect(listener.drain().join()).not.toContain("mark");
    await listener.close();
  });

  test("a frame far above the limit gets its error, and the room lives", async () => {
    const client = await world.text(relay);
    client.raw("x".repeat(900 * 1024));
    expect((await client.take<ErrorPayload>("Error")).payload).toEqual({
      code: "too_large",
      message: `frame of ${900 * 1024} bytes, limit is ${TEXT_FRAME_BYTES}`,
    });
    await nodes(client);
    await client.close();
  });

  test("a client may announce only so many ids", async () => {
    const client = await world.text(relay, newLedger());
    const ids = Array.from({ length: 9 }, () => randomUUID());
    for (const node_id of ids) client.send("NodeAnnounce", { node_id });
    expect((await client.take<ErrorPayload>("Error")).payload.code).toBe("too_many_ids");
    const known = await nodes(client);
    expect(ids.filter((id) => known.includes(id))).toEqual(ids.slice(0, 8));
    await client.close();
  });
});

describe("a ledger's room", () => {
  test("answers for its ledger, also when it is empty", async () => {
    const client = await world.text(relay, newLedger());
    const known = await nodes(client);
    expect(known).toEqual([expect.stringMatching(NODE_ID)]);

    client.send("LedgerSyncRequest", {});
    const page = await client.take("LedgerSyncResponse");
    expect(page).toMatchObject({ sender_id: known[0], recipient_id: client.id, payload: [] });

    client.send("EntryRequest", { entry_id: `${"ab".repeat(32)}-1-0` });
    expect((await client.take<ErrorPayload>("Error")).payload).toEqual({
      code: "unknown_entry",
      message: `no entry ${"ab".repeat(32)}-1-0 in this ledger`,
    });
    client.send("EntryRequest", { entry_id: "mine" });
    expect((await client.take<ErrorPayload>("Error")).payload.code).toBe("bad_payload");
    client.send("EntryAnnounce", { id: "x", data: "unsigned" });
    expect((await client.take<ErrorPayload>("Error")).payload.code).toBe("entry_refused");
    await client.close();
  });

  test("keeps rooms apart", async () => {
    const [here, there] = [await world.text(relay, newLedger()), await world.text(relay, newLedger())];
    here.send("Chat", "here");
    await nodes(here);
    await nodes(there);
    expect(there.drain()).toEqual([]);
    await here.close();
    await there.close();
  });

  test("takes the ledger's id in capitals for the same room", async () => {
    const ledger = newLedger();
    const [small, large] = [await world.text(relay, ledger), await world.text(relay, ledger.toUpperCase())];
    const sent = small.send("Chat", "hello");
    await large.next((frame) => frame.message_id === sent);
    await small.close();
    await large.close();
  });

  test.each([
    ["noise", randomBytes(100)],
    ["a CBOR map", Buffer.from("a0", "hex")],
    ["a CBOR array of the wrong length", Buffer.from("80", "hex")],
    ["an array that promises more than there is", Buffer.from("85", "hex")],
    ["deep nesting", Buffer.alloc(100_000, 0x81)],
    ["a frame above the limit", Buffer.alloc(FRAME_BYTES + 1)],
  ])("ends a link that sends %s, and lives", async (_name, bytes) => {
    const ledger = newLedger();
    const other = await world.text(relay, ledger);
    const before = await nodes(other);
    const { socket, closed } = await link(`/ledger/${ledger}`);
    socket.send(bytes);
    expect(await closed).toEqual({ code: 1002, reason: expect.stringMatching(/./) });
    expect(await nodes(other)).toEqual(before);
    await other.close();
  });
});

describe("the handshake of a link", () => {
  const bytes = (...items: Buffer[]): Buffer => Buffer.concat(items.map((item) => Buffer.concat([cborHead(item), item])));
  const cborHead = (item: Buffer): Buffer => (item.length < 24 ? Buffer.of(0x40 + item.length) : Buffer.of(0x58, item.length));
  const key = (): Buffer => generateKeyPairSync("ed25519").publicKey.export({ format: "der", type: "spki" }).subarray(-32);

  /** `[message_type, message_id, sender_id, recipient_id, payload]`, see docs/PROTOCOL.md. */
  function envelope(type: number, sender: Buffer, payload: Buffer): Buffer {
    return Buffer.concat([Buffer.of(0x85, type), bytes(randomBytes(16), sender, Buffer.alloc(0)), payload]);
  }

  function hello(ledger: string, { version = 1, node = key() } = {}): Buffer {
    const payload = Buffer.concat([Buffer.of(0x84, version), bytes(Buffer.from(ledger, "hex"), node, randomBytes(32))]);
    return envelope(1, node, payload);
  }

  function wrongAuth(ledger: string): Buffer {
    const node = key();
    return Buffer.concat([hello(ledger, { node }), envelope(2, node, Buffer.concat([Buffer.of(0x81), bytes(randomBytes(64))]))]);
  }

  test.each([
    ["proves no key in time, by the object's alarm", (ledger: string) => hello(ledger), 4000],
    ["is for another ledger", () => hello(newLedger()), 4001],
    ["speaks another version", (ledger: string) => hello(ledger, { version: 2 }), 4002],
    ["proves its key wrongly", wrongAuth, 4003],
  ])("ends a link that %s", async (_name, frame, code) => {
    const ledger = newLedger();
    const { socket, closed } = await link(`/ledger/${ledger}`);
    socket.send(frame(ledger));
    expect(await closed).toEqual({ code, reason: expect.stringMatching(/./) });
  });
});

describe("keepalive", () => {
  test.each(["/", `/ledger/${newLedger()}`])("a ping is answered in %s", async (path) => {
    const { socket } = await link(path);
    const answer = new Promise<string>((resolve) => socket.once("message", (data) => resolve(String(data))));
    socket.send("ping");
    expect(await answer).toBe("pong");
    socket.terminate();
  });
});

test("a room that slept goes on as the one that never slept", async () => {
  const ledger = newLedger();
  const [a, b] = [await world.text(relay, ledger), await world.text(relay, ledger)];
  a.send("NodeAnnounce", { node_id: a.id });
  for (let fault = 1; fault < TEXT_FAULTS; fault++) a.raw("?");
  const before = await nodes(a);
  expect(before).toContain(a.id);
  const awoke = (): number => relay.process.output.split(`ledger/${ledger}: awake`).length - 1;
  expect(awoke()).toBe(1);

  // The platform puts an object to sleep when nothing has come for ten seconds, and says so to nobody.
  await until(
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 11_000));
      expect(await nodes(b)).toEqual(before);
      return awoke() > 1;
    },
    "the room slept",
    60_000,
  );
  const sent = b.send("Chat", "good morning", a.id);
  await a.next((frame) => frame.message_id === sent);
  a.raw("?");
  expect((await a.closed).code).toBe(4008);
  await b.close();
});

test("the relay is the same node after a restart", async () => {
  const ledger = newLedger();
  const first = await world.relay();
  const client = await world.text(first, ledger);
  const before = await nodes(client);
  await first.kill();
  const second = await world.relay({ port: first.port, state: first.state });
  expect(await nodes(await world.text(second, ledger))).toEqual(before);
});
