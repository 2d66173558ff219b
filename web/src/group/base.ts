/** Where the links of invites lead. */

import type { RelayStatus } from "@cairn/client";

/** A page to put an invite behind, and whether only this machine reaches it. */
export interface InviteBase {
  readonly base: string;
  readonly local: boolean;
}

/** This page itself where others reach it, or else that of a relay, which tells a newcomer what to do. */
export function inviteBase(origin: string, relays: readonly RelayStatus[]): InviteBase {
  if (!isLocal(origin)) return { base: origin, local: false };
  const reached = relays.find(({ url, state }) => state === "connected" && !isLocal(url));
  return reached === undefined ? { base: origin, local: true } : { base: reached.url.replace(/^ws/u, "http"), local: false };
}

function isLocal(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
}
