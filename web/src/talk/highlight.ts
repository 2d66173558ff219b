/** Where in a text are the words that were looked for. */

import type { Entry, Json } from "@cairn/client";

import { itemOf } from "../state/timeline.js";
import { parseMarkdown } from "../text/markdown.js";
import { plainText } from "../text/plain.js";
import { contentSafe } from "../text/safe.js";

export interface Part {
  readonly text: string;
  readonly hit: boolean;
}

/** Characters of a text that are shown, and of those before the first word that was found. */
const SHOWN = 240;
const BEFORE = 60;

/** What of an entry can be found. */
export function findable(entry: Entry<Json>): string {
  const { content } = itemOf(entry);
  if (content === null) return typeof entry.data === "string" ? entry.data : `An entry of the kind “${entry.kind}”`;
  if (content.type === "note" || content.type === "edit") return plainText(parseMarkdown(content.text));
  if (content.type === "reaction") return content.emoji;
  return content.type === "other" ? JSON.stringify(content.json) : "";
}

/** Cuts a text where words begin as those of the query do, and around the first of them. */
export function highlight(text: string, query: string): readonly Part[] {
  const words = query.split(/[^\p{L}\p{N}\p{M}]+/u).filter((word) => word !== "");
  // What an index does not tell apart: accents and case are left to the node, which found it.
  const pattern = words.length === 0 ? undefined : new RegExp(`(?<![\\p{L}\\p{N}])(?:${words.join("|")})`, "giu");
  const line = contentSafe(text.slice(0, 65_536)).replace(/\s+/gu, " ");
  const first = pattern === undefined ? 0 : Math.max(0, line.search(pattern));
  const start = first <= BEFORE ? 0 : first - BEFORE;
  const shown = line.slice(start, start + SHOWN);
  const parts: Part[] = start > 0 ? [{ text: "…", hit: false }] : [];
  let at = 0;
  for (const match of pattern === undefined ? [] : shown.matchAll(pattern)) {
    if (match.index > at) parts.push({ text: shown.slice(at, match.index), hit: false });
    parts.push({ text: match[0], hit: true });
    at = match.index + match[0].length;
  }
  if (at < shown.length) parts.push({ text: shown.slice(at), hit: false });
  return start + SHOWN < line.length ? [...parts, { text: "…", hit: false }] : parts;
}
