/** A node's status for tests: of a device alone, with what a test is about filled in. */

import type { LinkStatus, NodeStatus, PeerStatus } from "@cairn/client";

/** A node id that says which. */
export function idOf(number: number): string {
  return number.toString(16).padStart(4, "0").repeat(16);
}

export function statusOf(some: Partial<NodeStatus> = {}): NodeStatus {
  return {
    version: "0.1.0",
    node: idOf(0),
    former_nodes: [],
    ledger: idOf(0xffff),
    name: "the allotments",
    open: true,
    role: null,
    removed: false,
    members: 0,
    uptime_seconds: 60,
    turns: 1,
    totals: { blocks: 0, entries: 0, bytes: 0 },
    digest: "",
    last_seq: 0,
    heads: [],
    frozen: [],
    held: { height: 0, nodes: 0 },
    repairing: 0,
    restoring: false,
    parked: { blocks: 0, bytes: 0 },
    links: [],
    addresses: [],
    peers: [],
    relays: [],
    known_nodes: [],
    ...some,
  };
}

export function peer(number: number, path: string | null, some: Partial<PeerStatus> = {}): PeerStatus {
  return { node: idOf(number), addresses: [], online: path !== null, path, seen: "2026-01-01T00:00:00.000000Z", ...some };
}

export function link(number: number, path: string, some: Partial<LinkStatus> = {}): LinkStatus {
  return {
    link: number,
    node: idOf(number),
    path,
    dialled: true,
    since: null,
    round_trip: 12_000,
    received: 10,
    sent: 20,
    done: 0,
    total: 0,
    remaining: 0,
    ...some,
  };
}
