/** Who a node is to people: a name that is safe to show, and one of twelve colours that its key decides. */

import type { Person } from "./app.js";
import { nameSafe } from "./text/safe.js";

/** How many `--person-n` tokens.css has. */
export const HUES = 12;

/** Looks people up, each once. `names` is what nodes call themselves, `me` the node that this page talks to. */
export function peopleOf(names: ReadonlyMap<string, string>, me: string | undefined): (id: string) => Person {
  const people = new Map<string, Person>();
  const count = new Map<string, number>();
  for (const name of names.values()) {
    const key = alike(nameSafe(name));
    count.set(key, (count.get(key) ?? 0) + 1);
  }
  return (id) => {
    let person = people.get(id);
    if (person === undefined) people.set(id, (person = personOf(id, nameSafe(names.get(id) ?? ""), count, me)));
    return person;
  };
}

function personOf(id: string, name: string, count: ReadonlyMap<string, number>, me: string | undefined): Person {
  const hue = digest(id) % HUES;
  // Nobody takes another's name: where two have one, each says its key as well.
  const shared = (count.get(alike(name)) ?? 0) > 1;
  const shown = name === "" ? id.slice(0, 8) : shared ? `${name} (${id.slice(0, 6)})` : name;
  return { id, name: shown, named: name !== "", hue, colour: `var(--person-${hue})`, me: id === me };
}

/** What two names have in common that look the same to a hasty reader. */
function alike(name: string): string {
  return name.normalize("NFKC").toLowerCase().replace(/\s/gu, "");
}

/** A key's digits, mixed (FNV-1a): ids that are near one another get other colours and figures. */
export function digest(id: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < id.length; index += 1) hash = Math.imul(hash ^ id.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
