/** Requests on their way: a bounded queue, a bounded number without an answer, and what a lost connection means for each. */

import { CairnError } from "./errors.js";

/** Bytes of one message that every node takes, its envelope included. */
export const MESSAGE_BYTES = 2 * 1024 * 1024;
/** Bytes of a message that are not its arguments. */
const ENVELOPE_BYTES = 256;

/** What a request may do when the connection is lost before the answer. */
export type WhenLost =
  /** Ask again: asking twice changes nothing. */
  | "resend"
  /** Tell the caller: asking twice could do it twice. */
  | "reject";

/** Puts a request on the connection; `answer` is called at most once. */
export type Send = (event: string, args: readonly unknown[], answer: (value: unknown) => void) => void;

/** The bounds. */
export interface RequestLimits {
  /** Requests without an answer at once. */
  readonly inFlight: number;
  /** Bytes of those; a single larger request goes alone. */
  readonly inFlightBytes: number;
  /** Requests that wait for the connection or for their turn. */
  readonly queued: number;
  /** Bytes of those. */
  readonly queuedBytes: number;
  /** ms until a request fails. */
  readonly timeout: number;
}

interface Request {
  readonly event: string;
  /** The arguments as JSON, as they were when the request was made. */
  readonly args: string;
  readonly bytes: number;
  readonly whenLost: WhenLost;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: CairnError) => void;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** The requests of one client, sent in the order in which they were made. */
export class Requests {
  readonly #limits: RequestLimits;
  readonly #queue: Request[] = [];
  readonly #inFlight = new Set<Request>();
  #queuedBytes = 0;
  #inFlightBytes = 0;
  #send: Send | undefined;
  #closed: CairnError | undefined;

  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  /** The answer to a request, without its `ok`. */
  async ask(event: string, args: readonly unknown[], whenLost: WhenLost): Promise<unknown> {
    if (this.#closed !== undefined) throw this.#closed;
    const [json, bytes] = encode(event, args);
    const { queued, queuedBytes } = this.#limits;
    if (this.#queue.length >= queued || this.#queuedBytes + bytes > queuedBytes) {
      const wait = `${this.#queue.length} requests of ${this.#queuedBytes} bytes wait already`;
      throw new CairnError("queue_full", `${wait}, limits are ${queued} and ${queuedBytes}`);
    }
    return new Promise((resolve, reject) => {
      const request: Request = { event, args: json, bytes, whenLost, resolve, reject, timer: undefined };
      request.timer = setTimeout(() => this.#expire(request), this.#limits.timeout);
      this.#queue.push(request);
      this.#queuedBytes += bytes;
      this.#flush();
    });
  }

  /** The connection is there: what waits is sent. */
  connected(send: Send): void {
    this.#send = send;
    this.#flush();
  }

  /** The connection is lost, and with it the answers to what was sent. */
  disconnected(): void {
    this.#send = undefined;
    const lost = [...this.#inFlight];
    for (const request of lost) this.#landed(request);
    const again = lost.filter((request) => request.whenLost === "resend");
    this.#queue.unshift(...again);
    for (const request of again) this.#queuedBytes += request.bytes;
    for (const request of lost) {
      if (request.whenLost === "reject")
        this.#settle(request, outcomeUnknown("the connection was lost before the answer"));
    }
  }

  /** Nothing is sent any more. */
  close(): void {
    this.disconnected();
    this.#closed = new CairnError("closed", "this client was closed");
    for (const request of this.#queue.splice(0)) this.#settle(request, this.#closed);
    this.#queuedBytes = 0;
  }

  #flush(): void {
    while (this.#send !== undefined) {
      const request = this.#queue[0];
      if (request === undefined || !this.#fits(request)) return;
      this.#queue.shift();
      this.#queuedBytes -= request.bytes;
      this.#inFlight.add(request);
      this.#inFlightBytes += request.bytes;
      this.#send(request.event, JSON.parse(request.args) as unknown[], (value) => this.#answered(request, value));
    }
  }

  #fits({ bytes }: Request): boolean {
    const { inFlight, inFlightBytes } = this.#limits;
    return (
      this.#inFlight.size === 0 || (this.#inFlight.size < inFlight && this.#inFlightBytes + bytes <= inFlightBytes)
    );
  }

  /** The request is not in flight any more; `false` if it was not. */
  #landed(request: Request): boolean {
    if (!this.#inFlight.delete(request)) return false;
    this.#inFlightBytes -= request.bytes;
    return true;
  }

  #answered(request: Request, value: unknown): void {
    // An answer that comes after its time has no one to go to.
    if (!this.#landed(request)) return;
    this.#settle(request, read(request.event, value));
    this.#flush();
  }

  #expire(request: Request): void {
    const waited = `${this.#limits.timeout} ms`;
    if (this.#landed(request)) {
      const why = `no answer within ${waited}`;
      this.#settle(request, request.whenLost === "reject" ? outcomeUnknown(why) : new CairnError("timeout", why));
      this.#flush();
      return;
    }
    this.#queue.splice(this.#queue.indexOf(request), 1);
    this.#queuedBytes -= request.bytes;
    this.#settle(request, new CairnError("timeout", `not sent within ${waited}: the node was not reached`));
  }

  #settle(request: Request, result: unknown): void {
    clearTimeout(request.timer);
    if (result instanceof CairnError) request.reject(result);
    else request.resolve(result);
  }
}

function outcomeUnknown(why: string): CairnError {
  return new CairnError("outcome_unknown", `${why}: the entries may be in the ledger or not`);
}

/**
 * Arguments as JSON, and the bytes of their message. Taken at once, so that a later change of the value changes nothing, and
 * nothing but JSON goes out.
 */
function encode(event: string, args: readonly unknown[]): [json: string, bytes: number] {
  for (const arg of args) {
    if (toJson(arg) === undefined) throw new CairnError("not_json", `${typeof arg} has no JSON form`);
  }
  const json = toJson(args)!;
  const bytes = ENVELOPE_BYTES + event.length + utf8Bytes(json);
  if (bytes > MESSAGE_BYTES) {
    throw new CairnError("message_too_large", `message of ${bytes} bytes, limit is ${MESSAGE_BYTES}`);
  }
  return [json, bytes];
}

function toJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (error) {
    throw new CairnError("not_json", "the value has no JSON form", { cause: error });
  }
}

/** Length in UTF-8; exact only where a message could be too large. */
function utf8Bytes(text: string): number {
  return text.length * 3 < MESSAGE_BYTES / 2 ? text.length : new TextEncoder().encode(text).length;
}

/** The answer, or the error that it is. */
function read(event: string, value: unknown): unknown {
  if (typeof value === "object" && value !== null && "ok" in value) {
    if (value.ok === true) return value;
    const error = CairnError.from("error" in value ? value.error : undefined);
    if (error !== undefined) return error;
  }
  return new CairnError("unexpected_answer", `the node's answer to ${event} is none that this client understands`);
}
