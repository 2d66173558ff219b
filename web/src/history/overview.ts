/** The strip below the lanes: the whole ledger as one row of bars, and which part of it is in view. */

import type { Told } from "./view.js";
import { xOf, type Span } from "./scale.js";

/** One bar of the strip. */
export interface Column {
  readonly x: number;
  readonly width: number;
  /** How high, of 1. */
  readonly share: number;
}

/** The bars of all lanes together. */
export function columns({ history, buckets }: Told, bounds: Span, width: number): readonly Column[] {
  const sums = new Map<number, number>();
  for (const lane of history.lanes) {
    for (const [index, , entries] of lane.buckets) sums.set(index, (sums.get(index) ?? 0) + entries);
  }
  const most = Math.max(1, ...sums.values());
  const length = (history.to - history.from + 1) / buckets;
  return [...sums].map(([index, entries]) => {
    const x = xOf(bounds, width, history.from + index * length);
    const to = xOf(bounds, width, history.from + (index + 1) * length);
    return { x, width: Math.max(1, to - x), share: Math.sqrt(entries / most) };
  });
}

/** One path of all bars in a strip so high: one element, however many there are. */
export function pathOf(bars: readonly Column[], height: number): string {
  const tall = (share: number): number => Math.max(1.5, share * height);
  return bars
    .map(({ x, width, share }) => `M${px(x)} ${height}v${px(-tall(share))}h${px(width)}v${px(tall(share))}z`)
    .join("");
}

function px(value: number): string {
  return value.toFixed(2);
}
