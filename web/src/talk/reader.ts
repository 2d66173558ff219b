/** Reads the ledger for the conversation: page by page both ways, what arrives, and again what changed. One thing at a time. */

import { CairnError, type Client, type Entry, type Json, type OrderChange } from "@cairn/client";

import type { Event } from "../state/event.js";
import type { State } from "../state/state.js";
import { indexOf, isNews, itemOf, lookUp, type Timeline } from "../state/timeline.js";

/** Entries of a page: some screens full. */
const PAGE = 200;
/** Entries of the pages before: whoever goes back goes on. */
const OLDER = 500;
/** Entries read at once towards the end, behind the reader's back. */
const AHEAD = 1000;
/** Entries that are read again at most; where more changed, what is on the screen is read anew. */
const REREAD = 3000;
/** Entries before the first unread one of which is known how many they are. */
const COUNTED = 100;
/** ms in which what arrives is shown together. */
const GATHER = 30;
/** ms between two readings of what changed. A node that catches up tells of changes all the time. */
const SETTLE = 400;

/** What the reader needs of the page. */
export interface ReaderOptions {
  readonly client: Pick<Client<Json>, "newest" | "entries" | "entry" | "subscribe">;
  readonly state: () => State;
  readonly dispatch: (event: Event) => void;
  /** Entries came that the page did not have. */
  readonly onArrived: (entries: readonly Entry<Json>[]) => void;
  readonly onError: (error: unknown) => void;
}

/** Where somebody reads. */
export interface Anchor {
  /** The first entry on the screen. */
  readonly entry: string | null;
  /** Whether the newest is on the screen. */
  readonly bottom: boolean;
}

export class Reader {
  /** The view says where it is. */
  anchor: Anchor = { entry: null, bottom: true };
  readonly #options: ReaderOptions;
  /** The last thing that is being done; everything waits for it, so no two readings meet. */
  #turn: Promise<void> = Promise.resolve();
  #waiting: Entry<Json>[] = [];
  #gathering: ReturnType<typeof setTimeout> | undefined;
  /** The last entry in the order in which the node got them: what was missed is behind it. */
  #last: string | undefined;
  #changed: { readonly cursors: Set<string | null> } | undefined;
  readonly #asked = new Set<string>();
  #olderAsked = false;
  #closed = false;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** Reads the newest page. */
  open(): Promise<void> {
    return this.#do(() => this.#readNewest());
  }

  /** Reads the page before the stretch. */
  older(): void {
    const { atStart, read } = this.#timeline;
    if (atStart || !read || this.#olderAsked) return;
    this.#olderAsked = true;
    void this.#do(async () => {
      const { generation, items } = this.#timeline;
      const entries = await this.#options.client.newest(OLDER, items.at(0)?.entry.id ?? null);
      if (this.#timeline.generation === generation) this.#options.dispatch({ type: "older", entries, start: entries.length === 0 });
    }).finally(() => (this.#olderAsked = false));
  }

  /** Shows an entry, wherever in the ledger it is. */
  jump(id: string): Promise<void> {
    return this.#do(async () => {
      if (!this.#timeline.known.has(id)) await this.#readAround(id);
      this.#options.dispatch({ type: "focused", entry: id });
    }).then(() => this.#goOn());
  }

  /** Shows the end of the ledger. */
  latest(): void {
    if (this.#timeline.atEnd) return;
    void this.open();
  }

  /** Reads an entry that something refers to, unless it is there. */
  want(id: string): void {
    if (lookUp(this.#timeline, id) !== undefined || this.#asked.has(id)) return;
    this.#asked.add(id);
    void this.#readOne(id);
  }

  /** An entry is other than it was. */
  again(id: string): void {
    if (lookUp(this.#timeline, id) !== undefined) void this.#readOne(id);
  }

  /** A live entry. */
  arrived(entry: Entry<Json>): void {
    this.#waiting.push(entry);
    this.#last = entry.id;
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      // In its turn: a page that is being read may have it already.
      void this.#do(async () => this.#flush());
    }, GATHER);
  }

  /** Entries landed between older ones. */
  orderChanged({ from_cursor }: OrderChange): void {
    if (this.#changed !== undefined) return void this.#changed.cursors.add(from_cursor);
    const changed = { cursors: new Set([from_cursor]) };
    this.#changed = changed;
    setTimeout(() => {
      void this.#do(async () => {
        this.#changed = undefined;
        await this.#rereadFrom(changed.cursors);
      });
    }, SETTLE);
  }

  /** The connection is back: whatever the node got meanwhile may stand anywhere. */
  resume(): Promise<void> {
    return this.#do(() => this.#fillGap()).then(() => this.#goOn());
  }

  /** Finds where what was not read begins, behind the last entry that was. */
  unread(last: string, mine: string): Promise<void> {
    return this.#do(async () => {
      const entries = await this.#collect(last, COUNTED + 1);
      const unread = entries.map(itemOf).filter((item) => isNews(item, mine));
      const [first] = unread;
      if (first === undefined) return;
      this.#options.dispatch({ type: "unread", unread: { from: first.entry.id, count: unread.length, more: entries.length > COUNTED } });
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#gathering);
  }

  get #timeline(): Timeline {
    return this.#options.state().timeline;
  }

  #do(task: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(async () => {
      if (this.#closed) return;
      try {
        await task();
      } catch (error) {
        if (!this.#closed) this.#options.onError(error);
      }
    });
    this.#turn = turn;
    return turn;
  }

  #flush(): void {
    const entries = this.#waiting;
    this.#waiting = [];
    const fresh = entries.filter(({ id }) => !this.#timeline.known.has(id));
    if (fresh.length === 0) return;
    this.#options.dispatch({ type: "arrived", entries: fresh });
    this.#options.onArrived(fresh);
  }

  async #readNewest(): Promise<void> {
    const entries = await this.#options.client.newest(PAGE);
    this.#last ??= entries.at(-1)?.id;
    this.#options.dispatch({ type: "fresh", entries, start: entries.length === 0, end: true });
  }

  async #readAround(id: string): Promise<void> {
    const { client, dispatch } = this.#options;
    const [before, entry, behind] = await Promise.all([client.newest(PAGE / 2, id), client.entry(id), this.#collect(id, PAGE / 2)]);
    dispatch({ type: "fresh", entries: [...before, entry, ...behind], start: before.length === 0, end: behind.length < PAGE / 2 });
  }

  /** Reads on to the end, so that what was said later about what is shown is known, and scrolling never waits. */
  #goOn(): void {
    const { atEnd, read, generation } = this.#timeline;
    if (atEnd || !read || this.#closed) return;
    void this.#do(async () => {
      const before = this.#timeline;
      if (before.atEnd || before.generation !== generation) return;
      const arriving = this.#waiting.length;
      const entries = await this.#collect(before.items.last?.entry.id, AHEAD);
      // What arrived while the answer was on its way may not be in it: only an end in quiet is one.
      const end = entries.length < AHEAD && this.#waiting.length === arriving;
      this.#options.dispatch({ type: "newer", entries, end });
    }).then(() => setTimeout(() => this.#timeline.generation === generation && this.#goOn()));
  }

  async #rereadFrom(cursors: ReadonlySet<string | null>): Promise<void> {
    const { items, known, atEnd } = this.#timeline;
    if (!this.#timeline.read) return;
    const places = [...cursors].map((cursor) => (cursor !== null && known.has(cursor) ? indexOf(this.#timeline, cursor) : -1));
    const place = Math.min(...places);
    // A change before the stretch may have changed all of it, and in a stretch that ends earlier there is no telling.
    if (place < 0 || !atEnd || items.length - place > REREAD) return this.#readAnew();
    const after = items.at(place)!.entry.id;
    const entries = await this.#collect(after, Infinity);
    this.#options.dispatch({ type: "reread", after, entries });
  }

  /** Reads what is on the screen anew. */
  async #readAnew(): Promise<void> {
    const { entry, bottom } = this.anchor;
    if (bottom || entry === null) return this.#readNewest();
    try {
      await this.#readAround(entry);
    } catch (error) {
      if (error instanceof CairnError && error.code === "unknown_entry") return this.#readNewest();
      throw error;
    }
  }

  async #fillGap(): Promise<void> {
    const missed = await this.#missed();
    if (missed === null || !this.#timeline.atEnd) return this.#readAnew();
    if (missed.length === 0) return;
    await this.#place(missed);
    this.#options.onArrived(missed);
  }

  /** What the node got since the connection was lost; `null` where that is too much, or not to be told. */
  async #missed(): Promise<readonly Entry<Json>[] | null> {
    const missed: Entry<Json>[] = [];
    const subscription = this.#options.client.subscribe({ cursor: this.#last });
    void subscription.caughtUp.then(() => subscription.close());
    try {
      for await (const entry of subscription) {
        missed.push(entry);
        this.#last = entry.id;
        if (missed.length > REREAD) return null;
      }
    } catch (error) {
      // Another node answers here now: there the order in which entries came is another.
      if (!(error instanceof CairnError) || error.code !== "unknown_cursor") throw error;
      this.#last = undefined;
      return null;
    }
    return missed;
  }

  /** Reads back from the end until all that was missed has its place in what is known. */
  async #place(missed: readonly Entry<Json>[]): Promise<void> {
    const all = new Set(missed.map(({ id }) => id));
    const left = new Set(all);
    const first = this.#timeline.items.at(0)?.entry.id;
    let tail: readonly Entry<Json>[] = [];
    while (tail.length <= REREAD) {
      const page = await this.#options.client.newest(PAGE, tail[0]?.id ?? null);
      tail = [...page, ...tail];
      for (const { id } of page) left.delete(id);
      const start = page.length === 0 ? 0 : tail.findIndex(({ id }) => id === first);
      if (start >= 0) return this.#options.dispatch({ type: "fresh", entries: tail.slice(start), start: page.length === 0, end: true });
      const place = tail.findIndex(({ id }) => all.has(id));
      const before = tail[place - 1];
      if (left.size > 0 || before === undefined || !this.#timeline.known.has(before.id)) continue;
      return this.#options.dispatch({ type: "reread", after: before.id, entries: tail.slice(place) });
    }
    await this.#readAnew();
  }

  async #readOne(id: string): Promise<void> {
    try {
      this.#options.dispatch({ type: "found", id, entry: await this.#options.client.entry(id) });
    } catch (error) {
      if (error instanceof CairnError && error.code === "unknown_entry") this.#options.dispatch({ type: "found", id, entry: null });
      // Otherwise it is asked for when it is wanted the next time.
      else {
        this.#asked.delete(id);
        if (error instanceof CairnError && error.code === "unproven" && !this.#closed) this.#options.onError(error);
      }
    }
  }

  async #collect(after: string | undefined, limit: number): Promise<readonly Entry<Json>[]> {
    const entries: Entry<Json>[] = [];
    for await (const entry of this.#options.client.entries({ after, limit })) entries.push(entry);
    return entries;
  }
}
