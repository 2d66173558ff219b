import { describe, expect, it } from "vitest";

import { HUES, peopleOf } from "./people.js";
import { stones } from "./ui/stones.js";

const [A, B, C] = ["a1".repeat(32), "b2".repeat(32), "c3".repeat(32)] as [string, string, string];

describe("people", () => {
  it("have their name, or the first digits of their key", () => {
    const person = peopleOf(new Map([[A, "Ida"]]), A);
    expect(person(A)).toMatchObject({ name: "Ida", named: true, me: true });
    expect(person(B)).toMatchObject({ name: "b2b2b2b2", named: false, me: false });
  });

  it("who call themselves as somebody else does are told apart", () => {
    const person = peopleOf(new Map([[A, "Ida"], [B, "I\u200Bda "], [C, "Eve"]]), undefined);
    expect([person(A).name, person(B).name, person(C).name]).toEqual([`Ida (${A.slice(0, 6)})`, `Ida (${B.slice(0, 6)})`, "Eve"]);
  });

  it("look the same to everybody, and use all colours", () => {
    const ids = Array.from({ length: 500 }, (_, index) => index.toString(16).padStart(64, "0"));
    const one = peopleOf(new Map(), undefined);
    const other = peopleOf(new Map([[A, "Ida"]]), B);
    expect(ids.map((id) => other(id).hue)).toEqual(ids.map((id) => one(id).hue));
    expect(new Set(ids.map((id) => one(id).hue)).size).toBe(HUES);
    expect(new Set(ids.map((id) => JSON.stringify(stones(id)))).size).toBeGreaterThan(400);
    for (const stone of ids.flatMap(stones)) {
      expect(stone.x).toBeGreaterThanOrEqual(0);
      expect(stone.x + stone.width).toBeLessThanOrEqual(32);
      expect(stone.y).toBeGreaterThanOrEqual(0);
      expect(stone.y + stone.height).toBeLessThanOrEqual(32);
    }
  });
});
