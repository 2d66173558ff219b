/** The TypeScript client of a Cairn node. */

export { connect, type Client, type ConnectOptions, type EntriesOptions, type EventMap } from "./client.js";
export { CairnError, type ClientErrorCode, type ErrorCode, type MembersErrorCode } from "./errors.js";
export { Invite, type InviteOptions } from "./invite.js";
export type { SubscribeOptions, Subscription } from "./subscription.js";
export type {
  Ack,
  Answer,
  ClientEvents,
  ControlData,
  ControlEntry,
  DataEntry,
  EmptyEntry,
  Entry,
  EntryBatch,
  EntryErased,
  EntryHeader,
  EntryStatus,
  ErrorAnswer,
  EvidenceEntry,
  Fork,
  InviteRequest,
  NodeChange,
  PresenceChange,
  Json,
  LedgerInfo,
  LinkStatus,
  Member,
  NodeStatus,
  OrderChange,
  OtherEntry,
  PageRequest,
  Progress,
  RelayStatus,
  Role,
  SealedEntry,
  ServerEvents,
  SubscribeRequest,
} from "./types.js";
