/** Markdown-lite: the little of Markdown that people write in notes, as a tree. Linear in the text, whatever the text. */

import { safeLink, type Target } from "./link.js";

export type Inline =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "break" }
  | { readonly type: "code"; readonly text: string }
  | { readonly type: "emphasis" | "strong"; readonly inside: readonly Inline[] }
  | { readonly type: "link"; readonly target: Target; readonly text: string };

export type Block =
  | { readonly type: "paragraph"; readonly inside: readonly Inline[] }
  | { readonly type: "code"; readonly text: string }
  | { readonly type: "quote"; readonly inside: readonly Block[] }
  | { readonly type: "list"; readonly start: number | null; readonly items: readonly (readonly Inline[])[] };

/** Quotes in quotes at most; what is deeper is shown as it was written. */
const DEPTH = 4;
const FENCE = /^ {0,3}```[^`]*$/u;
const QUOTE = /^ {0,3}> ?/u;
const BULLET = /^ {0,3}[-*+] +(?=\S)/u;
const NUMBER = /^ {0,3}(\d{1,9})[.)] +(?=\S)/u;

/** The blocks of a text. */
export function parseMarkdown(text: string): readonly Block[] {
  return blocks(text.split("\n"), 0);
}

function blocks(lines: readonly string[], depth: number): readonly Block[] {
  const found: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    const [block, next] = blockAt(lines, at, depth);
    if (block !== undefined) found.push(block);
    at = next;
  }
  return found;
}

/** The block that begins in a line, and the line behind it. */
function blockAt(lines: readonly string[], at: number, depth: number): [Block | undefined, number] {
  const line = lines[at]!;
  if (line.trim() === "") return [undefined, at + 1];
  if (FENCE.test(line)) return fenced(lines, at);
  if (depth < DEPTH && QUOTE.test(line)) {
    const end = endOf(lines, at, (other) => QUOTE.test(other));
    const inside = lines.slice(at, end).map((other) => other.replace(QUOTE, ""));
    return [{ type: "quote", inside: blocks(inside, depth + 1) }, end];
  }
  const marker = BULLET.test(line) ? BULLET : NUMBER.test(line) ? NUMBER : undefined;
  if (marker !== undefined) return list(lines, at, marker);
  const end = endOf(lines, at + 1, (other) => other.trim() !== "" && !begins(other, depth));
  return [{ type: "paragraph", inside: inlines(lines.slice(at, end).join("\n")) }, end];
}

/** A fence that nobody closes reaches to the end, as in CommonMark. */
function fenced(lines: readonly string[], at: number): [Block, number] {
  const end = endOf(lines, at + 1, (other) => !/^ {0,3}```\s*$/u.test(other));
  return [{ type: "code", text: lines.slice(at + 1, end).join("\n") }, end + 1];
}

function list(lines: readonly string[], at: number, marker: RegExp): [Block, number] {
  const start = marker === NUMBER ? Number(NUMBER.exec(lines[at]!)![1]) : null;
  const end = endOf(lines, at, (other) => marker.test(other));
  return [{ type: "list", start, items: lines.slice(at, end).map((other) => inlines(other.replace(marker, ""))) }, end];
}

function begins(line: string, depth: number): boolean {
  return FENCE.test(line) || (depth < DEPTH && QUOTE.test(line)) || BULLET.test(line) || NUMBER.test(line);
}

function endOf(lines: readonly string[], from: number, belongs: (line: string) => boolean): number {
  let end = from;
  while (end < lines.length && belongs(lines[end]!)) end += 1;
  return end;
}

/** What may begin something; between two of these is text. */
const SPECIAL = /[\\`*_[\n]|https?:\/\/|mailto:/gu;
const LINK = /\[([^[\]\n]{1,300})\]\(([^()\s]{1,2000})\)/uy;
const BARE = /(?:https?:\/\/|mailto:)[^\s<>"'`]{1,2000}/uy;

type Marker = "*" | "**" | "_" | "__";

/** Reads text between block markers: one pass, with a stack of what is open. */
class Inlines {
  readonly #text: string;
  #at = 0;
  /** One list of nodes for every marker that is open, and the outermost. */
  readonly #open: { readonly marker: Marker | null; readonly nodes: Inline[] }[] = [{ marker: null, nodes: [] }];
  /** Lengths of runs of backticks of which none follows: looked for once. */
  readonly #unclosed = new Set<number>();

  constructor(text: string) {
    this.#text = text;
  }

  read(): readonly Inline[] {
    while (this.#at < this.#text.length) this.#step();
    while (this.#open.length > 1) this.#giveUp();
    return this.#open[0]!.nodes;
  }

  #step(): void {
    SPECIAL.lastIndex = this.#at;
    const next = SPECIAL.exec(this.#text)?.index ?? this.#text.length;
    if (next > this.#at) return this.#take(next - this.#at);
    const character = this.#text[this.#at]!;
    if (character === "\n") return this.#push({ type: "break" }, 1);
    if (character === "\\") return this.#escape();
    if (character === "`") return this.#code();
    if (character === "*" || character === "_") return this.#mark(character);
    this.#link();
  }

  /** A backslash takes the meaning of the punctuation behind it. */
  #escape(): void {
    const next = this.#text[this.#at + 1] ?? "";
    if (!/[\\`*_[\]()>#+.!-]/u.test(next)) return this.#take(1);
    this.#at += 1;
    this.#take(1);
  }

  #code(): void {
    const run = this.#run("`");
    const fence = "`".repeat(run);
    let end = this.#unclosed.has(run) ? -1 : this.#text.indexOf(fence, this.#at + run);
    // Only a run of the same length closes.
    while (end >= 0 && (this.#text[end + run] === "`" || this.#text[end - 1] === "`")) {
      let behind = end + run;
      while (this.#text[behind] === "`") behind += 1;
      end = this.#text.indexOf(fence, behind);
    }
    if (end < 0) {
      this.#unclosed.add(run);
      return this.#take(run);
    }
    const text = this.#text.slice(this.#at + run, end);
    this.#push({ type: "code", text: text.trim() === "" ? text : text.trim() }, end + run - this.#at);
  }

  #mark(character: "*" | "_"): void {
    const run = this.#run(character);
    if (run > 3) return this.#take(run);
    const before = this.#text[this.#at - 1] ?? " ";
    const after = this.#text[this.#at + run] ?? " ";
    // An underscore in a word is part of the word.
    const apart = (neighbour: string): boolean => character === "*" || !/[\p{L}\p{N}]/u.test(neighbour);
    const closes = !/\s/u.test(before) && apart(after);
    const opens = !/\s/u.test(after) && apart(before);
    let left = run;
    while (left > 0 && closes) {
      const marker = this.#closable(character, left);
      if (marker === undefined) break;
      this.#close(marker);
      left -= marker.length;
      this.#at += marker.length;
    }
    if (left === 0) return;
    if (!opens) return this.#take(left);
    // The stack is bounded: deeper than anybody means is text.
    if (this.#open.length > 16) return this.#take(left);
    for (const marker of left === 2 ? [character.repeat(2)] : left === 3 ? [character.repeat(2), character] : [character]) {
      this.#open.push({ marker: marker as Marker, nodes: [] });
      this.#at += marker.length;
    }
  }

  /** The innermost open marker of this character that a run of so many can close. */
  #closable(character: "*" | "_", left: number): Marker | undefined {
    for (let level = this.#open.length - 1; level > 0; level -= 1) {
      const { marker } = this.#open[level]!;
      if (marker !== null && marker[0] === character && marker.length <= left) return marker;
    }
    return undefined;
  }

  #close(marker: Marker): void {
    while (this.#open.at(-1)!.marker !== marker) this.#giveUp();
    const { nodes } = this.#open.pop()!;
    this.#add({ type: marker.length === 2 ? "strong" : "emphasis", inside: nodes });
  }

  /** The innermost marker was never closed: it was text. */
  #giveUp(): void {
    const { marker, nodes } = this.#open.pop()!;
    this.#add({ type: "text", text: marker ?? "" });
    for (const node of nodes) this.#add(node);
  }

  #link(): void {
    LINK.lastIndex = this.#at;
    const written = LINK.exec(this.#text);
    const target = written === null ? undefined : safeLink(written[2]!);
    if (written !== null && target !== undefined) return this.#push({ type: "link", target, text: written[1]! }, written[0].length);
    BARE.lastIndex = this.#at;
    const bare = BARE.exec(this.#text);
    // Punctuation at the end belongs to the sentence.
    const url = bare?.[0].replace(/[.,:;!?)\]}*_~]+$/u, "");
    const bareTarget = url === undefined ? undefined : safeLink(url);
    if (url !== undefined && bareTarget !== undefined) return this.#push({ type: "link", target: bareTarget, text: url }, url.length);
    this.#take(1);
  }

  #run(character: string): number {
    let run = 1;
    while (this.#text[this.#at + run] === character) run += 1;
    return run;
  }

  #take(length: number): void {
    this.#push({ type: "text", text: this.#text.slice(this.#at, this.#at + length) }, length);
  }

  #push(node: Inline, length: number): void {
    this.#at += length;
    this.#add(node);
  }

  #add(node: Inline): void {
    const { nodes } = this.#open.at(-1)!;
    const last = nodes.at(-1);
    if (node.type === "text" && last?.type === "text") nodes[nodes.length - 1] = { type: "text", text: last.text + node.text };
    else nodes.push(node);
  }
}

function inlines(text: string): readonly Inline[] {
  return new Inlines(text).read();
}
