/**
 * What a relay in workerd needs of what a free account has least of: rows that are written, and requests.
 *
 *     node --import tsx bench/clients/relay.ts rows
 *
 * `rows`: a client writes a burst, calls of 1,000 entries each. `idle`: two nodes are linked over the relay and nobody writes.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";

import { relayCommand } from "../../scripts/relay-dev.mjs";
import { PATIENCE, Relay, root, until, type World } from "../../test/e2e/harness.js";
import { client, held, linked } from "../../test/e2e/ledger.js";
import { line, main, startNode, type Line } from "./measure.js";

interface Sizes {
  readonly entries: number;
  readonly each: number;
  readonly seconds: number;
}

/** What a relay has done so far. */
interface Counts {
  readonly requests: number;
  readonly rows: number;
}

/** Seconds without a request after which all that follows a link is taken to be done, and how long that may take. */
const QUIET = 5;
const SETTLES = 120_000;

/** A relay that counts; it is the built one in all else. */
async function countingRelay(world: World): Promise<Relay> {
  const directory = await world.directory("relay");
  const state = join(directory, "state");
  const { command, args, env, cwd } = relayCommand({ directory, state, ip: "127.0.0.1", port: 0, vars: { CREATION: "free" } });
  const config = join(directory, "wrangler.toml");
  const main = JSON.stringify(join(root, "bench", "clients", "counting.mjs"));
  writeFileSync(config, readFileSync(config, "utf8").replace(/^main\s*=.*$/m, `main = ${main}`));
  const process = world.run("relay", command, args, env, cwd);
  const [, port] = await process.line(/Ready on http:\/\/127\.0\.0\.1:(\d+)/, 2 * PATIENCE);
  const relay = new Relay(process, Number(port), state);
  await until(async () => (await fetch(`${relay.http}/healthz`)).ok, "the relay is healthy");
  return relay;
}

async function counts(relay: Relay): Promise<Counts> {
  return (await (await fetch(`${relay.http}/counts`)).json()) as Counts;
}

/** Waits until nothing reaches the relay for some seconds; what it has done until then. */
async function quiet(relay: Relay): Promise<Counts> {
  let last = await counts(relay);
  let since = Date.now();
  await until(
    async () => {
      const now = await counts(relay);
      if (now.requests !== last.requests) since = Date.now();
      last = now;
      return Date.now() - since >= 1000 * QUIET;
    },
    "the relay is left alone",
    SETTLES,
  );
  return last;
}

async function rows(world: World, { entries, each }: Sizes): Promise<void> {
  const relay = await countingRelay(world);
  const writer = client<Line>(world, await startNode(world, { relay: relay.url }));
  await linked(writer);
  await writer.append(line(0));
  await held([writer]);
  const before = await quiet(relay);
  for (let number = 0; number < entries; number += each)
    await writer.appendMany(Array.from({ length: Math.min(each, entries - number) }, (_, index) => line(number + index)));
  await held([writer]);
  const after = await quiet(relay);
  if (after.rows === before.rows) throw new Error("the relay has everything, and not one row was counted");
  console.log(JSON.stringify({ figure: "relay/rows", value: (after.rows - before.rows) / entries }));
}

async function idle(world: World, { seconds }: Sizes): Promise<void> {
  const relay = await countingRelay(world);
  const nodes = [await startNode(world, { relay: relay.url }), await startNode(world, { relay: relay.url })];
  const clients = nodes.map((node) => client<Line>(world, node));
  for (const each of clients) await linked(each);
  await clients[0]!.append(line(0));
  await until(async () => (await clients[1]!.status()).totals.entries === 1, "the other node has it");
  const before = await quiet(relay);
  if (before.requests === 0) throw new Error("two nodes are linked, and not one request was counted");
  await wait(1000 * seconds);
  const after = await counts(relay);
  for (const each of clients) await linked(each);
  console.log(JSON.stringify({ figure: "relay/idle", value: after.requests - before.requests }));
}

await main({ rows, idle }, { entries: 50_000, each: 1000, seconds: 60 });
