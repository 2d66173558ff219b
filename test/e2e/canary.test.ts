/** The check that nobody outside reads anything can fail: it finds what is not sealed. */

import { expect } from "vitest";

import { watchedTest } from "./fixture.js";
import { client, content, held, linked } from "./ledger.js";
import { until } from "./harness.js";

watchedTest("what an open ledger says is found in files, on the wire and in logs", async ({ world }) => {
  const { canary, mark } = world;
  const relay = await world.relay();
  const node = await world.node({ relay: relay.url, ledger: mark });
  const writer = client<string>(world, node);
  await linked(writer);
  expect(await canary!.found()).toEqual({ files: [], wire: [], logs: [] });
  await writer.append(mark);
  await held([writer]);
  const reader = client<string>(world, await world.node({ relay: relay.url, ledger: mark }));
  await until(async () => (await content(reader)).length === 1, "the other node has the entry");
  await node.stop();
  await expect(world.node({ data: node.data, ledger: "another" })).rejects.toThrow(/no ledger "another" here/);

  const { files, wire, logs } = await canary!.found();
  expect(files.filter((path) => /\.sqlite(-wal)?$/.test(path))).not.toEqual([]);
  // Nodes mask what they say, relays do not.
  expect(wire).toEqual(["connection 1 to the relay", "connection 2 from the relay"]);
  expect(logs).toEqual([expect.stringMatching(/^node \d+: cairn: there is no ledger "another" here/)]);
});

watchedTest("an invite that somebody notes is found, whole or in parts", async ({ world }) => {
  const canary = world.canary!;
  const data = await world.newData("founder");
  await world.cairn("init", "garden", "--data", data);
  const { link } = JSON.parse(await world.cairn("invite", "--json", "--data", data)) as { link: string };
  const token = link.split("#join=")[1]!;
  const bytes = Buffer.from(token, "base64url");
  // Behind them are at least an empty list of relays and the checksum: see shared/src/token.rs.
  const end = bytes.length - 4 - 1;
  const key = bytes.subarray(end - 32, end).toString("hex");
  const secret = bytes.subarray(end - 32 - 2 - 32, end - 32 - 2).toString("base64");
  const says = async (text: string): Promise<void> => {
    const process = world.run("somebody", "echo", [text]);
    canary.listensTo(process, "stdout");
    await process.exited;
  };
  for (const text of [token, key, secret]) await says(text);
  expect((await canary.found()).logs).toEqual([]);
  canary.hides(link);
  expect((await canary.found()).logs).toHaveLength(3);
});
