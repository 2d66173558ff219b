/** What the page makes of what its node tells, where that is true and where it is not. */

import { expect } from "vitest";

import { Liar, type Lie } from "../e2e/liar.js";
import type { World } from "../e2e/harness.js";
import { test } from "./fixture.js";
import { longLedger } from "./long.js";
import { clientOf, field, goTo, note, opened, write } from "./person.js";

/** Notes before the lie. */
const NOTES = 30;
/** The one that is lied about, counted from 0. */
const TARGET = 20;

/** A node with notes of one block each, and a liar in front of it. */
async function liarBefore(world: World): Promise<{ readonly liar: Liar; readonly append: (text: string) => Promise<unknown>; readonly entry: string }> {
  const node = await world.node();
  const client = clientOf<string>(world, node.url);
  const notes = [];
  for (let number = 0; number < NOTES; number++) notes.push(await client.append(`note ${number}.`));
  return { liar: await Liar.before(world, node), append: (text) => client.append(text), entry: notes[TARGET]!.id };
}

/** Turns one bit of a block on its way. */
function flip(block: number): Lie {
  return ({ value }) => {
    const page = (value as { readonly page?: { readonly blocks: readonly string[] } } | null)?.page;
    const whole = page?.blocks[block];
    if (page === undefined || whole === undefined) return [value];
    const bytes = Buffer.from(whole, "base64");
    bytes[bytes.length >> 1]! ^= 1;
    return [{ ...(value as object), page: { ...page, blocks: page.blocks.with(block, bytes.toString("base64")) } }];
  };
}

/** Says something else in the place of the one note. */
const alter: Lie = ({ value }) => [JSON.parse(JSON.stringify(value ?? null).replace(`"note ${TARGET}."`, '"what nobody wrote"'))];

for (const [blocks, entries] of [
  [10_000, 1],
  [400, 256],
] as const) {
  test(`the page checks ${blocks} blocks of ${entries}`, async ({ world, visitors }) => {
    const node = await longLedger(world, blocks, entries);
    const page = await visitors.visit(node.url);
    await opened(page);
    await goTo(page, "Verify");
    await page.getByRole("button", { name: "Check everything" }).click();
    await page.getByText("Everything is as it was signed").first().waitFor();
    const told = await page.locator("main").innerText();
    expect(told).toContain(`${(blocks * entries).toLocaleString("en")} entries in ${blocks.toLocaleString("en")} blocks`);
    expect(told).toContain("the 5 devices");
    const [took] = /Checked in this browser in .*\./.exec(told) ?? [];
    console.log(`${blocks} blocks of ${entries}: ${took}`);
  });
}

test("a byte that is changed on the way is found, and the page says in which block", async ({ world, visitors }) => {
  const { liar, entry } = await liarBefore(world);
  liar.lie = flip(TARGET);
  const page = await visitors.visit(liar.url);
  await opened(page);
  await goTo(page, "Verify");
  await page.getByRole("button", { name: "Check everything" }).click();
  await page.getByText("Something is not as it was signed").first().waitFor();
  const told = await page.locator("main").innerText();
  expect(told).toContain(`block ${TARGET + 1} of those that the node gave`);
  expect(told).toContain(`${TARGET} entries in ${TARGET} blocks`);
  expect(told).not.toContain("Everything is as it was signed");
  expect(entry).toMatch(new RegExp(`-${TARGET + 1}-0$`));

  // The same page over the same node without the lie.
  liar.lie = ({ value }) => [value];
  await page.getByRole("button", { name: "Check again" }).click();
  await page.getByText("Everything is as it was signed").first().waitFor();
});

test("where nothing is shown that was not checked, a lie is not shown and raises an alarm that stays", async ({ world, visitors }) => {
  const { liar, append } = await liarBefore(world);
  liar.lie = alter;
  const page = await visitors.visit(liar.url);
  await opened(page);
  // A page that does not check is told anything.
  await note(page, "what nobody wrote").waitFor();
  await goTo(page, "Verify");
  await page.getByRole("checkbox", { name: "Show me nothing that was not checked" }).check();
  await page.getByRole("alert").filter({ hasText: "not signed" }).waitFor();
  await goTo(page, "Talk");
  expect(await page.locator("body").innerText()).not.toContain("what nobody wrote");

  await page.reload();
  const alarm = page.getByRole("alert").filter({ hasText: "not signed" });
  await alarm.waitFor();
  expect(await page.locator("body").innerText()).not.toContain("what nobody wrote");

  // What is true is shown.
  liar.lie = ({ value }) => [value];
  await page.reload();
  await note(page, `note ${TARGET}.`).waitFor();
  expect(await alarm.count()).toBe(0);
  await field(page).waitFor();
  await write(page, "and written");
  await note(page, "and written").waitFor();

  // Live as well.
  liar.lie = ({ value }) => [JSON.parse(JSON.stringify(value ?? null).replace('"it rains"', '"it is dry"'))];
  await append("it rains");
  await alarm.waitFor();
  expect(await page.locator("body").innerText()).not.toContain("it is dry");
});
