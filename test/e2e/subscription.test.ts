/** The client's promise: every entry once, in order, whatever becomes of the connection and of the node. */

import { expect } from "vitest";

import type { Client } from "../../client/src/index.js";
import { test } from "./fixture.js";
import { cableUrl } from "./harness.js";
import { client, ledger } from "./ledger.js";

const BATCH = 100;

async function write(to: Client<number>, from: number, count: number): Promise<void> {
  await to.appendMany(Array.from({ length: count }, (_, index) => from + index));
}

test("a follower whose cable is pulled again and again sees every entry once, in order", async ({ world }) => {
  const node = await world.node();
  const cable = await world.cable(node.url);
  const writer = client<number>(world, node);
  const follower = client<number>(world, { url: cableUrl(cable, node.url) });
  await write(writer, 0, 30 * BATCH);
  const seen: unknown[] = [];
  let [written, cuts] = [30 * BATCH, 0];
  for await (const { data } of follower.subscribe()) {
    seen.push(data);
    // In the middle of the catch-up at first, among live entries later.
    if (seen.length % 500 === 250 && cuts < 10) {
      cuts += 1;
      cable.pull();
      await write(writer, written, BATCH);
      written += BATCH;
      cable.plug();
      await write(writer, written, BATCH);
      written += BATCH;
    }
    if (seen.length === written && cuts === 10) break;
  }
  expect(seen).toEqual(Array.from({ length: written }, (_, index) => index));
});

test("a follower goes through the death of its node, and a slow one gets as much as a quick one", async ({ world }) => {
  const node = await world.node();
  const writer = client<number>(world, node);
  const quick: unknown[] = [];
  const slow: unknown[] = [];
  const follower = client<number>(world, node);
  const following = follower.subscribe((entry) => void quick.push(entry.data));
  // Its buffer is far too small for what comes, so it has to ask again and again.
  const reading = follower.subscribe({ buffer: 50 })[Symbol.asyncIterator]();
  await write(writer, 0, 5 * BATCH);
  expect(await following.caughtUp).toBe(true);
  for (let count = 0; count < 120; count++) slow.push((await reading.next()).value?.data);

  await node.kill();
  await world.node({ data: node.data, listen: `127.0.0.1:${node.port}` });
  await write(writer, 5 * BATCH, 5 * BATCH);
  while (slow.length < 10 * BATCH) slow.push((await reading.next()).value?.data);
  const entries = (await ledger(writer)).map(({ data }) => data);
  expect(entries).toEqual(Array.from({ length: 10 * BATCH }, (_, index) => index));
  expect(slow).toEqual(entries);
  await expect.poll(() => quick.length).toBe(entries.length);
  expect(quick).toEqual(entries);
});

test("a cursor outlives the client, and belongs to its node", async ({ world }) => {
  const node = await world.node();
  const first = client<number>(world, node);
  await write(first, 0, 10);
  const before = first.subscribe();
  for await (const { data } of before) if (data === 6) break;
  first.close();

  const second = client<number>(world, node);
  const rest: unknown[] = [];
  for await (const { data } of second.subscribe({ cursor: before.cursor })) {
    rest.push(data);
    if (data === 9) break;
  }
  expect(rest).toEqual([7, 8, 9]);
  const elsewhere = client<number>(world, await world.node());
  await expect(elsewhere.subscribe({ cursor: before.cursor })[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    code: "unknown_cursor",
  });
});
