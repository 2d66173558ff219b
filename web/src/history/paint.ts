/** Draws a scene on a canvas. It decides nothing but what things look like. */

import type { Bar } from "./bars.js";
import type { Edge } from "./edges.js";
import { MARK, SLOT, type Mark } from "./marks.js";
import { AXIS, ROW, yOf, type Scene } from "./scene.js";

/** Colours and type, as they are where the canvas stands. */
export interface Theme {
  readonly surface: string;
  readonly line: string;
  readonly lineStrong: string;
  readonly ink: string;
  readonly inkSoft: string;
  readonly inkFaint: string;
  readonly accent: string;
  readonly alarm: string;
  readonly onPerson: string;
  readonly font: string;
}

/** The colour of a lane. */
export type ColourOf = (lane: string) => string;

/** px of a mark's radius. */
const RADIUS = MARK / 2;
/** px under the bars of a lane. */
const FLOOR = 8;

/** Draws everything. The context is scaled so that its unit is a CSS px. */
export function paint(context: CanvasRenderingContext2D, scene: Scene, theme: Theme, colourOf: ColourOf): void {
  const { width, height } = scene;
  context.clearRect(0, 0, width, height);
  context.lineJoin = "round";
  context.save();
  context.beginPath();
  context.rect(0, AXIS, width, height - AXIS);
  context.clip();
  paintGround(context, scene, theme);
  for (const bar of scene.bars) paintBar(context, bar, scene, colourOf(bar.lane));
  paintEdges(context, scene, theme, colourOf);
  for (const mark of scene.marks) paintMark(context, mark, scene, theme, colourOf(mark.lane));
  context.restore();
  paintAsOf(context, scene, theme);
  paintAxis(context, scene, theme);
}

function paintGround(context: CanvasRenderingContext2D, scene: Scene, theme: Theme): void {
  context.lineWidth = 1;
  for (const tick of scene.ticks) {
    context.strokeStyle = theme.line;
    context.globalAlpha = tick.major ? 1 : 0.55;
    line(context, crisp(tick.x), AXIS, crisp(tick.x), scene.height);
  }
  context.globalAlpha = 1;
  context.strokeStyle = theme.line;
  for (const row of scene.rows) line(context, 0, crisp(row.y + ROW / 2), scene.width, crisp(row.y + ROW / 2));
}

function paintBar(context: CanvasRenderingContext2D, bar: Bar, scene: Scene, colour: string): void {
  const row = scene.rows.find(({ lane }) => lane === bar.lane);
  if (row === undefined) return;
  const height = Math.max(3, bar.share * (ROW - FLOOR - 12));
  const width = Math.max(1.5, bar.width - (bar.width > 3 ? 1 : 0));
  context.fillStyle = colour;
  context.beginPath();
  context.roundRect(bar.x, row.y + ROW / 2 - FLOOR - height, width, height, Math.min(2, width / 2));
  context.fill();
}

function paintEdges(context: CanvasRenderingContext2D, scene: Scene, theme: Theme, colourOf: ColourOf): void {
  context.lineCap = "round";
  for (const { to } of scene.stubs) {
    context.strokeStyle = colourOf(to.lane);
    context.globalAlpha = 0.5;
    context.lineWidth = 2;
    line(context, Math.min(0, to.x - ROW), yOf(to.row, scene.top), to.x, yOf(to.row, scene.top) + to.off);
  }
  // Those of the block that is looked at come last, over all others.
  const near = (edge: Edge): boolean => isAt(edge.from, scene) || isAt(edge.to, scene);
  const sorted = [...scene.edges].sort((a, b) => Number(near(a)) - Number(near(b)) || Number(a.own) - Number(b.own));
  for (const edge of sorted) {
    context.strokeStyle = near(edge) ? theme.accent : edge.own ? colourOf(edge.to.lane) : theme.inkFaint;
    context.globalAlpha = near(edge) ? 1 : edge.from.faint || edge.to.faint ? 0.15 : edge.own ? 0.6 : 0.38;
    context.lineWidth = edge.own ? 2 : near(edge) ? 1.75 : 1.25;
    context.beginPath();
    trace(context, edge, scene.top);
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** A link within a lane is straight; one between lanes leaves and comes in along them. */
function trace(context: CanvasRenderingContext2D, { from, to, own }: Edge, top: number): void {
  const [y0, y1] = [yOf(from.row, top) + from.off, yOf(to.row, top) + to.off];
  context.moveTo(from.to, y0);
  if (own && from.off === to.off) return context.lineTo(to.x, y1);
  const bend = Math.min(90, Math.max(10, Math.abs(to.x - from.to) * 0.5));
  context.bezierCurveTo(from.to + bend, y0, to.x - bend, y1, to.x, y1);
}

function paintMark(context: CanvasRenderingContext2D, mark: Mark, scene: Scene, theme: Theme, colour: string): void {
  const y = yOf(mark.row, scene.top) + mark.off;
  context.globalAlpha = mark.faint ? 0.3 : 1;
  const alarm = mark.sign === "fork" || mark.sign === "evidence";
  context.fillStyle = alarm ? theme.alarm : colour;
  context.strokeStyle = theme.surface;
  context.lineWidth = 2;
  if (mark.blocks.length > 1) paintMany(context, mark, y, theme);
  else paintOne(context, mark, y, theme);
  context.globalAlpha = 1;
  if (isAt(mark, scene)) paintRing(context, mark, y, scene, theme);
}

function paintOne(context: CanvasRenderingContext2D, { sign, x }: Mark, y: number, theme: Theme): void {
  context.beginPath();
  if (sign === "evidence") {
    context.moveTo(x, y - RADIUS - 2);
    context.lineTo(x + RADIUS + 2, y + RADIUS);
    context.lineTo(x - RADIUS - 2, y + RADIUS);
    context.closePath();
  } else if (sign === "erasure") {
    context.roundRect(x - RADIUS, y - RADIUS, MARK, MARK, 2);
  } else {
    context.arc(x, y, sign === "merge" ? RADIUS + 0.5 : RADIUS, 0, 2 * Math.PI);
  }
  context.stroke();
  context.fill();
  paintInside(context, sign, x, y, theme);
}

/** What tells marks apart without their colour. */
function paintInside(context: CanvasRenderingContext2D, sign: Mark["sign"], x: number, y: number, theme: Theme): void {
  context.strokeStyle = theme.surface;
  context.fillStyle = theme.surface;
  context.lineWidth = 1.75;
  context.beginPath();
  if (sign === "merge") {
    context.arc(x, y, 2.5, 0, 2 * Math.PI);
    return context.fill();
  }
  if (sign === "erased") {
    context.arc(x, y, RADIUS - 2, 0, 2 * Math.PI);
    return context.fill();
  }
  if (sign === "erasure") {
    context.moveTo(x - 2.5, y - 2.5);
    context.lineTo(x + 2.5, y + 2.5);
    context.moveTo(x + 2.5, y - 2.5);
    context.lineTo(x - 2.5, y + 2.5);
  } else if (sign === "fork" || sign === "evidence") {
    context.moveTo(x, y - 3);
    context.lineTo(x, y + 0.5);
    context.moveTo(x, y + 3);
    context.lineTo(x, y + 3.2);
  }
  context.stroke();
}

function paintMany(context: CanvasRenderingContext2D, mark: Mark, y: number, theme: Theme): void {
  const count = compact(mark.blocks.length);
  const half = RADIUS + 3;
  context.font = `600 11px ${theme.font}`;
  const [from, to] = pill(mark, context.measureText(count).width);
  context.beginPath();
  context.roundRect(from, y - half, to - from, 2 * half, half);
  context.stroke();
  context.fill();
  context.fillStyle = theme.onPerson;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(count, (from + to) / 2, y + 0.5);
}

/** Wide enough for its blocks and for its number, and not wider than its stretch. */
function pill(mark: Mark, text: number): readonly [from: number, to: number] {
  const middle = (mark.x + mark.to) / 2;
  const half = Math.max(Math.min((mark.to - mark.x) / 2 + RADIUS, SLOT / 2 - 1), text / 2 + 5);
  return [middle - half, middle + half];
}

function paintRing(context: CanvasRenderingContext2D, mark: Mark, y: number, scene: Scene, theme: Theme): void {
  const opened = scene.open !== null && mark.blocks.some(({ hash }) => hash === scene.open);
  context.strokeStyle = theme.accent;
  context.lineWidth = opened ? 3 : 2;
  const reach = RADIUS + 5;
  context.beginPath();
  if (mark.blocks.length > 1) {
    const [from, to] = pill(mark, context.measureText(compact(mark.blocks.length)).width);
    context.roundRect(from - 4, y - reach - 2, to - from + 8, 2 * reach + 4, reach + 2);
  } else {
    context.arc(mark.x, y, reach, 0, 2 * Math.PI);
  }
  context.stroke();
}

/** What came after the moment that is looked at lies under a veil. */
function paintAsOf(context: CanvasRenderingContext2D, scene: Scene, theme: Theme): void {
  if (scene.asOf === null || scene.asOf > scene.width) return;
  const x = Math.max(0, scene.asOf);
  context.fillStyle = theme.surface;
  context.globalAlpha = 0.78;
  context.fillRect(x, AXIS, scene.width - x, scene.height - AXIS);
  context.globalAlpha = 1;
  if (scene.asOf < 0) return;
  context.strokeStyle = theme.accent;
  context.lineWidth = 2;
  line(context, x, AXIS - 6, x, scene.height);
}

function paintAxis(context: CanvasRenderingContext2D, scene: Scene, theme: Theme): void {
  context.textBaseline = "middle";
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  line(context, 0, AXIS - 0.5, scene.width, AXIS - 0.5);
  let end = -Infinity;
  for (const tick of scene.ticks) {
    context.font = `${tick.major ? "600 " : ""}12px ${theme.font}`;
    context.fillStyle = tick.major ? theme.ink : theme.inkSoft;
    const half = context.measureText(tick.label).width / 2;
    // At the ends a label stays in the picture.
    const x = Math.min(scene.width - half - 4, Math.max(half + 4, tick.x));
    if (x - half < end + 8) continue;
    end = x + half;
    context.textAlign = "center";
    context.fillText(tick.label, x, AXIS / 2);
  }
}

function isAt(mark: Mark, { focus, open }: Scene): boolean {
  return mark.blocks.some(({ hash }) => hash === focus || hash === open);
}

function compact(count: number): string {
  return count < 1_000 ? String(count) : `${Math.floor(count / 100) / 10}k`;
}

function crisp(at: number): number {
  return Math.round(at) + 0.5;
}

function line(context: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
