/** What the node pushes, let through once it is proved: in the order in which it came, one after the other. */

import { CairnError } from "../errors.js";
import type { Entry, EntryBatch } from "../types.js";
import type { Checker } from "./checker.js";

/** Entries that wait to be proved before the connection is taken for too fast. */
const WAITING = 50_000;

/** Where what is proved goes. */
export interface Beyond<T> {
  onBatch(batch: EntryBatch<T>): void;
  onLive(entries: readonly Entry<T>[]): void;
  /** Something is not as it was signed, or cannot be checked; nothing more goes through on this connection. */
  onFailure(error: CairnError): void;
  /** More waits than there is room for: what was dropped has to be asked for again. */
  onOverflow(): void;
}

export class Gate<T> {
  readonly #checker: () => Promise<Checker<T>>;
  readonly #beyond: Beyond<T>;
  /** What belongs to a connection before the present one is dropped. */
  #connection = 0;
  #line: Promise<void> = Promise.resolve();
  #waiting = 0;
  /** Something was not as it was signed: this connection is not to be believed any more. */
  #shut = false;
  /** What the next batch and the next live entry must follow. */
  #batch: string | null | undefined;
  #live: string | undefined;

  constructor(checker: () => Promise<Checker<T>>, beyond: Beyond<T>) {
    this.#checker = checker;
    this.#beyond = beyond;
  }

  /** There is another connection, or none. */
  reset(): void {
    this.#connection += 1;
    this.#live = undefined;
    this.#waiting = 0;
    this.#shut = false;
  }

  /** Batches are asked for that follow this cursor. */
  follow(cursor: string | undefined): void {
    // Other cursors than ids are the node's own.
    this.#batch = cursor === undefined ? null : cursor.includes("@") ? undefined : cursor;
  }

  takeBatch(batch: EntryBatch<T>): void {
    this.#enqueue(batch.entries, async (checker) => {
      const entries = await checker.confirm(batch.entries, "given", this.#batch);
      this.#batch = entries.at(-1)?.id ?? this.#batch;
      if (batch.done) this.#live ??= this.#batch ?? undefined;
      return () => this.#beyond.onBatch({ ...batch, entries });
    });
  }

  takeLive(entries: readonly Entry<T>[]): void {
    this.#enqueue(entries, async (checker) => {
      const proven = await checker.confirm(entries, "given", this.#live);
      this.#live = entries.at(-1)?.id ?? this.#live;
      return () => this.#beyond.onLive(proven);
    });
  }

  #enqueue(entries: readonly Entry<T>[], prove: (checker: Checker<T>) => Promise<() => void>): void {
    if (this.#shut) return;
    const connection = this.#connection;
    this.#waiting += entries.length;
    if (this.#waiting > WAITING) {
      this.reset();
      return this.#beyond.onOverflow();
    }
    this.#line = this.#line.then(async () => {
      if (connection !== this.#connection) return;
      try {
        const deliver = await prove(await this.#checker());
        if (connection !== this.#connection) return;
        this.#waiting -= entries.length;
        deliver();
      } catch (error) {
        if (connection !== this.#connection) return;
        this.reset();
        this.#shut = true;
        this.#beyond.onFailure(error instanceof CairnError ? error : new CairnError("not_checked", String(error), { cause: error }));
      }
    });
  }
}
