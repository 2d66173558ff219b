import { describe, expect, it } from "vitest";

import { notes } from "../state/fixture.js";
import { emptyTimeline, reduceTimeline, type Timeline, type TimelineEvent } from "../state/timeline.js";
import { Heights } from "./heights.js";

const step = (timeline: Timeline, event: TimelineEvent): Timeline => reduceTimeline(timeline, event);

/** The same by adding up. */
function expectSums(heights: Heights): void {
  let sum = 0;
  for (let row = 0; row < heights.count; row += 1) {
    expect(heights.top(row)).toBeCloseTo(sum);
    if (heights.height(row) > 0) expect(heights.rowAt(sum + heights.height(row) / 2)).toBe(row);
    sum += heights.height(row);
  }
  expect(heights.total).toBeCloseTo(sum);
}

describe("heights of rows", () => {
  it("follow the stretch: what was measured stays with its row", () => {
    const heights = new Heights(() => 10);
    let timeline = step(emptyTimeline(), { type: "fresh", entries: notes(100, 150), start: false, end: true });
    heights.follow(timeline);
    heights.measured(0, 33);
    heights.measured(49, 44);
    expectSums(heights);

    timeline = step(timeline, { type: "older", entries: notes(60, 100), start: false });
    heights.follow(timeline);
    expect([heights.height(40), heights.height(89), heights.height(0)]).toEqual([33, 44, 10]);
    expectSums(heights);

    timeline = step(timeline, { type: "arrived", entries: notes(150, 2500) });
    heights.follow(timeline);
    expect([heights.height(40), heights.height(89), heights.count]).toEqual([33, 44, 2440]);
    expectSums(heights);

    timeline = step(timeline, { type: "reread", after: `${"a".repeat(64)}-120-0`, entries: notes(130, 140) });
    heights.follow(timeline);
    expect([heights.height(40), heights.count]).toEqual([33, 71]);
    expect(heights.height(65)).toBe(10);
    expectSums(heights);
  });

  it("leave rows out that are not shown", () => {
    const heights = new Heights(({ entry }) => (entry.height % 2 === 0 ? 0 : 7));
    heights.follow(step(emptyTimeline(), { type: "fresh", entries: notes(0, 999), start: true, end: true }));
    expectSums(heights);
    expect(heights.total).toBe(7 * 499);
    expect(heights.rowAt(1e9)).toBe(998);
  });
});
