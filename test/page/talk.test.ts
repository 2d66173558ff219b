/** Two people, each at the page of a node of their own, with a relay between the nodes. */

import type { Page } from "playwright-core";
import { expect } from "vitest";

import { cableUrl, type World } from "../e2e/harness.js";
import { percentile } from "../e2e/ledger.js";
import type { Visitors } from "./browser.js";
import { test } from "./fixture.js";
import { appearance, create, field, inView, invited, inviteLink, join, note, opened, order, outgoing, write, writeTimed } from "./person.js";

/** Notes that each writes, and ms within which half of them have to be on the other page. */
const NOTES = 10;
const SOON = 1_000;

/** Anna makes a group on her page, and Ben comes in by her link on his. */
async function two(world: World, visitors: Visitors, url: (node: string) => Promise<string>): Promise<{ readonly anna: Page; readonly ben: Page }> {
  const relay = await world.relay();
  const [one, other] = await Promise.all([world.node({ relay: relay.url }), world.node({ relay: relay.url })]);
  const anna = await visitors.visit(await url(one.url));
  await opened(anna);
  await create(anna, "The allotments", "Anna");
  const link = await inviteLink(anna);
  const ben = await visitors.visit(invited(other.url, link));
  await join(ben, "Ben");
  return { anna, ben };
}

test("a group is made and joined in the page, and what one writes the other sees within a second", async ({ world, visitors }) => {
  const { anna, ben } = await two(world, visitors, async (url) => url);
  expect(new URL(ben.url()).hash).not.toContain("join");
  // Each sees under which name the other came.
  await note(anna, "Ben came in").waitFor();
  const times: number[] = [];
  for (let number = 0; number < 2 * NOTES; number++) {
    const [from, to] = number % 2 === 0 ? [anna, ben] : [ben, anna];
    const text = `note number ${number}.`;
    const seen = appearance(to, text);
    const written = await writeTimed(from, text);
    times.push((await seen) - written);
  }
  console.log(`from the key to the other page: p50 ${percentile(times, 50).toFixed(0)} ms, p99 ${percentile(times, 99).toFixed(0)} ms`);
  expect(percentile(times, 50)).toBeLessThan(SOON);
  await expect.poll(() => outgoing(anna).count()).toBe(0);
  const shown = await order(anna);
  expect(shown.length).toBeGreaterThanOrEqual(2 * NOTES);
  await expect.poll(() => order(ben)).toEqual(shown);
  // Both hold it, and each page says so of what was written on it.
  await note(anna, "note number 18.").getByRole("button", { name: /^Held by \d of \d/ }).waitFor();
});

test("notes that are written off line wait and say so, outlast a reload, and go once", async ({ world, visitors }) => {
  let lay = async (url: string): Promise<string> => url;
  const cables: Awaited<ReturnType<World["cable"]>>[] = [];
  lay = async (url) => {
    const cable = await world.cable(url);
    cables.push(cable);
    return cableUrl(cable, url);
  };
  const { anna, ben } = await two(world, visitors, lay);
  await write(anna, "before");
  await note(ben, "before").waitFor();
  // The page opens without its node only where the browser keeps its shell.
  await anna.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === "activated");
  await anna.reload();
  await note(anna, "before").waitFor();

  await anna.context().setOffline(true);
  cables[0]!.pull();
  await anna.getByRole("alert").filter({ hasText: "Off line" }).waitFor();
  for (const number of [1, 2, 3]) await write(anna, `alone ${number}`);
  for (const number of [1, 2, 3]) await write(ben, `meanwhile ${number}`);
  await expect.poll(() => outgoing(anna).count()).toBe(3);
  expect(await outgoing(anna).first().innerText()).toContain("Waiting for the connection");
  // Whoever has written sees it without scrolling.
  await expect.poll(() => inView(outgoing(anna).last())).toBe(true);

  await anna.reload();
  await expect.poll(() => outgoing(anna).allInnerTexts()).toEqual([1, 2, 3].map((number) => expect.stringMatching(new RegExp(`alone ${number}\\s+Waiting for the connection`))));
  await field(anna).waitFor();

  await anna.context().setOffline(false);
  cables[0]!.plug();
  for (const page of [anna, ben]) {
    for (const number of [1, 2, 3]) {
      await note(page, `alone ${number}`).waitFor();
      await note(page, `meanwhile ${number}`).waitFor();
    }
  }
  await expect.poll(() => outgoing(anna).count()).toBe(0);
  expect(await note(ben, "alone").count()).toBe(3);
  const shown = await order(anna);
  await expect.poll(() => order(ben)).toEqual(shown);
  const told = (await anna.locator("article[data-entry]").allInnerTexts()).flatMap((text) => text.match(/alone \d/g) ?? []);
  expect(told).toEqual(["alone 1", "alone 2", "alone 3"]);
});
