/** What has to be there before anything runs: npm packages, Rust, and Rust's targets. Uses nothing but Node.js itself. */

import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";

import { environment } from "./environment.mjs";
import { root, run, ToolError } from "./relay-tools.mjs";

const OLDEST_NODE = 20;

/**
 * Installs the npm packages of a folder when they are missing or older than its `package-lock.json`.
 *
 * @param {string} [folder]
 */
export async function npmPackages(folder = root) {
  const version = Number(process.versions.node.split(".")[0]);
  if (version < OLDEST_NODE)
    throw new ToolError(`Node.js ${OLDEST_NODE} or newer is needed, this is ${process.version}.`);
  const installed = join(folder, "node_modules", ".package-lock.json");
  const wanted = join(folder, "package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return;
  console.error("Installing the npm packages (under a minute).");
  const windows = process.platform === "win32";
  await run("npm", ["ci", "--include", "dev", "--no-audit", "--no-fund"], { cwd: folder, env: environment(), shell: windows });
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

/** What Chromium is called by those who pack it. */
const CHROMIUM = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/** Debian's packages: the browser, letters, and emoji. */
const CHROMIUM_PACKAGES = ["chromium", "fonts-liberation", "fonts-noto-color-emoji"];

/** The path of Chromium: what `CAIRN_CHROMIUM` names, or the first on the path; `undefined` where there is none. */
export function findChromium() {
  const named = process.env["CAIRN_CHROMIUM"];
  if (named !== undefined && named !== "") {
    if (!runs(named)) throw new ToolError(`CAIRN_CHROMIUM is ${named}, and that is no program that runs.`);
    return named;
  }
  const directories = (process.env["PATH"] ?? "").split(delimiter).filter((directory) => directory !== "");
  return CHROMIUM.flatMap((name) => directories.map((directory) => join(directory, name))).find(runs);
}

/** Makes sure that Chromium is there: as root on Debian and its kin it is installed. */
export async function chromium() {
  if (findChromium() !== undefined) return;
  if (!installsPackages()) {
    throw new ToolError("Chromium is needed for the tests of the page: install it, or name one by CAIRN_CHROMIUM=<path>.");
  }
  console.error(`Installing Debian's ${CHROMIUM_PACKAGES.join(", ")} (a minute).`);
  const env = environment({ DEBIAN_FRONTEND: "noninteractive" });
  await run("apt-get", ["update", "-qq"], { env });
  await run("apt-get", ["install", "-qq", "-y", "--no-install-recommends", ...CHROMIUM_PACKAGES], { env });
  if (findChromium() === undefined) throw new ToolError("Debian's package chromium is installed, and there is no chromium on the path.");
}

/** @param {string} path */
function runs(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Whether this is root on a system of Debian's packages. Ubuntu's chromium is a snap, which does not run everywhere, and is tried all the same. */
function installsPackages() {
  if (process.platform !== "linux" || process.getuid?.() !== 0 || !existsSync("/etc/os-release")) return false;
  return /^ID(?:_LIKE)?=.*\b(?:debian|ubuntu)\b/mu.test(readFileSync("/etc/os-release", "utf8"));
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
