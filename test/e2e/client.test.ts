/** The client against a real node: answers have the form that the types promise, and errors their codes. */

import { expect } from "vitest";

import type { DataEntry, EntryStatus, LinkStatus, NodeStatus, Progress } from "../../client/src/index.js";
import { privateTest, test } from "./fixture.js";
import { until } from "./harness.js";
import { client, content, group, held, linked } from "./ledger.js";

type Keys<T> = Readonly<Record<keyof T, true>>;

/** What an entry has whose content is there. */
const entryKeys: Keys<Omit<DataEntry, "erased" | "withheld">> = {
  id: true,
  timestamp: true,
  data: true,
  previous_hash: true,
  hash: true,
  creator_node_id: true,
  signatures: true,
  height: true,
  index: true,
  kind: true,
  parents: true,
};
const linkKeys: Keys<LinkStatus> = {
  link: true,
  node: true,
  path: true,
  dialled: true,
  since: true,
  round_trip: true,
  received: true,
  sent: true,
  done: true,
  total: true,
  remaining: true,
};
const statusKeys: Keys<NodeStatus> = {
  version: true,
  node: true,
  former_nodes: true,
  repairing: true,
  restoring: true,
  ledger: true,
  name: true,
  open: true,
  role: true,
  removed: true,
  members: true,
  uptime_seconds: true,
  turns: true,
  totals: true,
  digest: true,
  last_seq: true,
  heads: true,
  frozen: true,
  held: true,
  parked: true,
  links: true,
  addresses: true,
  peers: true,
  relays: true,
  known_nodes: true,
};
const keys = (value: object): string[] => Object.keys(value).sort();

test("entries and the status have exactly the fields of their types", async ({ world }) => {
  const relay = await world.relay();
  const { clients } = await group<unknown>(world, relay, 1);
  const [ledger] = clients;
  const data = { text: "ä \u{1f5ff} \u0000", numbers: [1, -0.5, 1e300], nothing: null };
  const entry = await ledger!.append(data);
  expect(keys(entry)).toEqual(keys(entryKeys));
  expect(entry.data).toEqual(data);
  expect(await ledger!.entry(entry.id)).toEqual(entry);
  const status = await ledger!.status();
  expect(keys(status)).toEqual(keys(statusKeys));
  expect(keys(status.links[0]!)).toEqual(keys(linkKeys));
  expect(status.relays).toEqual([{ url: relay.url, state: "connected", link: status.links[0]!.link }]);
  expect(await ledger!.knownNodes()).toEqual(status.known_nodes);
});

test("a node's refusals come with their codes, and nothing of them is stored", async ({ world }) => {
  const ledger = client<unknown>(world, await world.node());
  const large = "x".repeat(65_536);
  const nobody = `${"0".repeat(64)}-1-0`;
  await expect(ledger.append(large)).rejects.toMatchObject({ name: "CairnError", code: "payload_too_large" });
  await expect(ledger.appendMany([])).rejects.toMatchObject({ code: "empty" });
  await expect(ledger.appendMany([1, large])).rejects.toMatchObject({ code: "payload_too_large" });
  await expect(ledger.appendMany(Array(10_001).fill(0))).rejects.toMatchObject({ code: "too_many_entries" });
  await expect(ledger.entry(nobody)).rejects.toMatchObject({ code: "unknown_entry" });
  await expect(ledger.entry("nonsense")).rejects.toMatchObject({ code: "wrong_arguments" });
  await expect(ledger.entries({ after: nobody }).next()).rejects.toMatchObject({ code: "unknown_entry" });
  await expect(ledger.subscribe({ cursor: nobody })[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    code: "unknown_cursor",
  });
  expect((await ledger.status()).totals.entries).toBe(0);
});

privateTest("entries are reported as stored and as held, and a newcomer reports how far its history is", async ({ world }) => {
  const relay = await world.relay();
  const { clients } = await group<string>(world, relay, 1);
  const [writer] = clients;
  const states: EntryStatus[] = [];
  writer!.on("entryStatus", (status) => states.push(status));
  const { id } = await writer!.append(world.mark);
  const state = (name: string): EntryStatus | undefined =>
    states.find((status) => status.state === name && status.ids.includes(id));
  await until(() => state("held") !== undefined, "the entry is held by the relay");
  expect(state("held")).toEqual({ ids: [id], state: "held", held_by: 1 });
  expect(state("stored")).toEqual({ ids: [id], state: "stored", held_by: 0 });

  await writer!.appendMany(Array.from({ length: 10_000 }, (_, index) => `${world.mark} ${index}`));
  await held([writer!]);
  const cable = await world.cable(relay.url);
  cable.pull();
  const newcomer = client<string>(world, await world.node({ relay: `ws://127.0.0.1:${cable.port}` }));
  const progress: Progress[] = [];
  newcomer.on("syncProgress", (each) => progress.push(each));
  await newcomer.status();
  cable.plug();
  await linked(newcomer);
  await until(() => progress.some(({ done, total }) => total > 0 && done === total), "the history is complete");
  expect(await content(newcomer)).toHaveLength(10_001);
});
