/**
 * What all harnesses share: options, entries, places, processes and what is printed.
 *
 * A harness measures one scenario once, from nothing, and prints one JSON object per line for each figure. What runs in a
 * process of its own is a role: the same file, started once more, that answers calls of the first process.
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { lstat, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** Bytes of an entry: a chat line as JSON. */
export const PAYLOAD_BYTES = 120;
/** How long a role may take to end when it is told to, ms. */
const GRACE = 10_000;
/** Nobody waits longer than this for one entry, ms. */
const PATIENCE = 30_000;
/** Entries before the first whose latency counts. */
const WARM = 100;
/** How often a directory that still changes is measured again. */
const ATTEMPTS = 10;

/** What is said: longer than what a store would look back to find that something was said before. */
const TALK = talk(65_536);

/**
 * The text of entry `number`: the same in every run, and cheap, since it is made while time is measured.
 *
 * @param {number} number
 */
export function line(number) {
  const head = `{"n":${number},"text":"`;
  const length = PAYLOAD_BYTES - head.length - 2;
  const at = ((number * 2_654_435_761) >>> 0) % (TALK.length - PAYLOAD_BYTES);
  return `${head}${TALK.slice(at, at + length)}"}`;
}

/** Words without end, up to a length. */
function talk(/** @type {number} */ length) {
  const words = "we met at the old bridge and nobody had seen a map before so she drew one on paper while he wrote down each turn".split(" ");
  let text = "";
  for (let state = 1; text.length < length; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += `${words[(state >>> 16) % words.length]} `;
  }
  return text.slice(0, length);
}

/** Milliseconds by a clock that all processes of this machine share. */
export function now() {
  return Number(process.hrtime.bigint()) / 1e6;
}

/**
 * The value that `percent` of `values` do not exceed.
 *
 * @param {readonly number[]} values
 * @param {number} percent
 */
export function percentile(values, percent) {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.max(1, Math.ceil((sorted.length * percent) / 100)) - 1];
}

/**
 * What this process has used so far: CPU seconds, and the most bytes it had resident where the system says so.
 *
 * @returns {Promise<{ cpu: number, memory: number | undefined }>}
 */
export async function usage() {
  const { user, system } = process.cpuUsage();
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const peak = /^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1];
  return { cpu: (user + system) / 1e6, memory: peak === undefined ? undefined : Number(peak) * 1024 };
}

/**
 * What was used between two answers of `usage`, of one process or of several.
 *
 * @param {readonly Awaited<ReturnType<typeof usage>>[]} before
 * @param {readonly Awaited<ReturnType<typeof usage>>[]} after
 * @returns {{ cpu: number, memory: number | undefined }} Memory: that of the one with the most.
 */
export function used(before, after) {
  const sum = (/** @type {typeof before} */ all) => all.reduce((cpu, each) => cpu + each.cpu, 0);
  const peaks = after.map(({ memory }) => memory).filter((memory) => memory !== undefined);
  return { cpu: sum(after) - sum(before), memory: peaks.length === 0 ? undefined : Math.max(...peaks) };
}

/**
 * Prints a figure.
 *
 * @param {string} figure
 * @param {number} value
 * @param {{ cpu?: number, memory?: number | undefined }} [of]
 */
export function print(figure, value, of = {}) {
  if (!Number.isFinite(value)) throw new Error(`${figure} is ${value}`);
  console.log(JSON.stringify({ figure, value, ...of }));
}

/**
 * The same of other processes, all at one time.
 *
 * @param {readonly Role[]} roles
 * @returns {Promise<Awaited<ReturnType<typeof usage>>[]>}
 */
export function usages(roles) {
  return Promise.all(roles.map((role) => role.ask("usage")));
}

/** When things came: each is noted once and asked for once. */
export class Arrivals {
  /** @type {Map<unknown, number>} */
  #times = new Map();
  #notice = () => {};

  /** Something is there. */
  note(/** @type {unknown} */ what) {
    this.#times.set(what, now());
    this.#notice();
  }

  /** When it came, or will have come. Rejects if it does not. */
  async of(/** @type {unknown} */ what) {
    if (!this.#times.has(what)) await this.#come(what);
    const at = this.#times.get(what);
    this.#times.delete(what);
    return at;
  }

  /** @returns {Promise<void>} */
  #come(/** @type {unknown} */ what) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what} did not arrive as it was written`)), PATIENCE);
      this.#notice = () => {
        if (!this.#times.has(what)) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/**
 * Writes entries one after the other, each when the one before has come, and prints how long they were on their way:
 * `<peer>:live/p50` and `<peer>:live/p99`, ms.
 *
 * @param {string} peer
 * @param {number} entries
 * @param {Role} writer Its `write` says when it was called.
 * @param {Role} reader Its `arrival` says when an entry came.
 * @param {readonly Role[]} processes All whose CPU time counts.
 */
export async function measureLive(peer, entries, writer, reader, processes) {
  const times = [];
  let before = await usages(processes);
  for (let number = 0; number < WARM + entries; number++) {
    if (number === WARM) before = await usages(processes);
    const [arrived, called] = await Promise.all([reader.ask("arrival", number), writer.ask("write", number)]);
    if (number >= WARM) times.push(arrived - called);
  }
  const of = used(before, await usages(processes));
  print(`${peer}:live/p50`, percentile(times, 50), of);
  print(`${peer}:live/p99`, percentile(times, 99), of);
}

/**
 * The bytes of all files below a directory, in a moment in which none came or went.
 *
 * @param {string} directory
 * @returns {Promise<number>}
 */
export async function directoryBytes(directory) {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      const entries = await readdir(directory, { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile());
      const sizes = await Promise.all(files.map(async (file) => (await lstat(join(file.parentPath, file.name))).size));
      return sizes.reduce((sum, size) => sum + size, 0);
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  throw new Error(`${directory} changes all the time`);
}

/** Another process, which answers calls. */
export class Role {
  #child;
  #waiting = new Map();
  #next = 0;
  /** @type {Error | null} */
  #ended = null;
  /** @type {Promise<void> | null} */
  #ending = null;

  /**
   * @param {import("node:child_process").ChildProcess} child
   * @param {string} name
   */
  constructor(child, name) {
    this.#child = child;
    this.pid = child.pid;
    child.on("message", ({ id, value, error }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(value);
      else reject(new Error(error));
    });
    child.once("error", (error) => this.#end(error));
    child.once("exit", (code, signal) => this.#end(new Error(`the ${name} ended with ${signal ?? code}`)));
  }

  /**
   * Calls a function of the role.
   *
   * @param {string} call
   * @param {...unknown} values
   * @returns {Promise<any>}
   */
  ask(call, ...values) {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, call, values });
    });
  }

  /** Ends the process, and resolves when it has ended. */
  end() {
    this.#ending ??= this.#letGo();
    return this.#ending;
  }

  async #letGo() {
    if (this.#ended !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.disconnect();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), GRACE);
    await exited;
    clearTimeout(timer);
  }

  /** @param {Error} error */
  #end(error) {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** A run of a scenario: its options, its directory, and the processes it starts. */
class Run {
  #file;
  /** @type {Role[]} */
  #roles = [];
  /** @type {string | null} */
  #directory = null;

  /**
   * @param {string} file
   * @param {Record<string, number>} options
   */
  constructor(file, options) {
    this.#file = file;
    this.options = options;
  }

  /**
   * Starts a role, and resolves when it answers.
   *
   * @param {string} name
   * @param {Record<string, unknown>} [values]
   */
  async start(name, values = {}) {
    // What a role prints is no figure.
    const child = fork(this.#file, ["--role", name], { stdio: ["ignore", 2, 2, "ipc"] });
    const role = new Role(child, name);
    this.#roles.push(role);
    await role.ask("start", { ...this.options, ...values });
    return role;
  }

  /** A path in the directory of this run, which is removed when this process ends. */
  path(/** @type {string} */ name) {
    if (this.#directory === null) {
      const directory = mkdtempSync(join(tmpdir(), "bench-peer-"));
      process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
      this.#directory = directory;
    }
    return join(this.#directory, name);
  }

  /** Ends all roles. */
  async end() {
    await Promise.all(this.#roles.map((role) => role.end()));
  }
}

/**
 * Answers calls until the process that started this one lets go.
 *
 * @param {(values: any) => Promise<Record<string, (...values: any[]) => unknown>>} role
 */
function serve(role) {
  /** @type {Record<string, (...values: any[]) => unknown>} */
  let calls = { usage };
  const start = async (/** @type {unknown} */ values) => {
    calls = { ...calls, ...(await role(values)) };
  };
  process.on("message", async ({ id, call, values }) => {
    try {
      const value = call === "start" ? await start(values[0]) : await calls[call](...values);
      process.send({ id, value });
    } catch (error) {
      process.send({ id, error: error instanceof Error ? error.message : String(error) });
    }
  });
  process.once("disconnect", () => process.exit(0));
}

/**
 * Runs the scenario that the command line names, or the role that this process was started for.
 *
 * @param {string} file The harness.
 * @param {Record<string, { options?: Record<string, number>, run: (run: Run) => Promise<void>, serves?: boolean }>} scenarios
 *   Each with its options and their defaults, all whole numbers from 1 on. What `serves` is ended by a signal.
 * @param {Record<string, (values: any) => Promise<Record<string, (...values: any[]) => unknown>>>} [roles]
 */
export async function main(file, scenarios, roles = {}) {
  const [scenario, ...rest] = process.argv.slice(2);
  if (scenario === "--role") return serve(roles[rest[0]]);
  try {
    const chosen = Object.hasOwn(scenarios, scenario ?? "") ? scenarios[scenario] : undefined;
    if (chosen === undefined) throw new Error(`the scenarios are ${Object.keys(scenarios).join(", ")}, not ${scenario ?? "none"}`);
    const options = numbers(rest, chosen.options ?? {});
    const run = new Run(file, options);
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => run.end().finally(() => process.exit(chosen.serves ? 0 : 1)));
    try {
      await chosen.run(run);
    } finally {
      await run.end();
    }
    // Some peers keep timers.
    process.exit(0);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exit(1);
  }
}

/**
 * @param {string[]} words
 * @param {Record<string, number>} defaults
 */
function numbers(words, defaults) {
  const options = Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: /** @type {const} */ ("string") }]));
  const { values } = parseArgs({ args: words, options });
  const given = Object.entries(values).map(([name, text]) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} is a whole number from 1 on, not ${text}`);
    return [name, value];
  });
  return { ...defaults, ...Object.fromEntries(given) };
}
