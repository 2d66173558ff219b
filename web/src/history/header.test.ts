import { expect, test } from "vitest";

import { hexIn, placeIn } from "./header.js";

/** The block that docs/PROTOCOL.md works out by hand, as far as its first entry. */
const BLOCK = [
  "83",
  "86",
  "01",
  "58204cb4ded9b540ca591ae5e55bc0dd3b15bb515f0ca74313cbbb5714b53c0995ce",
  "58208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
  "07",
  "1b000660b516529b40",
  "82",
].join("");

function base64Of(hex: string): string {
  return Buffer.from(hex, "hex").toString("base64");
}

test("the place of a block is read from its bytes", () => {
  expect(placeIn(base64Of(BLOCK))).toEqual({
    author: "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
    height: 7,
    timestamp: Date.UTC(2026, 10, 20, 13, 19, 0) * 1_000 + 123_456,
  });
});

test("bytes that end too soon or are of nothing known are no block, wherever they are cut", () => {
  for (let length = 0; length < BLOCK.length - 2; length += 2) expect(placeIn(base64Of(BLOCK.slice(0, length)))).toBeNull();
  for (const first of ["00", "84", "9f", "ff"]) expect(placeIn(base64Of(first + BLOCK.slice(2)))).toBeNull();
  expect(placeIn("no base64 §")).toBeNull();
});

test("bytes are shown as digits", () => {
  expect(hexIn(base64Of("00ff10"))).toBe("00ff10");
});
