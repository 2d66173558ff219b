/** Cables that are pulled, and machines that lose power. */

import { expect } from "vitest";

import { CairnError, type Client } from "../../client/src/index.js";
import { test } from "./fixture.js";
import { cableUrl, until } from "./harness.js";
import { client, converged, group, ledger, linked } from "./ledger.js";

test("the cable is pulled, both sides write, it is plugged again, and both read the same ledger", async ({ world }) => {
  const relay = await world.relay();
  const cable = await world.cable(relay.url);
  const near = client<string>(world, await world.node({ relay: relay.url }));
  const far = client<string>(world, await world.node({ relay: cableUrl(cable, relay.url) }));
  await Promise.all([linked(near), linked(far)]);
  await near.append("before");
  await converged([near, far], 1);

  cable.pull();
  const seen: unknown[] = [];
  const following = near.subscribe((entry) => void seen.push(entry.data));
  expect(await following.caughtUp).toBe(true);
  const reordered = new Promise((resolve) => near.on("orderChanged", resolve));
  for (let round = 0; round < 10; round++) {
    await near.append(`near ${round}`);
    await far.append(`far ${round}`);
  }
  const apart = await Promise.all([ledger(near), ledger(far)]);
  expect(apart.map((entries) => entries.length)).toEqual([11, 11]);

  cable.plug();
  await converged([near, far], 21);
  const entries = await ledger(near);
  expect(await ledger(far)).toEqual(entries);
  const rounds = Array.from({ length: 10 }, (_, round) => [`near ${round}`, `far ${round}`]).flat();
  expect(entries.map(({ data }) => data)).toEqual(["before", ...rounds]);
  // Entries of the other side landed between those that were read already.
  expect(await reordered).toHaveProperty("from_cursor");
  expect([...seen].sort()).toEqual(entries.map(({ data }) => data).sort());
});

test("without a relay a node goes on working, and catches up when one comes", async ({ world }) => {
  const relay = await world.relay();
  await relay.kill();
  const alone = client<string>(world, await world.node({ relay: relay.url }));
  await alone.appendMany(["one", "two"]);
  const later = await world.relay({ port: relay.port });
  const other = client<string>(world, await world.node({ relay: later.url }));
  await converged([alone, other], 2);
  expect(await ledger(other)).toEqual(await ledger(alone));
});

test("everything is killed while it writes, and nothing that was acked is lost", async ({ world }) => {
  const relay = await world.relay();
  const { nodes, clients } = await group<string>(world, relay, 2);
  const acked = new Set<string>();
  const write = async (to: Client<string>, text: string): Promise<void> => {
    try {
      acked.add((await to.append(text)).id);
    } catch (error) {
      // What was on its way when the power went has no ack, and may be there or not.
      expect(error).toBeInstanceOf(CairnError);
    }
  };
  const writing = clients.flatMap((to, index) =>
    Array.from({ length: 2000 }, (_, number) => write(to, `${index} ${number}`)),
  );
  await new Promise<void>((resolve) => clients[0]!.on("entry", () => acked.size > 200 && resolve()));
  await Promise.all([...nodes.map((node) => node.kill()), relay.kill()]);
  clients.forEach((each) => each.close());
  await Promise.all(writing);
  expect(acked.size).toBeLessThan(4000);

  const again = await world.relay({ port: relay.port, state: relay.state });
  const restarted = await Promise.all(nodes.map(({ data }) => world.node({ data, relay: again.url })));
  const members = restarted.map((node) => client<string>(world, node));
  await Promise.all(members.map((member) => linked(member)));
  for (const member of members) acked.add((await member.append("again")).id);
  await until(async () => {
    const [first, second] = await Promise.all(members.map((member) => member.status()));
    return first!.digest === second!.digest;
  }, "both nodes hold the same blocks");
  const [entries, others] = await Promise.all(members.map((member) => ledger(member)));
  expect(others).toEqual(entries);
  const there = new Set(entries!.map(({ id }) => id));
  expect([...acked].filter((id) => !there.has(id))).toEqual([]);
});
