/** Cables that are pulled, and machines that lose power. */

import { expect } from "vitest";

import { CairnError, type Client } from "../../client/src/index.js";
import { privateTest as test } from "./fixture.js";
import { cableUrl, until } from "./harness.js";
import { client, content, converged, group, ledger, linked } from "./ledger.js";

test("the cable is pulled, both sides write, it is plugged again, and both read the same ledger", async ({ world }) => {
  const relay = await world.relay();
  const cable = await world.cable(relay.url);
  const near = client<string>(world, await world.node({ relay: relay.url }));
  const far = client<string>(world, await world.node({ relay: cableUrl(cable, relay.url) }));
  await Promise.all([linked(near), linked(far)]);
  const marked = (text: string): string => `${world.mark} ${text}`;
  await near.append(marked("before"));
  await converged([near, far], 1);

  cable.pull();
  const seen: unknown[] = [];
  const following = near.subscribe((entry) => void (entry.kind === "data" && seen.push(entry.data)));
  expect(await following.caughtUp).toBe(true);
  const reordered = new Promise((resolve) => near.on("orderChanged", resolve));
  for (let round = 0; round < 10; round++) {
    await near.append(marked(`near ${round}`));
    await far.append(marked(`far ${round}`));
  }
  const apart = await Promise.all([content(near), content(far)]);
  expect(apart.map((entries) => entries.length)).toEqual([11, 11]);

  cable.plug();
  await converged([near, far], 21);
  expect(await ledger(far)).toEqual(await ledger(near));
  const entries = await content(near);
  const rounds = Array.from({ length: 10 }, (_, round) => [`near ${round}`, `far ${round}`]).flat();
  expect(entries.map(({ data }) => data)).toEqual(["before", ...rounds].map(marked));
  // Entries of the other side landed between those that were read already.
  expect(await reordered).toHaveProperty("from_cursor");
  expect([...seen].sort()).toEqual(entries.map(({ data }) => data).sort());
});

test("without a relay a node goes on working, and catches up when one comes", async ({ world }) => {
  const relay = await world.relay();
  await relay.kill();
  const alone = client<string>(world, await world.node({ relay: relay.url }));
  await alone.appendMany(["one", "two"].map((text) => `${world.mark} ${text}`));
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
    Array.from({ length: 2000 }, (_, number) => write(to, `${world.mark} ${index} ${number}`)),
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
  for (const member of members) acked.add((await member.append(`${world.mark} again`)).id);
  await until(async () => {
    const [first, second] = await Promise.all(members.map((member) => member.status()));
    return first!.digest === second!.digest;
  }, "both nodes hold the same blocks");
  const [entries, others] = await Promise.all(members.map((member) => ledger(member)));
  expect(others).toEqual(entries);
  const there = new Set(entries!.map(({ id }) => id));
  expect([...acked].filter((id) => !there.has(id))).toEqual([]);
});
