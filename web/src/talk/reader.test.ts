import { describe, expect, it } from "vitest";

import { CairnError, type Entry, type Json } from "@cairn/client";

import { EVE, IDA, notes, wrote } from "../state/fixture.js";
import { reduce } from "../state/reduce.js";
import { INITIAL, type State } from "../state/state.js";
import { Reader, type ReaderOptions } from "./reader.js";

/** A node with a ledger, whose order of arrival is that in which the test adds. */
class FakeNode {
  ledger: Entry<Json>[];
  readonly arrivals: Entry<Json>[];
  asked = 0;

  constructor(entries: readonly Entry<Json>[]) {
    this.ledger = [...entries];
    this.arrivals = [...entries];
  }

  /** An entry comes, at the end or before another one. */
  add(entry: Entry<Json>, before?: string): void {
    const at = before === undefined ? this.ledger.length : this.#place(before);
    this.ledger.splice(at, 0, entry);
    this.arrivals.push(entry);
  }

  readonly client: ReaderOptions["client"] = {
    newest: async (limit, before = null) => {
      this.asked += 1;
      const end = before === null ? this.ledger.length : this.#place(before);
      return this.ledger.slice(Math.max(0, end - limit), end);
    },
    entries: ({ after, limit = Infinity } = {}) => this.#from(after, limit),
    entry: async (id) => this.ledger[this.#place(id)]!,
    subscribe: ((options: { cursor?: string }) => this.#subscription(options.cursor)) as ReaderOptions["client"]["subscribe"],
  };

  async *#from(after: string | undefined, limit: number): AsyncGenerator<Entry<Json>, void, undefined> {
    const start = after === undefined ? 0 : this.#place(after) + 1;
    yield* this.ledger.slice(start, start + limit);
  }

  #subscription(cursor: string | undefined): object {
    const start = cursor === undefined ? 0 : this.arrivals.findIndex(({ id }) => id === cursor) + 1;
    const missed = this.arrivals.slice(start);
    let end = (): void => {};
    const closed = new Promise<void>((resolve) => (end = resolve));
    return {
      caughtUp: Promise.resolve(true),
      close: () => end(),
      async *[Symbol.asyncIterator]() {
        yield* missed;
        await closed;
      },
    };
  }

  #place(id: string): number {
    const place = this.ledger.findIndex((entry) => entry.id === id);
    if (place < 0) throw new CairnError("unknown_entry", "so");
    return place;
  }
}

function bench(entries: readonly Entry<Json>[]) {
  const node = new FakeNode(entries);
  const page: { state: State } = { state: INITIAL };
  const errors: unknown[] = [];
  const reader = new Reader({
    client: node.client,
    state: () => page.state,
    dispatch: (event) => void (page.state = reduce(page.state, event)),
    onArrived: () => {},
    onError: (error) => errors.push(error),
  });
  const shown = (): readonly string[] => [...page.state.timeline.items].map(({ entry }) => entry.id);
  const ids = (): readonly string[] => node.ledger.map(({ id }) => id);
  return { node, page, reader, shown, ids, errors };
}

describe("reading", () => {
  it("begins at the end, and goes back page by page to the beginning", async () => {
    const { page, reader, shown, ids } = bench(notes(0, 450));
    await reader.open();
    expect(shown()).toEqual(ids().slice(-200));
    for (let page = 0; page < 3; page += 1) {
      reader.older();
      reader.older();
      await reader.resume();
    }
    expect(shown()).toEqual(ids());
    expect(page.state.timeline.atStart).toBe(true);
  });

  it("shows what arrives", async () => {
    const { node, reader, shown, ids } = bench(notes(0, 5));
    await reader.open();
    const entry = wrote(EVE, 1, "now");
    node.add(entry);
    reader.arrived(entry);
    await expect.poll(shown).toEqual(ids());
  });

  it("puts what lands between older ones where it belongs", async () => {
    const { node, reader, shown, ids } = bench(notes(0, 50));
    await reader.open();
    const late = wrote(EVE, 1, "late");
    node.add(late, `${IDA}-40-0`);
    reader.arrived(late);
    reader.orderChanged({ from_cursor: `${IDA}-39-0` });
    await expect.poll(shown, { timeout: 5000 }).toEqual(ids());
  });

  it("fills the gap of an outage, wherever what was missed landed", async () => {
    const { node, reader, shown, ids } = bench(notes(0, 300));
    await reader.open();
    node.add(wrote(EVE, 1, "in between"), `${IDA}-250-0`);
    for (const note of notes(300, 520)) node.add(note);
    await reader.resume();
    expect(shown()).toEqual(ids().slice(-421));
    expect(shown().at(0)).toBe(`${IDA}-100-0`);
  });

  it("asks for nothing after an outage in which nothing happened", async () => {
    const { node, page, reader } = bench(notes(0, 300));
    await reader.open();
    const { asked } = node;
    const { timeline } = page.state;
    await reader.resume();
    expect(node.asked).toBe(asked);
    expect(page.state.timeline).toBe(timeline);
  });

  it("is anew where too much was missed", async () => {
    const { node, reader, shown, ids } = bench(notes(0, 300));
    await reader.open();
    for (const note of notes(300, 4000)) node.add(note);
    await reader.resume();
    expect(shown()).toEqual(ids().slice(-200));
  });

  it("jumps anywhere, and reads on to the end behind the reader's back", async () => {
    const { page, reader, shown, ids } = bench(notes(0, 3000));
    await reader.open();
    await reader.jump(`${IDA}-700-0`);
    expect(page.state.timeline.focus).toEqual({ entry: `${IDA}-700-0` });
    expect(shown()[0]).toBe(`${IDA}-600-0`);
    await expect.poll(() => page.state.timeline.atEnd).toBe(true);
    expect(shown()).toEqual(ids().slice(600));
  });

  it("says what an entry that it does not have is: nothing", async () => {
    const { page, reader, errors } = bench(notes(0, 3));
    await reader.open();
    reader.want(`${EVE}-9-0`);
    await expect.poll(() => page.state.timeline.strays.get(`${EVE}-9-0`)).toBe(null);
    await reader.jump(`${EVE}-9-0`);
    expect(errors).toEqual([new CairnError("unknown_entry", "so")]);
  });

  it("counts what was not read, and not what one wrote oneself", async () => {
    const { node, page, reader } = bench(notes(0, 10));
    node.add(wrote(EVE, 1, "one"));
    node.add(wrote(IDA, 10, "mine"));
    node.add(wrote(EVE, 2, "two"));
    await reader.open();
    await reader.unread(`${IDA}-9-0`, IDA);
    expect(page.state.timeline.unread).toEqual({ from: `${EVE}-1-0`, count: 2, more: false });
  });
});
