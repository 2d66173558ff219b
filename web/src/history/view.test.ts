import type { History, HistoryBlock, HistoryRequest } from "@cairn/client";
import { describe, expect, test } from "vitest";

import { answer, block, hexOf, ledger } from "./fixture.js";
import { covers, lengthOf } from "./scale.js";
import { blocksInView, blocksOf, EMPTY, laneCounts, lanesOf, reduce, wanted, type Told, type View, type ViewEvent } from "./view.js";

const LARGE = ledger({ people: 5, blocks: 20_000 });
const SMALL = ledger({ people: 4, blocks: 40 });

function run(view: View, ...events: readonly ViewEvent[]): View {
  return events.reduce(reduce, view);
}

/** Asks a ledger for what the view wants until it wants nothing more; says how often that was. */
function settle(view: View, blocks: readonly HistoryBlock[]): [view: View, requests: number] {
  for (let requests = 0; ; requests += 1) {
    const request = wanted(view);
    if (request === null) return [view, requests];
    expect(requests, "requests until nothing more is wanted").toBeLessThan(3);
    const told = toldOf(blocks, request);
    view = reduce(view, { type: view.whole === null ? "whole" : "part", told });
  }
}

function opened(blocks: readonly HistoryBlock[]): View {
  return settle(run(EMPTY, { type: "resized", width: 1_000 }), blocks)[0];
}

describe("what is asked for", () => {
  test("a large ledger opens with two requests at most, a small one with one", () => {
    expect(settle(run(EMPTY, { type: "resized", width: 1_000 }), LARGE)[1]).toBeLessThanOrEqual(2);
    expect(settle(run(EMPTY, { type: "resized", width: 1_000 }), SMALL)[1]).toBe(1);
  });

  test("zoomed in far enough, a large ledger shows its blocks", () => {
    const near = run(opened(LARGE), { type: "zoomed", factor: 0.01 });
    const [view, requests] = settle(near, LARGE);
    expect(requests).toBe(1);
    expect(blocksInView(view).length).toBeGreaterThan(100);
    const { from, to } = view.span!;
    expect(blocksInView(view)).toEqual(LARGE.filter(({ timestamp }) => timestamp >= from && timestamp <= to));
  });

  test("a small move within what is known asks for nothing, a large one does", () => {
    const [near] = settle(run(opened(LARGE), { type: "zoomed", factor: 0.01 }), LARGE);
    expect(wanted(run(near, { type: "panned", share: 0.3 }))).toBeNull();
    expect(wanted(run(near, { type: "panned", share: 2 }))).not.toBeNull();
  });

  test("a request is never more than a node takes", () => {
    let view = run(opened(LARGE), { type: "resized", width: 7_000 });
    for (let step = 0; step < 40; step += 1) {
      view = run(view, { type: "zoomed", factor: 0.6, at: LARGE[123]!.timestamp });
      const request = wanted(view);
      if (request === null) continue;
      expect(request.buckets).toBeGreaterThanOrEqual(1);
      expect(request.buckets).toBeLessThanOrEqual(2_000);
      expect(request.detail).toBeLessThanOrEqual(2_000);
      expect(request.from).toBeLessThanOrEqual(request.to!);
      for (const number of Object.values(request)) expect(Number.isSafeInteger(number)).toBe(true);
      view = reduce(view, { type: "part", told: toldOf(LARGE, request) });
      expect(wanted(view), "the answer was enough").toBeNull();
    }
  });

  test("a node that does not tell the blocks of a span is not asked for them again and again", () => {
    const near = run(opened(LARGE), { type: "zoomed", factor: 0.01 });
    const { history, ...asked } = toldOf(LARGE, wanted(near)!);
    expect(wanted(reduce(near, { type: "part", told: { ...asked, history: { ...history, blocks: null } } }))).toBeNull();
  });

  test("an empty ledger asks once", () => {
    const [view, requests] = settle(EMPTY, []);
    expect(requests).toBe(1);
    expect(view.bounds).toBeNull();
    expect(run(view, { type: "zoomed", factor: 0.5 }, { type: "stepped", direction: "later" })).toEqual(view);
  });
});

describe("growth", () => {
  test("whoever sees it all goes on seeing it all", () => {
    const grown = answer([...SMALL, ...later(10)], { detail: 1_000 });
    const view = reduce(opened(SMALL), { type: "whole", told: { history: grown, buckets: 250 } });
    expect(view.span).toEqual(view.bounds);
    expect(view.bounds!.to).toBeGreaterThan(grown.last!);
  });

  test("whoever looks at the end follows it, whoever looks at the past is not moved", () => {
    const grown: History = answer([...SMALL, ...later(10)], { detail: 1_000 });
    const told = { history: grown, buckets: 250 };
    const atEnd = run(opened(SMALL), { type: "zoomed", factor: 0.1 }, { type: "ended", end: "last" });
    const followed = reduce(atEnd, { type: "whole", told });
    expect(followed.span!.to).toBe(followed.bounds!.to);
    expect(lengthOf(followed.span!)).toBe(lengthOf(atEnd.span!));
    const inPast = run(atEnd, { type: "panned", share: -3 });
    expect(reduce(inPast, { type: "whole", told }).span).toEqual(inPast.span);
  });

  test("lanes keep their places when others begin", () => {
    const before = opened(SMALL);
    const newcomer = block({ hash: hexOf("b", 900), author: hexOf("f", 1), timestamp: SMALL[0]!.timestamp - 5 });
    const history = answer([newcomer, ...SMALL], { detail: 1_000 });
    const after = reduce(before, { type: "whole", told: { history, buckets: 250 } });
    expect(after.lanes).toEqual([...before.lanes, newcomer.author]);
  });
});

describe("as it was on", () => {
  test("what came after is not among the blocks, and at the end it is as it is", () => {
    const then = SMALL[20]!.timestamp;
    const view = run(opened(SMALL), { type: "scrubbed", to: then });
    expect(blocksInView(view)).toEqual(SMALL.slice(0, 21));
    expect(run(view, { type: "scrubbed", to: SMALL.at(-1)!.timestamp }).asOf).toBeNull();
    expect(run(view, { type: "scrubbed", to: 0 }).asOf).toBe(SMALL[0]!.timestamp);
  });
});

describe("the keyboard", () => {
  test("it goes through every block in ledger order and stops at the ends", () => {
    let view = run(opened(SMALL), { type: "stepped", direction: "later" });
    const seen = [view.focus];
    for (let step = 1; step < SMALL.length + 3; step += 1) {
      view = reduce(view, { type: "stepped", direction: "later" });
      if (view.focus !== seen.at(-1)) seen.push(view.focus);
    }
    expect(seen).toEqual(SMALL.map(({ hash }) => hash));
  });

  test("up and down change the lane and stay near in time", () => {
    const start = run(opened(SMALL), { type: "focused", hash: SMALL[15]!.hash });
    const other = reduce(start, { type: "stepped", direction: start.lanes.indexOf(SMALL[15]!.author) === 0 ? "down" : "up" });
    const found = SMALL.find(({ hash }) => hash === other.focus)!;
    expect(found.author).not.toBe(SMALL[15]!.author);
    const distance = Math.abs(found.timestamp - SMALL[15]!.timestamp);
    for (const each of SMALL.filter(({ author }) => author === found.author)) {
      expect(Math.abs(each.timestamp - SMALL[15]!.timestamp)).toBeGreaterThanOrEqual(distance);
    }
  });
});

describe("filters", () => {
  test("whoever is left out has no lane and no blocks", () => {
    const [gone, alone] = [hexOf("a", 1), hexOf("a", 2)];
    const without = run(opened(SMALL), { type: "laneToggled", lane: gone });
    expect(lanesOf(without)).not.toContain(gone);
    expect(blocksOf(without).some(({ author }) => author === gone)).toBe(false);
    expect(lanesOf(run(without, { type: "laneAlone", lane: alone }))).toEqual([alone]);
    expect(lanesOf(run(without, { type: "lanesShown" }))).toEqual(without.lanes);
  });

  test("a group that is chosen out comes back when it is chosen again", () => {
    const without = run(opened(SMALL), { type: "groupToggled", group: "notes" });
    expect(without.groups.has("notes")).toBe(false);
    expect(reduce(without, { type: "groupToggled", group: "notes" }).groups).toEqual(EMPTY.groups);
  });
});

describe("counts of what is in view", () => {
  test("of the whole ledger they are all there is, whoever is left out aside", () => {
    const view = opened(LARGE);
    expect(laneCounts(view).reduce((sum, { blocks }) => sum + blocks, 0)).toBe(LARGE.length);
    const gone = view.lanes[0]!;
    expect(laneCounts(reduce(view, { type: "laneToggled", lane: gone })).map(({ lane }) => lane)).not.toContain(gone);
  });

  test("they end at the moment that is looked at, to a bucket", () => {
    const half = LARGE[10_000]!.timestamp;
    const counted = laneCounts(reduce(opened(LARGE), { type: "scrubbed", to: half }));
    expect(Math.abs(counted.reduce((sum, { blocks }) => sum + blocks, 0) - 10_001)).toBeLessThan(200);
    for (const { from } of counted) expect(from).toBeLessThan(half);
  });
});

test("a moment that is jumped to is in view", () => {
  const view = run(opened(LARGE), { type: "centred", time: LARGE[7]!.timestamp, length: 3_600_000_000 });
  expect(covers(view.span!, { from: LARGE[7]!.timestamp, to: LARGE[7]!.timestamp })).toBe(true);
});

function toldOf(blocks: readonly HistoryBlock[], request: HistoryRequest): Told {
  return { history: answer(blocks, request), buckets: request.buckets! };
}

function later(count: number): readonly HistoryBlock[] {
  return ledger({ seed: 2, people: 4, blocks: count, from: SMALL.at(-1)!.timestamp }).map((each, index) => ({
    ...each,
    hash: hexOf("f", index),
  }));
}
