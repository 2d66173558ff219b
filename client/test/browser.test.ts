import { build } from "esbuild";
import { expect, test } from "vitest";

test("the client bundles for browsers, and needs nothing of Node.js there", async () => {
  const { outputFiles, warnings } = await build({
    absWorkingDir: new URL("..", import.meta.url).pathname,
    bundle: true,
    entryPoints: ["src/index.ts"],
    format: "esm",
    logLevel: "silent",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  expect(warnings).toEqual([]);
  expect(outputFiles[0]!.text).not.toMatch(/\bfrom "|\brequire\("/);
});
