/** From what was typed to what is sent. */

import type { Edit, Note } from "./payload.js";

/** Bytes of a payload at most: a node takes 64 KiB, and what stands around it needs room. */
export const PAYLOAD = 60 * 1024;

export interface Written {
  readonly text: string;
  readonly replyTo: string | null;
  readonly image: string | null;
  /** The note that is changed. */
  readonly editing: string | null;
}

/** The payload, or nothing where nothing was written. */
export function payloadOf({ text, replyTo, image, editing }: Written): Note | Edit | undefined {
  const trimmed = text.replace(/^\s*\n|\s+$/gu, "");
  if (trimmed === "" && image === null) return undefined;
  if (editing !== null) return { type: "edit", of: editing, text: trimmed };
  return { type: "note", text: trimmed, ...(replyTo !== null && { reply_to: replyTo }), ...(image !== null && { image }) };
}

/** Bytes by which a payload is too large; 0 if it is not. The key that the sender adds is counted. */
export function excess(payload: Note | Edit): number {
  return Math.max(0, bytes(JSON.stringify(payload)) + 32 - PAYLOAD);
}

/** Bytes that are left for a picture beside a text. */
export function roomFor(text: string): number {
  return PAYLOAD - bytes(JSON.stringify(text)) - 512;
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}
