/**
 * What it costs a page to check a history by itself: the bytes of the rules in wasm, and the time for an entry beside that of a native
 * program. Both take in the same blocks and check every signature by the rules' own code, though a browser has its own and uses that.
 *
 *     node --import tsx bench/clients/wasm.ts
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { performance } from "node:perf_hooks";
import { gzipSync } from "node:zlib";

import { bytesOf } from "../../client/src/verify/base64.js";
import { rules, type Rules } from "../../client/src/verify/rules.js";
import { root } from "../../test/e2e/harness.js";

/** Blocks are measured in both sizes, so many entries of each; the quotient is that of the worse one. */
const SIZES = [
  { perBlock: 256, entries: 256_000 },
  { perBlock: 1, entries: 5_000 },
];
/** Bytes of one claim: author, signature, and what was signed. */
const CLAIM = 32 + 64 + 49;

const target = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");
const bench = join(process.env["CAIRN_BIN"] === undefined ? join(target, "release") : dirname(process.env["CAIRN_BIN"]), "bench");

/** The blocks of a file that `cairn export` would write, in base64 as a node gives them, and the ledger's id. */
function read(path: string): { readonly ledger: string; readonly blocks: string[] } {
  const bytes = readFileSync(path);
  let at = bytes.indexOf("\n") + 1;
  const ledger = bytes.subarray(0, at - 1).toString().split(" ")[2]!;
  const blocks = [];
  for (let length = bytes.readUInt32BE(at); length > 0; length = bytes.readUInt32BE(at)) {
    blocks.push(bytes.subarray(at + 4, at + 4 + length).toString("base64"));
    at += 4 + length;
  }
  return { ledger, blocks };
}

/** µs for an entry of this file, in wasm. */
function inWasm(loaded: Rules, path: string, entries: number): number {
  const { ledger, blocks } = read(path);
  const audit = new loaded.Audit(ledger, "");
  const began = performance.now();
  for (const block of blocks) {
    audit.add(bytesOf(block), Date.now());
    const claims = audit.claims();
    for (let at = 0; at < claims.length; at += CLAIM) {
      if (!loaded.checkClaim(claims.subarray(at, at + CLAIM))) throw new Error("a signature is refused");
    }
  }
  const took = performance.now() - began;
  if (audit.entries() !== entries) throw new Error(`${audit.entries()} of ${entries} entries were taken in`);
  audit.free();
  return (1000 * took) / entries;
}

const directory = mkdtempSync(join(tmpdir(), "bench-wasm-"));
try {
  const loaded = await rules();
  const quotients = SIZES.map(({ perBlock, entries }) => {
    const file = join(directory, `blocks-${perBlock}`);
    const args = ["audit", "--entries", String(entries), "--per-block", String(perBlock), file];
    const native = spawnSync(bench, args, { encoding: "utf8" });
    if (native.status !== 0) throw new Error(`${bench} audit: ${native.error?.message ?? native.stderr.trim()}`);
    const { value } = JSON.parse(native.stdout) as { readonly value: number };
    // The first pass has the code compiled.
    inWasm(loaded, file, entries);
    const wasm = inWasm(loaded, file, entries);
    console.error(`blocks of ${perBlock}: ${wasm.toFixed(2)} µs an entry in wasm, ${value.toFixed(2)} µs natively`);
    return wasm / value;
  });
  const file = readFileSync(join(root, "client", "wasm", "build", "cairn_wasm_bg.wasm"));
  console.log(JSON.stringify({ figure: "wasm/size", value: gzipSync(file, { level: 9 }).length }));
  console.log(JSON.stringify({ figure: "wasm/ratio", value: Math.max(...quotients) }));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
