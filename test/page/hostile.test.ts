/** What people write to do harm is text, wherever it is shown. */

import type { Page } from "playwright-core";
import { expect } from "vitest";

import type { Json } from "../../client/src/index.js";
import { DESKTOP, PHONE } from "./browser.js";
import { test } from "./fixture.js";
import { clientOf, goTo, note, opened, VIEWS, write } from "./person.js";

const RUNS = "globalThis.pwned=1;alert(1)";
const BIDI = "\u202Eevil\u202C \u2066left\u2069 \u200Fmark";
const HIDDEN = "zero\u200Bwidth\uFEFF and \u00ADsoft\u2060";
/** What turns or hides other text. */
const UNSEEN = /[\u202A-\u202E\u2066-\u2069\u200B\u00AD\u2060\uFEFF\u0000-\u0008\u001B\u2028]/u;
/** Bytes of a payload at most, without what stands around the text. */
const LARGE = 65_000;

const TEXTS: readonly string[] = [
  `<script>${RUNS}</script>`,
  `<img src=x onerror="${RUNS}">`,
  `<svg onload="${RUNS}"><animate onbegin="${RUNS}"></svg>`,
  `<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>`,
  `<a href="javascript:${RUNS}">click</a>`,
  `[click](javascript:${RUNS})`,
  "[click](javascript:pwned=1) [click](JaVaScRiPt:pwned=1) [click](data:text/html,pwned) [click](blob:pwned) [click](file:///etc/passwd)",
  `[click](JaVaScRiPt:${RUNS}) [data](data:text/html,<script>${RUNS}</script>) [vb](vbscript:x)`,
  "[same page](//elsewhere.example/) [bank](https://bank.example@elsewhere.example/)",
  `![image](https://elsewhere.example/track.png) <img src="https://elsewhere.example/track.png">`,
  `<style>*{display:none}</style><base href="https://elsewhere.example/"><meta http-equiv="refresh" content="0;url=https://elsewhere.example/">`,
  "{{constructor.constructor('globalThis.pwned=1')()}} ${pwned} {@html '<b>'} {#if 1}",
  BIDI,
  HIDDEN,
  `Z${"\u0335\u0321\u0322\u0327\u0328".repeat(40)}algo`,
  "\u0000\u0001\u0007\u001b[31mred\u001b[0m\u2028line\u2029paragraph",
  `${"> ".repeat(8_000)}deep quote`,
  `${"- ".repeat(8_000)}deep list`,
  `${"*".repeat(20_000)}stars${"_".repeat(20_000)}`,
  `${"**a *b ".repeat(6_000)}open`,
  `${"[".repeat(30_000)}brackets${"](".repeat(10_000)}`,
  `${"`".repeat(30_000)}ticks${"`a``b```".repeat(3_000)}`,
  "W".repeat(LARGE),
  `https://elsewhere.example/${"a".repeat(1_900)}`,
  `\`\`\`\n${"c".repeat(LARGE - 100)}\n\`\`\``,
  "line\n".repeat(LARGE / 6),
  "👩‍👩‍👧‍👦".repeat(1_500),
  "שלום <b>עולם</b> ".repeat(500),
];

const DATA: readonly Json[] = [
  { type: "note", text: "svg", image: `data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" onload="${RUNS}"/>` },
  { type: "note", text: "remote", image: "https://elsewhere.example/track.png" },
  { type: "note", text: "broken", image: "data:image/png;base64,AAAA" },
  { type: "note", text: "answers nothing", reply_to: `"><img src=x onerror=${RUNS}>` },
  { type: "note", text: 5, of: { __proto__: null } },
  { type: "edit", of: "nothing", text: `<script>${RUNS}</script>` },
  { type: "reaction", of: "nothing", emoji: `<script>${RUNS}` },
  { __proto__: { polluted: true }, constructor: { prototype: { polluted: true } }, text: [[[[[[]]]]]] },
  JSON.parse(`${"[".repeat(100)}${"]".repeat(100)}`) as Json,
  null,
  1e308,
  "",
];

const NAMES = [`<img src=x onerror=alert(1)>`, `"><script>alert(1)</script>`, "javascript:alert(1)", "W".repeat(64), "[a](javascript:alert(1))"];

/** Everything in a note that could be more than text. */
async function suspicious(page: Page): Promise<readonly string[]> {
  return page.evaluate(() => {
    const found = [...document.querySelectorAll("article script, article iframe, article object, article embed, article style, article base, article meta, article link, article form[action], article svg[onload]")];
    const links = [...document.querySelectorAll<HTMLAnchorElement>("main a[href]")].filter(({ protocol }) => !["http:", "https:", "mailto:"].includes(protocol));
    const images = [...document.querySelectorAll<HTMLImageElement>("article img")].filter(({ src }) => !/^data:image\/(?:png|webp|jpeg)/u.test(src));
    const events = [...document.querySelectorAll("article *")].filter((element) => element.getAttributeNames().some((name) => name.startsWith("on")));
    const pwned = "pwned" in globalThis || "polluted" in {} ? ["something ran"] : [];
    return [...[...found, ...links, ...images, ...events].map((element) => element.outerHTML.slice(0, 200)), ...pwned];
  });
}

/** Elements that are wider than the screen, and pixels by which that can be scrolled. */
async function standsOut(page: Page): Promise<readonly string[]> {
  return page.evaluate(() =>
    [document.documentElement, document.querySelector("main"), document.querySelector("[role=feed]"), document.querySelector(".scroller")]
      .filter((element) => element !== null)
      .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
      .map(({ tagName, scrollWidth, clientWidth }) => `${tagName}: ${scrollWidth} of ${clientWidth} px`),
  );
}

test("hostile notes and names are shown as text, and nothing runs", async ({ world, visitors }) => {
  const node = await world.node();
  const { id } = await clientOf<Json>(world, node.url).createLedger(NAMES[1]!, { nickname: NAMES[0]! });
  const client = clientOf<Json>(world, node.url, id);
  const url = `${node.url}/#/${id}/talk`;
  const wide = await visitors.visit(url, DESKTOP);
  const narrow = await visitors.visit(url, PHONE);
  await Promise.all([opened(wide), opened(narrow)]);
  const all: readonly Json[] = [...TEXTS, ...TEXTS.slice(0, 10).map((text) => ({ type: "note", text })), ...DATA];
  for (const [number, data] of all.entries()) {
    const { id: entry } = await client.append(data);
    await client.append({ type: "reaction", of: entry, emoji: `<b onclick=alert(${number})>` });
    for (const page of [wide, narrow]) {
      const at = page.locator(`[data-entry="${entry}"]`);
      // What is about other notes is none itself.
      if (typeof data === "string" || data === null || typeof data === "number" || (data as { readonly of?: Json }).of === undefined) await at.waitFor();
      const all = at.getByRole("button", { name: /^Show all/ });
      if ((await all.count()) > 0) await all.click();
      const of = JSON.stringify(data).slice(0, 80);
      expect(await standsOut(page), of).toEqual([]);
      expect(await suspicious(page), of).toEqual([]);
      if ((await at.count()) > 0) expect(await at.innerText(), of).not.toMatch(UNSEEN);
    }
  }
  for (const name of NAMES) await client.setNickname(name);
  await note(wide, "took the name “[a](javascript").last().waitFor();
  // Each note as it is, wherever it is.
  for (const text of TEXTS.slice(0, 5)) {
    await wide.goto(`${node.url}/#/${id}/talk`);
    await write(wide, text);
    await wide.locator("article[data-entry]").last().getByText(text, { exact: true }).waitFor();
  }
  for (const page of [wide, narrow]) {
    for (const view of VIEWS) {
      await goTo(page, view);
      expect(await standsOut(page), view).toEqual([]);
      expect(await suspicious(page)).toEqual([]);
    }
    await goTo(page, "Talk");
    await page.keyboard.press("Control+k");
    await page.getByRole("searchbox").fill("script");
    await page.getByText("found, the newest first").waitFor();
    expect(await suspicious(page)).toEqual([]);
  }
});
