/** Nodes on one local network, which find each other with nobody's help. */

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { hostname } from "node:os";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

import { expect, test as plain } from "vitest";

import { connect, type Client } from "../../client/src/index.js";
import { test } from "./fixture.js";
import type { NodeOptions, NodeProcess, World } from "./harness.js";
import { converged, linked } from "./ledger.js";
import { inside, isInside, Lan, within } from "./namespace.js";

/** What a node says of one of another ledger. */
const LEFT_ALONE = /on the local network is left alone: a tag of another ledger$/;

if (!isInside) plain("nodes on one local network", () => inside(fileURLToPath(import.meta.url)), 120_000);

/** Starts a node on a machine, which tells of what it does with others; and a client of it. */
async function member(
  world: World,
  lan: Lan,
  machine: string,
  options: NodeOptions = {},
): Promise<{ readonly node: NodeProcess; readonly client: Client<string> }> {
  const listen = `${lan.address(machine)}:0`;
  const env = { RUST_LOG: "node::link=debug,info" };
  const node = await world.node({ listen, direct: true, within: within(machine), env, ...options });
  const { token } = JSON.parse(await world.cairn("token", "--json", "--data", node.data)) as { token: string };
  const client = connect<string>(node.url, { token });
  world.onClose(() => client.close());
  return { node, client };
}

/** Hears what is said by mDNS on the network, from now on. */
async function listener(world: World): Promise<Buffer[]> {
  const heard: Buffer[] = [];
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  world.onClose(() => void socket.close());
  socket.on("message", (packet) => heard.push(packet)).bind(5353);
  await once(socket, "listening");
  socket.addMembership("224.0.0.251", Lan.own);
  return heard;
}

if (isInside) {
  const lan = new Lan(["one", "two", "three", "four"]);

  test("two find each other without a relay and a peer's address, nobody of another ledger or without direct links, and the network learns nothing", async ({
    world,
  }) => {
    const heard = await listener(world);
    const { client: one } = await member(world, lan, "one");
    const other = await member(world, lan, "three", { ledger: "another" });
    const { client: alone } = await member(world, lan, "four", { direct: false });
    await one.append("hello");

    const began = performance.now();
    const { node, client: two } = await member(world, lan, "two");
    const listened = performance.now();
    await converged([one, two], 1);
    const [all, since] = [began, listened].map((from) => ((performance.now() - from) / 1_000).toFixed(2));
    console.log(`the entry came ${all} s after the second node was started, ${since} s after it listened`);
    const [link] = (await two.status()).links;
    expect(link).toMatchObject({ path: "quic", node: (await one.status()).node });

    await other.node.process.line(LEFT_ALONE);
    await node.process.line(LEFT_ALONE);
    expect((await other.client.status()).links).toEqual([]);
    expect((await alone.status()).links).toEqual([]);
    for (const client of [one, two]) expect((await client.status()).links).toHaveLength(1);

    const said = Buffer.concat(heard);
    expect(said.includes("_cairn")).toBe(true);
    const { ledger, addresses, node: first } = await one.status();
    const [, endpoint] = addresses[0]!.match(/^iroh:([0-9a-f]{64})/)!;
    for (const hidden of [ledger, endpoint!, first]) {
      expect([said.includes(hidden), said.includes(Buffer.from(hidden, "hex"))]).toEqual([false, false]);
    }
    expect(said.includes(hostname())).toBe(false);
  });

  test("whoever was invited comes in where a member is, without a relay", async ({ world }) => {
    const [founder, guest] = [await world.newData("founder"), await world.newData("guest")];
    await world.cairn("init", "garden", "--data", founder);
    const { link } = JSON.parse(await world.cairn("invite", "--json", "--data", founder)) as { link: string };
    await world.cairn("join", link, "--data", guest);
    const { client: anna } = await member(world, lan, "one", { data: founder });
    const { client: ben } = await member(world, lan, "two", { data: guest });
    await linked(ben);
    await ben.append("in");
    await converged([anna, ben], 1);
  });
}
