/**
 * `just traces [count] [build …]`: whether a seed of the simulator does the same in every build: optimised, for development,
 * and as wasm in Node.js. Each build runs all seeds; the digests of what happened in them must be equal.
 */

import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import { environment, PLAIN } from "./environment.mjs";
import { root, run, SIMULATOR, target, ToolError, wasmBindgen } from "./relay-tools.mjs";
import { main, rust } from "./setup.mjs";

const WASM = "wasm32-unknown-unknown";
const OUT = join(root, "target", "sim-wasm");

/** Every build: makes itself, then says the trace of each seed. */
const builds = {
  release: (count) => native(["--release"], count),
  debug: (count) => native([], count),
  wasm,
};

if (isMainThread) {
  await main(async () => {
    const began = Date.now();
    const [words, ...names] = process.argv.slice(2);
    const count = Number(words ?? 1000);
    if (!Number.isInteger(count) || count < 1) throw new ToolError(`${words} seeds, a whole number from 1 is expected`);
    const unknown = names.find((name) => !(name in builds));
    if (unknown !== undefined) throw new ToolError(`no build is called ${unknown}: ${Object.keys(builds).join(", ")}`);
    const wanted = names.length > 0 ? names : Object.keys(builds);
    /** @type {Map<string, string>[]} */
    const traces = [];
    for (const name of wanted) {
      const start = Date.now();
      traces.push(await builds[name](count));
      console.error(`traces of ${name}: ${traces.at(-1)?.size} seeds (${((Date.now() - start) / 1000).toFixed(1)} s)`);
    }
    const differing = [];
    for (let seed = 0; seed < count; seed += 1) {
      const given = traces.map((trace) => trace.get(String(seed)));
      if (given.some((trace) => trace === undefined || trace !== given[0])) differing.push({ seed, given });
    }
    const verdict = differing.length === 0 ? "pass" : "FAIL";
    const seconds = ((Date.now() - began) / 1000).toFixed(1);
    console.log(`traces ${verdict} seeds=${count} builds=${wanted} differing=${differing.length} seconds=${seconds}`);
    const [first] = differing;
    if (first === undefined) return 0;
    console.log(`seed ${first.seed} is the first: ${wanted.map((name, i) => `${name} ${first.given[i]}`).join(", ")}`);
    return 1;
  });
} else {
  const { simTrace } = await import(pathToFileURL(join(OUT, "sim_wasm.js")).href);
  const { first, step, count } = workerData;
  for (let seed = first; seed < count; seed += step) {
    const trace = BigInt.asUintN(64, simTrace(BigInt(seed)));
    parentPort?.postMessage([String(seed), trace.toString(16).padStart(16, "0")]);
  }
}

/**
 * @param {string[]} profile
 * @param {number} count
 */
async function native(profile, count) {
  await run("cargo", ["build", ...profile, ...SIMULATOR]);
  const program = join(target, profile.length > 0 ? "release" : "debug", "sim");
  const child = spawn(program, ["0", String(count), "--traces"], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part) => (text += part));
  await new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new ToolError(`${program} does not start: ${error.message}`)));
    child.once("close", resolve);
  });
  // Whether promises are kept is for `just sim` to say; here only what happened counts.
  const lines = text.split("\n").map((line) => /^(\d+) ([0-9a-f]{16})$/.exec(line));
  return new Map(lines.filter((line) => line !== null).map(([, seed, trace]) => /** @type {const} */ ([seed, trace])));
}

/** @param {number} count */
async function wasm(count) {
  await rust([WASM]);
  const bindgen = await wasmBindgen();
  await run("cargo", ["build", "--release", "-p", "sim-wasm", "--target", WASM], { env: environment(PLAIN) });
  const binary = join(target, WASM, "release", "sim_wasm.wasm");
  await run(bindgen, [binary, "--target", "experimental-nodejs-module", "--out-dir", OUT]);
  const traces = new Map();
  const step = availableParallelism();
  const worker = (first) =>
    new Promise((resolve, reject) => {
      const thread = new Worker(fileURLToPath(import.meta.url), { workerData: { first, step, count } });
      thread.on("message", ([seed, trace]) => traces.set(seed, trace));
      thread.once("error", reject);
      thread.once("exit", resolve);
    });
  await Promise.all(Array.from({ length: step }, (_, first) => worker(first)));
  return traces;
}
