/** What the node pushes, handed to the subscriptions: one catch-up at a time, then live entries. */

import { CairnError } from "./errors.js";
import type { Inbox, Source } from "./subscription.js";
import type { EntryBatch, Entry } from "./types.js";

/** Asks the node for what follows a cursor; `failed` is called at most once. */
export type Ask = (cursor: string | undefined, failed: (error: CairnError) => void) => void;

/**
 * The subscriptions of one client. A node's batches do not say whose they are, so catch-ups take turns; subscriptions that
 * are live stay live meanwhile.
 */
export class Feed<T> implements Source<T> {
  readonly #all = new Set<Inbox<T>>();
  readonly #waiting = new Set<Inbox<T>>();
  readonly #live = new Set<Inbox<T>>();
  /** Who catches up now; an inbox that has ended stays until its last batch has come. */
  #current: Inbox<T> | undefined;
  #ask: Ask | undefined;
  #node: string | undefined;

  /** The connection is there, and leads to this node. */
  connected(node: string, ask: Ask): void {
    this.#node = node;
    this.#ask = ask;
    this.#next();
  }

  /** The connection is lost: every subscription has to catch up from where it stands. */
  disconnected(): void {
    this.#ask = undefined;
    this.#current = undefined;
    this.#live.clear();
    for (const inbox of this.#all) this.#enqueue(inbox);
  }

  wants(inbox: Inbox<T>): void {
    this.#all.add(inbox);
    // What was left out of a catch-up that still runs can be asked for when it is over.
    if (inbox !== this.#current) this.#enqueue(inbox);
    this.#next();
  }

  left(inbox: Inbox<T>): void {
    this.#all.delete(inbox);
    this.#waiting.delete(inbox);
    this.#live.delete(inbox);
  }

  /** A part of a catch-up came. */
  onBatch(batch: EntryBatch<T>): void {
    const inbox = this.#current;
    if (inbox === undefined) return;
    inbox.takeBatch(batch.entries, batch.cursor);
    if (!batch.done) return;
    this.#current = undefined;
    this.#finish(inbox);
    this.#next();
  }

  /** A live entry came. */
  onLive(entry: Entry<T>): void {
    for (const inbox of this.#live) inbox.takeLive(entry);
  }

  /** Ends all subscriptions, with an error if entries may be missing. */
  close(error?: CairnError): void {
    for (const inbox of [...this.#all]) inbox.end(error);
  }

  /** Lets an inbox wait for its catch-up, unless its reader has no room for one: it comes back when there is. */
  #enqueue(inbox: Inbox<T>): void {
    if (inbox.behind && !inbox.hungry) return;
    this.#live.delete(inbox);
    this.#waiting.add(inbox);
  }

  #finish(inbox: Inbox<T>): void {
    if (inbox.ended) return;
    if (inbox.behind) return this.#enqueue(inbox);
    this.#live.add(inbox);
    inbox.caughtUp();
  }

  #next(): void {
    while (this.#ask !== undefined && this.#current === undefined) {
      const [inbox] = this.#waiting;
      if (inbox === undefined) return;
      this.#waiting.delete(inbox);
      if (this.#leadsElsewhere(inbox)) {
        inbox.end(
          new CairnError(
            "unknown_cursor",
            "this URL leads to another node now, which got its entries in another order",
          ),
        );
        continue;
      }
      inbox.node = this.#node;
      inbox.behind = false;
      this.#current = inbox;
      this.#ask(inbox.reached, (error) => this.#failed(inbox, error));
    }
  }

  #leadsElsewhere(inbox: Inbox<T>): boolean {
    return inbox.reached !== undefined && inbox.node !== undefined && inbox.node !== this.#node;
  }

  #failed(inbox: Inbox<T>, error: CairnError): void {
    if (this.#current !== inbox) return;
    this.#current = undefined;
    inbox.end(error);
    this.#next();
  }
}
