/**
 * `just bench`: every figure, from a release build. Numbers are handed on to the node's own bench: `node scripts/bench.mjs
 * 10000 50000` measures fewer entries.
 */

import { spawnSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";

import { environment } from "./environment.mjs";
import { buildRelay } from "./relay-dev.mjs";
import { root, run } from "./relay-tools.mjs";
import { chromium, main, npmPackages, rust } from "./setup.mjs";

await main(async () => {
  await npmPackages();
  await rust();
  await chromium();
  await buildRelay();
  await run(process.execPath, ["scripts/wasm-build.mjs"]);
  // Before the node, which has the page in it.
  await run(process.execPath, ["node_modules/vite/bin/vite.js", "build", "web"]);
  await run("cargo", ["build", "--release", "-p", "node", "--bin", "cairn", "--example", "history"]);
  const commit = spawnSync("git", ["describe", "--always", "--dirty"], { cwd: root, encoding: "utf8" }).stdout.trim();
  const memory = Math.round(totalmem() / 2 ** 30);
  console.log(`${cpus().length} cores (${cpus()[0]?.model ?? "unknown"}), ${memory} GiB, Node.js ${process.version}, commit ${commit}`);
  console.log("\n== the node in process, and between two nodes");
  await run("cargo", ["bench", "--quiet", "-p", "node", "--bench", "bench", "--", ...process.argv.slice(2)]);
  console.log("\n== through the client: appends, and from client to client");
  const binary = join(process.env["CARGO_TARGET_DIR"] ?? join(root, "target"), "release", "cairn");
  const env = environment({ CAIRN_BIN: binary });
  for (const scenario of ["pipelined", "many", "one"])
    await run(process.execPath, ["--import", "tsx", "bench/clients/append.ts", scenario], { env });
  for (const scenario of ["direct", "relay"])
    await run(process.execPath, ["--import", "tsx", "bench/clients/live.ts", scenario], { env });
  console.log("\n== the page in Chromium, over 100,000 entries");
  await run(process.execPath, ["--import", "tsx", "test/bench/page.ts"], { env });
  return 0;
});
