import { describe, expect, it } from "vitest";

import { highlight } from "./highlight.js";

/** Hits in brackets. */
const marked = (text: string, query: string): string => highlight(text, query).map(({ text, hit }) => (hit ? `[${text}]` : text)).join("");

describe("what was found", () => {
  it.each([
    ["The stones of Stonehenge", "stone", "The [stone]s of [Stone]henge"],
    ["limestone", "stone", "limestone"],
    ["a (b) c", "b) c", "a ([b]) [c]"],
    ["a.*b", ".*", "a.*b"],
    ["größe Größe", "größe", "[größe] [Größe]"],
    ["nothing", "", "nothing"],
  ])("%j, %j", (text, query, expected) => expect(marked(text, query)).toBe(expected));

  it("is shown with what stands around it", () => {
    const found = marked(`${"x ".repeat(500)}needle${" y".repeat(500)}`, "needle");
    expect(found).toContain("[needle]");
    expect(found.length).toBeLessThan(260);
    expect(found.startsWith("…") && found.endsWith("…")).toBe(true);
  });
});
