/** Fingers and mouse on a surface that is dragged and pinched: raw pointers come in, moves and turns go out. */

/** A pointer where it is now. */
export interface Pointer {
  readonly id: number;
  readonly x: number;
  readonly y: number;
}

/** What the pointers did. */
export type Gesture =
  | { readonly type: "drag"; readonly dx: number; readonly dy: number }
  /** What was at `from` is at `x` now, and all around it `factor` times as large. */
  | { readonly type: "pinch"; readonly from: number; readonly x: number; readonly factor: number }
  | { readonly type: "tap"; readonly x: number; readonly y: number };

/** px that a pointer may tremble and still taps. */
const STILL = 5;
/** px between two fingers at least: nearer ones would zoom without end. */
const NEAREST = 24;

/** The pointers that are down. */
export class Gestures {
  readonly #down = new Map<number, Pointer>();
  #start: Pointer | null = null;
  /** Whether it is more than a tap by now. */
  #moved = false;

  get dragging(): boolean {
    return this.#down.size > 0 && this.#moved;
  }

  press(pointer: Pointer): void {
    this.#moved = this.#down.size > 0;
    this.#start = pointer;
    this.#down.set(pointer.id, pointer);
  }

  move(pointer: Pointer): Gesture | null {
    const before = this.#down.get(pointer.id);
    if (before === undefined) return null;
    const { x, y } = this.#start ?? pointer;
    if (!this.#moved && Math.hypot(pointer.x - x, pointer.y - y) < STILL) return null;
    this.#moved = true;
    const other = [...this.#down.values()].find(({ id }) => id !== pointer.id);
    this.#down.set(pointer.id, pointer);
    if (other === undefined) return { type: "drag", dx: pointer.x - before.x, dy: pointer.y - before.y };
    const distance = (a: Pointer): number => Math.max(NEAREST, Math.hypot(a.x - other.x, a.y - other.y));
    return {
      type: "pinch",
      from: (before.x + other.x) / 2,
      x: (pointer.x + other.x) / 2,
      factor: distance(pointer) / distance(before),
    };
  }

  release(id: number): Gesture | null {
    const pointer = this.#down.get(id);
    this.#down.delete(id);
    if (pointer === undefined || this.#moved || this.#down.size > 0) return null;
    return { type: "tap", x: pointer.x, y: pointer.y };
  }

  /** The system took a pointer for something else. */
  cancel(id: number): void {
    this.#down.delete(id);
  }
}

/** By how much a wheel zooms: a notch by a fifth, a touchpad's pinch by as much as the fingers go. */
export function wheelFactor(event: Pick<WheelEvent, "deltaY" | "deltaMode" | "ctrlKey">): number {
  const lines = event.deltaMode === 1 ? 40 : event.deltaMode === 2 ? 400 : 1;
  const px = Math.min(240, Math.max(-240, event.deltaY * lines));
  return Math.exp(px * (event.ctrlKey ? 0.01 : 0.002));
}
