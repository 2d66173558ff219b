/** Who knocks too often is refused before a room's object wakes, and those who are there do not notice. */

import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { relayCommand } from "../../scripts/relay-dev.mjs";
import { PATIENCE, Relay, until, World } from "../../test/e2e/harness.js";
import { Link, Person, SYNC_REQUEST, SYNC_RESPONSE } from "./link.js";
import { bearer, room, upgrade, type Answer } from "./upgrade.js";

const SECRET = "the-secret_of.this~relay";
/** What wrangler.toml says. */
const [, LIMIT = "", PERIOD = ""] = /limit = (\d+), period = (\d+)/.exec(readFileSync(new URL("../../wrangler.toml", import.meta.url), "utf8")) ?? [];
const world = new World();
const founder = new Person();
const { ledger, genesis } = founder.found();
let relay: Relay;

beforeAll(async () => {
  relay = await world.relay({ vars: { CREATION_SECRET: SECRET } });
  const link = await Link.open(relay.url, ledger, bearer(SECRET));
  await link.prove(founder, [genesis.bytes]);
  await link.take(SYNC_REQUEST);
  await link.close();
});

afterAll(async () => {
  await world.close();
});

/** A client's address: here, as on Cloudflare, this header names it. There it cannot be made up. */
const from = (address: string): Record<string, string> => ({ "CF-Connecting-IP": address });

/**
 * Knocks until it is refused, as often as a stranger without patience; how often it was let in before. Here the counters begin anew at whole
 * periods of the clock: not soon after this.
 */
async function flood(address: string, path = room(ledger)): Promise<{ welcome: number; refused: Answer }> {
  await period();
  for (let welcome = 0; welcome <= Number(LIMIT); welcome += 30) {
    const answers = await Promise.all(Array.from({ length: 30 }, () => upgrade(relay, path, from(address))));
    const refused = answers.find(({ status }) => status === 429);
    if (refused !== undefined) return { welcome: welcome + answers.filter(({ status }) => status !== 429).length, refused };
  }
  throw new Error("it may knock as often as it likes");
}

/** Waits until most of a period is still to come. */
async function period(): Promise<void> {
  await until(() => Date.now() % (Number(PERIOD) * 1000) < Number(PERIOD) * 300, "a period begins");
}

/** How many objects have woken: each has a file, though nothing is in it. */
const objects = (): number => readdirSync(relay.state, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".sqlite")).length;

test("wrangler.toml lets as many in as a house full of nodes needs, and forgets sooner than a node's longest wait", () => {
  expect(Number(LIMIT)).toBeGreaterThanOrEqual(100);
  expect(Number(PERIOD)).toBeLessThan(20);
});

describe("who knocks too often", () => {
  test("is refused with 429, before an object wakes, while others come in and a link that is there goes on", async () => {
    // The link has five seconds to prove its key, which the flood may use and no wait for a period.
    await period();
    const link = await Link.open(relay.url, ledger, from("192.0.2.1"));
    const { welcome, refused } = await flood("192.0.2.1");
    expect(refused).toEqual({ status: 429, code: "too_many", error: expect.stringContaining("try again later") });
    // The link may have been one of them.
    expect([Number(LIMIT) - 1, Number(LIMIT)]).toContain(welcome);
    const before = objects();
    const rooms = await Promise.all(Array.from({ length: 20 }, () => upgrade(relay, room(), from("192.0.2.1"))));
    expect(new Set(rooms.map(({ status }) => status))).toEqual(new Set([429]));
    expect(objects()).toBe(before);
    // The one that had come before, by the same address.
    await link.prove(founder);
    await link.take(SYNC_RESPONSE);
    await link.close();
    expect(await upgrade(relay, room(ledger), from("192.0.2.2"))).toEqual({ status: 101 });
  });

  test("is not the owner of the relay, however many nodes come back at once", async () => {
    await flood("192.0.2.3");
    const nodes = Array.from({ length: 50 }, () => upgrade(relay, room(ledger), { ...from("192.0.2.3"), ...bearer(SECRET) }));
    expect(new Set((await Promise.all(nodes)).map(({ status }) => status))).toEqual(new Set([101]));
    expect((await upgrade(relay, room(ledger), { ...from("192.0.2.3"), ...bearer("wrong") })).code).toBe("wrong_secret");
  });

  test("is one network of IPv6 with all its addresses, and no other", async () => {
    await flood("2001:db8::1");
    expect((await upgrade(relay, room(ledger), from("2001:db8::ffff:1"))).status).toBe(429);
    expect((await upgrade(relay, room(ledger), from("2001:db8:0:1::1"))).status).toBe(101);
  });

  test("is told why, and a node waits and comes in later", async () => {
    const name = `ledger ${randomBytes(4).toString("hex")}`;
    const owner = await world.node({ relay: relay.url, ledger: name, env: { CAIRN_RELAY_SECRET: SECRET } });
    await owner.process.line(/connected to the relay/);
    await flood("127.0.0.1");
    const node = await world.node({ relay: relay.url, ledger: name });
    await node.process.line(/no link to the relay .*HTTP 429: too many came from this address.*\(too_many\); next try in/);
    await node.process.line(/connected to the relay/, 60_000);
    expect(owner.process.output).not.toContain("no link to the relay");
  });
});

test("a relay whose wrangler.toml has no such binding refuses nobody", async () => {
  const directory = await world.directory("before");
  const vars = { CREATION_SECRET: SECRET };
  const { command, args, env, cwd } = relayCommand({ directory, state: join(directory, "state"), ip: "127.0.0.1", port: 0, vars });
  const config = join(directory, "wrangler.toml");
  const text = readFileSync(config, "utf8");
  const without = text.replace(/^\[\[ratelimits\]\]\n(?:(?!\[).*\n)*/m, "");
  expect(without).not.toContain("KNOCKS");
  writeFileSync(config, without);
  const process = world.run("relay", command, args, env, cwd);
  const [, port] = await process.line(/Ready on http:\/\/127\.0\.0\.1:(\d+)/, 2 * PATIENCE);
  const before = new Relay(process, Number(port), join(directory, "state"));
  for (let knocks = 0; knocks < Number(LIMIT) + 50; knocks += 50) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => upgrade(before, room())));
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set(["no_such_ledger"]));
  }
});
