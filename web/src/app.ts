/** What a view is given: one ledger, its client, the state, and the few things that it may have done. */

import type { Client, Json, LedgerInfo } from "@cairn/client";

import type { Event } from "./state/event.js";
import type { State } from "./state/state.js";

/** The views that the navigation leads to. */
export const VIEWS = ["talk", "history", "network", "verify", "settings"] as const;
export type View = (typeof VIEWS)[number];

/** How a node is shown: the same for everybody who looks at the same key. */
export interface Person {
  /** The node's id, 64 hexadecimal digits. */
  readonly id: string;
  /** What it calls itself, safe to show; the first digits of its id if nothing. */
  readonly name: string;
  /** Whether it calls itself something. */
  readonly named: boolean;
  /** A CSS colour: one of the twelve `--person-n` of tokens.css, so it is right in light and dark. */
  readonly colour: string;
  /** Which of the twelve, for a canvas that has to resolve it. */
  readonly hue: number;
  /** Whether it is the node that this page talks to. */
  readonly me: boolean;
}

/** The one prop of every view. Reading `state` in a template or an effect follows it. */
export interface App {
  /** Connected to the ledger that is shown. */
  readonly client: Client<Json>;
  readonly ledger: LedgerInfo;
  readonly state: State;
  /** Who a node is to people. */
  person(node: string): Person;
  /** Shows an entry in the conversation. */
  jump(entry: string): void;
  /** Goes to a view of this ledger. */
  go(view: View): void;
  /** Connects anew, after what decides how to connect has changed. */
  connectAnew(): void;
  /** Says something in the page's live region, and shows it for a while. */
  say(text: string): void;
  dispatch(event: Event): void;
}
