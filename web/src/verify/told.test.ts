import { expect, test } from "vitest";

import type { Verification } from "@cairn/client";

import type { Person } from "../app.js";
import { placeText, proved, reduce, share, tookText, type Check } from "./told.js";

const VERIFICATION: Verification = {
  ...{ blocks: 1_200, entries: 3_400, authors: 1, forks: 0, digest: "00", finding: null, milliseconds: 950 },
};
const person = (id: string): Person => ({ id, name: "Ida", named: true, colour: "", hue: 0, me: false });

test("a check runs, tells how far it is, and ends", () => {
  let check: Check = reduce({ state: "idle" }, { type: "begun" });
  expect(share(check)).toBeNull();
  check = reduce(check, { type: "progress", done: 30, total: 120 });
  expect(share(check)).toBe(0.25);
  check = reduce(check, { type: "ended", verification: VERIFICATION });
  expect(check).toEqual({ state: "ended", verification: VERIFICATION });
});

test("what was asked for before it was stopped does not begin it again", () => {
  const stopped = reduce(reduce({ state: "idle" }, { type: "begun" }), { type: "stopped" });
  expect(reduce(stopped, { type: "progress", done: 1, total: 2 })).toEqual({ state: "idle" });
});

test("numbers are said as people read them", () => {
  expect(proved(VERIFICATION, true)[0]).toContain("3,400 entries in 1,200 blocks");
  expect(proved(VERIFICATION, true)[1]).toContain("the 1 device that");
  expect([tookText(0.2), tookText(950), tookText(4_321)]).toEqual(["1 ms", "950 ms", "4.3 s"]);
});

test("a fork is told of, and who belonged only where somebody has to", () => {
  const forked = proved({ ...VERIFICATION, forks: 2 }, false);
  expect(forked.some((line) => line.startsWith("2 devices have signed two different pasts"))).toBe(true);
  expect(forked.length).toBe(proved(VERIFICATION, true).length + 2);
});

test("a finding says where it is", () => {
  const finding = { what: "", block: 4_711, author: "ab", height: 12, hash: null, entry: null };
  expect(placeText(finding, person)).toBe("block 4,711 of those that the node gave, number 12 of Ida");
  expect(placeText({ ...finding, block: null, author: null }, person)).toBe("the ledger as a whole");
});
