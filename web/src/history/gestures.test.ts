import { expect, test } from "vitest";

import { Gestures, wheelFactor } from "./gestures.js";

test("a finger that trembles taps, one that moves drags and does not tap", () => {
  const gestures = new Gestures();
  gestures.press({ id: 1, x: 10, y: 10 });
  expect(gestures.move({ id: 1, x: 12, y: 9 })).toBeNull();
  expect(gestures.release(1)).toEqual({ type: "tap", x: 10, y: 10 });
  gestures.press({ id: 1, x: 10, y: 10 });
  expect(gestures.move({ id: 1, x: 40, y: 12 })).toEqual({ type: "drag", dx: 30, dy: 2 });
  expect(gestures.release(1)).toBeNull();
});

test("two fingers pinch around their middle, and leave without a tap", () => {
  const gestures = new Gestures();
  gestures.press({ id: 1, x: 100, y: 50 });
  gestures.press({ id: 2, x: 200, y: 50 });
  expect(gestures.move({ id: 2, x: 300, y: 50 })).toEqual({ type: "pinch", from: 150, x: 200, factor: 2 });
  expect(gestures.release(1)).toBeNull();
  expect(gestures.release(2)).toBeNull();
});

test("fingers on top of each other do not zoom without end", () => {
  const gestures = new Gestures();
  gestures.press({ id: 1, x: 100, y: 50 });
  gestures.press({ id: 2, x: 100, y: 50 });
  expect(gestures.move({ id: 2, x: 112, y: 50 })).toMatchObject({ factor: 1 });
});

test("a pointer that is not down or was taken away does nothing", () => {
  const gestures = new Gestures();
  expect(gestures.move({ id: 1, x: 1, y: 1 })).toBeNull();
  gestures.press({ id: 1, x: 1, y: 1 });
  gestures.cancel(1);
  expect(gestures.release(1)).toBeNull();
});

test("wheels zoom alike whatever they count in", () => {
  const notch = wheelFactor({ deltaY: 100, deltaMode: 0, ctrlKey: false });
  expect(wheelFactor({ deltaY: 2.5, deltaMode: 1, ctrlKey: false })).toBeCloseTo(notch);
  expect(notch * wheelFactor({ deltaY: -100, deltaMode: 0, ctrlKey: false })).toBeCloseTo(1);
  expect(wheelFactor({ deltaY: 1e9, deltaMode: 2, ctrlKey: false })).toBeLessThan(2);
});
