/** The whole of a ledger, checked once. */

import { CairnError } from "../errors.js";
import type { NodeStatus } from "../types.js";
import { Checker, type Given } from "./checker.js";
import type { Finding, Proved, Verification } from "./types.js";

/** How to verify. Everything has a default. */
export interface VerifyOptions {
  /** Told how many blocks of how many are checked. */
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
  /** Ends it; `verify` rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Times that a ledger may grow while it is compared with what the node says of it. */
const TRIES = 5;

/** Checks everything that a node has. */
export async function verify(
  given: Given & { status(): Promise<NodeStatus> },
  { onProgress, signal }: VerifyOptions,
): Promise<Verification> {
  const began = performance.now();
  const { ledger, totals } = await given.status();
  const checker = await Checker.open(given, ledger, totals.blocks);
  const stop = (): void => checker.close();
  signal?.addEventListener("abort", stop);
  let done = 0;
  const took = (blocks: number): void => {
    done += blocks;
    onProgress?.({ done, total: Math.max(done, totals.blocks) });
  };
  const result = (proved: Proved, finding: Finding | null): Verification => ({
    ...proved,
    finding,
    milliseconds: performance.now() - began,
  });
  try {
    for (let tries = 1; ; tries++) {
      await checker.catchUp(took, signal);
      const [proved, status] = [await checker.proved(), await given.status()];
      if (status.totals.blocks === proved.blocks && status.totals.entries === proved.entries) return result(proved, null);
      // More may have come meanwhile.
      if (tries === TRIES) return result(proved, incomplete(status, proved));
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CairnError && error.code === "unproven") {
      return result(await checker.proved(), error.cause as Finding);
    }
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
    checker.close();
  }
}

function incomplete({ totals }: NodeStatus, { blocks, entries }: Proved): Finding {
  return {
    what: `the node says that it has ${totals.entries} entries in ${totals.blocks} blocks, and gave ${entries} in ${blocks}`,
    ...{ block: null, author: null, height: null, hash: null, entry: null },
  };
}
