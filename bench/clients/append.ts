/**
 * What one client gets out of a node: entries that it appends, each acknowledged when it is on disk.
 *
 *     node --import tsx bench/clients/append.ts pipelined
 *
 * `pipelined` has 500 calls on their way (`--window`): fewer would say how long a round takes and not what the node does, and
 * with W of them, at R entries a second, one takes W / R s, so that the times say something of the same run. The times are
 * from the call to its result, the client's own work included.
 */

import { performance } from "node:perf_hooks";

import { connect, type Client } from "../../client/src/index.js";
import type { World } from "../../test/e2e/harness.js";
import { cost, line, main, percentile, print, seconds, startNode, type Cost, type Line } from "./measure.js";

interface Sizes {
  readonly entries: number;
  readonly window: number;
  readonly each: number;
  readonly trips: number;
}

/** What a measured part took. */
interface Took {
  readonly seconds: number;
  readonly before: Cost | undefined;
  readonly after: Cost | undefined;
}

/** A client of a node that has nothing to do but for it, and how to measure what they do. What that costs is what the node costs. */
async function begin(world: World): Promise<[ledger: Client<Line>, measure: (work: () => Promise<unknown>) => Promise<Took>]> {
  const node = await startNode(world);
  const ledger = connect<Line>(node.url);
  world.onClose(() => ledger.close());
  // The connection is there, and the node knows what it has written.
  await ledger.append(line(0));
  const measure = async (work: () => Promise<unknown>): Promise<Took> => {
    const [before, own] = [cost([node.process]), process.cpuUsage()];
    const took = await seconds(work);
    const { user, system } = process.cpuUsage(own);
    console.error(`append: ${took.toFixed(2)} s; the client took ${((user + system) / 1e6).toFixed(2)} s of processor time`);
    return { seconds: took, before, after: cost([node.process]) };
  };
  return [ledger, measure];
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
  const [ledger, measure] = await begin(world);
  const lines = Array.from({ length: entries }, (_, number) => line(number));
  let times: number[] = [];
  const append = (number: number): Promise<unknown> => ledger.append(lines[number]!);
  const took = await measure(async () => (times = await calls(entries, window, append)));
  await check(ledger, entries);
  print("append/pipelined", entries / took.seconds, took);
  print("append/pipelined/p99", percentile(times, 99), took);
}

async function many(world: World, { entries, each }: Sizes): Promise<void> {
  const [ledger, measure] = await begin(world);
  const batches = Array.from({ length: Math.ceil(entries / each) }, (_, batch) =>
    Array.from({ length: Math.min(each, entries - batch * each) }, (_, index) => line(batch * each + index)),
  );
  // Enough at once that the node always has the next one.
  const took = await measure(() => calls(batches.length, 4, (batch) => ledger.appendMany(batches[batch]!)));
  await check(ledger, entries);
  print("append/many", entries / took.seconds, took);
}

async function one(world: World, { trips }: Sizes): Promise<void> {
  const [ledger, measure] = await begin(world);
  let times: number[] = [];
  const took = await measure(async () => (times = await calls(trips, 1, (number) => ledger.append(line(number)))));
  await check(ledger, trips);
  print("append/one/p50", percentile(times, 50), took);
}

await main({ pipelined, many, one }, { entries: 100_000, window: 500, each: 1000, trips: 2000 });
