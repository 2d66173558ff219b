/** Every figure that is measured: what it says, in which unit, what is asked of it, and which program measures it. */

/**
 * What is asked of a figure, in its unit.
 *
 * @typedef {{ least: number } | { most: number }} Goal
 */

/**
 * Another program's figure that a figure is shown beside. What is compared is the quotient of the two medians, this project's
 * above; where no goal stands, it is shown only.
 *
 * @typedef {object} Beside
 * @property {string} figure
 * @property {Goal} [goal] asked of the quotient
 */

/**
 * @typedef {object} Figure
 * @property {string} id
 * @property {string} words
 * @property {string} unit
 * @property {"higher" | "lower"} better
 * @property {Goal} [goal]
 * @property {Beside[]} [beside]
 * @property {string} [why] why what is asked is not met, as its profile shows
 * @property {(value: number) => number} [compared] what is compared, where the others' figures are in another unit
 */

/**
 * One run of a program, which prints some figures. Options are as the program takes them; `needs` names what is built before.
 *
 * @typedef {object} Scenario
 * @property {string} name
 * @property {readonly [program: Program, ...args: string[]]} run
 * @property {readonly Need[]} needs
 * @property {readonly string[]} figures
 * @property {number} [most] runs, where one takes minutes
 */

/**
 * `bench` and `crowd` are programs of this package, `client` is a file of `bench/clients`, `peer` one of `bench/peers`, and `native peer` a program of `bench/peers/native`.
 *
 * @typedef {"bench" | "crowd" | "client" | "peer" | "native peer"} Program
 */

/** @typedef {"relay" | "wasm" | "npm peers" | "native peers"} Need */

/** Entries of the ledgers in the table that shows whether size matters, and their authors. */
export const SCALE = { entries: [1_000, 10_000, 100_000, 1_000_000], authors: [1, 10, 100, 1_000] };
/** Entries from which that is measured once only: to make and sign a million blocks takes longer than what is measured. */
const LONG = 1_000_000;

/** Entries that `merge` is about. */
const MERGED = 100_000;
const KIB = 1024;
const MIB = 1024 * KIB;

const rate = { unit: "entries/s", better: /** @type {const} */ ("higher") };
const wait = { unit: "ms", better: /** @type {const} */ ("lower") };
const merge = {
  unit: "s",
  better: /** @type {const} */ ("lower"),
  goal: { most: 3 },
  beside: [{ figure: "autobase:merge", goal: { least: 100 } }, { figure: "yjs:merge" }],
  compared: (/** @type {number} */ seconds) => MERGED / seconds,
};
const size = { unit: "bytes", better: /** @type {const} */ ("lower") };

/** Cairn's own figures. @type {readonly Figure[]} */
export const OWN = [
  { id: "ingest/256", words: "Blocks of others into a store, 256 entries in each: decoded, checked, durable", ...rate, goal: { least: 500_000 }, beside: [{ figure: "hypercore:ingest" }] },
  { id: "ingest/1", words: "The same, every entry signed for itself", ...rate },
  { id: "append/pipelined", words: "One client of the TypeScript library appends, 500 calls on their way, each acknowledged when it is on disk", ...rate, goal: { least: 50_000 }, beside: [{ figure: "hypercore:append" }, { figure: "socketio:append" }] },
  { id: "append/pipelined/p99", words: "From such a call to its result, in 99 of 100", ...wait, goal: { most: 25 } },
  { id: "append/raw", words: "The same over a bare Socket.IO connection of a program in Rust: what the node can do", ...rate },
  { id: "append/raw/p99", words: "From such a call to its result, in 99 of 100", ...wait },
  { id: "append/many", words: "One client appends 1,000 entries with each call", ...rate, goal: { least: 200_000 },
    why: "The client is at work for 5 µs an entry, so it alone would end below 200,000/s: every entry comes back whole, 690 bytes for each of 120, of which reading the JSON takes 1.6 µs, collecting what was read 1.6, UTF-8 0.8, and masking what is sent 0.5. The node needs 4 µs beside it on the same two cores, a third of that to make this JSON." },
  { id: "append/one/p50", words: "One append after the other: from the call to its result, in the median", ...wait, goal: { most: 0.3 }, beside: [{ figure: "socketio:append/one" }],
    why: "A plain Socket.IO server that keeps entries in memory takes 0.2 ms of this for the same way (see below), the disk 0.17 (`fdatasync`). What is left, 0.2 ms, are the signature (0.02), 26 calls of the system for SQLite's log and locks, and two wakings of threads: from the connection to the one that writes, and back." },
  { id: "append/crowd", words: "100 clients append at once", ...rate, goal: { least: 50_000 } },
  { id: "append/crowd/p99", words: "From such a call to its result, in 99 of 100", ...wait, goal: { most: 50 } },
  { id: "sync/256", words: "An empty node fetches 1,000,000 entries from another one, in blocks of 256, from its start on", ...rate, goal: { least: 400_000 }, beside: [{ figure: "hypercore:sync", goal: { least: 25 } }, { figure: "yjs:sync" }] },
  { id: "sync/1", words: "The same with 100,000 entries, each signed for itself", ...rate, goal: { least: 45_000 }, beside: [{ figure: "hypercore:sync", goal: { least: 3 } }, { figure: "yjs:sync" }] },
  { id: "sync/256/bytes", words: "Bytes of all frames of that link, for each entry of 120 bytes", ...size, goal: { most: 150 }, beside: [{ figure: "hypercore:sync/bytes" }] },
  { id: "sync/1/bytes", words: "The same, every entry signed for itself", ...size, goal: { most: 330 }, beside: [{ figure: "hypercore:sync/bytes" }] },
  { id: "merge/256", words: "Two nodes with 50,000 entries each, written apart in blocks of 256, are linked: until both have all, in one order", ...merge },
  { id: "merge/1", words: "The same, every entry signed for itself", ...merge,
    why: "Each entry has a signature of its own, and one strict check takes 23 µs: two cores that do nothing else would reach 86,000 entries/s, 40 times Autobase. Many at once would take 8 µs each, but such a check lets through what a single one refuses, and two nodes that judge one block differently would part for good. Autobase signs 1,000 entries together, as it is meant to be used: what stands for that is `merge/256`." },
  { id: "live/direct/p50", words: "From the call at one client to the entry at another one's, over two nodes linked by QUIC, in the median", ...wait, beside: [{ figure: "hypercore:live/p50", goal: { most: 1 } }, { figure: "gossip:live/p50" }, { figure: "yjs:live/p50" }, { figure: "socketio:live/p50" }] },
  { id: "live/direct/p99", words: "The same in 99 of 100", ...wait, beside: [{ figure: "hypercore:live/p99", goal: { most: 1 } }, { figure: "gossip:live/p99" }, { figure: "yjs:live/p99" }, { figure: "socketio:live/p99" }] },
  { id: "live/relay/p50", words: "From the acknowledgement at one client to the entry at another one's, over two nodes and a relay in workerd, in the median", ...wait, goal: { most: 4 } },
  { id: "live/relay/p99", words: "The same in 99 of 100", ...wait, goal: { most: 15 } },
  { id: "fanout", words: "One client writes entries of 200 bytes, 500 others get each; none may be lost", unit: "deliveries/s", better: "higher", beside: [{ figure: "socketioxide:fanout", goal: { least: 0.8 } }, { figure: "socketio:fanout" }] },
  { id: "idle/client", words: "Memory of the node for each of 2,000 clients that are there and say nothing", ...size, beside: [{ figure: "socketioxide:idle/client", goal: { most: 1.2 } }] },
  { id: "memory/1m", words: "Memory of a node with 1,000,000 entries, after all of them were read", ...size, goal: { most: 64 * MIB } },
  { id: "stored/256", words: "Bytes on the disk for each entry of 120 bytes, in blocks of 256", ...size, goal: { most: 160 }, beside: [{ figure: "hypercore:stored" }, { figure: "yjs:stored" }] },
  { id: "stored/1", words: "The same, every entry signed for itself", ...size, goal: { most: 420 }, beside: [{ figure: "hypercore:stored" }, { figure: "yjs:stored" }],
    why: "A row takes 456 bytes by itself: the block (322), its hash (32), what makes a lost bit visible (40), numbers (20), and what is left at the end of a page of 4 KiB (34). Below 420 there would be no index and no way to notice damage. The indexes have 76 bytes: of hashes 45, of times 18, of lanes 13." },
  { id: "open", words: "From the start of a node with 1,000,000 entries to its first answer", ...wait, goal: { most: 50 }, beside: [{ figure: "hypercore:open" }] },
  { id: "verify", words: "`cairn verify` over 1,000,000 entries, in blocks of 256", unit: "s", better: "lower", goal: { most: 2 } },
  { id: "rejoin/bytes", words: "A node that lacks 10 of 1,000,000 entries, of 1,000 authors, is linked again: bytes both ways until it has them", ...size, goal: { most: 20 * KIB } },
  { id: "rejoin/trips", words: "How often it had to wait for an answer behind the handshake, which takes one", unit: "trips", better: "lower", goal: { most: 1 } },
  { id: "relay/rows", words: "Rows that a relay writes for each entry of a burst", unit: "rows", better: "lower", goal: { most: 0.02 } },
  { id: "relay/idle", words: "Requests that a relay gets while nobody writes", unit: "requests", better: "lower", goal: { most: 0 } },
  { id: "wasm/size", words: "What a page loads to check everything by itself, gzipped", ...size, goal: { most: 150 * KIB } },
  { id: "wasm/ratio", words: "Time of the check of an entry in wasm, in the native one's", unit: "×", better: "lower", goal: { most: 3 },
    why: "Native code has the processor's instructions for SHA-256 and AVX-512 for signatures; WebAssembly has neither. Of blocks of 256 an entry takes 2.0 µs, of which SHA-256 is 0.95 (native: 0.38 for all). Of blocks of 1 it is nearly all Ed25519, and that is the ratio shown: 3 would need a curve written for WebAssembly's SIMD." },
];

/** What the parts cost alone. @type {readonly Figure[]} */
export const FLOOR = [
  { id: "make/256", words: "Hashing and signing blocks of 256 entries, one thread", ...rate },
  { id: "make/1", words: "The same, every entry signed for itself", ...rate },
  { id: "check/256", words: "Decoding blocks of 256 entries, hashing them, and checking their signatures, one thread", ...rate },
  { id: "check/1", words: "The same, every entry signed for itself", ...rate },
  { id: "fdatasync", words: "4 KiB at the end of a file, to the disk, in the median", unit: "µs", better: "lower" },
];

/** What an entry costs in ledgers of any size. @type {readonly Figure[]} */
export const SCALING = SCALE.entries.flatMap((entries) =>
  SCALE.authors.flatMap((authors) => {
    const of = `${entries.toLocaleString("en-US")} entries, each a block, of ${authors.toLocaleString("en-US")} ${authors === 1 ? "author" : "authors"}`;
    const cost = { unit: "µs", better: /** @type {const} */ ("lower") };
    return [
      { id: `scale/${entries}/${authors}/ingest`, words: `Taking in ${of}, for each`, ...cost },
      { id: `scale/${entries}/${authors}/live`, words: `One more entry, from the block until clients are told, beside ${of}`, ...cost },
    ];
  }),
);

/** Figures of other programs. @type {readonly Figure[]} */
export const PEERS = [
  { id: "hypercore:ingest", words: "Hypercore: entries in batches of 1,000 into a core of its own", ...rate },
  { id: "hypercore:append", words: "Hypercore: one entry after the other into a core of its own", ...rate },
  { id: "hypercore:sync", words: "Hypercore: an empty copy fetches 100,000 entries", ...rate },
  { id: "hypercore:sync/bytes", words: "Hypercore: bytes on that connection for each entry", ...size },
  { id: "hypercore:live/p50", words: "Hypercore: from the append to the entry in another process, in the median", ...wait },
  { id: "hypercore:live/p99", words: "Hypercore: the same in 99 of 100", ...wait },
  { id: "hypercore:stored", words: "Hypercore: bytes on the disk for each entry", ...size },
  { id: "hypercore:open", words: "Hypercore: from the start of a process to its first answer, with 100,000 entries", ...wait },
  { id: "hypercore:memory", words: "Hypercore: the most memory of a writer of 100,000 entries", ...size },
  { id: "autobase:merge", words: "Autobase: two writers with 2,500 entries each, written apart", ...rate },
  { id: "yjs:merge", words: "Yjs: two documents with half of 100,000 entries each, in memory, unsigned", ...rate },
  { id: "yjs:sync", words: "Yjs: a new client fetches a document from a Hocuspocus server, unsigned", ...rate },
  { id: "yjs:live/p50", words: "Yjs: from one client over a Hocuspocus server to another, in the median", ...wait },
  { id: "yjs:live/p99", words: "Yjs: the same in 99 of 100", ...wait },
  { id: "yjs:stored", words: "Yjs: bytes of the encoded document for each entry", ...size },
  { id: "socketio:append", words: "Socket.IO in Node.js: entries that one client says and a server keeps in memory and acknowledges", ...rate },
  { id: "socketio:append/one", words: "Socket.IO in Node.js: one after the other to a server that keeps them in memory, in the median", ...wait },
  { id: "socketio:live/p50", words: "Socket.IO in Node.js: from one client over a server to another, in the median", ...wait },
  { id: "socketio:live/p99", words: "Socket.IO in Node.js: the same in 99 of 100", ...wait },
  { id: "socketio:fanout", words: "Socket.IO in Node.js: what one client says, to 500 others", unit: "deliveries/s", better: "higher" },
  { id: "socketioxide:fanout", words: "A bare server of socketioxide: what one client says, to 500 others", unit: "deliveries/s", better: "higher" },
  { id: "socketioxide:idle/client", words: "A bare server of socketioxide: memory for each of 2,000 clients", ...size },
  { id: "gossip:burst", words: "iroh-gossip: messages of 200 bytes from one node to another, as fast as they go", unit: "deliveries/s", better: "higher" },
  { id: "gossip:lost", words: "iroh-gossip: how many of these never come", unit: "%", better: "lower" },
  { id: "gossip:live/p50", words: "iroh-gossip: one message after the other, in the median", ...wait },
  { id: "gossip:live/p99", words: "iroh-gossip: the same in 99 of 100", ...wait },
];

/** All figures by their ids. @type {ReadonlyMap<string, Figure>} */
export const FIGURES = new Map([...OWN, ...FLOOR, ...SCALING, ...PEERS].map((figure) => [figure.id, figure]));

/** Programs that measure Cairn. @type {readonly Scenario[]} */
export const SCENARIOS = [
  { name: "ingest/256", run: ["bench", "ingest"], needs: [], figures: ["ingest/256"] },
  { name: "ingest/1", run: ["bench", "ingest", "--entries", "200000", "--per-block", "1"], needs: [], figures: ["ingest/1"] },
  { name: "append/pipelined", run: ["client", "append.ts", "pipelined"], needs: [], figures: ["append/pipelined", "append/pipelined/p99"] },
  { name: "append/raw", run: ["crowd", "append", "--clients", "1", "--window", "500"], needs: [], figures: ["append/raw", "append/raw/p99"] },
  { name: "append/many", run: ["client", "append.ts", "many"], needs: [], figures: ["append/many"] },
  { name: "append/one", run: ["client", "append.ts", "one"], needs: [], figures: ["append/one/p50"] },
  { name: "append/crowd", run: ["crowd", "append", "--clients", "100"], needs: [], figures: ["append/crowd", "append/crowd/p99"] },
  { name: "sync/256", run: ["bench", "sync"], needs: [], figures: ["sync/256", "sync/256/bytes"] },
  { name: "sync/1", run: ["bench", "sync", "--entries", "100000", "--per-block", "1"], needs: [], figures: ["sync/1", "sync/1/bytes"] },
  { name: "merge/256", run: ["bench", "merge", "--entries", String(MERGED), "--per-block", "256"], needs: [], figures: ["merge/256"] },
  { name: "merge/1", run: ["bench", "merge", "--entries", String(MERGED)], needs: [], figures: ["merge/1"] },
  { name: "live/direct", run: ["client", "live.ts", "direct"], needs: [], figures: ["live/direct/p50", "live/direct/p99"] },
  { name: "live/relay", run: ["client", "live.ts", "relay"], needs: ["relay"], figures: ["live/relay/p50", "live/relay/p99"] },
  { name: "fanout", run: ["crowd", "fanout", "--clients", "500", "--bytes", "200"], needs: [], figures: ["fanout"] },
  { name: "idle/client", run: ["crowd", "idle", "--clients", "2000"], needs: [], figures: ["idle/client"] },
  { name: "memory", run: ["bench", "memory"], needs: [], figures: ["memory/1m"] },
  { name: "stored/256", run: ["bench", "stored"], needs: [], figures: ["stored/256"] },
  { name: "stored/1", run: ["bench", "stored", "--entries", "200000", "--per-block", "1"], needs: [], figures: ["stored/1"] },
  { name: "open", run: ["bench", "open"], needs: [], figures: ["open"] },
  { name: "verify", run: ["bench", "verify"], needs: [], figures: ["verify"] },
  { name: "rejoin", run: ["bench", "rejoin"], needs: [], figures: ["rejoin/bytes", "rejoin/trips"] },
  { name: "relay/rows", run: ["client", "relay.ts", "rows"], needs: ["relay"], figures: ["relay/rows"] },
  { name: "relay/idle", run: ["client", "relay.ts", "idle"], needs: ["relay"], figures: ["relay/idle"] },
  { name: "wasm", run: ["client", "wasm.ts"], needs: ["wasm"], figures: ["wasm/size", "wasm/ratio"] },
  { name: "floor", run: ["bench", "floor"], needs: [], figures: FLOOR.map(({ id }) => id) },
  ...SCALE.entries.flatMap((entries) =>
    SCALE.authors.map((authors) => {
      const name = `scale/${entries}/${authors}`;
      const run = /** @type {const} */ (["bench", "scale", "--entries", String(entries), "--authors", String(authors)]);
      return { name, run, needs: [], figures: [`${name}/ingest`, `${name}/live`], ...(entries >= LONG && { most: 1 }) };
    }),
  ),
];

const BARE = "bench/peers/native/target/release/bare-socketioxide";

/** Programs that measure others. @type {readonly Scenario[]} */
export const PEER_SCENARIOS = [
  { name: "hypercore:ingest", run: ["peer", "hypercore.mjs", "ingest"], needs: ["npm peers"], figures: ["hypercore:ingest"] },
  { name: "hypercore:append", run: ["peer", "hypercore.mjs", "append"], needs: ["npm peers"], figures: ["hypercore:append"] },
  { name: "hypercore:sync", run: ["peer", "hypercore.mjs", "sync"], needs: ["npm peers"], figures: ["hypercore:sync", "hypercore:sync/bytes"] },
  { name: "hypercore:live", run: ["peer", "hypercore.mjs", "live"], needs: ["npm peers"], figures: ["hypercore:live/p50", "hypercore:live/p99"] },
  { name: "hypercore:stored", run: ["peer", "hypercore.mjs", "stored"], needs: ["npm peers"], figures: ["hypercore:stored"] },
  { name: "hypercore:open", run: ["peer", "hypercore.mjs", "open"], needs: ["npm peers"], figures: ["hypercore:open"] },
  { name: "hypercore:memory", run: ["peer", "hypercore.mjs", "memory"], needs: ["npm peers"], figures: ["hypercore:memory"] },
  { name: "autobase:merge", run: ["peer", "autobase.mjs", "merge"], needs: ["npm peers"], figures: ["autobase:merge"] },
  { name: "yjs:merge", run: ["peer", "yjs.mjs", "merge"], needs: ["npm peers"], figures: ["yjs:merge"] },
  { name: "yjs:sync", run: ["peer", "yjs.mjs", "sync"], needs: ["npm peers"], figures: ["yjs:sync"] },
  { name: "yjs:live", run: ["peer", "yjs.mjs", "live"], needs: ["npm peers"], figures: ["yjs:live/p50", "yjs:live/p99"] },
  { name: "yjs:stored", run: ["peer", "yjs.mjs", "stored"], needs: ["npm peers"], figures: ["yjs:stored"] },
  { name: "socketio:append", run: ["peer", "socketio.mjs", "append"], needs: ["npm peers"], figures: ["socketio:append"] },
  { name: "socketio:append/one", run: ["peer", "socketio.mjs", "one"], needs: ["npm peers"], figures: ["socketio:append/one"] },
  { name: "socketio:live", run: ["peer", "socketio.mjs", "live"], needs: ["npm peers"], figures: ["socketio:live/p50", "socketio:live/p99"] },
  {
    name: "socketio:fanout",
    run: ["crowd", "fanout", "--clients", "500", "--bytes", "200", "--server", "say", "--peer", "socketio", "--program", process.execPath, "--", "bench/peers/socketio.mjs", "serve"],
    needs: ["npm peers"],
    figures: ["socketio:fanout"],
  },
  {
    name: "socketioxide:fanout",
    run: ["crowd", "fanout", "--clients", "500", "--bytes", "200", "--server", "say", "--peer", "socketioxide", "--program", BARE],
    needs: ["native peers"],
    figures: ["socketioxide:fanout"],
  },
  {
    name: "socketioxide:idle/client",
    run: ["crowd", "idle", "--clients", "2000", "--server", "say", "--peer", "socketioxide", "--program", BARE],
    needs: ["native peers"],
    figures: ["socketioxide:idle/client"],
  },
  { name: "gossip:burst", run: ["native peer", "gossip", "burst"], needs: ["native peers"], figures: ["gossip:burst", "gossip:lost"] },
  { name: "gossip:live", run: ["native peer", "gossip", "live"], needs: ["native peers"], figures: ["gossip:live/p50", "gossip:live/p99"] },
];

/** What is measured in turns, a run of each after the other, so that all of it meets the same machine. @type {readonly { name: string, scenarios: readonly string[] }[]} */
export const COMPARISONS = [
  { name: "ingest", scenarios: ["ingest/256", "hypercore:ingest"] },
  { name: "append", scenarios: ["append/pipelined", "hypercore:append", "socketio:append"] },
  { name: "append/one", scenarios: ["append/one", "socketio:append/one"] },
  { name: "sync", scenarios: ["sync/256", "sync/1", "hypercore:sync", "yjs:sync"] },
  { name: "merge", scenarios: ["merge/256", "merge/1", "autobase:merge", "yjs:merge"] },
  { name: "live", scenarios: ["live/direct", "hypercore:live", "gossip:live", "yjs:live", "socketio:live"] },
  { name: "fanout", scenarios: ["fanout", "socketioxide:fanout", "socketio:fanout"] },
  { name: "idle/client", scenarios: ["idle/client", "socketioxide:idle/client"] },
  { name: "stored", scenarios: ["stored/256", "stored/1", "hypercore:stored", "yjs:stored"] },
  { name: "open", scenarios: ["open", "hypercore:open"] },
  // What follows is compared with nothing here: a writer is no reader, and nothing of Cairn may be lost.
  { name: "hypercore:memory", scenarios: ["hypercore:memory"] },
  { name: "gossip:burst", scenarios: ["gossip:burst"] },
];
