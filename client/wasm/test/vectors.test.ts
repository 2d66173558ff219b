/** The golden vectors in wasm: the file that `shared/tests/shared/vectors.rs` reads natively. */

import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { blockHash, openLedger, recodeFrame, verifyBlock } from "../build/cairn_wasm.js";

type Fields = [digits: string, meaning: string][];

interface Vectors {
  open_ledger: { name: string; id: string };
  key: { public: string };
  block: { bytes: Fields; hash: string; entry_hashes: string[]; signature: string };
  stripped_block: { bytes: Fields; hash: string };
  entry: { payload: string };
  envelopes: { name: string; bytes: Fields }[];
}

const vectors = JSON.parse(readFileSync(new URL("../../../shared/vectors/vectors.json", import.meta.url), "utf8")) as Vectors;
const bytes = (fields: Fields) => Uint8Array.from(Buffer.from(fields.map(([digits]) => digits).join(""), "hex"));

test("an open ledger is the hash of its genesis", () => {
  expect(openLedger(vectors.open_ledger.name)).toBe(vectors.open_ledger.id);
});

test("the block is verified and its entries are shown", () => {
  const previous = "ee".repeat(32);
  const entries = JSON.parse(verifyBlock(bytes(vectors.block.bytes), previous)) as Record<string, unknown>[];
  expect(entries.map((entry) => entry.hash)).toEqual(vectors.block.entry_hashes);
  expect(entries[0]).toMatchObject({
    id: `${vectors.key.public}-7-0`,
    data: JSON.parse(vectors.entry.payload),
    previous_hash: previous,
    timestamp: "2026-11-20T13:19:00.123456Z",
    signatures: {},
  });
  expect(entries[1]).toMatchObject({ data: 42, signatures: { [vectors.key.public]: vectors.block.signature } });
});

test("without its payloads a block keeps its hash", () => {
  expect(blockHash(bytes(vectors.stripped_block.bytes))).toBe(vectors.stripped_block.hash);
});

test("one changed byte is noticed", () => {
  const changed = bytes(vectors.block.bytes);
  changed[changed.length - 1]! ^= 1;
  expect(() => verifyBlock(changed, "ee".repeat(32))).toThrow("the signature is wrong");
});

test.each(vectors.envelopes)("the envelope $name reads back", ({ bytes: fields }) => {
  expect(recodeFrame(bytes(fields))).toEqual(bytes(fields));
});
