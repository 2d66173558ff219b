/** Which lanes are forked, from all that tells of it, and the proof where it is at hand. */

import type { EvidenceEntry, Fork, Member, NodeStatus } from "@cairn/client";

/** A lane in which two blocks of one height were signed. */
export interface Alarm {
  readonly author: string;
  /** The lowest height that has two blocks. */
  readonly height: number;
  /** The hashes of the two; none until the proof was read. */
  readonly blocks: readonly string[];
  /** The entry that proves it; `null` until it was read. */
  readonly proof: EvidenceEntry | null;
}

/** One alarm for each forked lane; the lowest height counts, as it does for the ledger. */
export function alarms(
  forks: readonly Fork[],
  proofs: readonly EvidenceEntry[],
  status: Pick<NodeStatus, "frozen" | "heads"> | null,
  members: readonly Member[],
): readonly Alarm[] {
  const found = new Map<string, Alarm>();
  const add = (alarm: Alarm): void => {
    const known = found.get(alarm.author);
    if (known === undefined || alarm.height < known.height || (known.proof === null && alarm.height === known.height)) {
      found.set(alarm.author, alarm);
    }
  };
  for (const { author, height } of status?.frozen ?? []) {
    if (isForked(author, status, members)) add({ author, height, blocks: [], proof: null });
  }
  for (const { author, height, blocks } of forks) add({ author, height, blocks, proof: null });
  for (const proof of proofs) add({ ...proof.data, proof });
  return [...found.values()];
}

/** A lane is frozen by a fork, by a removal, or because an invite was closed: that one is nobody's. */
function isForked(author: string, status: Pick<NodeStatus, "heads"> | null, members: readonly Member[]): boolean {
  const member = members.find(({ node }) => node === author);
  if (member !== undefined) return !member.removed;
  return members.length === 0 && (status?.heads.some((head) => head.author === author) ?? false);
}
