/**
 * How long an entry is on its way from one client to another: over two nodes that are linked directly, over two nodes at a relay in workerd,
 * and, to compare, the same number in a broadcast of a plain Socket.IO server. All on this machine, in turns.
 *
 *     cargo build --release -p node && CAIRN_BIN=target/release/cairn npx tsx test/bench/latency.ts
 */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

import { Server } from "socket.io";

import type { Client } from "../../client/src/index.js";
import { until, World } from "../e2e/harness.js";
import { client, percentile } from "../e2e/ledger.js";

const ROUNDS = 12;
const IN_A_ROUND = 100;
/** Rounds that are not counted: code is compiled, and blocks show which links are too many. */
const WARM = 2;

/** What is asked of a direct link, from the acknowledgement on, ms. */
const GOAL = { p50: 3, p99: 15 };

/** The digits of no key: nobody is reached by QUIC there. */
const NOWHERE = `iroh:${"02".repeat(32)}?ip=127.0.0.1:9`;

/** Two clients, and what is between them. */
interface Way {
  readonly name: string;
  /** Resolves when a number is acknowledged to the first client. */
  readonly write: (number: number) => Promise<unknown>;
  /** Calls back with every number that comes to the second one. */
  readonly listen: (listener: (number: number) => void) => void;
  /** Fails where something else than that is between them. */
  readonly check: () => Promise<void>;
}

/** Two nodes that are linked by one path only. */
async function nodes(world: World, path: string): Promise<Way> {
  world.anotherGroup();
  const relay = path === "relay" ? { relay: (await world.relay()).url } : { direct: true };
  const announced = path === "websocket" ? ["--announce", NOWHERE] : [];
  const one = await world.node({ ...relay, args: announced });
  const peer = path === "relay" ? [] : ["--peer", one.url.replace("http", "ws")];
  const two = await world.node({ ...relay, args: [...announced, ...peer] });
  const [writer, reader] = [client<number>(world, one), client<number>(world, two)];
  const isLinked = async (of: Client<number>): Promise<boolean> => {
    const { links } = await of.status();
    return links.length === 1 && links[0]!.node !== null && links[0]!.path === path;
  };
  const check = async (): Promise<void> => {
    for (const each of [writer, reader]) await until(() => isLinked(each), `a node is linked by ${path} alone`);
  };
  await check();
  return {
    name: path === "relay" ? "two nodes at a relay" : `two nodes, linked by ${path}`,
    write: (number) => writer.append(number),
    listen: (listener) =>
      void reader.on("entry", (entry) => {
        if (entry.kind === "data" && typeof entry.data === "number") listener(entry.data);
      }),
    check,
  };
}

/** A server that hands on what one client says to all others: no disk, no signature, no second server. */
async function serve(): Promise<void> {
  const server = createServer();
  new Server(server).on("connection", (socket) => {
    socket.on("say", (number: number, said: () => void) => {
      socket.broadcast.emit("said", number);
      said();
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

async function broadcast(world: World): Promise<Way> {
  const server = world.run("Socket.IO", process.execPath, ["--import", "tsx", fileURLToPath(import.meta.url), "serve"]);
  const [, url] = await server.line(/listening on (http:\/\/\S+)$/);
  const [writer, reader] = await Promise.all([world.socket({ url: url! }), world.socket({ url: url! })]);
  return {
    name: "a plain Socket.IO server",
    write: (number) => writer.emitWithAck("say", number),
    listen: (listener) => void reader.on("said", listener),
    check: async () => {},
  };
}

/** ms, of each number. */
class Times {
  readonly name: string;
  /** From the call of the first client until the second one has it. */
  readonly fromCall: number[] = [];
  /** From the acknowledgement on; 0 where it came before that. */
  readonly fromAck: number[] = [];
  readonly #way: Way;
  #came: (number: number) => void = () => {};
  #next = 0;

  constructor(way: Way) {
    this.name = way.name;
    this.#way = way;
    way.listen((number) => this.#came(number));
  }

  /** Sends so many numbers, each when the one before has come. */
  async round(count: number): Promise<void> {
    for (const end = this.#next + count; this.#next < end; this.#next++) {
      const arrived = new Promise<number>((resolve) => {
        this.#came = (number) => number === this.#next && resolve(performance.now());
      });
      const called = performance.now();
      await this.#way.write(this.#next);
      const acked = performance.now();
      const at = await arrived;
      this.fromCall.push(at - called);
      this.fromAck.push(Math.max(0, at - acked));
    }
    await this.#way.check();
  }

  /** What came so far is not counted. */
  forget(): void {
    this.fromCall.length = 0;
    this.fromAck.length = 0;
  }
}

function row(name: string, what: string, values: readonly number[]): void {
  const figures = [Math.min(...values), percentile(values, 50), percentile(values, 99), Math.max(...values)];
  const columns = figures.map((ms) => ms.toFixed(2).padStart(8)).join("");
  console.log(`${name.padEnd(34)} ${what.padEnd(9)}${columns} ${String(values.length).padStart(7)}`);
}

async function measure(world: World): Promise<void> {
  const ways: Way[] = [];
  for (const path of ["quic", "websocket", "relay"]) ways.push(await nodes(world, path));
  const all = [...ways, await broadcast(world)].map((way) => new Times(way));
  for (let round = 0; round < WARM + ROUNDS; round++) {
    if (round === WARM) all.forEach((times) => times.forget());
    for (const times of all) await times.round(IN_A_ROUND);
  }
  console.log(`${"ms until the other client has it".padEnd(34)} from          min     p50     p99     max   count`);
  for (const { name, fromCall, fromAck } of all) {
    row(name, "the call", fromCall);
    row("", "the ack", fromAck);
  }
  const [p50, p99] = [percentile(all[0]!.fromAck, 50), percentile(all[0]!.fromAck, 99)];
  const good = p50 <= GOAL.p50 && p99 <= GOAL.p99;
  console.log(`latency/direct ${good ? "pass" : "FAIL"} p50=${p50.toFixed(2)}ms p99=${p99.toFixed(2)}ms`);
  if (!good) process.exitCode = 1;
}

if (process.argv[2] === "serve") {
  await serve();
} else {
  const world = new World();
  try {
    await measure(world);
  } finally {
    await world.close();
  }
}
