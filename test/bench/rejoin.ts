/**
 * How long three of ten nodes that were killed take to be back, from the start of their processes on, with nothing configured.
 *
 *     cargo build -p node && npx tsx test/bench/rejoin.ts [times] [seconds that they are gone]
 */

import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";

import type { Client } from "../../client/src/index.js";
import { until, World, type NodeProcess } from "../e2e/harness.js";
import { client, converged, linked, percentile } from "../e2e/ledger.js";

const NODES = 10;
const GONE = [2, 5, 8];
/** Within which they are to be back, ms. */
const GOAL = 5_000;

async function knowsAll(node: Client<string>): Promise<boolean> {
  return (await node.status()).peers.filter(({ online }) => online).length === NODES - 1;
}

/** ms until each is linked, all ten have the same ledger, and all know that all others are on line. */
async function round(world: World, gone: number): Promise<number> {
  const nodes: NodeProcess[] = [];
  for (let number = 0; number < NODES; number++) {
    const before = nodes.at(-1);
    const args = before === undefined ? [] : ["--peer", `ws://127.0.0.1:${before.port}`];
    nodes.push(await world.node({ direct: true, args }));
  }
  const clients = nodes.map((node) => client<string>(world, node));
  for (const each of clients) await until(() => knowsAll(each), "a node knows all others");
  await clients[0]!.append("to all");
  await converged(clients, 1);
  for (const number of GONE) clients[number]!.close();
  await Promise.all(GONE.map((number) => nodes[number]!.kill()));
  const rest = clients.filter((_, number) => !GONE.includes(number));
  await rest[0]!.append("to those who are left");
  await converged(rest, 2);
  await wait(1000 * gone);

  const began = performance.now();
  const start = async (number: number): Promise<void> => {
    const { data, port } = nodes[number]!;
    clients[number] = client<string>(world, await world.node({ direct: true, data, listen: `127.0.0.1:${port}` }));
    await linked(clients[number]);
  };
  await Promise.all(GONE.map(start));
  await converged(clients, 2);
  for (const each of clients) await until(() => knowsAll(each), "a node knows that all others are back");
  return performance.now() - began;
}

const [times = "20", gone = "0"] = process.argv.slice(2);
const took: number[] = [];
while (took.length < Number(times)) {
  const world = new World();
  try {
    took.push(await round(world, Number(gone)));
  } finally {
    await world.close();
  }
}
const [p50, most] = [percentile(took, 50), Math.max(...took)];
const good = most <= GOAL;
console.log(`rejoin ${good ? "pass" : "FAIL"} times=${took.length} p50=${p50.toFixed(0)}ms most=${most.toFixed(0)}ms`);
if (!good) process.exitCode = 1;
