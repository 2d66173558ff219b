/** Every view, as people see it: on a phone and a wide screen, light and dark, by eye, by keyboard and by screen reader. */

import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { readFile } from "node:fs/promises";

import type { AxeResults } from "axe-core";
import type { Locator, Page } from "playwright-core";
import { expect } from "vitest";

import { root } from "../e2e/harness.js";
import { DESKTOP, PHONE, type Look } from "./browser.js";
import { test } from "./fixture.js";
import { lively } from "./lively.js";
import { goTo, invited, note, opened, VIEWS } from "./person.js";

const SCREENSHOTS = join(root, "target", "page-screenshots");
/** What axe calls what somebody cannot do anything with, or hardly. */
const GRAVE = ["serious", "critical"];

const LOOKS: readonly Look[] = [DESKTOP, { ...DESKTOP, dark: true }, PHONE, { ...PHONE, dark: true }];

const axe = readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What is gravely wrong with a page for whoever does not see, hear or move like others. */
async function findings(page: Page): Promise<readonly string[]> {
  const source = await axe;
  await page.evaluate(source);
  const { violations } = await page.evaluate(() => (globalThis as unknown as { readonly axe: { run(): Promise<AxeResults> } }).axe.run());
  return violations
    .filter(({ impact }) => GRAVE.includes(impact ?? ""))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary ?? ""}`).join("; ")}`);
}

/** What stands out of the screen at its side: nobody scrolls there. */
async function overflow(page: Page): Promise<number> {
  return page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    const main = document.querySelector("main");
    return Math.max(scrollWidth - clientWidth, main === null ? 0 : main.scrollWidth - main.clientWidth);
  });
}

/** Looks at what is shown now; what is wrong with it. */
async function look(page: Page, name: string, { width, dark }: Look): Promise<readonly string[]> {
  const path = `${name}-${width}-${dark ? "dark" : "light"}`;
  await page.screenshot({ path: join(SCREENSHOTS, `${path}.png`), animations: "disabled" });
  const wide = await overflow(page);
  return [...(await findings(page)), ...(wide > 0 ? [`${wide} px stand out of the screen`] : [])].map((finding) => `${path}: ${finding}`);
}

/** What stands over the views, and how it is opened. */
const OVER: readonly (readonly [name: string, open: (page: Page) => Promise<void>])[] = [
  ["search", async (page) => {
    await page.keyboard.press("Control+k");
    await page.getByRole("searchbox").fill("compost");
    await page.getByText("found, the newest first").waitFor();
  }],
  ["details", async (page) => {
    const of = note(page, "She is welcome");
    await of.hover();
    await of.getByRole("button", { name: "More" }).click();
    await page.getByRole("button", { name: "Who, when and where it is" }).click();
    await page.getByRole("dialog").waitFor();
  }],
  ["invite", async (page) => {
    await page.getByRole("button", { name: "Invite" }).locator("visible=true").click();
    await page.getByRole("button", { name: "Make the link" }).click();
    await page.getByRole("img", { name: "The same link as a QR code" }).waitFor();
  }],
];

test("every view is good to look at and to use, in light and dark, on a phone and a wide screen", async ({ world, visitors }) => {
  await mkdir(SCREENSHOTS, { recursive: true });
  const { url, nodes } = await lively(world, await visitors.profile());
  const wrong: string[] = [];
  for (const how of LOOKS) {
    const page = await visitors.visit(url, how);
    await opened(page);
    for (const view of VIEWS) {
      await goTo(page, view);
      if (view === "Talk") await note(page, "She is welcome").waitFor();
      if (view === "History") await page.locator('[aria-busy="false"] canvas').first().waitFor();
      if (view === "Network") await page.getByRole("table").first().waitFor();
      wrong.push(...(await look(page, view.toLowerCase(), how)));
      if (view === "History") {
        await page.getByRole("table").getByRole("button").first().click();
        await page.getByText("Signature").first().waitFor();
        wrong.push(...(await look(page, "history-block", how)));
      }
      if (view === "Verify") {
        await page.getByRole("button", { name: "Check everything" }).click();
        await page.getByText("Everything is as it was signed").first().waitFor();
        wrong.push(...(await look(page, "verify-good", how)));
      }
    }
    for (const [name, open] of OVER) {
      await goTo(page, "Talk");
      await open(page);
      wrong.push(...(await look(page, name, how)));
      await page.keyboard.press("Escape");
    }
    await page.close();
    const stranger = await visitors.visit(nodes.ben.url, how);
    await opened(stranger);
    wrong.push(...(await look(stranger, "empty", how)));
    await stranger.getByRole("button", { name: "Create a group" }).last().click();
    wrong.push(...(await look(stranger, "create", how)));
    await stranger.close();
  }
  expect(wrong).toEqual([]);
});

/** Whether an element has the focus. */
function has(target: Locator): Promise<boolean> {
  return target.evaluate((element) => element === document.activeElement);
}

/** Goes there by the tab key alone. */
async function tabTo(page: Page, target: Locator, key = "Tab"): Promise<void> {
  for (let presses = 0; presses < 60; presses++) {
    if (await has(target)) {
      expect(await target.evaluate((element) => element.matches(":focus-visible"))).toBe(true);
      return;
    }
    await page.keyboard.press(key);
  }
  throw new Error(`no ${key} leads to ${String(target)}`);
}

test("by keyboard alone somebody joins, writes, reads, and verifies", async ({ world, visitors }) => {
  const { nodes, ledger } = await lively(world, await visitors.profile());
  const newcomer = await world.node({ args: [] });
  const founder = await visitors.visit(`${nodes.anna.url}/#/${ledger}/talk`);
  await opened(founder);
  await tabTo(founder, founder.getByRole("button", { name: "Invite" }).locator("visible=true"));
  await founder.keyboard.press("Enter");
  await tabTo(founder, founder.getByRole("button", { name: "Make the link" }));
  await founder.keyboard.press("Enter");
  const link = await founder.getByRole("textbox", { name: "Link of the invite" }).inputValue();

  const page = await visitors.visit(invited(newcomer.url, link));
  await page.getByRole("dialog").waitFor();
  await tabTo(page, page.getByLabel("What others call you"));
  await page.keyboard.type("Noor");
  await page.keyboard.press("Enter");
  const field = page.getByRole("textbox", { name: "Your note" });
  await field.waitFor();
  await tabTo(page, field);
  await page.keyboard.type("Hello from the keyboard");
  await page.keyboard.press("Enter");
  await note(page, "Hello from the keyboard").waitFor();
  // The field keeps the focus, and the note can be reached from there and answered.
  await tabTo(page, field);
  await tabTo(page, page.locator('article[tabindex="0"]'), "Shift+Tab");
  // That is where the keyboard was before: from there arrows lead from note to note.
  for (let presses = 0; presses < 20 && !(await has(note(page, "Hello from the keyboard"))); presses++) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowDown");
  expect(await has(note(page, "Hello from the keyboard"))).toBe(true);
  const reply = note(page, "Hello from the keyboard").getByRole("button", { name: "Reply" });
  await tabTo(page, reply);
  await page.keyboard.press("Enter");
  await page.keyboard.type("and back");
  await page.keyboard.press("Enter");
  await note(page, "and back").getByText("Noor").first().waitFor();

  await tabTo(page, page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Verify" }), "Shift+Tab");
  await page.keyboard.press("Enter");
  await tabTo(page, page.getByRole("button", { name: "Check everything" }));
  await page.keyboard.press("Enter");
  // Also for those who listen.
  await page.locator('[aria-live="polite"]').filter({ hasText: "Everything is as it was signed" }).waitFor();
});
