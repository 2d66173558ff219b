/** What the browser keeps for the page between visits: small strings. A browser that keeps nothing is no reason to fail. */

/** What is kept, and for which ledger. */
export const KEY = {
  token: "cairn.token",
  /** An invite that a link brought, until it is used or put aside. Whoever has it can come in, so only the tab keeps it. */
  invite: "cairn.invite",
  theme: "cairn.theme",
  notify: "cairn.notify",
  /** What the ledgers are called, for when the node is away. */
  ledgers: "cairn.ledgers",
  draft: (ledger: string): string => `cairn.draft.${ledger}`,
  /** The forks that the person has seen. */
  seen: (ledger: string): string => `cairn.seen.${ledger}`,
  /** Whether nothing is shown that was not checked. */
  verify: (ledger: string): string => `cairn.verify.${ledger}`,
  read: (ledger: string): string => `cairn.read.${ledger}`,
} as const;

/** Where: until it is forgotten, or only in this tab. */
export type Where = "browser" | "tab";

export function recall(key: string, where: Where = "browser"): string | null {
  try {
    return storage(where).getItem(key);
  } catch {
    return null;
  }
}

/** Keeps a string, or forgets it: `null`. */
export function keep(key: string, value: string | null, where: Where = "browser"): void {
  try {
    if (value === null) storage(where).removeItem(key);
    else storage(where).setItem(key, value);
  } catch {
    // Full or forbidden: what is on the screen stays, it is gone after a reload.
  }
}

function storage(where: Where): Storage {
  return where === "tab" ? sessionStorage : localStorage;
}
