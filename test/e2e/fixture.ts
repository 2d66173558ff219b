/** `test` with a world of its own for each test; the output of all its processes is shown when the test fails. */

import { test as base } from "vitest";

import { World } from "./harness.js";

/** Like vitest's `test`, with `{ world }`. */
export const test = base.extend<{ world: World }>({
  world: async ({ onTestFailed }, use) => {
    const world = new World();
    onTestFailed(() => console.error(world.output()));
    await use(world);
    await world.close();
  },
});
