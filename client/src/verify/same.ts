/** Whether two views of an entry say the same. */

import type { Entry } from "../types.js";

/** What is content, and not what is said of it. */
const CONTENT = new Set(["data", "payload_hex", "sealed", "erased", "withheld"]);

/** Whether all that two views say of an entry is equal, its content left out. */
export function sameHeader<T>(a: Entry<T>, b: Entry<T>): boolean {
  return equal(without(a), without(b));
}

/** Whether the contents of two views are equal. */
export function sameContent<T>(a: Entry<T>, b: Entry<T>): boolean {
  const [x, y] = [a, b] as { data?: unknown; payload_hex?: unknown; sealed?: unknown }[];
  return equal([x!.data, x!.payload_hex, x!.sealed], [y!.data, y!.payload_hex, y!.sealed]);
}

function without(entry: object): object {
  return Object.fromEntries(Object.entries(entry).filter(([name]) => !CONTENT.has(name)));
}

/** Whether two JSON values are equal. They may nest as deep as a payload is long, so the stack is a list. */
export function equal(a: unknown, b: unknown): boolean {
  const open: [unknown, unknown][] = [[a, b]];
  for (let pair = open.pop(); pair !== undefined; pair = open.pop()) {
    const [x, y] = pair;
    if (typeof x !== "object" || typeof y !== "object" || x === null || y === null) {
      if (!Object.is(x, y)) return false;
      continue;
    }
    const names = Object.keys(x);
    if (Array.isArray(x) !== Array.isArray(y) || names.length !== Object.keys(y).length) return false;
    for (const name of names) {
      if (!Object.hasOwn(y, name)) return false;
      open.push([(x as Record<string, unknown>)[name], (y as Record<string, unknown>)[name]]);
    }
  }
  return true;
}
