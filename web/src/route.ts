/** What stands behind `#` in the address bar: where one is, or something that a link brought. */

import { VIEWS, type View } from "./app.js";
import type { Route } from "./state/session.js";

/** A link's cargo. Browsers send nothing behind `#` to any server. */
export type Hash =
  | { readonly type: "route"; readonly route: Route }
  /** The token that this node wants of its clients. */
  | { readonly type: "token"; readonly token: string }
  /** An invite. */
  | { readonly type: "join"; readonly token: string };

export function parseHash(hash: string): Hash {
  const text = hash.replace(/^#/u, "");
  const cargo = /^(token|join)=(.+)$/su.exec(text);
  if (cargo !== null) return { type: cargo[1] as "token" | "join", token: decoded(cargo[2]!) };
  const [ledger, view, entry] = text.split("/").filter((part) => part !== "").map(decoded);
  return { type: "route", route: { ledger: ledger ?? null, view: isView(view) ? view : "talk", entry: entry ?? null } };
}

export function formatRoute({ ledger, view, entry }: Route): string {
  if (ledger === null) return "#/";
  return `#/${[ledger, view, ...(entry === null ? [] : [entry])].map(encodeURIComponent).join("/")}`;
}

function isView(view: string | undefined): view is View {
  return VIEWS.some((known) => known === view);
}

/** A `%` that begins no code is one. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
