/** A key that signs two blocks of one height: a machine and a backup of it that both go on writing. */

import { cp } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "vitest";

import type { Fork } from "../../client/src/index.js";
import { test } from "./fixture.js";
import { cableUrl, event, nodeBinary, PATIENCE, type World } from "./harness.js";
import { client, converged, ledger, linked } from "./ledger.js";

/** Runs `cairn` to its end; its output. */
async function cairn(world: World, ...args: string[]): Promise<string> {
  const run = world.run("cairn", nodeBinary(), args);
  const { code } = await run.exited;
  expect(code, run.output).toBe(0);
  return run.output;
}

test("two blocks of one height are the same proof on all nodes, and all ledgers stay equal", async ({ world }) => {
  const machine = await world.directory("machine");
  await cairn(world, "append", "written once", "--data", machine);
  const backup = join(await world.directory("backup"), "data");
  await cp(machine, backup, { recursive: true });
  await cairn(world, "append", "by the machine", "--data", machine);
  await cairn(world, "append", "by its backup", "--data", backup);
  const [one, other] = [join(machine, "blocks"), join(backup, "blocks")];
  await cairn(world, "export", one, "--data", machine);
  await cairn(world, "export", other, "--data", backup);

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
    cairn(world, "import", one, "--data", nodes[0]!.data),
    cairn(world, "import", other, "--data", nodes[1]!.data),
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
  await cairn(world, "append", "too late", "--data", machine);
  await cairn(world, "export", one, "--data", machine);
  await cairn(world, "import", one, "--data", nodes[2]!.data);
  await clients[0]!.append("after");
  const entries = statuses[0]!.totals.entries + 1;
  await converged(clients, entries);
  const texts = (await ledger(clients[2]!)).map((entry) => entry.data);
  expect(texts).toContain("after");
  expect(texts).not.toContain("too late");
  expect(await ledger(clients[1]!)).toEqual(await ledger(clients[2]!));
  for (const node of nodes) await cairn(world, "verify", "--data", node.data);
});
