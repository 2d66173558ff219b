/** Who a node is to people: a name that is safe to show, and one of twelve colours that its key decides. */

import type { Person } from "./app.js";
import { nameSafe } from "./text/safe.js";

/** How many `--person-n` tokens.css has. */
export const HUES = 12;

/** `names` is what nodes call themselves, `me` the node that this page talks to. */
export function person(id: string, names: ReadonlyMap<string, string>, me: string | undefined): Person {
  const name = nameSafe(names.get(id) ?? "");
  const hue = digest(id) % HUES;
  return { id, name: name === "" ? id.slice(0, 8) : name, named: name !== "", hue, colour: `var(--person-${hue})`, me: id === me };
}

/** A key's digits, mixed (FNV-1a): ids that are near one another get other colours and figures. */
export function digest(id: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < id.length; index += 1) hash = Math.imul(hash ^ id.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
