/** What lies under a place of the canvas. */

import type { Bar } from "./bars.js";
import { MARK, type Mark } from "./marks.js";
import { AXIS, ROW, yOf, type Scene } from "./scene.js";

/** What was hit. */
export type Hit = { readonly mark: Mark } | { readonly bar: Bar } | null;

/** The mark at a place, or else the bar. `reach` is how many px beside a mark still hit it: a finger needs more than a mouse. */
export function hit(scene: Scene, x: number, y: number, reach: number): Hit {
  if (y < AXIS) return null;
  const mark = nearestMark(scene, x, y, reach);
  if (mark !== undefined) return { mark };
  const row = scene.rows.find((each) => Math.abs(each.y - y) <= ROW / 2);
  if (row === undefined) return null;
  const bar = scene.bars.find((each) => each.lane === row.lane && x >= each.x && x <= each.x + each.width);
  return bar === undefined ? null : { bar };
}

function nearestMark(scene: Scene, x: number, y: number, reach: number): Mark | undefined {
  let best: Mark | undefined;
  let least = MARK / 2 + reach;
  for (const mark of scene.marks) {
    const beside = Math.max(0, mark.x - x, x - mark.to);
    const away = Math.hypot(beside, yOf(mark.row, scene.top) + mark.off - y);
    if (away <= least) [best, least] = [mark, away];
  }
  return best;
}
