/** Time as a place on the screen: spans of time, how they are zoomed and moved, and where a moment is drawn. */

/** A part of the past, µs since 1970, both ends included. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** µs of the shortest span that is shown: enough to tell blocks apart that were written one right behind the other. */
export const SHORTEST = 2_000;
/** The share of the ledger's own span that is left free at each end, so that the first and the last block are drawn whole. */
const MARGIN = 0.04;
/** µs that are left free at each end at least: a ledger of one block has a span of its own, too. */
const LEAST_MARGIN = 500_000;

/** µs from one end to the other. */
export function lengthOf({ from, to }: Span): number {
  return to - from;
}

/** Where a moment is drawn, in px from the left edge. */
export function xOf(span: Span, width: number, time: number): number {
  return ((time - span.from) / lengthOf(span)) * width;
}

/** The moment that is drawn at a place, in whole µs. */
export function timeAt(span: Span, width: number, x: number): number {
  return Math.round(span.from + (x / width) * lengthOf(span));
}

/** The span of a ledger with its margins. */
export function withMargins({ from, to }: Span): Span {
  const margin = Math.max(LEAST_MARGIN, Math.round((to - from) * MARGIN));
  return { from: Math.max(0, from - margin), to: to + margin };
}

/** A span `factor` times as long, in which the moment `at` stays where it is drawn. */
export function zoomed(span: Span, factor: number, at: number, bounds: Span): Span {
  const longest = lengthOf(bounds);
  const length = Math.min(longest, Math.max(SHORTEST, lengthOf(span) * factor));
  const share = (at - span.from) / lengthOf(span);
  return placed(at - share * length, length, bounds);
}

/** A span of the same length, later by a share of that. */
export function panned(span: Span, share: number, bounds: Span): Span {
  return placed(span.from + share * lengthOf(span), lengthOf(span), bounds);
}

/** A span of some length around a moment. */
export function around(time: number, length: number, bounds: Span): Span {
  const fitting = Math.min(lengthOf(bounds), Math.max(SHORTEST, length));
  return placed(time - fitting / 2, fitting, bounds);
}

/** Whether one span lies in another. */
export function covers(outer: Span, inner: Span): boolean {
  return outer.from <= inner.from && outer.to >= inner.to;
}

/** The part of a span that lies in another; it may be empty, and then its end is before its beginning. */
export function clipped(span: Span, to: Span): Span {
  return { from: Math.max(span.from, to.from), to: Math.min(span.to, to.to) };
}

function placed(from: number, length: number, bounds: Span): Span {
  const first = Math.round(Math.min(Math.max(from, bounds.from), bounds.to - length));
  return { from: first, to: first + Math.round(length) };
}
