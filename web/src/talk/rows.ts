/** How an entry stands among its neighbours: what is said once for several notes, and what divides them. */

import type { Chunks } from "../state/chunks.js";
import type { Item } from "../state/timeline.js";

export interface Setting {
  /** The first of a day, in the zone of whoever looks. */
  readonly day: boolean;
  /** The first of those that were not read. */
  readonly unread: boolean;
  /** Whether it says who wrote it: the first of those that one person wrote within a short time. */
  readonly head: boolean;
}

/** ms between two notes of one person that stand together. */
const TOGETHER = 5 * 60_000;

export function settingOf(items: Chunks<Item>, place: number, unreadFrom: string | undefined): Setting {
  const item = items.at(place)!;
  const before = shownBefore(items, place);
  const day = before === undefined || dayOf(item) !== dayOf(before);
  const unread = item.entry.id === unreadFrom;
  return { day, unread, head: day || unread || !together(before!, item) };
}

/** What stands above an item. What is not shown in between divides nothing. */
function shownBefore(items: Chunks<Item>, place: number): Item | undefined {
  for (let above = place - 1; above >= 0; above -= 1) {
    const item = items.at(above)!;
    if (item.shown) return item;
  }
  return undefined;
}

function together(before: Item, item: Item): boolean {
  if (before.entry.kind !== "data" || item.entry.kind !== "data") return false;
  if (before.entry.creator_node_id !== item.entry.creator_node_id) return false;
  // A reply says first to what.
  if (item.content?.type === "note" && item.content.reply_to !== undefined) return false;
  const apart = Date.parse(item.entry.timestamp) - Date.parse(before.entry.timestamp);
  return apart >= 0 && apart < TOGETHER;
}

function dayOf({ entry }: Item): string {
  return new Date(entry.timestamp).toDateString();
}
