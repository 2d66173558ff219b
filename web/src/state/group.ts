/** The ledger that is shown, without its entries: how its node is, who belongs, what they call themselves. */

import type { Entry, Fork, Json, Member, NodeStatus } from "@cairn/client";

import type { Event } from "./event.js";

export interface Group {
  /** `null` until the node has told. */
  readonly status: NodeStatus | null;
  /** Everybody who ever belonged; empty in an open ledger. */
  readonly members: readonly Member[];
  /** What nodes call themselves, by their ids. */
  readonly names: ReadonlyMap<string, string>;
  /** Forks that the page was told of, or read the proof of: one of each lane. */
  readonly forks: readonly Fork[];
}

export type GroupEvent =
  | { readonly type: "status"; readonly status: NodeStatus }
  | { readonly type: "members"; readonly members: readonly Member[] }
  | { readonly type: "fork"; readonly fork: Fork };

export function emptyGroup(): Group {
  return { status: null, members: [], names: new Map(), forks: [] };
}

export function reduceGroup(group: Group, event: Event): Group {
  switch (event.type) {
    case "status":
      return { ...group, status: event.status };
    case "members": {
      const names = new Map(group.names);
      for (const { node, name } of event.members) if (name !== null) names.set(node, name);
      return { ...group, members: event.members, names };
    }
    case "fresh":
    case "newer":
    case "arrived":
    case "reread":
      return read(group, event.entries, "over what is known");
    case "older":
      return read(group, event.entries, "where nothing is known");
    case "fork":
      return forked(group, [event.fork]);
    default:
      return group;
  }
}

/** How many devices an entry can be on: those that belong, or all that are known where nobody has to belong. */
export function devices({ status, members }: Group): number {
  const belonging = members.filter(({ removed }) => !removed).length;
  return Math.max(belonging, status?.members ?? 0, status?.open === true ? status.known_nodes.length : 0, 1);
}

/** How many can hold an entry: all devices, and the relays that this one is linked to, which count among those that say so. */
export function holders(group: Group): number {
  return devices(group) + (group.status?.links.filter(({ node, path }) => path === "relay" && node !== null).length ?? 0);
}

/**
 * Whose lanes are forked. A lane is frozen as well where somebody was removed or an invite closed, which is no alarm: among
 * members only lanes of those who still belong are.
 */
export function forkedLanes({ status, members, forks }: Group): readonly string[] {
  const frozen = (status?.frozen ?? []).map(({ author }) => author);
  const belonging = new Set(members.filter(({ removed }) => !removed).map(({ node }) => node));
  const forked = status?.open === true ? frozen : frozen.filter((author) => belonging.has(author));
  return [...new Set([...forked, ...forks.map(({ author }) => author)])].sort();
}

/** What entries say of the group: nicknames, of which in an open ledger nothing else tells, and proofs of forks. */
function read(group: Group, entries: readonly Entry<Json>[], place: "over what is known" | "where nothing is known"): Group {
  const forks = entries.flatMap((entry) => (entry.kind === "evidence" ? [entry.data] : []));
  return forked(called(group, entries, place), forks);
}

function forked(group: Group, forks: readonly Fork[]): Group {
  const fresh = forks.filter(({ author }) => !group.forks.some((known) => known.author === author));
  return fresh.length === 0 ? group : { ...group, forks: [...group.forks, ...fresh] };
}

function called(group: Group, entries: readonly Entry<Json>[], place: "over what is known" | "where nothing is known"): Group {
  const said = new Map<string, string>();
  for (const entry of entries) if (entry.kind === "nickname" && entry.data !== null) said.set(entry.creator_node_id, entry.data);
  if (said.size === 0) return group;
  return { ...group, names: place === "over what is known" ? new Map([...group.names, ...said]) : new Map([...said, ...group.names]) };
}

/** How many other devices are on line. Relays are none of them. */
export function othersOnline(status: NodeStatus | null): number {
  if (status === null) return 0;
  const relays = new Set(status.links.filter(({ path }) => path === "relay").map(({ node }) => node));
  return status.peers.filter(({ node, online }) => online && !relays.has(node)).length;
}
