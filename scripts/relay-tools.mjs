// Finds or installs what builds Rust for wasm: the target of the compiler, wasm-bindgen, worker-build, esbuild, wasm-opt.
//
// worker-build would download three of them from a host that many networks do not reach. So wasm-bindgen is built from
// its crate, once per user, and esbuild and wasm-opt come with the npm packages `esbuild` and `binaryen`.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The top folder of the repository. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Where cargo builds. */
export const target = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");

/**
 * All packages that run natively. Cargo builds a dependency anew for every choice of packages that wants other features of it, so
 * whatever is built beside the tests names the same ones.
 */
export const NATIVE = ["shared", "node", "faults", "fuzz", "bench"].flatMap((name) => ["-p", name]);

/** The simulator, with the bugs that can be planted, of which none is. */
export const SIMULATOR = [...NATIVE, "--features", "shared/mutants", "--bin", "sim", "--bin", "mutants"];

const TARGET = "wasm32-unknown-unknown";
const WORKER_BUILD = "0.8.7";
/** worker-build can download, for which it wants OpenSSL's headers on Linux; where they are missing it brings its own. */
const VENDORED_OPENSSL = ["--features", "ureq/vendored"];
/** The name of a build folder, up to the number of its process. */
const BUILD = "build-";
const windows = process.platform === "win32";

/** A step failed in a way that the user can do something about. */
export class ToolError extends Error {}

/**
 * The wasm-bindgen program, built when this user has none of the version in Cargo.lock.
 * @returns {Promise<string>} its path
 */
export async function wasmBindgen() {
  await rustTarget();
  const bindgen = lockedVersion("wasm-bindgen");
  // The program can also test in browsers; without default features it comes without the TLS that only this needs.
  return crate("wasm-bindgen-cli", bindgen, "wasm-bindgen", ["--no-default-features"]);
}

/**
 * The worker-build program and the environment in which it downloads nothing.
 * @returns {Promise<{program: string, env: Record<string, string>}>}
 */
export async function workerBuild() {
  const npm = { ESBUILD_BIN: esbuild(), WASM_OPT_BIN: npmProgram("binaryen", "wasm-opt") };
  const bindgen = await wasmBindgen();
  const program = await crate("worker-build", WORKER_BUILD, "worker-build", opensslIsHere() ? [] : VENDORED_OPENSSL);
  return { program, env: { ...npm, WASM_BINDGEN_BIN: bindgen } };
}

/** Runs a program to its end, its output on this terminal. Nothing goes to stdout, which belongs to the caller. */
export function run(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", 2, 2], ...options });
    child.once("error", (error) => reject(new ToolError(`${program} does not start: ${error.message}`)));
    child.once("exit", (code, signal) => {
      if (code === 0) resolve();
      else reject(new ToolError(`${program} ${args.join(" ")} ended with ${signal ?? `code ${code}`}`));
    });
  });
}

/** Installs the compiler's wasm half if it is missing. */
async function rustTarget() {
  const missing = "Rust is needed, and `rustc` does not run here: install it with rustup (https://rustup.rs).";
  const sysroot = () => spawnSync("rustc", ["--print", "sysroot"], { cwd: root, encoding: "utf8" });
  let found = sysroot();
  if (found.error) throw new ToolError(missing);
  if (found.status !== 0) {
    say("Installing the Rust toolchain that rust-toolchain.toml names: a download of about 200 MB, once (1 to 3 minutes).");
    await run("rustup", ["toolchain", "install"]);
    found = sysroot();
    if (found.status !== 0) throw new ToolError(`${missing}\n${found.stderr}`);
  }
  if (existsSync(join(found.stdout.trim(), "lib", "rustlib", TARGET, "lib"))) return;
  say(`Adding Rust's ${TARGET} target, which the relay runs as: a download of about 20 MB, once (under a minute).`);
  await run("rustup", ["target", "add", TARGET]);
}

/** The path of a crate's program; builds it when this user has not got it. */
async function crate(name, version, program, flags) {
  const home = join(cache(), `tools-${name}-${version}`);
  const path = join(home, "bin", program + (windows ? ".exe" : ""));
  if (existsSync(path)) return path;
  say(`Building ${name} ${version} from source, once for this user: about 200 crates (2 to 5 minutes).`);
  mkdirSync(home, { recursive: true });
  // Its own build folder, so that two that start at once do not meet; cargo puts the finished program in place at once.
  removeLeftovers(home);
  const own = join(home, `${BUILD}${process.pid}`);
  const fast = {
    CARGO_TARGET_DIR: own,
    CARGO_PROFILE_RELEASE_OPT_LEVEL: "1",
    CARGO_PROFILE_RELEASE_LTO: "off",
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "256",
    CARGO_PROFILE_RELEASE_DEBUG: "false",
  };
  const args = ["--quiet", "--root", home, "--version", version, "--bin", program, ...flags, name];
  const options = { cwd: root, env: { ...process.env, ...fast } };
  try {
    if ((await quietly("cargo", ["install", "--locked", ...args], options)) !== undefined) {
      say(`The very versions that ${name} ${version} was released with cannot be had or built here: trying newer ones.`);
      const failure = await quietly("cargo", ["install", ...args], options);
      if (failure !== undefined) throw new ToolError(`${name} ${version} does not build here.\n${failure}`);
    }
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
  return path;
}

/** Removes the build folders of processes that were ended in the middle. */
function removeLeftovers(home) {
  for (const name of readdirSync(home).filter((name) => name.startsWith(BUILD))) {
    try {
      process.kill(Number(name.slice(BUILD.length)), 0);
    } catch {
      rmSync(join(home, name), { recursive: true, force: true });
    }
  }
}

/** Runs a program without a word; returns what it said if it failed. */
function quietly(program, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    const said = [];
    child.stdout.on("data", (bytes) => said.push(bytes));
    child.stderr.on("data", (bytes) => said.push(bytes));
    child.once("error", (error) => reject(new ToolError(`${program} does not start: ${error.message}`)));
    child.once("close", (code) => resolve(code === 0 ? undefined : Buffer.concat(said).toString().slice(-4000)));
  });
}

function opensslIsHere() {
  if (process.platform !== "linux" || process.env.OPENSSL_DIR) return true;
  return spawnSync("pkg-config", ["--exists", "openssl"]).status === 0;
}

/** Where this user's tools are kept, so that a second clone does not build them again. */
function cache() {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "cairn");
}

/** The version of a crate in Cargo.lock. */
function lockedVersion(name) {
  const lock = readFileSync(join(root, "Cargo.lock"), "utf8");
  const version = new RegExp(`^name = "${name}"\\r?\\nversion = "([^"]+)"`, "m").exec(lock)?.[1];
  if (version === undefined) throw new ToolError(`Cargo.lock names no ${name}`);
  return version;
}

/** esbuild's own program: its npm package holds a script that starts it, which worker-build cannot start on Windows. */
function esbuild() {
  const near = createRequire(npmProgram("esbuild", "esbuild", "esbuild/package.json"));
  const file = windows ? "esbuild.exe" : "bin/esbuild";
  return near.resolve(`@esbuild/${process.platform}-${process.arch}/${file}`);
}

/** A program of an npm package; with `file`, that file of the package instead. */
function npmProgram(name, program, file) {
  const path = join(root, "node_modules", ...(file ? [file] : [".bin", program + (windows ? ".cmd" : "")]));
  if (!existsSync(path)) throw new ToolError(`the npm package ${name} is missing: run \`npm install\` in ${root}`);
  return realpathSync(path);
}

function say(sentence) {
  console.error(sentence);
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    await workerBuild();
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
