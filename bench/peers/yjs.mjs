/**
 * Yjs, and Hocuspocus as its server: a document with an array of entries.
 *
 * Mode: entries are strings in one `Y.Array`. Server and providers are processes of their own, joined by WebSockets on loopback;
 * `merge` and `stored` are in memory, without a server.
 * Durability: none. The server keeps the document in memory; a hook that would store it is not set.
 * What is verified: nothing. Updates are not signed, and whoever is connected can write in anybody's name.
 */

import { once } from "node:events";
import { createServer } from "node:http";

import { HocuspocusProvider } from "@hocuspocus/provider";
import { Hocuspocus } from "@hocuspocus/server";
import { WebSocket, WebSocketServer } from "ws";
import * as Y from "yjs";

import { Arrivals, line, main, measureLive, now, print, usage, usages, used } from "./harness.mjs";

const DOCUMENT = "ledger";
/** Entries that the server's document is filled with at once. */
const BATCH = 1_000;

const entriesOf = (/** @type {Y.Doc} */ doc) => doc.getArray("entries");

/** Adds entries one by one, as they are written. */
function write(/** @type {Y.Doc} */ doc, /** @type {number} */ from, /** @type {number} */ to) {
  for (let number = from; number < to; number++) entriesOf(doc).push([line(number)]);
}

/** Fails unless the document has every entry once. */
function check(/** @type {Y.Doc} */ doc, /** @type {number} */ entries) {
  const missing = new Set(Array.from({ length: entries }, (_, number) => line(number)));
  for (const text of entriesOf(doc)) {
    if (!missing.delete(text)) throw new Error("the document has an entry that was not written, or one twice");
  }
  if (missing.size > 0) throw new Error(`${missing.size} entries are not in the document`);
}

async function merge({ options: { entries } }) {
  const half = Math.floor(entries / 2);
  const [one, two] = [new Y.Doc(), new Y.Doc()];
  write(one, 0, half);
  write(two, half, entries);
  const before = await usage();
  const began = now();
  const [forOne, forTwo] = [Y.encodeStateAsUpdate(two, Y.encodeStateVector(one)), Y.encodeStateAsUpdate(one, Y.encodeStateVector(two))];
  Y.applyUpdate(one, forOne);
  Y.applyUpdate(two, forTwo);
  const seconds = (now() - began) / 1_000;
  const of = used([before], [await usage()]);
  check(one, entries);
  const other = entriesOf(two).toArray();
  if (entriesOf(one).toArray().some((text, index) => text !== other[index])) throw new Error("the two documents are not in the same order");
  console.error(`${seconds.toFixed(3)} s until both documents held ${entries} entries`);
  print("yjs:merge", entries / seconds, of);
}

async function stored({ options: { entries } }) {
  const doc = new Y.Doc();
  write(doc, 0, entries);
  print("yjs:stored", Y.encodeStateAsUpdate(doc).length / entries);
}

async function sync(run) {
  const { entries } = run.options;
  const server = await run.start("server");
  await server.ask("fill", entries);
  const url = await server.ask("url");
  const reader = await run.start("client", { url });
  const processes = [server, reader];
  const before = await usages(processes);
  const ms = await reader.ask("open", entries);
  const after = await usages(processes);
  await reader.ask("check", entries);
  print("yjs:sync", (entries * 1_000) / ms, { cpu: used(before, after).cpu, memory: after[1].memory });
}

async function live(run) {
  const { entries } = run.options;
  const server = await run.start("server");
  const url = await server.ask("url");
  const [writer, reader] = [await run.start("client", { url }), await run.start("client", { url })];
  await Promise.all([writer.ask("open", 0), reader.ask("open", 0)]);
  await measureLive("yjs", entries, writer, reader, [server, writer, reader]);
}

async function server() {
  const hocuspocus = new Hocuspocus({ quiet: true });
  const http = createServer();
  // Its own server would listen on every address of the machine.
  new WebSocketServer({ server: http }).on("connection", (socket, request) => hocuspocus.handleConnection(socket, request));
  await once(http.listen(0, "127.0.0.1"), "listening");
  return {
    url: () => `ws://127.0.0.1:${http.address().port}`,
    fill: async (entries) => {
      const connection = await hocuspocus.openDirectConnection(DOCUMENT);
      for (let from = 0; from < entries; from += BATCH) {
        await connection.transact((doc) => write(doc, from, Math.min(from + BATCH, entries)));
      }
    },
  };
}

async function client({ url }) {
  const doc = new Y.Doc();
  const arrivals = new Arrivals();
  entriesOf(doc).observe(({ changes }) => {
    for (const { insert } of changes.delta) {
      // What comes with the whole document is not waited for.
      if (insert?.length === 1) arrivals.note(insert[0]);
    }
  });
  return {
    /** How long it takes until the server's document is here, ms. */
    open: async (entries) => {
      const began = now();
      await new Promise((onSynced) => {
        new HocuspocusProvider({ url, name: DOCUMENT, document: doc, WebSocketPolyfill: WebSocket, onSynced });
      });
      if (entriesOf(doc).length !== entries) throw new Error(`${entriesOf(doc).length} entries came, not ${entries}`);
      return now() - began;
    },
    /** When the call was made. */
    write: (number) => {
      const called = now();
      write(doc, number, number + 1);
      return called;
    },
    /** When an entry was in the document. */
    arrival: (number) => arrivals.of(line(number)),
    check: (entries) => check(doc, entries),
  };
}

await main(
  import.meta.filename,
  {
    merge: { options: { entries: 100_000 }, run: merge },
    sync: { options: { entries: 100_000 }, run: sync },
    live: { options: { entries: 1_000 }, run: live },
    stored: { options: { entries: 100_000 }, run: stored },
  },
  { server, client },
);
