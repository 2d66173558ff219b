/** Notes on their way into the ledger. */

import type { Entry, Json } from "@cairn/client";

import { parseContent, type Payload } from "../talk/payload.js";
import type { Event } from "./event.js";

/** What is known of a note that was written here. */
export type Delivery =
  /** It was not sent yet. */
  | { readonly state: "waiting" }
  /** It was sent, and the answer is still to come. */
  | { readonly state: "sending" }
  /** The answer was lost: it may be in the ledger or not. Only the person decides whether it goes again. */
  | { readonly state: "unknown" }
  /** The node did not take it, and says why. */
  | { readonly state: "refused"; readonly code: string; readonly message: string };

export interface Outgoing {
  /** Also in the payload, by which it is known again in the ledger. */
  readonly key: string;
  readonly ledger: string;
  readonly payload: Payload;
  /** When it was written, ms since 1970. */
  readonly at: number;
  readonly delivery: Delivery;
}

export type OutboxEvent =
  | { readonly type: "queued"; readonly notes: readonly Outgoing[] }
  | { readonly type: "delivery"; readonly key: string; readonly delivery: Delivery }
  /** They are in the ledger, or the person gave them up. */
  | { readonly type: "settled"; readonly keys: readonly string[] };

export function reduceOutbox(outbox: readonly Outgoing[], event: Event): readonly Outgoing[] {
  switch (event.type) {
    case "queued": {
      const known = new Set(outbox.map(({ key }) => key));
      const fresh = event.notes.filter(({ key }) => !known.has(key));
      return fresh.length === 0 ? outbox : [...outbox, ...fresh].sort((a, b) => a.at - b.at);
    }
    case "delivery":
      return outbox.map((note) => (note.key === event.key ? { ...note, delivery: event.delivery } : note));
    case "settled":
      return without(outbox, new Set(event.keys));
    // Whatever became of the answer: what is in the ledger is on its way no more.
    case "fresh":
    case "older":
    case "newer":
    case "arrived":
    case "reread":
      return outbox.length === 0 ? outbox : without(outbox, keysOf(event.entries));
    default:
      return outbox;
  }
}

/** The next note to send: the oldest that waits, unless one is on its way. One after the other keeps their order. */
export function nextToSend(outbox: readonly Outgoing[]): Outgoing | undefined {
  if (outbox.some(({ delivery }) => delivery.state === "sending")) return undefined;
  return outbox.find(({ delivery }) => delivery.state === "waiting");
}

/** The keys by which the writers of entries know them again. */
export function keysOf(entries: readonly Entry<Json>[]): ReadonlySet<string> {
  const keys = new Set<string>();
  for (const entry of entries) {
    if (entry.kind !== "data" || entry.data === null) continue;
    const content = parseContent(entry.data);
    if (content.type !== "other" && content.key !== undefined) keys.add(content.key);
  }
  return keys;
}

function without(outbox: readonly Outgoing[], keys: ReadonlySet<string>): readonly Outgoing[] {
  const left = outbox.filter(({ key }) => !keys.has(key));
  return left.length === outbox.length ? outbox : left;
}
