/** A key that signs two blocks of one height: a machine and a backup of it that both go on writing. */

import { cp, rm } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "vitest";

import type { Client, Fork, NodeChange } from "../../client/src/index.js";
import { test } from "./fixture.js";
import { cableUrl, event, PATIENCE, type World } from "./harness.js";
import { client, converged, ledger, linked } from "./ledger.js";

test("two blocks of one height are the same proof on all nodes, and all ledgers stay equal", async ({ world }) => {
  const machine = await world.directory("machine");
  await world.cairn("append", "written once", "--data", machine);
  const backup = await world.newData("backup");
  await cp(machine, backup, { recursive: true });
  await world.cairn("append", "by the machine", "--data", machine);
  await world.cairn("append", "by its backup", "--data", backup);
  const [one, other] = [join(machine, "blocks"), join(backup, "blocks")];
  await world.cairn("export", one, "--data", machine);
  await world.cairn("export", other, "--data", backup);

  const relay = await world.relay();
  const cable = await world.cable(relay.url);
  const relays = [cableUrl(cable, relay.url), cableUrl(cable, relay.url), relay.url];
  const nodes = await Promise.all(relays.map((url) => world.node({ relay: url })));
  const clients = nodes.map((node) => client<string>(world, node));
  await Promise.all(clients.map((each) => linked(each)));
  await clients[2]!.append("before");
  await converged(clients, 1);
  const sockets = await Promise.all(nodes.map((node) => world.socket(node)));
  const proofs = Promise.all(sockets.map((socket) => event<Fork>(socket, "fork_detected")));
  // Each half is seen by one node before the proof is there.
  cable.pull();
  await Promise.all([
    world.cairn("import", one, "--data", nodes[0]!.data),
    world.cairn("import", other, "--data", nodes[1]!.data),
  ]);
  cable.plug();
  const [first, ...rest] = await proofs;
  expect(first).toMatchObject({ height: 2 });
  for (const proof of rest) expect(proof).toEqual(first);

  // Three entries were there, both halves of the fork were seen, and every node vouches for what it saw and records the proof.
  const digests = async (): Promise<number> =>
    new Set((await Promise.all(clients.map((each) => each.status()))).map(({ digest }) => digest)).size;
  await expect.poll(digests, { timeout: PATIENCE }).toBe(1);
  const statuses = await Promise.all(clients.map((each) => each.status()));
  for (const { frozen } of statuses) expect(frozen).toEqual([{ author: first!.author, height: 2 }]);
  const data = (await ledger(clients[0]!)).flatMap((entry) => (entry.kind === "data" ? [entry.data] : []));
  expect(data.sort()).toEqual(["before", "by its backup", "by the machine", "written once"]);

  // What the machine writes now counts nowhere.
  await world.cairn("append", "too late", "--data", machine);
  await world.cairn("export", one, "--data", machine);
  await world.cairn("import", one, "--data", nodes[2]!.data);
  await clients[0]!.append("after");
  await converged(clients, 5);
  const texts = (await ledger(clients[2]!)).map((entry) => entry.data);
  expect(texts).toContain("after");
  expect(texts).not.toContain("too late");
  expect(await ledger(clients[1]!)).toEqual(await ledger(clients[2]!));
  for (const node of nodes) await world.cairn("verify", "--data", node.data);
});

/** The texts of a ledger, in alphabetical order. */
async function texts(of: Client<string>): Promise<string[]> {
  return (await ledger(of)).flatMap((entry) => (entry.kind === "data" ? [String(entry.data)] : [])).sort();
}

/** A machine that wrote something with the relay, a backup of it from before that, and somebody else. */
async function lives(world: World) {
  const relay = await world.relay();
  const cable = await world.cable(relay.url);
  const url = cableUrl(cable, relay.url);
  const [machine, backup] = [await world.newData("machine"), await world.newData("backup")];
  await world.cairn("append", "early", "--data", machine);
  await cp(machine, backup, { recursive: true });
  const other = await world.node({ relay: relay.url });
  const [node, first] = [client<string>(world, other), await world.node({ data: machine, relay: url })];
  const writer = client<string>(world, first);
  await Promise.all([linked(node), linked(writer)]);
  await writer.append("first life, one");
  await writer.append("first life, two");
  await converged([node, writer], 3);
  writer.close();
  await first.stop();
  return { cable, url, machine, backup, node };
}

/** Puts the backup in the place of the machine's data. */
async function restore(machine: string, backup: string): Promise<void> {
  await rm(machine, { recursive: true });
  await cp(backup, machine, { recursive: true });
}

test("a restored backup learns its own lane from the relay before it writes", async ({ world }) => {
  const { url, machine, backup, node } = await lives(world);
  await restore(machine, backup);
  const restored = client<string>(world, await world.node({ data: machine, relay: url }));
  // Nothing waits for the link: the append is the first thing that the node hears.
  const entry = await restored.append("second life");
  expect(entry.height).toBe(4);
  await converged([node, restored], 4);
  for (const { frozen, former_nodes } of [await node.status(), await restored.status()]) {
    expect([frozen, former_nodes]).toEqual([[], []]);
  }
});

test("a backup that wrote while the relay was away goes on with a new key, and nothing is lost", async ({ world }) => {
  const { cable, url, machine, backup, node } = await lives(world);
  await restore(machine, backup);
  cable.pull();
  const process = await world.node({ data: machine, relay: url });
  const restored = client<string>(world, process);
  const socket = await world.socket(process);
  const changed = event<NodeChange>(socket, "node_changed");
  const old = (await restored.append("second life")).creator_node_id;
  cable.plug();
  const change = await changed;
  expect(change.old).toBe(old);
  const after = await restored.append("third life");
  expect(after.creator_node_id).toBe(change.new);
  const all = ["early", "first life, one", "first life, two", "second life", "third life"];
  for (const each of [node, restored]) await expect.poll(() => texts(each), { timeout: PATIENCE }).toEqual(all);
  const digests = async () => new Set([(await node.status()).digest, (await restored.status()).digest]).size;
  await expect.poll(digests, { timeout: PATIENCE }).toBe(1);
  expect(await ledger(node)).toEqual(await ledger(restored));
  const succession = (await ledger(node)).find((entry) => entry.kind === "succession");
  expect(succession).toMatchObject({ creator_node_id: change.new, data: { node: old } });
  expect(await restored.status()).toMatchObject({ node: change.new, former_nodes: [old] });

  // It is the same node after a restart.
  await process.stop();
  const again = client<string>(world, await world.node({ data: machine, relay: url }));
  expect((await again.append("at last")).creator_node_id).toBe(change.new);
  await expect.poll(() => texts(node), { timeout: PATIENCE }).toEqual(["at last", ...all]);
});

test("two copies that run at once end with a key each, and nothing is lost", async ({ world }) => {
  const { url, machine, backup, node } = await lives(world);
  const copies: Client<string>[] = [];
  for (const [data, text] of [[machine, "by the machine"], [backup, "by its copy"]] as const) {
    await world.cairn("append", text, "--data", data);
    copies.push(client<string>(world, await world.node({ data, relay: url })));
  }
  const nodes = async () => (await Promise.all(copies.map((each) => each.status()))).map((status) => status.node);
  await expect.poll(async () => new Set(await nodes()).size, { timeout: PATIENCE }).toBe(2);
  await Promise.all(copies.map((each, i) => each.append(`after, ${i}`)));
  const all = ["after, 0", "after, 1", "by its copy", "by the machine", "early", "first life, one", "first life, two"];
  for (const each of [node, ...copies]) await expect.poll(() => texts(each), { timeout: PATIENCE }).toEqual(all);
  const digests = async () =>
    new Set((await Promise.all([node, ...copies].map((each) => each.status()))).map(({ digest }) => digest)).size;
  await expect.poll(digests, { timeout: PATIENCE }).toBe(1);
});
