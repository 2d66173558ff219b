/** The golden vectors in wasm: the file that `shared/tests/shared/vectors.rs` reads natively. */

import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import init, { Audit, blockHash, checkClaim, openLedger, place } from "../build/cairn_wasm.js";

await init({ module_or_path: readFileSync(new URL("../build/cairn_wasm_bg.wasm", import.meta.url)) });

type Fields = [digits: string, meaning: string][];

interface Vectors {
  open_ledger: { name: string; id: string };
  key: { public: string };
  block: { bytes: Fields; hash: string; entry_hashes: string[]; signature: string };
  stripped_block: { bytes: Fields; hash: string };
  envelopes: { name: string; bytes: Fields }[];
}

const vectors = JSON.parse(readFileSync(new URL("../../../shared/vectors/vectors.json", import.meta.url), "utf8")) as Vectors;
const bytes = (fields: Fields) => Uint8Array.from(Buffer.from(fields.map(([digits]) => digits).join(""), "hex"));

test("an open ledger is the hash of its genesis", () => {
  expect(openLedger(vectors.open_ledger.name)).toBe(vectors.open_ledger.id);
});

test("an audit names the block that it cannot take in, and what is still to be checked of one that it can", () => {
  const encoded = bytes(vectors.block.bytes);
  expect(place(encoded)).toBe(`${vectors.key.public}-7-${vectors.block.hash}`);
  const audit = new Audit(vectors.open_ledger.id, "");
  expect(() => audit.add(encoded, Date.now())).toThrow("it rests on block");
  expect(() => audit.add(encoded.subarray(1), Date.now())).toThrow("its bytes are wrong");
  expect(audit.totals()).toEqual(Float64Array.of(0, 0, 0, 0));
});

test("a claim holds for what was signed, and for nothing else", () => {
  const encoded = bytes(vectors.block.bytes);
  const label = new TextEncoder().encode("cairn/signature/1");
  const hash = Buffer.from(vectors.block.hash, "hex");
  const claim = Buffer.concat([Buffer.from(vectors.key.public, "hex"), encoded.slice(-64), label, hash]);
  expect(checkClaim(claim)).toBe(true);
  for (const index of [0, 40, 100, claim.length - 1]) {
    const changed = Buffer.from(claim);
    changed[index]! ^= 1;
    expect(checkClaim(changed)).toBe(false);
  }
  expect(checkClaim(claim.subarray(0, 50))).toBe(false);
});

test("without its payloads a block keeps its hash", () => {
  expect(blockHash(bytes(vectors.stripped_block.bytes))).toBe(vectors.stripped_block.hash);
});
