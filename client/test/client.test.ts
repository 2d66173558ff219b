import { afterEach, expect, expectTypeOf, test } from "vitest";

import {
  CairnError,
  connect,
  type Client,
  type ConnectOptions,
  type DataEntry,
  type Entry,
  type EventMap,
  type Fork,
  type Invite,
  type Member,
  type NodeStatus,
  type Role,
  type SealedEntry,
  type Subscription,
} from "../src/index.js";
import { FakeNode } from "./fake-node.js";

interface Note {
  readonly text: string;
}

const closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function fakeNode(): Promise<FakeNode> {
  const node = await FakeNode.start();
  closers.push(() => node.close());
  return node;
}

function client<T = Note>(node: FakeNode, options?: ConnectOptions): Client<T> {
  const connected = connect<T>(node.url, options);
  closers.push(() => connected.close());
  return connected;
}

function next<Name extends keyof EventMap<Note>>(from: Client<Note>, name: Name): Promise<EventMap<Note>[Name]> {
  return new Promise((resolve) => {
    const stop = from.on(name, (value) => {
      stop();
      resolve(value);
    });
  });
}

test("requests made before the connection are answered in order", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  const [one, more, nodes, status] = await Promise.all([
    ledger.append({ text: "one" }),
    ledger.appendMany([{ text: "two" }, { text: "three" }]),
    ledger.knownNodes(),
    ledger.status(),
  ]);
  expect(one.data).toEqual({ text: "one" });
  expect(more.map(({ data }) => data.text)).toEqual(["two", "three"]);
  expect(nodes).toEqual(["node-a"]);
  expect(status.node).toBe("node-a");
  expect(await ledger.entry(one.id)).toEqual(one);
  await expect(ledger.appendMany([])).rejects.toMatchObject({ name: "CairnError", code: "empty" });
});

test("an append whose ack was lost says so, and is not sent again", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  node.losesAcks = true;
  const arrived = next(ledger, "entry");
  const append = ledger.append({ text: "once" });
  await arrived;
  node.cut();
  await expect(append).rejects.toMatchObject({ code: "outcome_unknown" });
  node.losesAcks = false;
  await ledger.append({ text: "after" });
  expect(node.entries.map(({ data }) => data)).toEqual([{ text: "once" }, { text: "after" }]);
});

test("a read is asked again on the next connection", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  await next(ledger, "connected");
  const lost = next(ledger, "disconnected");
  node.cut();
  await lost;
  expect(ledger.connected).toBe(false);
  expect(await ledger.knownNodes()).toEqual(["node-a"]);
});

test("entries come page after page in ledger order, up to a limit", async () => {
  const node = await fakeNode();
  const ids = node.add(...Array.from({ length: 10 }, (_, text) => ({ text }))).map(({ id }) => id);
  const ledger = client(node);
  const read = async (options: Parameters<typeof ledger.entries>[0]): Promise<string[]> => {
    const all: string[] = [];
    for await (const { id } of ledger.entries(options)) all.push(id);
    return all;
  };
  expect(await read({})).toEqual(ids);
  expect(await read({ after: ids[2] })).toEqual(ids.slice(3));
  expect(await read({ after: ids[2], limit: 5 })).toEqual(ids.slice(3, 8));
  expect(await read({ page: 2, limit: 3 })).toEqual(ids.slice(0, 3));
  await expect(read({ after: "nobody-1-0" })).rejects.toMatchObject({ code: "unknown_entry" });
});

test("a subscription goes through any number of lost connections without gap or repeat", async () => {
  const node = await fakeNode();
  node.add(...Array.from({ length: 20 }, (_, index) => index));
  const ledger = client<number>(node);
  const seen: unknown[] = [];
  let cuts = 0;
  for await (const { data } of ledger.subscribe()) {
    seen.push(data);
    if (seen.length % 5 === 0 && cuts < 8) {
      cuts += 1;
      if (cuts % 2 === 0) node.dismiss();
      else node.cut();
      node.add(...Array.from({ length: 3 }, (_, index) => 17 + cuts * 3 + index));
    }
    if (seen.length === 44) break;
  }
  expect(cuts).toBe(8);
  expect(seen).toEqual(Array.from({ length: 44 }, (_, index) => index));
}, 30_000);

test("a listener follows from a cursor and several subscriptions share a connection", async () => {
  const node = await fakeNode();
  const [first] = node.add({ text: "0" });
  node.add({ text: "1" });
  const ledger = client(node);
  const seen: string[] = [];
  const text = (entry: Entry<Note>): string => (entry.kind === "data" && entry.data?.text) || entry.kind;
  const listening = ledger.subscribe((entry) => void seen.push(text(entry)), { cursor: first!.id });
  const other = ledger.subscribe();
  expect(await listening.caughtUp).toBe(true);
  const entries = other[Symbol.asyncIterator]();
  await ledger.append({ text: "2" });
  for (const text of ["0", "1", "2"]) expect((await entries.next()).value?.data).toEqual({ text });
  expect(seen).toEqual(["1", "2"]);
  const end = entries.next();
  ledger.close();
  expect(await end).toEqual({ done: true, value: undefined });
  expect(await listening.closed).toBeUndefined();
});

test("an unknown cursor ends the subscription with a typed error, which listeners get as an event too", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  const told = next(ledger, "error");
  const subscription = ledger.subscribe(() => {}, { cursor: "nobody-1-0" });
  expect(await subscription.closed).toMatchObject({ code: "unknown_cursor" });
  expect(await told).toBeInstanceOf(CairnError);
  await expect(ledger.subscribe({ cursor: "nobody-1-0" })[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    code: "unknown_cursor",
  });
});

test("a node that cannot read its store ends the subscriptions, because entries may be missing", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  const subscription = ledger.subscribe();
  const waiting = subscription[Symbol.asyncIterator]().next();
  await next(ledger, "connected");
  node.emit("error", { error: "the store is damaged, see the node's log", code: "damaged", event: null });
  await expect(waiting).rejects.toMatchObject({ code: "damaged" });
  expect(await subscription.closed).toMatchObject({ code: "damaged" });
  expect(await ledger.knownNodes()).toEqual(["node-a"]);
});

test("what the node pushes comes as typed events, and a listener can stop", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  expect(await next(ledger, "connected")).toEqual({ node: "node-a" });
  const checks = [
    ["orderChanged", "order_changed", { from_cursor: null }],
    ["entryErased", "entry_erased", { id: "a-1-0", by: "a", at: "2026-11-20T13:19:00.123456Z" }],
    ["forkDetected", "fork_detected", { author: "a", height: 1, blocks: ["b", "c"] }],
    ["nodeChanged", "node_changed", { old: "node-a", new: "node-b" }],
    ["membersChanged", "members_changed", {}],
    ["syncProgress", "sync_progress", { done: 1, total: 2 }],
    ["entryStatus", "entry_status", { ids: ["a-1-0"], state: "held", held_by: 2 }],
  ] as const;
  for (const [event, wire, value] of checks) {
    const got = next(ledger, event);
    node.emit(wire, value);
    expect(await got).toEqual(value);
  }
  const error = next(ledger, "error");
  node.emit("error", { error: "no such event", code: "unknown_event", event: "nothing" });
  expect(await error).toMatchObject({ code: "unknown_event", message: "no such event" });
  let count = 0;
  const stop = ledger.on("syncProgress", () => (count += 1));
  stop();
  const last = next(ledger, "orderChanged");
  node.emit("sync_progress", { done: 2, total: 2 });
  node.emit("order_changed", { from_cursor: null });
  await last;
  expect(count).toBe(0);
});

test("a refused connection is told and tried again", async () => {
  const node = await fakeNode();
  node.refuses = true;
  const ledger = client(node);
  expect(await next(ledger, "error")).toMatchObject({
    code: "connect_refused",
    message: "no place for another client",
  });
  node.refuses = false;
  expect(await ledger.knownNodes()).toEqual(["node-a"]);
});

test("the token is shown beside the rest of the auth, and a wrong one is told as such", async () => {
  const node = await fakeNode();
  node.token = "right";
  for (const token of [undefined, "wrong"]) {
    expect(await next(client(node, { token }), "error")).toMatchObject({
      code: "unauthorized",
      message: "no token came",
    });
  }
  const ledger = client(node, { auth: { name: "a" }, token: "right" });
  await next(ledger, "connected");
  expect(node.auth).toEqual({ name: "a", token: "right", batches: true, live: false });
});

test("who begins to listen while the connection is being made is told of entries, and again after it was lost", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  // The client has shown its auth by then, and does not know yet that it is in.
  node.onAuth = () => void ledger.on("entry", () => {});
  await next(ledger, "connected");
  expect([node.auth, node.listening]).toMatchObject([{ live: false }, 1]);
  const again = next(ledger, "connected");
  node.cut();
  await again;
  expect([node.auth, node.listening]).toMatchObject([{ live: true }, 1]);
});

test("a client of a further ledger is in its namespace, and one of a ledger that is not there is told so", async () => {
  const node = await fakeNode();
  for (const url of [node.url, `${node.url}/`]) {
    const ledger = connect(url, { ledger: "further" });
    closers.push(() => ledger.close());
    expect(await ledger.ledgers()).toEqual([
      { id: "further", name: "garden", open: false, node: "node-a", default: false },
    ]);
  }
  for (const ledger of ["nowhere", "../", "further/more", "further?"]) {
    expect(await next(client(node, { ledger }), "error")).toMatchObject({ code: "unknown_ledger" });
  }
});

test("what changes a group is asked for in the node's words", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  expect((await ledger.members()).map(({ name }) => name)).toEqual(["anna"]);
  const invite = await ledger.invite();
  await ledger.invite({ role: "reader", uses: 5, expiresIn: 60 });
  await ledger.invite({ expiresIn: null });
  await ledger.remove("node-b");
  await ledger.setNickname("ben");
  await ledger.renameLedger("garden");
  await ledger.rekey();
  await ledger.erase("a-1-0");
  expect(node.changes).toEqual([
    ["create_invite", {}],
    ["create_invite", { role: "reader", uses: 5, expires_in: 60 }],
    ["create_invite", { expires_in: null }],
    ["remove_member", { node: "node-b" }],
    ["set_nickname", { name: "ben" }],
    ["rename_ledger", { name: "garden" }],
    ["rekey"],
    ["erase_entry", { id: "a-1-0" }],
  ]);
  expect(invite.token).toBe("hw_a-b");
  for (const page of ["https://relay.example/x?y=1", "https://relay.example/x?y=1#old"]) {
    expect(invite.link(page)).toBe("https://relay.example/x?y=1#join=hw_a-b");
  }
  node.refusal = { ok: false, error: { code: "not_allowed", message: "a member invites nobody" } };
  for (const refused of [ledger.invite(), ledger.remove("node-b"), ledger.rekey()]) {
    await expect(refused).rejects.toMatchObject({ name: "CairnError", code: "not_allowed" });
  }
});

test("a closed client refuses", async () => {
  const node = await fakeNode();
  const ledger = client(node);
  const waiting = expect(ledger.append({ text: "never sent" })).rejects.toMatchObject({ code: "closed" });
  ledger.close();
  ledger.close();
  await waiting;
  await expect(ledger.status()).rejects.toMatchObject({ code: "closed" });
  expect(await ledger.subscribe().caughtUp).toBe(false);
  expect(node.entries).toEqual([]);
});

test("types say what comes", () => {
  expectTypeOf(connect<Note>).returns.toEqualTypeOf<Client<Note>>();
  type Ledger = Client<Note>;
  expectTypeOf<Ledger["append"]>().parameters.toEqualTypeOf<[Note]>();
  expectTypeOf<Ledger["append"]>().returns.resolves.toEqualTypeOf<DataEntry<Note>>();
  expectTypeOf<Ledger["appendMany"]>().returns.resolves.toEqualTypeOf<readonly DataEntry<Note>[]>();
  expectTypeOf<Ledger["entry"]>().returns.resolves.toEqualTypeOf<Entry<Note>>();
  expectTypeOf<Ledger["status"]>().returns.resolves.toEqualTypeOf<NodeStatus>();
  expectTypeOf<Ledger["members"]>().returns.resolves.toEqualTypeOf<readonly Member[]>();
  expectTypeOf<Ledger["invite"]>().returns.resolves.toEqualTypeOf<Invite>();
  expectTypeOf<Ledger["entries"]>().returns.toEqualTypeOf<AsyncGenerator<Entry<Note>, void, undefined>>();
  expectTypeOf<Subscription<Note>>().toExtend<AsyncIterable<Entry<Note>>>();
  expectTypeOf<EventMap<Note>["forkDetected"]>().toEqualTypeOf<Fork>();
  expectTypeOf<CairnError["code"]>().toExtend<string>();
  const narrow = (entry: Entry<Note>): void => {
    if (entry.kind === "data") expectTypeOf(entry.data).toEqualTypeOf<Note | null>();
    if (entry.kind === "erase") expectTypeOf(entry.data).toEqualTypeOf<{ readonly entry: string } | null>();
    if (entry.kind === "nickname") expectTypeOf(entry.data).toEqualTypeOf<string | null>();
    if (entry.kind === "genesis") expectTypeOf(entry.data).toEqualTypeOf<{ readonly founder: string } | null>();
    if (entry.kind === "invite") expectTypeOf(entry.data!.role).toEqualTypeOf<Role>();
    if (entry.kind === "remove" && entry.data !== null && "closed" in entry.data)
      expectTypeOf(entry.data.invite).toEqualTypeOf<string>();
    if ("sealed" in entry) expectTypeOf(entry).toEqualTypeOf<SealedEntry>();
    if (entry.kind === "evidence") expectTypeOf(entry.data).toEqualTypeOf<Fork>();
  };
  expectTypeOf(narrow).parameters.toEqualTypeOf<[Entry<Note>]>();
});
