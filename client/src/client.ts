/** The connection to a node, and what can be asked of it. */

import { io, type Socket } from "socket.io-client";

import { Emitter } from "./emitter.js";
import { CairnError } from "./errors.js";
import { Feed } from "./feed.js";
import { Invite, type InviteOptions } from "./invite.js";
import { Json, parser } from "./parser.js";
import { Requests } from "./requests.js";
import { Subscription, type SubscribeOptions } from "./subscription.js";
import type { Checker } from "./verify/checker.js";
import { Gate } from "./verify/gate.js";
import type { EntryOrder, Verification } from "./verify/types.js";
import type { VerifyOptions } from "./verify/verification.js";
import type {
  BlockPage,
  BlocksRequest,
  ClientEvents,
  DataEntry,
  Entry,
  EntryErased,
  EntryStatus,
  Fork,
  History,
  HistoryRequest,
  InviteRequest,
  LedgerInfo,
  Member,
  NodeChange,
  NodeStatus,
  OrderChange,
  PageRequest,
  PresenceChange,
  Progress,
  SearchRequest,
  ServerEvents,
} from "./types.js";

/** Requests without an answer at once; below what a node lets one client wait with, in number and in bytes. */
const IN_FLIGHT = { inFlight: 1024, inFlightBytes: 3 * 1024 * 1024 };
/** Bytes of requests that wait for the connection or for their turn. */
const QUEUED_BYTES = 64 * 1024 * 1024;
/** Times that a page of the ledger is read before something on it counts as out of place. */
const PAGE_TRIES = 3;
/** ms of the first wait before connecting again, on average: any time up to twice as long. */
const RECONNECT_FIRST = 200;
/** ms of the longest wait before connecting again, on average. */
const RECONNECT_MOST = 10_000;

/** How to connect. Everything has a default. */
export interface ConnectOptions {
  /** The id of a ledger that the node serves; its default one if not given. */
  readonly ledger?: string | undefined;
  /** Sent to the node with the connection, any JSON object; the node answers with it. */
  readonly auth?: Readonly<Record<string, unknown>> | undefined;
  /** What `cairn token` shows where the node runs; a node that only its own machine reaches needs none. */
  readonly token?: string | undefined;
  /** ms until a request fails; 30,000 if not given. */
  readonly timeout?: number | undefined;
  /** Requests that may wait for the connection or for their turn; 10,000 if not given. */
  readonly queue?: number | undefined;
  /**
   * Lets through only entries that were signed just so, each with its whole past, none left out and none out of place. The whole ledger
   * is read and checked for that, before the first entry comes.
   */
  readonly verify?: boolean | undefined;
  /** The path of Socket.IO at the node; `/socket.io/` if not given. */
  readonly path?: string | undefined;
}

/** Which entries to read. */
export interface EntriesOptions {
  /** The entry before the first one; none: the beginning of the ledger. */
  readonly after?: string | undefined;
  /** Entries at most; all if not given. */
  readonly limit?: number | undefined;
  /** Entries asked for at once; 1,000 if not given. */
  readonly page?: number | undefined;
}

/** What to be called in a ledger. */
export interface NicknameOptions {
  /** What others see the node as; nothing if not given. */
  readonly nickname?: string | undefined;
}

/** What a client tells its listeners. */
export interface EventMap<T> {
  /** An entry was added, here or elsewhere. A subscription also gets those that were missed. */
  entry: Entry<T>;
  /** Entries landed between older ones: what was read behind the named one has to be read again. */
  orderChanged: OrderChange;
  /** What was in an entry is gone: whoever has it should forget it. */
  entryErased: EntryErased;
  /** An author signed two blocks of one height; its lane is frozen there. */
  forkDetected: Fork;
  /** The node goes on with another key, and so with another id. */
  nodeChanged: NodeChange;
  /** Somebody came in, was removed or got another name, or the node got a key or a right: what was asked may be otherwise. */
  membersChanged: Record<string, never>;
  /** Another node came on line, over whatever way, or is gone. */
  presenceChanged: PresenceChange;
  /** The node is exchanging history with another one. */
  syncProgress: Progress;
  /** Entries of this node became durable somewhere. */
  entryStatus: EntryStatus;
  /** The connection is there, also after every reconnect. */
  connected: { readonly node: string };
  /** The connection is lost; the client connects again by itself. */
  disconnected: { readonly reason: string };
  /** Something failed that belongs to no call. */
  error: CairnError;
}

/**
 * Connects to a node. Returns at once: requests wait for the connection, and the client connects again for ever until it is
 * closed.
 *
 * @example
 * ```ts
 * interface Note { text: string }
 *
 * const ledger = connect<Note>("http://localhost:3000");
 * const entry = await ledger.append({ text: "a stone on the cairn" });
 * console.log(entry.id);
 * ```
 */
export function connect<T = unknown>(url: string | URL, options: ConnectOptions = {}): Client<T> {
  return new Client<T>(url, options);
}

/** A connection to a node. `T` is the type of what is appended: a promise of the people who write, not checked here. */
export class Client<T = unknown> {
  readonly #socket: Socket<ServerEvents<T>, ClientEvents<T>>;
  readonly #events = new Emitter<EventMap<T>>();
  readonly #feed = new Feed<T>();
  readonly #requests: Requests;
  readonly #gate: Gate<T> | undefined;
  #checker: Promise<Checker<T>> | undefined;
  readonly #online = (): void => this.#hurry();
  #redial: ReturnType<typeof setTimeout> | undefined;
  /** Refusals since the last connection. */
  #refusals = 0;
  #closed = false;
  /** Somebody wants to know of every entry. Who only appends, or subscribes, is sent nothing beside that. */
  #listens = false;
  /** This connection knows that. */
  #told = false;

  /** @internal Use {@link connect}. */
  constructor(url: string | URL, options: ConnectOptions) {
    const { ledger, queue = 10_000, timeout = 30_000 } = options;
    this.#requests = new Requests({ ...IN_FLIGHT, queued: queue, queuedBytes: QUEUED_BYTES, timeout });
    this.#socket = io(ledger === undefined ? String(url) : namespace(url, ledger), {
      // With every attempt, because by then somebody may listen.
      auth: (show) => {
        this.#told = this.#listens;
        show({ ...options.auth, ...(options.token !== undefined && { token: options.token }), batches: true, live: this.#listens });
      },
      forceNew: true,
      parser,
      path: options.path ?? "/socket.io/",
      randomizationFactor: 1,
      reconnectionDelay: RECONNECT_FIRST,
      reconnectionDelayMax: RECONNECT_MOST,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
    });
    if (options.verify === true) this.#gate = this.#guard();
    this.#listen();
    // Browsers know when the network is back; there is no reason to wait then.
    globalThis.addEventListener?.("online", this.#online);
  }

  /** Whether the connection is there now. */
  get connected(): boolean {
    return this.#socket.connected;
  }

  /**
   * Appends one entry; resolves when it is durable on the node.
   *
   * An append that was not sent yet waits for the connection. One whose answer was lost with the connection rejects with
   * `outcome_unknown` and is never sent again by itself, so nothing is ever in the ledger twice.
   *
   * @example
   * ```ts
   * try {
   *   await ledger.append({ text: "hello" });
   * } catch (error) {
   *   if (error instanceof CairnError && error.code === "outcome_unknown") askTheUser();
   * }
   * ```
   */
  async append(data: T): Promise<DataEntry<T>> {
    const answer = await this.#requests.ask("add_ledger_entry", [data], "reject");
    return field<DataEntry<T>>(answer, "entry");
  }

  /**
   * Appends many entries, in this order, all of them or none. Fails like {@link Client.append}.
   *
   * @example
   * ```ts
   * const entries = await ledger.appendMany([{ text: "one" }, { text: "two" }]);
   * ```
   */
  async appendMany(datas: readonly T[]): Promise<readonly DataEntry<T>[]> {
    const answer = await this.#requests.ask("append_many", [datas], "reject");
    return field<readonly DataEntry<T>[]>(answer, "entries");
  }

  /**
   * Reads the ledger in its order, page after page, up to its end.
   *
   * @example
   * ```ts
   * for await (const entry of ledger.entries({ limit: 100 })) console.log(entry.timestamp, entry.data);
   * ```
   */
  async *entries(options: EntriesOptions = {}): AsyncGenerator<Entry<T>, void, undefined> {
    const page = options.page ?? 1000;
    let after = options.after ?? null;
    let left = options.limit ?? Infinity;
    while (left > 0) {
      const request: PageRequest = { after, limit: Math.min(left, page) };
      const entries = await this.#page(request, (entries, checker) => checker.confirm(entries, "ledger", after));
      yield* entries;
      // A node bounds its pages in bytes too, so only an empty one is the end.
      const last = entries.at(-1);
      if (last === undefined) return;
      after = last.id;
      left -= entries.length;
    }
  }

  /** The newest entries, or those before an entry: at most so many, in ledger order. None: there is nothing before it. */
  async newest(limit: number, before: string | null = null): Promise<readonly Entry<T>[]> {
    const ends = before === null ? [] : await this.#ask<Entry<T>>("get_entry", { id: before }, "entry").then((end) => [end]);
    return this.#page({ before, limit }, async (entries, checker) => {
      const proven = await checker.confirm([...entries, ...ends], "ledger", undefined);
      return proven.slice(0, entries.length);
    });
  }

  /**
   * Follows the ledger: every entry behind a cursor, then every new one, each once, whatever becomes of the connection. The
   * order is that in which the node got them, because in ledger order a late entry may land behind the reader.
   *
   * @example
   * ```ts
   * for await (const entry of ledger.subscribe({ cursor: saved })) {
   *   if (entry.kind === "data") console.log(entry.data?.text);
   * }
   * ```
   */
  subscribe(options?: SubscribeOptions): Subscription<T>;
  /**
   * Calls a listener with every entry, one after the other; one that returns a promise is waited for.
   *
   * @example
   * ```ts
   * const subscription = ledger.subscribe((entry) => console.log(entry.id), { cursor: saved });
   * ```
   */
  subscribe(listener: (entry: Entry<T>) => void | Promise<void>, options?: SubscribeOptions): Subscription<T>;
  subscribe(
    first: ((entry: Entry<T>) => void | Promise<void>) | SubscribeOptions = {},
    second: SubscribeOptions = {},
  ): Subscription<T> {
    const subscription = new Subscription<T>(typeof first === "function" ? second : first, this.#feed);
    if (this.#closed) subscription.close();
    if (typeof first === "function") {
      void subscription.run(first);
      void subscription.closed.then((error) => error !== undefined && this.#events.emit("error", error));
    }
    return subscription;
  }

  /** One entry. Rejects with `unknown_entry` if the node does not have it. */
  async entry(id: string): Promise<Entry<T>> {
    const entry = await this.#ask<Entry<T>>("get_entry", { id }, "entry");
    const [proven] = await this.#proven([entry]);
    return proven!;
  }

  /** The ids of all nodes that this one knows, its own included. */
  async knownNodes(): Promise<readonly string[]> {
    return field<readonly string[]>(await this.#requests.ask("get_known_nodes", [], "resend"), "nodes");
  }

  /** How the node is. */
  async status(): Promise<NodeStatus> {
    return field<NodeStatus>(await this.#requests.ask("get_status", [], "resend"), "status");
  }

  /** The ledgers that the node serves, its default one first. `connect` takes the id of one. */
  async ledgers(): Promise<readonly LedgerInfo[]> {
    return field<readonly LedgerInfo[]>(await this.#requests.ask("get_ledgers", [], "resend"), "ledgers");
  }

  /**
   * Makes a ledger for a group on the node, its founder. `connect` takes its id.
   *
   * @example
   * ```ts
   * const { id } = await node.createLedger("the allotments", { nickname: "Ida" });
   * const group = connect<Note>("http://localhost:3000", { ledger: id });
   * ```
   */
  async createLedger(name: string, options: NicknameOptions = {}): Promise<LedgerInfo> {
    const answer = await this.#requests.ask("create_ledger", [{ name, ...named(options) }], "reject");
    return field<LedgerInfo>(answer, "ledger");
  }

  /**
   * Has the node come into a group by the link of an invite. Resolves once the node serves the ledger; it is in when
   * `status().role` is there, which takes until it reaches somebody of the group.
   */
  async joinLedger(link: string, options: NicknameOptions = {}): Promise<LedgerInfo> {
    const answer = await this.#requests.ask("join_ledger", [{ token: link, ...named(options) }], "reject");
    return field<LedgerInfo>(answer, "ledger");
  }

  /** The node's key of this ledger, sealed with a passphrase: what `cairn key restore` takes. */
  async backupKey(passphrase: string): Promise<string> {
    return field<string>(await this.#requests.ask("backup_key", [{ passphrase }], "resend"), "backup");
  }

  /** Entries that have all words of a query, or words that begin with them, the newest first. */
  async search(query: string, options: Omit<SearchRequest, "query"> = {}): Promise<readonly Entry<T>[]> {
    return this.#proven(await this.#ask<readonly Entry<T>[]>("search", { query, ...options }, "entries"));
  }

  /** The nodes of which this one knows that they hold an entry, itself first. */
  async holders(id: string): Promise<readonly string[]> {
    return field<readonly string[]>(await this.#requests.ask("get_holders", [{ id }], "resend"), "nodes");
  }

  /** What was written when and by whom: in parts of a span of time, and block for block where there are few. */
  async history(options: HistoryRequest = {}): Promise<History> {
    return field<History>(await this.#requests.ask("get_history", [options], "resend"), "history");
  }

  /** Blocks as they were signed. */
  async blocks(which: BlocksRequest): Promise<BlockPage> {
    return field<BlockPage>(await this.#requests.ask("get_blocks", [which], "resend"), "page");
  }

  /** The keys that open what is sealed in a members' ledger, in hexadecimal digits: for checks outside the node. Whoever has them reads everything. */
  async keyring(): Promise<string> {
    return field<string>(await this.#requests.ask("get_keyring", [], "resend"), "keyring");
  }

  /**
   * Reads every block that the node has and checks each hash, each signature, what each rests on, and whether its author belonged. What it
   * does not decide again is which blocks of a forked lane count.
   *
   * @example
   * ```ts
   * const { finding, entries } = await ledger.verify({ onProgress: ({ done, total }) => console.log(done / total) });
   * console.log(finding === null ? `all ${entries} entries are as they were signed` : finding.what);
   * ```
   */
  async verify(options: VerifyOptions = {}): Promise<Verification> {
    const { verify } = await import("./verify/index.js");
    return verify(this, options);
  }

  /** Everybody who came into the ledger, those who are out again too; nobody in an open one. */
  async members(): Promise<readonly Member[]> {
    return field<readonly Member[]>(await this.#requests.ask("get_members", [], "resend"), "members");
  }

  /**
   * Makes an invite. Like all that changes a group it is durable on the node when this resolves, and rejects with
   * `outcome_unknown` if the answer was lost.
   *
   * @example
   * ```ts
   * const invite = await ledger.invite({ role: "reader", uses: 5, expiresIn: 3600 });
   * console.log(invite.link("https://relay.example/"));
   * ```
   */
  async invite(options: InviteOptions = {}): Promise<Invite> {
    const { role, uses, expiresIn } = options;
    const request: InviteRequest = {
      ...(role !== undefined && { role }),
      ...(uses !== undefined && { uses }),
      ...(expiresIn !== undefined && { expires_in: expiresIn }),
    };
    const answer = await this.#requests.ask("create_invite", [request], "reject");
    return new Invite(field<string>(field<object>(answer, "invite"), "token"));
  }

  /** Removes a member, who reads nothing that is written from then on. With the node's own id: leaves. */
  async remove(node: string): Promise<void> {
    await this.#requests.ask("remove_member", [{ node }], "reject");
  }

  /** Calls the node so, for everybody in this ledger. */
  async setNickname(name: string): Promise<void> {
    await this.#requests.ask("set_nickname", [{ name }], "reject");
  }

  /** Calls the ledger so, for everybody. */
  async renameLedger(name: string): Promise<void> {
    await this.#requests.ask("rename_ledger", [{ name }], "reject");
  }

  /** Has everybody drop what an entry says: one's own, or that of somebody whom this node may remove. */
  async erase(id: string): Promise<void> {
    await this.#requests.ask("erase_entry", [{ id }], "reject");
  }

  /** Has a new key made that seals what is written from now on. */
  async rekey(): Promise<void> {
    await this.#requests.ask("rekey", [], "reject");
  }

  /**
   * Adds a listener; the result removes it.
   *
   * @example
   * ```ts
   * const stop = ledger.on("disconnected", ({ reason }) => console.log(`offline: ${reason}`));
   * ```
   */
  on<Name extends keyof EventMap<T>>(name: Name, listener: (value: EventMap<T>[Name]) => void): () => void {
    const stop = this.#events.on(name, listener);
    this.#listens ||= name === "entry";
    this.#tellToListen();
    return stop;
  }

  /** Ends the connection, the requests that wait (`closed`), and all subscriptions. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#redial);
    globalThis.removeEventListener?.("online", this.#online);
    // What was asked for just now is on its way, as what was asked for before.
    this.#requests.flush();
    this.#socket.disconnect();
    this.#requests.close();
    this.#feed.close();
    this.#gate?.reset();
    void this.#checker?.then((checker) => checker.close()).catch(() => {});
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("connect", () => this.#connected());
    socket.on("disconnect", (reason) => this.#disconnected(reason));
    socket.on("connect_error", (error) => this.#refused(error));
    const gate = this.#gate;
    socket.on("entries", (batch) => (gate === undefined ? this.#feed.onBatch(batch) : gate.takeBatch(batch)));
    socket.on("ledger_entries_added", (entries) => (gate === undefined ? this.#onLive(entries) : gate.takeLive(entries)));
    socket.on("order_changed", (change) => this.#events.emit("orderChanged", change));
    socket.on("entry_erased", (erased) => this.#events.emit("entryErased", erased));
    socket.on("fork_detected", (fork) => this.#events.emit("forkDetected", fork));
    socket.on("node_changed", (change) => this.#events.emit("nodeChanged", change));
    socket.on("presence_changed", (change) => this.#events.emit("presenceChanged", change));
    socket.on("members_changed", (change) => this.#events.emit("membersChanged", change));
    socket.on("sync_progress", (progress) => this.#events.emit("syncProgress", progress));
    socket.on("entry_status", (status) => this.#events.emit("entryStatus", status));
    socket.on("error", (value) => {
      const error =
        CairnError.from(value) ?? new CairnError("unexpected_answer", "the node sent an error without a code");
      // With these a node says that it cannot read on what it was sending, and goes on behind it.
      if (error.code === "store" || error.code === "damaged") this.#feed.close(error);
      this.#events.emit("error", error);
    });
  }

  #onLive(entries: readonly Entry<T>[]): void {
    for (const entry of entries) {
      this.#feed.onLive(entry);
      this.#events.emit("entry", entry);
    }
  }

  #guard(): Gate<T> {
    return new Gate<T>(() => this.#checking(), {
      onBatch: (batch) => this.#feed.onBatch(batch),
      onLive: (entries) => this.#onLive(entries),
      onFailure: (error) => {
        this.#feed.close(error);
        this.#events.emit("error", error);
      },
      onOverflow: () => {
        this.#socket.disconnect();
        if (!this.#closed) this.#socket.connect();
      },
    });
  }

  /** The check of this ledger, from its beginning on. */
  #checking(): Promise<Checker<T>> {
    if (this.#checker === undefined) {
      this.#checker = this.#openChecker();
      // What failed is tried again with the next entry.
      this.#checker.catch(() => (this.#checker = undefined));
    }
    return this.#checker;
  }

  async #openChecker(): Promise<Checker<T>> {
    const [{ Checker }, { ledger, totals }] = await Promise.all([import("./verify/index.js"), this.status()]);
    return Checker.open<T>(this, ledger, totals.blocks);
  }

  async #proven(entries: readonly Entry<T>[], order: EntryOrder | null = null): Promise<readonly Entry<T>[]> {
    if (this.#gate === undefined) return entries;
    return (await this.#checking()).confirm(entries, order, undefined);
  }

  /** A page of the ledger, proved where that was asked for. */
  async #page(
    request: PageRequest,
    prove: (entries: readonly Entry<T>[], checker: Checker<T>) => Promise<readonly Entry<T>[]>,
  ): Promise<readonly Entry<T>[]> {
    for (let tries = 1; ; tries++) {
      const entries = await this.#ask<readonly Entry<T>[]>("get_ledger", request, "entries");
      if (this.#gate === undefined) return entries;
      try {
        return await prove(entries, await this.#checking());
      } catch (error) {
        // A block may have landed between the entries of this page since it was read.
        if (tries === PAGE_TRIES || !(error instanceof CairnError && error.code === "unproven")) throw error;
      }
    }
  }

  async #ask<A>(event: keyof ClientEvents & string, request: unknown, name: string): Promise<A> {
    return field<A>(await this.#requests.ask(event, [request], "resend"), name);
  }

  /** Also of who began to listen while the connection was being made. */
  #tellToListen(): void {
    if (!this.#listens || this.#told || !this.#socket.connected) return;
    this.#told = true;
    this.#socket.emit("listen", () => {});
  }

  #connected(): void {
    this.#tellToListen();
    // The node's id decides whether cursors still hold, so it is asked for before anything else.
    this.#socket.emit("get_status", (answer) => {
      if (!answer.ok) return this.#events.emit("error", new CairnError(answer.error.code, answer.error.message));
      this.#refusals = 0;
      const { node } = answer.status;
      this.#feed.connected(node, (cursor, failed) => this.#follow(cursor, failed));
      this.#events.emit("connected", { node });
    });
    this.#requests.connected((event, args, answer) => {
      // The arguments were checked where the call was made.
      const emit = this.#socket.emit.bind(this.#socket) as (event: string, ...args: unknown[]) => unknown;
      emit(event, new Json(args), answer);
    });
  }

  #follow(cursor: string | undefined, failed: (error: CairnError) => void): void {
    this.#gate?.follow(cursor);
    this.#socket.emit("subscribe", { ...(cursor !== undefined && { cursor }), keep_live: true }, (answer) => {
      if (!answer.ok) failed(new CairnError(answer.error.code, answer.error.message));
    });
  }

  #disconnected(reason: string): void {
    this.#requests.disconnected();
    this.#gate?.reset();
    this.#feed.disconnected();
    this.#events.emit("disconnected", { reason });
    this.#redialLater();
  }

  #refused(error: Error): void {
    // Without this the failed attempts of an outage would each be an event; `disconnected` has told of it.
    if (this.#socket.active) return;
    this.#events.emit("error", refusal(error));
    this.#redialLater();
  }

  /** Socket.IO does not come back by itself from a refusal, or when the node ended the connection. */
  #redialLater(): void {
    if (this.#closed || this.#socket.active) return;
    clearTimeout(this.#redial);
    const wait = Math.min(RECONNECT_FIRST * 2 ** this.#refusals++, RECONNECT_MOST);
    this.#redial = setTimeout(() => this.#socket.connect(), 2 * wait * Math.random());
  }

  #hurry(): void {
    if (this.#closed || this.#socket.connected) return;
    // Only a new start cuts the wait between two attempts short.
    this.#socket.disconnect();
    this.#socket.connect();
  }
}

function named({ nickname }: NicknameOptions): { nickname?: string } {
  return nickname === undefined || nickname === "" ? {} : { nickname };
}

/** Where a node has a ledger that is not, or need not be, its default one. */
function namespace(url: string | URL, ledger: string): string {
  // In a browser the URL may be one relative to the page.
  return new URL(`/ledger/${encodeURIComponent(ledger)}`, new URL(url, globalThis.location?.href)).href;
}

/** Why the node does not let the client in. */
function refusal(error: Error): CairnError {
  // Socket.IO's own words, whatever the server.
  if (error.message === "Invalid namespace")
    return new CairnError("unknown_ledger", "this node does not serve this ledger", { cause: error });
  // A node puts its code before the sentence, because a refusal is a message and nothing else.
  const [, code = "connect_refused", message = error.message] = /^([a-z_]+): (.+)$/s.exec(error.message) ?? [];
  return new CairnError(code, message, { cause: error });
}

/** A field of an answer. Its type is what the node promises. */
function field<A>(answer: unknown, name: string): A {
  if (typeof answer === "object" && answer !== null && name in answer) return (answer as Record<string, A>)[name]!;
  throw new CairnError("unexpected_answer", `the node's answer has no field "${name}"`);
}
