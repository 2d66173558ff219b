/** The part of the ledger that the page has read: one unbroken stretch of it, in ledger order. */

import type { EmptyEntry, Entry, EntryErased, Json } from "@cairn/client";

import { parseContent, type Content, type Edit, type Reaction, type Removal } from "../talk/payload.js";
import { Chunks } from "./chunks.js";
import type { Event } from "./event.js";
import { IndexMap } from "./index-map.js";

/** An entry, read once. */
export interface Item {
  readonly entry: Entry<Json>;
  /** What people wrote; `null` where the page has not got it, and for entries by which a ledger is run. */
  readonly content: Content | null;
  /** Whether it is a row of the conversation. */
  readonly shown: boolean;
}

/** What an entry says about another one. */
export interface Remark {
  readonly id: string;
  readonly author: string;
  readonly height: number;
  readonly index: number;
  readonly at: string;
  readonly content: Edit | Reaction | Removal;
}

/** Where what was not read yet begins. */
export interface Unread {
  readonly from: string;
  readonly count: number;
  /** Whether there are more than were counted. */
  readonly more: boolean;
}

export interface Timeline {
  readonly items: Chunks<Item>;
  /** The place of the first item. Older ones get lower places, so an item keeps its own while the stretch grows. */
  readonly base: number;
  /** Another number: another stretch, in which places mean something else. */
  readonly generation: number;
  /** Whether the stretch has been read at all. */
  readonly read: boolean;
  /** Whether it begins where the ledger does, and ends where it does. */
  readonly atStart: boolean;
  readonly atEnd: boolean;
  /** The items of the stretch by their ids. */
  readonly known: IndexMap<Item>;
  /** Entries from elsewhere in the ledger that something in it refers to. `null`: the node does not have it. */
  readonly strays: IndexMap<Item | null>;
  /** What was said about entries, by their ids. In no order: who reads them sorts them as their authors wrote them. */
  readonly remarks: IndexMap<readonly Remark[]>;
  /** How many other devices hold an entry, as far as the node told. */
  readonly held: IndexMap<number>;
  readonly unread: Unread | null;
  /** What somebody jumped to. A new value for every jump, also to the same entry. */
  readonly focus: { readonly entry: string } | null;
}

export type TimelineEvent =
  /** Another stretch. */
  | { readonly type: "fresh"; readonly entries: readonly Entry<Json>[]; readonly start: boolean; readonly end: boolean }
  /** What stands before the stretch. */
  | { readonly type: "older"; readonly entries: readonly Entry<Json>[]; readonly start: boolean }
  /** What stands behind it. */
  | { readonly type: "newer"; readonly entries: readonly Entry<Json>[]; readonly end: boolean }
  /** The node got them just now. */
  | { readonly type: "arrived"; readonly entries: readonly Entry<Json>[] }
  /** All that follows an entry of the stretch, read again. */
  | { readonly type: "reread"; readonly after: string; readonly entries: readonly Entry<Json>[] }
  | { readonly type: "erased"; readonly erased: EntryErased }
  /** One entry, asked for by itself. */
  | { readonly type: "found"; readonly id: string; readonly entry: Entry<Json> | null }
  | { readonly type: "held"; readonly ids: readonly string[]; readonly by: number }
  | { readonly type: "unread"; readonly unread: Unread | null }
  | { readonly type: "focused"; readonly entry: string | null };

export function emptyTimeline(): Timeline {
  return {
    items: Chunks.of<Item>([]),
    base: 0,
    generation: 0,
    read: false,
    atStart: false,
    atEnd: false,
    known: IndexMap.empty(),
    strays: IndexMap.empty(),
    remarks: IndexMap.empty(),
    held: IndexMap.empty(),
    unread: null,
    focus: null,
  };
}

export function reduceTimeline(timeline: Timeline, event: Event): Timeline {
  switch (event.type) {
    case "fresh":
      return fresh(timeline, event.entries, event.start, event.end);
    case "older": {
      const items = unknown(timeline, event.entries);
      const grown = { items: timeline.items.prepend(items), base: timeline.base - items.length, atStart: event.start };
      return { ...learn(timeline, items), ...grown };
    }
    case "newer":
      return { ...append(timeline, event.entries), atEnd: event.end };
    case "arrived":
      // What arrives while the stretch ends earlier is read in its turn; only what it says about others holds already.
      return timeline.atEnd ? append(timeline, event.entries) : { ...timeline, remarks: remember(timeline.remarks, event.entries.map(itemOf)) };
    case "reread":
      return reread(timeline, event.after, event.entries);
    case "erased":
      return erase(timeline, event.erased);
    case "found":
      return found(timeline, event.id, event.entry);
    case "held":
      return { ...timeline, held: timeline.held.with(event.ids.map((id) => [id, event.by] as const)) };
    case "unread":
      return { ...timeline, unread: event.unread };
    case "focused":
      return { ...timeline, focus: event.entry === null ? null : { entry: event.entry } };
    default:
      return timeline;
  }
}

/** An entry of the stretch, or one that was read by itself. */
export function lookUp(timeline: Timeline, id: string): Item | null | undefined {
  return timeline.known.get(id) ?? timeline.strays.get(id);
}

/** The index of an entry in the stretch; -1 if it is not in it. */
export function indexOf(timeline: Timeline, id: string): number {
  return timeline.known.has(id) ? timeline.items.findLast(({ entry }) => entry.id === id) : -1;
}

/** Whether it is something that people want to be told of: what somebody else wrote. */
export function isNews({ entry, shown }: Item, mine: string | undefined): boolean {
  return shown && entry.kind === "data" && entry.creator_node_id !== mine;
}

export function itemOf(entry: Entry<Json>): Item {
  const content = entry.kind === "data" && entry.data !== null ? parseContent(entry.data) : null;
  return { entry, content, shown: shownOf(entry, content) };
}

function shownOf(entry: Entry<Json>, content: Content | null): boolean {
  if (entry.kind === "data") return content === null || content.type === "note" || content.type === "other";
  // Vouchers say nothing to people, and a new key nothing that they do not learn from the line before it.
  return entry.kind !== "voucher" && entry.kind !== "rekey" && !/^\d+$/u.test(entry.kind);
}

function fresh(timeline: Timeline, entries: readonly Entry<Json>[], start: boolean, end: boolean): Timeline {
  // Remarks stay: they hold wherever one reads, and the new stretch may end before them.
  const bare = { ...timeline, known: IndexMap.empty<Item>(), generation: timeline.generation + 1, base: 0, read: true };
  const items = unknown(bare, entries);
  return { ...learn(bare, items), items: Chunks.of(items), atStart: start, atEnd: end };
}

function append(timeline: Timeline, entries: readonly Entry<Json>[]): Timeline {
  const items = unknown(timeline, entries);
  return items.length === 0 ? timeline : { ...learn(timeline, items), items: timeline.items.append(items) };
}

function reread(timeline: Timeline, after: string, entries: readonly Entry<Json>[]): Timeline {
  const place = indexOf(timeline, after);
  if (place < 0) return timeline;
  const dropped = [...timeline.items.from(place + 1)];
  const kept: Timeline = {
    ...timeline,
    items: timeline.items.take(place + 1),
    known: timeline.known.with(dropped.map(({ entry }) => [entry.id, undefined] as const)),
    remarks: forget(timeline.remarks, dropped),
  };
  return { ...append(kept, entries), atEnd: true };
}

function found(timeline: Timeline, id: string, entry: Entry<Json> | null): Timeline {
  const item = entry === null ? null : itemOf(entry);
  const place = indexOf(timeline, id);
  if (place < 0 || item === null) return { ...timeline, strays: timeline.strays.with([[id, item]]) };
  return { ...timeline, items: timeline.items.replace(place, item), known: timeline.known.with([[id, item]]) };
}

function erase(timeline: Timeline, { id, by, at }: EntryErased): Timeline {
  const item = lookUp(timeline, id);
  if (item === undefined || item === null || item.entry.kind !== "data") return timeline;
  const { timestamp, previous_hash, hash, creator_node_id, signatures, height, index, parents } = item.entry;
  const header = { id, timestamp, previous_hash, hash, creator_node_id, signatures, height, index, parents };
  // Which entry erased it is told when it is read again.
  const entry: EmptyEntry = { ...header, kind: "data", data: null, erased: { by, at, entry: "" } };
  return found({ ...timeline, remarks: forget(timeline.remarks, [item]) }, id, entry);
}

/** What is not in the stretch yet, each once. */
function unknown(timeline: Timeline, entries: readonly Entry<Json>[]): readonly Item[] {
  const seen = new Set<string>();
  return entries.filter(({ id }) => !timeline.known.has(id) && !seen.has(id) && seen.add(id)).map(itemOf);
}

function learn(timeline: Timeline, items: readonly Item[]): Timeline {
  return {
    ...timeline,
    known: timeline.known.with(items.map((item) => [item.entry.id, item] as const)),
    remarks: remember(timeline.remarks, items),
  };
}

function remember(remarks: IndexMap<readonly Remark[]>, items: readonly Item[]): IndexMap<readonly Remark[]> {
  const changes = new Map<string, readonly Remark[]>();
  for (const item of items) {
    const remark = remarkOf(item);
    if (remark === undefined) continue;
    const { of } = remark.content;
    const before = changes.get(of) ?? remarks.get(of) ?? [];
    if (!before.some(({ id }) => id === remark.id)) changes.set(of, [...before, remark]);
  }
  return remarks.with(changes);
}

function forget(remarks: IndexMap<readonly Remark[]>, items: readonly Item[]): IndexMap<readonly Remark[]> {
  const changes = new Map<string, readonly Remark[]>();
  for (const item of items) {
    const remark = remarkOf(item);
    if (remark === undefined) continue;
    const { of } = remark.content;
    changes.set(of, (changes.get(of) ?? remarks.get(of) ?? []).filter(({ id }) => id !== remark.id));
  }
  return remarks.with(changes);
}

/** What an entry says about another one, if that is what it does. */
export function remarkOf({ entry, content }: Item): Remark | undefined {
  if (content === null || content.type === "note" || content.type === "other") return undefined;
  const { id, creator_node_id: author, height, index, timestamp: at } = entry;
  return { id, author, height, index, at, content };
}
