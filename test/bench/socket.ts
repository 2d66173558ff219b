/**
 * What one Socket.IO client gets out of a node, and how long an entry is on its way through workerd.
 *
 *     cargo build --release -p node && CAIRN_BIN=target/release/cairn npx tsx test/bench/socket.ts
 */

import { performance } from "node:perf_hooks";

import { connect, type Client } from "../../client/src/index.js";
import { World } from "../e2e/harness.js";
import { group, percentile } from "../e2e/ledger.js";

interface Note {
  readonly text: string;
  readonly number: number;
}

const note = (number: number): Note => ({ text: "a line of chat, about as long as people write them", number });

/** Runs something; its seconds. */
async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function row(what: string, result: string): void {
  console.log(`${what.padEnd(52)} ${result}`);
}

function rate(count: number, time: number): string {
  return `${Math.round(count / time)
    .toLocaleString("en-US")
    .padStart(9)} entries/s`;
}

function waits(values: readonly number[]): string {
  return `p50 ${percentile(values, 50).toFixed(1)} ms, p99 ${percentile(values, 99).toFixed(1)} ms`;
}

async function appends(ledger: Client<Note>): Promise<void> {
  await ledger.append(note(0));

  const pipelined = 20_000;
  const all = (): Promise<unknown> =>
    Promise.all(Array.from({ length: pipelined }, (_, number) => ledger.append(note(number))));
  row("append, as many at once as the client sends", rate(pipelined, await seconds(all)));

  const single = 2000;
  const times: number[] = [];
  const oneByOne = async (): Promise<void> => {
    for (let number = 0; number < single; number++)
      times.push(1000 * (await seconds(() => ledger.append(note(number)))));
  };
  row("append, one at a time", `${rate(single, await seconds(oneByOne))}, ${waits(times)}`);

  const [calls, size] = [100, 1000];
  const many = (): Promise<unknown> =>
    Promise.all(
      Array.from({ length: calls }, () => ledger.appendMany(Array.from({ length: size }, (_, number) => note(number)))),
    );
  row(`append_many, ${size.toLocaleString("en-US")} entries each`, rate(calls * size, await seconds(many)));
}

async function live(writer: Client<Note>, reader: Client<Note>): Promise<void> {
  const [warm, count] = [50, 1000];
  const fromCall: number[] = [];
  const fromAck: number[] = [];
  for (let number = 0; number < warm + count; number++) {
    const called = performance.now();
    const arrived = new Promise<number>((resolve) => {
      const stop = reader.on("entry", () => {
        stop();
        resolve(performance.now());
      });
    });
    await writer.append(note(number));
    const acked = performance.now();
    const at = await arrived;
    if (number < warm) continue;
    fromCall.push(at - called);
    fromAck.push(Math.max(0, at - acked));
  }
  row("client → node → workerd → node → client, from the call", waits(fromCall));
  row("the same, from the ack", waits(fromAck));
}

const world = new World();
try {
  const alone = await world.node();
  const ledger = connect<Note>(alone.url, { queue: 100_000 });
  await appends(ledger);
  ledger.close();
  const { clients } = await group<Note>(world, await world.relay(), 2);
  await live(clients[0]!, clients[1]!);
} finally {
  await world.close();
}
