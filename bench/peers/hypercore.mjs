/**
 * Hypercore: a signed log of one writer, replicated over loopback TCP between two processes.
 *
 * Mode: blocks are appended in batches of 1,000 where the scenario is not about single ones. A copy downloads in any order with
 * up to 512 requests on their way (`inflightRange`): over TCP the library itself has no more than 48, which costs a fifth more CPU time.
 * A live copy asks for the newest block with the new length (`allowLatestBlock`).
 * Durability: an append resolves when it is in RocksDB's log, which is written and never synced: it survives the process, not
 * the machine. The documentation promises nothing about either.
 * What is verified: each block of a copy against a Merkle tree whose root the writer signed, by the library.
 */

import { once } from "node:events";
import { connect, createServer } from "node:net";

import Hypercore from "hypercore";

import { Arrivals, directoryBytes, line, main, measureLive, now, print, usage, usages, used } from "./harness.mjs";

const BATCH = 1_000;
const INFLIGHT = [512, 512];

const block = (/** @type {number} */ number) => Buffer.from(line(number));

/**
 * @param {string} path
 * @param {Buffer | null} [key]
 * @param {object} [options]
 */
async function open(path, key = null, options = {}) {
  const core = new Hypercore(path, key, options);
  await core.ready();
  return core;
}

/**
 * @param {Hypercore} core
 * @param {number} entries
 */
async function fill(core, entries) {
  for (let from = 0; from < entries; from += BATCH) {
    const length = Math.min(BATCH, entries - from);
    await core.append(Array.from({ length }, (_, index) => block(from + index)));
  }
}

/** Fails unless the core at `path` has all entries, and no others. */
async function check(/** @type {string} */ path, /** @type {number} */ entries) {
  const core = await open(path);
  if (core.length !== entries) throw new Error(`${core.length} entries are stored, not ${entries}`);
  for (let number = 0; number < entries; number++) {
    const stored = await core.get(number, { wait: false });
    if (stored?.toString() !== line(number)) throw new Error(`entry ${number} is not stored as it was written`);
  }
  await core.close();
}

/** Appends to a core of its own, and measures that. */
async function measureAppends(run, write) {
  const core = await open(run.path("core"));
  const before = await usage();
  const began = now();
  await write(core);
  const seconds = (now() - began) / 1_000;
  const after = await usage();
  await core.close();
  await check(run.path("core"), run.options.entries);
  return { perSecond: run.options.entries / seconds, of: used([before], [after]) };
}

async function ingest(run) {
  const { perSecond, of } = await measureAppends(run, (core) => fill(core, run.options.entries));
  print("hypercore:ingest", perSecond, of);
}

async function append(run) {
  const { perSecond, of } = await measureAppends(run, async (core) => {
    for (let number = 0; number < run.options.entries; number++) await core.append(block(number));
  });
  print("hypercore:append", perSecond, of);
}

async function sync(run) {
  const { entries } = run.options;
  const source = await run.start("source", { path: run.path("source") });
  await source.ask("fill", entries);
  const at = await source.ask("listen");
  const copy = await run.start("copy", { path: run.path("copy"), key: at.key, inflight: INFLIGHT });
  const processes = [source, copy];
  const before = await usages(processes);
  const { ms, received, sent } = await copy.ask("download", at.port, entries);
  const after = await usages(processes);
  await copy.ask("close");
  await check(run.path("copy"), entries);
  console.error(`${(received / entries).toFixed(1)} bytes an entry to the copy, ${(sent / entries).toFixed(1)} from it`);
  const { cpu } = used(before, after);
  print("hypercore:sync", (entries * 1_000) / ms, { cpu, memory: after[1].memory });
  print("hypercore:sync/bytes", (received + sent) / entries);
}

async function live(run) {
  const { entries } = run.options;
  const source = await run.start("source", { path: run.path("source") });
  const at = await source.ask("listen");
  const copy = await run.start("copy", { path: run.path("copy"), key: at.key, latest: true });
  await copy.ask("follow", at.port);
  await measureLive("hypercore", entries, source, copy, [source, copy]);
}

async function stored(run) {
  const core = await open(run.path("core"));
  await fill(core, run.options.entries);
  await core.close();
  print("hypercore:stored", (await directoryBytes(run.path("core"))) / run.options.entries);
}

async function memory(run) {
  // The process that writes has nothing else to do.
  const writer = await run.start("source", { path: run.path("core") });
  await writer.ask("fill", run.options.entries);
  const { memory } = await writer.ask("usage");
  print("hypercore:memory", memory, { memory });
}

async function reopen(run) {
  const { entries } = run.options;
  const core = await open(run.path("core"));
  await fill(core, entries);
  await core.close();
  // The first start after a close also moves RocksDB's log into its tables. What is measured is a start that has nothing to move.
  await (await open(run.path("core"))).close();
  const began = now();
  const reader = await run.start("source", { path: run.path("core") });
  const { text, ms } = await reader.ask("last");
  const took = now() - began;
  if (text !== line(entries - 1)) throw new Error("the last entry is not what was written");
  console.error(`${ms.toFixed(1)} ms of it after Node.js and the library were loaded`);
  print("hypercore:open", took, await reader.ask("usage"));
}

/** The one that writes. */
async function source({ path }) {
  const began = now();
  const core = await open(path);
  return {
    fill: (entries) => fill(core, entries),
    listen: async () => {
      const server = createServer({ noDelay: true }, (socket) => replicate(core, socket, false)).listen(0, "127.0.0.1");
      await once(server, "listening");
      return { port: server.address().port, key: core.key.toString("hex") };
    },
    /** When the call was made. */
    write: async (number) => {
      const called = now();
      await core.append(block(number));
      return called;
    },
    last: async () => {
      const text = (await core.get(core.length - 1)).toString();
      return { text, ms: now() - began };
    },
  };
}

/** The one that has a copy. */
async function copy({ path, key, inflight = null, latest = false }) {
  const core = await open(path, Buffer.from(key, "hex"), { inflightRange: inflight, allowLatestBlock: latest });
  const dial = (/** @type {number} */ port) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    replicate(core, socket, true);
    return socket;
  };
  const arrivals = new Arrivals();
  return {
    download: async (port, entries) => {
      const began = now();
      const socket = dial(port);
      await core.download({ start: 0, end: entries }).done();
      const ms = now() - began;
      return { ms, received: socket.bytesRead, sent: socket.bytesWritten };
    },
    follow: async (port) => {
      let next = 0;
      core.on("append", async () => {
        while (next < core.length) {
          const number = next++;
          const got = await core.get(number);
          if (got.toString() === line(number)) arrivals.note(number);
        }
      });
      const connected = once(core, "peer-add");
      dial(port);
      core.download({ start: 0, end: -1 });
      await connected;
    },
    /** When an entry was there to be read. */
    arrival: (number) => arrivals.of(number),
    close: () => core.close(),
  };
}

function replicate(core, socket, isInitiator) {
  const stream = core.replicate(isInitiator);
  // The other side ends when it has all.
  for (const each of [socket, stream]) each.on("error", () => {});
  socket.pipe(stream).pipe(socket);
}

await main(
  import.meta.filename,
  {
    ingest: { options: { entries: 1_000_000 }, run: ingest },
    append: { options: { entries: 10_000 }, run: append },
    sync: { options: { entries: 100_000 }, run: sync },
    live: { options: { entries: 1_000 }, run: live },
    stored: { options: { entries: 100_000 }, run: stored },
    open: { options: { entries: 100_000 }, run: reopen },
    memory: { options: { entries: 100_000 }, run: memory },
  },
  { source, copy },
);
