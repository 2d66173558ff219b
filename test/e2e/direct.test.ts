/** Nodes that find each other and link directly. */

import { expect } from "vitest";
import { WebSocket } from "ws";

import type { Client } from "../../client/src/index.js";
import { privateTest, test } from "./fixture.js";
import { PATIENCE, until, type NodeProcess, type World } from "./harness.js";
import { client, content, converged, held, linked } from "./ledger.js";

/** Ids of those that a node is linked to directly. */
async function neighbours(node: Pick<Client, "status">): Promise<string[]> {
  const { links } = await node.status();
  return links.flatMap(({ path, node }) => (path === "relay" || node === null ? [] : [node]));
}

const address = (node: NodeProcess): string => `ws://127.0.0.1:${node.port}`;

test("ten nodes that each know the one before know all, and stay together when three are killed", async ({ world }) => {
  const nodes: NodeProcess[] = [];
  for (let number = 0; number < 10; number++) {
    const before = nodes.at(-1);
    nodes.push(await world.node({ direct: true, args: before === undefined ? [] : ["--peer", address(before)] }));
  }
  const clients = nodes.map((node) => client<string>(world, node));
  const ids = await Promise.all(clients.map(async (each) => (await each.status()).node));
  for (const each of clients) {
    await until(async () => (await each.status()).peers.length === 9, "a node knows all others");
    expect((await neighbours(each)).length).toBeLessThanOrEqual(12);
  }
  await clients[0]!.append("to all");
  await converged(clients, 1);

  const gone = [2, 5, 8];
  for (const number of gone) await nodes[number]!.kill();
  const rest = clients.filter((_, number) => !gone.includes(number));
  await rest[0]!.append("to those who are left");
  await converged(rest, 2);

  // They find the others by what they remember.
  for (const number of gone) {
    const { data, port } = nodes[number]!;
    clients[number]!.close();
    const again = await world.node({ direct: true, data, listen: `127.0.0.1:${port}` });
    clients[number] = client<string>(world, again);
  }
  await converged(clients, 2, 5_000);
  for (const number of gone) expect((await clients[number]!.status()).node).toBe(ids[number]);
});

/** Two nodes at a relay that have linked to each other. */
async function pair(world: World) {
  const relay = await world.relay();
  const start = async () => client<string>(world, await world.node({ relay: relay.url, direct: true }));
  const one = await start();
  await linked(one);
  const two = await start();
  await linked(two);
  for (const each of [one, two]) {
    await until(async () => (await neighbours(each)).length === 1, "the two are linked directly");
  }
  return { relay, one, two };
}

/** Bytes that came from the relay. */
async function fromRelay(node: Pick<Client, "status">): Promise<number> {
  const { links } = await node.status();
  return links.filter(({ path }) => path === "relay").reduce((sum, { received }) => sum + received, 0);
}

privateTest("with a direct link the relay carries nothing between two nodes, and is not missed when it is gone", async ({ world }) => {
  const { relay, one, two } = await pair(world);
  const text = (number: number): string => `${world.mark} ${number} ${"x".repeat(2_000)}`;
  let entries = 0;
  /** 20 blocks of 2 KB each way; the most that one of the two got from the relay meanwhile. */
  const round = async (): Promise<number> => {
    const before = await Promise.all([one, two].map(fromRelay));
    for (let number = 0; number < 40; number++) await [one, two][number % 2]!.append(text(entries++));
    await converged([one, two], entries);
    await held([one, two]);
    const after = await Promise.all([one, two].map(fromRelay));
    return Math.max(...after.map((bytes, number) => bytes - before[number]!));
  };
  // The first blocks show which links are too many. That the relay holds them takes some bytes.
  await until(async () => (await round()) < 12_000, "blocks go only by the direct link");

  await relay.kill();
  const seen = new Promise((resolve) => two.on("entry", (entry) => entry.kind === "data" && resolve(entry.data)));
  await one.append(text(entries));
  expect(await seen).toBe(text(entries));
  await two.append(text(entries + 1));
  await converged([one, two], entries + 2);
  expect((await content(one)).map(({ data }) => data)).toEqual((await content(two)).map(({ data }) => data));
});

test("a stranger at a node's door hears nothing, and what is no link is told so", async ({ world }) => {
  const node = await world.node({ direct: true });
  const { ledger } = await client(world, node).status();
  const plain = await fetch(`${node.url}/link/${ledger}`);
  expect([plain.status, await plain.text()]).toEqual([426, "Expected Upgrade: websocket"]);
  const other = await world.node({ direct: false });
  expect((await fetch(`${other.url}/link/${ledger}`)).status).toBe(404);
});

test("who comes in vain too often is not asked in any more, and members linked before do not notice", async ({ world }) => {
  const one = await world.node({ direct: true });
  const two = await world.node({ direct: true, args: ["--peer", address(one)] });
  const [first, second] = [client<string>(world, one), client<string>(world, two)];
  await until(async () => (await neighbours(second)).length === 1, "the two are linked");
  const { ledger } = await first.status();
  const codes = new Set<number>();
  await until(async () => {
    codes.add(await vainLink(`${address(one)}/link/${ledger}`));
    return codes.has(429);
  }, "strangers are refused");
  expect(codes).toEqual(new Set([101, 429]));
  await second.append("through the door that is shut");
  await converged([first, second], 1);
  // The rest of the node serves everybody, from that address too.
  expect((await fetch(`${one.url}/healthz`)).status).toBe(200);
});

/** Opens a WebSocket that says nonsense: the status of the answer to it. */
function vainLink(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.on("open", () => socket.send(Buffer.from("nonsense")));
    socket.on("close", () => resolve(101));
    socket.on("unexpected-response", (request, response) => {
      request.destroy();
      resolve(response.statusCode ?? 0);
    });
    socket.on("error", reject);
  });
}

test("two dial each other for ever, and are linked once the other one is there", async ({ world }) => {
  const first = await world.node({ direct: true });
  const { port, data } = first;
  await first.stop();
  const second = await world.node({ direct: true, args: ["--peer", `ws://127.0.0.1:${port}`] });
  const waiting = client<string>(world, second);
  await waiting.append("alone");
  const back = client<string>(world, await world.node({ direct: true, data, listen: `127.0.0.1:${port}` }));
  await converged([waiting, back], 1, 2 * PATIENCE);
});
