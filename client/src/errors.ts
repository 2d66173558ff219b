/** The one error class of the client. */

/** Codes that the client itself gives. */
export type ClientErrorCode =
  /** The client was closed. */
  | "closed"
  /** The server refused the connection and gave no code; the client goes on trying. */
  | "connect_refused"
  /** A subscription's listener threw; `cause` is what it threw. */
  | "listener_failed"
  /** The message is larger than a node takes. */
  | "message_too_large"
  /** What was to be checked cannot be: the rules in wasm did not load, say. */
  | "not_checked"
  /** The data has no JSON form. */
  | "not_json"
  /** The append was sent, and the answer was lost: it may be in the ledger or not. */
  | "outcome_unknown"
  /** Too many requests wait already. Nothing was sent. */
  | "queue_full"
  /** No answer in time. An append that ends with this was never sent. */
  | "timeout"
  /** The node wants another token than came, or one at all; the client goes on trying. */
  | "unauthorized"
  /** This node does not know the cursor. */
  | "unknown_cursor"
  /** The node does not serve the ledger; the client goes on trying. */
  | "unknown_ledger"
  /** The answer is none that this client understands. */
  | "unexpected_answer"
  /** What the node shows is not what was signed; `cause` is the `Finding`. */
  | "unproven";

/** Codes that a node gives where a members' ledger does not allow something. Nothing was written. */
export type MembersErrorCode =
  /** The ledger has begun already. */
  | "begun"
  /** It was so before. */
  | "done"
  /** The node has not the newest key, and seals nothing with an older one. */
  | "no_key"
  /** No link can carry the invite. */
  | "no_invite"
  /** The role does not allow it. */
  | "not_allowed"
  /** The node has not come in, or came in as a reader. */
  | "not_a_member"
  /** The node does not know yet what it wrote before; try again. */
  | "not_yet"
  /** Everybody belongs to an open ledger, and it keeps its name. */
  | "open_ledger"
  /** The node was removed, or has left. */
  | "removed"
  /** So many keys are there that no new one is made without need. */
  | "too_many_keys"
  /** There is no such invite. */
  | "unknown_invite"
  /** Nobody of this id belongs. */
  | "unknown_member"
  /** The key of an invite was used before. */
  | "used_key"
  /** A name has 1 to 64 bytes and no control characters. */
  | "wrong_name";

/** A code of the client or of the node, which may know more of them. */
export type ErrorCode = ClientErrorCode | MembersErrorCode | (string & {});

/** Why a call failed. `code` is stable, the message is for people. */
export class CairnError extends Error {
  override readonly name = "CairnError";
  /** The stable name of the error. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** The error that a node sent; `undefined` if `value` is none. */
  static from(value: unknown): CairnError | undefined {
    if (typeof value !== "object" || value === null) return undefined;
    const { code, message, error } = value as {
      readonly code?: unknown;
      readonly message?: unknown;
      readonly error?: unknown;
    };
    const text = message ?? error;
    if (typeof code !== "string" || typeof text !== "string") return undefined;
    return new CairnError(code, text);
  }
}
