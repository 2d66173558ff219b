/** The TypeScript client of a Cairn node. */

export { connect, type Client, type ConnectOptions, type EntriesOptions, type EventMap, type NicknameOptions } from "./client.js";
export { CairnError, type ClientErrorCode, type ErrorCode, type MembersErrorCode } from "./errors.js";
export { Invite, type InviteOptions } from "./invite.js";
export type { Finding, Proved, Verification } from "./verify/types.js";
export type { VerifyOptions } from "./verify/verification.js";
export type { SubscribeOptions, Subscription } from "./subscription.js";
export type {
  Ack,
  Answer,
  BlockPage,
  BlocksRequest,
  ClientEvents,
  ControlData,
  ControlEntry,
  CreateRequest,
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
  History,
  HistoryBlock,
  HistoryRequest,
  InviteRequest,
  JoinRequest,
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
  PeerStatus,
  RelayStatus,
  Role,
  SealedEntry,
  SearchRequest,
  ServerEvents,
  SubscribeRequest,
} from "./types.js";
