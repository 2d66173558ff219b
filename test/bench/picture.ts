/**
 * Takes the picture of the page that the README opens with.
 *
 *     npm run build -w @cairn/web && cargo build -p node && npx tsx test/bench/picture.ts
 */

import { join } from "node:path";

import { root, World } from "../e2e/harness.js";
import { Visitors } from "../page/browser.js";
import { lively } from "../page/lively.js";
import { note, opened } from "../page/person.js";

const PICTURE = join(root, "docs", "page.png");

const world = new World();
const visitors = await Visitors.arrive();
try {
  const { url } = await lively(world, await visitors.profile());
  const page = await visitors.visit(url);
  await opened(page);
  await note(page, "She is welcome").waitFor();
  // All devices hold what Anna wrote.
  await note(page, "She is welcome").getByRole("button", { name: "Held by 3 of 3" }).waitFor();
  await page.screenshot({ path: PICTURE });
  console.log(PICTURE);
} finally {
  await visitors.leave();
  await world.close();
}
