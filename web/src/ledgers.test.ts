import { expect, it } from "vitest";

import { parseLedgers } from "./ledgers.js";

it("takes nothing for the node's ledgers that is none", () => {
  const ledger = { id: "ab", name: "Us", open: false, node: "cd", default: true };
  expect(parseLedgers(JSON.stringify([ledger]))).toEqual([ledger]);
  for (const kept of [null, "", "{", "{}", "[1]", "[null]", JSON.stringify([{ ...ledger, name: 1 }])]) expect(parseLedgers(kept)).toBe(null);
});
