/** A server that speaks as much of a node's Socket.IO as the client's own behaviour needs, and fails on demand. */

import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";

import { Server, type Socket } from "socket.io";

import type { Ack, DataEntry, EntryBatch, ErrorAnswer, LedgerInfo, Member, ServerEvents } from "../src/index.js";

/** Entries of one batch and of one page. */
const BATCH = 3;

/** What is told of the ledger that is not the default one. */
const FURTHER: LedgerInfo = { id: "further", name: "garden", open: false, node: "node-a", default: false };

/** A ledger in memory behind a real Socket.IO server. */
export class FakeNode {
  readonly entries: DataEntry<unknown>[] = [];
  /** Appends are stored and their acks lost. */
  losesAcks = false;
  /** Connections are refused by the server's own rules. */
  refuses = false;
  /** What clients have to show; none: nothing. */
  token: string | undefined;
  /** Called when a client has shown its auth and does not know yet that it is in. */
  onAuth: () => void = () => {};
  /** How often a client has said that it listens, beside its auth. */
  listening = 0;
  /** What the last one that came in showed. */
  auth: unknown;
  /** Changes of the group that were asked for, and the refusal that each of them gets. */
  readonly changes: unknown[][] = [];
  refusal: ErrorAnswer | undefined;
  id = "node-a";
  readonly #http: HttpServer;
  readonly #io: Server;

  static async start(port = 0): Promise<FakeNode> {
    const http = createServer();
    const node = new FakeNode(http);
    await new Promise<void>((resolve) => http.listen(port, "127.0.0.1", resolve));
    return node;
  }

  private constructor(http: HttpServer) {
    this.#http = http;
    this.#io = new Server(http);
    const ledger = this.#io.of("/ledger/further");
    ledger.on("connection", (socket) => {
      socket.on("get_ledgers", (ack: Ack<Record<string, unknown>>) => ack({ ok: true, ledgers: [FURTHER] }));
      this.#serve(socket);
    });
    this.#io.use((_socket, next) => next(this.refuses ? new Error("no place for another client") : undefined));
    this.#io.use(({ handshake }, next) => {
      const right = this.token === undefined || handshake.auth["token"] === this.token;
      if (right) this.auth = handshake.auth;
      this.onAuth();
      next(right ? undefined : new Error("unauthorized: no token came"));
    });
    this.#io.on("connection", (socket) => this.#serve(socket));
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Breaks every connection without a word. */
  cut(): void {
    for (const socket of this.#io.sockets.sockets.values()) socket.conn.close();
  }

  /** Ends every connection as a node does that stops in good order. */
  dismiss(): void {
    this.#io.disconnectSockets(false);
  }

  /** Adds entries as if they came from elsewhere. */
  add(...datas: unknown[]): DataEntry<unknown>[] {
    const added = datas.map((data) => {
      const height = this.entries.length + 1;
      const entry: DataEntry<unknown> = {
        id: `${this.id}-${height}-0`,
        timestamp: "2026-11-20T13:19:00.000000Z",
        data,
        previous_hash: "00",
        hash: "00",
        creator_node_id: this.id,
        signatures: {},
        height,
        index: 0,
        kind: "data",
        parents: [],
      };
      this.entries.push(entry);
      return entry;
    });
    this.emit("ledger_entries_added", added);
    return added;
  }

  /** Pushes an event to every client. */
  emit<Name extends keyof ServerEvents>(name: Name, ...args: unknown[]): void {
    this.#io.emit(name, ...args);
  }

  async close(): Promise<void> {
    await this.#io.close();
  }

  #serve(socket: Socket): void {
    socket.on("listen", () => (this.listening += 1));
    socket.on("add_ledger_entry", (data: unknown, ack: Ack<Record<string, unknown>>) => {
      const [entry] = this.add(data);
      if (!this.losesAcks) ack({ ok: true, entry: entry! });
    });
    socket.on("append_many", (datas: unknown[], ack: Ack<Record<string, unknown>>) => {
      if (datas.length === 0)
        return ack({ ok: false, error: { code: "empty", message: "0 entries, at least 1 is expected" } });
      ack({ ok: true, entries: this.add(...datas) });
    });
    socket.on(
      "get_ledger",
      ({ after, limit }: { after: string | null; limit: number }, ack: Ack<Record<string, unknown>>) => {
        const at = this.#place(after);
        if (at === undefined) return ack({ ok: false, error: { code: "unknown_entry", message: `no entry ${after}` } });
        ack({ ok: true, entries: this.entries.slice(at, at + Math.min(limit, BATCH)) });
      },
    );
    socket.on("get_known_nodes", (ack: Ack<Record<string, unknown>>) => ack({ ok: true, nodes: [this.id] }));
    socket.on("get_status", (ack: Ack<Record<string, unknown>>) => ack({ ok: true, status: { node: this.id } }));
    const me: Member = { node: this.id, name: "anna", role: "owner", joined: "", by: null, removed: false, me: true };
    socket.on("get_members", (ack: Ack<Record<string, unknown>>) => ack({ ok: true, members: [me] }));
    for (const event of ["create_invite", "remove_member", "set_nickname", "rename_ledger", "rekey", "erase_entry"])
      socket.on(event, (...args: unknown[]) => {
        const ack = args.pop() as Ack<Record<string, unknown>>;
        this.changes.push([event, ...args]);
        ack(this.refusal ?? { ok: true, block: "00", invite: { token: "hw_a-b" } });
      });
    socket.on("get_entry", ({ id }: { id: string }, ack: Ack<Record<string, unknown>>) =>
      ack({ ok: true, entry: this.entries.find((entry) => entry.id === id)! }),
    );
    socket.on("subscribe", ({ cursor }: { cursor?: string }, ack: Ack<Record<string, unknown>>) => {
      const at = this.#place(cursor ?? null);
      if (at === undefined) return ack({ ok: false, error: { code: "unknown_cursor", message: `no place ${cursor}` } });
      ack({ ok: true, cursor });
      void this.#catchUp(socket, at);
    });
  }

  /** Sends batch after batch, with time between them in which anything may happen. */
  async #catchUp(socket: Socket, from: number): Promise<void> {
    for (let at = from; ; at += BATCH) {
      await new Promise((resolve) => setImmediate(resolve));
      const done = at + BATCH >= this.entries.length;
      const entries = this.entries.slice(at, at + BATCH);
      socket.emit("entries", { entries, cursor: `at-${at + entries.length}`, done } satisfies EntryBatch<unknown>);
      if (done) return;
    }
  }

  /** How many entries lie before a cursor. */
  #place(cursor: string | null): number | undefined {
    if (cursor === null) return 0;
    if (cursor.startsWith("at-")) return Number(cursor.slice(3));
    const index = this.entries.findIndex((entry) => entry.id === cursor);
    return index < 0 ? undefined : index + 1;
  }
}
