/** What a relay is for, and how little is lost with it. */

import { expect } from "vitest";

import type { Client } from "../../client/src/index.js";
import { privateTest as test } from "./fixture.js";
import { until, type NodeProcess, type Relay, type World } from "./harness.js";
import { client, content, converged, group, held, ledger, linked } from "./ledger.js";

test("the relay is killed while all write, an empty one takes its place, and all converge", async ({ world }) => {
  const relay = await world.relay();
  const { clients } = await group<string>(world, relay, 3);
  let total = 0;
  /** All three append, each one entry after the other: without an ack there is no next one. */
  const write = async (count: number): Promise<void> => {
    const append = async (to: Client<string>): Promise<void> => {
      for (let number = 0; number < count; number++) await to.append(`${world.mark} ${number}`);
    };
    await Promise.all(clients.map(append));
    total += count * clients.length;
  };
  await write(30);
  await Promise.all([relay.kill(), write(100)]);
  await write(30);
  await Promise.all([world.relay({ port: relay.port }), write(300)]);
  await write(30);

  await converged(clients, total, 60_000);
  const ledgers = await Promise.all(clients.map((each) => ledger(each)));
  expect(ledgers[1]).toEqual(ledgers[0]);
  expect(ledgers[2]).toEqual(ledgers[0]);
  await held(clients);
});

test("who was off line gets from the relay what others wrote who are gone, even from a relay that was restarted", async ({
  world,
}) => {
  const relay = await world.relay();
  const {
    nodes: [a],
    clients: [writer],
  } = await group<string>(world, relay, 1);
  await writer!.appendMany(Array.from({ length: 1000 }, (_, index) => `${world.mark} ${index}`));
  for (let index = 1000; index < 1010; index++) await writer!.append(`${world.mark} ${index}`);
  const written = await content(writer!);
  expect(written).toHaveLength(1010);
  await held([writer!]);
  await a!.kill();
  await relay.kill();

  const again = await world.relay({ port: relay.port, state: relay.state });
  const b = client<string>(world, await world.node({ relay: again.url }));
  await until(async () => (await content(b)).length === written.length, "the new node has all entries");
  expect(await content(b)).toEqual(written);
});

/** A session of two nodes, one step after the other; each step ends when both nodes show what it wrote. */
const session: readonly ((nodes: Session) => Promise<void>)[] = [
  ({ a }) => a.writes(["a1"]),
  ({ b }) => b.writes(["b1"]),
  ({ a }) => a.writes(Array.from({ length: 300 }, (_, index) => `a2.${index}`)),
  ({ b }) => b.restarts(),
  ({ b }) => b.writes(["b2", "b3"]),
  ({ a }) => a.writes(["a3"]),
];

interface Session {
  readonly a: Member;
  readonly b: Member;
}

class Member {
  ledger!: Client<string>;
  #node!: NodeProcess;
  readonly #world: World;
  readonly #relay: Relay;

  constructor(world: World, relay: Relay) {
    this.#world = world;
    this.#relay = relay;
  }

  async starts(): Promise<void> {
    this.#node = await this.#world.node({ relay: this.#relay.url });
    this.ledger = client<string>(this.#world, this.#node);
    await linked(this.ledger);
  }

  async stops(): Promise<void> {
    this.ledger.close();
    await this.#node.stop();
  }

  async restarts(): Promise<void> {
    await this.stops();
    this.#node = await this.#world.node({ relay: this.#relay.url, data: this.#node.data });
    this.ledger = client<string>(this.#world, this.#node);
  }

  async writes(texts: readonly string[]): Promise<void> {
    await this.ledger.appendMany(texts.map((text) => `${this.#world.mark} ${text}`));
  }
}

test(
  "a relay restarted between any two steps of a session changes nothing",
  { timeout: 300_000 },
  async ({ world }) => {
    let relay = await world.relay();
    const outcome = async (restartAt: number): Promise<unknown[]> => {
      world.anotherGroup();
      const members = { a: new Member(world, relay), b: new Member(world, relay) };
      await members.a.starts();
      await members.b.starts();
      for (const [index, step] of session.entries()) {
        if (index === restartAt) await relay.kill();
        await step(members);
        if (index === restartAt) relay = await world.relay({ port: relay.port, state: relay.state });
        const here = await Promise.all([content(members.a.ledger), content(members.b.ledger)]);
        const written = Math.max(...here.map((entries) => entries.length));
        await converged([members.a.ledger, members.b.ledger], written);
      }
      expect(await ledger(members.b.ledger)).toEqual(await ledger(members.a.ledger));
      await held([members.a.ledger, members.b.ledger]);
      const data = (await content(members.a.ledger)).map((entry) => entry.data);
      await Promise.all([members.a.stops(), members.b.stops()]);
      return data;
    };
    const undisturbed = await outcome(-1);
    expect(undisturbed).toHaveLength(305);
    for (let restartAt = 0; restartAt < session.length; restartAt++) {
      expect(await outcome(restartAt), `restart at step ${restartAt}`).toEqual(undisturbed);
    }
  },
);
