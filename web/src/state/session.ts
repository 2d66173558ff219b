/** The connection to the node, the ledgers that it serves, and where in the page one is. */

import type { LedgerInfo, NodeStatus, Progress } from "@cairn/client";

import type { View } from "../app.js";
import type { Event } from "./event.js";

/** How the connection is. */
export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "connected" }
  /** It was there; the client connects again by itself. */
  | { readonly state: "lost"; readonly since: number }
  /** The node does not let the page in, and says why. */
  | { readonly state: "refused"; readonly code: string; readonly message: string };

/** What the address bar says. */
export interface Route {
  /** `null`: the node's default one. */
  readonly ledger: string | null;
  readonly view: View;
  /** The entry to show. */
  readonly entry: string | null;
}

export interface Session {
  readonly connection: Connection;
  /** `null` until the node has told. */
  readonly ledgers: readonly LedgerInfo[] | null;
  readonly route: Route;
  /** The invite that the page was opened with. */
  readonly invite: string | null;
  /** An exchange of history that is going on. */
  readonly progress: Progress | null;
  /** What the node showed that was not signed like that, where this browser checks what it shows. */
  readonly unproven: string | null;
}

export type SessionEvent =
  | { readonly type: "connected" }
  | { readonly type: "disconnected"; readonly at: number }
  | { readonly type: "refused"; readonly code: string; readonly message: string }
  | { readonly type: "ledgers"; readonly ledgers: readonly LedgerInfo[] }
  | { readonly type: "routed"; readonly route: Route }
  | { readonly type: "invited"; readonly token: string | null }
  | { readonly type: "progress"; readonly progress: Progress }
  | { readonly type: "unproven"; readonly what: string };

export function emptySession(): Session {
  return {
    connection: { state: "connecting" },
    ledgers: null,
    route: { ledger: null, view: "talk", entry: null },
    invite: null,
    progress: null,
    unproven: null,
  };
}

export function reduceSession(session: Session, event: Event): Session {
  switch (event.type) {
    case "opened":
      return { ...session, connection: { state: "connecting" }, progress: null, unproven: null };
    case "connected":
      return { ...session, connection: { state: "connected" } };
    case "disconnected":
      return { ...session, connection: { state: "lost", since: event.at }, progress: null };
    case "refused":
      return { ...session, connection: { state: "refused", code: event.code, message: event.message } };
    case "ledgers":
      return { ...session, ledgers: event.ledgers };
    case "status":
      return renamed(session, event.status);
    case "routed":
      return { ...session, route: event.route };
    case "invited":
      return { ...session, invite: event.token };
    case "progress":
      return { ...session, progress: event.progress.done >= event.progress.total ? null : event.progress };
    case "unproven":
      // The first one says where it begins; what follows from it may be nothing but that.
      return session.unproven === null ? { ...session, unproven: event.what } : session;
    default:
      return session;
  }
}

/** A ledger's name may be known only after the list of ledgers was read: a newcomer cannot open it before it is in. */
function renamed(session: Session, { ledger, name }: NodeStatus): Session {
  const known = session.ledgers?.find(({ id }) => id === ledger);
  if (session.ledgers === null || known === undefined || name === "" || known.name === name) return session;
  return { ...session, ledgers: session.ledgers.map((each) => (each === known ? { ...each, name } : each)) };
}
