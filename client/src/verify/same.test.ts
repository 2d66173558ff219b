import { expect, test } from "vitest";

import { equal } from "./same.js";

test("values are equal by what is in them, whatever the order of names", () => {
  expect(equal({ a: 1, b: [1, { c: null }] }, { b: [1, { c: null }], a: 1 })).toBe(true);
});

test.each([
  [{ a: 1 }, { a: 2 }],
  [{ a: 1 }, { b: 1 }],
  [{ a: 1 }, { a: 1, b: undefined }],
  [[1, 2], [2, 1]],
  [[1], { 0: 1 }],
  [null, {}],
  ["1", 1],
  [{ __proto__: null, a: 1 }, {}],
])("%j is not %j", (a, b) => {
  expect(equal(a, b)).toBe(false);
  expect(equal(b, a)).toBe(false);
});

test("what nests as deep as a payload is long does not overflow the stack", () => {
  const deep = (last: unknown) => Array.from({ length: 30_000 }).reduce((inner) => [inner], last);
  expect(equal(deep(1), deep(1))).toBe(true);
  expect(equal(deep(1), deep(2))).toBe(false);
});
