/** The shape of a key's figure. */

import { digest } from "../people.js";

/** One stone in a square of 32. */
export interface Stone {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly round: number;
  readonly shade: number;
}

/** The stones of a node's figure from the ground up: two to four, each narrower than the one below. */
export function stones(id: string): readonly Stone[] {
  const bits = stream(id);
  const count = 2 + bits(3);
  const height = [8, 6, 4.5][count - 2]!;
  const pile: Stone[] = [];
  let width = 18 + bits(5);
  let centre = 16;
  for (let level = 0; level < count; level += 1) {
    const y = 16 + (count * (height + 1.2)) / 2 - (level + 1) * (height + 1.2) + 0.6;
    pile.push({ x: centre - width / 2, y, width, height, round: [1, 2, height / 2][bits(3)]!, shade: 1 - level * 0.11 });
    const narrower = Math.max(5, width - 3 - bits(5));
    centre += ((width - narrower) / 2) * (bits(3) - 1) * 0.8;
    width = narrower;
  }
  return pile;
}

/** Numbers below a bound, drawn from a key (xorshift32): the same for everybody. */
function stream(id: string): (bound: number) => number {
  let state = digest(`figure ${id}`) || 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}
