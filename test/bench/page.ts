/**
 * The page in Chromium over ledgers of 100,000 entries: how soon something is drawn, how long all of it takes to check, whether it scrolls
 * in step with the screen, and what it weighs.
 *
 *     npm run build -w @cairn/web && cargo build --release -p node --example history --bin cairn
 *     CAIRN_BIN=target/release/cairn npx tsx test/bench/page.ts
 */

import type { Page } from "playwright-core";

import { World } from "../e2e/harness.js";
import { percentile } from "../e2e/ledger.js";
import { Visitors } from "../page/browser.js";
import { longLedger } from "../page/long.js";
import { goTo, opened } from "../page/person.js";
import { weight } from "../page/weight.js";

const ENTRIES = 100_000;
/** What is asked, ms: by entries of a block. */
const CHECKED: readonly (readonly [entries: number, goal: number])[] = [
  [1, 5_000],
  [256, 500],
];
const FIRST_PAINT = 500;
const VISITS = 9;
/** Frames of a scroll, pixels of each, and ms from which one is late at 60 Hz. */
const SCROLL = { frames: 900, pixels: 70, late: 20 };

/** ms from the visit until something is drawn, of visits by new profiles. */
async function paints(visitors: Visitors, url: string): Promise<readonly number[]> {
  const times: number[] = [];
  for (let visit = 0; visit < VISITS; visit++) {
    const page = await visitors.visit(url);
    await opened(page);
    times.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN));
    await page.context().close();
  }
  return times;
}

/** ms of each frame while somebody scrolls from the end towards the beginning. */
function scrolled(page: Page): Promise<readonly number[]> {
  return page.evaluate(async ({ frames, pixels }) => {
    const scroller = document.querySelector(".scroller");
    if (scroller === null) throw new Error("there is nothing to scroll");
    const times: number[] = [];
    let before = await new Promise<number>((resolve) => requestAnimationFrame(resolve));
    while (times.length < frames) {
      scroller.scrollTop -= pixels;
      const now = await new Promise<number>((resolve) => requestAnimationFrame(resolve));
      times.push(now - before);
      before = now;
    }
    return times;
  }, SCROLL);
}

/** ms from the click until the page says that all is as it was signed. */
async function checked(page: Page): Promise<number> {
  await goTo(page, "Verify");
  const began = performance.now();
  await page.getByRole("button", { name: "Check everything" }).click();
  await page.getByText("Everything is as it was signed").first().waitFor({ timeout: 120_000 });
  return performance.now() - began;
}

async function main(): Promise<void> {
  const world = new World();
  const visitors = await Visitors.arrive();
  try {
    const { js, wasm } = await weight();
    console.log(`compressed: JavaScript ${(js / 1024).toFixed(1)} KiB, wasm ${(wasm / 1024).toFixed(1)} KiB`);
    for (const [entries, goal] of CHECKED) {
      const blocks = Math.ceil(ENTRIES / entries);
      const what = `${blocks} blocks of ${entries}`;
      const node = await longLedger(world, blocks, entries);
      const times = await paints(visitors, node.url);
      console.log(`${what}: first paint p50 ${percentile(times, 50).toFixed(0)} ms, slowest ${Math.max(...times).toFixed(0)} ms (goal ${FIRST_PAINT} ms)`);
      const page = await visitors.visit(node.url);
      await opened(page);
      const frames = await scrolled(page);
      const late = frames.filter((time) => time > SCROLL.late).length;
      console.log(
        `${what}: ${frames.length} frames of a scroll: ${((100 * late) / frames.length).toFixed(1)} % over ${SCROLL.late} ms, p50 ${percentile(frames, 50).toFixed(1)} ms, p99 ${percentile(frames, 99).toFixed(1)} ms, slowest ${Math.max(...frames).toFixed(0)} ms`,
      );
      const checks = [await checked(page)];
      for (let again = 0; again < 2; again++) {
        await page.reload();
        checks.push(await checked(page));
      }
      console.log(`${what}: checked in ${checks.map((time) => `${time.toFixed(0)} ms`).join(", ")}, from the click to the words (goal ${goal} ms)`);
      await page.context().close();
      await node.stop();
    }
    if (visitors.faults.length > 0) throw new Error(`pages did what none may:\n${visitors.faults.join("\n")}`);
  } finally {
    await visitors.leave();
    await world.close();
  }
}

await main();
