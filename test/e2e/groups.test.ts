/** Groups as their members make them: by commands and one link, through a real relay. */

import { performance } from "node:perf_hooks";

import { expect } from "vitest";

import { connect, type Client } from "../../client/src/index.js";
import { Cable } from "./cable.js";
import { privateTest as test } from "./fixture.js";
import { cableUrl, target, until, type NodeProcess, type Ran, type Relay, type World } from "./harness.js";
import { client, content, converged, group, held, ledger, linked } from "./ledger.js";

/** What somebody reads who is not let in. */
const NOT_LET_IN = /^cairn: the relay does not let this node in: the invite is used up, closed or expired/;

/** Begins a group, whose relay every link names; where its founder's data is. */
async function founds(world: World, relay: Relay): Promise<string> {
  const data = await world.newData("founder");
  const names = [`${world.mark} garden`, "--nickname", `${world.mark} anna`];
  await world.cairn("init", ...names, "--relay", await world.tapped(relay.url), "--data", data);
  return data;
}

/** A link by which somebody comes in. */
async function invites(world: World, data: string, ...args: readonly string[]): Promise<string> {
  const { link } = JSON.parse(await world.cairn("invite", ...args, "--json", "--data", data)) as { link: string };
  world.canary?.hides(link);
  return link;
}

/** Serves a data directory; a client of it that is linked. */
async function serves<T = string>(world: World, data: string): Promise<[NodeProcess, Client<T>]> {
  const node = await world.node({ data });
  const connected = client<T>(world, node);
  await linked(connected);
  return [node, connected];
}

/** Somebody new; what became of it, and where its data is. */
async function joins(world: World, link: string, name: string): Promise<[Ran, string]> {
  const data = await world.newData(name);
  return [await world.tries("join", link, "--nickname", `${world.mark} ${name}`, "--json", "--data", data), data];
}

/** Whether every relay closes its links because the node is no member. */
async function refused(of: Client<string>): Promise<boolean> {
  const { relays } = await of.status();
  const refuses = relays.map((relay) => relay.state === "waiting" && relay.reason.endsWith("(4012)"));
  return refuses.length > 0 && !refuses.includes(false);
}

/** Resolves when an entry with this text comes. */
function arrives(at: Client<string>, text: string): Promise<number> {
  return new Promise((resolve) => {
    const stop = at.on("entry", ({ data }) => {
      if (data !== text) return;
      stop();
      resolve(performance.now());
    });
  });
}

test("two directories and one link are a group in well under a minute, and read each other within a second", async ({
  world,
}) => {
  const relay = await world.relay();
  const began = performance.now();
  const founder = await founds(world, relay);
  const [, anna] = await serves(world, founder);
  const [joined, newcomer] = await joins(world, await invites(world, founder), "ben");
  expect(joined.code, joined.stderr).toBe(0);
  expect(JSON.parse(joined.stdout)).toMatchObject({ name: `${world.mark} garden`, role: "member" });
  const [, ben] = await serves(world, newcomer);
  expect(performance.now() - began).toBeLessThan(30_000);

  for (let round = 0; round < 5; round++) {
    for (const [writer, reader] of [
      [anna, ben],
      [ben, anna],
    ] as const) {
      const text = `${world.mark} ${round} ${writer === anna}`;
      const arrival = arrives(reader, text);
      const called = performance.now();
      await writer.append(text);
      expect((await arrival) - called).toBeLessThan(1000);
    }
  }
  await converged([anna, ben], 10);
  expect(await ledger(ben)).toEqual(await ledger(anna));
  const names = async (of: Client<string>) => (await of.members()).map(({ name, role }) => [name, role]);
  const both = [
    [`${world.mark} anna`, "owner"],
    [`${world.mark} ben`, "member"],
  ];
  await expect.poll(() => names(anna)).toEqual(both);
  await expect.poll(() => names(ben)).toEqual(both);
});

test("who is removed reads nothing new, what it writes is taken nowhere, and the others go on", async ({ world }) => {
  const relay = await world.relay();
  const cable = await world.cable(relay.url);
  const { clients } = await group<string>(world, relay, 2);
  const [anna, cleo] = clients as [Client<string>, Client<string>];
  const node = await world.node({ relay: cableUrl(cable, relay.url) });
  const ben = client<string>(world, node);
  await linked(ben);
  const say = (who: Client<string>, text: string) => who.append(`${world.mark} ${text}`);
  await say(ben, "seen by all");
  await converged([anna, cleo, ben], 1);

  cable.pull();
  await say(ben, "not seen by anybody");
  const { node: id } = await ben.status();
  const told = new Promise((resolve) => cleo.on("membersChanged", resolve));
  await anna.remove(id);
  await told;
  await say(anna, "among us");
  await converged([anna, cleo], 2);
  cable.plug();
  await until(() => refused(ben), "the relay does not let the node in any more");
  await ben.append(`${world.mark} from outside`).catch((error: unknown) => {
    expect(error).toMatchObject({ code: "removed" });
  });
  await say(cleo, "still among us");
  await converged([anna, cleo], 3);

  await node.stop();
  const again = client<string>(world, await world.node({ data: node.data, relay: cableUrl(cable, relay.url) }));
  await until(() => refused(again), "the relay does not let the node in after a restart either");
  const texts = async (of: Client<string>) => (await content(of)).map(({ data }) => data.slice(world.mark.length + 1));
  expect(await texts(again)).not.toEqual(expect.arrayContaining([expect.stringContaining("among us")]));
  const newcomer = client<string>(world, await world.node({ relay: relay.url }));
  await linked(newcomer);
  for (const member of [anna, cleo, newcomer]) {
    await expect.poll(() => texts(member)).toEqual(["seen by all", "among us", "still among us"]);
    expect((await member.members()).filter(({ removed }) => removed).map((member) => member.node)).toEqual([id]);
  }
  await expect(anna.remove(id)).rejects.toMatchObject({ name: "CairnError", code: "done" });
  await expect(cleo.invite()).rejects.toMatchObject({ code: "not_allowed" });
});

test("of two who come by one link for one, the same one is in everywhere", async ({ world }) => {
  const relay = await world.relay();
  const founder = await founds(world, relay);
  const [, anna] = await serves(world, founder);
  const link = await invites(world, founder);
  const both = await Promise.all([joins(world, link, "ben"), joins(world, link, "cleo")]);
  const outcome = both.map(([{ code, stdout, stderr }]) => `${code}: ${stdout}${stderr}`).join("\n");
  expect(both.map(([{ code }]) => code).sort(), outcome).toEqual([0, 1]);
  const [[, inside], [loser, outside]] = both[0]![0].code === 0 ? both : [both[1]!, both[0]!];
  expect(loser.stderr).toMatch(NOT_LET_IN);

  const [, winner] = await serves(world, inside);
  const other = client<string>(world, await world.node({ data: outside }));
  await anna.append(`${world.mark} for members`);
  await converged([anna, winner], 1);
  expect((await winner.members()).map(({ node }) => node)).toEqual((await anna.members()).map(({ node }) => node));
  expect((await anna.members()).map(({ removed }) => removed)).toEqual([false, false]);
  await until(() => refused(other), "the relay goes on refusing the one who was late");
  expect(await content(other)).toEqual([]);
});

test("a further ledger is there while the node serves, and apart from the first", async ({ world }) => {
  const relay = await world.relay();
  const founder = await founds(world, relay);
  const [node, first] = await serves(world, founder);
  const by = ["--relay", await world.tapped(relay.url)];
  const said = await world.cairn("init", `${world.mark} shed`, ...by, "--json", "--data", founder);
  const { ledger: id } = JSON.parse(said) as { ledger: string };
  const further = (at: { readonly url: string }, wanted = id): Client<string> => {
    const connected = connect<string>(at.url, { ledger: wanted });
    world.onClose(() => connected.close());
    return connected;
  };
  const shed = further(node);
  await shed.append(`${world.mark} in the shed`);
  await first.append(`${world.mark} in the garden`);
  const texts = async (of: Client<string>) => (await content(of)).map(({ data }) => data);
  expect(await texts(shed)).toEqual([`${world.mark} in the shed`]);
  expect(await texts(first)).toEqual([`${world.mark} in the garden`]);
  const ledgers = (await shed.ledgers()).map(({ name, default: usual }) => [name, usual]);
  expect(ledgers).toEqual([
    [`${world.mark} garden`, true],
    [`${world.mark} shed`, false],
  ]);
  const nowhere = further(node, "f".repeat(64));
  expect(await new Promise((resolve) => nowhere.on("error", resolve))).toMatchObject({ code: "unknown_ledger" });

  // Somebody who serves another ledger comes in.
  const guest = await world.newData("guest");
  await world.cairn("init", `${world.mark} own`, "--data", guest);
  const serving = await world.node({ data: guest });
  await world.cairn("join", await invites(world, founder, "--ledger", id), "--data", guest);
  const there = further(serving);
  await expect.poll(() => texts(there)).toEqual([`${world.mark} in the shed`]);
  await there.append(`${world.mark} by a guest`);
  await converged([shed, there], 2);
});

test("a stranger who knows the ledger's id, and even its key, gets nothing of it from the relay", async ({ world }) => {
  const relay = await world.relay();
  const founder = await founds(world, relay);
  const [, anna] = await serves(world, founder);
  const { ledger: id, node } = await anna.status();
  const link = await invites(world, founder);
  const [{ block }] = JSON.parse(await world.cairn("invite", "--list", "--json", "--data", founder)) as [{ block: string }];
  await world.cairn("invite", "--close", block, "--data", founder);
  const { id: entry } = await anna.append(`${world.mark} for members`);
  await held([anna]);

  for (const [type, payload] of [
    ["LedgerSyncRequest", { after: null, limit: 100 }],
    ["EntryRequest", { entry_id: entry }],
    ["NodeListRequest", {}],
    ["NodeAnnounce", { node_id: node }],
  ] as const) {
    const text = await world.text(relay, id);
    text.send(type, payload);
    expect(await text.closed).toMatchObject({ code: 4012 });
    expect(text.drain()).toEqual([]);
  }

  const said: Buffer[] = [];
  const cable = await Cable.to(target(relay.url), () => ({ up: () => {}, down: (chunk) => said.push(chunk) }));
  world.onClose(() => cable.close());
  const stranger = await world.newData("stranger");
  const ran = await world.tries("join", link, "--relay", cableUrl(cable, relay.url), "--data", stranger);
  expect(ran.code).toBe(1);
  expect(ran.stderr).toMatch(NOT_LET_IN);
  const looker = client<string>(world, await world.node({ data: stranger }));
  await until(() => refused(looker), "the relay refuses the stranger's node too");
  const status = await looker.status();
  expect([status.role, status.members, status.totals.blocks, status.heads]).toEqual([null, 0, 0, []]);
  const heard = Buffer.concat(said);
  expect(heard.length).toBeGreaterThan(0);
  const { heads } = await anna.status();
  for (const secret of [node, ...heads.map(({ hash }) => hash)]) {
    expect(heard.includes(Buffer.from(secret, "hex"))).toBe(false);
  }
});

test("members leave, ledgers get other names, and an invite that is used, closed or past lets nobody in", async ({
  world,
}) => {
  const relay = await world.relay();
  const founder = await founds(world, relay);
  const [, anna] = await serves(world, founder);
  const used = await invites(world, founder);
  const [ran, data] = await joins(world, used, "ben");
  expect(ran.code, ran.stderr).toBe(0);
  const [, ben] = await serves(world, data);
  await world.cairn("rename", `${world.mark} orchard`, "--data", founder);
  await expect.poll(async () => (await ben.status()).name).toBe(`${world.mark} orchard`);

  const closed = await invites(world, founder);
  const list = await world.cairn("invite", "--list", "--json", "--data", founder);
  const [, { block }] = JSON.parse(list) as [unknown, { block: string }];
  await world.cairn("invite", "--close", block.slice(0, 10), "--data", founder);
  const past = (await anna.invite({ expiresIn: 0 })).link("https://cairn.example/");
  world.canary?.hides(past);
  await held([anna]);
  for (const link of [used, closed, past]) {
    const [refused] = await joins(world, link, "dora");
    expect(refused.code, `${refused.stdout}${refused.stderr}`).toBe(1);
    expect(refused.stderr).toMatch(NOT_LET_IN);
  }

  await world.cairn("leave", "--yes", "--data", data);
  const { node: id } = await ben.status();
  await expect.poll(async () => (await anna.members()).find((member) => member.node === id)?.removed).toBe(true);
  await anna.append(`${world.mark} without you`);
  await expect(ben.append(`${world.mark} with you`)).rejects.toMatchObject({ code: "removed" });
  expect(await ben.status()).toMatchObject({ removed: true });
  const again = await world.tries("join", used, "--data", data);
  expect([again.code, await content(ben)]).toEqual([1, []]);
  expect(again.stderr).toMatch(/was removed from the ledger, or left it: to come in anew, move .* away/);
});
