/** Requests on their way: a bounded queue, a bounded number without an answer, and what a lost connection means for each. */

import { CairnError } from "./errors.js";

/** Bytes of one message that every node takes, its envelope included. */
export const MESSAGE_BYTES = 2 * 1024 * 1024;
/** Bytes of a message that are not its arguments. */
const ENVELOPE_BYTES = 256;
/** What adds one entry. Those that are made at once go in one message, as what adds many: each is answered for itself all the same. */
const APPEND = "add_ledger_entry";
const APPEND_MANY = "append_many";
/** Entries that go together. A few such messages are on their way at once, so that nobody waits for the other. */
const TOGETHER = 128;
/**
 * Bytes of a message whose entry may go with others: far below what a node takes. So nothing is wrong with one of them alone,
 * for which all would be refused.
 */
const TOGETHER_BYTES = 2048;

/** What a request may do when the connection is lost before the answer. */
export type WhenLost =
  /** Ask again: asking twice changes nothing. */
  | "resend"
  /** Tell the caller: asking twice could do it twice. */
  | "reject";

/** Puts a request on the connection, its arguments as JSON, one behind the other; `answer` is called at most once. */
export type Send = (event: string, args: string, answer: (value: unknown) => void) => void;

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
  /** The arguments as JSON, as they were when the request was made, one behind the other. */
  readonly args: string;
  readonly bytes: number;
  readonly whenLost: WhenLost;
  /** When it fails, in ms of the clock that never steps back. */
  readonly deadline: number;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: CairnError) => void;
}

/** The requests of one client, sent in the order in which they were made. */
export class Requests {
  readonly #limits: RequestLimits;
  readonly #queue: Request[] = [];
  readonly #inFlight = new Set<Request>();
  /** All that are not settled, in the order in which they were made: that of their deadlines. */
  readonly #open = new Set<Request>();
  /** Runs for the first of them, or for one before it that is settled: one for all, because it costs more than a request. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #flushesSoon = false;
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
      const deadline = performance.now() + this.#limits.timeout;
      const request: Request = { event, args: json, bytes, whenLost, deadline, resolve, reject };
      this.#open.add(request);
      this.#timer ??= setTimeout(() => this.#expire(), this.#limits.timeout);
      this.#queue.push(request);
      this.#queuedBytes += bytes;
      if (goesTogether(request) && this.#queue.length % TOGETHER !== 0) this.#flushSoon();
      else this.flush();
    });
  }

  /** The connection is there: what waits is sent. */
  connected(send: Send): void {
    this.#send = send;
    this.flush();
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

  /** Sends when those who run now have made their requests. */
  #flushSoon(): void {
    if (this.#flushesSoon) return;
    this.#flushesSoon = true;
    queueMicrotask(() => {
      this.#flushesSoon = false;
      this.flush();
    });
  }

  /** Sends what may be sent now. */
  flush(): void {
    while (this.#send !== undefined) {
      const together = this.#takeNext();
      const [first] = together;
      if (first === undefined) return;
      if (together.length === 1) {
        this.#send(first.event, first.args, (value) => this.#answered(together, [read(first.event, value)]));
      } else {
        const entries = together.map(({ args }) => args).join(",");
        this.#send(APPEND_MANY, `[${entries}]`, (value) => this.#answered(together, readEach(value, together.length)));
      }
    }
  }

  /** Takes from the queue what goes in the next message. */
  #takeNext(): readonly Request[] {
    const taken: Request[] = [];
    while (taken.length < TOGETHER) {
      const request = this.#queue[taken.length];
      if (request === undefined || !this.#fits(request)) break;
      if (taken.length > 0 && !goesTogether(request)) break;
      taken.push(request);
      this.#queuedBytes -= request.bytes;
      this.#inFlight.add(request);
      this.#inFlightBytes += request.bytes;
      if (!goesTogether(request)) break;
    }
    this.#queue.splice(0, taken.length);
    return taken;
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

  #answered(together: readonly Request[], answers: readonly unknown[]): void {
    together.forEach((request, index) => {
      // An answer that comes after its time has no one to go to.
      if (this.#landed(request)) this.#settle(request, answers[index]);
    });
    this.flush();
  }

  /** Fails those whose time is over, and waits for the next one. */
  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const request of this.#open) {
      if (request.deadline > now) break;
      this.#fail(request);
    }
    const [next] = this.#open;
    if (next !== undefined) this.#timer = setTimeout(() => this.#expire(), Math.ceil(next.deadline - now));
    this.flush();
  }

  #fail(request: Request): void {
    const waited = `${this.#limits.timeout} ms`;
    if (this.#landed(request)) {
      const why = `no answer within ${waited}`;
      this.#settle(request, request.whenLost === "reject" ? outcomeUnknown(why) : new CairnError("timeout", why));
      return;
    }
    this.#queue.splice(this.#queue.indexOf(request), 1);
    this.#queuedBytes -= request.bytes;
    this.#settle(request, new CairnError("timeout", `not sent within ${waited}: the node was not reached`));
  }

  #settle(request: Request, result: unknown): void {
    this.#open.delete(request);
    if (this.#open.size === 0) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    if (result instanceof CairnError) request.reject(result);
    else request.resolve(result);
  }
}

function goesTogether({ event, bytes }: Request): boolean {
  return event === APPEND && bytes <= TOGETHER_BYTES;
}

function outcomeUnknown(why: string): CairnError {
  return new CairnError("outcome_unknown", `${why}: the entries may be in the ledger or not`);
}

/**
 * Arguments as JSON, and the bytes of their message. Taken at once, so that a later change of the value changes nothing, and
 * nothing but JSON goes out.
 */
function encode(event: string, args: readonly unknown[]): [json: string, bytes: number] {
  const values = args.map((arg) => {
    const value = toJson(arg);
    if (value === undefined) throw new CairnError("not_json", `${typeof arg} has no JSON form`);
    return value;
  });
  const json = values.join(",");
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
  return unexpected(event);
}

/** The answers to so many appends that went together. */
function readEach(value: unknown, count: number): readonly unknown[] {
  const answer = read(APPEND_MANY, value);
  const entries = typeof answer === "object" && answer !== null && "entries" in answer ? answer.entries : undefined;
  if (!Array.isArray(entries) || entries.length !== count)
    return Array.from({ length: count }, () => (answer instanceof CairnError ? answer : unexpected(APPEND_MANY)));
  return entries.map((entry: unknown) => ({ ok: true, entry }));
}

function unexpected(event: string): CairnError {
  return new CairnError("unexpected_answer", `the node's answer to ${event} is none that this client understands`);
}
