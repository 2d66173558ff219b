/** What the page weighs, and how soon it is there. */

import { expect } from "vitest";

import { percentile } from "../e2e/ledger.js";
import { test } from "./fixture.js";
import { opened } from "./person.js";
import { weight } from "./weight.js";

/** Bytes, compressed. */
const BUDGET = { js: 120 * 1024, wasm: 150 * 1024 };
/** ms until something is drawn: the goal, and what a machine that is busy may take. */
const FIRST_PAINT = { goal: 500, most: 1_500 };
const VISITS = 5;

test("the page is small", async () => {
  const { js, wasm } = await weight();
  console.log(`compressed: JavaScript ${(js / 1024).toFixed(1)} KiB, wasm ${(wasm / 1024).toFixed(1)} KiB`);
  expect(js).toBeLessThan(BUDGET.js);
  expect(wasm).toBeLessThan(BUDGET.wasm);
});

test("something is drawn soon after the first visit", async ({ world, visitors }) => {
  const node = await world.node();
  const times: number[] = [];
  for (let visit = 0; visit < VISITS; visit++) {
    const page = await visitors.visit(node.url);
    await opened(page);
    const [paint] = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint").map(({ startTime }) => startTime));
    times.push(paint!);
    await page.context().close();
  }
  console.log(`first paint of ${VISITS} first visits: p50 ${percentile(times, 50).toFixed(0)} ms, slowest ${Math.max(...times).toFixed(0)} ms (goal ${FIRST_PAINT.goal} ms)`);
  expect(percentile(times, 50)).toBeLessThan(FIRST_PAINT.most);
});
