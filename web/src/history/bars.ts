/** How much was written when, as bars: what is seen of the past where single blocks would be too many. */

import type { History } from "@cairn/client";

import { clipped, lengthOf, xOf, type Span } from "./scale.js";

/** One bar of a lane. */
export interface Bar {
  readonly lane: string;
  /** px from the left edge. */
  readonly x: number;
  readonly width: number;
  /** How high, of 1: by the root of the number of entries, so that one entry is seen beside ten thousand. */
  readonly share: number;
  readonly blocks: number;
  readonly entries: number;
  /** The span of its bucket. */
  readonly from: number;
  readonly to: number;
}

/** An answer to draw bars of. */
export interface Source {
  readonly history: History;
  /** Into how many parts its span is divided: empty ones are left out of the answer. */
  readonly buckets: number;
  /** Where something else is drawn instead. */
  readonly without: Span | null;
}

/** The span of one bucket. */
export function bucketSpan(history: History, buckets: number, index: number): Span {
  // The last µs belongs to the span.
  const length = (lengthOf(history) + 1) / buckets;
  return { from: history.from + index * length, to: history.from + (index + 1) * length };
}

/** The bars that are in view, of some lanes. */
export function bars(
  sources: readonly Source[],
  span: Span,
  width: number,
  lanes: ReadonlySet<string>,
): readonly Bar[] {
  const found: Omit<Bar, "share">[] = [];
  for (const { history, buckets, without } of sources) {
    for (const lane of history.lanes) {
      if (!lanes.has(lane.author)) continue;
      for (const [index, blocks, entries] of lane.buckets) {
        const bucket = bucketSpan(history, buckets, index);
        const seen = clipped(bucket, span);
        if (seen.to <= seen.from || (without !== null && covered(bucket, without))) continue;
        const x = xOf(span, width, bucket.from);
        found.push({ lane: lane.author, x, width: xOf(span, width, bucket.to) - x, blocks, entries, ...bucket });
      }
    }
  }
  // Buckets of different lengths are compared by how much is written in a time.
  const density = (bar: Omit<Bar, "share">): number => bar.entries / Math.max(1, bar.to - bar.from);
  const most = found.reduce((max, bar) => Math.max(max, density(bar)), 0);
  return found.map((bar) => ({ ...bar, share: Math.sqrt(density(bar) / most) }));
}

/** How many blocks and entries were there at a moment, and of how many people. */
export interface Counts {
  readonly blocks: number;
  readonly entries: number;
  readonly people: number;
}

/** Counts of a whole answer. */
export function countsOf(history: History): Counts {
  let [blocks, entries] = [0, 0];
  for (const lane of history.lanes) {
    for (const [, inBucket, entriesInBucket] of lane.buckets) {
      blocks += inBucket;
      entries += entriesInBucket;
    }
  }
  return { blocks, entries, people: history.lanes.length };
}

/** Half of a bucket or more lies where others tell more. */
function covered(bucket: Span, by: Span): boolean {
  const inside = clipped(bucket, by);
  return inside.to - inside.from >= lengthOf(bucket) / 2;
}
