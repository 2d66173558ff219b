/** What was kept of the node's ledgers, so that they have their names also while the node is away. */

import type { LedgerInfo } from "@cairn/client";

/** `null` where nothing was kept, or something else. */
export function parseLedgers(kept: string | null): readonly LedgerInfo[] | null {
  try {
    const value: unknown = JSON.parse(kept ?? "null");
    return Array.isArray(value) && value.every(isLedger) ? value : null;
  } catch {
    return null;
  }
}

function isLedger(value: unknown): value is LedgerInfo {
  if (typeof value !== "object" || value === null) return false;
  const { id, name, open, node, default: first } = value as Partial<Record<keyof LedgerInfo, unknown>>;
  return typeof id === "string" && typeof name === "string" && typeof open === "boolean" && typeof node === "string" && typeof first === "boolean";
}
