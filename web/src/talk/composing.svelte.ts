/** What is being written. */

import { keepDraft, recallDraft } from "./draft.js";

/** ms after a keystroke until the draft is kept. */
const SOON = 300;

export class Composing {
  text = $state("");
  replyTo = $state<string | null>(null);
  editing = $state<string | null>(null);
  image = $state<string | null>(null);
  readonly #ledger: string;
  /** What was being written when a note began to be changed. */
  #aside = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ledger: string) {
    this.#ledger = ledger;
    const { text, replyTo } = recallDraft(ledger);
    this.text = text;
    this.replyTo = replyTo;
  }

  reply(entry: string): void {
    this.#leaveEdit();
    this.replyTo = entry;
    this.keep();
  }

  edit(entry: string, text: string): void {
    if (this.editing === null) this.#aside = this.text;
    this.replyTo = null;
    this.image = null;
    this.editing = entry;
    this.text = text;
  }

  /** No reply any more, no change any more; what was being written before is there again. */
  dismiss(): void {
    this.#leaveEdit();
    this.replyTo = null;
    this.keep();
  }

  clear(): void {
    this.text = this.editing === null ? "" : this.#aside;
    this.#aside = "";
    this.editing = null;
    this.replyTo = null;
    this.image = null;
    this.keep();
  }

  keepSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.keep(), SOON);
  }

  keep(): void {
    clearTimeout(this.#timer);
    keepDraft(this.#ledger, { text: this.editing === null ? this.text : this.#aside, replyTo: this.replyTo });
  }

  #leaveEdit(): void {
    if (this.editing === null) return;
    this.text = this.#aside;
    this.#aside = "";
    this.editing = null;
  }
}
