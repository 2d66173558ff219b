/** Blocks as marks in their lanes: one for each where there is room, and one for several where they would lie on each other. */

import type { HistoryBlock } from "@cairn/client";

import { isChosen, type Group } from "./kinds.js";
import { lengthOf, xOf, type Span } from "./scale.js";

/** What of a block is told beside that it is there, the most important first. */
export type Sign = "fork" | "evidence" | "erasure" | "erased" | "merge" | "plain";

/** One mark: a block, or some that lie too near each other. */
export interface Mark {
  readonly lane: string;
  /** Which of the lanes that are shown, from 0. */
  readonly row: number;
  /** px from the left edge: the first block, and the last one. */
  readonly x: number;
  readonly to: number;
  /** Which stretch of time it lies in; marks of one stretch may join. */
  readonly slot: number;
  /** px off the middle of its lane: the two blocks of a fork lie one above the other. */
  readonly off: number;
  /** In ledger order; one at least. */
  readonly blocks: readonly HistoryBlock[];
  readonly sign: Sign;
  /** Nothing in it is of a chosen kind. */
  readonly faint: boolean;
}

/** What is known of some blocks beyond what the history tells. */
export interface Known {
  /** `author-height` of blocks of which something was erased. */
  readonly erased: ReadonlySet<string>;
}

/** px of a mark that stands for one block. */
export const MARK = 12;
/** px within which blocks may share a mark: as much as its number takes. */
export const SLOT = 36;
/** px that the two blocks of a fork lie apart from the middle of their lane. */
const FORK_OFF = 9;

/** The place of a block: what two blocks have in common only where a lane is forked. */
export function placeOf(block: Pick<HistoryBlock, "author" | "height">): string {
  return `${block.author}-${block.height}`;
}

/** The blocks of each place that has more than one. */
export function forksOf(blocks: readonly HistoryBlock[]): ReadonlyMap<string, readonly HistoryBlock[]> {
  const places = new Map<string, HistoryBlock[]>();
  for (const block of blocks) {
    const place = placeOf(block);
    const there = places.get(place);
    if (there === undefined) places.set(place, [block]);
    else there.push(block);
  }
  return new Map([...places].filter(([, there]) => there.length > 1));
}

/** The marks of blocks in ledger order, those out of view included: links lead to them. */
export function marks(
  blocks: readonly HistoryBlock[],
  span: Span,
  width: number,
  lanes: readonly string[],
  groups: ReadonlySet<Group>,
  known: Known,
): readonly Mark[] {
  const rows = new Map(lanes.map((lane, row) => [lane, row]));
  const forks = forksOf(blocks);
  // Stretches go by the time alone, so that marks stay what they are while the view moves.
  const stretch = (lengthOf(span) / width) * SLOT;
  const found: Mark[] = [];
  /** The mark at which each lane ends so far, if another block may join it. */
  const open = new Map<string, number>();
  for (const block of blocks) {
    const row = rows.get(block.author);
    if (row === undefined) continue;
    const x = xOf(span, width, block.timestamp);
    const slot = Math.floor(block.timestamp / stretch);
    const mark = { ...single(block, groups, known, forks.get(placeOf(block))), row, x, to: x, slot };
    const at = open.get(block.author);
    const before = at === undefined ? undefined : found[at];
    if (at !== undefined && before !== undefined && joins(before, mark)) {
      found[at] = joined(before, mark);
      continue;
    }
    if (mark.sign === "fork") open.delete(block.author);
    else open.set(block.author, found.length);
    found.push(mark);
  }
  return found;
}

/** Which mark stands for a block, by the block's hash. */
export function byHash(found: readonly Mark[]): ReadonlyMap<string, Mark> {
  return new Map(found.flatMap((mark) => mark.blocks.map(({ hash }) => [hash, mark] as const)));
}

function single(
  block: HistoryBlock,
  groups: ReadonlySet<Group>,
  known: Known,
  fork: readonly HistoryBlock[] | undefined,
): Omit<Mark, "row" | "x" | "to" | "slot"> {
  const off = fork === undefined ? 0 : FORK_OFF * (2 * fork.indexOf(block) - fork.length + 1);
  const sign = fork === undefined ? signOf(block, known) : "fork";
  return { lane: block.author, off, blocks: [block], sign, faint: !isChosen(block.kinds, groups) };
}

function signOf(block: HistoryBlock, known: Known): Sign {
  if (block.kinds.includes("evidence")) return "evidence";
  if (block.kinds.includes("erase")) return "erasure";
  if (known.erased.has(placeOf(block))) return "erased";
  return block.parents.length > 1 ? "merge" : "plain";
}

/** Whether a mark lies too near behind another one. What is an alarm is never hidden among others. */
function joins(before: Mark, mark: Mark): boolean {
  if (mark.slot !== before.slot || mark.x - before.to >= MARK + 2 || mark.faint !== before.faint) return false;
  return !isAlarm(before.sign) && !isAlarm(mark.sign);
}

function isAlarm(sign: Sign): boolean {
  return sign === "fork" || sign === "evidence";
}

const WEIGHT: readonly Sign[] = ["fork", "evidence", "erasure", "erased", "merge", "plain"];

function joined(before: Mark, mark: Mark): Mark {
  const sign = WEIGHT.indexOf(mark.sign) < WEIGHT.indexOf(before.sign) ? mark.sign : before.sign;
  return { ...before, to: Math.max(before.to, mark.to), blocks: [...before.blocks, ...mark.blocks], sign };
}
