import type { HistoryBlock } from "@cairn/client";
import { describe, expect, test } from "vitest";

import { bars, bucketSpan, countsOf } from "./bars.js";
import { edges } from "./edges.js";
import { answer, block, hexOf, ledger } from "./fixture.js";
import { hit } from "./hit.js";
import { GROUPS } from "./kinds.js";
import { byHash, forksOf, marks, type Known } from "./marks.js";
import { AXIS, layOut, ROW, yOf } from "./scene.js";
import { EMPTY, reduce, type View } from "./view.js";

const ALL = new Set(GROUPS);
const NOTHING: Known = { erased: new Set() };
const [IDA, BO] = [hexOf("a", 0), hexOf("a", 1)];
const SPAN = { from: 0, to: 1_000_000 };
const FRAME = { width: 1_000, height: 600, top: 0 };

/** Ten blocks apart from one another, Ida's and Bo's in turn, each on the one before and on its author's own. */
const TURNS: readonly HistoryBlock[] = Array.from({ length: 10 }, (_, index) =>
  block({
    hash: hexOf("b", index),
    author: index % 2 === 0 ? IDA : BO,
    height: 1 + Math.floor(index / 2),
    timestamp: 50_000 + index * 100_000,
    parents: [...(index > 1 ? [hexOf("b", index - 2)] : []), ...(index > 0 ? [hexOf("b", index - 1)] : [])],
  }),
);

function viewOf(blocks: readonly HistoryBlock[], detail = 1_000): View {
  const told = { history: answer(blocks, { buckets: 100, detail }), buckets: 100 };
  return reduce({ ...EMPTY, width: FRAME.width }, { type: "whole", told });
}

describe("bars", () => {
  test("they hold all entries of a ledger, however many", () => {
    const blocks = ledger({ people: 7, blocks: 30_000 });
    const scene = layOut(viewOf(blocks), FRAME, NOTHING);
    expect(scene.marks).toHaveLength(0);
    const entries = scene.bars.reduce((sum, bar) => sum + bar.entries, 0);
    expect(entries).toBe(blocks.reduce((sum, each) => sum + each.entries, 0));
    expect(Math.max(...scene.bars.map((bar) => bar.share))).toBe(1);
    for (const bar of scene.bars) expect(bar.share).toBeGreaterThan(0);
  });

  test("of two answers the finer one is drawn where it reaches, and nothing twice", () => {
    const blocks = ledger({ people: 2, blocks: 5_000 });
    const whole = answer(blocks, { buckets: 100, detail: 1 });
    const { from, to } = { from: bucketSpan(whole, 100, 40).from, to: bucketSpan(whole, 100, 60).from - 1 };
    const part = answer(blocks, { from: Math.ceil(from), to: Math.floor(to), buckets: 200, detail: 1 });
    const sources = [
      { history: whole, buckets: 100, without: part },
      { history: part, buckets: 200, without: null },
    ];
    const found = bars(sources, { from: whole.from, to: whole.to }, 1_000, new Set([IDA, BO]));
    expect(found.reduce((sum, bar) => sum + bar.blocks, 0)).toBe(5_000);
  });

  test("what is out of view and whose lane is left out has none", () => {
    const history = answer(ledger({ people: 3, blocks: 900 }), { buckets: 100, detail: 1 });
    const span = bucketSpan(history, 2, 1);
    const found = bars([{ history, buckets: 100, without: null }], span, 1_000, new Set([IDA]));
    expect(new Set(found.map((bar) => bar.lane))).toEqual(new Set([IDA]));
    for (const bar of found) expect(bar.x + bar.width).toBeGreaterThan(0);
  });

  test("counts are those of the answer", () => {
    expect(countsOf(answer(TURNS))).toEqual({ blocks: 10, entries: 10, people: 2 });
  });
});

describe("marks", () => {
  test("blocks with room have a mark each, crowded ones share one and none is lost", () => {
    expect(marks(TURNS, SPAN, 1_000, [IDA, BO], ALL, NOTHING)).toHaveLength(10);
    const crowded = marks(TURNS, SPAN, 60, [IDA, BO], ALL, NOTHING);
    expect(crowded.length).toBeLessThan(10);
    expect(crowded.flatMap((mark) => mark.blocks)).toHaveLength(10);
    for (const mark of crowded) expect(new Set(mark.blocks.map(({ author }) => author)).size).toBe(1);
  });

  test("a long crowd is many marks, which stay what they are while the view moves", () => {
    const crowd = ledger({ people: 1, blocks: 500, from: 1_000_000, every: 100 });
    const length = crowd.at(-1)!.timestamp - crowd[0]!.timestamp;
    const at = (from: number): readonly string[] =>
      marks(crowd, { from, to: from + length }, 900, [IDA], ALL, NOTHING).map((mark) => mark.blocks[0]!.hash);
    expect(at(1_000_000).length).toBeGreaterThan(15);
    expect(at(1_000_000).length).toBeLessThan(60);
    expect(at(1_000_000 + Math.round(length / 7))).toEqual(at(1_000_000));
  });

  test("the two blocks of a fork stand apart and are never hidden among others", () => {
    const twin = block({ ...TURNS[4]!, hash: hexOf("f", 4) });
    const blocks = [...TURNS.slice(0, 5), twin, ...TURNS.slice(5)];
    expect([...forksOf(blocks).keys()]).toEqual([`${IDA}-3`]);
    const found = byHash(marks(blocks, SPAN, 30, [IDA, BO], ALL, NOTHING));
    const [one, other] = [found.get(TURNS[4]!.hash)!, found.get(twin.hash)!];
    expect([one.sign, other.sign]).toEqual(["fork", "fork"]);
    expect(one.blocks).toHaveLength(1);
    expect(one.off).toBe(-other.off);
    expect(one.off).not.toBe(0);
  });

  test("a mark says the most important of what is in it", () => {
    const signs = (some: Partial<HistoryBlock>, known = NOTHING): string =>
      marks([{ ...TURNS[0]!, ...some }], SPAN, 1_000, [IDA], ALL, known)[0]!.sign;
    expect(signs({})).toBe("plain");
    expect(signs({ parents: ["x", "y"] })).toBe("merge");
    expect(signs({ kinds: ["erase"], parents: ["x", "y"] })).toBe("erasure");
    expect(signs({ kinds: ["data", "evidence"] })).toBe("evidence");
    expect(signs({}, { erased: new Set([`${IDA}-1`]) })).toBe("erased");
  });

  test("what is of no chosen kind is faint, also one without a name", () => {
    const blocks = [block({ ...TURNS[0]!, kinds: ["data"] }), block({ ...TURNS[2]!, kinds: ["constructor"] })];
    const chosen = (group: "notes" | "other"): readonly boolean[] =>
      marks(blocks, SPAN, 1_000, [IDA], new Set([group]), NOTHING).map((mark) => mark.faint);
    expect(chosen("notes")).toEqual([false, true]);
    expect(chosen("other")).toEqual([true, false]);
  });
});

describe("links", () => {
  test("every link between marks is there once, from the earlier to the later", () => {
    const found = edges(marks(TURNS, SPAN, 1_000, [IDA, BO], ALL, NOTHING), 1_000);
    expect(found.edges).toHaveLength(17);
    expect(found.edges.filter(({ own }) => own)).toHaveLength(8);
    for (const { from, to } of found.edges) expect(from.x).toBeLessThan(to.x);
    expect(found.stubs).toHaveLength(0);
  });

  test("marks of many blocks are linked once, and not to themselves", () => {
    const crowded = marks(TURNS, SPAN, 20, [IDA, BO], ALL, NOTHING);
    const found = edges(crowded, 20).edges;
    expect(new Set(found.map(({ from, to }) => `${from.x} ${from.lane} ${to.x} ${to.lane}`)).size).toBe(found.length);
    for (const { from, to } of found) expect(from).not.toBe(to);
  });

  test("a lane that began before what is known goes on to the left, and what rests on unknown blocks breaks nothing", () => {
    const found = edges(marks(TURNS.slice(5), SPAN, 1_000, [IDA, BO], ALL, NOTHING), 1_000);
    expect(found.stubs.map(({ to }) => to.blocks[0]!.hash)).toEqual([hexOf("b", 5), hexOf("b", 6)]);
  });

  test("links that pass through the view are drawn, those beside it are not", () => {
    const far = marks(TURNS, { from: 440_000, to: 460_000 }, 1_000, [IDA, BO], ALL, NOTHING);
    const found = edges(far, 1_000).edges;
    expect(found.length).toBeGreaterThan(0);
    expect(found.length).toBeLessThan(8);
    for (const { from, to } of found) expect(from.x <= 1_000 && to.to >= 0).toBe(true);
  });
});

describe("the scene", () => {
  test("only lanes in view are laid out, and they scroll", () => {
    const view = viewOf(ledger({ people: 200, blocks: 900 }));
    const scene = layOut(view, { width: 1_000, height: AXIS + 4 * ROW, top: 10 * ROW }, NOTHING);
    expect(scene.rows.map(({ index }) => index)).toEqual([10, 11, 12, 13]);
    expect(scene.rows[0]!.y).toBe(AXIS + ROW / 2);
    for (const mark of scene.marks) expect(Math.abs(mark.row - 11.5)).toBeLessThanOrEqual(3);
  });

  test("of a million blocks there is no more to draw than a bar for each bucket and lane", () => {
    const buckets = Array.from({ length: 300 }, (_, index) => [index, 300, 400] as const);
    const lanes = Array.from({ length: 12 }, (_, index) => ({ author: hexOf("a", index), buckets }));
    const history = { from: 0, to: 1e15, first: 0, last: 1e15, lanes, blocks: null };
    const view = reduce({ ...EMPTY, width: 1_200 }, { type: "whole", told: { history, buckets: 300 } });
    const scene = layOut(view, FRAME, NOTHING);
    expect(scene.bars.length).toBeLessThanOrEqual(3_600);
    expect(scene.bars.length).toBeGreaterThan(1_000);
  });

  test("the moment that is looked at has its place", () => {
    const view = reduce(viewOf(TURNS), { type: "scrubbed", to: TURNS[5]!.timestamp });
    const scene = layOut(view, FRAME, NOTHING);
    expect(scene.asOf).toBeCloseTo(byHash(scene.marks).get(TURNS[5]!.hash)!.x);
  });

  test("an empty ledger is an empty scene", () => {
    expect(layOut({ ...EMPTY, width: 800 }, FRAME, NOTHING)).toMatchObject({ rows: [], marks: [], bars: [], ticks: [] });
  });
});

describe("the pointer", () => {
  const scene = layOut(viewOf(TURNS), FRAME, NOTHING);

  test("every mark is hit where it is drawn, and the nearest of two", () => {
    for (const mark of scene.marks) {
      const found = hit(scene, mark.x + 2, yOf(mark.row, 0) + 3, 4);
      expect(found).toEqual({ mark });
    }
  });

  test("a finger reaches farther than a mouse, and the axis is nobody's", () => {
    const mark = scene.marks[3]!;
    const [x, y] = [mark.x + 15, yOf(mark.row, 0)];
    expect(hit(scene, x, y, 2)).toBeNull();
    expect(hit(scene, x, y, 14)).toEqual({ mark });
    expect(hit(scene, mark.x, AXIS - 1, 40)).toBeNull();
  });

  test("where there are no marks a bar is hit", () => {
    const far = layOut(viewOf(ledger({ people: 3, blocks: 9_000 })), FRAME, NOTHING);
    const bar = far.bars[10]!;
    const row = far.rows.find(({ lane }) => lane === bar.lane)!;
    expect(hit(far, bar.x + bar.width / 2, row.y, 2)).toEqual({ bar });
  });
});
