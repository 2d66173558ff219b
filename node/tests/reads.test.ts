/** What a page reads of a ledger over Socket.IO: blocks, words, the past, the keys. With the official client. */

import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

import type { Socket } from "socket.io-client";
import { expect } from "vitest";

import { test } from "../../test/e2e/fixture.js";
import { event, type NodeProcess, type World } from "../../test/e2e/harness.js";

interface Entry {
  readonly id: string;
  readonly kind: string;
  readonly data: unknown;
}

interface BlockPage {
  readonly blocks: readonly string[];
  readonly cursor: string;
  readonly done: boolean;
}

interface History {
  readonly lanes: readonly { readonly author: string; readonly buckets: readonly (readonly [number, number, number])[] }[];
  readonly blocks: readonly { readonly hash: string; readonly entries: number; readonly kinds: readonly string[] }[] | null;
}

type Answer<A> = ({ readonly ok: true } & A) | { readonly ok: false; readonly error: { readonly code: string } };

async function ask<A>(socket: Socket, name: string, ...args: unknown[]): Promise<A> {
  const answer = (await socket.timeout(30_000).emitWithAck(name, ...args)) as Answer<A>;
  if (!answer.ok) throw new Error(`${name}: ${answer.error.code}`);
  return answer;
}

async function refused(socket: Socket, name: string, ...args: unknown[]): Promise<string> {
  const answer = (await socket.timeout(30_000).emitWithAck(name, ...args)) as Answer<object>;
  return answer.ok ? "it was not refused" : answer.error.code;
}

async function append(socket: Socket, values: readonly unknown[]): Promise<readonly Entry[]> {
  return (await ask<{ entries: readonly Entry[] }>(socket, "append_many", values)).entries;
}

async function found(socket: Socket, query: string): Promise<readonly unknown[]> {
  const { entries } = await ask<{ entries: readonly Entry[] }>(socket, "search", { query });
  return entries.map((entry) => entry.data);
}

async function allBlocks(socket: Socket): Promise<readonly string[]> {
  const blocks: string[] = [];
  for (let after: string | null = null; ; ) {
    const { page }: { page: BlockPage } = await ask(socket, "get_blocks", { after });
    blocks.push(...page.blocks);
    if (page.done) return blocks;
    after = page.cursor;
  }
}

/** The blocks of an exported file: a line, then each block behind its length, then a length of 0 and their number. */
async function exported(file: string): Promise<readonly string[]> {
  const bytes = await readFile(file);
  const blocks: string[] = [];
  for (let at = bytes.indexOf("\n") + 1; ; ) {
    const length = bytes.readUInt32BE(at);
    if (length === 0) return blocks;
    blocks.push(bytes.subarray(at + 4, at + 4 + length).toString("base64"));
    at += 4 + length;
  }
}

/** A member of a group of one, and its client. */
async function group(world: World): Promise<{ readonly data: string; readonly node: NodeProcess; readonly socket: Socket }> {
  const data = await world.newData("founder");
  await world.cairn("init", "garden", "--nickname", "gardener", "--data", data);
  const node = await world.node({ data, env: { RUST_LOG: "trace" } });
  return { data, node, socket: await world.socket(node) };
}

test("blocks are those of an export, byte for byte", async ({ world }) => {
  const node = await world.node();
  const socket = await world.socket(node);
  for (let n = 0; n < 30; n += 1) await append(socket, Array.from({ length: 1 + (n % 4) }, (_, m) => ({ n, m })));
  const [first] = await append(socket, ["to be erased"]);
  await ask(socket, "erase_entry", { id: first!.id });
  const blocks = await allBlocks(socket);
  const file = join(await world.directory("export"), "blocks");
  await world.cairn("export", file, "--data", node.data);
  expect([...blocks].sort()).toEqual([...(await exported(file))].sort());
  expect(blocks).toHaveLength(32);
  for (const block of blocks) expect(Buffer.from(block, "base64").includes("to be erased")).toBe(false);

  const [author, height] = first!.id.split("-");
  const { page } = await ask<{ page: BlockPage }>(socket, "get_blocks", { places: [[author, Number(height)]] });
  expect(page).toEqual({ blocks: [blocks[30]], cursor: "1", done: true });
  expect(await refused(socket, "get_blocks", { after: "nowhere" })).toBe("unknown_cursor");
  expect(await refused(socket, "get_blocks", {})).toBe("wrong_arguments");
});

test("a search waits for what was sent before it, and finds nothing that was erased", async ({ world }) => {
  const socket = await world.socket(await world.node());
  const [first] = await append(socket, [{ text: "Ein schöner Garten" }]);
  // Neither waits for the other here.
  const later = append(socket, [{ text: "ein zweiter garten" }]);
  const both = found(socket, "gart");
  expect(await both).toEqual([{ text: "ein zweiter garten" }, { text: "Ein schöner Garten" }]);
  await later;
  expect(await found(socket, "schoner GARTEN")).toEqual([{ text: "Ein schöner Garten" }]);
  await ask(socket, "erase_entry", { id: first!.id });
  expect(await found(socket, "gart")).toEqual([{ text: "ein zweiter garten" }]);
  expect(await refused(socket, "search", { query: " " })).toBe("wrong_arguments");
  const answer = event<readonly Entry[]>(socket, "found");
  socket.emit("search", { query: "zweiter" });
  expect((await answer).map((entry) => entry.data)).toEqual([{ text: "ein zweiter garten" }]);
});

test("what is sealed is found while its words are in no file", async ({ world }) => {
  const { data, socket } = await group(world);
  await append(socket, [{ text: "xylophone lessons" }]);
  expect(await found(socket, "xylo")).toEqual([{ text: "xylophone lessons" }]);
  expect(await found(socket, "gardener")).toEqual([]);
  const files = (await readdir(data, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  expect(files.length).toBeGreaterThan(3);
  for (const file of files) {
    const text = (await readFile(join(file.parentPath, file.name))).toString("latin1").toLowerCase();
    expect(text.includes("xylophone"), file.name).toBe(false);
  }
});

test("the keyring is asked for by name, and is in no log", async ({ world }) => {
  const { node, socket } = await group(world);
  // [1, id of the current key, [[id, key]]] in CBOR.
  const one = /^830150([0-9a-f]{32})818250\1(5820[0-9a-f]{64})$/;
  const { keyring } = await ask<{ keyring: string }>(socket, "get_keyring");
  const [, , secret] = one.exec(keyring)!;
  await ask(socket, "rekey");
  expect((await ask<{ keyring: string }>(socket, "get_keyring")).keyring.length).toBe(keyring.length + 2 * 52);
  const open = await world.socket(await world.node());
  expect((await ask<{ keyring: string }>(open, "get_keyring")).keyring).toBe("83014080");
  expect(await refused(open, "get_keyring", 1)).toBe("wrong_arguments");
  await node.stop();
  expect(node.process.output).toContain("input=");
  expect(node.process.output).not.toContain(secret!.slice(4));
});

test("the past, the holders of an entry and pages from the end", async ({ world }) => {
  const socket = await world.socket(await world.node());
  const entries: Entry[] = [];
  for (let n = 0; n < 10; n += 1) entries.push(...(await append(socket, [n, "second"])));
  const { nodes } = await ask<{ nodes: readonly string[] }>(socket, "get_known_nodes");
  expect((await ask<{ nodes: readonly string[] }>(socket, "get_holders", { id: entries[3]!.id })).nodes).toEqual(nodes);
  expect(await refused(socket, "get_holders", { id: `${nodes[0]}-99-0` })).toBe("unknown_entry");

  const { history } = await ask<{ history: History }>(socket, "get_history", { buckets: 5, detail: 10 });
  const sum = (which: 1 | 2): number => history.lanes[0]!.buckets.reduce((all, bucket) => all + bucket[which], 0);
  expect([history.lanes.length, sum(1), sum(2)]).toEqual([1, 10, 20]);
  expect(history.blocks!.map((block) => [block.entries, block.kinds])).toEqual(Array.from({ length: 10 }, () => [2, ["data"]]));
  expect((await ask<{ history: History }>(socket, "get_history", { detail: 9 })).history.blocks).toBeNull();

  const pages: Entry[] = [];
  for (let before: string | null = null; ; before = pages[0]!.id) {
    const page: { entries: readonly Entry[] } = await ask(socket, "get_ledger", { before, limit: 3 });
    if (page.entries.length === 0) break;
    pages.unshift(...page.entries);
  }
  expect(pages).toEqual(entries);
});
