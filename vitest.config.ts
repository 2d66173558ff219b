/**
 * All TypeScript tests: `unit` needs only Node.js, `edges` and `system` the built node and the built relay, `page` also the
 * built page and Chromium.
 */

import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      {
        // What the page is built from, so that its tests need no build of the client.
        resolve: { alias: { "@cairn/client": fileURLToPath(new URL("client/src/index.ts", import.meta.url)) } },
        test: {
          name: "unit",
          include: ["client/src/**/*.test.ts", "client/test/**/*.test.ts", "web/src/**/*.test.ts", "test/*.test.ts"],
        },
      },
      {
        test: {
          name: "edges",
          // What one process does with what comes from outside; mostly it is waited for deadlines.
          include: ["client/wasm/test/**/*.test.ts", "node/tests/**/*.test.ts", "relay-worker/test/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "system",
          include: ["test/e2e/**/*.test.ts"],
          // Every file starts real processes and measures time: one after the other, or they measure one another.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "page",
          include: ["test/page/**/*.test.ts"],
          // Browsers measure one another as well.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
