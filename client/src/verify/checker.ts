/** Holds what a node shows against what was signed. */

import { CairnError } from "../errors.js";
import type { BlockPage, Entry } from "../types.js";
import { openAuditor } from "./open.js";
import { sameHeader, sameContent } from "./same.js";
import type { Auditor, Confirmed, EntryOrder, Finding, Proved } from "./types.js";

/** What a checker asks the node for. */
export interface Given {
  blocks(which: { readonly after: string | null }): Promise<BlockPage>;
  keyring(): Promise<string>;
}

/** The ledger of one node, as far as it was given and proved. Calls take turns. */
export class Checker<T> {
  readonly #given: Given;
  readonly #ledger: string;
  #auditor: Auditor;
  #cursor: string | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(given: Given, ledger: string, auditor: Auditor) {
    this.#given = given;
    this.#ledger = ledger;
    this.#auditor = auditor;
  }

  /** Begins to check a ledger, which has about so many blocks. */
  static async open<T>(given: Given, ledger: string, blocks: number): Promise<Checker<T>> {
    const checker = new Checker<T>(given, ledger, await openAuditor(ledger, blocks));
    await checker.#readKeys();
    return checker;
  }

  /** Takes in what came since; `onBlocks` is told how many blocks came. Rejects with `unproven` where something is wrong. */
  catchUp(onBlocks?: (blocks: number) => void, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(() => this.#catchUp(onBlocks, signal));
  }

  /**
   * The same entries as they were signed. Rejects with `unproven` where one was not, or where one is missing or out of place: `after` is
   * what they must follow (`null`: they are the first; `undefined`: only each other counts).
   */
  confirm(entries: readonly Entry<T>[], order: EntryOrder | null, after: string | null | undefined): Promise<Entry<T>[]> {
    return this.#inTurn(async () => {
      await this.#catchUp();
      const ids = entries.map(({ id }) => id);
      let confirmed = await this.#auditor.confirm(ids, order, after);
      if (confirmed.expected !== undefined) {
        // A block may have ceased to count since it was taken in, so that the node rightly shows it no more.
        await this.#beginAnew();
        confirmed = await this.#auditor.confirm(ids, order, after);
      }
      if (confirmed.expected !== undefined) throw outOfPlace(entries, confirmed);
      return this.#compare(entries, confirmed, order, after);
    });
  }

  /** What was taken in. */
  proved(): Promise<Proved> {
    return this.#inTurn(() => this.#auditor.proved());
  }

  close(): void {
    this.#auditor.close();
  }

  #inTurn<A>(work: () => Promise<A>): Promise<A> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #catchUp(onBlocks?: (blocks: number) => void, signal?: AbortSignal): Promise<void> {
    // The next page comes while this one is checked.
    let next = this.#given.blocks({ after: this.#cursor });
    for (;;) {
      signal?.throwIfAborted();
      const page = await next;
      if (!page.done) {
        next = this.#given.blocks({ after: page.cursor });
        next.catch(() => {});
      }
      const finding = page.blocks.length > 0 ? await this.#auditor.add(page.blocks) : null;
      if (finding !== null) throw unproven(finding);
      this.#cursor = page.cursor;
      onBlocks?.(page.blocks.length);
      if (page.done) break;
    }
    const finding = await this.#auditor.settle();
    if (finding !== null) throw unproven(finding);
  }

  async #beginAnew(): Promise<void> {
    const { blocks } = await this.#auditor.proved();
    this.#auditor.close();
    this.#auditor = await openAuditor(this.#ledger, blocks);
    this.#cursor = null;
    await this.#readKeys();
    await this.#catchUp();
  }

  async #readKeys(): Promise<void> {
    await this.#auditor.setKeyring(await this.#given.keyring());
  }

  async #compare(
    entries: readonly Entry<T>[],
    confirmed: Confirmed,
    order: EntryOrder | null,
    after: string | null | undefined,
  ): Promise<Entry<T>[]> {
    let signed = parse<T>(confirmed);
    const closed = (entry: Entry<T>, index: number): boolean => isSealed(entry) && !isSealed(entries[index]!);
    if (signed.some(closed)) {
      await this.#readKeys();
      signed = parse<T>(await this.#auditor.confirm(entries.map(({ id }) => id), order, after));
    }
    const proven: Entry<T>[] = [];
    for (const [index, shown] of entries.entries()) proven.push(await this.#one(shown, signed[index]!));
    return proven;
  }

  async #one(shown: Entry<T>, signed: Entry<T>): Promise<Entry<T>> {
    const differs = (what: string) => unproven({ ...NOWHERE, ...placeOf(shown), what });
    if (!sameHeader(shown, signed)) throw differs("what the node says of this entry is not what was signed");
    if ("erased" in shown && shown.erased !== undefined) {
      if (await this.#isErased(shown.id, shown.erased)) return shown;
      throw differs("the node says that this entry was erased, and nobody has signed that");
    }
    if ("withheld" in shown && shown.withheld === true) return shown;
    // Erased since: what it said cannot be proved any more, and is not to be shown.
    if ("withheld" in signed && signed.withheld === true) return signed;
    if (!sameContent(shown, signed)) throw differs("the content that the node shows is not what was signed");
    return signed;
  }

  async #isErased(id: string, { by, entry }: { readonly by: string; readonly entry: string }): Promise<boolean> {
    const [erase] = parse<T>(await this.#auditor.confirm([entry], null, undefined));
    return erase?.kind === "erase" && erase.creator_node_id === by && erase.data?.entry === id;
  }
}

const NOWHERE: Finding = { what: "", block: null, author: null, height: null, hash: null, entry: null };

/** The error of a finding, which is its `cause`. */
export function unproven(finding: Finding): CairnError {
  const where = [
    finding.block !== null && `block ${finding.block}`,
    finding.entry !== null && `entry ${finding.entry}`,
    finding.author !== null && finding.entry === null && `height ${finding.height} of ${finding.author}`,
  ].filter((part) => part !== false);
  return new CairnError("unproven", `${where.join(", ") || "the ledger"}: ${finding.what}`, { cause: finding });
}

function placeOf({ id, creator_node_id, height }: { id: string; creator_node_id: string; height: number }) {
  return { entry: id, author: creator_node_id, height };
}

function outOfPlace<T>(entries: readonly Entry<T>[], { entries: confirmed, expected }: Confirmed): CairnError {
  const shown = entries[confirmed.length]!;
  const what =
    typeof expected === "string"
      ? `the node shows this entry where ${expected} belongs: one is missing, or they are out of order`
      : "nobody has signed this entry";
  return unproven({ ...NOWHERE, ...placeOf(shown), what });
}

function isSealed<T>(entry: Entry<T>): boolean {
  return "sealed" in entry && entry.sealed === true;
}

function parse<T>({ entries }: Confirmed): Entry<T>[] {
  return entries.map((text) => JSON.parse(text) as Entry<T>);
}
