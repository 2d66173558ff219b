/** The list of figures, and the document that is made of it. */

import { existsSync, readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { besideRows, figureRow, meets, missed, number, render, spread, type Results } from "../bench/document.mjs";
import { COMPARISONS, FIGURES, FLOOR, OWN, PEER_SCENARIOS, PEERS, SCALING, SCENARIOS } from "../bench/figures.mjs";

const url = (path: string): URL => new URL(`../${path}`, import.meta.url);

function results(name: string): Results | undefined {
  const file = url(`bench/results/${name}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
}

test("docs/BENCHMARKS.md is what the figures and the results make", () => {
  expect(readFileSync(url("docs/BENCHMARKS.md"), "utf8")).toBe(render(results("own"), results("peers")));
});

test("each figure has one program that measures it, and a name of its own", () => {
  const listed = [...OWN, ...FLOOR, ...SCALING, ...PEERS].map(({ id }) => id);
  const measured = [...SCENARIOS, ...PEER_SCENARIOS].flatMap(({ figures }) => figures);
  expect(new Set(listed).size).toBe(listed.length);
  expect([...measured].sort()).toEqual([...listed].sort());
});

test("what is shown beside each other is measured in turns", () => {
  const scenarios = [...SCENARIOS, ...PEER_SCENARIOS];
  const of = (figure: string): string => scenarios.find(({ figures }) => figures.includes(figure))!.name;
  for (const { id, beside } of OWN) {
    for (const { figure } of beside ?? []) {
      const together = COMPARISONS.some(({ scenarios }) => scenarios.includes(of(id)) && scenarios.includes(of(figure)));
      expect(together, `${id} beside ${figure}`).toBe(true);
    }
  }
  for (const name of COMPARISONS.flatMap((comparison) => comparison.scenarios))
    expect(scenarios.map((scenario) => scenario.name)).toContain(name);
});

test("results are of figures that are listed", () => {
  for (const name of ["own", "peers"]) {
    for (const id of Object.keys(results(name)?.figures ?? {})) expect(FIGURES.has(id), id).toBe(true);
  }
});

test("what is missed has its reason on the page", () => {
  const [own, peers] = [results("own"), results("peers")];
  for (const { id, why } of missed(own, peers)) expect(why, id).toBeDefined();
  const slow = { ...own!, figures: { "append/many": [{ value: 1 }], "merge/1": [{ value: 1 }], "merge/256": [{ value: 1 }] } };
  const beside = { ...peers!, figures: { "merge/1": [{ value: 1 }], "autobase:merge": [{ value: 10_000 }] } };
  expect(missed(slow, undefined).map(({ id }) => id)).toEqual(["append/many"]);
  expect(missed(slow, beside).map(({ id }) => id)).toEqual(["append/many", "merge/1"]);
  expect(missed(undefined, undefined)).toEqual([]);
});

test("a goal is met or missed by the median", () => {
  const [sync, open] = [FIGURES.get("sync/256")!, FIGURES.get("open")!];
  const runs = (...values: number[]): { value: number }[] => values.map((value) => ({ value }));
  expect(figureRow(sync, runs(1, 400_000, 500_000)).slice(2)).toEqual(["≥ 400,000", "1", "400,000", "500,000", "", "", "met"]);
  expect(figureRow(sync, runs(500_000, 399_999, 1)).at(-1)).toBe("missed");
  expect(figureRow(open, [{ value: 50.1, cpu: 0.5, memory: 3 * 2 ** 20 }])).toEqual(
    ["open", "ms", "≤ 50", "50.1", "50.1", "50.1", "0.5", "3 MiB", "missed"],
  );
  expect([meets({ most: 0 }, 0), meets({ least: 1 }, 0.9)]).toEqual([true, false]);
});

test("a ratio is that of the medians, in the unit of the other one", () => {
  const measured = {
    "sync/256": [{ value: 250 }, { value: 400 }, { value: 100 }],
    "merge/1": [{ value: 2 }],
    "hypercore:sync": [{ value: 10 }],
    "autobase:merge": [{ value: 1_000 }],
  };
  expect(besideRows(FIGURES.get("sync/256")!, measured)).toEqual([
    ["sync/256", "250 entries/s", "hypercore:sync", "10 entries/s", "25 ×", "≥ 25 ×", "met"],
  ]);
  expect(besideRows(FIGURES.get("merge/1")!, measured)).toEqual([
    ["merge/1", "50,000 entries/s", "autobase:merge", "1,000 entries/s", "50 ×", "≥ 100 ×", "missed"],
  ]);
  expect(besideRows(FIGURES.get("open")!, measured)).toEqual([]);
});

test("numbers have three digits that count", () => {
  const shown = [0, 0.01234, 0.1, 1.005, 12.34, 123.4, 123_456.7, 1_234_567].map((value) => number(value));
  expect(shown).toEqual(["0", "0.0123", "0.1", "1.01", "12.3", "123", "123,457", "1,234,567"]);
  expect([9_999, 20_480, 64 * 2 ** 20].map((bytes) => number(bytes, "bytes"))).toEqual(["9,999", "20 KiB", "64 MiB"]);
  expect(spread([3, 1])).toEqual({ min: 1, median: 2, max: 3 });
});
