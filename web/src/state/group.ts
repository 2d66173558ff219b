/** The ledger that is shown, without its entries: how its node is, who belongs, what they call themselves. */

import type { Fork, Member, NodeStatus } from "@cairn/client";

export interface Group {
  /** `null` until the node has told. */
  readonly status: NodeStatus | null;
  /** Everybody who ever belonged; empty in an open ledger. */
  readonly members: readonly Member[];
  /** What nodes call themselves, by their ids. */
  readonly names: ReadonlyMap<string, string>;
  /** Forks that were told of while the page was open. */
  readonly forks: readonly Fork[];
}

export type GroupEvent =
  | { readonly type: "status"; readonly status: NodeStatus }
  | { readonly type: "members"; readonly members: readonly Member[] }
  /** Nicknames that entries say, in ledger order: in an open ledger nothing else tells of them. */
  | { readonly type: "names"; readonly names: readonly (readonly [node: string, name: string])[] }
  | { readonly type: "fork"; readonly fork: Fork };

export function emptyGroup(): Group {
  return { status: null, members: [], names: new Map(), forks: [] };
}

export function reduceGroup(group: Group, event: GroupEvent): Group {
  switch (event.type) {
    case "status":
      return { ...group, status: event.status };
    case "members": {
      const names = new Map(group.names);
      for (const { node, name } of event.members) if (name !== null) names.set(node, name);
      return { ...group, members: event.members, names };
    }
    case "names":
      return { ...group, names: new Map([...group.names, ...event.names]) };
    case "fork":
      return { ...group, forks: [...group.forks.filter(({ author }) => author !== event.fork.author), event.fork] };
    default:
      return group;
  }
}

/** How many devices an entry can be on: those that belong, or all that are known where nobody has to belong. */
export function devices({ status, members }: Group): number {
  const belonging = members.filter(({ removed }) => !removed).length;
  return Math.max(belonging, status?.members ?? 0, status?.open === true ? status.known_nodes.length : 0, 1);
}
