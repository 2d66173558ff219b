/** A client of a relay's text side: JSON envelopes over a WebSocket. */

import { randomUUID } from "node:crypto";

import { WebSocket } from "ws";

/** Frames that may wait to be read. */
const WAITING_FRAMES = 10_000;

/** The five fields of every frame. */
export interface Envelope<T = unknown> {
  readonly message_type: string;
  readonly message_id: string;
  readonly sender_id: string;
  readonly recipient_id: string;
  readonly payload: T;
}

/** One connection. Frames wait until they are asked for. */
export class TextClient {
  /** What it calls itself. */
  readonly id: string = randomUUID();
  /** Resolves with the code and the reason of the close frame. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  readonly #socket: WebSocket;
  #end = "";
  #waiting: string[] = [];
  #wake: () => void = () => {};

  /** Connects. */
  static async open(url: string): Promise<TextClient> {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    const client = new TextClient(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    return client;
  }

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data, binary) => {
      if (binary) return;
      if (this.#waiting.length === WAITING_FRAMES) socket.terminate();
      this.#waiting.push(String(data));
      this.#wake();
    });
    // After the opening, an error is always followed by `close`.
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.once("close", (code, reason) => {
        this.#end = `${code} ${String(reason)}`;
        resolve({ code, reason: String(reason) });
        this.#wake();
      });
    });
  }

  /** Sends an envelope; returns its id. */
  send(message_type: string, payload: unknown, recipient_id = ""): string {
    const message_id = randomUUID();
    this.raw(JSON.stringify({ message_type, message_id, sender_id: this.id, recipient_id, payload }));
    return message_id;
  }

  /** Sends any text. */
  raw(text: string): void {
    this.#socket.send(text);
  }

  /** Takes out the first waiting frame for which `where` holds, or waits for one. */
  async next<T = unknown>(where: (envelope: Envelope<T>) => boolean, timeout = 30_000): Promise<Envelope<T>> {
    const end = Date.now() + timeout;
    for (;;) {
      const index = this.#waiting.findIndex((text) => isEnvelope(text) && where(JSON.parse(text) as Envelope<T>));
      if (index >= 0) return JSON.parse(this.#waiting.splice(index, 1)[0]!) as Envelope<T>;
      if (this.#socket.readyState === WebSocket.CLOSED)
        throw new Error(`closed with ${this.#end}; frames left: ${this.#waiting.join("\n")}`);
      await this.#frame(end - Date.now());
    }
  }

  /** Takes out the first waiting frame of a type, or waits for one. */
  async take<T = unknown>(message_type: string, timeout?: number): Promise<Envelope<T>> {
    return this.next<T>((envelope) => envelope.message_type === message_type, timeout);
  }

  /** Takes out every waiting frame. */
  drain(): string[] {
    return this.#waiting.splice(0);
  }

  /** Ends the connection and waits for its end. */
  async close(): Promise<void> {
    this.#socket.terminate();
    await this.closed;
  }

  #frame(timeout: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no such frame in time; waiting: ${this.#waiting.join("\n")}`)),
        timeout,
      );
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function isEnvelope(text: string): boolean {
  // `pong`, the answer to the keepalive, is no envelope.
  return text.startsWith("{");
}
