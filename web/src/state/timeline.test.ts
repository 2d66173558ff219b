import { describe, expect, it } from "vitest";

import { said } from "../talk/said.js";
import { Chunks } from "./chunks.js";
import { EVE, header, IDA, notes, wrote } from "./fixture.js";
import { IndexMap } from "./index-map.js";
import { emptyTimeline, indexOf, reduceTimeline, type Timeline, type TimelineEvent } from "./timeline.js";

function after(...events: readonly TimelineEvent[]): Timeline {
  return events.reduce(reduceTimeline, emptyTimeline());
}

const heights = (timeline: Timeline): readonly number[] => [...timeline.items].map(({ entry }) => entry.height);
const open: TimelineEvent = { type: "fresh", entries: notes(10, 13), start: false, end: true };

function saidOf(timeline: Timeline, id: string): ReturnType<typeof said> {
  return said(timeline.known.get(id)!, timeline.remarks.get(id) ?? []);
}

describe("the stretch that was read", () => {
  it("grows at both ends, and items keep their places", () => {
    const timeline = after(
      open,
      { type: "older", entries: notes(8, 10), start: false },
      { type: "arrived", entries: notes(13, 14) },
    );
    expect(heights(timeline)).toEqual([8, 9, 10, 11, 12, 13]);
    expect(timeline.base).toBe(-2);
    expect(timeline.base + indexOf(timeline, `${IDA}-10-0`)).toBe(0);
  });

  it("has nothing twice", () => {
    const timeline = after(open, { type: "arrived", entries: notes(11, 15) }, { type: "older", entries: notes(9, 11), start: true });
    expect(heights(timeline)).toEqual([9, 10, 11, 12, 13, 14]);
  });

  it("takes what was read again instead of what it had", () => {
    const late = wrote(EVE, 1, "in between");
    const timeline = after(open, { type: "reread", after: `${IDA}-10-0`, entries: [late, ...notes(11, 13)] });
    expect([...timeline.items].map(({ entry }) => entry.id)).toEqual([`${IDA}-10-0`, late.id, `${IDA}-11-0`, `${IDA}-12-0`]);
  });

  it("drops what does not count any more, with what it said", () => {
    const edit = wrote(IDA, 13, { type: "edit", of: `${IDA}-10-0`, text: "other" });
    const timeline = after(open, { type: "arrived", entries: [edit] }, { type: "reread", after: `${IDA}-10-0`, entries: [] });
    expect(heights(timeline)).toEqual([10]);
    expect(saidOf(timeline, `${IDA}-10-0`).text).toBe("note 10");
    expect(timeline.known.has(edit.id)).toBe(false);
  });

  it("adds nothing where it does not reach the end", () => {
    const timeline = after({ ...open, end: false }, { type: "arrived", entries: notes(90, 91) });
    expect(heights(timeline)).toEqual([10, 11, 12]);
  });

  it("forgets what was erased at once", () => {
    const timeline = after(open, { type: "erased", erased: { id: `${IDA}-11-0`, by: EVE, at: "2026-06-10T13:00:00Z" } });
    expect(JSON.stringify([...timeline.items])).not.toContain("note 11");
    expect(timeline.known.get(`${IDA}-11-0`)!.entry).toMatchObject({ data: null, erased: { by: EVE } });
    expect(heights(timeline)).toEqual([10, 11, 12]);
  });
});

describe("what is said about a note", () => {
  const note = `${IDA}-10-0`;

  it("is what its author said last, in whatever order it was read", () => {
    const first = wrote(IDA, 20, { type: "edit", of: note, text: "first" });
    const second = wrote(IDA, 21, { type: "edit", of: note, text: "second" });
    expect(saidOf(after(open, { type: "arrived", entries: [first, second] }), note)).toMatchObject({ text: "second", edited: { times: 2 } });
    expect(saidOf(after(open, { type: "arrived", entries: [second, first] }), note).text).toBe("second");
  });

  it("is nothing that others say in the author's place", () => {
    const forged = [wrote(EVE, 1, { type: "edit", of: note, text: "forged" }), wrote(EVE, 2, { type: "removal", of: note })];
    expect(saidOf(after(open, { type: "arrived", entries: forged }), note)).toMatchObject({ text: "note 10", edited: null, removed: null });
  });

  it("counts each person's last word about each emoji", () => {
    const feel = (author: string, height: number, off?: true) => wrote(author, height, { type: "reaction", of: note, emoji: "🌱", ...(off && { off }) });
    const timeline = after(open, { type: "arrived", entries: [feel(EVE, 1), feel(IDA, 20), feel(IDA, 21, true), feel(EVE, 2)] });
    expect(saidOf(timeline, note).reactions).toEqual([{ emoji: "🌱", by: [EVE] }]);
  });

  it("holds in another stretch, too", () => {
    const removal = wrote(IDA, 30, { type: "removal", of: note });
    const timeline = after({ type: "fresh", entries: [removal], start: false, end: true }, { ...open, end: false });
    expect(saidOf(timeline, note).removed).toMatchObject({ entry: removal.id });
  });

  it("makes no row of its own", () => {
    const entries = [wrote(IDA, 1, { type: "removal", of: note }), { ...header(IDA, 2), kind: "voucher" as const, data: null }, wrote(IDA, 3, { any: "json" })];
    const { items } = after({ type: "fresh", entries, start: true, end: true });
    expect([...items].map(({ shown }) => shown)).toEqual([false, false, true]);
  });
});

describe("a hundred thousand entries", () => {
  it("cost no more than one to add to", () => {
    let timeline = after({ type: "fresh", entries: notes(0, 100_000), start: true, end: true });
    const before = performance.now();
    for (let height = 0; height < 1000; height += 1) timeline = reduceTimeline(timeline, { type: "arrived", entries: notes(100_000 + height, 100_001 + height) });
    // Copying all of it 1,000 times takes far longer.
    expect(performance.now() - before).toBeLessThan(5000);
    expect(timeline.items.at(100_999)!.entry.height).toBe(100_999);
  });
});

describe("Chunks and IndexMap", () => {
  it("are what an array and a map would be, and never change", () => {
    let chunks = Chunks.of<number>([]);
    let array: readonly number[] = [];
    let seed = 1;
    for (let step = 0; step < 300; step += 1) {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      const items = Array.from({ length: seed % 400 }, (_, index) => step * 1000 + index);
      const [before, copy] = [chunks, [...array]];
      if (step % 3 === 0) [chunks, array] = [chunks.prepend(items), [...items, ...array]];
      else if (step % 7 === 0) [chunks, array] = [chunks.take(seed % 5000), array.slice(0, seed % 5000)];
      else [chunks, array] = [chunks.append(items), [...array, ...items]];
      expect([...before]).toEqual(copy);
    }
    expect([...chunks]).toEqual(array);
    expect(chunks.length).toBe(array.length);
    for (const place of [0, 1, 255, 256, 257, array.length - 1]) expect(chunks.at(place)).toBe(array[place]);
    expect([...chunks.from(300)]).toEqual(array.slice(300));
    expect(chunks.findLast((item) => item === array[400])).toBe(400);
    expect([...chunks.replace(300, -1)]).toEqual(array.with(300, -1));

    const map = IndexMap.empty<number>().with([["a", 1], ["b", 2]]);
    const changed = map.with([["a", undefined], ["c", 3]]);
    expect(["a", "b", "c"].map((key) => map.get(key))).toEqual([1, 2, undefined]);
    expect(["a", "b", "c"].map((key) => changed.get(key))).toEqual([undefined, 2, 3]);
  });
});
