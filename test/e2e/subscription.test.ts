/** The client's promise: every entry once, in order, whatever becomes of the connection and of the node. */

import { expect } from "vitest";

import { privateTest as test } from "./fixture.js";
import { cableUrl, type World } from "./harness.js";
import { client, content, held, linked } from "./ledger.js";

const BATCH = 100;

/** What is written here, and what must come to whoever follows. */
function words(world: World, from: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${world.mark} ${from + index}`);
}

/** A node in a ledger which a relay has, too. */
async function nodeAtRelay(world: World) {
  const relay = await world.relay();
  const node = await world.node({ relay: relay.url });
  const writer = client<string>(world, node);
  await linked(writer);
  return { relay, node, writer };
}

test("a follower whose cable is pulled again and again sees every entry once, in order", async ({ world }) => {
  const { node, writer } = await nodeAtRelay(world);
  const cable = await world.cable(node.url);
  const follower = client<string>(world, { url: cableUrl(cable, node.url) });
  let [written, cuts] = [0, 0];
  const write = async (count: number): Promise<void> => {
    await writer.appendMany(words(world, written, count));
    written += count;
  };
  await write(30 * BATCH);
  const seen: unknown[] = [];
  for await (const entry of follower.subscribe()) {
    if (entry.kind === "data") seen.push(entry.data);
    // In the middle of the catch-up at first, among live entries later.
    if (seen.length % 500 === 250 && cuts < 10) {
      cuts += 1;
      cable.pull();
      await write(BATCH);
      cable.plug();
      await write(BATCH);
    }
    if (seen.length === written && cuts === 10) break;
  }
  expect(seen).toEqual(words(world, 0, written));
  await held([writer]);
});

test("a follower goes through the death of its node, and a slow one gets as much as a quick one", async ({ world }) => {
  const { relay, node, writer } = await nodeAtRelay(world);
  const quick: unknown[] = [];
  const slow: unknown[] = [];
  const follower = client<string>(world, node);
  const following = follower.subscribe((entry) => void (entry.kind === "data" && quick.push(entry.data)));
  // Its buffer is far too small for what comes, so it has to ask again and again.
  const reading = follower.subscribe({ buffer: 50 })[Symbol.asyncIterator]();
  const readUntil = async (count: number): Promise<void> => {
    while (slow.length < count) {
      const { value } = await reading.next();
      if (value?.kind === "data") slow.push(value.data);
    }
  };
  await writer.appendMany(words(world, 0, 5 * BATCH));
  expect(await following.caughtUp).toBe(true);
  await readUntil(120);

  await node.kill();
  await world.node({ data: node.data, listen: `127.0.0.1:${node.port}`, relay: relay.url });
  await writer.appendMany(words(world, 5 * BATCH, 5 * BATCH));
  await readUntil(10 * BATCH);
  const entries = (await content(writer)).map(({ data }) => data);
  expect(entries).toEqual(words(world, 0, 10 * BATCH));
  expect(slow).toEqual(entries);
  await expect.poll(() => quick.length).toBe(entries.length);
  expect(quick).toEqual(entries);
});

test("a cursor outlives the client, and means nothing in another ledger", async ({ world }) => {
  const { node, writer } = await nodeAtRelay(world);
  await writer.appendMany(words(world, 0, 10));
  const before = writer.subscribe();
  for await (const entry of before) if (entry.kind === "data" && entry.data === words(world, 6, 1)[0]) break;
  writer.close();

  const second = client<string>(world, node);
  const rest: unknown[] = [];
  for await (const entry of second.subscribe({ cursor: before.cursor })) {
    if (entry.kind === "data") rest.push(entry.data);
    if (rest.length === 3) break;
  }
  expect(rest).toEqual(words(world, 7, 3));
  const elsewhere = client<string>(world, await world.node({ ledger: "another one" }));
  await expect(elsewhere.subscribe({ cursor: before.cursor })[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    code: "unknown_cursor",
  });
});
