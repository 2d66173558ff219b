// Builds client/wasm, the rules of `shared` for JavaScript, into client/wasm/build: an ES module for browsers, bundlers and Node.js.

import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

import { environment, PLAIN } from "./environment.mjs";
import { root, run, wasmBindgen } from "./relay-tools.mjs";
import { main, npmPackages, rust } from "./setup.mjs";

const TARGET = "wasm32-unknown-unknown";
const OUT = join(root, "client/wasm/build");
/** What it is made of. */
const SOURCES = ["Cargo.lock", "Cargo.toml", "client/wasm/Cargo.toml", "client/wasm/src", "shared/src", "scripts/wasm-build.mjs"];
/** What browsers can do since Safari 16.4 (2023; Chrome 91 and Firefox 89 in 2021), and no more. */
const FEATURES = ["bulk-memory", "mutable-globals", "nontrapping-float-to-int", "reference-types", "sign-ext", "multivalue", "simd"];

/** When a file, or something in a folder, changed last, in ms. */
function changed(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path, { recursive: true }).map((file) => statSync(join(path, String(file))).mtimeMs));
}

await main(async () => {
  const made = join(OUT, "cairn_wasm_bg.wasm");
  if (existsSync(made) && statSync(made).mtimeMs > Math.max(...SOURCES.map((path) => changed(join(root, path))))) return 0;
  await npmPackages();
  await rust([TARGET]);
  const bindgen = await wasmBindgen();
  console.error("Building the rules for JavaScript: Rust to wasm, and wasm made small (a minute).");
  const registry = join(process.env["CARGO_HOME"] ?? join(homedir(), ".cargo"), "registry", "src");
  // Panics say where they come from, and that would be in the home of whoever builds.
  // `sha2` hashes with SIMD where it may: that is faster and smaller than the same rolled out.
  const RUSTFLAGS = `--remap-path-prefix=${registry}=crates -C target-feature=+simd128`;
  const env = environment({ ...PLAIN, RUSTFLAGS });
  await run("cargo", ["build", "--profile", "page", "-p", "cairn-wasm", "--target", TARGET], { env });
  const wasm = join(root, "target", TARGET, "page", "cairn_wasm.wasm");
  const fresh = join(root, "target", "cairn-wasm");
  rmSync(fresh, { recursive: true, force: true });
  await run(bindgen, [wasm, "--target", "web", "--out-dir", fresh]);
  const large = join(fresh, "cairn_wasm_bg.wasm");
  const opt = join(root, "node_modules/binaryen/bin/wasm-opt");
  const flags = ["-Oz", "--converge", "--strip-debug", "--strip-producers", ...FEATURES.map((feature) => `--enable-${feature}`)];
  await run(process.execPath, [opt, ...flags, large, "-o", `${large}.small`]);
  renameSync(`${large}.small`, large);
  // Whole or not at all, so that what is there is never half of it.
  rmSync(OUT, { recursive: true, force: true });
  renameSync(fresh, OUT);
  return 0;
});
