/** What has to be there before anything runs: npm packages, Rust, and Rust's targets. Uses nothing but Node.js itself. */

import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";

import { environment } from "./environment.mjs";
import { root, run, ToolError } from "./relay-tools.mjs";

const OLDEST_NODE = 20;

/** Installs the npm packages when they are missing or older than `package-lock.json`. */
export async function npmPackages() {
  const version = Number(process.versions.node.split(".")[0]);
  if (version < OLDEST_NODE)
    throw new ToolError(`Node.js ${OLDEST_NODE} or newer is needed, this is ${process.version}.`);
  const installed = join(root, "node_modules", ".package-lock.json");
  const wanted = join(root, "package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return;
  console.error("Installing the npm packages (under a minute).");
  const windows = process.platform === "win32";
  await run("npm", ["ci", "--no-audit", "--no-fund"], { env: environment(), shell: windows });
}

/**
 * Checks that Rust is there, and adds targets that are missing.
 *
 * @param {string[]} [targets]
 */
export async function rust(targets = []) {
  const cargo = spawnSync("cargo", ["--version"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  if (cargo.error || cargo.status !== 0) {
    throw new ToolError(
      "Rust is needed, and `cargo` does not run here: install it with rustup (https://rustup.rs), open a new terminal, and run this again.",
    );
  }
  if (targets.length === 0) return;
  const list = spawnSync("rustup", ["target", "list", "--installed"], { cwd: root, encoding: "utf8" });
  if (list.error || list.status !== 0) {
    throw new ToolError(
      `Rust is here without rustup, which adds its targets (${targets.join(", ")}): install it from https://rustup.rs.`,
    );
  }
  const installed = list.stdout.split(/\s+/);
  const missing = targets.filter((target) => !installed.includes(target));
  if (missing.length > 0) await run("rustup", ["target", "add", ...missing]);
}

/**
 * Runs the work of a script. What the user can do something about is said in one sentence, without a stack.
 *
 * @param {() => Promise<number>} work its exit code
 */
export async function main(work) {
  try {
    process.exitCode = await work();
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
