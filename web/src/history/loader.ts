/** Asks the node for what the viewer wants: one request at a time, always for what is wanted now. */

import type { Client, HistoryRequest, Json } from "@cairn/client";

import { inWords } from "../words.js";
import { countsOf, type Counts } from "./bars.js";
import { wanted, type Told, type View, type ViewEvent } from "./view.js";

/** What a loader needs of a client. */
export type Asked = Pick<Client<Json>, "history">;

/** ms between two reads of a ledger that grows, at least; and so many times as long as the last one took. */
const REFRESH = 1_000;
const REST = 4;

/** The requests of one viewer. */
export class Loader {
  readonly #client: Asked;
  readonly #view: () => View;
  readonly #dispatch: (event: ViewEvent) => void;
  #busy = false;
  #closed = false;
  /** The ledger has grown since it was read. */
  #stale = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #took = 0;

  constructor(client: Asked, view: () => View, dispatch: (event: ViewEvent) => void) {
    this.#client = client;
    this.#view = view;
    this.#dispatch = dispatch;
  }

  /** The view has changed: asks for what it wants, if it wants anything. */
  look(): void {
    if (this.#busy || this.#closed || this.#view().failure !== null) return;
    const request = wanted(this.#view());
    if (request !== null) void this.#ask(request, this.#view().whole === null ? "whole" : "part");
  }

  /** The ledger has changed: reads it again, not more often than it can be read. */
  refresh(): void {
    this.#stale = true;
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => void this.#refresh(), Math.max(REFRESH, this.#took * REST));
  }

  /** Asks again after a failure. */
  async retry(): Promise<void> {
    const view = this.#view();
    const request = wanted(view) ?? wanted({ ...view, whole: null, part: null });
    if (request !== null) await this.#ask(request, request.from === undefined ? "whole" : "part");
  }

  /** How much there was at a moment; `null` where that is not to be had. */
  async countsAt(time: number): Promise<Counts | null> {
    try {
      return countsOf(await this.#client.history({ to: time, buckets: 1, detail: 0 }));
    } catch {
      return null;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #refresh(): Promise<void> {
    this.#timer = undefined;
    if (this.#busy || this.#closed) return;
    this.#stale = false;
    const whole = wanted({ ...this.#view(), whole: null, part: null });
    if (whole !== null) await this.#ask(whole, "whole");
    const part = wanted({ ...this.#view(), part: null });
    if (part !== null) await this.#ask(part, "part");
  }

  async #ask(request: HistoryRequest, type: "whole" | "part"): Promise<void> {
    if (this.#closed) return;
    this.#busy = true;
    const began = performance.now();
    try {
      const history = await this.#client.history(request);
      this.#took = performance.now() - began;
      const told: Told = { history, buckets: request.buckets ?? 1 };
      if (!this.#closed) this.#dispatch({ type, told });
    } catch (error) {
      if (!this.#closed) this.#dispatch({ type: "failed", message: inWords(error) });
    } finally {
      this.#busy = false;
    }
    this.look();
    // What came while the node was asked waits for its time.
    if (this.#stale) this.refresh();
  }
}
