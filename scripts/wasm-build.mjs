// Builds client/wasm, the rules of `shared` for JavaScript, into client/wasm/build (as an ES module for Node.js and bundlers).

import { join } from "node:path";

import { environment, PLAIN } from "./environment.mjs";
import { root, run, wasmBindgen } from "./relay-tools.mjs";
import { main } from "./setup.mjs";

const TARGET = "wasm32-unknown-unknown";

await main(async () => {
  const bindgen = await wasmBindgen();
  await run("cargo", ["build", "--release", "-p", "cairn-wasm", "--target", TARGET], { env: environment(PLAIN) });
  const wasm = join(root, "target", TARGET, "release", "cairn_wasm.wasm");
  await run(bindgen, [wasm, "--target", "experimental-nodejs-module", "--out-dir", join(root, "client/wasm/build")]);
  return 0;
});
