/** What the documentation says about the code. */

import { existsSync, readFileSync } from "node:fs";

import { expect, test } from "vitest";

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");

test("every row of the threat model names tests that are there", () => {
  const section = read("docs/SECURITY.md").split("## The table")[1] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| "));
  const [, , ...attacks] = rows.map((row) => row.split(" | ").at(-1) ?? "");
  expect(attacks.length).toBeGreaterThan(15);
  for (const [n, cell] of attacks.entries()) {
    // `file`: `name`, `name`; `file`: `name`.
    const named = [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
    let text: string | undefined;
    let names = 0;
    for (const word of named) {
      if (existsSync(new URL(`../${word}`, import.meta.url))) text = read(word);
      else {
        expect(text?.includes(word), `row ${n + 1}: ${word} is in none of ${cell}`).toBe(true);
        names += 1;
      }
    }
    expect(names, `row ${n + 1} names no test: ${cell}`).toBeGreaterThan(0);
  }
});
