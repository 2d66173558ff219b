/** A few words of an entry, where there is no room for more. */

import { parseMarkdown } from "../text/markdown.js";
import { plainText } from "../text/plain.js";
import { contentSafe } from "../text/safe.js";
import type { Item } from "../state/timeline.js";

/** Characters of an excerpt. */
const LENGTH = 140;

/** `text` is what the note says by now, where that is known. */
export function excerpt({ entry, content }: Item, text?: string | null): string {
  if (entry.kind === "data" && entry.data === null) return "erased" in entry && entry.erased !== undefined ? "Erased" : "Not readable here";
  const words = text ?? (content?.type === "note" ? content.text : null);
  if (words === null) return content?.type === "other" ? short(JSON.stringify(content.json)) : `An entry of the kind “${entry.kind}”`;
  return words.trim() === "" ? "A picture" : short(plainText(parseMarkdown(words.slice(0, LENGTH * 4))));
}

function short(text: string): string {
  const line = contentSafe(text.slice(0, LENGTH * 2)).replace(/\s+/gu, " ").trim();
  return line.length > LENGTH ? `${line.slice(0, LENGTH).trimEnd()}…` : line;
}
