/** Strangers' text, made safe to look at: nothing invisible in it changes how the rest reads. */

/** Characters that turn the direction of what follows (UAX #9: embeddings, overrides, isolates, marks). */
const BIDI = /[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu;
/** Characters that are not seen at all, by which two names that look the same can differ. */
const HIDDEN =
  /[\u00AD\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B\u2060-\u2065\u206A-\u206F\u3164\uFEFF\uFFA0]|(?<!\u{1F3F4}[\u{E0020}-\u{E007E}]{0,6})[\u{E0000}-\u{E007F}]/gu;
/** Joiners where they join nothing: not behind an emoji, and not in a script that needs them. */
const LONE_JOINER =
  /(?<![\p{Extended_Pictographic}\uFE0F\u{1F3FB}-\u{1F3FF}\p{M}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Gurmukhi}\p{Script=Gujarati}\p{Script=Oriya}\p{Script=Tamil}\p{Script=Telugu}\p{Script=Kannada}\p{Script=Malayalam}\p{Script=Sinhala}])[\u200C\u200D]/gu;
const CONTROL = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u2028\u2029]/gu;
/** Characters of a name that are shown. */
const NAME = 48;

/** A name on one line: without anything invisible or of another direction, and no longer than one can read. */
export function nameSafe(name: string): string {
  const visible = name.replace(BIDI, "").replace(HIDDEN, "").replace(LONE_JOINER, "").replace(CONTROL, " ");
  return [...thin(visible).replace(/\s+/gu, " ").trim()].slice(0, NAME).join("");
}

/** Content: what is invisible is shown as its code point, so that a reader sees that it is there. */
export function contentSafe(text: string): string {
  const visible = text.replace(/\r\n?/gu, "\n").replace(BIDI, shown).replace(HIDDEN, shown).replace(LONE_JOINER, shown);
  return thin(visible.replace(CONTROL, shown));
}

function shown(character: string): string {
  return `⟨U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** Piles of combining marks reach into other lines; languages need few on one letter. */
function thin(text: string): string {
  return text.replace(/(\p{M}{4})\p{M}+/gu, "$1");
}
