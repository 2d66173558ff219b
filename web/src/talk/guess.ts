/** How high a row is before it is drawn, roughly: what is wrong is put right when it comes near the screen. */

import type { Item } from "../state/timeline.js";

/** Characters of a line, and pixels. */
const LINE = { characters: 80, pixels: 23 };
/** Pixels of a fold, and of a picture. */
const FOLD = 30 * LINE.pixels;
const PICTURE = 244;

export function guessHeight({ shown, content, entry }: Item): number {
  if (!shown) return 0;
  if (entry.kind !== "data") return 30;
  const text = content?.type === "note" ? content.text : "";
  const lines = Math.ceil(text.length / LINE.characters);
  const picture = content?.type === "note" && content.image !== undefined ? PICTURE : 0;
  return 8 + Math.min(FOLD, Math.max(1, lines) * LINE.pixels) + picture;
}
