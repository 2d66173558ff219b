/** What goes over the connection: entries, answers, and the two maps of events. */

/** Any value with a JSON form. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** What every entry says of itself. */
export interface EntryHeader {
  /** `<node id>-<height>-<index>`. */
  readonly id: string;
  /** RFC 3339, with six digits of a second. */
  readonly timestamp: string;
  /** The hash of the entry before it in its block; for a first entry that of the latest parent in ledger order. */
  readonly previous_hash: string;
  readonly hash: string;
  /** The node that wrote it. */
  readonly creator_node_id: string;
  /** Node id → signature, on the last entry of a block. */
  readonly signatures: Readonly<Record<string, string>>;
  /** The height of its block in its author's lane, from 1. */
  readonly height: number;
  /** Its place in its block, from 0. */
  readonly index: number;
  /** The hashes of the blocks that its block rests on. */
  readonly parents: readonly string[];
}

/** An entry that a client wrote. */
export interface DataEntry<T = Json> extends EntryHeader {
  readonly kind: "data";
  /** What was appended. */
  readonly data: T;
  readonly erased?: never;
  readonly withheld?: never;
}

/** The place of an entry that a client wrote, without what was in it. */
export interface EmptyEntry extends EntryHeader {
  readonly kind: "data";
  readonly data: null;
  /** Who erased it and when, and the id of the entry that says so. */
  readonly erased?: { readonly by: string; readonly at: string; readonly entry: string };
  /** Nobody erased it, but this node was given it without its content, and asks for that. */
  readonly withheld?: true;
}

/** Proof that an author signed two blocks of one height. */
export interface EvidenceEntry extends EntryHeader {
  readonly kind: "evidence";
  readonly data: Fork;
  /** The proof itself, in hexadecimal digits. */
  readonly payload_hex: string;
}

/** A node whose lane is forked goes on with another key: the author of this entry. Its old key has signed that. */
export interface SuccessionEntry extends EntryHeader {
  readonly kind: "succession";
  /** Who the author was before, and the old key's signature; `null` if that is not so. */
  readonly data: { readonly node: string; readonly signature: string } | null;
  /** The statement itself, in hexadecimal digits. */
  readonly payload_hex: string;
}

/** What a member may do: an owner everything, an admin invites, a member writes, a reader reads. */
export type Role = "owner" | "admin" | "member" | "reader";

/** What an entry of each kind says by which a ledger is run. */
export interface ControlData {
  /** The ledger begins, with its first owner. */
  readonly genesis: { readonly founder: string };
  /** Whoever holds the secret half of `key` may come in. `expires` is RFC 3339; `null`: never. */
  readonly invite: {
    readonly key: string;
    readonly role: Role;
    readonly uses: number;
    readonly expires: string | null;
  };
  /** The author comes in, by the invite of this block. */
  readonly join: { readonly invite: string };
  /** A member is out, and of its blocks those up to a height stay; or an invite is closed. */
  readonly remove:
    | { readonly member: string; readonly height: number }
    | { readonly invite: string; readonly closed: true };
  /** A new key to seal with, given to so many members. */
  readonly rekey: { readonly epoch: string; readonly recipients: number };
  /** What the author calls itself. */
  readonly nickname: string;
  /** What the ledger is called. */
  readonly ledger_name: string;
  /** From here on nobody keeps what was in that entry. */
  readonly erase: { readonly entry: string };
}

/** An entry by which a ledger is run. `data` is `null` where its payload is nothing of its kind. */
export type ControlEntry = {
  readonly [Kind in keyof ControlData]: EntryHeader & {
    readonly kind: Kind;
    readonly data: ControlData[Kind] | null;
    readonly payload_hex?: string;
  };
}[keyof ControlData];

/** An entry of a members' ledger whose payload this node cannot open: it has not the key, or the payload is nothing sealed. */
export interface SealedEntry extends EntryHeader {
  readonly kind: "data" | "nickname" | "ledger_name";
  readonly data: null;
  readonly sealed: true;
  /** The payload as it is stored, in hexadecimal digits. */
  readonly payload_hex: string;
}

/** An entry that says nothing but "I have seen my parents", or one of a kind that this client has no name for. */
export interface OtherEntry extends EntryHeader {
  readonly kind: "voucher" | `${number}`;
  readonly data: Json;
  readonly payload_hex?: string;
}

/**
 * One entry of the ledger. `entry.kind === "data"` makes `entry.data` a `T`, or `null` where it is gone, or where this node
 * cannot open it in a members' ledger.
 */
export type Entry<T = Json> =
  | DataEntry<T>
  | EmptyEntry
  | EvidenceEntry
  | SuccessionEntry
  | ControlEntry
  | SealedEntry
  | OtherEntry;

/** A lane that is forked, and where. */
export interface Fork {
  /** Whose lane. */
  readonly author: string;
  /** The lowest height that has two blocks. */
  readonly height: number;
  /** The hashes of the two. */
  readonly blocks: readonly string[];
}

/** A node has another id from now on: two blocks of one height carried its signature, and it goes on with another key. */
export interface NodeChange {
  /** Who it was. */
  readonly old: string;
  /** Who it is. */
  readonly new: string;
}

/** What was in an entry is gone. */
export interface EntryErased {
  /** Which entry. */
  readonly id: string;
  /** Who erased it. */
  readonly by: string;
  /** When, RFC 3339. */
  readonly at: string;
}

/** How far a node's exchange with another one is, in blocks. */
export interface Progress {
  readonly done: number;
  readonly total: number;
}

/** What became of entries of this node. */
export interface EntryStatus {
  /** The entries. */
  readonly ids: readonly string[];
  /** `stored`: durable on this node. `held`: durable on others too. */
  readonly state: "stored" | "held" | (string & {});
  /** How many linked nodes hold them. */
  readonly held_by: number;
}

/** Where the ledger changed behind what was shown. */
export interface OrderChange {
  /** The last entry before the change; `null`: the beginning of the ledger. */
  readonly from_cursor: string | null;
}

/** One who came into a members' ledger. */
export interface Member {
  readonly node: string;
  /** What it calls itself; `null` if it does not, or this node cannot read it. */
  readonly name: string | null;
  readonly role: Role;
  /** When it came in, RFC 3339. */
  readonly joined: string;
  /** Who invited it; `null` for the founder. */
  readonly by: string | null;
  /** Whether it was removed, or has left. */
  readonly removed: boolean;
  /** Whether it is the node that answers. */
  readonly me: boolean;
}

/** A ledger that a node serves. */
export interface LedgerInfo {
  readonly id: string;
  /** Its name; empty where it is not known yet. */
  readonly name: string;
  /** Whether whoever knows the name may read and write. */
  readonly open: boolean;
  /** The node's id in it. */
  readonly node: string;
  /** Whether it is the one of clients that name none. */
  readonly default: boolean;
}

/** One link of a node. */
export interface LinkStatus {
  readonly link: number;
  /** The peer, once it proved its key. */
  readonly node: string | null;
  /** `relay`, or `quic` or `websocket` for a direct link to another node. */
  readonly path: string;
  /** Whether this node opened it. */
  readonly dialled: boolean;
  /** Since when the peer is known, RFC 3339. */
  readonly since: string | null;
  /** µs from the last ping to its answer, once there was one. */
  readonly round_trip: number | null;
  /** Bytes of frames received. */
  readonly received: number;
  /** Bytes of frames sent. */
  readonly sent: number;
  /** Blocks received of those that the peer had when the heads were compared. */
  readonly done: number;
  /** The number of those. */
  readonly total: number;
  /** Blocks still to be sent to the peer. */
  readonly remaining: number;
}

/** Another node, where it can be reached directly, and whether it is on line. */
export interface PeerStatus {
  readonly node: string;
  readonly addresses: readonly string[];
  /** Whether it is on line, as far as the node knows. */
  readonly online: boolean;
  /** Which way: the path of a direct link, `relay`, or `mesh` for over other nodes; `null` where it is off line. */
  readonly path: string | null;
  /** When it was on line last, RFC 3339. */
  readonly seen: string | null;
}

/** Another node came on line, or is gone. */
export interface PresenceChange {
  readonly node: string;
  readonly online: boolean;
}

/** A relay, and how the link to it is. */
export type RelayStatus = { readonly url: string } & (
  | { readonly state: "dialling" }
  | { readonly state: "connected"; readonly link: number }
  | { readonly state: "waiting"; readonly reason: string }
);

/** How a node is. */
export interface NodeStatus {
  readonly version: string;
  /** The node's id. */
  readonly node: string;
  /** Whom it was before, the latest first: each lane is frozen, and the node went on with another key. */
  readonly former_nodes: readonly string[];
  /** The ledger's id. */
  readonly ledger: string;
  /** The ledger's name; empty where it has none, or this node cannot read it yet. */
  readonly name: string;
  /** Whether whoever knows the name may read and write. */
  readonly open: boolean;
  /** What the node may do in a members' ledger; `null` before it is in, and in an open one. */
  readonly role: Role | null;
  /** Whether the node was removed, or has left. */
  readonly removed: boolean;
  /** How many belong; 0 in an open ledger. */
  readonly members: number;
  readonly uptime_seconds: number;
  readonly turns: number;
  readonly totals: { readonly blocks: number; readonly entries: number; readonly bytes: number };
  /** A hash over all heads: equal digests, equal ledgers. */
  readonly digest: string;
  /** The arrival number of the newest block. */
  readonly last_seq: number;
  /** The last block of every lane. */
  readonly heads: readonly { readonly author: string; readonly height: number; readonly hash: string }[];
  /** The frozen lanes and the height from which each is frozen. */
  readonly frozen: readonly { readonly author: string; readonly height: number }[];
  /** How many linked nodes hold this node's own blocks, up to which height. */
  readonly held: { readonly height: number; readonly nodes: number };
  /** Damaged or missing blocks that are still to come; until they are there, nothing is appended. */
  readonly repairing: number;
  /** The node's key was restored from a backup: nothing is appended until another node has told what it has signed. */
  readonly restoring: boolean;
  /** Blocks that wait for a parent or for their time. */
  readonly parked: { readonly blocks: number; readonly bytes: number };
  /** Open links. */
  readonly links: readonly LinkStatus[];
  /** Where this node says that it can be reached directly. */
  readonly addresses: readonly string[];
  /** Other nodes that announced themselves or are linked, here or to a relay or node that is linked here. */
  readonly peers: readonly PeerStatus[];
  /** The relays, and how the link to each is. */
  readonly relays: readonly RelayStatus[];
  /** Every node that is known, this one included. */
  readonly known_nodes: readonly string[];
}

/** One part of what a subscription missed. */
export interface EntryBatch<T = Json> {
  readonly entries: readonly Entry<T>[];
  /** The place behind them. */
  readonly cursor: string;
  /** Whether live entries follow. */
  readonly done: boolean;
}

/** An error as a node sends it. */
export interface ErrorAnswer {
  readonly ok: false;
  readonly error: { readonly code: string; readonly message: string };
}

/** The answer to a request. */
export type Answer<A> = ({ readonly ok: true } & A) | ErrorAnswer;

/** A function that takes the answer to a request. */
export type Ack<A> = (answer: Answer<A>) => void;

/** A page of the ledger. */
export type PageRequest = {
  /** Entries at most; a node may give fewer. */
  readonly limit: number;
} & (
  | {
      /** The entry before the page; `null`: the beginning. */
      readonly after: string | null;
    }
  | {
      /** The entry behind the page; `null`: the end. */
      readonly before: string | null;
    }
);

/** From where to follow the ledger. */
export interface SubscribeRequest {
  /** An entry id, or the cursor of a batch; none: the beginning of the ledger. */
  readonly cursor?: string;
  /** Live entries go on while batches come. Otherwise they are in the batches only. */
  readonly keep_live?: boolean;
}

/** Whom to let in. */
export interface InviteRequest {
  /** What they may do; `member` if not given. */
  readonly role?: Role;
  /** How many may come in; one if not given. */
  readonly uses?: number;
  /** For how many seconds, `null`: for ever; seven days if not given. */
  readonly expires_in?: number | null;
}

/** Which ledger to make. */
export interface CreateRequest {
  /** What it is called; 1 to 64 bytes. */
  readonly name: string;
  /** What others see this node as. */
  readonly nickname?: string;
}

/** Which ledger to come into. */
export interface JoinRequest {
  /** The link of an invite, or what follows `#join=` in it. */
  readonly token: string;
  /** What others see this node as. */
  readonly nickname?: string;
}

/** What to look for. */
export interface SearchRequest {
  /** Words; an entry has them all, or begins of them. */
  readonly query: string;
  /** Entries at most, up to 100; 50 if not given. */
  readonly limit?: number;
  /** The last entry of the page before: only older ones are looked for. */
  readonly before?: string;
}

/** Which blocks to read: those behind a cursor in the order in which the node got them, those of some places, or of some hashes. */
export type BlocksRequest =
  | {
      /** The cursor of the page before; `null`: from the beginning. */
      readonly after: string | null;
    }
  | {
      /** Author and height of each, 256 at most. Where a lane is forked, all blocks of a height come. */
      readonly places: readonly (readonly [author: string, height: number])[];
    }
  | {
      /** Hashes of blocks, 256 at most. What is not there is left out. */
      readonly hashes: readonly string[];
    };

/** Blocks as they are stored and were signed. */
export interface BlockPage {
  /** Each block's bytes in base64. */
  readonly blocks: readonly string[];
  /** The place behind them. */
  readonly cursor: string;
  /** Whether these were all. */
  readonly done: boolean;
}

/** Which part of the past to draw. Times in µs since 1970. */
export interface HistoryRequest {
  /** From when on; the beginning if not given. */
  readonly from?: number;
  /** Until when, this µs included; the end if not given. */
  readonly to?: number;
  /** Into how many equal parts the span is divided, 1 to 2,000; 400 if not given. */
  readonly buckets?: number;
  /** Up to how many blocks are each told of, at most 2,000; 500 if not given. */
  readonly detail?: number;
}

/** A block, without what is in it. */
export interface HistoryBlock {
  readonly hash: string;
  readonly author: string;
  readonly height: number;
  /** µs since 1970. */
  readonly timestamp: number;
  /** The hashes of the blocks that it rests on. */
  readonly parents: readonly string[];
  readonly entries: number;
  /** The kinds of its entries, each once. */
  readonly kinds: readonly string[];
}

/** What was written when, and by whom. */
export interface History {
  /** The span, µs since 1970. */
  readonly from: number;
  readonly to: number;
  /** That of the whole ledger; `null` while it is empty. */
  readonly first: number | null;
  readonly last: number | null;
  /** Whoever wrote in the span, and how much in which part of it; parts without blocks are left out. */
  readonly lanes: readonly {
    readonly author: string;
    readonly buckets: readonly (readonly [bucket: number, blocks: number, entries: number])[];
  }[];
  /** The blocks of the span in ledger order; `null` where they are more than was asked for. */
  readonly blocks: readonly HistoryBlock[] | null;
}

/** What a node sends. */
export interface ServerEvents<T = Json> {
  auth: (value: Json) => void;
  "message-back": (value: Json) => void;
  pong: (value: Json) => void;
  ledger_entry_added: (entry: Entry<T>) => void;
  ledger_entries_added: (entries: readonly Entry<T>[]) => void;
  ledger_entries: (entries: readonly Entry<T>[]) => void;
  known_nodes: (answer: { readonly nodes: readonly string[] }) => void;
  entries: (batch: EntryBatch<T>) => void;
  entry_status: (status: EntryStatus) => void;
  sync_progress: (progress: Progress) => void;
  order_changed: (change: OrderChange) => void;
  entry_erased: (erased: EntryErased) => void;
  fork_detected: (fork: Fork) => void;
  node_changed: (change: NodeChange) => void;
  members_changed: (change: Record<string, never>) => void;
  presence_changed: (change: PresenceChange) => void;
  /** `event`: what it answers; `null`: something that the node did by itself. */
  error: (error: { readonly error: string; readonly code: string; readonly event: string | null }) => void;
}

/** What a client sends. */
export interface ClientEvents<T = Json> {
  message: (value: Json) => void;
  ping: (value: Json) => void;
  "message-with-ack": (value: Json, ack: (value: Json) => void) => void;
  add_ledger_entry: (data: T, ack: Ack<{ readonly entry: DataEntry<T> }>) => void;
  append_many: (datas: readonly T[], ack: Ack<{ readonly entries: readonly DataEntry<T>[] }>) => void;
  get_ledger: (page: PageRequest, ack: Ack<{ readonly entries: readonly Entry<T>[] }>) => void;
  get_entry: (which: { readonly id: string }, ack: Ack<{ readonly entry: Entry<T> }>) => void;
  listen: (ack: Ack<object>) => void;
  get_known_nodes: (ack: Ack<{ readonly nodes: readonly string[] }>) => void;
  get_status: (ack: Ack<{ readonly status: NodeStatus }>) => void;
  get_members: (ack: Ack<{ readonly members: readonly Member[] }>) => void;
  get_ledgers: (ack: Ack<{ readonly ledgers: readonly LedgerInfo[] }>) => void;
  create_invite: (whom: InviteRequest, ack: Ack<{ readonly invite: { readonly token: string } }>) => void;
  remove_member: (whom: { readonly node: string }, ack: Ack<{ readonly block: string }>) => void;
  set_nickname: (to: { readonly name: string }, ack: Ack<{ readonly block: string }>) => void;
  rename_ledger: (to: { readonly name: string }, ack: Ack<{ readonly block: string }>) => void;
  rekey: (ack: Ack<{ readonly block: string }>) => void;
  erase_entry: (entry: { readonly id: string }, ack: Ack<{ readonly block: string }>) => void;
  create_ledger: (which: CreateRequest, ack: Ack<{ readonly ledger: LedgerInfo }>) => void;
  join_ledger: (which: JoinRequest, ack: Ack<{ readonly ledger: LedgerInfo }>) => void;
  backup_key: (seal: { readonly passphrase: string }, ack: Ack<{ readonly backup: string }>) => void;
  search: (what: SearchRequest, ack: Ack<{ readonly entries: readonly Entry<T>[] }>) => void;
  get_holders: (which: { readonly id: string }, ack: Ack<{ readonly nodes: readonly string[] }>) => void;
  get_history: (which: HistoryRequest, ack: Ack<{ readonly history: History }>) => void;
  get_blocks: (which: BlocksRequest, ack: Ack<{ readonly page: BlockPage }>) => void;
  get_keyring: (ack: Ack<{ readonly keyring: string }>) => void;
  subscribe: (from: SubscribeRequest, ack: Ack<object>) => void;
}
