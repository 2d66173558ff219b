/** An auditor where it disturbs least: in a worker where there are workers of the web, else in this thread. */

import { CairnError } from "../errors.js";
import { localAuditor } from "./auditor.js";
import type { Auditor, Confirmed, EntryOrder, Finding, Proved } from "./types.js";
import type { Question, Reply } from "./worker.js";

/** The auditor of one ledger. */
export async function openAuditor(ledger: string): Promise<Auditor> {
  // Node.js has other workers, and Bun's load TypeScript; what runs there has a thread to spare.
  if (typeof Worker === "undefined" || typeof document === "undefined") return localAuditor(ledger);
  const auditor = new RemoteAuditor(new Worker(new URL("./worker.js", import.meta.url), { type: "module" }));
  await auditor.open(ledger);
  return auditor;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Asks a worker. */
class RemoteAuditor implements Auditor {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #asked = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("error" in data) waiting?.reject(new CairnError("not_checked", data.error));
      else waiting?.resolve(data.value);
    };
    worker.onerror = (event) => this.#fail(new CairnError("not_checked", event.message || "the worker that checks cannot run"));
  }

  async open(ledger: string): Promise<void> {
    await this.#ask("open", [ledger]);
  }

  add(blocks: readonly string[]): Promise<Finding | null> {
    return this.#ask("add", [blocks]);
  }

  settle(): Promise<Finding | null> {
    return this.#ask("settle", []);
  }

  setKeyring(keyring: string): Promise<void> {
    return this.#ask("setKeyring", [keyring]);
  }

  confirm(ids: readonly string[], order: EntryOrder | null, after: string | null | undefined): Promise<Confirmed> {
    return this.#ask("confirm", [ids, order, after]);
  }

  proved(): Promise<Proved> {
    return this.#ask("proved", []);
  }

  close(): void {
    this.#worker.terminate();
    this.#fail(new CairnError("closed", "the check was ended"));
  }

  #ask<A>(call: Question["call"], args: readonly unknown[]): Promise<A> {
    return new Promise((resolve, reject) => {
      const question: Question = { id: ++this.#asked, call, args };
      this.#waiting.set(question.id, { resolve: (value) => resolve(value as A), reject });
      this.#worker.postMessage(question);
    });
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
