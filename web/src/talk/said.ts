/** What an entry says by now: its text after the edits of its author, what became of it, and what others feel about it. */

import type { Item, Remark } from "../state/timeline.js";

export interface ReactionCount {
  readonly emoji: string;
  /** Who feels so, in the order of their ids. */
  readonly by: readonly string[];
}

export interface Said {
  /** `null`: the entry is no note. */
  readonly text: string | null;
  /** When its author last changed it, and how often. */
  readonly edited: { readonly at: string; readonly times: number } | null;
  /** When its author took it back, and the id of the entry that says so. */
  readonly removed: { readonly at: string; readonly entry: string } | null;
  readonly reactions: readonly ReactionCount[];
}

/** Kinds of reactions to one entry that are shown; the rest is in the history. */
const REACTIONS = 24;

export function said(item: Item, remarks: readonly Remark[]): Said {
  const { content } = item;
  const author = item.entry.creator_node_id;
  // One author's entries have an order of their own, and nothing here depends on any other.
  const sorted = [...remarks].sort((a, b) => a.height - b.height || a.index - b.index);
  const own = sorted.filter((remark) => remark.author === author);
  const edits = own.filter(({ content }) => content.type === "edit");
  const removal = own.find(({ content }) => content.type === "removal");
  const last = edits.at(-1);
  const written = content?.type === "note" ? content.text : null;
  return {
    text: written !== null && last?.content.type === "edit" ? last.content.text : written,
    edited: last === undefined ? null : { at: last.at, times: edits.length },
    removed: removal === undefined ? null : { at: removal.at, entry: removal.id },
    reactions: reactions(sorted),
  };
}

/** The last word of each author about each emoji counts. */
function reactions(sorted: readonly Remark[]): readonly ReactionCount[] {
  const feels = new Map<string, Set<string>>();
  for (const { author, content } of sorted) {
    if (content.type !== "reaction") continue;
    const by = feels.get(content.emoji) ?? new Set();
    feels.set(content.emoji, by);
    if (content.off === true) by.delete(author);
    else by.add(author);
  }
  return [...feels]
    .filter(([, by]) => by.size > 0)
    .map(([emoji, by]) => ({ emoji, by: [...by].sort() }))
    .slice(0, REACTIONS);
}
