/**
 * Takes the picture of the page that the README opens with.
 *
 *     npm run build -w @cairn/web && cargo build -p node && npx tsx test/bench/picture.ts
 */

import { join } from "node:path";

import type { Page } from "playwright-core";

import { root, World } from "../e2e/harness.js";
import { Visitors } from "../page/browser.js";
import { lively } from "../page/lively.js";
import { note, opened } from "../page/person.js";

const PICTURE = join(root, "docs", "page.png");

/** Colours follow from keys, and keys are drawn by lot: three people of as many colours are soon there. */
const GROUPS = 10;

const world = new World();
const visitors = await Visitors.arrive();
try {
  let page = await group();
  for (let more = 1; more < GROUPS && (await colours(page)) < 3; more++) page = await group();
  await note(page, "She is welcome").waitFor();
  // It is told of what Anna wrote that others hold it.
  await note(page, "She is welcome").getByRole("button", { name: /^Held by/ }).waitFor();
  await page.screenshot({ path: PICTURE });
  console.log(PICTURE);
} finally {
  await visitors.leave();
  await world.close();
}

/** A conversation of another group. */
async function group(): Promise<Page> {
  const { url } = await lively(world, await visitors.profile());
  const page = await visitors.visit(url);
  await opened(page);
  return page;
}

/** How many colours the people have. */
async function colours(page: Page): Promise<number> {
  const names = await page.locator("article bdi[style]").evaluateAll((found) => found.map((name) => name.getAttribute("style")));
  return new Set(names).size;
}
