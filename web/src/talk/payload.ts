/** What people's entries say: the convention that docs/PAGE.md describes. Anybody can write any JSON, so it is parsed. */

import type { Json } from "@cairn/client";

export interface Note {
  readonly type: "note";
  readonly text: string;
  /** The id of the entry that it answers. */
  readonly reply_to?: string;
  /** A picture as a `data:` URL. */
  readonly image?: string;
  /** Whatever its writer knows it again by. */
  readonly key?: string;
}

export interface Edit {
  readonly type: "edit";
  readonly of: string;
  readonly text: string;
  readonly key?: string;
}

export interface Reaction {
  readonly type: "reaction";
  readonly of: string;
  readonly emoji: string;
  /** It is taken back. */
  readonly off?: true;
  readonly key?: string;
}

export interface Removal {
  readonly type: "removal";
  readonly of: string;
  readonly key?: string;
}

/** What this page writes. */
export type Payload = Note | Edit | Reaction | Removal;

/** What somebody wrote, as far as the page understands it. */
export type Content = Payload | { readonly type: "other"; readonly json: Json };

/** Only pictures that are no documents: an SVG is one. */
const IMAGE = /^data:image\/(?:png|jpeg|webp|gif|avif);base64,[A-Za-z0-9+/]+={0,2}$/;
/** Bytes of an emoji at most: the longest sequences that Unicode recommends take less. */
const EMOJI = 64;

/** Reads what an entry says. Whatever is not of the convention is `other`, so nothing is lost from sight. */
export function parseContent(json: Json): Content {
  if (typeof json === "string") return { type: "note", text: json };
  if (typeof json !== "object" || json === null || Array.isArray(json)) return { type: "other", json };
  const value = json as Readonly<Record<string, Json | undefined>>;
  return typed(value) ?? untyped(value) ?? { type: "other", json };
}

function typed(value: Readonly<Record<string, Json | undefined>>): Payload | undefined {
  const { type, of, text, emoji } = value;
  const key = typeof value["key"] === "string" ? { key: value["key"] } : {};
  if (type === "note" && typeof text === "string") return note(text, value);
  if (typeof of !== "string") return undefined;
  if (type === "edit" && typeof text === "string") return { type, of, text, ...key };
  if (type === "removal") return { type, of, ...key };
  if (type === "reaction" && typeof emoji === "string" && emoji !== "" && emoji.length <= EMOJI) {
    return { type, of, emoji, ...(value["off"] === true && { off: true }), ...key };
  }
  return undefined;
}

/** What other programs write as a note; with more in it, it is shown whole instead. */
function untyped(value: Readonly<Record<string, Json | undefined>>): Note | undefined {
  const [name, ...more] = Object.keys(value);
  const text = name === "text" || name === "message" ? value[name] : undefined;
  return typeof text === "string" && more.length === 0 ? { type: "note", text } : undefined;
}

function note(text: string, value: Readonly<Record<string, Json | undefined>>): Note {
  const { reply_to, image, key } = value;
  return {
    type: "note",
    text,
    ...(typeof reply_to === "string" && { reply_to }),
    ...(typeof image === "string" && IMAGE.test(image) && { image }),
    ...(typeof key === "string" && { key }),
  };
}
