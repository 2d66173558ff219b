import { describe, expect, test } from "vitest";

import type { Span } from "./scale.js";
import { duration, ticks } from "./ticks.js";

const HOUR = 3_600_000_000;
const NOON = new Date(2025, 2, 12, 12).getTime() * 1_000;

function labels(span: Span, width = 900): readonly string[] {
  return ticks(span, width, "en-GB").map((tick) => tick.label);
}

describe("ticks", () => {
  test("labels never touch, whatever the span", () => {
    for (let length = 2_000; length < 1e16; length *= 3.7) {
      const found = ticks({ from: NOON, to: NOON + length }, 900, "en-GB");
      expect(found.length, `${length} µs`).toBeLessThanOrEqual(12);
      for (const [index, tick] of found.entries()) {
        if (index > 0) expect(tick.x - found[index - 1]!.x, `${length} µs, ${tick.label}`).toBeGreaterThan(52);
      }
    }
  });

  test("every span that lies within a life has ticks", () => {
    for (let length = 2_000; length < 3e15; length *= 2.3) {
      expect(ticks({ from: NOON - length, to: NOON }, 360).length, `${length} µs`).toBeGreaterThan(0);
    }
  });

  test("hours are full hours, and midnight is a day", () => {
    const found = ticks({ from: NOON - HOUR, to: NOON + 23 * HOUR }, 900, "en-GB");
    expect(found.map((tick) => tick.label)).toEqual(["12:00", "15:00", "18:00", "21:00", "13 Mar", "03:00", "06:00", "09:00"]);
    expect(found.filter((tick) => tick.major).map((tick) => tick.label)).toEqual(["13 Mar"]);
  });

  test("months begin on their first day, and January is the year", () => {
    const from = new Date(2024, 9, 15).getTime() * 1_000;
    const to = new Date(2025, 3, 15).getTime() * 1_000;
    expect(labels({ from, to })).toEqual(["Nov", "Dec", "2025", "Feb", "Mar", "Apr"]);
    for (const { time } of ticks({ from, to }, 900)) expect(new Date(time / 1_000).getDate()).toBe(1);
  });

  test("parts of a second say which part", () => {
    expect(labels({ from: NOON - 200_000, to: NOON + 300_000 })).toEqual([
      ".80 s", ".85 s", ".90 s", ".95 s", "12:00:00", ".05 s", ".10 s", ".15 s", ".20 s", ".25 s", ".30 s",
    ]);
  });
});

test("a duration is said in the units that people use", () => {
  expect(duration(5 * 86_400_000_000)).toBe("5 days");
  expect(duration(2 * HOUR + 300_000_000)).toBe("2 h 5 min");
  expect(duration(90_000_000)).toBe("1 min 30 s");
  expect(duration(1_500)).toBe("1.5 ms");
});
