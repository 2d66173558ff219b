/** The TypeScript client of a Cairn node. */

export { connect, type Client, type ConnectOptions, type EntriesOptions, type EventMap } from "./client.js";
export { CairnError, type ClientErrorCode, type ErrorCode } from "./errors.js";
export type { SubscribeOptions, Subscription } from "./subscription.js";
export type {
  Ack,
  Answer,
  ClientEvents,
  DataEntry,
  EmptyEntry,
  Entry,
  EntryBatch,
  EntryErased,
  EntryHeader,
  EntryStatus,
  EraseEntry,
  ErrorAnswer,
  EvidenceEntry,
  Fork,
  NodeChange,
  Json,
  LinkStatus,
  NodeStatus,
  OrderChange,
  OtherEntry,
  PageRequest,
  Progress,
  RelayStatus,
  ServerEvents,
  SubscribeRequest,
} from "./types.js";
