/** Who is on line, as real nodes tell it. */

import { expect } from "vitest";

import type { Client } from "../../client/src/index.js";
import { privateTest, test } from "./fixture.js";
import { until, type NodeProcess, type World } from "./harness.js";
import { client } from "./ledger.js";

/** How nodes see another one. */
async function seen(by: readonly Pick<Client, "status">[], node: string) {
  const statuses = await Promise.all(by.map((each) => each.status()));
  return statuses.map(({ peers }) => peers.find((peer) => peer.node === node));
}

/** Waits until all see a node as on or off line; in s. */
async function shown(by: readonly Pick<Client, "status">[], node: string, online: boolean): Promise<number> {
  const began = performance.now();
  const are = async () => (await seen(by, node)).every((peer) => peer?.online === online);
  await until(are, `a node is shown ${online ? "on" : "off"} line`);
  return (performance.now() - began) / 1_000;
}

/** Three nodes that see each other, and the id of the last one. */
async function three(world: World, start: (before: readonly NodeProcess[]) => Promise<NodeProcess>) {
  const nodes: NodeProcess[] = [];
  for (let number = 0; number < 3; number++) nodes.push(await start(nodes));
  const clients = nodes.map((node) => client<string>(world, node));
  const ids = await Promise.all(clients.map(async (each) => (await each.status()).node));
  for (const [number, id] of ids.entries()) await shown(clients.filter((_, other) => other !== number), id, true);
  const [first, second, third] = nodes as [NodeProcess, NodeProcess, NodeProcess];
  return { others: clients.slice(0, 2), nodes: [first, second, third] as const, last: ids[2]! };
}

privateTest("at a relay, who is killed is shown off line within ten seconds, and on line when it is back", async ({ world }) => {
  const relay = await world.relay();
  const { others, nodes, last } = await three(world, () => world.node({ relay: relay.url, direct: false }));
  expect((await seen(others, last)).map((peer) => peer?.path)).toEqual(["relay", "relay"]);
  const changes: boolean[] = [];
  others[0]!.on("presenceChanged", ({ node, online }) => node === last && changes.push(online));
  await nodes[2].kill();
  const gone = await shown(others, last, false);
  await world.node({ relay: relay.url, direct: false, data: nodes[2].data });
  const back = await shown(others, last, true);
  console.log(`by the relay: off line ${gone.toFixed(1)} s after it was killed, on line ${back.toFixed(1)} s after it was back`);
  expect(gone).toBeLessThan(10);
  await until(async () => changes.slice(-2).join() === "false,true", "the client is told of both");
});

test("without a relay, who stops says goodbye, and who is killed is missed by all", async ({ world }) => {
  const address = (node: NodeProcess): string => `ws://127.0.0.1:${node.port}`;
  const start = (before: readonly NodeProcess[]): Promise<NodeProcess> =>
    world.node({ direct: true, args: before.flatMap((node) => ["--peer", address(node)]) });
  const { others, nodes, last } = await three(world, start);
  await nodes[2].stop();
  const stopped = await shown(others, last, false);
  const again = await world.node({ direct: true, data: nodes[2].data, args: ["--peer", address(nodes[0])] });
  await shown(others, last, true);
  await again.kill();
  const killed = await shown(others, last, false);
  console.log(`directly: off line ${stopped.toFixed(1)} s after it stopped, ${killed.toFixed(1)} s after it was killed`);
  // Nobody waits for who said goodbye.
  expect(stopped).toBeLessThan(killed);
  expect(killed).toBeLessThan(30);
  expect((await seen(others, last)).every((peer) => peer?.seen !== null)).toBe(true);
});
