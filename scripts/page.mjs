/** `just page`: the page in Chromium over ledgers of 100,000 entries, from a release build. */

import { join } from "node:path";

import { environment } from "./environment.mjs";
import { run, target } from "./relay-tools.mjs";
import { chromium, main, npmPackages, rust } from "./setup.mjs";

await main(async () => {
  await npmPackages();
  await rust();
  await chromium();
  await run(process.execPath, ["scripts/wasm-build.mjs"]);
  // Before the node, which has the page in it.
  await run(process.execPath, ["node_modules/vite/bin/vite.js", "build", "web"]);
  await run("cargo", ["build", "--release", "-p", "node", "--bin", "cairn", "--example", "history"]);
  const env = environment({ CAIRN_BIN: join(target, "release", "cairn") });
  await run(process.execPath, ["--import", "tsx", "test/bench/page.ts"], { env });
  return 0;
});
