/** A worker of a page: an auditor that is asked by messages, so that the page goes on while it checks, or one that checks signatures for it. */

import { localAuditor } from "./auditor.js";
import { serveSignatures } from "./signatures.js";
import type { Auditor } from "./types.js";

/**
 * What is asked: a call of an {@link Auditor}; `open` with the ledger's id, and ports to workers that check signatures; or `sign` with the
 * other end of such a port.
 */
export interface Question {
  readonly id: number;
  readonly call: "open" | "sign" | Exclude<keyof Auditor, "close">;
  readonly args: readonly unknown[];
}

/** The answer to the question of that id. */
export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };

interface Scope {
  onmessage: ((event: { data: Question; ports: readonly MessagePort[] }) => void) | null;
  postMessage(reply: Reply): void;
}

const scope = globalThis as unknown as Scope;
let auditor: Auditor | undefined;
let last: Promise<void> = Promise.resolve();

scope.onmessage = ({ data, ports }) => {
  last = last.then(() => answer(data, ports));
};

async function answer({ id, call, args }: Question, ports: readonly MessagePort[]): Promise<void> {
  try {
    scope.postMessage({ id, value: await perform(call, args, ports) });
  } catch (error) {
    scope.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
}

async function perform(call: Question["call"], args: readonly unknown[], ports: readonly MessagePort[]): Promise<unknown> {
  if (call === "sign") return serveSignatures(ports[0]!);
  if (call === "open") {
    auditor = await localAuditor(args[0] as string, ports);
    return undefined;
  }
  if (auditor === undefined) throw new Error("nothing was opened");
  return (auditor[call] as (...args: readonly unknown[]) => unknown)(...args);
}
