/** What entries by which a ledger is run say to people: one line each. */

import type { Entry, Json } from "@cairn/client";

import { nameSafe } from "../text/safe.js";

/** A line about the group. */
export interface Line {
  /** `alarm`: somebody broke the rules, and that is proved. */
  readonly tone: "quiet" | "alarm";
  /** Words, and nodes that are named in between; a space belongs between two. */
  readonly parts: readonly (string | { readonly node: string })[];
  /** The entry that it is about. */
  readonly about: string | null;
}

/** The line of an entry; `null` where it has none. */
export function lineOf(entry: Entry<Json>): Line | null {
  const author = { node: entry.creator_node_id };
  switch (entry.kind) {
    case "genesis":
      return quiet(author, "began this ledger");
    case "invite":
      return entry.data === null ? null : quiet(author, `made an invite${usesOf(entry.data.uses)}`);
    case "join":
      return quiet(author, "came in");
    case "remove":
      return entry.data === null ? null : removal(entry.creator_node_id, entry.data);
    case "nickname":
      return entry.data === null ? null : quiet(author, `took the name “${nameSafe(entry.data)}”`);
    case "ledger_name":
      return entry.data === null ? null : quiet(author, `named this ledger “${nameSafe(entry.data)}”`);
    case "erase":
      return entry.data === null ? null : { ...quiet(author, "erased a note of", { node: authorOf(entry.data.entry) }), about: entry.data.entry };
    case "evidence":
      return alarm("Proof of a fork:", { node: entry.data.author }, `signed two blocks of height ${entry.data.height}. What it writes from there on does not count.`);
    case "succession":
      return entry.data === null ? null : quiet({ node: entry.data.node }, "goes on with a new key, as", author);
    default:
      return null;
  }
}

function removal(author: string, what: { readonly member: string } | { readonly invite: string }): Line {
  if ("invite" in what) return quiet({ node: author }, "closed an invite");
  if (what.member === author) return quiet({ node: author }, "left");
  return quiet({ node: author }, "removed", { node: what.member });
}

function usesOf(uses: number): string {
  return uses === 1 ? "" : ` for ${uses} people`;
}

/** An entry's id begins with its author. */
function authorOf(entry: string): string {
  return entry.split("-")[0] ?? "";
}

function quiet(...parts: Line["parts"]): Line {
  return { tone: "quiet", parts, about: null };
}

function alarm(...parts: Line["parts"]): Line {
  return { tone: "alarm", parts, about: null };
}
