/** What people do with the page, by what they see and hear of it. */

import type { Locator, Page } from "playwright-core";

import { connect, type Client } from "../../client/src/index.js";
import type { World } from "../e2e/harness.js";

export const VIEWS = ["Talk", "History", "Network", "Verify", "Settings"] as const;
export type ViewName = (typeof VIEWS)[number];

/** Where a view has come when one goes to it. */
const MARKS: Readonly<Record<ViewName, (page: Page) => Locator>> = {
  Talk: (page) => page.locator('[aria-label="Notes"]'),
  History: (page) => page.locator("main h2", { hasText: "History" }),
  Network: (page) => page.locator("main h2", { hasText: "Network" }),
  Verify: (page) => page.locator("main h2", { hasText: "Verify" }),
  Settings: (page) => page.locator("main h2", { hasText: "Settings" }),
};

/** Waits until the page shows what was written so far. */
export async function opened(page: Page): Promise<void> {
  await page.locator('[aria-label="Notes"][aria-busy="false"]').waitFor({ state: "attached" });
}

/** Goes to a view by the navigation, and waits until it is there. */
export async function goTo(page: Page, view: ViewName): Promise<void> {
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: view }).click();
  await MARKS[view](page).waitFor({ state: "attached" });
}

/** The field in which one writes. */
export function field(page: Page): Locator {
  return page.getByRole("textbox", { name: "Your note" });
}

/** Writes a note. */
export async function write(page: Page, text: string): Promise<void> {
  await field(page).fill(text);
  await field(page).press("Enter");
}

/** Notes of the ledger that are drawn. */
export function note(page: Page, text: string): Locator {
  return page.locator("article[data-entry]").filter({ hasText: text });
}

/** Notes that are not known to be in the ledger. */
export function outgoing(page: Page): Locator {
  return page.locator(".out");
}

/** Whether all of it is on the screen. */
export function inView(target: Locator): Promise<boolean> {
  return target.evaluate(
    (element) =>
      new Promise<boolean>((resolve) => {
        const observer = new IntersectionObserver(([seen]) => {
          observer.disconnect();
          resolve((seen?.intersectionRatio ?? 0) > 0.99);
        });
        observer.observe(element);
      }),
  );
}

/** The ids of the entries that are drawn, in their order. */
export async function order(page: Page): Promise<readonly string[]> {
  return page.locator("article[data-entry]").evaluateAll((articles) => articles.map((article) => article.getAttribute("data-entry") ?? ""));
}

/** Makes a group; then the page asks whom to invite. */
export async function create(page: Page, name: string, nickname: string): Promise<void> {
  await page.getByRole("button", { name: "Create a group" }).last().click();
  await page.getByLabel("Name of the group").fill(name);
  await page.getByLabel("What others call you").fill(nickname);
  await page.getByRole("button", { name: "Create", exact: true }).click();
  await page.getByRole("heading", { name: `Invite to ${name}` }).waitFor();
}

/** Takes the link of an invite from the dialog that is open. */
export async function inviteLink(page: Page): Promise<string> {
  await page.getByRole("button", { name: "Make the link" }).click();
  const link = await page.getByRole("textbox", { name: "Link of the invite" }).inputValue();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  return link;
}

/** Joins by the invite that the address brought, and waits until this node is in. */
export async function join(page: Page, nickname: string): Promise<void> {
  await page.getByLabel("What others call you").fill(nickname);
  await page.getByRole("button", { name: "Join", exact: true }).click();
  await field(page).waitFor();
}

/** The part of an invite's link that the page of another node takes. */
export function invited(url: string, link: string): string {
  return `${url}/${new URL(link).hash}`;
}

/** Everything of a client's side of a node's default ledger, until the world ends. */
export function clientOf<T>(world: World, url: string, ledger?: string): Client<T> {
  const client = connect<T>(url, ledger === undefined ? {} : { ledger });
  world.onClose(() => client.close());
  return client;
}

/** When a text first stands on the page, ms since 1970: noticed in the page itself. */
export function appearance(page: Page, text: string): Promise<number> {
  return page.evaluate(
    (wanted) =>
      new Promise<number>((resolve) => {
        const there = (): boolean => [...document.querySelectorAll("article[data-entry]")].some((article) => article.textContent?.includes(wanted) === true);
        const done = (): void => resolve(performance.timeOrigin + performance.now());
        if (there()) return done();
        const observer = new MutationObserver(() => {
          if (!there()) return;
          observer.disconnect();
          done();
        });
        observer.observe(document.body, { childList: true, subtree: true, characterData: true });
      }),
    text,
  );
}

/** Writes a note; when its last key went down, ms since 1970. */
export async function writeTimed(page: Page, text: string): Promise<number> {
  await field(page).fill(text);
  const pressed = page.evaluate(
    () => new Promise<number>((resolve) => addEventListener("keydown", (event) => resolve(performance.timeOrigin + event.timeStamp), { capture: true, once: true })),
  );
  await field(page).press("Enter");
  return pressed;
}
