// Builds the relay for workerd: Rust to wasm to relay-worker/build. `wrangler dev` and `wrangler deploy` call it.

import { join } from "node:path";

import { root, run, ToolError, workerBuild } from "./relay-tools.mjs";

try {
  const { program, env } = await workerBuild();
  await run(program, ["--release"], { cwd: join(root, "relay-worker"), env: { ...process.env, ...env } });
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
