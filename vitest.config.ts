/** All TypeScript tests: `unit` needs only Node.js, `system` the built node and the built relay. */

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["client/src/**/*.test.ts", "client/test/**/*.test.ts", "test/*.test.ts"],
        },
      },
      {
        test: {
          name: "system",
          include: [
            "client/wasm/test/**/*.test.ts",
            "node/tests/**/*.test.ts",
            "relay-worker/test/**/*.test.ts",
            "test/e2e/**/*.test.ts",
          ],
          // Every file starts real processes and measures time: one after the other, or they measure one another.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
