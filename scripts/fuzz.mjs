/**
 * `just fuzz [target] [seconds]`: drives the fuzz targets by libFuzzer, one after the other, on the nightly toolchain. What it
 * finds goes to `shared/fuzz/crashers/`, where the stable runner and the tests replay it.
 */

import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { root, ToolError } from "./relay-tools.mjs";
import { main } from "./setup.mjs";

const HOME = join(root, "shared", "fuzz");
const WORK = join(root, "target", "libfuzzer");
/** MiB of memory that ends a run as a failure. */
const MEMORY = 2048;

await main(async () => {
  const [wanted = "all", time = "600"] = process.argv.slice(2);
  const seconds = Number(time);
  if (!Number.isInteger(seconds) || seconds < 1) throw new ToolError(`${time} seconds, a whole number from 1 is expected`);
  check(["+nightly", "--version"], "libFuzzer needs the nightly toolchain: rustup toolchain install nightly");
  check(["+nightly", "fuzz", "--version"], "libFuzzer is run by cargo-fuzz: cargo install cargo-fuzz");
  const targets = readdirSync(join(HOME, "libfuzzer", "fuzz_targets")).map((file) => file.replace(/\.rs$/, "")).sort();
  if (wanted !== "all" && !targets.includes(wanted)) {
    throw new ToolError(`No target is called "${wanted}". Targets: ${targets.join(" · ")}`);
  }
  let failed = 0;
  for (const target of wanted === "all" ? targets : [wanted]) {
    if (!(await run(target, seconds))) failed += 1;
  }
  return failed === 0 ? 0 : 1;
});

/**
 * @param {string[]} args
 * @param {string} advice
 */
function check(args, advice) {
  if (spawnSync("cargo", args, { cwd: root, stdio: "ignore" }).status !== 0) throw new ToolError(advice);
}

/**
 * Runs one target; true if nothing was found. libFuzzer's own lines go to standard error as they come.
 *
 * @param {string} target
 * @param {number} seconds
 * @returns {Promise<boolean>}
 */
async function run(target, seconds) {
  // New inputs stay in the build folder; what is committed is read only.
  const [grown, found] = ["corpus", "artifacts"].map((name) => join(WORK, name, target));
  for (const folder of [grown, found, ...["corpus", "crashers"].map((name) => join(HOME, name, target))]) {
    mkdirSync(folder, { recursive: true });
  }
  const before = new Set(readdirSync(found));
  const args = ["+nightly", "fuzz", "run", "--fuzz-dir", ".", "--target-dir", WORK, target, grown];
  args.push(join(HOME, "corpus", target), join(HOME, "crashers", target), "--", `-max_total_time=${seconds}`);
  args.push(`-rss_limit_mb=${MEMORY}`, "-timeout=60", "-print_final_stats=1", "-max_len=8192", `-artifact_prefix=${found}/`);
  const child = spawn("cargo", args, { cwd: join(HOME, "libfuzzer"), stdio: ["ignore", "inherit", "pipe"] });
  const figures = { runs: "0", coverage: "0", seconds: "0" };
  let rest = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    process.stderr.write(text);
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      figures.coverage = /\bcov: (\d+)/.exec(line)?.[1] ?? figures.coverage;
      figures.runs = /number_of_executed_units: *(\d+)/.exec(line)?.[1] ?? figures.runs;
      figures.seconds = /^Done \d+ runs in (\d+) second/.exec(line)?.[1] ?? figures.seconds;
    }
  });
  const code = await new Promise((resolve) => {
    child.once("error", () => resolve(1));
    child.once("close", resolve);
  });
  const crashers = readdirSync(found).filter((file) => !before.has(file) && !file.startsWith("slow-unit"));
  for (const file of crashers) {
    const kept = join(HOME, "crashers", target, file);
    copyFileSync(join(found, file), kept);
    console.error(`replay it with: cargo run -p fuzz -- replay ${target} ${kept}`);
  }
  const good = code === 0 && crashers.length === 0;
  const { runs, coverage, seconds: took } = figures;
  console.log(
    `fuzz ${good ? "pass" : "FAIL"} target=${target} seconds=${took} runs=${runs} coverage=${coverage} crashers=${crashers.length}`,
  );
  return good;
}
