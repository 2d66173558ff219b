/**
 * `test` with a world of its own for each test; the output of all its processes is shown when the test fails.
 *
 * What is about content and its ways runs over a group's ledger, by `privateTest`, with the check that nobody else reads any
 * of it. To see whether a failure has to do with groups at all, run it over an open ledger: `CAIRN_E2E=open npx vitest …`.
 */

import { test as base } from "vitest";

import { Canary } from "./canary.js";
import { World } from "./harness.js";
import { PrivateWorld } from "./private.js";

function worlds<W extends World>(make: () => W, check: (world: W) => Promise<void> = async () => {}) {
  return base.extend<{ world: W }>({
    world: async ({ onTestFailed }, use) => {
      const world = make();
      onTestFailed(() => console.error(world.output()));
      try {
        await use(world);
        await check(world);
      } finally {
        await world.close();
      }
    },
  });
}

/** Like vitest's `test`, with `{ world }`. */
export const test = worlds(() => new World());

/** The same in a world that is watched. */
export const watchedTest = worlds(() => new World(new Canary()));

/** The same in a private world, watched and checked. */
export const privateTest =
  process.env["CAIRN_E2E"] === "open"
    ? test
    : worlds<World>(
        () => new PrivateWorld(),
        (world) => (world as PrivateWorld).check(),
      );
