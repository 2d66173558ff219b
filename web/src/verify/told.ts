/** What a check has shown, in plain words. */

import type { Finding, Verification } from "@cairn/client";

import type { Person } from "../app.js";

/** What the view shows: nothing yet, a check that runs, its result, or why there is none. */
export type Check =
  | { readonly state: "idle" }
  | { readonly state: "running"; readonly done: number; readonly total: number }
  | { readonly state: "ended"; readonly verification: Verification }
  | { readonly state: "failed"; readonly message: string };

export type CheckEvent =
  | { readonly type: "begun" }
  | { readonly type: "progress"; readonly done: number; readonly total: number }
  | { readonly type: "ended"; readonly verification: Verification }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "stopped" };

/** What a check is after something happened to it. */
export function reduce(check: Check, event: CheckEvent): Check {
  switch (event.type) {
    case "begun":
      return { state: "running", done: 0, total: 0 };
    case "progress":
      // A page that was asked for before the check was stopped may still come.
      return check.state === "running" ? { state: "running", done: event.done, total: event.total } : check;
    case "ended":
      return { state: "ended", verification: event.verification };
    case "failed":
      return { state: "failed", message: event.message };
    case "stopped":
      return { state: "idle" };
  }
}

export function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** How long that took, as people say it. */
export function tookText(milliseconds: number): string {
  return milliseconds < 1_000 ? `${Math.max(1, Math.round(milliseconds))} ms` : `${(milliseconds / 1_000).toFixed(1)} s`;
}

/** How far a check is, 0 to 1; `null` before that is known. */
export function share(check: Check): number | null {
  if (check.state !== "running" || check.total === 0) return null;
  return Math.min(1, check.done / check.total);
}

/** What was proved, a sentence each. */
export function proved({ entries, blocks, authors, forks }: Verification, open: boolean): readonly string[] {
  return [
    `${counted(entries, "entry", "entries")} in ${counted(blocks, "block", "blocks")}: each is, to the byte, what its author signed.`,
    `All of them were signed by the ${counted(authors, "device", "devices")} that they are shown under. Nobody else has those keys.`,
    "Each block names the hashes of those that it rests on, and all of them are here: nothing was taken out from below, put in between, or moved.",
    "No time goes back along the chain, so the order is the one that everybody sees.",
    ...(open ? [] : ["Whoever wrote had been let in by somebody who was allowed to."]),
    ...(forks > 0
      ? [`${counted(forks, "device has", "devices have")} signed two different pasts. That is proved too: History shows the proof.`]
      : []),
  ];
}

/** What no check in a browser can show. */
export const LIMITS: readonly string[] = [
  "That this is all there is: a node can keep back the newest entries until somebody else shows them to you.",
  "That what people wrote is true. It shows who wrote it, and that nobody changed it since.",
];

/** Where something is wrong. */
export function placeText(finding: Finding, person: (node: string) => Person): string {
  const parts: string[] = [];
  if (finding.block !== null) parts.push(`block ${finding.block.toLocaleString("en")} of those that the node gave`);
  if (finding.author !== null && finding.height !== null) parts.push(`number ${finding.height} of ${person(finding.author).name}`);
  return parts.join(", ") || "the ledger as a whole";
}
