/** What a person may do with a note. */

import type { Group } from "../state/group.js";
import type { Item } from "../state/timeline.js";
import type { Said } from "./said.js";

export type Deed =
  | { readonly type: "react"; readonly emoji: string }
  | { readonly type: "reply" | "copy" | "details" | "edit" | "remove" | "erase" };

/** Whether anything can be written here now; otherwise why not, in words. */
export function closedBecause({ status }: Group): string | null {
  if (status === null || status.open) return null;
  if (status.removed) return "You are not in this group any more. What was written before stays readable here.";
  if (status.role === "reader") return "You read along here: your role is “reader”.";
  if (status.role === null) return "You can write here as soon as you are in.";
  return null;
}

/** What is possible, most used first. */
export function possibleDeeds(item: Item, said: Said, group: Group): readonly Deed["type"][] {
  const { status } = group;
  const mine = status !== null && item.entry.creator_node_id === status.node;
  const writes = status !== null && closedBecause(group) === null;
  const gone = item.entry.kind === "data" && item.entry.data === null;
  const note = said.text !== null && said.removed === null && !gone;
  const may: Readonly<Record<Deed["type"], boolean>> = {
    react: writes && note,
    reply: writes && note,
    copy: note && said.text !== "",
    details: true,
    edit: writes && mine && note,
    remove: writes && mine && note,
    erase: writes && !gone && (mine || erases(item.entry.creator_node_id, group)),
  };
  return (Object.keys(may) as Deed["type"][]).filter((type) => may[type]);
}

/** Whether the role covers what another wrote: an owner everybody's, an admin that of those whom it may remove. */
function erases(author: string, { status, members }: Group): boolean {
  if (status === null || status.open) return false;
  if (status.role === "owner") return true;
  const role = members.find(({ node }) => node === author)?.role;
  return status.role === "admin" && (role === "member" || role === "reader");
}
