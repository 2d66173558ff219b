/**
 * Autobase: two writers apart, then together, until both views hold all entries in the same order.
 *
 * Mode: two indexers in a process each, replicated over loopback TCP, `bigBatches` on, each with a view that appends what it is
 * given. Each writes `--batch` entries in one append.
 * Durability: as Hypercore's, of which it is made: written to RocksDB's log and never synced.
 * What is verified: each writer's blocks against that writer's signed Merkle tree, by the library; the order is computed
 * by each member.
 */

import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";

import Autobase from "autobase";
import Corestore from "corestore";

import { line, main, now, print, usages, used } from "./harness.mjs";

/** Nobody waits longer than this for the other's entries, ms. */
const PATIENCE = 600_000;
/** How often a member looks without having been told of an update, ms. */
const LOOK = 50;

async function merge(run) {
  const { entries, batch } = run.options;
  const one = await run.start("member", { path: run.path("one") });
  const key = await one.ask("key");
  const two = await run.start("member", { path: run.path("two"), key });
  const members = [one, two];

  // The second one becomes a writer, and both part again.
  const port = await one.ask("listen");
  await two.ask("dial", port);
  await one.ask("admit", await two.ask("writer"));
  await two.ask("admitted");
  await two.ask("part");

  const half = Math.floor(entries / 2);
  await one.ask("write", 0, half, batch);
  await two.ask("write", half, entries, batch);

  const before = await usages(members);
  const began = now();
  await two.ask("dial", port);
  let views = await Promise.all(members.map((each) => each.ask("view", entries, null)));
  while (views[0].hash !== views[1].hash) {
    // One of them is about to put its view in order again.
    const next = members.map((each, index) => each.ask("view", entries, views[index].hash));
    const changed = await Promise.race(next.map(async (view, index) => ({ index, view: await view })));
    views = views.with(changed.index, changed.view);
  }
  const seconds = (Math.max(...views.map(({ at }) => at)) - began) / 1_000;
  const of = used(before, await usages(members));

  const contents = await Promise.all(members.map((each) => each.ask("contents", entries)));
  if (contents[0] !== contents[1]) throw new Error("the two views are not in the same order");
  console.error(`${seconds.toFixed(2)} s until both views held ${entries} entries in the same order`);
  print("autobase:merge", entries / seconds, of);
}

async function member({ path, key = null }) {
  const base = new Autobase(new Corestore(path), key === null ? null : Buffer.from(key, "hex"), {
    valueEncoding: "json",
    bigBatches: true,
    open: (store) => store.get({ name: "view", valueEncoding: "utf-8" }),
    apply: async (nodes, view, host) => {
      const lines = [];
      for (const { value } of nodes) {
        if (value.writer === undefined) lines.push(value.line);
        else await host.addWriter(Buffer.from(value.writer, "hex"), { indexer: true });
      }
      if (lines.length > 0) await view.append(lines);
    },
  });
  // Without a listener an error would end the process without a word.
  base.on("error", (error) => console.error(error.message));
  let updated = () => {};
  base.on("update", () => updated());
  await base.ready();
  /** @type {import("node:net").Socket | null} */
  let link = null;

  /** Resolves when `condition` holds. */
  const until = async (condition, what) => {
    const end = now() + PATIENCE;
    while (!(await condition())) {
      if (now() >= end) throw new Error(`${what} did not happen`);
      await new Promise((resolve) => {
        updated = resolve;
        setTimeout(resolve, LOOK);
      });
    }
  };
  const replicate = (socket, isInitiator) => {
    const stream = base.replicate(isInitiator);
    // The members part on purpose.
    for (const each of [socket, stream]) each.on("error", () => {});
    socket.pipe(stream).pipe(socket);
  };
  return {
    key: () => base.key.toString("hex"),
    writer: () => base.local.key.toString("hex"),
    listen: async () => {
      const server = createServer({ noDelay: true }, (socket) => replicate(socket, false)).listen(0, "127.0.0.1");
      await once(server, "listening");
      return server.address().port;
    },
    dial: async (port) => {
      link = connect({ port, host: "127.0.0.1", noDelay: true });
      replicate(link, true);
      await once(link, "connect");
    },
    part: async () => {
      const closed = once(link, "close");
      link.destroy();
      await closed;
    },
    admit: async (writer) => {
      await base.append({ writer });
    },
    admitted: () => until(() => base.writable, "being made a writer"),
    write: async (from, to, batch) => {
      for (let first = from; first < to; first += batch) {
        const length = Math.min(batch, to - first);
        await base.append(Array.from({ length }, (_, index) => ({ line: line(first + index) })));
      }
    },
    /** The view's hash when it holds so many entries, and is not the `former` one. */
    view: async (entries, former) => {
      let hash = former;
      const changed = async () => {
        if (base.view.length < entries) return false;
        hash = (await base.view.treeHash()).toString("hex");
        return hash !== former && base.view.length === entries;
      };
      await until(changed, "the merge");
      return { at: now(), hash };
    },
    /** The hash of all entries in their order. Fails unless all that were written are there. */
    contents: async (entries) => {
      const all = createHash("sha256");
      const missing = new Set(Array.from({ length: entries }, (_, number) => line(number)));
      for (let index = 0; index < base.view.length; index++) {
        const text = await base.view.get(index);
        if (!missing.delete(text)) throw new Error(`entry ${index} of the view was not written, or is there twice`);
        all.update(text);
      }
      if (missing.size > 0) throw new Error(`${missing.size} entries are not in the view`);
      return all.digest("hex");
    },
  };
}

await main(import.meta.filename, { merge: { options: { entries: 5_000, batch: 1_000 }, run: merge } }, { member });
