/** Who may make ledgers on a relay, what a stranger gets of one that is there, and what either leaves behind. */

import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { World, type Relay } from "../../test/e2e/harness.js";
import { ANNOUNCE, HAVE, Link, MEMBERSHIP, Person, SYNC_REQUEST, SYNC_RESPONSE, type Value } from "./link.js";
import { bearer, room, upgrade } from "./upgrade.js";

const SECRET = "the-secret_of.this~relay";
const world = new World();
let locked: Relay;
let unset: Relay;

beforeAll(async () => {
  [locked, unset] = [await world.relay({ vars: { CREATION_SECRET: SECRET } }), await world.relay({ vars: {} })];
});

afterAll(async () => {
  await world.close();
});

/** The databases of a relay's rooms: names, and the bytes in those that hold a ledger. */
function rows(relay: Relay): Map<string, string> {
  const files = readdirSync(relay.state, { recursive: true, encoding: "utf8" });
  const databases = files.filter((file) => file.includes("RoomObject") && /\.sqlite(-wal)?$/.test(file));
  return new Map(databases.map((file) => [file, readFileSync(join(relay.state, file)).toString("latin1")]));
}

/** How many rooms have tables. */
const rooms = (relay: Relay): number =>
  [...rows(relay).values()].filter((bytes) => bytes.includes("CREATE TABLE blocks")).length;

describe("a new ledger", () => {
  test("is made for who shows the secret, and is there for everybody afterwards", async () => {
    const path = room();
    expect(await upgrade(locked, path)).toEqual({ status: 403, code: "no_such_ledger", error: expect.stringContaining("relay_secret") });
    expect(await upgrade(locked, path, bearer(SECRET))).toEqual({ status: 101 });
    expect(await upgrade(locked, path)).toEqual({ status: 101 });
  });

  test.each([SECRET.slice(1), `${SECRET}x`, SECRET.toUpperCase(), "x"])("is not made for %s", async (secret) => {
    const before = rows(locked).size;
    for (const path of [room(), room(), "/"]) {
      expect(await upgrade(locked, path, bearer(secret))).toMatchObject({ status: 403, code: "wrong_secret" });
    }
    // An object that wakes has a file, though nothing is in it.
    expect(rows(locked).size).toBe(before);
  });

  test("is made by nobody before the deployer has said by whom", async () => {
    for (const headers of [{}, bearer("anything")]) {
      const refused = await upgrade(unset, room(), headers);
      expect(refused).toMatchObject({ status: 403, code: "creation_closed" });
      expect(refused.error).toContain("npm run deploy");
      expect(refused.error).toContain('CREATION = "free"');
    }
    expect(rooms(unset)).toBe(0);
  });

  test("is made by everybody where the deployer says so, secret or not", async () => {
    const free = await world.relay({ vars: { CREATION: "free" } });
    expect(await upgrade(free, room())).toEqual({ status: 101 });
    expect(await upgrade(free, room(), bearer("of-another-relay"))).toEqual({ status: 101 });
    expect(await upgrade(free, "/")).toEqual({ status: 101 });
    expect(rooms(free)).toBe(2);
  });

  test("stays after the secret was changed", async () => {
    const first = await world.relay({ vars: { CREATION_SECRET: "before" } });
    const path = room();
    expect((await upgrade(first, path, bearer("before"))).status).toBe(101);
    await first.kill();
    const second = await world.relay({ port: first.port, state: first.state, vars: { CREATION_SECRET: "after" } });
    expect((await upgrade(second, path)).status).toBe(101);
    expect((await upgrade(second, path, bearer("before"))).code).toBe("wrong_secret");
  });

  test("probes for ledgers that are not there leave nothing behind", async () => {
    const before = rooms(locked);
    const probes = await Promise.all(Array.from({ length: 50 }, () => upgrade(locked, room())));
    expect(new Set(probes.map(({ code }) => code))).toEqual(new Set(["no_such_ledger"]));
    expect(rooms(locked)).toBe(before);
  });
});

test("the lobby is for those who may make ledgers, and stores nothing", async () => {
  expect(await upgrade(locked, "/")).toMatchObject({ status: 403, code: "lobby_closed" });
  expect(await upgrade(unset, "/")).toMatchObject({ status: 403, code: "creation_closed" });
  const before = rooms(locked);
  expect(await upgrade(locked, "/", bearer(SECRET))).toEqual({ status: 101 });
  expect(rooms(locked)).toBe(before);
});

test.each<[string, Record<string, string>, number, string]>([
  ["no scheme", { Authorization: SECRET }, 400, "wrong_authorization"],
  ["another scheme", { Authorization: `Basic ${SECRET}` }, 400, "wrong_authorization"],
  ["no secret", { Authorization: "Bearer " }, 400, "wrong_authorization"],
  ["two secrets", { Authorization: `Bearer ${SECRET} ${SECRET}` }, 400, "wrong_authorization"],
  ["a secret that is too long", bearer("x".repeat(600)), 431, "headers_too_large"],
  ["headers that are too long", { "X-Much": "x".repeat(14_000), "X-More": "x".repeat(1_500), "X-Most": "x".repeat(1_000) }, 431, "headers_too_large"],
])("an upgrade with %s is refused", async (_name, headers, status, code) => {
  expect(await upgrade(locked, room(), headers)).toEqual({ status, code, error: expect.any(String) });
});

describe("a node", () => {
  test("makes its ledger with the secret of its owner, and others come in without", async () => {
    const ledger = `ledger ${randomBytes(4).toString("hex")}`;
    const stranger = await world.node({ relay: locked.url, ledger });
    await stranger.process.line(/no link to the relay .*HTTP 403: this relay keeps no such ledger.*\(no_such_ledger\)/);
    const owner = await world.node({ relay: locked.url, ledger, env: { CAIRN_RELAY_SECRET: SECRET } });
    await owner.process.line(/connected to the relay/);
    await stranger.process.line(/connected to the relay/);
    expect(stranger.process.output.match(/no link to the relay.*/g)).toEqual([expect.any(String)]);
    expect(owner.process.output).not.toContain(SECRET);
  });

  test("says that its secret is wrong", async () => {
    const node = await world.node({ relay: locked.url, env: { CAIRN_RELAY_SECRET: "wrong" } });
    await node.process.line(/HTTP 403: the secret is not this relay's.*\(wrong_secret\)/);
  });
});

describe("a stranger who knows the id of a members' ledger", () => {
  const founder = new Person();
  const { ledger, genesis } = founder.found();
  const written = founder.block(ledger, 2, [genesis.hash], 0, randomBytes(500));
  /** What must stay with the members: who they are, and what they wrote. */
  const private_ = [founder.id, genesis.hash, written.hash, genesis.bytes.subarray(40, 80), written.bytes.subarray(-400, -100)];

  beforeAll(async () => {
    const link = await Link.open(locked.url, ledger, bearer(SECRET));
    await link.prove(founder, [genesis.bytes]);
    await link.take(SYNC_REQUEST);
    link.send(founder, [ANNOUNCE, [[genesis.bytes, written.bytes], 0]]);
    // What it showed at the door is in the ledger already.
    expect((await link.take(HAVE)).payload).toEqual([[[founder.id, 1]]]);
    expect((await link.take(HAVE)).payload).toEqual([[[founder.id, 2]]]);
    await link.close();
  });

  test("the member itself gets all of it back", async () => {
    const link = await Link.open(locked.url, ledger);
    await link.prove(founder);
    const { payload } = await link.take(SYNC_RESPONSE);
    expect(payload[0]).toEqual([[founder.id, [[2, written.hash]], 0]]);
    link.send(founder, [SYNC_RESPONSE, [[], true, Buffer.alloc(0)]]);
    const blocks = (await link.take(ANNOUNCE)).payload[0] as Buffer[];
    expect(blocks.map((block) => Buffer.compare(block, genesis.bytes) === 0 || Buffer.compare(block, written.bytes) === 0)).toEqual([true, true]);
    await link.close();
  });

  const forged = (person: Person): Value => [person.block(ledger, 1, [genesis.hash], 6, randomBytes(80)).bytes];
  const tries: [string, number, (link: Link, person: Person) => unknown][] = [
    ["is silent", 4000, () => {}],
    ["only says hello", 4000, (link, person) => link.send(person, [1, [1, ledger, person.id, randomBytes(32)]])],
    ["proves a key, and no more", 4000, (link, person) => link.prove(person)],
    ["proves a key wrongly", 4003, (link, person) => link.prove(person, undefined, true)],
    ["shows no membership", 4012, (link, person) => link.prove(person, [])],
    ["shows a forged join", 4012, (link, person) => link.prove(person, forged(person))],
    ["shows the founder's blocks", 4012, (link, person) => link.prove(person, [genesis.bytes, written.bytes])],
    ["shows a ledger of its own", 4012, (link, person) => link.prove(person, [person.found().genesis.bytes])],
    ["asks for heads before all else", 1002, (link, person) => link.send(person, [SYNC_REQUEST, [randomBytes(32), []]])],
    ["asks for heads instead of showing a membership", 4012, async (link, person) => {
      await link.prove(person);
      link.send(person, [SYNC_REQUEST, [randomBytes(32), []]]);
    }],
    ["sends a membership before its proof", 1002, (link, person) => link.send(person, [MEMBERSHIP, [[genesis.bytes]]])],
    ["greets twice", 1002, (link, person) => {
      for (let i = 0; i < 2; i++) link.send(person, [1, [1, ledger, person.id, randomBytes(32)]]);
    }],
    ["sends a large frame", 1002, (link) => link.raw(randomBytes(2000))],
    ["asks in text", 4012, (link) => link.raw(JSON.stringify({ message_type: "NodeListRequest", message_id: "1", sender_id: "s", recipient_id: "", payload: {} }))],
    ["syncs in text", 4012, (link) => link.raw(JSON.stringify({ message_type: "LedgerSyncRequest", message_id: "1", sender_id: "s", recipient_id: "", payload: {} }))],
    ["talks after its hello", 4012, (link, person) => {
      link.send(person, [1, [1, ledger, person.id, randomBytes(32)]]);
      link.raw("hello?");
    }],
  ];

  // Most of them wait for the relay's patience to end, so they do so together.
  test.concurrent.each(tries)("%s: it is closed with %i, hears nothing and leaves nothing", async (_name, code, act) => {
    const before = rows(locked);
    const link = await Link.open(locked.url, ledger);
    await act(link, new Person());
    expect(await link.closed).toEqual({ code, reason: expect.stringMatching(/./) });
    const heard = Buffer.concat(link.heard);
    for (const bytes of private_) {
      expect(heard.includes(bytes)).toBe(false);
      expect(heard.includes(bytes.toString("hex"))).toBe(false);
    }
    expect(heard.length).toBeLessThan(600);
    expect(rooms(locked)).toBe([...before.values()].filter((bytes) => bytes.includes("CREATE TABLE blocks")).length);
    const of = (bytes: Map<string, string>): number => [...bytes.values()].filter((file) => file.includes(genesis.hash.toString("latin1"))).length;
    expect(of(rows(locked))).toBe(of(before));
  });

  test.concurrent("a hundred of them keep no member out", async () => {
    // Each from a place of its own: of one alone, not so many are let in at once.
    const from = (n: number): Record<string, string> => ({ "CF-Connecting-IP": `192.0.2.${n}` });
    const strangers = await Promise.all(Array.from({ length: 100 }, (_, n) => Link.open(locked.url, ledger, from(n))));
    const link = await Link.open(locked.url, ledger);
    await link.prove(founder);
    await link.take(SYNC_RESPONSE);
    await link.close();
    for (const { code } of await Promise.all(strangers.map((stranger) => stranger.closed))) expect(code).toBe(4000);
  });
});
