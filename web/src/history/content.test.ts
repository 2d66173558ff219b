import type { Entry, Json } from "@cairn/client";
import { expect, test } from "vitest";

import { contentOf } from "./content.js";

const name = (node: string): string => node.toUpperCase();

function said(entry: object): string {
  const { what, text, state } = contentOf(entry as Entry<Json>, name);
  return `${what} | ${text} | ${state}`;
}

test("notes of every form are shown as what was written", () => {
  for (const data of ["hello", { text: "hello" }, { message: "hello" }, { type: "note", text: "hello" }]) {
    expect(said({ kind: "data", data })).toBe("note | hello | whole");
  }
  expect(said({ kind: "data", data: { degrees: 7 } })).toBe('note | {"degrees":7} | whole');
  expect(said({ kind: "data", data: { type: "edit", of: "x", text: "hi" } })).toBe("edit | hi | whole");
  expect(said({ kind: "data", data: { type: 7, text: { a: 1 } } })).toBe('note | {"type":7,"text":{"a":1}} | whole');
});

test("what is gone says so, and who did it", () => {
  expect(said({ kind: "data", data: null, erased: { by: "ida", at: "", entry: "" } })).toBe(
    "note | Erased by IDA. Nobody keeps what was in it. | erased",
  );
  expect(said({ kind: "data", data: null, withheld: true })).toContain("| withheld");
  expect(said({ kind: "nickname", data: null, sealed: true, payload_hex: "00" })).toContain("| sealed");
});

test("control entries are said in words, those that are none are empty or raw", () => {
  expect(said({ kind: "remove", data: { member: "bo", height: 4 } })).toContain("BO is out");
  expect(said({ kind: "evidence", data: { author: "bo", height: 4, blocks: [] } })).toContain("BO signed two blocks of height 4");
  expect(said({ kind: "invite", data: null })).toBe("invite |  | whole");
  expect(said({ kind: "77", data: { a: 1 } })).toBe('kind 77 | {"a":1} | whole');
});

test("a text of a megabyte is shortened", () => {
  expect(contentOf({ kind: "data", data: "a".repeat(1e6) } as Entry<Json>, name).text.length).toBeLessThan(700);
});
