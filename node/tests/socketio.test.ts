/** The node's Socket.IO and HTTP side, with the official client: every event, order, exactly-once, resuming, bad input. */

import type { Socket as TcpSocket } from "node:net";

import type { Socket } from "socket.io-client";
import { describe, expect } from "vitest";
import { WebSocket } from "ws";

import { test } from "../../test/e2e/fixture.js";
import { cableUrl, event, until, type NodeProcess, type World } from "../../test/e2e/harness.js";

interface Entry {
  readonly id: string;
  readonly timestamp: string;
  readonly data: unknown;
  readonly previous_hash: string;
  readonly hash: string;
  readonly creator_node_id: string;
  readonly signatures: Readonly<Record<string, string>>;
  readonly height: number;
  readonly index: number;
  readonly kind: string;
  readonly parents: readonly string[];
}

interface Batch {
  readonly entries: readonly Entry[];
  readonly cursor: string;
  readonly done: boolean;
}

interface Refusal {
  readonly ok: false;
  readonly error: { readonly code: string; readonly message: string };
}

interface ErrorEvent {
  readonly error: string;
  readonly code: string;
  readonly event: string | null;
}

type Answer<A> = ({ readonly ok: true } & A) | Refusal;

const TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]] as const;
const OTHER_NODE = "ab".repeat(32);

async function ask<A>(socket: Socket, name: string, ...args: unknown[]): Promise<A> {
  const answer = (await socket.timeout(30_000).emitWithAck(name, ...args)) as Answer<A>;
  if (!answer.ok) throw new Error(`${name}: ${answer.error.code}: ${answer.error.message}`);
  return answer;
}

async function refused(socket: Socket, name: string, ...args: unknown[]): Promise<string> {
  const answer = (await socket.timeout(30_000).emitWithAck(name, ...args)) as Answer<object>;
  return answer.ok ? "it was not refused" : answer.error.code;
}

/** Sends an event without an ack and waits for another one. */
async function exchange<T>(socket: Socket, send: readonly [string, ...unknown[]], answer: string): Promise<T> {
  const came = event<T>(socket, answer);
  socket.emit(...send);
  return came;
}

/** Collects an event's first argument. */
function collect<T>(socket: Socket, name: string): T[] {
  const values: T[] = [];
  socket.on(name, (value: T) => values.push(value));
  return values;
}

async function append(socket: Socket, values: readonly unknown[]): Promise<readonly Entry[]> {
  const { entries } = await ask<{ entries: readonly Entry[] }>(socket, "append_many", values);
  return entries;
}

async function ledger(socket: Socket): Promise<readonly Entry[]> {
  const { entries } = await ask<{ entries: readonly Entry[] }>(socket, "get_ledger");
  return entries;
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);
const ids = (entries: readonly Entry[]): string[] => entries.map((entry) => entry.id);

/** The TCP connection of a client whose transport is WebSocket. */
function tcp(socket: Socket): TcpSocket {
  const transport = socket.io.engine.transport as unknown as { readonly name: string; readonly ws: { readonly _socket: TcpSocket } };
  expect(transport.name).toBe("websocket");
  return transport.ws._socket;
}

/** Resolves with the batches of a subscription once it has caught up. */
function batches(socket: Socket): Promise<Batch[]> {
  return new Promise((resolve) => {
    const all: Batch[] = [];
    const listener = (batch: Batch): void => {
      all.push(batch);
      if (!batch.done) return;
      socket.off("entries", listener);
      resolve(all);
    };
    socket.on("entries", listener);
  });
}

describe.each(TRANSPORTS.map((transports) => ({ transports, name: transports.join(" and ") })))("over $name", ({ transports }) => {
  const connect = (world: World, node: NodeProcess, options: object = {}, setup?: (socket: Socket) => void): Promise<Socket> =>
    world.socket(node, { transports: [...transports], ...options }, setup);

  test("a connection is told of what is added as it asks for: each entry, arrays, or nothing until then", async ({ world }) => {
    const node = await world.node();
    const [each, arrays, silent] = [
      await connect(world, node),
      await connect(world, node, { auth: { batches: true } }),
      await connect(world, node, { auth: { batches: true, live: false } }),
    ];
    const [one, many] = [collect<Entry>(each, "ledger_entry_added"), collect<readonly Entry[]>(arrays, "ledger_entries_added")];
    const quiet = collect<readonly Entry[]>(silent, "ledger_entries_added");
    const first = await append(each, numbers(0, 3));
    await until(() => one.length === 3 && many.flat().length === 3, "both got them");
    expect(one).toEqual(first);
    expect(many).toEqual([first]);

    await ask(silent, "listen");
    const second = await append(silent, numbers(3, 5));
    await until(() => one.length === 5 && quiet.length > 0, "all got the second");
    expect(quiet).toEqual([second]);
    // From a subscription on it is the same, behind what that brought.
    const late = await connect(world, node, { auth: { batches: true, live: false } });
    const came = collect<readonly Entry[]>(late, "ledger_entries_added");
    const caughtUp = batches(late);
    await ask(late, "subscribe", {});
    expect((await caughtUp).flatMap(({ entries }) => ids(entries))).toEqual(ids([...first, ...second]));
    const third = await append(silent, [5]);
    await until(() => came.length > 0 && one.length >= 6 && many.flat().length >= 6, "all got the third");
    expect(came).toEqual([third]);
    // Neither event is for who asked for the other one.
    expect(ids(many.flat())).toEqual(ids([...first, ...second, ...third]));
    expect(ids(one)).toEqual(ids([...first, ...second, ...third]));
  });

  test("every event of the interface is answered", async ({ world }) => {
    const node = await world.node();
    // One after the other: what two connections are told comes in no order.
    const auths: unknown[] = [];
    const onAuth = (socket: Socket): void => void socket.on("auth", (auth: unknown) => auths.push(auth));
    const socket = await connect(world, node, { auth: { token: "abcd" } }, onAuth);
    await until(() => auths.length === 1, "the first got its auth");
    const other = await connect(world, node, {}, onAuth);
    await until(() => auths.length === 2, "the second got its auth");
    expect(auths).toEqual([{ token: "abcd" }, {}]);

    for (const value of [{ a: [1, null, "ü\u2028"] }, "text", 7, null, true, []]) {
      expect(await exchange(socket, ["message", value], "message-back")).toEqual(value);
      expect(await exchange(socket, ["ping", value], "pong")).toEqual(value);
      expect(await socket.emitWithAck("message-with-ack", value)).toEqual(value);
    }
    expect(await exchange(socket, ["ping"], "pong")).toBeNull();

    const [here, there] = [event<Entry>(socket, "ledger_entry_added"), event<Entry>(other, "ledger_entry_added")];
    const { entry } = await ask<{ entry: Entry }>(socket, "add_ledger_entry", { message: "hello", n: 1.5 });
    expect(await here).toEqual(entry);
    expect(await there).toEqual(entry);
    const { nodes } = await ask<{ nodes: readonly string[] }>(socket, "get_known_nodes");
    expect(nodes).toHaveLength(1);
    expect(entry).toMatchObject({
      id: `${nodes[0]}-1-0`,
      data: { message: "hello", n: 1.5 },
      creator_node_id: nodes[0],
      height: 1,
      index: 0,
      kind: "data",
      parents: [],
    });
    expect(entry.timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    expect(entry.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(Object.keys(entry.signatures)).toEqual([nodes[0]]);

    expect(await exchange(socket, ["get_ledger"], "ledger_entries")).toEqual([entry]);
    expect(await exchange(socket, ["get_ledger", { after: null, limit: 1 }], "ledger_entries")).toEqual([entry]);
    expect(await exchange(socket, ["get_ledger", { after: entry.id }], "ledger_entries")).toEqual([]);
    expect(await exchange(socket, ["get_known_nodes"], "known_nodes")).toEqual({ nodes });
    expect(await exchange(socket, ["get_entry", { id: entry.id }], "entry")).toEqual(entry);
    expect(await ask(socket, "get_entry", { id: entry.id })).toEqual({ ok: true, entry });
    const status = await exchange<{ totals: object; node: string; last_seq: number }>(socket, ["get_status"], "status");
    expect(status).toMatchObject({ node: nodes[0], last_seq: 1, totals: { blocks: 1, entries: 1 } });
    expect(await ask(socket, "get_status")).toMatchObject({ ok: true, status: { node: nodes[0] } });

    const told = event<Entry>(other, "ledger_entry_added");
    socket.emit("add_ledger_entry", "without an ack");
    expect(await told).toMatchObject({ data: "without an ack", previous_hash: entry.hash, parents: [entry.hash] });
    const statuses = collect<{ ids: string[]; state: string; held_by: number }>(socket, "entry_status");
    const many = await append(socket, [1, { two: 2 }, [3]]);
    expect(many.map((entry) => entry.data)).toEqual([1, { two: 2 }, [3]]);
    expect(many.map((entry) => entry.index)).toEqual([0, 1, 2]);
    await until(() => statuses.some((status) => status.ids.length === 3), "the status of the entries came");
    expect(statuses.at(-1)).toEqual({ ids: ids(many), state: "stored", held_by: 0 });
  });

  test("1,000 entries sent at once keep their order, and every listener sees each once", async ({ world }) => {
    const node = await world.node();
    const [writer, listener] = [await connect(world, node), await connect(world, node)];
    const [seen, heard] = [collect<Entry>(writer, "ledger_entry_added"), collect<Entry>(listener, "ledger_entry_added")];
    const acks = await Promise.all(
      numbers(0, 1_000).map((n) => ask<{ entry: Entry }>(writer, "add_ledger_entry", { n })),
    );
    const acked = acks.map(({ entry }) => entry);
    expect(acked.map((entry) => (entry.data as { n: number }).n)).toEqual(numbers(0, 1_000));
    await until(() => seen.length >= 1_000 && heard.length >= 1_000, "both listeners saw all entries");
    expect(ids(seen)).toEqual(ids(acked));
    expect(ids(heard)).toEqual(ids(acked));
    expect(ids(await ledger(listener))).toEqual(ids(acked));
  });

  test("a read sees what its client appended before, without waiting for the answer", async ({ world }) => {
    const node = await world.node();
    const socket = await connect(world, node);
    for (let round = 1; round <= 20; round += 1) {
      void socket.emitWithAck("add_ledger_entry", round);
      expect(await ledger(socket)).toHaveLength(round);
    }
  });

  test("a subscription resumes without gap or repeat while others write", async ({ world }) => {
    const node = await world.node();
    const writer = await connect(world, node);
    const before = await append(writer, numbers(0, 3_000));
    const stop = { writing: true };
    const writing = (async () => {
      const written: Entry[] = [];
      while (stop.writing) written.push(...(await append(writer, numbers(0, 20))));
      return written;
    })();

    const seen: string[] = [];
    let cursor: string | undefined;
    for (let round = 0; round < 6; round += 1) {
      const socket = await connect(world, node);
      const start = seen.length;
      // Until the first batch comes, live entries are those of the connection, not of the subscription.
      let subscribed = false;
      socket.on("ledger_entry_added", (entry: Entry) => {
        if (subscribed) seen.push(entry.id);
      });
      socket.on("entries", (batch: Batch) => {
        subscribed = true;
        seen.push(...ids(batch.entries));
        cursor = batch.cursor;
      });
      const all = batches(socket);
      await ask(socket, "subscribe", cursor === undefined ? {} : { cursor });
      await all;
      if (round % 2 === 1) {
        const caughtUp = seen.length;
        await until(() => seen.length > caughtUp + 50, "live entries came after the batches");
        cursor = seen.at(-1);
      } else {
        // Without live entries: the cursor of the last batch counts, and what came behind it does not.
        seen.length = start + (await all).reduce((count, batch) => count + batch.entries.length, 0);
      }
      socket.disconnect();
    }
    stop.writing = false;
    const written = await writing;
    const last = await connect(world, node);
    const rest = batches(last);
    await ask(last, "subscribe", { cursor });
    for (const batch of await rest) seen.push(...ids(batch.entries));
    expect(seen).toEqual(ids([...before, ...written]));
  });
});

/** What is wrong, and the code of the error. */
const BAD_EVENTS: readonly [string, readonly unknown[], string][] = [
  ["no_such_event", [], "unknown_event"],
  ["no_such_event", [1, 2, 3], "unknown_event"],
  ["message", [], "wrong_arguments"],
  ["message", [1, 2], "wrong_arguments"],
  ["ping", [1, 2], "wrong_arguments"],
  ["message-with-ack", [], "wrong_arguments"],
  ["add_ledger_entry", [], "wrong_arguments"],
  ["add_ledger_entry", [1, 2], "wrong_arguments"],
  ["add_ledger_entry", ["x".repeat(65_535)], "payload_too_large"],
  ["add_ledger_entry", ["x".repeat(2 * 1024 * 1024)], "message_too_large"],
  ["add_ledger_entry", [Buffer.from("binary")], "binary_not_supported"],
  ["add_ledger_entry", [{ deep: [Buffer.from("binary"), Buffer.from("more")] }], "binary_not_supported"],
  ["append_many", [], "wrong_arguments"],
  ["append_many", [{}], "wrong_arguments"],
  ["append_many", [[]], "empty"],
  ["append_many", [[1, "x".repeat(70_000)]], "payload_too_large"],
  ["append_many", [numbers(0, 10_001)], "too_many_entries"],
  ["get_ledger", ["all"], "wrong_arguments"],
  ["get_ledger", [{ limit: 0 }], "wrong_arguments"],
  ["get_ledger", [{ limit: 10_001 }], "wrong_arguments"],
  ["get_ledger", [{ limit: "5" }], "wrong_arguments"],
  ["get_ledger", [{ afterwards: null }], "wrong_arguments"],
  ["get_ledger", [{ after: "x" }], "wrong_arguments"],
  ["get_ledger", [{ after: `${OTHER_NODE}-1-0` }], "unknown_entry"],
  ["get_known_nodes", [1], "wrong_arguments"],
  ["get_status", [{}], "wrong_arguments"],
  ["get_entry", [], "wrong_arguments"],
  ["get_entry", [{ id: 5 }], "wrong_arguments"],
  ["get_entry", [{ id: `${OTHER_NODE}-1` }], "wrong_arguments"],
  ["get_entry", [{ id: `${OTHER_NODE}-1-0` }], "unknown_entry"],
  ["subscribe", ["x"], "wrong_arguments"],
  ["subscribe", [{ cursor: "nowhere" }], "wrong_arguments"],
  ["subscribe", [{ cursor: `${OTHER_NODE}-1-0` }], "unknown_cursor"],
  ["subscribe", [{ cursor: `${OTHER_NODE}@1+1` }], "unknown_cursor"],
];

test("bad input gets its typed error, the connection stays, the store is unchanged", async ({ world }) => {
  const node = await world.node();
  const socket = await world.socket(node);
  const disconnects = collect(socket, "disconnect");
  const { entry } = await ask<{ entry: Entry }>(socket, "add_ledger_entry", "the only one");
  const { nodes } = await ask<{ nodes: readonly string[] }>(socket, "get_known_nodes");
  const bad = [...BAD_EVENTS, ["subscribe", [{ cursor: `${nodes[0]}@2+1` }], "unknown_cursor"] as const];
  for (const [name, args, code] of bad) {
    const what = `${name}(${JSON.stringify(args).slice(0, 60)})`;
    const came = await exchange<ErrorEvent>(socket, [name, ...args], "error");
    expect(came, what).toEqual({ error: expect.any(String), code, event: came.event });
    expect(came.error.length, what).toBeLessThan(400);
    expect(await refused(socket, name, ...args), what).toBe(code);
  }
  expect(await ledger(socket)).toEqual([entry]);
  expect(disconnects).toEqual([]);
  expect(socket.connected).toBe(true);
});

/** Connects by hand, sends frames, and waits for an answer that is `wanted` or for the end of the connection. */
async function raw(world: World, node: NodeProcess, connect: string, frames: readonly string[], wanted: RegExp): Promise<string> {
  const socket = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  world.onClose(() => socket.terminate());
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("close", () => resolve("closed"));
    socket.on("message", (data) => {
      const text = String(data);
      if (text.startsWith("0{")) socket.send(connect);
      if (text.startsWith('42["auth"')) frames.forEach((frame) => socket.send(frame));
      if (wanted.test(text)) resolve(text);
    });
  });
}

test("what is no Socket.IO or no JSON ends that connection only", async ({ world }) => {
  const node = await world.node();
  const other = await world.socket(node);
  for (const garbage of ["", "9", "4", "49", "42", "42{}", "42[]", "42[1]", "42[", "51-[]", "3xyz["]) {
    const answer = await raw(world, node, "40", [garbage, '42["ping",1]'], /pong/);
    expect(["closed", '42["pong",1]'], `${garbage} gave ${answer}`).toContain(answer);
  }
  // socketioxide reads only names without escapes, and no event here has any.
  expect(await raw(world, node, "40", ['42["a\\"b"]'], /error/)).toBe("closed");
  for (const garbage of ['42["message",{bad}]', '42["message",1', '42["message",\u0001]']) {
    expect(await raw(world, node, "40", [garbage], /error/), garbage).toBe("closed");
  }
  expect(await raw(world, node, "40", ['42["message",1]]'], /error/)).toContain('"code":"wrong_arguments"');
  expect(await raw(world, node, "40{bad", [], /^44/)).toContain("not JSON");
  expect(await raw(world, node, "40/nowhere,", [], /^44/)).toContain("44/nowhere,");
  expect(await ledger(other)).toEqual([]);
  expect(other.connected).toBe(true);
});

test("a frame over the hard limit ends that connection only", async ({ world }) => {
  const node = await world.node();
  const [socket, other] = [await world.socket(node, { reconnection: false }), await world.socket(node)];
  const gone = event(socket, "disconnect");
  socket.emit("add_ledger_entry", "x".repeat(5 * 1024 * 1024));
  await gone;
  expect(await ledger(other)).toEqual([]);
});

test("a client that sends too much at once is told that the node is busy, and nothing is lost silently", async ({ world }) => {
  const node = await world.node();
  const socket = await world.socket(node);
  const count = 6_000;
  const payload = "x".repeat(2_000);
  const answers = await Promise.all(
    numbers(0, count).map((n) => socket.emitWithAck("add_ledger_entry", { n, payload }) as Promise<Answer<{ entry: Entry }>>),
  );
  const taken = answers.flatMap((answer) => (answer.ok ? [answer.entry.id] : []));
  for (const answer of answers) if (!answer.ok) expect(answer.error.code).toBe("busy");
  const stored: string[] = [];
  for (let after: string | null = null; ; after = stored.at(-1) ?? null) {
    const { entries } = await ask<{ entries: readonly Entry[] }>(socket, "get_ledger", { after, limit: 10_000 });
    if (entries.length === 0) break;
    stored.push(...ids(entries));
  }
  expect(stored).toEqual(taken);
});

test("who goes on asking and takes not even its errors is closed", async ({ world }) => {
  const node = await world.node();
  const other = await world.socket(node);
  const socket = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  world.onClose(() => socket.terminate());
  const left = new Promise<void>((resolve) => {
    socket.on("message", (data) => {
      const text = String(data);
      if (text.startsWith("0{")) socket.send("40");
      if (text.startsWith('42["auth"')) {
        socket.pause();
        // The answers to these fill what the system keeps for it; the rest waits, then is refused, then there is no place for refusals.
        for (let n = 0; n < 100; n += 1) socket.send(`42["message","${"x".repeat(30_000)}"]`);
        for (let n = 0; n < 80_000; n += 1) socket.send('42["ping",1]');
      }
      if (text === "41") resolve();
    });
  });
  const came = async (): Promise<number> => Number(/^cairn_client_events_total (\d+)/m.exec(await (await fetch(`${node.url}/metrics`)).text())?.[1]);
  await until(async () => (await came()) > 80_000, "all of it has come");
  // Before its connection is closed because it takes nothing, which takes 8 s.
  socket.resume();
  await left;
  await node.process.line(/a client goes on asking and takes no answers/);
  expect(other.connected).toBe(true);
});

test.for([[["websocket"]], [["polling", "websocket"]]])("a slow reader over %j gets every entry once, in order", async ([transports], { world }) => {
  const node = await world.node();
  const [slow, fast, writer] = [await world.socket(node, { transports: transports! }), await world.socket(node), await world.socket(node)];
  await until(() => slow.io.engine.transport.name === "websocket", "the slow reader has its WebSocket");
  const [late, seen] = [collect<Entry>(slow, "ledger_entry_added"), collect<Entry>(fast, "ledger_entry_added")];
  const unsure = collect<{ from_cursor: string | null }>(slow, "order_changed");
  tcp(slow).pause();
  // Blocks of one entry each, more of them than the node keeps for those who lag, and more bytes than the system buffers.
  const padding = "x".repeat(30_000);
  const written: Entry[] = [];
  for (let n = 0; n < 600; n += 1) written.push(...(await append(writer, [{ n, padding }])));
  await until(() => seen.length >= written.length, "the fast reader saw everything");
  expect(late.length).toBeLessThan(written.length);
  tcp(slow).resume();
  await until(() => late.length >= written.length && unsure.length > 0, "the slow reader caught up");
  expect(ids(seen)).toEqual(ids(written));
  expect(ids(late)).toEqual(ids(written));
  // What it missed besides entries is unknown, so it is told that any order may have changed.
  expect(unsure).toEqual([{ from_cursor: null }]);
  expect(slow.connected).toBe(true);
});

test("live entries go on beside a subscription that asks for it", async ({ world }) => {
  const node = await world.node();
  const writer = await world.socket(node);
  const before = await append(writer, numbers(0, 4_000));
  const socket = await world.socket(node);
  const live = collect<Entry>(socket, "ledger_entry_added");
  // At the very moment: what is appended below may come before or after it.
  let liveThen = 0;
  socket.on("entries", ({ done }: Batch) => void (done && (liveThen = live.length)));
  const all = batches(socket);
  const acked = ask(socket, "subscribe", { keep_live: true });
  const written = await append(writer, numbers(0, 300));
  await acked;
  const caughtUp = (await all).flatMap((batch) => ids(batch.entries));
  const later = await append(writer, numbers(0, 10));
  await until(() => live.length === written.length + later.length, "live entries came");
  expect(ids(live)).toEqual(ids([...written, ...later]));
  expect(caughtUp).toEqual(ids([...before, ...written].slice(0, before.length + liveThen)));
});

test("a subscription starts behind an entry or a cursor, also inside a block", async ({ world }) => {
  const node = await world.node();
  const socket = await world.socket(node);
  const entries = await append(socket, numbers(0, 600));
  for (const start of [0, 1, 255, 256, 300, 598, 599]) {
    const all = batches(socket);
    await ask(socket, "subscribe", { cursor: entries[start]!.id });
    const got = await all;
    expect(got.flatMap((batch) => ids(batch.entries)), `behind ${start}`).toEqual(ids(entries.slice(start + 1)));
    const again = batches(socket);
    await ask(socket, "subscribe", { cursor: got.at(-1)!.cursor });
    expect(await again).toEqual([{ entries: [], cursor: got.at(-1)!.cursor, done: true }]);
  }
});

test("entries of any JSON keep the text of their author", async ({ world }) => {
  const node = await world.node();
  const socket = await world.socket(node);
  const values = [null, true, -0.5, 1e300, "", "\u0000\u2028\ud83d\ude00\"\\", [], {}, { a: { b: [{}] } }, { "": 1, "ä": 2 }];
  const entries = await append(socket, values);
  expect(entries.map((entry) => entry.data)).toEqual(values);
  expect((await ledger(socket)).map((entry) => entry.data)).toEqual(values);
});

test("a client hears what becomes of its entries, and of the ledger behind it", async ({ world }) => {
  const relay = await world.relay();
  const cable = await world.cable(relay.url);
  const [here, there] = [await world.node({ relay: cableUrl(cable, relay.url) }), await world.node({ relay: relay.url })];
  const [a, b] = [await world.socket(here), await world.socket(there)];
  const statuses = collect<{ ids: string[]; state: string; held_by: number }>(a, "entry_status");
  const [arrived, changes, progress] = [
    collect<Entry>(b, "ledger_entry_added"),
    collect<{ from_cursor: string | null }>(b, "order_changed"),
    collect<{ done: number; total: number }>(a, "sync_progress"),
  ];
  const [first] = await append(a, ["first"]);
  const known = { ids: [first!.id] };
  await until(() => statuses.length >= 2 && arrived.length === 1, "the relay and the other node have the entry");
  expect(statuses).toEqual([{ ...known, state: "stored", held_by: 0 }, { ...known, state: "held", held_by: 1 }]);

  cable.pull();
  const [early] = await append(a, ["early"]);
  // Several blocks, so that the exchange takes more than one frame.
  const late = await append(b, numbers(0, 400).map((n) => ({ n, padding: "x".repeat(2_000) })));
  cable.plug();
  const count = 2 + late.length;
  await until(async () => (await ledger(a)).length === count && (await ledger(b)).length === count, "both have all entries");
  await until(() => arrived.length === count, "b was told of each");
  expect(ids(await ledger(a))).toEqual([first!.id, early!.id, ...ids(late)]);
  expect(ids(await ledger(b))).toEqual([first!.id, early!.id, ...ids(late)]);
  expect(ids(arrived)).toEqual([first!.id, ...ids(late), early!.id]);
  await until(() => changes.length > 0, "the late block is told of");
  expect(changes).toEqual([{ from_cursor: first!.id }]);
  await until(() => progress.some(({ done, total }) => total > 0 && done === total), "the exchange ended");
  const { nodes } = await ask<{ nodes: readonly string[] }>(a, "get_known_nodes");
  expect(nodes).toEqual(expect.arrayContaining([first!.creator_node_id, late[0]!.creator_node_id]));
});

test("peers on /p2p find and reach one another", async ({ world }) => {
  interface Envelope {
    readonly message_type: string;
    readonly message_id: string;
    readonly sender_id: string;
    readonly recipient_id: string;
    readonly payload: Record<string, unknown>;
  }
  const envelope = (message_type: string, sender_id: string, recipient_id: string, payload: object): object => ({
    message_type,
    message_id: crypto.randomUUID(),
    sender_id,
    recipient_id,
    payload,
  });
  const node = await world.node();
  const [a, b] = ["a1".repeat(32), "b2".repeat(32)];
  const join = (node_id: string): [Promise<Socket>, Envelope[]] => {
    const messages: Envelope[] = [];
    const setup = (socket: Socket): void => void socket.on("p2p_message", (message: Envelope) => messages.push(message));
    return [world.socket(node, { namespace: "/p2p", auth: { node_id } }, setup), messages];
  };
  const [connectingA, toA] = join(a);
  const socketA = await connectingA;
  const [connectingB, toB] = join(b);
  const socketB = await connectingB;
  await until(() => toA.length === 1 && toB.length === 1, "each got the other's announcement");
  expect(toA[0]).toMatchObject({ message_type: "NodeAnnounce", sender_id: b, payload: { node_id: b } });
  expect(toB[0]).toMatchObject({ message_type: "NodeAnnounce", payload: { node_id: a } });
  socketA.emit("p2p_message", envelope("Hello", a, b, { text: "for b" }));
  await until(() => toB.length === 2, "b got its message");
  expect(toB[1]).toMatchObject({ message_type: "Hello", sender_id: a, recipient_id: b, payload: { text: "for b" } });
  socketB.emit("p2p_message", envelope("NodeListRequest", b, "", {}));
  await until(() => toB.length === 3, "b got the list");
  expect(toB[2]).toMatchObject({ message_type: "NodeListResponse", payload: { nodes: [a, b] } });
  socketB.emit("p2p_message", { nonsense: true });
  await until(() => toB.length === 4, "b got an error");
  expect(toB[3]).toMatchObject({ message_type: "Error", payload: { code: "malformed" } });
  expect(await exchange<ErrorEvent>(socketB, ["message", 1], "error")).toMatchObject({ code: "unknown_event" });
  expect(await exchange<ErrorEvent>(socketB, ["p2p_message"], "error")).toMatchObject({ code: "wrong_arguments" });
  expect(await refused(socketB, "p2p_message", 1, 2)).toBe("wrong_arguments");
  expect(await socketB.emitWithAck("p2p_message", envelope("Hello", b, a, {}))).toEqual({ ok: true });
  expect(socketB.connected).toBe(true);

  const refusals: Error[] = [];
  await expect(
    Promise.race([
      world.socket(node, { namespace: "/p2p", reconnection: false }, (socket) => {
        socket.on("connect_error", (error) => refusals.push(error));
      }),
      until(() => refusals.length > 0, "the connection was refused").then(() => Promise.reject(refusals[0])),
    ]),
  ).rejects.toThrow("{node_id}");
});

test("HTTP answers people, machines and mistakes", async ({ world }) => {
  const node = await world.node();
  const get = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`${node.url}${path}`, init);
  expect(await (await get("/")).text()).toBe("Cairn node");
  // Built or not, a browser gets something to read.
  const page = await get("/", { headers: { accept: "text/html,*/*" } });
  expect((await page.text()).toLowerCase()).toContain("<!doctype html>");
  expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
  expect(page.headers.get("content-security-policy")).toContain("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'");
  expect(page.headers.get("x-content-type-options")).toBe("nosniff");
  const socket = await world.socket(node);
  const { entry } = await ask<{ entry: Entry }>(socket, "add_ledger_entry", 1);
  expect(await (await get("/healthz")).json()).toMatchObject({ ok: true, name: "commons", entries: 1 });
  expect(await (await get("/status.json")).json()).toMatchObject({ status: { totals: { entries: 1 } }, newest: [entry] });
  const metrics = await (await get("/metrics")).text();
  for (const line of ["cairn_ledger_entries 1", "cairn_clients 1", "cairn_appended_entries_total 1", "cairn_append_seconds_count 1"]) {
    expect(metrics.split("\n")).toContain(line);
  }
  for (const [path, init, status, code] of [
    ["/nothing", {}, 404, "not_found"],
    ["//etc/passwd", {}, 404, "not_found"],
    ["/..%2f..%2fCargo.toml", {}, 404, "not_found"],
    ["/index.html", { method: "POST" }, 404, "not_found"],
    ["/healthz", { method: "POST" }, 405, "method_not_allowed"],
    ["/status.json", { headers: { origin: "https://evil.example" } }, 403, "forbidden_origin"],
    ["/socket.io/?EIO=4&transport=polling", { headers: { origin: "https://evil.example" } }, 403, "forbidden_origin"],
  ] as const) {
    const response = await get(path, init);
    expect([response.status, ((await response.json()) as { code: string }).code], path).toEqual([status, code]);
  }
  const local = await get("/socket.io/?EIO=4&transport=polling", { headers: { origin: "http://localhost:5173" } });
  expect([local.status, local.headers.get("access-control-allow-origin")]).toEqual([200, "http://localhost:5173"]);
  expect((await get("/", { headers: { "x-large": "x".repeat(40_000) } }).catch(() => ({ status: 431 }))).status).toBe(431);
});

test("clients are disconnected when the node stops, and it stops in time", async ({ world }) => {
  const node = await world.node();
  const sockets = await Promise.all(TRANSPORTS.map((transports) => world.socket(node, { transports: [...transports], reconnection: false })));
  // In the midst of changing to a WebSocket the official client listens to neither way, and would notice by its ping alone.
  const last = sockets.at(-1)!;
  await until(() => last.io.engine.transport.name === "websocket", "the last one has changed to a WebSocket");
  const gone = sockets.map((socket) => event(socket, "disconnect"));
  const began = Date.now();
  await node.stop();
  await Promise.all(gone);
  expect(Date.now() - began).toBeLessThan(10_000);
});
