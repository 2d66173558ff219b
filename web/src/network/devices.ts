/** The devices of a ledger as this node knows them: which way each is reached, how far, and how much of the ledger it has. */

import type { LinkStatus, NodeStatus, PeerStatus, RelayStatus } from "@cairn/client";

/** Which way a device is reached. */
export type Way = "direct" | "relay" | "mesh" | "none";

/** Another device. */
export interface Device {
  readonly node: string;
  readonly way: Way;
  /** What a direct link goes by: `quic` or `websocket`. */
  readonly transport: string | null;
  /** µs to it and back over a direct link, once that was measured. */
  readonly roundTrip: number | null;
  /** When it was on line last, RFC 3339; of one that is on line, or never was, `null`. */
  readonly seen: string | null;
  /** The height of its own lane here; 0 if it wrote nothing. */
  readonly wrote: number;
  /** Blocks that go from it to here or from here to it still; `null` where there is no link. */
  readonly behind: number | null;
  readonly bytes: { readonly received: number; readonly sent: number } | null;
  readonly addresses: readonly string[];
}

/** A relay. */
export interface Relay {
  readonly url: string;
  /** What of its address people know it by. */
  readonly host: string;
  readonly state: RelayStatus["state"];
  /** Why it is not connected. */
  readonly reason: string | null;
  readonly roundTrip: number | null;
  readonly bytes: { readonly received: number; readonly sent: number } | null;
}

const ORDER: readonly Way[] = ["direct", "relay", "mesh", "none"];

/** All other devices, the nearest ways first; within a way in the order of their ids, so that each keeps its place. */
export function devicesOf(status: NodeStatus): readonly Device[] {
  const heights = new Map(status.heads.map(({ author, height }) => [author, height]));
  const relays = new Set(status.links.filter(({ path }) => path === "relay").map(({ node }) => node));
  const links = new Map(status.links.filter(isDirect).map((link) => [link.node, link]));
  const former = new Set([...status.former_nodes, status.node]);
  const peers = new Map(status.peers.map((peer) => [peer.node, peer]));
  const nodes = new Set([...peers.keys(), ...links.keys(), ...heights.keys()]);
  const devices = [...nodes]
    .filter((node): node is string => node !== null && !former.has(node) && !relays.has(node))
    .map((node) => device(node, peers.get(node), links.get(node), heights.get(node) ?? 0));
  return devices.sort((a, b) => ORDER.indexOf(a.way) - ORDER.indexOf(b.way) || (a.node < b.node ? -1 : 1));
}

/** The relays, in the order in which the node has them. */
export function relaysOf(status: NodeStatus): readonly Relay[] {
  return status.relays.map((relay) => {
    const link = relay.state === "connected" ? status.links.find((each) => each.link === relay.link) : undefined;
    return {
      url: relay.url,
      host: hostOf(relay.url),
      state: relay.state,
      reason: relay.state === "waiting" ? relay.reason : null,
      roundTrip: link?.round_trip ?? null,
      bytes: bytesOf(link),
    };
  });
}

/** How many are on line, and which way. */
export function counted(devices: readonly Device[]): Readonly<Record<Way, number>> {
  const count = { direct: 0, relay: 0, mesh: 0, none: 0 };
  for (const { way } of devices) count[way] += 1;
  return count;
}

/** A time there and back: in ms, and more exactly where it is short. */
export function roundTripText(micros: number): string {
  if (micros < 1_000) return "under 1 ms";
  return `${micros < 10_000 ? (micros / 1_000).toFixed(1) : Math.round(micros / 1_000)} ms`;
}

/** A number of bytes as people say it. */
export function bytesText(bytes: number): string {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1_000 && unit < units.length - 1) [value, unit] = [value / 1_000, unit + 1];
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Where a device can be reached, without what only machines read: `iroh:<key>?ip=<address>` is the address. */
export function addressText(address: string): string {
  const places = [...address.matchAll(/[?&]ip=([^&]+)/gu)].map(([, place]) => place!);
  if (address.startsWith("iroh:")) return places.length > 0 ? `${places.join(", ")} (QUIC)` : "QUIC, through routers";
  return address.replace(/^wss?:\/\//u, "");
}

/** A way in words. */
export function wayText({ way, transport }: Pick<Device, "way" | "transport">): string {
  if (way === "direct") return transport === "quic" ? "direct (QUIC)" : transport === "websocket" ? "direct (WebSocket)" : "direct";
  return { relay: "over a relay", mesh: "over other devices", none: "not on line" }[way];
}

function isDirect({ node, path }: LinkStatus): boolean {
  return node !== null && path !== "relay";
}

function device(node: string, peer: PeerStatus | undefined, link: LinkStatus | undefined, wrote: number): Device {
  const way = wayOf(peer, link);
  return {
    node,
    way,
    transport: way === "direct" ? (link?.path ?? peer?.path ?? null) : null,
    roundTrip: link?.round_trip ?? null,
    seen: way === "none" ? (peer?.seen ?? null) : null,
    wrote,
    behind: link === undefined ? null : Math.max(0, link.total - link.done) + link.remaining,
    bytes: bytesOf(link),
    addresses: peer?.addresses ?? [],
  };
}

function wayOf(peer: PeerStatus | undefined, link: LinkStatus | undefined): Way {
  if (link !== undefined) return "direct";
  if (peer === undefined || !peer.online) return "none";
  if (peer.path === "relay" || peer.path === "mesh") return peer.path;
  return peer.path === null ? "mesh" : "direct";
}

function bytesOf(link: LinkStatus | undefined): Device["bytes"] {
  return link === undefined ? null : { received: link.received, sent: link.sent };
}

function hostOf(url: string): string {
  try {
    return new URL(url).host || url;
  } catch {
    return url;
  }
}
