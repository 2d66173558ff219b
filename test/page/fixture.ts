/** `test` with a world and visitors of its pages. Whatever a page does that none may fails every test. */

import { expect } from "vitest";

import { test as base } from "../e2e/fixture.js";
import { Visitors } from "./browser.js";

/** Like vitest's `test`, with `{ world, visitors }`. */
export const test = base.extend<{ visitors: Visitors }>({
  visitors: async ({ onTestFailed }, use) => {
    const visitors = await Visitors.arrive();
    onTestFailed(() => {
      if (visitors.faults.length > 0) console.error(`pages did what none may:\n${visitors.faults.join("\n")}`);
    });
    try {
      await use(visitors);
      expect(visitors.faults).toEqual([]);
    } finally {
      await visitors.leave();
    }
  },
});
