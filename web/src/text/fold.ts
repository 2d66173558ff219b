/** How much of a long note is shown at first. */

/** Characters and lines that are shown of a note that has more. */
const CHARACTERS = 3000;
const LINES = 30;

export interface Folded {
  readonly shown: string;
  /** Characters that are left out; 0 where all is shown. */
  readonly hidden: number;
}

/** Notes up to twice the bound are shown whole: a fold that hides three lines helps nobody. */
export function fold(text: string): Folded {
  const lines = text.length > CHARACTERS * 100 ? Infinity : text.split("\n").length;
  if (text.length <= 2 * CHARACTERS && lines <= 2 * LINES) return { shown: text, hidden: 0 };
  const shown = text.slice(0, CHARACTERS).split("\n").slice(0, LINES).join("\n");
  // Half of a surrogate pair is no character.
  const whole = /[\uD800-\uDBFF]$/u.test(shown) ? shown.slice(0, -1) : shown;
  return { shown: whole, hidden: text.length - whole.length };
}
