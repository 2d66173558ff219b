/** Ledgers for tests: blocks by a seed, and the answers that a node would give of them. */

import type { History, HistoryBlock, HistoryRequest } from "@cairn/client";

/** What is made. */
export interface Plan {
  readonly seed?: number;
  readonly people: number;
  readonly blocks: number;
  /** µs of the first block. */
  readonly from?: number;
  /** µs between blocks, on average. */
  readonly every?: number;
}

/** An id or hash of 64 digits that says what it is of. */
export function hexOf(kind: "a" | "b" | "f", number: number): string {
  return `${kind}${number.toString(16).padStart(15, "0")}`.repeat(4);
}

/** A block with what a test does not care about filled in. */
export function block(some: Partial<HistoryBlock> & Pick<HistoryBlock, "hash">): HistoryBlock {
  return { author: hexOf("a", 0), height: 1, timestamp: 0, parents: [], entries: 1, kinds: ["data"], ...some };
}

/** Blocks of people who write at random on the tips that they know; they hear of one another late, so there are branches. */
export function ledger({ seed = 1, people, blocks, from = 1_700_000_000_000_000, every = 60_000_000 }: Plan): readonly HistoryBlock[] {
  const random = randomOf(seed);
  const found: HistoryBlock[] = [];
  const lanes: HistoryBlock[][] = Array.from({ length: people }, () => []);
  let time = from;
  for (let number = 0; number < blocks; number += 1) {
    time += Math.ceil(random() * 2 * every);
    const who = Math.floor(random() ** 1.6 * people);
    const own = lanes[who]!.at(-1);
    const others = lanes.flatMap((lane, index) => (index === who || random() < 0.6 ? [] : lane.slice(-1)));
    const made = block({
      hash: hexOf("b", number),
      author: hexOf("a", who),
      height: lanes[who]!.length + 1,
      timestamp: time,
      parents: [...(own === undefined ? [] : [own.hash]), ...others.slice(0, 2).map(({ hash }) => hash)],
      entries: random() < 0.1 ? 3 : 1,
    });
    lanes[who]!.push(made);
    found.push(made);
  }
  return found;
}

/** What a node answers, of blocks in ledger order. */
export function answer(blocks: readonly HistoryBlock[], request: HistoryRequest = {}): History {
  const first = blocks[0]?.timestamp ?? null;
  const last = blocks.at(-1)?.timestamp ?? null;
  const from = request.from ?? first ?? 0;
  const to = request.to ?? last ?? 0;
  const buckets = request.buckets ?? 400;
  const inSpan = blocks.filter(({ timestamp }) => timestamp >= from && timestamp <= to);
  const lanes = new Map<string, Map<number, [number, number]>>();
  for (const { author, timestamp, entries } of inSpan) {
    const bucket = Math.floor(((timestamp - from) / (to - from + 1)) * buckets);
    const lane = lanes.get(author) ?? new Map<number, [number, number]>();
    lanes.set(author, lane);
    const [count, sum] = lane.get(bucket) ?? [0, 0];
    lane.set(bucket, [count + 1, sum + entries]);
  }
  return {
    from,
    to,
    first,
    last,
    lanes: [...lanes].map(([author, counts]) => ({
      author,
      buckets: [...counts].sort(([a], [b]) => a - b).map(([bucket, [count, sum]]) => [bucket, count, sum] as const),
    })),
    blocks: inSpan.length <= (request.detail ?? 500) ? inSpan : null,
  };
}

/** Numbers from 0 to 1 by a seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
