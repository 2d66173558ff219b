/** A key that signs two blocks of one height: a machine and a backup of it that both go on writing. */

import { cp, rm } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "vitest";

import type { Client, Fork, NodeChange } from "../../client/src/index.js";
import { privateTest, test } from "./fixture.js";
import { cableUrl, event, PATIENCE, type World } from "./harness.js";
import { client, converged, held, ledger, linked } from "./ledger.js";

/** A machine that was in the ledger, wrote something there that is the others' too, and is off; and how high its lane is. */
async function written(world: World, relay: string, text: string): Promise<{ machine: string; height: number }> {
  const node = await world.node({ relay });
  const writer = client<string>(world, node);
  await linked(writer);
  const { height } = await writer.append(text);
  await held([writer]);
  writer.close();
  await node.stop();
  return { machine: node.data, height };
}

async function copied(world: World, machine: string): Promise<string> {
  const backup = await world.newData("backup");
  await cp(machine, backup, { recursive: true });
  return backup;
}

privateTest("two blocks of one height are the same proof on all nodes, and all ledgers stay equal", async ({ world }) => {
  const marked = (text: string): string => `${world.mark} ${text}`;
  const relay = await world.relay();
  const cable = await world.cable(relay.url);
  const nodes = [await world.node({ relay: relay.url })];
  const clients = [client<string>(world, nodes[0]!)];
  // In a group it is the first one who lets the others in.
  await linked(clients[0]!);
  for (const url of [cableUrl(cable, relay.url), cableUrl(cable, relay.url)]) nodes.push(await world.node({ relay: url }));
  clients.push(...nodes.slice(1).map((node) => client<string>(world, node)));
  await Promise.all(clients.map((each) => linked(each)));
  const { machine, height } = await written(world, relay.url, marked("written once"));
  const backup = await copied(world, machine);
  await world.cairn("append", marked("by the machine"), "--data", machine);
  await world.cairn("append", marked("by its backup"), "--data", backup);
  const [one, other] = [join(machine, "blocks"), join(backup, "blocks")];
  await world.cairn("export", one, "--data", machine);
  await world.cairn("export", other, "--data", backup);
  await clients[0]!.append(marked("before"));
  await converged(clients, 2);
  const sockets = await Promise.all(nodes.map((node) => world.socket(node)));
  const proofs = Promise.all(sockets.map((socket) => event<Fork>(socket, "fork_detected")));
  // Each half is seen by one node before the proof is there.
  cable.pull();
  await Promise.all([
    world.cairn("import", one, "--data", nodes[1]!.data),
    world.cairn("import", other, "--data", nodes[2]!.data),
  ]);
  cable.plug();
  const [first, ...rest] = await proofs;
  expect(first).toMatchObject({ height: height + 1 });
  for (const proof of rest) expect(proof).toEqual(first);

  // Both halves of the fork were seen, and every node vouches for what it saw and records the proof.
  const digests = async (): Promise<number> =>
    new Set((await Promise.all(clients.map((each) => each.status()))).map(({ digest }) => digest)).size;
  await expect.poll(digests, { timeout: PATIENCE }).toBe(1);
  const statuses = await Promise.all(clients.map((each) => each.status()));
  for (const { frozen } of statuses) expect(frozen).toEqual([{ author: first!.author, height: height + 1 }]);
  const said = ["before", "by its backup", "by the machine", "written once"];
  expect(await texts(clients[1]!)).toEqual(said.map(marked));

  // What the machine writes now counts nowhere.
  await world.cairn("append", marked("too late"), "--data", machine);
  await world.cairn("export", one, "--data", machine);
  await world.cairn("import", one, "--data", nodes[0]!.data);
  await clients[1]!.append(marked("after"));
  await converged(clients, 5);
  expect(await texts(clients[0]!)).toEqual(["after", ...said].map(marked));
  expect(await ledger(clients[1]!)).toEqual(await ledger(clients[2]!));
  for (const node of nodes) await world.cairn("verify", "--data", node.data);
});

/** The texts of a ledger, in alphabetical order. */
async function texts(of: Client<string>): Promise<string[]> {
  return (await ledger(of)).flatMap((entry) => (entry.kind === "data" ? [String(entry.data)] : [])).sort();
}

/** A machine that wrote something with the relay, a backup of it from before that, and somebody else. */
async function lives(world: World) {
  const marked = (text: string): string => `${world.mark} ${text}`;
  const relay = await world.relay();
  const cable = await world.cable(relay.url);
  const url = cableUrl(cable, relay.url);
  const other = await world.node({ relay: relay.url });
  const node = client<string>(world, other);
  await linked(node);
  const { machine } = await written(world, relay.url, marked("early"));
  const backup = await copied(world, machine);
  const first = await world.node({ data: machine, relay: url });
  const writer = client<string>(world, first);
  await linked(writer);
  await writer.append(marked("first life, one"));
  const { height } = await writer.append(marked("first life, two"));
  await converged([node, writer], 3);
  writer.close();
  await first.stop();
  return { marked, cable, url, machine, backup, node, height };
}

/** Puts the backup in the place of the machine's data. */
async function restore(machine: string, backup: string): Promise<void> {
  await rm(machine, { recursive: true });
  await cp(backup, machine, { recursive: true });
}

privateTest("a restored backup learns its own lane from the relay before it writes", async ({ world }) => {
  const { marked, url, machine, backup, node, height } = await lives(world);
  await restore(machine, backup);
  const restored = client<string>(world, await world.node({ data: machine, relay: url }));
  // Nothing waits for the link: the append is the first thing that the node hears.
  const entry = await restored.append(marked("second life"));
  expect(entry.height).toBe(height + 1);
  await converged([node, restored], 4);
  for (const { frozen, former_nodes } of [await node.status(), await restored.status()]) {
    expect([frozen, former_nodes]).toEqual([[], []]);
  }
});

test("a backup that wrote while the relay was away goes on with a new key, and nothing is lost", async ({ world }) => {
  const { marked, cable, url, machine, backup, node } = await lives(world);
  await restore(machine, backup);
  cable.pull();
  const process = await world.node({ data: machine, relay: url });
  const restored = client<string>(world, process);
  const socket = await world.socket(process);
  const changed = event<NodeChange>(socket, "node_changed");
  const old = (await restored.append(marked("second life"))).creator_node_id;
  cable.plug();
  const change = await changed;
  expect(change.old).toBe(old);
  const after = await restored.append(marked("third life"));
  expect(after.creator_node_id).toBe(change.new);
  const all = ["early", "first life, one", "first life, two", "second life", "third life"].map(marked);
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
  expect((await again.append(marked("at last"))).creator_node_id).toBe(change.new);
  await expect.poll(() => texts(node), { timeout: PATIENCE }).toEqual([marked("at last"), ...all]);
});

test("two copies that run at once end with a key each, and nothing is lost", async ({ world }) => {
  const { marked, url, machine, backup, node } = await lives(world);
  const copies: Client<string>[] = [];
  for (const [data, text] of [[machine, "by the machine"], [backup, "by its copy"]] as const) {
    await world.cairn("append", marked(text), "--data", data);
    copies.push(client<string>(world, await world.node({ data, relay: url })));
  }
  const nodes = async () => (await Promise.all(copies.map((each) => each.status()))).map((status) => status.node);
  await expect.poll(async () => new Set(await nodes()).size, { timeout: PATIENCE }).toBe(2);
  await Promise.all(copies.map((each, i) => each.append(marked(`after, ${i}`))));
  const all = ["after, 0", "after, 1", "by its copy", "by the machine", "early", "first life, one", "first life, two"].map(marked);
  for (const each of [node, ...copies]) await expect.poll(() => texts(each), { timeout: PATIENCE }).toEqual(all);
  const digests = async () =>
    new Set((await Promise.all([node, ...copies].map((each) => each.status()))).map(({ digest }) => digest)).size;
  await expect.poll(digests, { timeout: PATIENCE }).toBe(1);
});
