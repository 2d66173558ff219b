/** Checking in this thread: blocks go through the rules, their signatures beside it. */

import { bytesOf } from "./base64.js";
import { rules, type Audit, type Rules } from "./rules.js";
import { SharedSignatures, Signatures, type ClaimChecker, type Claims } from "./signatures.js";
import type { Auditor, Confirmed, EntryOrder, Finding, Proved } from "./types.js";

/** The auditor of one ledger; signatures are checked by the workers that some ports lead to, or else here. */
export async function localAuditor(ledger: string, ports: readonly MessagePort[] = []): Promise<Auditor> {
  const loaded = await rules();
  const signatures = ports.length > 0 ? new SharedSignatures(ports) : new Signatures();
  return new LocalAuditor(loaded, new loaded.Audit(ledger, ""), signatures);
}

class LocalAuditor implements Auditor {
  readonly #rules: Rules;
  readonly #audit: Audit;
  readonly #signatures: ClaimChecker;
  /** The check of the signatures that came before: while it runs, the next blocks go through the rules. */
  #checking: Promise<Finding | null> = Promise.resolve(null);
  #finding: Finding | null = null;
  #given = 0;
  /** The entries before each block whose signature is still to be checked, by the block's number. */
  readonly #entriesBefore = new Map<number, number>();

  constructor(loaded: Rules, audit: Audit, signatures: ClaimChecker) {
    this.#rules = loaded;
    this.#audit = audit;
    this.#signatures = signatures;
  }

  async add(blocks: readonly string[]): Promise<Finding | null> {
    if (this.#finding !== null) return this.#finding;
    const first = this.#given;
    let broken: Finding | null = null;
    const now = Date.now();
    for (const block of blocks) {
      try {
        this.#entriesBefore.set(this.#given + 1, this.#audit.entries());
        this.#audit.add(bytesOf(block), now);
        this.#given += 1;
      } catch (error) {
        broken = this.#found(this.#given + 1, sentence(error), block);
        break;
      }
    }
    const last = this.#given;
    const claims = this.#audit.claims() as Claims;
    const before = await this.#checking;
    this.#checking = this.#check(claims, blocks, first, last).then((forged) => forged ?? broken);
    // The earliest block that is wrong is the one to tell of.
    if (before !== null) this.#finding = before;
    else if (broken !== null) this.#finding = await this.#checking;
    return this.#finding;
  }

  async settle(): Promise<Finding | null> {
    this.#finding ??= await this.#checking;
    return this.#finding;
  }

  setKeyring(keyring: string): Promise<void> {
    this.#audit.setKeyring(keyring);
    return Promise.resolve();
  }

  async confirm(ids: readonly string[], order: EntryOrder | null, after: string | null | undefined): Promise<Confirmed> {
    const entries: string[] = [];
    let before = after;
    for (const id of ids) {
      if (order !== null && before !== undefined) {
        const expected = this.#next(order, before);
        if (expected !== id) return { entries, expected };
      }
      try {
        entries.push(this.#audit.entry(id));
      } catch {
        return { entries, expected: null };
      }
      before = id;
    }
    return { entries };
  }

  proved(): Promise<Proved> {
    const [blocks = 0, entries = 0, authors = 0, forks = 0] = this.#audit.totals();
    const all = { blocks, entries, authors, forks, digest: this.#audit.digest() };
    const wrong = this.#finding?.block ?? null;
    if (wrong === null) return Promise.resolve(all);
    // What was taken in behind it is proved by nothing.
    return Promise.resolve({ ...all, blocks: wrong - 1, entries: this.#entriesBefore.get(wrong) ?? entries });
  }

  close(): void {
    this.#audit.free();
  }

  #next(order: EntryOrder, id: string | null): string | null {
    try {
      return this.#audit.next(order === "given", id ?? undefined) ?? null;
    } catch {
      return null;
    }
  }

  /** Whether the authors of the blocks behind `first`, up to `last`, have signed them. */
  async #check(claims: Claims, blocks: readonly string[], first: number, last: number): Promise<Finding | null> {
    const index = await this.#signatures.check(claims);
    if (index < 0) {
      for (let number = first + 1; number <= last; number++) this.#entriesBefore.delete(number);
      return null;
    }
    return this.#found(first + index + 1, "its signature is not that of its author", blocks[index]!);
  }

  #found(number: number, what: string, block: string): Finding {
    const nowhere = { what, block: number, author: null, height: null, hash: null, entry: null };
    try {
      const [author = null, height = null, hash = null] = this.#rules.place(bytesOf(block)).split("-");
      return { ...nowhere, author, height: Number(height), hash };
    } catch {
      return nowhere;
    }
  }
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
