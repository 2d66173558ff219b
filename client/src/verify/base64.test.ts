/** Base64 by each of the platforms' ways. */

import { afterEach, expect, test, vi } from "vitest";

import { bytesOf } from "./base64.js";

const ALL = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const NodeBuffer = Buffer;

/** Makes a platform that has this way, and none of those that are preferred to it. */
const ways: [string, () => void][] = [
  ["Uint8Array.fromBase64", () => vi.stubGlobal("Uint8Array", Object.assign(class extends Uint8Array {}, { fromBase64: decoded }))],
  ["Buffer", () => vi.stubGlobal("Uint8Array", class extends Uint8Array {})],
  [
    "atob",
    () => {
      vi.stubGlobal("Uint8Array", class extends Uint8Array {});
      vi.stubGlobal("Buffer", undefined);
    },
  ],
];

function decoded(text: string): Uint8Array {
  return NodeBuffer.from(text, "base64");
}

afterEach(() => vi.unstubAllGlobals());

test.each(ways)("bytes of every length and value come back by %s", (_, platform) => {
  const lengths = [0, 1, 2, 3, 4, 255, 256];
  const texts = lengths.map((length) => NodeBuffer.from(ALL.subarray(0, length)).toString("base64"));
  platform();
  const read = texts.map((text) => [...bytesOf(text)]);
  expect(read).toEqual(lengths.map((length) => [...ALL.subarray(0, length)]));
});
