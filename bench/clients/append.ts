/**
 * What one client gets out of a node: entries that it appends, each acknowledged when it is on disk.
 *
 *     node --import tsx bench/clients/append.ts pipelined
 *
 * `pipelined` has 1,000 calls on their way (`--window`): fewer would say how long a round takes and not what the node does, and
 * with W of them, at R entries a second, one takes W / R s, so that the times say something of the same run. The times are
 * from the call to its result, the client's own work included.
 */

import { performance } from "node:perf_hooks";

import { connect, type Client } from "../../client/src/index.js";
import type { World } from "../../test/e2e/harness.js";
import { cost, line, main, percentile, print, seconds, startNode, type Line } from "./measure.js";

interface Sizes {
  readonly entries: number;
  readonly window: number;
  readonly each: number;
  readonly trips: number;
}

/** A client of a node that has nothing to do but for it. What it costs is that of the node. */
async function begin(world: World): Promise<{ readonly ledger: Client<Line>; readonly used: () => ReturnType<typeof cost> }> {
  const node = await startNode(world);
  const ledger = connect<Line>(node.url);
  world.onClose(() => ledger.close());
  // The connection is there, and the node knows what it has written.
  await ledger.append(line(0));
  return { ledger, used: () => cost([node.process]) };
}

/** Calls with each number below `count`, so many at once; ms of each call. */
async function calls(count: number, atOnce: number, call: (number: number) => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  let next = 0;
  const oneAfterTheOther = async (): Promise<void> => {
    while (next < count) {
      const number = next++;
      const called = performance.now();
      await call(number);
      times.push(performance.now() - called);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, oneAfterTheOther));
  return times;
}

/** Fails where the ledger does not have just these, and the first one. */
async function check(ledger: Client<Line>, entries: number): Promise<void> {
  const { totals } = await ledger.status();
  if (totals.entries !== entries + 1) throw new Error(`${entries} entries were appended, the ledger has ${totals.entries - 1}`);
}

async function pipelined(world: World, { entries, window }: Sizes): Promise<void> {
  const { ledger, used } = await begin(world);
  const before = used();
  let times: number[] = [];
  const took = await seconds(async () => (times = await calls(entries, window, (number) => ledger.append(line(number)))));
  const after = used();
  await check(ledger, entries);
  print("append/pipelined", entries / took, before, after);
  print("append/pipelined/p99", percentile(times, 99), before, after);
}

async function many(world: World, { entries, each }: Sizes): Promise<void> {
  const { ledger, used } = await begin(world);
  const batches = Array.from({ length: Math.ceil(entries / each) }, (_, batch) =>
    Array.from({ length: Math.min(each, entries - batch * each) }, (_, index) => line(batch * each + index)),
  );
  const before = used();
  // Enough that the node always has the next one.
  const took = await seconds(() => calls(batches.length, 4, (batch) => ledger.appendMany(batches[batch]!)));
  const after = used();
  await check(ledger, entries);
  print("append/many", entries / took, before, after);
}

async function one(world: World, { trips }: Sizes): Promise<void> {
  const { ledger, used } = await begin(world);
  const before = used();
  const times = await calls(trips, 1, (number) => ledger.append(line(number)));
  const after = used();
  await check(ledger, trips);
  print("append/one/p50", percentile(times, 50), before, after);
}

await main({ pipelined, many, one }, { entries: 100_000, window: 1000, each: 1000, trips: 2000 });
