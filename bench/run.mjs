/**
 * `just bench [words]` measures Cairn, `just bench peers [words]` compares it with others. Words choose what has one of them in its name.
 *
 *     node bench/run.mjs [peers] [words…] [--runs 3] [--json]
 *     node bench/run.mjs --document
 *
 * A run of everything is written to `bench/results` and `docs/BENCHMARKS.md`; `--document` makes the latter anew without measuring. What fails is told,
 * and the rest goes on; the exit code is 1 then.
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem, type } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { environment } from "../scripts/environment.mjs";
import { buildRelay } from "../scripts/relay-dev.mjs";
import { root, run, target, ToolError } from "../scripts/relay-tools.mjs";
import { main, npmPackages, rust } from "../scripts/setup.mjs";
import { BESIDE_COLUMNS, besideRows, FIGURE_COLUMNS, figureRow, render, text } from "./document.mjs";
import { COMPARISONS, FIGURES, OWN, PEER_SCENARIOS, SCENARIOS } from "./figures.mjs";

/** @typedef {import("./figures.mjs").Scenario} Scenario */
/** @typedef {import("./document.mjs").Results} Results */

/** How long one run of a program may take, ms. */
const PATIENCE = 30 * 60_000;
/** Characters kept of what a program says on its standard error. */
const SAID = 16_384;

const RELEASE = join(target, "release");
const PEERS = join(root, "bench", "peers");
const NATIVE = join(PEERS, "native");

const RESULTS = join(root, "bench", "results");
const OURS = join(RESULTS, "own.json");
const THEIRS = join(RESULTS, "peers.json");

await main(async () => {
  const { values, positionals } = parseArgs({
    options: {
      runs: { type: "string", default: "3" },
      json: { type: "boolean", default: false },
      document: { type: "boolean", default: false },
      again: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  if (values.document) {
    writeDocument();
    return 0;
  }
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1 || runs > 100) throw new ToolError(`--runs is 1 to 100, not ${values.runs}.`);
  const compares = positionals[0] === "peers";
  const words = compares ? positionals.slice(1) : positionals;
  if (values.again && (compares || words.length === 0)) throw new ToolError("--again takes words: what of Cairn's own figures is measured again.");
  const groups = chosen(compares, words);
  await build(new Set(groups.flat().flatMap(({ needs }) => needs)));

  const { figures, failed } = await measure(groups, runs);
  const results = { ...circumstances(compares), runs, figures, failed };
  if (words.length === 0) {
    mkdirSync(RESULTS, { recursive: true });
    writeFileSync(compares ? THEIRS : OURS, `${JSON.stringify(results, null, 1)}\n`);
    writeDocument();
  } else if (values.again) {
    keepAgain(results);
    writeDocument();
  }
  if (values.json) console.log(JSON.stringify(results));
  else show(results);
  for (const [name, sentence] of Object.entries(failed)) console.error(`${name} failed: ${sentence}`);
  return Object.keys(failed).length === 0 ? 0 : 1;
});

/**
 * Puts these figures in the place of those of the last full run, and notes of which commit they are.
 *
 * @param {Results} results
 */
function keepAgain({ date, commit, runs, figures }) {
  if (!existsSync(OURS)) throw new ToolError("There is no run of everything yet whose figures could be replaced: `just bench` makes one.");
  const all = /** @type {Results} */ (JSON.parse(readFileSync(OURS, "utf8")));
  const ids = Object.keys(figures);
  const before = (all.again ?? []).map((again) => ({ ...again, figures: again.figures.filter((id) => !ids.includes(id)) }));
  const again = [...before.filter(({ figures }) => figures.length > 0), { date, commit, runs, figures: ids }];
  writeFileSync(OURS, `${JSON.stringify({ ...all, figures: { ...all.figures, ...figures }, again }, null, 1)}\n`);
}

/**
 * What is to be measured, in groups whose members take turns.
 *
 * @param {boolean} compares
 * @param {readonly string[]} words
 * @returns {Scenario[][]}
 */
function chosen(compares, words) {
  const named = new Map([...SCENARIOS, ...PEER_SCENARIOS].map((scenario) => [scenario.name, scenario]));
  const groups = compares
    ? COMPARISONS.map(({ scenarios }) => scenarios.flatMap((name) => named.get(name) ?? []))
    : SCENARIOS.map((scenario) => [scenario]);
  const has = (/** @type {string} */ name) => words.length === 0 || words.some((word) => name.includes(word));
  const found = groups.filter((group) => group.some(({ name }) => has(name)));
  if (found.length > 0) return found;
  const all = groups.map((group) => group.map(({ name }) => name).join(" beside ")).join(" · ");
  throw new ToolError(`Nothing is called ${words.join(" or ")}. There are: ${all}`);
}

/**
 * Builds what is measured, and what measures it.
 *
 * @param {ReadonlySet<import("./figures.mjs").Need>} needs
 */
async function build(needs) {
  await npmPackages();
  await rust();
  await run("cargo", ["build", "--release", "-p", "node", "-p", "bench", "--bins"]);
  if (needs.has("relay")) await buildRelay();
  if (needs.has("wasm")) await run(process.execPath, ["scripts/wasm-build.mjs"]);
  if (needs.has("npm peers")) await npmPackages(PEERS);
  if (needs.has("native peers")) {
    const manifest = ["--manifest-path", join(NATIVE, "Cargo.toml"), "--target-dir", join(NATIVE, "target")];
    await run("cargo", ["build", "--release", "--locked", ...manifest]);
  }
}

/**
 * Runs every scenario so many times.
 *
 * @param {readonly Scenario[][]} groups
 * @param {number} runs
 */
async function measure(groups, runs) {
  /** @type {Results["figures"]} */
  const figures = {};
  /** @type {Results["failed"]} */
  const failed = {};
  const [began, total] = [Date.now(), groups.flat().length];
  let before = 0;
  for (const group of groups) {
    for (let turn = 1; turn <= runs; turn++) {
      for (const [index, scenario] of group.entries()) {
        const { name, most = runs } = scenario;
        if (name in failed || turn > most) continue;
        const elapsed = new Date(Date.now() - began).toISOString().slice(11, 19);
        console.error(`[${elapsed}] ${before + index + 1} of ${total}: ${name}, run ${turn} of ${Math.min(most, runs)}`);
        try {
          for (const { figure, ...of } of await once(scenario)) (figures[figure] ??= []).push(of);
        } catch (error) {
          if (!(error instanceof ToolError)) throw error;
          console.error(`  failed: ${error.message}`);
          failed[name] = error.message;
          // What it gave before is not to be taken for all of it.
          for (const figure of scenario.figures) delete figures[figure];
        }
      }
    }
    before += group.length;
  }
  return { figures, failed };
}

/**
 * One run of a scenario: what its program printed.
 *
 * @param {Scenario} scenario
 * @returns {Promise<(import("./document.mjs").Run & { figure: string })[]>}
 */
async function once({ run: command, figures }) {
  // On the disk of this repository, not in a file system in memory as `/tmp` may be; and gone whatever the program leaves behind.
  const place = mkdtempSync(join(target, "bench-"));
  const printed = await output(...program(command), place).finally(() => rmSync(place, { recursive: true, force: true }));
  const lines = printed.split("\n").filter((line) => line !== "");
  const measured = lines.map((line) => {
    try {
      return JSON.parse(line);
    } catch {
      throw new ToolError(`it printed ${line.slice(0, 200)}`);
    }
  });
  for (const figure of figures) {
    const found = measured.filter((line) => line.figure === figure);
    if (found.length !== 1 || !Number.isFinite(found[0].value)) throw new ToolError(`it printed no ${figure}, or more than one`);
  }
  return measured.filter(({ figure }) => figures.includes(figure));
}

/**
 * @param {Scenario["run"]} command
 * @returns {[program: string, args: string[]]}
 */
function program([kind, ...args]) {
  const [first = "", ...rest] = args;
  switch (kind) {
    case "bench":
    case "crowd":
      return [join(RELEASE, kind), args];
    case "client":
      return [process.execPath, ["--import", "tsx", join("bench", "clients", first), ...rest]];
    case "peer":
      return [process.execPath, [join(PEERS, first), ...rest]];
    case "native peer":
      return [join(NATIVE, "target", "release", first), rest];
  }
}

/**
 * Why a program failed, of what it said: the last line that begins as errors do, or else the last one.
 *
 * @param {string} said
 * @returns {string | undefined}
 */
function reason(said) {
  const lines = said.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const error = /^(?:\w*Error(?: \[\w+\])?|error): /u;
  return lines.findLast((line) => error.test(line))?.replace(error, "") ?? lines.at(-1);
}

/**
 * Runs a program to its end; what it printed. Where it fails, its standard error says why.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {string} place for its files
 * @returns {Promise<string>}
 */
function output(command, args, place) {
  const env = environment({ TMPDIR: place, CAIRN_BIN: join(RELEASE, "cairn") });
  const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"], timeout: PATIENCE, killSignal: "SIGKILL" });
  let printed = "";
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (chunk) => (printed += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk) => (said = (said + chunk).slice(-SAID)));
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new ToolError(`${command} does not start: ${error.message}`)));
    child.once("close", (code, signal) => {
      if (code === 0) resolve(printed);
      else reject(new ToolError(reason(said) ?? `it ended with ${signal ?? `code ${code}`} and no word`));
    });
  });
}

/**
 * When, of what and on what this is measured.
 *
 * @param {boolean} compares
 */
function circumstances(compares) {
  const say = (/** @type {string} */ command, /** @type {string[]} */ ...args) =>
    spawnSync(command, args, { cwd: root, encoding: "utf8" }).stdout?.trim() || "unknown";
  const machine = {
    processor: cpus()[0]?.model ?? "an unknown processor",
    cores: cpus().length,
    memory: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
  };
  const versions = {
    rustc: say("rustc", "--version").split(" ")[1] ?? "unknown",
    "Node.js": process.versions.node,
    SQLite: say(join(RELEASE, "bench"), "sqlite"),
    ...(compares ? { ...npmVersions(), ...crateVersions() } : {}),
  };
  return { date: new Date().toISOString(), commit: say("git", "describe", "--always", "--dirty"), machine, versions };
}

/** @returns {Record<string, string>} */
function npmVersions() {
  return JSON.parse(readFileSync(join(PEERS, "package.json"), "utf8")).dependencies;
}

function crateVersions() {
  const lock = readFileSync(join(NATIVE, "Cargo.lock"), "utf8");
  const found = ["socketioxide", "iroh", "iroh-gossip"].map((name) => {
    const version = new RegExp(`^name = "${name}"\\r?\\nversion = "([^"]+)"`, "m").exec(lock)?.[1];
    return [name, version ?? "unknown"];
  });
  return Object.fromEntries(found);
}

function writeDocument() {
  writeFileSync(join(root, "docs", "BENCHMARKS.md"), render(load(OURS), load(THEIRS)));
}

/**
 * @param {string} path
 * @returns {Results | undefined}
 */
function load(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

/** @param {Results} results */
function show({ figures }) {
  const rows = [...FIGURES.values()].flatMap((figure) => {
    const runs = figures[figure.id];
    return runs === undefined ? [] : [figureRow(figure, runs)];
  });
  if (rows.length > 0) console.log(text(FIGURE_COLUMNS, rows));
  const beside = OWN.flatMap((figure) => besideRows(figure, figures));
  if (beside.length > 0) console.log(`\n${text(BESIDE_COLUMNS, beside)}`);
}
