/** What all measurements through clients share: the node, what it cost, and how a figure is told. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";

import { root, World, type NodeOptions, type NodeProcess } from "../../test/e2e/harness.js";
import type { Process } from "../../test/e2e/process.js";
import { percentile } from "../../test/e2e/ledger.js";

export { percentile };

/** Bytes of an entry's JSON. */
const LINE_BYTES = 120;
/** Ticks per second of the times in `/proc` (USER_HZ, which Linux never changes). */
const TICKS = 100;

/** A line of chat. */
export interface Line {
  readonly number: number;
  readonly text: string;
}

const TEXT = "a line of chat, about as long as people write them; ".repeat(3);

/** The line of a number, always the same: 120 bytes of JSON. */
export function line(number: number): Line {
  const envelope = JSON.stringify({ number, text: "" }).length;
  return { number, text: TEXT.slice(0, LINE_BYTES - envelope) };
}

/** What processes used, as the operating system tells it. */
export interface Cost {
  /** Seconds of processor time. */
  readonly cpu: number;
  /** The most resident bytes of any of those named. */
  readonly memory: number;
}

/**
 * What these processes have used since they began, with the time of those that they started.
 *
 * @param named whose memory is looked at, too
 * @param beside others that work for the same
 */
export function cost(named: readonly Process[], beside: readonly Process[] = []): Cost | undefined {
  if (process.platform !== "linux") return undefined;
  const groups = new Set([...named, ...beside].map(({ pid }) => pid));
  let ticks = 0;
  for (const id of readdirSync("/proc")) {
    // Behind the name in brackets, which may hold anything: state, parent, group, and as 12th and 13th the times.
    const [, , group, ...rest] = read(`/proc/${id}/stat`).split(") ").at(-1)!.split(" ");
    if (groups.has(Number(group))) ticks += Number(rest[8]) + Number(rest[9]);
  }
  const peaks = named.map(({ pid }) => Number(/VmHWM:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0));
  return { cpu: ticks / TICKS, memory: 1024 * Math.max(...peaks) };
}

/** A file of `/proc`; empty where it is none, or gone. */
function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/** Prints a figure, and what it cost from one look to the next. */
export function print(figure: string, value: number, looks: { before: Cost | undefined; after: Cost | undefined }): void {
  const { before, after } = looks;
  const used = before && after ? { cpu: Number((after.cpu - before.cpu).toFixed(2)), memory: after.memory } : {};
  console.log(JSON.stringify({ figure, value: Number(value.toFixed(4)), ...used }));
}

/** Runs something; its seconds. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** Starts a node whose memory can be looked at. */
export function startNode(world: World, options: NodeOptions = {}): Promise<NodeProcess> {
  return world.node({ ...options, env: { ...options.env, CAIRN_TRACEABLE: "1" } });
}

/** What a program does: its first argument says which, the options are numbers. */
export type Scenarios<Name extends string> = Readonly<
  Record<string, (world: World, sizes: Readonly<Record<Name, number>>) => Promise<void>>
>;

/** Runs the scenario that the command line names, with these sizes where it names no others. */
export async function main<Name extends string>(
  scenarios: Scenarios<Name>,
  defaults: Readonly<Record<Name, number>>,
): Promise<void> {
  process.env["CAIRN_BIN"] ??= join(process.env["CARGO_TARGET_DIR"] ?? join(root, "target"), "release", "cairn");
  const world = new World();
  try {
    const options = Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: "string" as const }]));
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const scenario = scenarios[positionals[0] ?? ""];
    if (scenario === undefined || positionals.length !== 1)
      throw new Error(`one of these is to be named: ${Object.keys(scenarios).join(", ")}`);
    const sizes: Record<Name, number> = { ...defaults };
    for (const name of Object.keys(defaults) as Name[]) {
      const given = values[name];
      if (typeof given !== "string") continue;
      sizes[name] = Number(given);
      if (!Number.isInteger(sizes[name]) || sizes[name] < 1) throw new Error(`--${name} is no number from 1 on`);
    }
    await scenario(world, sizes);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  } finally {
    await world.close();
  }
}
