/** The links from blocks to those that they rest on, between the marks that stand for them. */

import { byHash, type Mark } from "./marks.js";

/** One link that is drawn, from the earlier mark to the later one. */
export interface Edge {
  readonly from: Mark;
  readonly to: Mark;
  /** Whether it stays in its lane. */
  readonly own: boolean;
}

/** A lane that goes on to the left of what is known: the mark at which its known part begins. */
export interface Stub {
  readonly to: Mark;
}

/** The links of a view. */
export interface Edges {
  readonly edges: readonly Edge[];
  readonly stubs: readonly Stub[];
}

/** Links that are drawn at most: beyond that nobody sees one. */
const MOST = 4_000;

/** The links of marks that cross what is in view, each once however many blocks it is for. */
export function edges(marks: readonly Mark[], width: number): Edges {
  const marked = byHash(marks);
  const seen = new Map<Mark, Set<Mark>>();
  const found: Edge[] = [];
  const stubs = new Map<Mark, Stub>();
  for (const to of marks) {
    for (const block of to.blocks) {
      for (const [index, parent] of block.parents.entries()) {
        const from = marked.get(parent);
        if (from === undefined) {
          // From height 2 on the first parent is the author's own block before.
          if (index === 0 && block.height > 1 && to.to >= 0) stubs.set(to, { to });
        } else if (from !== to && found.length < MOST && crosses(from, to, width) && isFresh(seen, from, to)) {
          found.push({ from, to, own: from.lane === to.lane });
        }
      }
    }
  }
  return { edges: found, stubs: [...stubs.values()] };
}

function crosses(from: Mark, to: Mark, width: number): boolean {
  return Math.max(from.to, to.to) >= 0 && Math.min(from.x, to.x) <= width;
}

function isFresh(seen: Map<Mark, Set<Mark>>, from: Mark, to: Mark): boolean {
  const drawn = seen.get(to);
  if (drawn === undefined) seen.set(to, new Set([from]));
  else if (drawn.has(from)) return false;
  else drawn.add(from);
  return true;
}
