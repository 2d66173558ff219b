import { describe, expect, it } from "vitest";

import { CairnError, type DataEntry, type Json } from "@cairn/client";

import { IDA, wrote } from "../state/fixture.js";
import { reduce } from "../state/reduce.js";
import { INITIAL, type State } from "../state/state.js";
import { inMemory, type OutboxStore } from "./outbox-store.js";
import { Sender } from "./sender.js";

/** A page that sends to a node which answers as the test says. */
class Bench {
  state: State = INITIAL;
  connected = true;
  readonly sent: Json[] = [];
  readonly sender: Sender;
  answer: (data: Json) => Promise<DataEntry<Json>> = async (data) => wrote(IDA, this.sent.length, data);

  constructor(readonly store: OutboxStore = inMemory()) {
    const bench = this;
    this.sender = new Sender({
      client: {
        get connected() {
          return bench.connected;
        },
        append: (data) => {
          bench.sent.push(data);
          return bench.answer(data);
        },
      },
      ledger: "l",
      store,
      state: () => this.state,
      dispatch: (event) => void (this.state = reduce(this.state, event)),
      now: () => this.sent.length,
    });
  }

  get texts(): readonly unknown[] {
    return this.sent.map((data) => (data as { readonly text: string }).text);
  }

  get deliveries(): readonly string[] {
    return this.state.outbox.map(({ delivery }) => delivery.state);
  }
}

const note = (text: string) => ({ type: "note", text }) as const;
const failing = (code: string) => () => Promise.reject(new CairnError(code, "so"));

describe("notes on their way", () => {
  it("are in the ledger in the order in which they were written", async () => {
    const bench = new Bench();
    bench.state = reduce(bench.state, { type: "fresh", entries: [], start: true, end: true });
    await Promise.all(["one", "two", "three"].map((text) => bench.sender.send(note(text))));
    await bench.sender.pump();
    expect(bench.texts).toEqual(["one", "two", "three"]);
    expect(bench.state.outbox).toEqual([]);
    expect(bench.state.timeline.items.length).toBe(3);
    expect(await bench.store.all("l")).toEqual([]);
  });

  it("wait for the connection, and outlive the page", async () => {
    const bench = new Bench();
    bench.connected = false;
    await bench.sender.send(note("later"));
    expect([bench.deliveries, bench.sent]).toEqual([["waiting"], []]);

    const again = new Bench(bench.store);
    await again.sender.load();
    expect(again.texts).toEqual(["later"]);
    expect(await again.store.all("l")).toEqual([]);
  });

  it("are never sent again by themselves when the answer was lost", async () => {
    const bench = new Bench();
    bench.answer = failing("outcome_unknown");
    await bench.sender.send(note("lost"));
    await bench.sender.pump();
    expect([bench.deliveries, bench.sent.length]).toEqual([["unknown"], 1]);

    const again = new Bench(bench.store);
    await again.sender.load();
    expect([again.deliveries, again.sent]).toEqual([["unknown"], []]);
    await again.sender.again(again.state.outbox[0]!.key);
    expect([again.deliveries, again.texts]).toEqual([[], ["lost"]]);
  });

  it("whose page went away in the middle of it are unknown, not sent twice", async () => {
    const bench = new Bench();
    bench.answer = () => new Promise(() => {});
    void bench.sender.send(note("half"));
    await expect.poll(async () => (await bench.store.all("l"))[0]?.delivery.state).toBe("sending");
    const again = new Bench(bench.store);
    await again.sender.load();
    expect([again.deliveries, again.sent]).toEqual([["unknown"], []]);
  });

  it("are settled when they turn up in the ledger, whatever the answer was", async () => {
    const bench = new Bench();
    bench.answer = failing("outcome_unknown");
    await bench.sender.send(note("there after all"));
    bench.state = reduce(bench.state, { type: "fresh", entries: [wrote(IDA, 1, bench.sent[0]!)], start: true, end: true });
    expect(bench.deliveries).toEqual([]);
  });

  it("are sent by one window only", async () => {
    const store = inMemory();
    const offline = new Bench(store);
    offline.connected = false;
    await offline.sender.send(note("once"));
    const [first, second] = [new Bench(store), new Bench(store)];
    await Promise.all([first.sender.load(), second.sender.load()]);
    expect(first.sent.length + second.sent.length).toBe(1);
  });

  it("that are refused say why, and do not hold up the next", async () => {
    const bench = new Bench();
    const plain = bench.answer;
    bench.answer = failing("payload_too_large");
    await bench.sender.send(note("huge"));
    bench.answer = plain;
    await bench.sender.send(note("small"));
    expect(bench.state.outbox.map(({ delivery }) => delivery)).toEqual([{ state: "refused", code: "payload_too_large", message: "so" }]);
    expect(bench.texts).toEqual(["huge", "small"]);
    await bench.sender.giveUp(bench.state.outbox[0]!.key);
    expect([bench.state.outbox, await bench.store.all("l")]).toEqual([[], []]);
  });
});
