/** The part of the ledger that the page has read: one unbroken stretch of it, in ledger order. */

import type { Entry, Json } from "@cairn/client";

export interface Timeline {
  readonly entries: readonly Entry<Json>[];
}

export type TimelineEvent = { readonly type: "never" };

export function emptyTimeline(): Timeline {
  return { entries: [] };
}

export function reduceTimeline(timeline: Timeline, _event: TimelineEvent): Timeline {
  return timeline;
}
