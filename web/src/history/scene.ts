/** A view, laid out: all that the painter draws and the pointer hits, in px of the canvas. */

import { bars, type Bar, type Source } from "./bars.js";
import { edges, type Edge, type Stub } from "./edges.js";
import { marks, type Known, type Mark } from "./marks.js";
import { lengthOf, xOf, type Span } from "./scale.js";
import { ticks, type Tick } from "./ticks.js";
import { blocksOf, lanesOf, type View } from "./view.js";

/** px of the time axis above the lanes. */
export const AXIS = 30;
/** px of a lane. */
export const ROW = 56;

/** How much room there is, and how far the lanes are scrolled. */
export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly top: number;
}

/** A lane that is at least partly in view. */
export interface Row {
  readonly lane: string;
  /** Which of the lanes that are shown, from 0. */
  readonly index: number;
  /** px from the top of the canvas to its middle. */
  readonly y: number;
}

/** All that is drawn. */
export interface Scene extends Frame {
  readonly rows: readonly Row[];
  readonly ticks: readonly Tick[];
  readonly bars: readonly Bar[];
  readonly marks: readonly Mark[];
  readonly edges: readonly Edge[];
  readonly stubs: readonly Stub[];
  /** px from the left edge to the moment that is looked at; `null`: the ledger is shown as it is. */
  readonly asOf: number | null;
  readonly focus: string | null;
  readonly open: string | null;
}

/** Lays out a view. */
export function layOut(view: View, frame: Frame, known: Known): Scene {
  const { width, top } = frame;
  const lanes = lanesOf(view);
  const rows = rowsOf(lanes, frame);
  const scene = { ...frame, rows, focus: view.focus, open: view.open?.hash ?? null };
  const { span } = view;
  if (span === null || width <= 0) {
    return { ...scene, ticks: [], bars: [], marks: [], edges: [], stubs: [], asOf: null };
  }
  const all = marks(blocksOf(view), span, width, lanes, view.groups, known);
  const seen = rows.length === 0 ? [] : all.filter((mark) => isSeen(mark, frame));
  const links = edges(all, width);
  const bottom = top + frame.height;
  const inRows = ({ from, to }: Edge): boolean =>
    Math.min(from.row, to.row) * ROW + AXIS <= bottom && (Math.max(from.row, to.row) + 1) * ROW >= top;
  return {
    ...scene,
    ticks: ticks(span, width),
    bars: bars(sourcesOf(view), span, width, new Set(rows.map(({ lane }) => lane))),
    marks: seen,
    edges: links.edges.filter(inRows),
    stubs: links.stubs.filter(({ to }) => isSeen(to, { ...frame, width: Infinity })),
    asOf: view.asOf === null ? null : xOf(span, width, view.asOf),
  };
}

/** px from the top of the canvas to the middle of a lane. */
export function yOf(row: number, top: number): number {
  return AXIS + row * ROW + ROW / 2 - top;
}

/** How high the lanes are together, with the axis. */
export function heightOf(lanes: number): number {
  return AXIS + lanes * ROW;
}

function rowsOf(lanes: readonly string[], { top, height }: Frame): readonly Row[] {
  const first = Math.max(0, Math.floor(top / ROW));
  const last = Math.min(lanes.length, Math.ceil((top + height - AXIS) / ROW));
  return lanes.slice(first, last).map((lane, at) => ({ lane, index: first + at, y: yOf(first + at, top) }));
}

function isSeen(mark: Mark, { width, height, top }: Frame): boolean {
  const y = yOf(mark.row, top);
  return mark.to >= -ROW && mark.x <= width + ROW && y >= AXIS - ROW && y <= height + ROW;
}

/** Bars of the finest answer that there is for each time, and none where blocks are drawn. */
function sourcesOf({ whole, part }: View): readonly Source[] {
  if (whole === null || whole.history.blocks !== null) return [];
  if (part === null || lengthOf(part.history) <= 0) return [{ ...whole, without: null }];
  const { from, to }: Span = part.history;
  const coarse = { ...whole, without: { from, to } };
  return part.history.blocks === null ? [coarse, { ...part, without: null }] : [coarse];
}
