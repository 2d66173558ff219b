/** How far a node has come into a group, told from its status. */

import type { NodeStatus } from "@cairn/client";

import type { State } from "../state/state.js";

export interface Step {
  readonly name: string;
  readonly state: "done" | "now" | "later";
  readonly more: string | null;
}

/** Whether the node has asked to come into the ledger and is not in. */
export function isJoining({ group: { status } }: State): boolean {
  return status !== null && !status.open && status.role === null && !status.removed;
}

/** Reaching somebody, reading what was written, being in: the first that is not done is what it waits for. */
export function joining({ group: { status }, session: { progress } }: State): readonly Step[] {
  if (status === null) return [];
  const reached = status.links.some(({ node, path }) => node !== null || path === "relay");
  const read = status.totals.blocks > 0 && progress === null;
  const done = [reached, reached && read, false];
  const now = done.indexOf(false);
  const more = [
    whyNotReached(status),
    progress === null ? (reached ? "Nobody of the group has answered yet: somebody’s device has to be on line." : null) : `${progress.done.toLocaleString()} of ${progress.total.toLocaleString()} blocks`,
    "The group’s devices have to see that the invite is good.",
  ];
  return ["Reach the group", "Read what was written", "Be let in"].map((name, index) => ({
    name,
    state: index < now ? "done" : index === now ? "now" : "later",
    more: index === now ? more[index]! : null,
  }));
}

function whyNotReached({ relays }: NodeStatus): string {
  const waiting = relays.find((relay) => relay.state === "waiting");
  if (waiting?.state === "waiting") return `The relay ${host(waiting.url)} cannot be reached: ${waiting.reason}. Your node tries again by itself.`;
  const dialling = relays.find((relay) => relay.state === "dialling");
  if (dialling !== undefined) return `Connecting to the relay ${host(dialling.url)} …`;
  return "Your node knows no relay of this group, and looks for its devices near by.";
}

function host(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}
