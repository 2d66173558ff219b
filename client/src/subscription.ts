/** One follower of the ledger: what waits to be read, and where it stands. */

import { CairnError } from "./errors.js";
import type { Entry } from "./types.js";

/** Where a subscription begins, and its bound. */
export interface SubscribeOptions {
  /** The entry id or cursor behind which to begin; none: the beginning of the ledger. */
  readonly cursor?: string | undefined;
  /** Entries that wait to be read before the client stops taking more; 50,000 if not given. */
  readonly buffer?: number | undefined;
}

interface Item<T> {
  readonly entry: Entry<T>;
  /** The place behind it. */
  readonly cursor: string;
}

/** What a subscription needs of the connection. */
export interface Source<T> {
  /** The reader has made room, or the subscription is new: it needs entries. */
  wants(inbox: Inbox<T>): void;
  /** Nobody reads any more. */
  left(inbox: Inbox<T>): void;
}

/** The entries of one subscription between the connection and the reader. */
export class Inbox<T> {
  /** The node whose order of arrival the cursor belongs to; `undefined` before the first answer. */
  node: string | undefined;
  /** Whether entries were left out that the node has to send again, from `reached`. */
  behind = false;
  /** The place behind the last entry taken from the node. */
  reached: string | undefined;
  /** The place behind the last entry handed to the reader. */
  delivered: string | undefined;
  readonly #buffer: number;
  readonly #source: Source<T>;
  #items: Item<T>[] = [];
  #read = 0;
  #wake: () => void = () => {};
  #live = false;
  #onLive: ((live: boolean) => void) | undefined;
  #ended = false;
  #error: CairnError | undefined;
  readonly #onEnd: (error: CairnError | undefined) => void;

  constructor(
    options: SubscribeOptions,
    source: Source<T>,
    onLive: (live: boolean) => void,
    onEnd: (error: CairnError | undefined) => void,
  ) {
    this.reached = options.cursor;
    this.delivered = options.cursor;
    this.#buffer = Math.max(1, options.buffer ?? 50_000);
    this.#source = source;
    this.#onLive = onLive;
    this.#onEnd = onEnd;
  }

  /** Whether nobody reads any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Whether the reader has made room for what was left out. */
  get hungry(): boolean {
    return this.behind && this.#waiting <= this.#buffer / 2;
  }

  /** Takes entries of a catch-up, and the place behind them. */
  takeBatch(entries: readonly Entry<T>[], cursor: string): void {
    if (!this.#hasRoom()) return;
    entries.forEach((entry, index) => this.#push(entry, index + 1 === entries.length ? cursor : entry.id));
    this.reached = cursor;
    if (this.#waiting === 0) this.delivered = cursor;
    this.#wake();
  }

  /** Takes a live entry. */
  takeLive(entry: Entry<T>): void {
    if (!this.#hasRoom()) return;
    this.#push(entry, entry.id);
    this.reached = entry.id;
    this.#wake();
  }

  /** Live entries follow those that were taken. */
  caughtUp(): void {
    this.#live = true;
    this.#wake();
  }

  /** The next entry, when there is one; `undefined` at the end. */
  async next(): Promise<Entry<T> | undefined> {
    for (;;) {
      const item = this.#items[this.#read];
      if (item !== undefined) return this.#deliver(item);
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      if (this.#live) this.#tellLive(true);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Ends it; entries that wait are dropped unless an error ended it, which comes after them. */
  end(error?: CairnError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    if (error === undefined) {
      this.#items = [];
      this.#read = 0;
    }
    this.#source.left(this);
    this.#tellLive(false);
    this.#onEnd(error);
    this.#wake();
  }

  get #waiting(): number {
    return this.#items.length - this.#read;
  }

  /** Whether more may be taken; once it may not, nothing is until the reader has made room. */
  #hasRoom(): boolean {
    if (this.#ended) return false;
    if (this.#waiting >= this.#buffer) this.behind = true;
    return !this.behind;
  }

  #push(entry: Entry<T>, cursor: string): void {
    this.#items.push({ entry, cursor });
  }

  #deliver(item: Item<T>): Entry<T> {
    this.#read += 1;
    // What was read is cut off in large pieces, so that reading costs the same however much waits.
    if (this.#read === this.#items.length || this.#read >= 1024) {
      this.#items.splice(0, this.#read);
      this.#read = 0;
    }
    this.delivered = item.cursor;
    if (this.hungry) this.#source.wants(this);
    return item.entry;
  }

  #tellLive(live: boolean): void {
    this.#onLive?.(live);
    this.#onLive = undefined;
  }
}

/**
 * A running subscription: every entry once, in the order in which the node got them. Read it with `for await`, or let
 * `subscribe` call a listener.
 */
export class Subscription<T> implements AsyncIterable<Entry<T>> {
  /** Resolves with `true` once everything that was there before has been read; with `false` if it ends before that. */
  readonly caughtUp: Promise<boolean>;
  /** Resolves when the subscription has ended: with the error that ended it, if one did. */
  readonly closed: Promise<CairnError | undefined>;
  readonly #inbox: Inbox<T>;

  /** @internal */
  constructor(options: SubscribeOptions, source: Source<T>) {
    let onLive = (_live: boolean): void => {};
    let onEnd = (_error: CairnError | undefined): void => {};
    this.caughtUp = new Promise((resolve) => (onLive = resolve));
    this.closed = new Promise((resolve) => (onEnd = resolve));
    this.#inbox = new Inbox(options, source, onLive, onEnd);
    source.wants(this.#inbox);
  }

  /**
   * The place behind the last entry that was delivered: pass it to `subscribe` to go on from there, at the same node.
   * `undefined` at the beginning of the ledger.
   */
  get cursor(): string | undefined {
    return this.#inbox.delivered;
  }

  /** Ends it. */
  close(): void {
    this.#inbox.end();
  }

  /** The entries; leaving the loop ends the subscription. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Entry<T>, void, undefined> {
    try {
      for (;;) {
        const entry = await this.#inbox.next();
        if (entry === undefined) return;
        yield entry;
      }
    } finally {
      this.close();
    }
  }

  /** @internal Calls a listener with every entry, one after the other. */
  async run(listener: (entry: Entry<T>) => void | Promise<void>): Promise<void> {
    try {
      for (;;) {
        const entry = await this.#inbox.next();
        if (entry === undefined) return;
        await listener(entry);
      }
    } catch (error) {
      // An error of the connection has ended the inbox already, and `closed` tells of it.
      this.#inbox.end(new CairnError("listener_failed", "a subscription's listener threw", { cause: error }));
    }
  }
}
