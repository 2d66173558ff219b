/** Entries for tests. */

import type { DataEntry, Entry, EntryHeader, Json } from "@cairn/client";

export const IDA = "a".repeat(64);
export const EVE = "e".repeat(64);

/** The header of a node's entry. `at` in seconds since noon of a day in June. */
export function header(author: string, height: number, at = height): EntryHeader {
  return {
    id: `${author}-${height}-0`,
    timestamp: new Date(Date.UTC(2026, 5, 10, 12) + at * 1000).toISOString(),
    previous_hash: "00",
    hash: "00",
    creator_node_id: author,
    signatures: {},
    height,
    index: 0,
    parents: [],
  };
}

export function wrote(author: string, height: number, data: Json, at = height): DataEntry<Json> {
  return { ...header(author, height, at), kind: "data", data };
}

/** Notes of Ida from one height up to before another. */
export function notes(from: number, to: number): readonly Entry<Json>[] {
  return Array.from({ length: to - from }, (_, index) => wrote(IDA, from + index, { type: "note", text: `note ${from + index}` }));
}
