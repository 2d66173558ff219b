/** What an entry says, in a line or two of plain text. */

import type { Entry, Json } from "@cairn/client";

import { wordOf } from "./kinds.js";

/** How an entry is shown. */
export interface Content {
  /** What it is: "note", "invite". */
  readonly what: string;
  /** What it says; not yet safe to look at where it is a stranger's. */
  readonly text: string;
  /** What became of it. */
  readonly state: "whole" | "erased" | "withheld" | "sealed";
}

/** Characters of a text that are shown. */
const MOST = 600;

/** An entry in words. `name` says who a node is. */
export function contentOf(entry: Entry<Json>, name: (node: string) => string): Content {
  const what = entry.kind === "data" ? dataWord(entry.data) : wordOf(entry.kind);
  if ("erased" in entry && entry.erased !== undefined) {
    return { what, text: `Erased by ${name(entry.erased.by)}. Nobody keeps what was in it.`, state: "erased" };
  }
  if ("withheld" in entry && entry.withheld === true) {
    return { what, text: "Its content has not come to this device yet; it asks for it.", state: "withheld" };
  }
  if ("sealed" in entry) return { what, text: "Sealed: this device has no key for it.", state: "sealed" };
  return { what, text: shortened(textOf(entry, name)), state: "whole" };
}

function textOf(entry: Entry<Json>, name: (node: string) => string): string {
  if (entry.kind === "data") return dataText(entry.data);
  if (entry.data === null || entry.data === undefined) return "";
  switch (entry.kind) {
    case "nickname":
    case "ledger_name":
      return String(entry.data);
    case "evidence":
      return `${name(entry.data.author)} signed two blocks of height ${entry.data.height}.`;
    case "succession":
      return `The device that was ${name(entry.data.node)} goes on with this key.`;
    case "genesis":
      return `${name(entry.data.founder)} began this ledger.`;
    case "invite":
      return `For ${entry.data.uses === 1 ? "one person" : `${entry.data.uses} people`}, to come in as ${entry.data.role}.`;
    case "remove":
      return "member" in entry.data
        ? `${name(entry.data.member)} is out. What it wrote up to height ${entry.data.height} stays.`
        : "An invite was closed.";
    case "rekey":
      return `A new key for ${entry.data.recipients} people.`;
    case "erase":
      return "The content of another entry is gone for everybody.";
    case "join":
      return "Came in by an invite.";
    default:
      return JSON.stringify(entry.data);
  }
}

function dataWord(data: unknown): string {
  const type = fieldOf(data, "type");
  if (type === "edit" || type === "reaction" || type === "removal") return type;
  return wordOf("data");
}

function dataText(data: unknown): string {
  if (typeof data === "string") return data;
  const type = fieldOf(data, "type");
  if (type === "removal") return "Asks everybody not to show a note any more; the ledger keeps it.";
  if (type === "reaction") return fieldOf(data, "emoji") ?? "";
  return fieldOf(data, "text") ?? fieldOf(data, "message") ?? JSON.stringify(data);
}

/** A text that stands in an object under a name of its own. */
function fieldOf(data: unknown, name: string): string | null {
  if (typeof data !== "object" || data === null || !Object.hasOwn(data, name)) return null;
  const value: unknown = (data as Record<string, unknown>)[name];
  return typeof value === "string" ? value : null;
}

function shortened(text: string): string {
  return text.length <= MOST ? text : `${text.slice(0, MOST)}…`;
}
