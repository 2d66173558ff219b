/** What a page does without a terminal: begin a group, come into one by a link, and take a backup of the key. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Socket } from "socket.io-client";
import { expect } from "vitest";

import type { Answer, LedgerInfo, Member, NodeStatus } from "../../client/src/types.js";
import { test } from "../../test/e2e/fixture.js";
import { until, type NodeProcess, type World } from "../../test/e2e/harness.js";

async function ask<A>(socket: Socket, name: string, ...args: unknown[]): Promise<A> {
  const answer = (await socket.timeout(30_000).emitWithAck(name, ...args)) as Answer<A>;
  if (!answer.ok) throw new Error(`${name}: ${answer.error.code}: ${answer.error.message}`);
  return answer;
}

/** The code with which a request is refused. */
async function refused(socket: Socket, name: string, ...args: unknown[]): Promise<string> {
  const answer = (await socket.timeout(30_000).emitWithAck(name, ...args)) as Answer<object>;
  return answer.ok ? "it was not refused" : answer.error.code;
}

async function create(socket: Socket, name: string, nickname?: string): Promise<LedgerInfo> {
  return (await ask<{ ledger: LedgerInfo }>(socket, "create_ledger", { name, nickname })).ledger;
}

async function joins(socket: Socket, token: string, nickname?: string): Promise<LedgerInfo> {
  return (await ask<{ ledger: LedgerInfo }>(socket, "join_ledger", { token, nickname })).ledger;
}

async function invites(socket: Socket, whom: object = {}): Promise<string> {
  return (await ask<{ invite: { token: string } }>(socket, "create_invite", whom)).invite.token;
}

async function status(socket: Socket): Promise<NodeStatus> {
  return (await ask<{ status: NodeStatus }>(socket, "get_status")).status;
}

/** What members are called; `null` where nobody has said. */
async function names(socket: Socket): Promise<readonly (string | null)[]> {
  return (await ask<{ members: readonly Member[] }>(socket, "get_members")).members.map(({ name }) => name);
}

const inLedger = (world: World, node: NodeProcess, ledger: LedgerInfo): Promise<Socket> =>
  world.socket(node, { namespace: `/ledger/${ledger.id}` });

/** A node that dials another one, in every ledger. */
const beside = (world: World, node: NodeProcess, data?: string): Promise<NodeProcess> =>
  world.node({ direct: true, args: ["--peer", node.url.replace("http", "ws")], ...(data !== undefined && { data }) });

test("a group begins, and who comes in by its link is read by the name that they gave", async ({ world }) => {
  const first = await world.node({ direct: true });
  const made = await create(await world.socket(first), "the allotments", "anna");
  expect(made).toMatchObject({ name: "the allotments", open: false, default: false });
  const anna = await inLedger(world, first, made);
  expect(await status(anna)).toMatchObject({ ledger: made.id, node: made.node, role: "owner", members: 1 });
  expect(await names(anna)).toEqual(["anna"]);

  const second = await beside(world, first);
  const page = await world.socket(second);
  const joined = await joins(page, `${first.url}/#join=${await invites(anna)}`, "ben");
  expect(joined).toMatchObject({ id: made.id, open: false, default: false });
  const ben = await inLedger(world, second, joined);
  for (const socket of [anna, ben]) {
    await until(async () => (await names(socket)).includes("ben"), "ben is in and has his name");
    expect(await names(socket)).toEqual(["anna", "ben"]);
  }
  expect(await status(ben)).toMatchObject({ name: "the allotments", role: "member" });
  await ask(ben, "add_ledger_entry", "hello");
  await until(async () => JSON.stringify(await ask(anna, "get_ledger", { limit: 1 })).includes('"hello"'), "anna reads it");

  // Who is in already stays as they are.
  expect(await joins(page, await invites(anna), "somebody else")).toMatchObject({ id: made.id, node: joined.node });
  expect(await names(ben)).toEqual(["anna", "ben"]);
  const { ledgers } = await ask<{ ledgers: readonly LedgerInfo[] }>(page, "get_ledgers");
  expect(ledgers.map(({ id }) => id)).toContain(made.id);
});

test("a name is given also where nobody was there to let the node in before it started anew", async ({ world }) => {
  const first = await world.node({ direct: true });
  const made = await create(await world.socket(first), "garden");
  const anna = await inLedger(world, first, made);
  const token = await invites(anna);
  const alone = await world.node();
  const joined = await joins(await world.socket(alone), token, "ben");
  expect(await status(await inLedger(world, alone, joined))).toMatchObject({ role: null, node: joined.node });
  await alone.stop();
  const again = await beside(world, first, alone.data);
  await until(async () => (await names(anna)).includes("ben"), "ben is in and has his name");
  expect(await status(await inLedger(world, again, joined))).toMatchObject({ role: "member", node: joined.node });
});

test("another link takes the place of one that does not let the node in", async ({ world }) => {
  const first = await world.node({ direct: true });
  const made = await create(await world.socket(first), "garden");
  const anna = await inLedger(world, first, made);
  const usedUp = await invites(anna);
  const other = await beside(world, first);
  await joins(await world.socket(other), usedUp, "cleo");
  await until(async () => (await names(anna)).includes("cleo"), "cleo is in");

  const late = await beside(world, first);
  const page = await world.socket(late);
  const joined = await joins(page, usedUp, "dora");
  const dora = await inLedger(world, late, joined);
  expect(await status(dora)).toMatchObject({ role: null });
  // What is written from now on opens with another key, which the first link did not bring.
  await ask(anna, "rekey");
  await ask(anna, "add_ledger_entry", "sealed anew");
  expect(await joins(page, await invites(anna), "dora")).toEqual(joined);
  await until(async () => (await names(anna)).includes("dora"), "dora is in and has her name");
  await until(async () => (await status(dora)).role === "member", "dora knows it, on the connection that she had");
  expect((await status(dora)).node).toBe(joined.node);
  await until(async () => JSON.stringify(await ask(dora, "get_ledger")).includes('"sealed anew"'), "dora reads what was sealed");
});

test("another link leads over a relay that the first one did not name", async ({ world }) => {
  const alone = await world.node();
  const made = await create(await world.socket(alone), "garden");
  const first = await invites(await inLedger(world, alone, made));
  const other = await world.node();
  const page = await world.socket(other);
  const joined = await joins(page, first, "ben");
  await alone.stop();

  const relay = await world.relay();
  const anna = await inLedger(world, await world.node({ data: alone.data, relay: relay.url }), made);
  await until(async () => (await status(anna)).links.some(({ node }) => node !== null), "anna is linked to the relay");
  expect(await joins(page, await invites(anna), "ben")).toEqual(joined);
  await until(async () => (await names(anna)).includes("ben"), "ben is in and has his name");
});

test("what is no name, no link, or of a ledger that put the node out makes nothing", async ({ world }) => {
  const node = await world.node({ direct: true });
  const page = await world.socket(node);
  expect(await refused(page, "create_ledger", { name: "" })).toBe("wrong_name");
  expect(await refused(page, "create_ledger", { name: "x".repeat(65) })).toBe("wrong_name");
  expect(await refused(page, "create_ledger", { name: "garden", nickname: "a\nb" })).toBe("wrong_name");
  for (const token of ["", "hello", `${node.url}/#join=`, `${node.url}/#join=hwabcd`]) {
    expect(await refused(page, "join_ledger", { token })).toBe("wrong_token");
  }
  const { ledgers } = await ask<{ ledgers: readonly LedgerInfo[] }>(page, "get_ledgers");
  expect(ledgers.map(({ name }) => name)).toEqual(["commons"]);

  const made = await create(page, "garden");
  const anna = await inLedger(world, node, made);
  const other = await beside(world, node);
  const joined = await joins(await world.socket(other), await invites(anna));
  await until(async () => (await names(anna)).length === 2, "the other one is in");
  await ask(anna, "remove_member", { node: joined.node });
  const out = await inLedger(world, other, joined);
  await until(async () => (await status(out)).removed, "the other one knows that it is out");
  expect(await refused(out, "join_ledger", { token: await invites(anna) })).toBe("removed");
});

test("clients that make ledgers at once each get theirs, and no more than the node has room for", async ({ world }) => {
  const node = await world.node();
  const sockets = await Promise.all([1, 2, 3].map(() => world.socket(node)));
  const made = await Promise.all(sockets.map((socket, n) => create(socket, `group ${n}`)));
  expect(new Set(made.map(({ id }) => id)).size).toBe(3);
  const codes = new Set<string>();
  for (let n = 0; n < 64; n++) codes.add(await refused(sockets[0]!, "create_ledger", { name: `more ${n}` }));
  expect([...codes]).toEqual(["it was not refused", "too_many_ledgers"]);
  const { ledgers } = await ask<{ ledgers: readonly LedgerInfo[] }>(sockets[1]!, "get_ledgers");
  expect(ledgers.length).toBe(64);
});

test("a backup that a page took brings the node's key back", async ({ world }) => {
  const node = await world.node();
  const made = await create(await world.socket(node), "garden");
  const socket = await inLedger(world, node, made);
  expect(await refused(socket, "backup_key", { passphrase: "short" })).toBe("wrong_passphrase");
  const { backup } = await ask<{ backup: string }>(socket, "backup_key", { passphrase: "correct horse" });
  expect(backup).toMatch(/^cairn key backup 1 /);
  const [directory, data] = [await world.directory("backup"), await world.newData("restored")];
  const [file, passphrase] = [join(directory, "backup"), join(directory, "passphrase")];
  await writeFile(file, backup);
  await writeFile(passphrase, "correct horse\n");
  expect(await world.cairn("key", "restore", file, "--data", data, "--passphrase-file", passphrase)).toContain(
    `ledger ${made.id}: restored as node ${made.node}`,
  );
});

test("keys that have a passphrase are backed up with that one only", async ({ world }) => {
  const data = await world.newData("sealed");
  const passphrase = join(await world.directory("passphrase"), "passphrase");
  await writeFile(passphrase, "correct horse\n");
  await world.cairn("init", "garden", "--data", data);
  await world.cairn("key", "lock", "--data", data, "--passphrase-file", passphrase);
  const node = await world.node({ data, args: ["--passphrase-file", passphrase] });
  const page = await world.socket(node);
  expect(await refused(page, "backup_key", { passphrase: "another horse" })).toBe("wrong_passphrase");
  const { backup } = await ask<{ backup: string }>(page, "backup_key", { passphrase: "correct horse" });
  expect(backup).toMatch(/^cairn key backup 1 /);
  // What is made from here is sealed as the others are.
  const made = await create(page, "yard");
  expect(await refused(await inLedger(world, node, made), "backup_key", { passphrase: "another horse" })).toBe("wrong_passphrase");
});
