/** The worker of a page: an auditor that is asked by messages, so that the page goes on while it checks. */

import { localAuditor } from "./auditor.js";
import type { Auditor } from "./types.js";

/** What is asked: a call of an {@link Auditor}, or `open` with the ledger's id. */
export interface Question {
  readonly id: number;
  readonly call: "open" | Exclude<keyof Auditor, "close">;
  readonly args: readonly unknown[];
}

/** The answer to the question of that id. */
export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };

interface Scope {
  onmessage: ((event: { data: Question }) => void) | null;
  postMessage(reply: Reply): void;
}

const scope = globalThis as unknown as Scope;
let auditor: Auditor | undefined;
let last: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};

async function answer({ id, call, args }: Question): Promise<void> {
  try {
    scope.postMessage({ id, value: await perform(call, args) });
  } catch (error) {
    scope.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
}

async function perform(call: Question["call"], args: readonly unknown[]): Promise<unknown> {
  if (call === "open") {
    auditor = await localAuditor(args[0] as string);
    return undefined;
  }
  if (auditor === undefined) throw new Error("nothing was opened");
  return (auditor[call] as (...args: readonly unknown[]) => unknown)(...args);
}
