/** The kinds of entries in the words of the page, and the few groups by which they are chosen. */

/** What people choose between. */
export const GROUPS = ["notes", "people", "erasures", "proofs", "other"] as const;
export type Group = (typeof GROUPS)[number];

/** What a group is called, and what is in it. */
export const GROUP_WORDS: Readonly<Record<Group, { readonly name: string; readonly hint: string }>> = {
  notes: { name: "Notes", hint: "what people wrote" },
  people: { name: "People", hint: "invites, joins, removals, names and keys" },
  erasures: { name: "Erasures", hint: "what was erased, and by whom" },
  proofs: { name: "Proofs", hint: "evidence of forks, new keys, and who vouches for what" },
  other: { name: "Other", hint: "kinds that this page has no name for" },
};

const KINDS: Readonly<Record<string, { readonly group: Group; readonly word: string }>> = {
  data: { group: "notes", word: "note" },
  genesis: { group: "people", word: "beginning" },
  invite: { group: "people", word: "invite" },
  join: { group: "people", word: "join" },
  remove: { group: "people", word: "removal" },
  rekey: { group: "people", word: "new key for all" },
  nickname: { group: "people", word: "nickname" },
  ledger_name: { group: "people", word: "ledger name" },
  erase: { group: "erasures", word: "erasure" },
  evidence: { group: "proofs", word: "evidence of a fork" },
  voucher: { group: "proofs", word: "voucher" },
  succession: { group: "proofs", word: "new key of a device" },
};

/** The group that a kind belongs to. */
export function groupOf(kind: string): Group {
  return known(kind)?.group ?? "other";
}

/** A kind in a word or two. */
export function wordOf(kind: string): string {
  return known(kind)?.word ?? `kind ${kind}`;
}

/** Whether a block of these kinds is among the chosen groups. */
export function isChosen(kinds: readonly string[], groups: ReadonlySet<Group>): boolean {
  return groups.size === GROUPS.length || kinds.some((kind) => groups.has(groupOf(kind)));
}

/** What is in a block: "3 notes", "invite". */
export function contents(kinds: readonly string[], entries: number): string {
  const [only] = kinds;
  if (only === "data" && kinds.length === 1) return `${entries} ${entries === 1 ? "note" : "notes"}`;
  if (kinds.length === 1 && only !== undefined) return entries === 1 ? wordOf(only) : `${entries} × ${wordOf(only)}`;
  return `${entries} entries: ${kinds.map(wordOf).join(", ")}`;
}

/** A kind comes from the network: what every object has by nature is none. */
function known(kind: string): { readonly group: Group; readonly word: string } | undefined {
  return Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
}
