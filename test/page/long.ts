/** Long ledgers to try the page with. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { nodeBinary, type NodeProcess, type World } from "../e2e/harness.js";

/** Bytes of a history at most. */
const HISTORY = 512 * 1024 * 1024;

/** A node whose open ledger has so many blocks of so many entries each, by five people. */
export async function longLedger(world: World, blocks: number, entries: number): Promise<NodeProcess> {
  const program = join(dirname(nodeBinary()), "examples", "history");
  if (!existsSync(program)) throw new Error(`there is no ${program}: run \`cargo build -p node --example history\` first`);
  const { stdout } = await promisify(execFile)(program, [String(blocks), String(entries), "5"], { encoding: "buffer", maxBuffer: HISTORY });
  const file = join(await world.directory("history"), "blocks");
  await writeFile(file, stdout);
  const data = await world.newData("long");
  await world.cairn("import", file, "--data", data);
  return world.node({ data });
}
