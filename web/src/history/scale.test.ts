import { describe, expect, test } from "vitest";

import { around, covers, lengthOf, panned, SHORTEST, timeAt, withMargins, xOf, zoomed } from "./scale.js";

const BOUNDS = { from: 1_000_000_000, to: 2_000_000_000 };

describe("places and moments", () => {
  test("a moment is found again where it is drawn", () => {
    const span = { from: 1_700_000_000_000_000, to: 1_700_000_360_000_000 };
    for (const time of [span.from, span.from + 123_456_789, span.to]) {
      expect(timeAt(span, 960, xOf(span, 960, time))).toBe(time);
    }
  });

  test("a ledger of one block has a span around it", () => {
    const span = withMargins({ from: 5_000_000, to: 5_000_000 });
    expect(span.from).toBeLessThan(5_000_000);
    expect(span.to).toBeGreaterThan(5_000_000);
    expect(withMargins({ from: 0, to: 0 }).from).toBe(0);
  });
});

describe("zoom", () => {
  test("what is under the pointer stays under it", () => {
    const span = { from: 1_200_000_000, to: 1_600_000_000 };
    const at = 1_300_000_000;
    const near = zoomed(span, 0.5, at, BOUNDS);
    expect(lengthOf(near)).toBe(200_000_000);
    expect(xOf(near, 1000, at)).toBeCloseTo(xOf(span, 1000, at));
  });

  test("nothing is zoomed out beyond the ledger or in beyond the shortest span", () => {
    expect(zoomed(BOUNDS, 8, 1_100_000_000, BOUNDS)).toEqual(BOUNDS);
    const nearest = zoomed(BOUNDS, 1e-9, 1_500_000_000, BOUNDS);
    expect(lengthOf(nearest)).toBe(SHORTEST);
    expect(zoomed(nearest, 0.5, 1_500_000_000, BOUNDS)).toEqual(nearest);
  });

  test("zooming in and out again at one place comes back to where it was", () => {
    const span = { from: 1_200_000_000, to: 1_600_000_000 };
    expect(zoomed(zoomed(span, 0.5, 1_450_000_000, BOUNDS), 2, 1_450_000_000, BOUNDS)).toEqual(span);
  });
});

describe("pan", () => {
  test("a span moves by a share of itself and stops at the ends", () => {
    const span = { from: 1_200_000_000, to: 1_300_000_000 };
    expect(panned(span, 0.5, BOUNDS)).toEqual({ from: 1_250_000_000, to: 1_350_000_000 });
    expect(panned(span, -9, BOUNDS)).toEqual({ from: 1_000_000_000, to: 1_100_000_000 });
    expect(panned(span, 99, BOUNDS)).toEqual({ from: 1_900_000_000, to: 2_000_000_000 });
  });

  test("a span around a moment holds it, also at the ends", () => {
    for (const time of [BOUNDS.from, 1_500_000_000, BOUNDS.to]) {
      const span = around(time, 60_000_000, BOUNDS);
      expect(covers(BOUNDS, span)).toBe(true);
      expect(covers(span, { from: time, to: time })).toBe(true);
    }
  });
});
