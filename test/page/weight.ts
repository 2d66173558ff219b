/** What the built page weighs. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { root } from "../e2e/harness.js";

/** Bytes of all of a kind, each file compressed by itself as it is sent. */
export async function weight(): Promise<{ readonly js: number; readonly wasm: number }> {
  const assets = join(root, "web", "dist", "assets");
  const names = await readdir(assets);
  const of = async (ending: string): Promise<number> => {
    const files = names.filter((name) => name.endsWith(ending));
    if (files.length === 0) throw new Error(`there is no ${ending} in ${assets}: run \`npm run build -w @cairn/web\` first`);
    const sizes = await Promise.all(files.map(async (name) => gzipSync(await readFile(join(assets, name)), { level: 9 }).length));
    return sizes.reduce((sum, size) => sum + size, 0);
  };
  return { js: await of(".js"), wasm: await of(".wasm") };
}
