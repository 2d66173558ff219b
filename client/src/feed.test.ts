import { expect, test } from "vitest";

import { CairnError } from "./errors.js";
import { Feed } from "./feed.js";
import { Subscription } from "./subscription.js";
import type { DataEntry, Entry } from "./types.js";

type Numbered = DataEntry<number>;

function entry(data: number): Numbered {
  const id = `node-${data + 1}-0`;
  return {
    id,
    data,
    timestamp: "",
    previous_hash: "",
    hash: "",
    creator_node_id: "node",
    signatures: {},
    height: data + 1,
    index: 0,
    kind: "data",
    parents: [],
  };
}

/** A node with a numbered history: cursor `c<n>` or `node-<n>-0` is the place behind n entries. */
class Source {
  readonly feed = new Feed<number>();
  readonly asked: (string | undefined)[] = [];
  history = 0;
  #failed: (error: CairnError) => void = () => {};

  connect(node = "node"): void {
    this.feed.connected(node, (cursor, failed) => {
      this.asked.push(cursor);
      this.#failed = failed;
    });
  }

  /** Sends what follows the last cursor that was asked for, in batches of two. */
  answer(batches = Infinity): void {
    const cursor = this.asked.at(-1);
    let at = cursor === undefined ? 0 : Number(cursor.match(/^(?:c|node-)(\d+)/)![1]);
    for (let sent = 0; sent < batches; sent++) {
      const end = Math.min(at + 2, this.history);
      const entries = Array.from({ length: end - at }, (_, index) => entry(at + index));
      this.feed.onBatch({ entries, cursor: `c${end}`, done: end === this.history });
      if (end === this.history) return;
      at = end;
    }
  }

  live(): void {
    this.feed.onLive(entry(this.history++));
  }

  refuse(error: CairnError): void {
    this.#failed(error);
  }
}

async function take(entries: AsyncIterator<Entry<number>>, count: number): Promise<unknown[]> {
  const taken = [];
  for (let i = 0; i < count; i++) taken.push((await entries.next()).value?.data);
  return taken;
}

test("history comes first, then live entries, and the cursor follows the reader", async () => {
  const source = new Source();
  source.history = 3;
  const subscription = new Subscription({}, source.feed);
  const entries = subscription[Symbol.asyncIterator]();
  source.connect();
  source.live();
  source.answer();
  source.live();
  expect(subscription.cursor).toBeUndefined();
  expect(await take(entries, 3)).toEqual([0, 1, 2]);
  expect(subscription.cursor).toBe("node-3-0");
  expect(await take(entries, 2)).toEqual([3, 4]);
  expect(subscription.cursor).toBe("node-5-0");
  void entries.next();
  expect(await subscription.caughtUp).toBe(true);
});

test("a connection lost at any moment costs no entry and repeats none", async () => {
  for (let cut = 0; cut < 4; cut++) {
    const source = new Source();
    source.history = 5;
    const subscription = new Subscription({}, source.feed);
    source.connect();
    source.answer(cut);
    if (cut === 3) source.live();
    source.feed.disconnected();
    source.history += 2;
    source.connect();
    source.answer();
    source.live();
    const all = Array.from({ length: source.history }, (_, index) => index);
    expect(await take(subscription[Symbol.asyncIterator](), all.length)).toEqual(all);
  }
});

test("a slow reader bounds what waits and still misses nothing", async () => {
  const source = new Source();
  source.history = 20;
  const subscription = new Subscription({ buffer: 4 }, source.feed);
  const entries = subscription[Symbol.asyncIterator]();
  source.connect();
  source.answer();
  expect(source.asked).toEqual([undefined]);
  const read: unknown[] = [];
  while (read.length < 30) {
    read.push(...(await take(entries, 1)));
    if (source.asked.at(-1) !== undefined) source.answer();
    if (read.length >= 10 && source.history < 40) for (let i = 0; i < 10; i++) source.live();
  }
  expect(read).toEqual(Array.from({ length: 30 }, (_, index) => index));
  // It asked again only when half of its buffer was free.
  expect(source.asked.length).toBeLessThan(20);
});

test("room made while the node still sends is used when it has finished", async () => {
  const source = new Source();
  source.history = 6;
  const subscription = new Subscription({ buffer: 2 }, source.feed);
  const entries = subscription[Symbol.asyncIterator]();
  source.connect();
  source.answer(2);
  expect(await take(entries, 2)).toEqual([0, 1]);
  source.feed.onBatch({ entries: [entry(4), entry(5)], cursor: "c6", done: true });
  expect(source.asked).toEqual([undefined, "c2"]);
  source.answer();
  expect(await take(entries, 2)).toEqual([2, 3]);
});

test("catch-ups take turns, and who is live stays live", async () => {
  const source = new Source();
  source.history = 1;
  source.connect();
  const first = new Subscription({}, source.feed);
  const second = new Subscription({ cursor: "c1" }, source.feed);
  expect(source.asked).toEqual([undefined]);
  source.answer();
  expect(source.asked).toEqual([undefined, "c1"]);
  source.live();
  source.answer();
  source.live();
  expect(await take(first[Symbol.asyncIterator](), 3)).toEqual([0, 1, 2]);
  expect(await take(second[Symbol.asyncIterator](), 2)).toEqual([1, 2]);
});

test("one that ends in the middle of its catch-up does not disturb the next one", async () => {
  const source = new Source();
  source.history = 4;
  source.connect();
  const first = new Subscription({}, source.feed);
  const second = new Subscription({ cursor: "c3" }, source.feed);
  source.answer(1);
  first.close();
  expect(await first.caughtUp).toBe(false);
  expect(await first.closed).toBeUndefined();
  source.feed.onBatch({ entries: [entry(2), entry(3)], cursor: "c4", done: true });
  expect(source.asked).toEqual([undefined, "c3"]);
  source.answer();
  expect(await take(second[Symbol.asyncIterator](), 1)).toEqual([3]);
});

test("a refused cursor ends only its own subscription, after what it has", async () => {
  const source = new Source();
  source.history = 1;
  source.connect();
  const lost = new Subscription({ cursor: "c9" }, source.feed);
  const other = new Subscription({}, source.feed);
  source.refuse(new CairnError("unknown_cursor", "no such cursor"));
  source.answer();
  await expect(lost[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "unknown_cursor" });
  expect(await lost.closed).toMatchObject({ code: "unknown_cursor" });
  expect(await take(other[Symbol.asyncIterator](), 1)).toEqual([0]);
});

test("a cursor of one node is not taken to another", async () => {
  const source = new Source();
  source.history = 1;
  source.connect();
  const subscription = new Subscription({}, source.feed);
  source.answer();
  const entries = subscription[Symbol.asyncIterator]();
  expect(await take(entries, 1)).toEqual([0]);
  source.feed.disconnected();
  source.connect("another node");
  await expect(entries.next()).rejects.toMatchObject({ code: "unknown_cursor" });
});

test("a listener is called one entry after the other, and its error ends its subscription", async () => {
  const source = new Source();
  source.history = 3;
  const subscription = new Subscription<number>({}, source.feed);
  const seen: unknown[] = [];
  const problem = new Error("no more");
  void subscription.run(async ({ data }) => {
    await Promise.resolve();
    seen.push(data);
    if (data === 1) throw problem;
  });
  source.connect();
  source.answer();
  expect(await subscription.closed).toMatchObject({ code: "listener_failed", cause: problem });
  expect(seen).toEqual([0, 1]);
  expect(subscription.cursor).toBe("c2");
});

test("leaving the loop ends the subscription", async () => {
  const source = new Source();
  source.history = 3;
  const subscription = new Subscription({}, source.feed);
  source.connect();
  source.answer();
  for await (const { data } of subscription) if (data === 1) break;
  expect(await subscription.closed).toBeUndefined();
});
