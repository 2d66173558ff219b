/** What the page weighs, and how soon it is there. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { expect } from "vitest";

import { root } from "../e2e/harness.js";
import { percentile } from "../e2e/ledger.js";
import { test } from "./fixture.js";
import { opened } from "./person.js";

/** Bytes, compressed. */
const BUDGET = { js: 120 * 1024, wasm: 150 * 1024 };
/** ms until something is drawn: the goal, and what a machine that is busy may take. */
const FIRST_PAINT = { goal: 500, most: 1_500 };
const VISITS = 5;

test("the page is small", async () => {
  const assets = join(root, "web", "dist", "assets");
  const weigh = async (kind: string): Promise<number> => {
    const files = (await readdir(assets)).filter((name) => name.endsWith(`.${kind}`));
    expect(files.length).toBeGreaterThan(0);
    const sizes = await Promise.all(files.map(async (name) => gzipSync(await readFile(join(assets, name)), { level: 9 }).length));
    return sizes.reduce((sum, size) => sum + size, 0);
  };
  const weight = { js: await weigh("js"), wasm: await weigh("wasm") };
  console.log(`compressed: JavaScript ${(weight.js / 1024).toFixed(1)} KiB, wasm ${(weight.wasm / 1024).toFixed(1)} KiB`);
  expect(weight.js).toBeLessThan(BUDGET.js);
  expect(weight.wasm).toBeLessThan(BUDGET.wasm);
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
