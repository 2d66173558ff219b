/** What the page does: it asks the node, tells the state what came of it, and keeps a few things in the browser. */

import { CairnError, connect, type Client, type Entry, type Json, type LedgerInfo } from "@cairn/client";

import type { View } from "./app.js";
import { notify } from "./notify.js";
import { parseLedgers } from "./ledgers.js";
import { formatRoute, parseHash } from "./route.js";
import type { Event } from "./state/event.js";
import type { Route } from "./state/session.js";
import type { State } from "./state/state.js";
import { isNews, itemOf } from "./state/timeline.js";
import { KEY, keep, recall } from "./storage.js";
import { contentSafe } from "./text/safe.js";
import { openOutbox, type OutboxStore } from "./talk/outbox-store.js";
import { Reader } from "./talk/reader.js";
import { keysOf } from "./state/outbox.js";
import { Sender } from "./talk/sender.js";
import type { Payload } from "./talk/payload.js";
import type { Store } from "./store.svelte.js";
import { inWords } from "./words.js";

/** ms in which news of the group is asked for once. */
const REFRESH = 500;
/** ms between two looks at how the node is, where nothing tells of a change. */
const LOOK = 15_000;

/** One ledger, as long as it is shown. */
interface Opening {
  readonly client: Client<Json>;
  readonly reader: Reader;
  /** `null` until it is known which ledger the node's default one is. */
  sender: Sender | null;
}

export class Driver {
  readonly #store: Store;
  readonly #outbox: Promise<OutboxStore> = openOutbox();
  /** What people are told in passing. */
  readonly #say: (text: string) => void;
  #opening: Opening;
  /** The ledger that is shown; `null`: the node's default one, whose id is not known yet. */
  #ledger: string | null = null;
  #refreshing: ReturnType<typeof setTimeout> | undefined;

  constructor(store: Store, say: (text: string) => void) {
    this.#store = store;
    this.#say = say;
    const ledgers = parseLedgers(recall(KEY.ledgers));
    if (ledgers !== null) this.#dispatch({ type: "ledgers", ledgers });
    // A reload is no reason to look for the link again.
    const invite = recall(KEY.invite, "tab");
    if (invite !== null) this.#invited(invite);
    this.#readHash();
    this.#opening = this.#open(this.#state.session.route.ledger);
  }

  /** Begins to follow the address bar and the clock; the result ends all. */
  start(): () => void {
    const onHash = (): void => this.#navigate();
    const onSight = (): void => this.#onSight();
    addEventListener("hashchange", onHash);
    document.addEventListener("visibilitychange", onSight);
    const look = setInterval(() => document.hidden || this.refresh(), LOOK);
    return () => {
      removeEventListener("hashchange", onHash);
      document.removeEventListener("visibilitychange", onSight);
      clearInterval(look);
      this.#close();
    };
  }

  get client(): Client<Json> {
    return this.#opening.client;
  }

  get reader(): Reader {
    return this.#opening.reader;
  }

  /** Goes somewhere in the page; browsers remember it. */
  go(route: Partial<Route>): void {
    const hash = formatRoute({ ...this.#state.session.route, entry: null, ...route });
    if (hash === location.hash) this.#navigate();
    else location.hash = hash;
  }

  goTo(view: View): void {
    this.go({ view });
  }

  /** To the node's default ledger. */
  goHome(): void {
    history.replaceState(null, "", formatRoute({ ledger: null, view: "talk", entry: null }));
    this.#readHash();
    this.#reopen();
  }

  jump(entry: string): void {
    this.go({ view: "talk", entry });
  }

  send(payload: Payload): void {
    if (this.#opening.sender === null) return this.#say("Not yet: this page is still looking for the ledger");
    this.#dispatch({ type: "unread", unread: null });
    void this.#opening.sender.send(payload);
  }

  again(key: string): void {
    void this.#opening.sender?.again(key);
  }

  giveUp(key: string): void {
    void this.#opening.sender?.giveUp(key);
  }

  /** Everything up to the newest entry was on the screen. */
  markRead(): void {
    const { items, atEnd, unread } = this.#state.timeline;
    if (this.#ledger === null || items.last === undefined || !atEnd) return;
    keep(KEY.read(this.#ledger), items.last.entry.id);
    // The mark stays where it is, so that one sees what was new.
    if (unread !== null && unread.count > 0) this.#dispatch({ type: "unread", unread: { from: unread.from, count: 0, more: false } });
  }

  /** Asks for what is shown of the group, soon. */
  refresh(): void {
    this.#refreshing ??= setTimeout(() => {
      this.#refreshing = undefined;
      void this.#attempt(() => this.#readGroup(this.#opening));
    }, REFRESH);
  }

  /** Comes in with another token. */
  useToken(token: string): void {
    keep(KEY.token, token.trim());
    this.#reopen();
  }

  /** After what decides how to connect has changed. */
  connectAnew(): void {
    this.#reopen();
  }

  /** The person does not want to use the invite of the link. */
  dismissInvite(): void {
    keep(KEY.invite, null, "tab");
    this.#dispatch({ type: "invited", token: null });
  }

  /** Resolves with why not, if it did not work. */
  async join(token: string, nickname: string): Promise<string | null> {
    return this.#enter(() => this.client.joinLedger(token, { nickname }));
  }

  /** Resolves with why not, if it did not work. */
  async create(name: string, nickname: string): Promise<string | null> {
    return this.#enter(() => this.client.createLedger(name, { nickname }));
  }

  get #state(): State {
    return this.#store.state;
  }

  #dispatch(event: Event): void {
    this.#store.dispatch(event);
  }

  async #enter(way: () => Promise<LedgerInfo>): Promise<string | null> {
    try {
      const { id } = await way();
      await this.#readLedgers(this.#opening);
      this.dismissInvite();
      this.go({ ledger: id, view: "talk" });
      return null;
    } catch (error) {
      return inWords(error);
    }
  }

  #readHash(): void {
    const hash = parseHash(location.hash);
    if (hash.type === "route") return this.#dispatch({ type: "routed", route: hash.route });
    // Neither is to be found in the browser's history later.
    history.replaceState(null, "", formatRoute(this.#state.session.route));
    if (hash.type === "token") keep(KEY.token, hash.token);
    else this.#invited(hash.token);
  }

  #invited(token: string): void {
    keep(KEY.invite, token, "tab");
    this.#dispatch({ type: "invited", token });
  }

  #navigate(): void {
    const token = recall(KEY.token);
    this.#readHash();
    const { ledger, entry } = this.#state.session.route;
    if ((ledger !== null && ledger !== this.#ledger) || token !== recall(KEY.token)) return this.#reopen();
    if (entry !== null) void this.reader.jump(entry);
    else if (this.#state.timeline.focus !== null) this.#dispatch({ type: "focused", entry: null });
  }

  #reopen(): void {
    this.#close();
    this.#opening = this.#open(this.#state.session.route.ledger);
  }

  #close(): void {
    this.#opening.client.close();
    this.#opening.reader.close();
    this.#opening.sender?.close();
    clearTimeout(this.#refreshing);
    this.#refreshing = undefined;
  }

  #open(ledger: string | null): Opening {
    this.#ledger = ledger;
    this.#dispatch({ type: "opened", ledger: ledger ?? "" });
    const verify = ledger !== null && recall(KEY.verify(ledger)) !== null;
    const client = connect<Json>(location.origin, { ledger: ledger ?? undefined, token: recall(KEY.token) ?? undefined, verify });
    const reader = new Reader({
      client,
      state: () => this.#state,
      dispatch: (event) => this.#dispatch(event),
      onArrived: (entries) => this.#onArrived(entries),
      onError: (error) => this.#onError(error),
    });
    const opening: Opening = { client, reader, sender: null };
    if (ledger !== null) void this.#openOutbox(opening, ledger);
    this.#listen(opening);
    return opening;
  }

  /** Notes that wait are shown also while there is no connection. */
  async #openOutbox(opening: Opening, ledger: string): Promise<void> {
    const store = await this.#outbox;
    if (opening !== this.#opening || opening.sender !== null) return;
    opening.sender = new Sender({ client: opening.client, ledger, store, state: () => this.#state, dispatch: (event) => this.#dispatch(event) });
    await this.#attempt(() => opening.sender!.load());
  }

  #listen(opening: Opening): void {
    const { client, reader } = opening;
    let before = false;
    client.on("connected", () => {
      this.#dispatch({ type: "connected" });
      void this.#attempt(() => (before ? this.#resume(opening) : this.#begin(opening)));
      before = true;
    });
    client.on("disconnected", () => this.#dispatch({ type: "disconnected", at: Date.now() }));
    client.on("error", (error) => this.#onError(error));
    client.on("entry", (entry) => reader.arrived(entry));
    client.on("orderChanged", (change) => reader.orderChanged(change));
    client.on("entryErased", (erased) => {
      this.#dispatch({ type: "erased", erased });
      reader.again(erased.id);
    });
    client.on("entryStatus", ({ ids, state, held_by }) => {
      if (state === "held") this.#dispatch({ type: "held", ids, by: held_by });
    });
    client.on("forkDetected", (fork) => this.#dispatch({ type: "fork", fork }));
    client.on("syncProgress", (progress) => this.#dispatch({ type: "progress", progress }));
    for (const news of ["nodeChanged", "membersChanged", "presenceChanged"] as const) client.on(news, () => this.refresh());
    client.on("membersChanged", () => void opening.sender?.pump());
  }

  async #begin(opening: Opening): Promise<void> {
    const { entry } = this.#state.session.route;
    const ledger = await this.#readLedgers(opening);
    if (opening !== this.#opening || ledger === undefined) return;
    this.#ledger = ledger.id;
    if (this.#state.session.route.ledger === null) {
      const route = { ...this.#state.session.route, ledger: ledger.id };
      history.replaceState(null, "", formatRoute(route));
      this.#dispatch({ type: "routed", route });
      // Which ledger it is was not known when the client was made.
      if (recall(KEY.verify(ledger.id)) !== null) return this.#reopen();
    }
    await Promise.all([this.#readGroup(opening), opening.reader.open()]);
    if (opening !== this.#opening) return;
    const last = recall(KEY.read(ledger.id));
    if (last !== null) await opening.reader.unread(last, ledger.node);
    if (entry !== null) await opening.reader.jump(entry);
    if (opening.sender === null) await this.#openOutbox(opening, ledger.id);
    await opening.sender?.pump();
  }

  async #resume(opening: Opening): Promise<void> {
    await Promise.all([this.#readLedgers(opening), this.#readGroup(opening), opening.reader.resume()]);
    // Only now: what was on its way when the connection went is known to be in the ledger, or not.
    await opening.sender?.pump();
  }

  /** The ledger that is shown, among those of the node. */
  async #readLedgers(opening: Opening): Promise<LedgerInfo | undefined> {
    const ledgers = await opening.client.ledgers();
    if (opening === this.#opening) this.#dispatch({ type: "ledgers", ledgers });
    keep(KEY.ledgers, JSON.stringify(ledgers));
    return ledgers.find((ledger) => (this.#ledger === null ? ledger.default : ledger.id === this.#ledger));
  }

  async #readGroup(opening: Opening): Promise<void> {
    const [status, members] = await Promise.all([opening.client.status(), opening.client.members()]);
    if (opening !== this.#opening) return;
    const named = this.#state.group.status?.name;
    this.#dispatch({ type: "status", status });
    this.#dispatch({ type: "members", members });
    if (named !== undefined && named !== status.name) await this.#readLedgers(opening);
  }

  #onArrived(entries: readonly Entry<Json>[]): void {
    void this.#opening.sender?.arrived(keysOf(entries));
    const mine = this.#state.group.status?.node;
    // How far they have come is told only to the window that wrote them.
    if (entries.some(({ creator_node_id }) => creator_node_id === mine)) this.refresh();
    const news = entries.map(itemOf).filter((item) => isNews(item, mine));
    const [first] = news;
    const { unread } = this.#state.timeline;
    if (first === undefined) return;
    const unseen = document.hidden || !this.reader.anchor.bottom;
    if (!unseen) return;
    const { content } = first;
    notify(this.#ledger ?? "", this.#state.group.status?.name ?? "Cairn", content?.type === "note" ? contentSafe(content.text) : "Something new", () => this.jump(first.entry.id));
    const before = unread !== null && unread.count > 0 ? unread : { from: first.entry.id, count: 0, more: false };
    this.#dispatch({ type: "unread", unread: { ...before, count: before.count + news.length } });
  }

  #onSight(): void {
    if (document.hidden && this.reader.anchor.bottom) this.#dispatch({ type: "unread", unread: null });
    if (document.hidden) return;
    this.refresh();
    if (this.reader.anchor.bottom) this.markRead();
  }

  #onError(error: unknown): void {
    if (error instanceof CairnError && (error.code === "unauthorized" || error.code === "unknown_ledger" || error.code === "connect_refused")) {
      return this.#dispatch({ type: "refused", code: error.code, message: error.message });
    }
    if (error instanceof CairnError && error.code === "unproven") return this.#dispatch({ type: "unproven", what: error.message });
    if (error instanceof CairnError && error.code === "closed") return;
    this.#say(inWords(error));
  }

  async #attempt(task: () => Promise<unknown>): Promise<void> {
    try {
      await task();
    } catch (error) {
      this.#onError(error);
    }
  }
}
