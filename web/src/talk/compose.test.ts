import { describe, expect, it } from "vitest";

import { excess, payloadOf, PAYLOAD, roomFor } from "./compose.js";
import { parseDraft } from "./draft.js";
import { parseContent } from "./payload.js";

const written = { text: "", replyTo: null, image: null, editing: null };

describe("what is sent", () => {
  it("is nothing where nothing was written", () => {
    expect(payloadOf(written)).toBeUndefined();
    expect(payloadOf({ ...written, text: " \n\t " })).toBeUndefined();
  });

  it("is a note, a reply, a picture or an edit", () => {
    expect(payloadOf({ ...written, text: "\n  code\n\n" })).toEqual({ type: "note", text: "  code" });
    expect(payloadOf({ ...written, text: "a", replyTo: "x-1-0" })).toEqual({ type: "note", text: "a", reply_to: "x-1-0" });
    expect(payloadOf({ ...written, image: "data:image/webp;base64,AA==" })).toEqual({ type: "note", text: "", image: "data:image/webp;base64,AA==" });
    expect(payloadOf({ ...written, text: "b", replyTo: "x-1-0", editing: "y-1-0" })).toEqual({ type: "edit", of: "y-1-0", text: "b" });
  });

  it("stays below what a node takes", () => {
    expect(excess({ type: "note", text: "short" })).toBe(0);
    expect(excess({ type: "note", text: "é".repeat(PAYLOAD / 2) })).toBeGreaterThan(0);
    const text = "beside it";
    const image = `data:image/webp;base64,${"A".repeat(roomFor(text) - 23)}`;
    expect(excess({ type: "note", text, image })).toBe(0);
  });
});

describe("what others send", () => {
  it.each([
    ["hello", { type: "note", text: "hello" }],
    [{ text: "hello" }, { type: "note", text: "hello" }],
    [{ message: "hello" }, { type: "note", text: "hello" }],
    [{ type: "note", text: "a", reply_to: "x", key: "k", more: 1 }, { type: "note", text: "a", reply_to: "x", key: "k" }],
    [{ type: "note", text: "a", image: "data:image/svg+xml;base64,AAAA" }, { type: "note", text: "a" }],
    [{ type: "note", text: "a", image: "https://tracker.example/x.png" }, { type: "note", text: "a" }],
    [{ type: "note", text: "a", image: "data:image/png;base64,AAAA" }, { type: "note", text: "a", image: "data:image/png;base64,AAAA" }],
    [{ type: "reaction", of: "x", emoji: "🌱", off: true }, { type: "reaction", of: "x", emoji: "🌱", off: true }],
    [{ type: "removal", of: "x" }, { type: "removal", of: "x" }],
  ])("%j", (json, content) => expect(parseContent(json)).toEqual(content));

  it.each([42, true, [1, 2], {}, { text: 1 }, { text: "a", more: 1 }, { type: "edit", text: "of nothing" }, { type: "reaction", of: "x", emoji: "x".repeat(65) }, { type: "other" }])(
    "%j is shown whole",
    (json) => expect(parseContent(json)).toEqual({ type: "other", json }),
  );
});

describe("a draft", () => {
  it("is what was kept, or empty where that is none", () => {
    expect(parseDraft('{"text":"a","replyTo":"x"}')).toEqual({ text: "a", replyTo: "x" });
    for (const kept of [null, "", "{", "[]", "3", '{"text":1}', "null"]) expect(parseDraft(kept)).toEqual({ text: "", replyTo: null });
  });
});
