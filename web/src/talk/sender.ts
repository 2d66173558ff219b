/** Sends what was written, one after the other and nothing twice. */

import { CairnError, type Client, type Json } from "@cairn/client";

import type { Event } from "../state/event.js";
import { nextToSend, type Delivery, type Outgoing } from "../state/outbox.js";
import type { State } from "../state/state.js";
import type { OutboxStore } from "./outbox-store.js";
import type { Payload } from "./payload.js";

/** Nothing was written, and it may be otherwise later, by itself. */
const LATER = new Set(["timeout", "queue_full", "busy", "stopping", "not_yet", "no_key", "repairing", "restored", "closed"]);
/** ms until what can be otherwise later is tried again. */
const RETRY = 3000;

/** What the sender needs of the page. */
export interface SenderOptions {
  readonly client: Pick<Client<Json>, "append" | "connected">;
  readonly ledger: string;
  readonly store: OutboxStore;
  readonly state: () => State;
  readonly dispatch: (event: Event) => void;
  /** For tests. */
  readonly now?: () => number;
}

export class Sender {
  readonly #options: SenderOptions;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Takes up what was left from before. What was on its way then may have arrived or not. */
  async load(): Promise<void> {
    const { store, ledger, dispatch } = this.#options;
    const notes = (await store.all(ledger)).map((note) => (note.delivery.state === "sending" ? { ...note, delivery: { state: "unknown" } as const } : note));
    if (this.#closed) return;
    dispatch({ type: "queued", notes });
    await this.pump();
  }

  /** Writes a note down, and sends it when it is its turn. */
  async send(payload: Payload): Promise<void> {
    const { store, ledger, dispatch, now = Date.now } = this.#options;
    const key = newKey();
    const note: Outgoing = { key, ledger, payload: { ...payload, key }, at: now(), delivery: { state: "waiting" } };
    dispatch({ type: "queued", notes: [note] });
    await store.put(note);
    await this.pump();
  }

  /** Lets a note go again whose fate is unknown, or that was refused: the person said so. */
  async again(key: string): Promise<void> {
    const note = this.#find(key);
    if (note === undefined || note.delivery.state === "sending") return;
    await this.#mark(note, { state: "waiting" });
    await this.pump();
  }

  /** Gives a note up. */
  async giveUp(key: string): Promise<void> {
    this.#options.dispatch({ type: "settled", keys: [key] });
    await this.#options.store.forget([key]);
  }

  /** Notes that turned up in the ledger wait no more, in the browser's store neither. */
  async arrived(keys: ReadonlySet<string>): Promise<void> {
    if (keys.size > 0) await this.#options.store.forget([...keys]);
  }

  /** Sends all that waits, while there is a connection. */
  async pump(): Promise<void> {
    for (;;) {
      const { client, store, state } = this.#options;
      const note = this.#closed || !client.connected ? undefined : nextToSend(state().outbox);
      if (note === undefined) return;
      this.#options.dispatch({ type: "delivery", key: note.key, delivery: { state: "sending" } });
      if (!(await store.take(note.key))) {
        // Another window has it; the ledger will tell.
        this.#options.dispatch({ type: "settled", keys: [note.key] });
        continue;
      }
      if (!(await this.#append(note))) return;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
  }

  /** Whether the next one may go. */
  async #append(note: Outgoing): Promise<boolean> {
    const { client, dispatch, store } = this.#options;
    try {
      const entry = await client.append(note.payload as unknown as Json);
      await store.forget([note.key]);
      dispatch({ type: "arrived", entries: [entry] });
      dispatch({ type: "settled", keys: [note.key] });
      return true;
    } catch (error) {
      const { code, message } = error instanceof CairnError ? error : { code: "unexpected_answer", message: String(error) };
      if (LATER.has(code)) {
        await this.#mark(note, { state: "waiting" });
        this.#retry = setTimeout(() => void this.pump(), RETRY);
        return false;
      }
      await this.#mark(note, code === "outcome_unknown" ? { state: "unknown" } : { state: "refused", code, message });
      return true;
    }
  }

  async #mark(note: Outgoing, delivery: Delivery): Promise<void> {
    // What turned up in the ledger meanwhile is settled, whatever the answer was.
    if (this.#find(note.key) === undefined) return;
    this.#options.dispatch({ type: "delivery", key: note.key, delivery });
    await this.#options.store.put({ ...note, delivery });
  }

  #find(key: string): Outgoing | undefined {
    return this.#options.state().outbox.find((note) => note.key === key);
  }
}

/** Nobody draws the same 60 bits by chance, or can guess them. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => (byte % 32).toString(32)).join("");
}
