/** Nodes in networks of their own, which get and lose ways to each other. */

import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

import { expect, test as plain } from "vitest";

import { connect, type Client } from "../../client/src/index.js";
import { test } from "./fixture.js";
import { until, type World } from "./harness.js";
import { content, converged, ledger, linked } from "./ledger.js";
import { inside, isInside, Networks, within } from "./namespace.js";

/** Entries of all. */
const ENTRIES = 1_000;
/** So many of them at least go each way before the next thing happens. */
const ROUND = 200;
/** How long a move to another path may take, in ms. */
const MOVE = 3_000;

if (!isInside) plain("nodes in networks of their own", () => inside(fileURLToPath(import.meta.url)), 180_000);

/** Seconds since a moment, for people. */
const since = (moment: number): string => `${((performance.now() - moment) / 1_000).toFixed(2)} s`;

/** The ways of a node's links to other nodes than the relay. */
async function ways(node: Client<string>): Promise<string[]> {
  const { links } = await node.status();
  return links.flatMap(({ path, node }) => (path === "relay" || node === null ? [] : [path]));
}

/** Starts a node in a network; a client of it. */
async function member(world: World, networks: Networks, network: string, relay: number): Promise<Client<string>> {
  const node = await world.node({
    relay: `ws://${networks.router(network)}:${await networks.offer(world, relay, network)}`,
    listen: `${networks.address(network)}:0`,
    direct: true,
    within: within(network),
  });
  const { token } = JSON.parse(await world.cairn("token", "--json", "--data", node.data)) as { token: string };
  const client = connect<string>(node.url, { token });
  world.onClose(() => client.close());
  return client;
}

/** Two that answer each other: whoever sees an entry of the other one writes the next, so that what is lost or late is missed at once. */
class Game {
  readonly #players: readonly Client<string>[];
  #written = 0;
  /** When the other one saw an entry last, and the longest time between two of these. */
  #seen = performance.now();
  #longest = 0;

  constructor(players: readonly Client<string>[]) {
    this.#players = players;
    players.forEach((player, index) =>
      player.on("entry", (entry) => {
        if (entry.kind !== "data" || !entry.data?.startsWith(`${1 - index} `)) return;
        const now = performance.now();
        this.#longest = Math.max(this.#longest, now - this.#seen);
        this.#seen = now;
        if (this.#written < ENTRIES) this.#write(index);
      }),
    );
  }

  #write(index: number): void {
    void this.#players[index]!.append(`${index} ${++this.#written}`);
  }

  /** Both begin. */
  begin(): void {
    this.#players.forEach((_, index) => this.#write(index));
  }

  /** How many were written. */
  get written(): number {
    return this.#written;
  }

  /** The longest time in ms without a new entry since this was asked last. */
  longest(): number {
    const longest = Math.max(this.#longest, performance.now() - this.#seen);
    this.#longest = 0;
    return longest;
  }

  /** Waits until so many more were written. */
  async more(entries: number): Promise<void> {
    const wanted = Math.min(this.#written + entries, ENTRIES);
    await until(() => this.#written >= wanted, `${wanted} entries are written`);
  }
}

if (isInside)
  test("with a route two nodes link directly, without it they are back at the relay, and nothing is lost or repeated", async ({ world }) => {
    const networks = new Networks(["one", "two"]);
    const relay = await world.relay();
    const one = await member(world, networks, "one", relay.port);
    await linked(one);
    const two = await member(world, networks, "two", relay.port);
    await linked(two);
    const both = [one, two];
    const direct = async (): Promise<boolean> => (await Promise.all(both.map(ways))).every((ways) => ways.length > 0);
    const quic = async (): Promise<boolean> => (await Promise.all(both.map(ways))).every(([way]) => way === "quic");
    const apart = async (): Promise<boolean> => (await Promise.all(both.map(ways))).every((ways) => ways.length === 0);

    const game = new Game(both);
    game.begin();
    await game.more(ROUND);
    expect(await apart()).toBe(true);

    networks.forwards(true);
    networks.route("one");
    networks.route("two");
    game.longest();
    let began = performance.now();
    await until(direct, "both are linked directly", MOVE);
    console.log(`given a route, linked directly after ${since(began)}`);
    await until(quic, "both are linked by QUIC");
    await game.more(ROUND);

    networks.forwards(false);
    game.longest();
    began = performance.now();
    await until(apart, "both know that the direct link is gone", MOVE);
    const gone = since(began);
    await game.more(ROUND);
    const longest = game.longest();
    console.log(`cut without a word: entries came by the relay after ${(longest / 1_000).toFixed(2)} s, the dead link was gone after ${gone}`);
    expect(longest).toBeLessThan(MOVE);

    networks.forwards(true);
    began = performance.now();
    await until(direct, "both are linked directly again");
    console.log(`given back without a sign at their own machines, linked directly again after ${since(began)}`);

    await game.more(ENTRIES);
    await converged(both, ENTRIES);
    const texts = (await content(one)).map(({ data }) => data);
    expect(new Set(texts).size).toBe(ENTRIES);
    expect(await ledger(two)).toEqual(await ledger(one));
  });
