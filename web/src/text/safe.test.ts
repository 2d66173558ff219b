import { describe, expect, it } from "vitest";

import { contentSafe, nameSafe } from "./safe.js";

describe("a name", () => {
  it.each([
    ["Ida", "Ida"],
    ["  Ida \n of   the hill ", "Ida of the hill"],
    ["I\u200Bda", "Ida"],
    ["I\u200Dda", "Ida"],
    ["\u202Eadi", "adi"],
    ["\u2067x\u2069", "x"],
    ["\u0007\u0000", ""],
    ["👩‍👩‍👧", "👩‍👩‍👧"],
    ["می‌خواهم", "می‌خواهم"],
    ["عائشة", "عائشة"],
    ["🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
    ["a\u{E0041}b", "ab"],
    [`o${"\u0301".repeat(500)}`, `o${"\u0301".repeat(4)}`],
    ["x".repeat(5000), "x".repeat(48)],
  ])("%j is shown as %j", (name, shown) => expect(nameSafe(name)).toBe(shown));
});

describe("content", () => {
  it("shows what is invisible", () => {
    expect(contentSafe("pay \u202Eeve\u202C now")).toBe("pay ⟨U+202E⟩eve⟨U+202C⟩ now");
    expect(contentSafe("a\u200Bb\u00ADc")).toBe("a⟨U+200B⟩b⟨U+00AD⟩c");
  });

  it("keeps lines, tabs, emoji and scripts", () => {
    expect(contentSafe("a\r\nb\tc\rd")).toBe("a\nb\tc\nd");
    expect(contentSafe("👨‍👩‍👦 ❤️ नमस्ते क्‍ष")).toBe("👨‍👩‍👦 ❤️ नमस्ते क्‍ष");
  });
});
