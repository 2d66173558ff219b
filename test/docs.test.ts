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
    // `file`: `name`, and further names of the same file.
    const [file, ...names] = [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
    expect(names, `row ${n + 1} names no test: ${cell}`).not.toEqual([]);
    expect(existsSync(new URL(`../${file}`, import.meta.url)), `row ${n + 1}: there is no ${file}`).toBe(true);
    const text = read(file ?? "");
    for (const name of names) expect(text.includes(name), `row ${n + 1}: ${file} has no ${name}`).toBe(true);
  }
});
