/** What a check of a ledger says, and what does the checking. */

/** What is wrong, and where. */
export interface Finding {
  /** A sentence. */
  readonly what: string;
  /** Which block it is, counted from 1 in the order in which the node gave them; `null` where it is none of them. */
  readonly block: number | null;
  /** Whose block that is, its height in its author's lane, and its hash, where its bytes still say so. */
  readonly author: string | null;
  readonly height: number | null;
  readonly hash: string | null;
  /** The entry, where it is about one. */
  readonly entry: string | null;
}

/** What was taken in and proved. */
export interface Proved {
  readonly blocks: number;
  readonly entries: number;
  readonly authors: number;
  /** Lanes of which it is proved that they are forked. */
  readonly forks: number;
  /** Equal to the `digest` of a node that has just this. */
  readonly digest: string;
}

/** The result of {@link Client.verify}. */
export interface Verification extends Proved {
  /** What is wrong; `null`: nothing is. What is counted stands before it. */
  readonly finding: Finding | null;
  /** How long it took. */
  readonly milliseconds: number;
}

/** The order of entries: of the ledger, or that in which the node got them. */
export type EntryOrder = "ledger" | "given";

/** Entries as they were signed. */
export interface Confirmed {
  /** The JSON of each, up to the first that should not be there. */
  readonly entries: readonly string[];
  /** What should stand behind them instead of what does; `null`: nothing should; `undefined`: all are as they should be. */
  readonly expected?: string | null;
}

/** Who does the checking: in this thread or in a worker. All calls take effect in their order. */
export interface Auditor {
  /** Takes in the next blocks, in base64. A finding ends it: nothing more is taken in. */
  add(blocks: readonly string[]): Promise<Finding | null>;
  /** Waits for the last signatures. */
  settle(): Promise<Finding | null>;
  /** The keys that open what is sealed. */
  setKeyring(keyring: string): Promise<void>;
  /** Entries by their ids. `after`: what they must follow without a gap, `null`: they are the first; `undefined`: only each other. */
  confirm(ids: readonly string[], order: EntryOrder | null, after: string | null | undefined): Promise<Confirmed>;
  /** What was taken in. */
  proved(): Promise<Proved>;
  /** Lets go of all of it. */
  close(): void;
}
