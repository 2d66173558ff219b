/** What was begun and not sent: kept for each ledger, so that a reload loses nothing. */

import { KEY, keep, recall } from "../storage.js";

export interface Draft {
  readonly text: string;
  /** The entry that it answers. */
  readonly replyTo: string | null;
}

const EMPTY: Draft = { text: "", replyTo: null };

export function recallDraft(ledger: string): Draft {
  return parseDraft(recall(KEY.draft(ledger)));
}

export function keepDraft(ledger: string, draft: Draft): void {
  keep(KEY.draft(ledger), draft.text === "" && draft.replyTo === null ? null : JSON.stringify(draft));
}

/** An older page, or somebody's hands, may have written something else there. */
export function parseDraft(kept: string | null): Draft {
  if (kept === null) return EMPTY;
  try {
    const { text, replyTo } = JSON.parse(kept) as Partial<Record<keyof Draft, unknown>>;
    return { text: typeof text === "string" ? text : "", replyTo: typeof replyTo === "string" ? replyTo : null };
  } catch {
    return EMPTY;
  }
}
