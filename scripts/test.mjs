/**
 * `npm test`: sets everything up and runs every check and every test, the cheap ones first. What only computes runs beside what
 * waits, at the lowest priority. Stops at the first step that fails. `npm test -- <word>` runs only the steps whose name contains
 * the word.
 */

import { spawn } from "node:child_process";
import { availableParallelism, constants, setPriority } from "node:os";
import { join } from "node:path";

import { environment, LINTED } from "./environment.mjs";
import { NATIVE, root, run, SIMULATOR, target, ToolError } from "./relay-tools.mjs";
import { chromium, main, npmPackages, rust } from "./setup.mjs";

const WASM = "wasm32-unknown-unknown";
const BARE = "thumbv7em-none-eabi";
const DENY = ["--", "-D", "warnings"];
/** The packages that only make sense in wasm. */
const IN_WASM = ["-p", "relay-worker", "-p", "cairn-wasm"];
/** Planted bugs of every part of the rules that do not live long; `just mutants` tries all. */
const PLANTED = [
  ["signature_unchecked", "ledger_unchecked", "future_refused", "known_forgotten", "held_unstored", "evidence_unchecked"],
  ["freeze_unsaved", "zone_unvouched", "commit_before_seal", "own_time_by_clock", "proof_unchecked", "range_skips_one"],
  ["unsealed", "removed_let_in", "strangers_let_in", "epoch_kept", "keys_to_removed", "closed_let_in", "role_unchecked"],
].flat();

/** Programs of this project, and what cargo builds for them, beside what the native tests are built with. @type {Record<string, string[]>} */
const BUILT = {
  sim: SIMULATOR,
  mutants: SIMULATOR,
  crash: [...NATIVE, "--bin", "crash", "--bin", "cairn"],
  fuzz: [...NATIVE, "--bin", "fuzz"],
  "examples/swarm": [...NATIVE, "--example", "swarm", "--bin", "cairn"],
};

/** @typedef {[name: string, program: string, ...args: string[]]} Step */

/** @type {Step} */
const swarm = ["load and slow readers, the short version", "examples/swarm", "quick"];

/**
 * One round after the other. Beside its steps go those that only compute, at the lowest priority: they may take as long as they take, and
 * the others wait for clocks, disks and one another more than they compute.
 *
 * @type {{ steps: Step[], beside: Step[] }[]}
 */
const rounds = [
  {
    steps: [
      ["format of the Rust code", "cargo", "fmt", "--all", "--check"],
      // The page and its types need them.
      ["rules build for JavaScript", "node", "scripts/wasm-build.mjs"],
      ["types of the TypeScript code", "tsc", "--project", "tsconfig.json"],
      ["client builds", "tsc", "--project", "client/tsconfig.build.json"],
      ["types of the page", "svelte-check", "--workspace", "web", "--tsconfig", "./tsconfig.json", "--fail-on-warnings"],
      ["page builds", "vite", "build", "web"],
      ["client unit tests", "vitest", "run", "--project", "unit"],
      ["clippy, and everything native builds", "cargo", "test", ...NATIVE, "--all-targets", "--no-run"],
      ["simulator builds", "cargo", "build", ...SIMULATOR],
    ],
    beside: [],
  },
  {
    steps: [
      ["native tests", "cargo", "test", ...NATIVE],
      ["a node that is killed again and again", "crash", "20"],
      // It reads of Linux what the node costs.
      ...(process.platform === "linux" ? [swarm] : []),
      ["relay builds", "node", "scripts/relay-build.mjs"],
    ],
    beside: [
      // Leaves the simulator for JavaScript behind, which the tests of edges need.
      ["seeds in two builds", "node", "scripts/traces.mjs", "25", "debug", "wasm"],
    ],
  },
  {
    steps: [
      ["tests of the node's and the relay's edges", "vitest", "run", "--project", "edges", "--maxWorkers", "3"],
      ["system tests", "vitest", "run", "--project", "system"],
      ["what makes long ledgers for the page builds", "cargo", "build", ...NATIVE, "--example", "history", "--bin", "cairn"],
      ["the page in Chromium", "vitest", "run", "--project", "page"],
    ],
    beside: [
      ["simulator", "sim", "0", "200"],
      ["simulator with members", "sim", "members", "0", "25"],
      ["a mesh of direct links", "sim", "--mesh", "200"],
      ["planted bugs", "mutants", ...PLANTED],
      // Two targets at a time.
      ["fuzz, 3 s a target", "fuzz", "run", "--seconds", "3"],
      // With the profile of the relay's build, which so has made what runs while they compile.
      ["clippy of what runs in wasm", "cargo", "clippy", "--release", ...IN_WASM, "--all-targets", "--target", WASM, ...DENY],
      // `check` does all of a build but the machine code, which the optimised dependencies make long. For wasm the step before
      // and the relay's build do it.
      [`shared builds for ${BARE}`, "cargo", "check", "-p", "shared", "--target", BARE],
    ],
  },
];

/** Many of the native tests wait for processes, so that a core has room for more than one. */
const RUST_TEST_THREADS = String(3 * availableParallelism());

/** How test runners sum up: cargo's line for each binary, vitest's line for each run. */
const SUMS = [
  /^test result: .*?(?<passed>\d+) passed; (?<failed>\d+) failed/,
  /^ *Tests +(?:(?<failed>\d+) failed)?[ |]*(?:(?<passed>\d+) passed)?/,
];

const sum = { passed: 0, failed: 0 };
let begun = 0;

await main(async () => {
  const began = Date.now();
  const [word = ""] = process.argv.slice(2);
  const wanted = (/** @type {Step[]} */ steps) => steps.filter(([name]) => name.includes(word));
  const chosen = rounds.map(({ steps, beside }) => ({ steps: wanted(steps), beside: wanted(beside) }));
  const all = chosen.flatMap(({ steps, beside }) => [...steps, ...beside]);
  if (all.length === 0) {
    const names = rounds.flatMap(({ steps, beside }) => [...steps, ...beside]).map(([name]) => name);
    throw new ToolError(`No step is called "${word}". Steps: ${names.join(" · ")}`);
  }
  await npmPackages();
  await rust([WASM, BARE]);
  // Before anything else takes minutes.
  if (all.some(([, , ...args]) => args.includes("page"))) await chromium();
  for (const { steps, beside } of chosen)
    await Promise.all([lane(steps, all.length), lane(beside, all.length, true)]);
  console.log(`\n${sum.passed} passed, ${sum.failed} failed (${seconds(began)})`);
  return sum.failed === 0 ? 0 : 1;
});

/**
 * Runs steps one after the other, until one fails here or beside it.
 *
 * @param {Step[]} steps
 * @param {number} count steps in all
 * @param {boolean} [beside] whether others have the terminal: what these print is shown when they end
 */
async function lane(steps, count, beside = false) {
  for (const [index, [name, ...command]] of steps.entries()) {
    if (sum.failed > 0) {
      console.log(`not run: ${steps.slice(index).map(([other]) => other).join(" · ")}`);
      return;
    }
    console.log(`\n== ${++begun}/${count} ${name}${beside ? ", beside what follows" : ""}`);
    const start = Date.now();
    const { passed, failed, text } = await step(command, beside);
    sum.passed += passed;
    sum.failed += failed;
    console.log(`${text}== ${name}: ${failed === 0 ? "ok" : "FAILED"} (${seconds(start)})`);
  }
}

/**
 * Runs one step. One that runs no tests counts as one.
 *
 * @param {string[]} command its program and arguments
 * @param {boolean} beside at the lowest priority, and without this terminal
 * @returns {Promise<{ passed: number, failed: number, text: string }>} How many tests passed and failed, and what it printed where it had no terminal.
 */
async function step([program = "", ...args], beside) {
  const built = BUILT[program];
  if (built !== undefined) await run("cargo", ["build", ...built], { env: environment(LINTED) });
  const [executable, leading] = {
    tsc: script("typescript/bin/tsc"),
    vitest: script("vitest/vitest.mjs"),
    vite: script("vite/bin/vite.js"),
    "svelte-check": script("svelte-check/bin/svelte-check"),
    node: [process.execPath, []],
  }[program] ?? [built === undefined ? program : join(target, "debug", program), []];
  const env = environment({ ...LINTED, NO_COLOR: "1", FORCE_COLOR: undefined, CARGO_TERM_COLOR: "never", RUST_TEST_THREADS });
  const child = spawn(executable, [...leading, ...args], { cwd: root, env, stdio: ["ignore", "pipe", beside ? "pipe" : "inherit"] });
  if (beside && child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
  const tests = { passed: 0, failed: 0 };
  let [rest, printed] = ["", ""];
  const show = (/** @type {string} */ text) => void (beside ? (printed += text) : process.stdout.write(text));
  child.stderr?.setEncoding("utf8").on("data", show);
  child.stdout.setEncoding("utf8").on("data", (text) => {
    show(text);
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const found = SUMS.map((pattern) => pattern.exec(line)?.groups).find((groups) => groups !== undefined);
      tests.passed += Number(found?.passed ?? 0);
      tests.failed += Number(found?.failed ?? 0);
    }
  });
  return new Promise((resolve) => {
    child.once("error", (error) => {
      console.error(`${executable} does not start: ${error.message}`);
      resolve({ passed: 0, failed: 1, text: printed });
    });
    child.once("close", (code) => {
      if (code !== 0) tests.failed = Math.max(1, tests.failed);
      else if (tests.passed === 0) tests.passed = 1;
      resolve({ ...tests, text: printed });
    });
  });
}

/**
 * An npm package's program, run by this very Node.js.
 *
 * @param {string} path
 * @returns {[string, string[]]}
 */
function script(path) {
  return [process.execPath, [`${root}/node_modules/${path}`]];
}

/** @param {number} since */
function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}
