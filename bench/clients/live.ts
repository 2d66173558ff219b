/**
 * How long an entry is on its way from one client to another, over two nodes that are linked directly (QUIC), or over two
 * nodes and a relay in workerd. One entry at a time; all on this machine.
 *
 *     node --import tsx bench/clients/live.ts direct
 *
 * `direct` counts from the call of the first client, `relay` from its acknowledgement; 0 where the entry came before that.
 */

import { performance } from "node:perf_hooks";

import type { Client } from "../../client/src/index.js";
import { until, type World } from "../../test/e2e/harness.js";
import { client } from "../../test/e2e/ledger.js";
import { cost, line, main, percentile, print, startNode, type Line } from "./measure.js";

interface Sizes {
  readonly entries: number;
  readonly warm: number;
}

/** When an entry was where, ms. */
interface Times {
  readonly called: number;
  readonly acked: number;
  readonly came: number;
}

/** Appends so many entries, each when the one before has come to the other client. */
async function send(writer: Client<Line>, reader: Client<Line>, first: number, count: number): Promise<Times[]> {
  let came: (number: number) => void = () => {};
  const stop = reader.on("entry", ({ kind, data }) => {
    if (kind === "data" && data !== null) came(data.number);
  });
  const times: Times[] = [];
  for (let number = first; number < first + count; number++) {
    const arrived = new Promise<number>((resolve) => {
      came = (which) => which === number && resolve(performance.now());
    });
    const called = performance.now();
    await writer.append(line(number));
    const acked = performance.now();
    times.push({ called, acked, came: await arrived });
  }
  stop();
  return times;
}

/** Whether a node has one link, and that by this path. */
async function isLinked(node: Client<Line>, path: string): Promise<boolean> {
  const { links } = await node.status();
  return links.length === 1 && links[0]!.node !== null && links[0]!.path === path;
}

async function measure(world: World, path: "quic" | "relay", sizes: Sizes, since: (times: Times) => number): Promise<void> {
  const relay = path === "relay" ? await world.relay() : undefined;
  const way = relay === undefined ? { direct: true } : { relay: relay.url };
  world.anotherGroup();
  const one = await startNode(world, way);
  const peer = relay === undefined ? ["--peer", one.url.replace("http", "ws")] : [];
  const two = await startNode(world, { ...way, args: peer });
  const [writer, reader] = [client<Line>(world, one), client<Line>(world, two)];
  const check = async (): Promise<void> => {
    for (const each of [writer, reader]) await until(() => isLinked(each, path), `a node is linked by ${path} alone`);
  };
  await check();
  // Code is compiled, and blocks show which links are too many.
  await send(writer, reader, 0, sizes.warm);
  await check();
  const used = () => cost([one.process, two.process], relay === undefined ? [] : [relay.process]);
  const before = used();
  const times = await send(writer, reader, sizes.warm, sizes.entries);
  const after = used();
  await check();
  const waits = times.map(since);
  const figure = path === "relay" ? "live/relay" : "live/direct";
  for (const percent of [50, 99]) print(`${figure}/p${percent}`, percentile(waits, percent), { before, after });
}

const direct = (world: World, sizes: Sizes) => measure(world, "quic", sizes, ({ called, came }) => came - called);
const relay = (world: World, sizes: Sizes) => measure(world, "relay", sizes, ({ acked, came }) => Math.max(0, came - acked));

await main({ direct, relay }, { entries: 1000, warm: 200 });
