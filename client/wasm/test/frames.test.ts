/** The golden frames in wasm: the file that `shared/tests/shared/vectors.rs` reads natively. `scripts/traces.mjs` builds what runs here. */

import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { recodeFrame } from "../../../target/sim-wasm/sim_wasm.js";

interface Vectors {
  envelopes: { name: string; bytes: [digits: string, meaning: string][] }[];
}

const vectors = JSON.parse(readFileSync(new URL("../../../shared/vectors/vectors.json", import.meta.url), "utf8")) as Vectors;

test.each(vectors.envelopes)("the envelope $name reads back", ({ bytes: fields }) => {
  const bytes = Uint8Array.from(Buffer.from(fields.map(([digits]) => digits).join(""), "hex"));
  expect(recodeFrame(bytes)).toEqual(bytes);
});
