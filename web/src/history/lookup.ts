/** What the history itself does not tell: of which blocks something was erased, and the proofs of forks. */

import type { Client, Entry, EvidenceEntry, HistoryBlock, Json } from "@cairn/client";

import { placeIn } from "./header.js";
import type { Span } from "./scale.js";

/** What a lookup needs of a client. */
export type Asked = Pick<Client<Json>, "blocks" | "entry" | "history">;

/** What was found so far. */
export interface Found {
  /** `author-height` of blocks of which something was erased. */
  readonly erased: ReadonlySet<string>;
  readonly proofs: readonly EvidenceEntry[];
}

/** Blocks that are looked into at once. */
const AT_ONCE = 64;
/** Entries of a block that are looked at for a proof: they come first, or alone. */
const ENTRIES = 4;
/** µs behind a fork in which its proof is looked for first, and by how much more with each further try. */
const FIRST_SPAN = 60_000_000;
const WIDER = 8;
const TRIES = 9;
/** Blocks that are told one by one at most. */
const MOST_BLOCKS = 2_000;

/** Looks into the few blocks that say something of others, each once. */
export class Lookup {
  readonly #client: Asked;
  readonly #changed: (found: Found) => void;
  readonly #seen = new Set<string>();
  #found: Found = { erased: new Set(), proofs: [] };

  constructor(client: Asked, changed: (found: Found) => void) {
    this.#client = client;
    this.#changed = changed;
  }

  /** Looks into those of some blocks that say that something was erased or forked, the latest first. */
  async look(blocks: readonly HistoryBlock[]): Promise<void> {
    const fresh = blocks.filter(({ hash, kinds }) => isTelling(kinds) && !this.#seen.has(hash)).slice(-AT_ONCE);
    for (const { hash } of fresh) this.#seen.add(hash);
    const read = await Promise.all(fresh.map((block) => this.#read(block)));
    for (const entry of read.flat()) this.#learn(entry);
  }

  /** Something was erased just now. */
  erased(entry: string): void {
    const place = placeOfEntry(entry);
    if (this.#found.erased.has(place)) return;
    this.#tell({ ...this.#found, erased: new Set([...this.#found.erased, place]) });
  }

  /** When the blocks of a place were written; `null` if the node has none. */
  async spanOf(author: string, height: number): Promise<Span | null> {
    const page = await this.#client.blocks({ places: [[author, height]] });
    const times = page.blocks.flatMap((bytes) => placeIn(bytes)?.timestamp ?? []);
    return times.length === 0 ? null : { from: Math.min(...times), to: Math.max(...times) };
  }

  /** Looks for the proof of a fork behind the moment of it: in ever longer spans, as long as their blocks are told one by one. */
  async prove(author: string, from: number): Promise<boolean> {
    for (let [tries, length] = [0, FIRST_SPAN]; tries < TRIES; [tries, length] = [tries + 1, length * WIDER]) {
      const { blocks, last } = await this.#client.history({ from, to: from + length, buckets: 1, detail: MOST_BLOCKS });
      if (blocks === null) return false;
      await this.look(blocks);
      if (this.#found.proofs.some(({ data }) => data.author === author)) return true;
      if (last === null || from + length >= last) return false;
    }
    return false;
  }

  async #read(block: HistoryBlock): Promise<readonly Entry<Json>[]> {
    const count = Math.min(ENTRIES, block.entries);
    const ids = Array.from({ length: count }, (_, index) => `${block.author}-${block.height}-${index}`);
    // An entry that cannot be read now says nothing; its block still has its mark.
    const read = await Promise.allSettled(ids.map((id) => this.#client.entry(id)));
    return read.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  }

  #learn(entry: Entry<Json>): void {
    if (entry.kind === "erase" && entry.data !== null) return this.erased(entry.data.entry);
    if (entry.kind !== "evidence" || this.#found.proofs.some(({ id }) => id === entry.id)) return;
    this.#tell({ ...this.#found, proofs: [...this.#found.proofs, entry] });
  }

  #tell(found: Found): void {
    this.#found = found;
    this.#changed(found);
  }
}

function isTelling(kinds: readonly string[]): boolean {
  return kinds.includes("erase") || kinds.includes("evidence");
}

/** `author-height` of an entry's id. */
export function placeOfEntry(id: string): string {
  return id.slice(0, id.lastIndexOf("-"));
}
