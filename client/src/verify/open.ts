/** An auditor where it disturbs least: in workers where there are workers of the web, else in this thread. */

import { CairnError } from "../errors.js";
import { localAuditor } from "./auditor.js";
import type { Auditor, Confirmed, EntryOrder, Finding, Proved } from "./types.js";
import type { Question, Reply } from "./worker.js";

/** Workers that check signatures, at most. */
const SIGNERS = 4;
/** Blocks for which it takes longer to start such a worker than it saves. */
const FEW = 2_000;

/** The auditor of one ledger, which has about so many blocks. */
export async function openAuditor(ledger: string, blocks: number): Promise<Auditor> {
  // Node.js has other workers, and Bun's load TypeScript; what runs there has a thread to spare.
  if (typeof Worker === "undefined" || typeof document === "undefined") return localAuditor(ledger);
  const auditor = new RemoteAuditor(blocks < FEW ? 0 : Math.min(navigator.hardwareConcurrency || 1, SIGNERS));
  await auditor.open(ledger);
  return auditor;
}

function newWorker(): Worker {
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Asks a worker, which has others check the signatures. */
class RemoteAuditor implements Auditor {
  readonly #worker = newWorker();
  readonly #signers: readonly Worker[];
  readonly #waiting = new Map<number, Waiting>();
  #asked = 0;

  constructor(signers: number) {
    this.#signers = Array.from({ length: signers }, newWorker);
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("error" in data) waiting?.reject(new CairnError("not_checked", data.error));
      else waiting?.resolve(data.value);
    };
    for (const worker of [this.#worker, ...this.#signers]) {
      worker.onerror = (event) => this.#fail(new CairnError("not_checked", event.message || "a worker that checks cannot run"));
    }
  }

  async open(ledger: string): Promise<void> {
    const ports = this.#signers.map((signer) => {
      const { port1, port2 } = new MessageChannel();
      const question: Question = { id: 0, call: "sign", args: [] };
      signer.postMessage(question, [port1]);
      return port2;
    });
    await this.#ask("open", [ledger], ports);
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
    for (const worker of [this.#worker, ...this.#signers]) worker.terminate();
    this.#fail(new CairnError("closed", "the check was ended"));
  }

  #ask<A>(call: Question["call"], args: readonly unknown[], ports: MessagePort[] = []): Promise<A> {
    return new Promise((resolve, reject) => {
      const question: Question = { id: ++this.#asked, call, args };
      this.#waiting.set(question.id, { resolve: (value) => resolve(value as A), reject });
      this.#worker.postMessage(question, ports);
    });
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
