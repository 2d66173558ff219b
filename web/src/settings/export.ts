/** A ledger as a file: its blocks as `cairn import` reads them, its entries as JSON, or the conversation as Markdown. */

import type { Client, Entry, Json } from "@cairn/client";

import type { Person } from "../app.js";
import { itemOf, remarkOf, type Item, type Remark } from "../state/timeline.js";
import { lineOf } from "../talk/line.js";
import { said } from "../talk/said.js";

/** Entries between two reports. */
const REPORT = 1000;

/** Called with how many were read. */
export type Report = (count: number) => void;

/** Parts of a file: it may be larger than one string can be. */
export type Parts = readonly BlobPart[];

export async function blocksFile(client: Pick<Client<Json>, "blocks">, ledger: string, report: Report): Promise<Parts> {
  const parts: BlobPart[] = [`cairn-blocks 1 ${ledger}\n`];
  let count = 0;
  let after: string | null = null;
  for (;;) {
    const { blocks, cursor, done } = await client.blocks({ after });
    for (const block of blocks) parts.push(framed(bytesOf(block)));
    count += blocks.length;
    report(count);
    if (done || blocks.length === 0) break;
    after = cursor;
  }
  const end = new DataView(new ArrayBuffer(12));
  end.setBigUint64(4, BigInt(count));
  return [...parts, end.buffer];
}

export async function jsonFile(client: Pick<Client<Json>, "entries">, report: Report): Promise<Parts> {
  const parts: string[] = [];
  for await (const entry of client.entries()) {
    parts.push(`${parts.length === 0 ? "[\n" : ",\n"}${JSON.stringify(entry)}`);
    if (parts.length % REPORT === 0) report(parts.length);
  }
  return parts.length === 0 ? ["[]\n"] : [...parts, "\n]\n"];
}

export async function markdownFile(client: Pick<Client<Json>, "entries">, name: string, person: (node: string) => Person, report: Report): Promise<Parts> {
  const entries: Entry<Json>[] = [];
  for await (const entry of client.entries()) {
    entries.push(entry);
    if (entries.length % REPORT === 0) report(entries.length);
  }
  return markdown(entries, name, person);
}

/** The conversation, as it stands by now. */
export function markdown(entries: readonly Entry<Json>[], name: string, person: (node: string) => Person): Parts {
  const items = entries.map(itemOf);
  const remarks = new Map<string, Remark[]>();
  for (const item of items) {
    const remark = remarkOf(item);
    if (remark === undefined) continue;
    const about = remarks.get(remark.content.of) ?? [];
    about.push(remark);
    remarks.set(remark.content.of, about);
  }
  const parts = [`# ${name}\n`];
  let day = "";
  for (const item of items.filter(({ shown }) => shown)) {
    const [date = "", time = ""] = item.entry.timestamp.split("T");
    if (date !== day) parts.push(`\n## ${date}\n`);
    day = date;
    parts.push(`\n${paragraph(item, remarks.get(item.entry.id) ?? [], time.slice(0, 5), person)}\n`);
  }
  return parts;
}

function paragraph(item: Item, remarks: readonly Remark[], time: string, person: (node: string) => Person): string {
  const { entry, content } = item;
  const line = lineOf(entry);
  if (line !== null) return `*${time} ${line.parts.map((part) => (typeof part === "string" ? part : person(part.node).name)).join(" ")}*`;
  const who = `**${person(entry.creator_node_id).name}** ${time}`;
  const now = said(item, remarks);
  if (now.removed !== null) return `${who} *(removed)*`;
  if (content === null) return `${who} *(${"erased" in entry && entry.erased !== undefined ? "erased" : "not readable here"})*`;
  if (content.type !== "note") return `${who}\n\n\`\`\`json\n${JSON.stringify(entry.data, null, 2)}\n\`\`\``;
  const picture = content.image === undefined ? "" : `\n\n![picture](${content.image})`;
  const feelings = now.reactions.length === 0 ? "" : `\n\n${now.reactions.map(({ emoji, by }) => `${emoji} ${by.length}`).join("  ")}`;
  return `${who}${now.edited === null ? "" : " *(edited)*"}\n\n${now.text ?? ""}${picture}${feelings}`;
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function framed(block: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const framed = new Uint8Array(4 + block.length);
  new DataView(framed.buffer).setUint32(0, block.length);
  framed.set(block, 4);
  return framed;
}
