/** What of the past is in view: one state, one function that takes an event and gives the next state. */

import type { History, HistoryBlock, HistoryRequest } from "@cairn/client";

import { bucketSpan } from "./bars.js";
import { GROUPS, type Group } from "./kinds.js";
import { around, clipped, covers, lengthOf, panned, withMargins, zoomed, type Span } from "./scale.js";

/** What the node told. */
export interface Told {
  readonly history: History;
  /** Into how many parts it was asked to divide the span: empty ones are left out of its answer. */
  readonly buckets: number;
}

/** The viewer's state. */
export interface View {
  /** The whole ledger, coarsely; `null` until the node has told it. */
  readonly whole: Told | null;
  /** A part of it more finely, around what was in view when it was asked for. */
  readonly part: Told | null;
  /** The whole ledger's span, with margins; `null` while the ledger is empty. */
  readonly bounds: Span | null;
  /** What is in view. */
  readonly span: Span | null;
  /** px that the time has. */
  readonly width: number;
  /** Whoever wrote, in the order in which they began. A lane keeps its place for as long as the page is open. */
  readonly lanes: readonly string[];
  /** Whose lanes are left out. */
  readonly hidden: ReadonlySet<string>;
  /** Which groups of kinds are shown in full. */
  readonly groups: ReadonlySet<Group>;
  /** The ledger is shown as it was then; `null`: as it is. */
  readonly asOf: number | null;
  /** The hash of the block that the keyboard is at. */
  readonly focus: string | null;
  /** The block whose panel is open. */
  readonly open: HistoryBlock | null;
  /** Why the last request failed. */
  readonly failure: string | null;
}

/** Which way the keyboard goes from block to block. */
export type Direction = "earlier" | "later" | "up" | "down";

/** What happens to the viewer. */
export type ViewEvent =
  | { readonly type: "whole"; readonly told: Told }
  | { readonly type: "part"; readonly told: Told }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "resized"; readonly width: number }
  | { readonly type: "zoomed"; readonly factor: number; /** Around which moment; the middle if not given. */ readonly at?: number }
  | { readonly type: "panned"; /** By which share of what is in view. */ readonly share: number }
  | { readonly type: "shown"; readonly span: Span }
  | { readonly type: "centred"; readonly time: number; readonly length: number }
  | { readonly type: "fitted" }
  | { readonly type: "ended"; readonly end: "first" | "last" }
  | { readonly type: "scrubbed"; readonly to: number | null }
  | { readonly type: "laneToggled"; readonly lane: string }
  | { readonly type: "laneAlone"; readonly lane: string }
  | { readonly type: "lanesShown" }
  | { readonly type: "groupToggled"; readonly group: Group }
  | { readonly type: "stepped"; readonly direction: Direction }
  | { readonly type: "focused"; readonly hash: string | null }
  | { readonly type: "opened"; readonly block: HistoryBlock }
  | { readonly type: "closed" };

/** Before anything is known. */
export const EMPTY: View = {
  whole: null,
  part: null,
  bounds: null,
  span: null,
  width: 0,
  lanes: [],
  hidden: new Set(),
  groups: new Set(GROUPS),
  asOf: null,
  focus: null,
  open: null,
  failure: null,
};

/** px of a bucket, on average. */
const BUCKET_WIDTH = 4;
/** Buckets that a node gives at most. */
const MOST_BUCKETS = 2_000;
/** Up to how many blocks are asked for one by one: as many as a node gives. */
const DETAIL = 2_000;
/** How many spans a part is long: what is in view, and one half of that at each side. */
const PART = 2;

/** The state after an event. */
export function reduce(view: View, event: ViewEvent): View {
  switch (event.type) {
    case "whole":
      return withWhole(view, event.told);
    case "part":
      return { ...view, part: event.told, lanes: withLanes(view.lanes, event.told.history), failure: null };
    case "failed":
      return { ...view, failure: event.message };
    case "resized":
      return event.width === view.width ? view : { ...view, width: event.width };
    case "scrubbed":
      return { ...view, asOf: scrubbed(view, event.to) };
    case "laneToggled":
      return { ...view, hidden: toggled(view.hidden, event.lane) };
    case "laneAlone":
      return { ...view, hidden: new Set(view.lanes.filter((lane) => lane !== event.lane)) };
    case "lanesShown":
      return { ...view, hidden: new Set() };
    case "groupToggled":
      return { ...view, groups: toggled(view.groups, event.group) };
    case "stepped":
      return stepped(view, event.direction);
    case "focused":
      return { ...view, focus: event.hash };
    case "opened":
      return { ...view, open: event.block, focus: event.block.hash };
    case "closed":
      return { ...view, open: null };
    default:
      return moved(view, event);
  }
}

/** What to ask the node for; `null`: what is there will do. */
export function wanted(view: View): HistoryRequest | null {
  const { whole, part, bounds, span, width } = view;
  if (whole === null) return { buckets: bucketsFor(width || 1_000), detail: DETAIL };
  if (bounds === null || span === null || width === 0) return null;
  // A ledger that came whole, block for block, has nothing finer.
  if (whole.history.blocks !== null) return null;
  const ledger = { from: whole.history.from, to: whole.history.to };
  const inView = clipped(span, ledger);
  if (inView.to < inView.from) return null;
  if (part !== null && suffices(part, inView, lengthOf(span))) return null;
  // The node takes whole µs.
  const around = Math.ceil(lengthOf(span) * ((PART - 1) / 2));
  const asked = clipped({ from: span.from - around, to: span.to + around }, ledger);
  return { ...asked, buckets: bucketsFor((lengthOf(asked) / lengthOf(span)) * width), detail: DETAIL };
}

/** The blocks that are known one by one, in ledger order, of the lanes that are shown. */
export function blocksOf(view: View): readonly HistoryBlock[] {
  const blocks = view.whole?.history.blocks ?? view.part?.history.blocks ?? [];
  return view.hidden.size === 0 ? blocks : blocks.filter(({ author }) => !view.hidden.has(author));
}

/** Those of them that are in view, and not after the moment that is looked at. */
export function blocksInView(view: View): readonly HistoryBlock[] {
  const { span, asOf } = view;
  if (span === null) return [];
  const to = Math.min(span.to, asOf ?? span.to);
  return blocksOf(view).filter(({ timestamp }) => timestamp >= span.from && timestamp <= to);
}

/** The lanes that are shown. */
export function lanesOf(view: View): readonly string[] {
  return view.hidden.size === 0 ? view.lanes : view.lanes.filter((lane) => !view.hidden.has(lane));
}

function withWhole(view: View, told: Told): View {
  const { first, last } = told.history;
  const lanes = withLanes(view.lanes, told.history);
  if (first === null || last === null) return { ...view, whole: told, lanes, failure: null };
  const bounds = withMargins({ from: first, to: last });
  return { ...view, whole: told, lanes, bounds, span: following(view, bounds), failure: null };
}

/** Whoever looks at the end goes on looking at it when the ledger grows; everybody else stays. */
function following({ bounds, span }: View, grown: Span): Span {
  if (bounds === null || span === null || covers(span, bounds)) return grown;
  const atEnd = span.to >= bounds.to && grown.to > bounds.to;
  return panned(span, atEnd ? (grown.to - span.to) / lengthOf(span) : 0, grown);
}

function withLanes(lanes: readonly string[], history: History): readonly string[] {
  const known = new Set(lanes);
  const fresh = history.lanes.filter(({ author }) => !known.has(author));
  if (fresh.length === 0) return lanes;
  const began = (buckets: History["lanes"][number]["buckets"]): number => buckets[0]?.[0] ?? Infinity;
  const sorted = [...fresh].sort((a, b) => began(a.buckets) - began(b.buckets) || (a.author < b.author ? -1 : 1));
  return [...lanes, ...sorted.map(({ author }) => author)];
}

function moved(
  view: View,
  event: Extract<ViewEvent, { type: "zoomed" | "panned" | "shown" | "centred" | "fitted" | "ended" }>,
): View {
  const { bounds, span } = view;
  if (bounds === null || span === null) return view;
  switch (event.type) {
    case "zoomed":
      return { ...view, span: zoomed(span, event.factor, event.at ?? view.asOf ?? middle(span), bounds) };
    case "panned":
      return { ...view, span: panned(span, event.share, bounds) };
    case "shown":
      return { ...view, span: around(middle(event.span), lengthOf(event.span), bounds) };
    case "centred":
      return { ...view, span: around(event.time, event.length, bounds) };
    case "fitted":
      return { ...view, span: bounds };
    case "ended":
      return { ...view, span: around(event.end === "first" ? bounds.from : bounds.to, lengthOf(span), bounds) };
  }
}

function middle({ from, to }: Span): number {
  return (from + to) / 2;
}

/** At and behind the last block the ledger is as it is. */
function scrubbed({ whole }: View, to: number | null): number | null {
  const { first = null, last = null } = whole?.history ?? {};
  if (to === null || first === null || last === null || to >= last) return null;
  return Math.max(to, first);
}

/** Goes to the next block: in time over all lanes, or in the lane above or below that which is nearest in time. */
function stepped(view: View, direction: Direction): View {
  const blocks = blocksInView(view);
  const at = blocks.findIndex(({ hash }) => hash === view.focus);
  const current = blocks[at];
  if (current === undefined) return { ...view, focus: blocks.at(direction === "earlier" ? -1 : 0)?.hash ?? null };
  if (direction === "earlier" || direction === "later") {
    const next = blocks[at + (direction === "later" ? 1 : -1)];
    return next === undefined ? view : { ...view, focus: next.hash };
  }
  const lanes = lanesOf(view);
  const inView = new Set(blocks.map(({ author }) => author));
  const way = direction === "down" ? 1 : -1;
  for (let lane = lanes.indexOf(current.author) + way; lane >= 0 && lane < lanes.length; lane += way) {
    const author = lanes[lane]!;
    if (inView.has(author)) return { ...view, focus: nearest(blocks, author, current.timestamp) };
  }
  return view;
}

function nearest(blocks: readonly HistoryBlock[], author: string, time: number): string {
  const own = blocks.filter((block) => block.author === author);
  const far = (block: HistoryBlock): number => Math.abs(block.timestamp - time);
  return own.reduce((best, block) => (far(block) < far(best) ? block : best)).hash;
}

function toggled<Value>(set: ReadonlySet<Value>, value: Value): ReadonlySet<Value> {
  const next = new Set(set);
  if (!next.delete(value)) next.add(value);
  return next;
}

function bucketsFor(width: number): number {
  return Math.min(MOST_BUCKETS, Math.max(1, Math.round(width / BUCKET_WIDTH)));
}

/** Whether a part has all that is in view, as finely as it can be told. */
function suffices({ history }: Told, inView: Span, length: number): boolean {
  if (!covers(history, inView)) return false;
  if (history.blocks !== null) return true;
  // Half as long again as it would be asked for is fine enough: otherwise every turn of a wheel would be a request.
  return lengthOf(history) <= length * PART * 1.5;
}

/** How much somebody wrote in what is in view, and when about, from the finest answer there is. */
export interface LaneCount {
  readonly lane: string;
  readonly blocks: number;
  readonly entries: number;
  /** The beginning of the first bucket with something in it, and the end of the last. */
  readonly from: number;
  readonly to: number;
}

/** The counts of every lane that is shown and has something in view, up to the moment that is looked at. */
export function laneCounts(view: View): readonly LaneCount[] {
  const { whole, part, span, asOf } = view;
  if (whole === null || span === null) return [];
  const told = part !== null && covers(part.history, clipped(span, whole.history)) ? part : whole;
  const until = Math.min(span.to, asOf ?? span.to);
  const counts = new Map<string, LaneCount>();
  for (const { author, buckets } of told.history.lanes) {
    for (const [index, blocks, entries] of buckets) {
      const { from, to } = bucketSpan(told.history, told.buckets, index);
      const middleOfIt = (from + to) / 2;
      if (middleOfIt < span.from || middleOfIt > until) continue;
      const sum = counts.get(author) ?? { lane: author, blocks: 0, entries: 0, from, to };
      counts.set(author, { ...sum, blocks: sum.blocks + blocks, entries: sum.entries + entries, to });
    }
  }
  return lanesOf(view).flatMap((lane) => counts.get(lane) ?? []);
}
