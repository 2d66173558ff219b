// Builds the relay for workerd: Rust to wasm to relay-worker/build. `wrangler dev` and `wrangler deploy` call it.

import { existsSync, readdirSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";

import { PLAIN } from "./environment.mjs";
import { root, run, ToolError, workerBuild } from "./relay-tools.mjs";

const OUTPUT = "relay-worker/build/index.js";
const FILES = [
  ...["Cargo.lock", "Cargo.toml", "rust-toolchain.toml", "scripts/relay-tools.mjs"],
  ...["relay-worker/Cargo.toml", "shared/Cargo.toml"],
];
const FOLDERS = ["relay-worker/src", "shared/src"];

/** When something that the relay is made of changed last, in ms. */
function changed() {
  const list = (folder) => readdirSync(join(root, folder), { recursive: true }).map((file) => join(folder, file));
  // A folder changes when a file in it comes or goes.
  const paths = [...FILES, ...FOLDERS, ...FOLDERS.flatMap(list)];
  return Math.max(...paths.map((path) => statSync(join(root, path)).mtimeMs));
}

try {
  const output = join(root, OUTPUT);
  if (!existsSync(output) || statSync(output).mtimeMs < changed()) {
    const began = new Date();
    const { program, env } = await workerBuild();
    console.error("Building the relay: Rust to wasm, and wasm made small (2 minutes the first time, then half a minute).");
    await run(program, ["--release"], { cwd: join(root, "relay-worker"), env: { ...process.env, ...PLAIN, ...env } });
    // What changed meanwhile is not in it.
    utimesSync(output, began, began);
  }
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
