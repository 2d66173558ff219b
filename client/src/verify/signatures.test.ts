/** Signatures checked here, by others, and without the platform's Ed25519. */

import { generateKeyPairSync, sign } from "node:crypto";

import { afterEach, expect, test, vi } from "vitest";

import { serveSignatures, SharedSignatures, Signatures, type ClaimChecker, type Claims } from "./signatures.js";

const MESSAGE = 49;

/** So many true claims of two authors, but for those of these indexes. */
function claims(count: number, ...wrong: number[]): Claims {
  const authors = [generateKeyPairSync("ed25519"), generateKeyPairSync("ed25519")];
  const parts = Array.from({ length: count }, (_, number) => {
    const { publicKey, privateKey } = authors[number % 2]!;
    const message = Buffer.alloc(MESSAGE, number);
    const signature = sign(null, message, privateKey);
    if (wrong.includes(number)) signature[7]! ^= 1;
    return Buffer.concat([publicKey.export({ type: "spki", format: "der" }).subarray(-32), signature, message]);
  });
  return Uint8Array.from(Buffer.concat(parts));
}

/** Three workers, as far as ports go. */
function shared(): ClaimChecker {
  const channels = Array.from({ length: 3 }, () => new MessageChannel());
  for (const { port1 } of channels) serveSignatures(port1);
  ports.push(...channels.flatMap(({ port1, port2 }) => [port1, port2]));
  return new SharedSignatures(channels.map(({ port2 }) => port2));
}

const ports: MessagePort[] = [];

afterEach(() => {
  vi.unstubAllGlobals();
  for (const port of ports.splice(0)) port.close();
});

const checkers: [string, () => ClaimChecker][] = [
  ["here", () => new Signatures()],
  ["by others", shared],
  [
    "where the platform has none",
    () => {
      vi.stubGlobal("crypto", { subtle: undefined });
      return new Signatures();
    },
  ],
];

test.each(checkers)("true claims are found true, and the first false one is named, %s", async (_, make) => {
  const checker = make();
  expect(await checker.check(claims(20))).toBe(-1);
  for (const wrong of [[0], [7, 3], [19]]) expect(await checker.check(claims(20, ...wrong))).toBe(Math.min(...wrong));
  expect(await checker.check(claims(2, 1))).toBe(1);
  expect(await checker.check(new Uint8Array())).toBe(-1);
});
