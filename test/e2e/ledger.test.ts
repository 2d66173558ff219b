/** One shared ledger: three nodes, one relay, three clients that write at once. */

import { performance } from "node:perf_hooks";

import { expect } from "vitest";

import type { DataEntry, Entry } from "../../client/src/index.js";
import { privateTest as test } from "./fixture.js";
import { event, until } from "./harness.js";
import { converged, group, percentile } from "./ledger.js";

const NODES = 3;
const ENTRIES = 300;
/** ms within which 99 % of the entries have to be at the other nodes. */
const BOUND = 1000;

test("three clients write at once, and all three nodes have the same ledger within a second", async ({ world }) => {
  const relay = await world.relay();
  const { nodes, clients } = await group<{ mark: string; writer: number; number: number }>(world, relay, NODES);
  const seen = nodes.map(() => new Map<string, { count: number; at: number }>());
  const listeners = await Promise.all(
    nodes.map((node, index) =>
      world.socket(node, {}, (socket) => {
        socket.on("ledger_entry_added", ({ id, kind }: Entry) => {
          if (kind !== "data") return;
          const entry = seen[index]!.get(id) ?? { count: 0, at: performance.now() };
          entry.count += 1;
          seen[index]!.set(id, entry);
        });
      }),
    ),
  );

  const acks = new Map<string, { writer: number; called: number; at: number }>();
  const write = async (writer: number, number: number): Promise<void> => {
    const called = performance.now();
    const { id } = await clients[writer]!.append({ mark: world.mark, writer, number });
    acks.set(id, { writer, called, at: performance.now() });
  };
  const writing = nodes.flatMap((_, writer) => Array.from({ length: ENTRIES }, (_, number) => write(writer, number)));
  await Promise.all(writing);
  await until(() => seen.every((entries) => entries.size === NODES * ENTRIES), "every listener saw every entry");
  await converged(clients, NODES * ENTRIES);

  for (const entries of seen) {
    expect([...entries.keys()].sort()).toEqual([...acks.keys()].sort());
    expect(Math.max(...[...entries.values()].map(({ count }) => count))).toBe(1);
  }
  const ledgers = await Promise.all(
    listeners.map(async (listener) => {
      const answer = event<Entry[]>(listener, "ledger_entries");
      listener.emit("get_ledger");
      return answer;
    }),
  );
  const entries = ledgers[0]!.filter(({ kind }) => kind === "data");
  expect(entries).toHaveLength(NODES * ENTRIES);
  expect(JSON.stringify(ledgers[1])).toBe(JSON.stringify(ledgers[0]));
  expect(JSON.stringify(ledgers[2])).toBe(JSON.stringify(ledgers[0]));
  for (let writer = 0; writer < NODES; writer++) {
    const data = entries.map((entry) => (entry as DataEntry<{ writer: number; number: number }>).data);
    const own = data.filter((each) => each.writer === writer).map(({ number }) => number);
    expect(own, `the entries of writer ${writer} keep the order of its calls`).toEqual(own.map((_, index) => index));
  }

  const arrivals = [...acks].flatMap(([id, { writer, called, at }]) =>
    seen.flatMap((entries, index) => {
      const arrived = entries.get(id)!.at;
      return index === writer ? [] : [{ afterCall: arrived - called, afterAck: Math.max(0, arrived - at) }];
    }),
  );
  const report = (what: string, values: readonly number[]): void =>
    console.log(
      `arrival at the other nodes after the ${what}: p50 ${percentile(values, 50).toFixed(1)} ms, p99 ${percentile(values, 99).toFixed(1)} ms`,
    );
  const afterAck = arrivals.map((arrival) => arrival.afterAck);
  report(
    "call",
    arrivals.map(({ afterCall }) => afterCall),
  );
  report("ack", afterAck);
  expect(percentile(afterAck, 99)).toBeLessThan(BOUND);
});
