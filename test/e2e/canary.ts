/** Marked texts and secrets that only members may read, and the places where they must be nowhere: files, wire and logs. */

import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import type { Tap } from "./cable.js";
import type { Process, Stream } from "./process.js";

/** Bytes on the wires of one test that are kept; a test that says more has to be made smaller. */
const WIRE_BYTES = 256 * 1024 * 1024;

/** Where something was found. */
export interface Found {
  /** Files of relays. */
  readonly files: readonly string[];
  /** Directions of connections between nodes and relays. */
  readonly wire: readonly string[];
  /** Lines of the logs of nodes and relays. */
  readonly logs: readonly string[];
}

/** One direction of one connection. */
interface Wire {
  readonly name: string;
  readonly chunks: Buffer[];
}

/** What is watched in one test. */
export class Canary {
  /** A text for every payload and every name. */
  readonly mark = `canary-${randomBytes(8).toString("hex")}`;
  readonly #needles: Buffer[] = forms(Buffer.from(this.mark));
  readonly #directories = new Set<string>();
  readonly #wires: Wire[] = [];
  readonly #lines: string[] = [];
  #wireBytes = 0;

  /** The secrets of an invite must be nowhere either, the link least of all. */
  hides(link: string): void {
    const token = link.slice(link.indexOf("#join=") + "#join=".length);
    this.#needles.push(Buffer.from(token), ...secrets(token).flatMap(forms));
  }

  /** Watches the files of a relay. */
  keepsAnEyeOn(directory: string): void {
    this.#directories.add(directory);
  }

  /** Watches what a process says. */
  listensTo(process: Process, ...streams: readonly Stream[]): void {
    process.listen((line, stream) => {
      if (streams.includes(stream)) this.#lines.push(`${process.name}: ${line}`);
    });
  }

  /** Watches the connections of a cable. */
  readonly tap: Tap = () => {
    const [up, down] = [this.#wire("to the relay"), this.#wire("from the relay")];
    return { up, down };
  };

  /** How much was watched. A check that saw nothing says nothing. */
  async watched(): Promise<{ readonly files: number; readonly wireBytes: number; readonly lines: number }> {
    return { files: (await this.#files()).length, wireBytes: this.#wireBytes, lines: this.#lines.length };
  }

  /** Where anything is that should be nowhere. */
  async found(): Promise<Found> {
    const files: string[] = [];
    for (const path of await this.#files()) if (this.#isIn(await readFile(path))) files.push(path);
    const wire = this.#wires.filter(({ chunks }) => {
      const bytes = Buffer.concat(chunks);
      return this.#isIn(bytes) || this.#isIn(messages(bytes));
    });
    const logs = this.#lines.filter((line) => this.#isIn(Buffer.from(line)));
    return { files, wire: wire.map(({ name }) => name), logs };
  }

  #isIn(bytes: Buffer): boolean {
    return this.#needles.some((needle) => bytes.includes(needle));
  }

  async #files(): Promise<string[]> {
    const listed = [...this.#directories].map((path) => readdir(path, { recursive: true, withFileTypes: true }));
    const entries = (await Promise.all(listed)).flat();
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  }

  #wire(name: string): (chunk: Buffer) => void {
    const wire: Wire = { name: `connection ${(this.#wires.length >> 1) + 1} ${name}`, chunks: [] };
    this.#wires.push(wire);
    return (chunk) => {
      this.#wireBytes += chunk.length;
      if (this.#wireBytes > WIRE_BYTES) throw new Error(`more than ${WIRE_BYTES} bytes on the wires of one test`);
      wire.chunks.push(chunk);
    };
  }
}

/** The ways in which bytes could be written somewhere. */
function forms(bytes: Buffer): Buffer[] {
  return [bytes, ...(["hex", "base64", "base64url"] as const).map((encoding) => Buffer.from(bytes.toString(encoding)))];
}

/**
 * The invite's secret and the epoch key of a token, which is base64url of
 * `[1, genesis, invite, end, secret, epoch key, relays]` in CBOR and a checksum.
 */
function secrets(token: string): Buffer[] {
  const bytes = Buffer.from(token, "base64url");
  // Behind the head of the array.
  let at = 1;
  const fields = Array.from({ length: 6 }, () => {
    const [kind, short] = [bytes[at]! >> 5, bytes[at]! & 31];
    const longer = short < 24 ? 0 : 2 ** (short - 24);
    const value = longer === 0 ? short : Number(`0x${bytes.toString("hex", at + 1, at + 1 + longer)}`);
    at += 1 + longer;
    // Numbers are in their heads, byte strings behind them.
    return kind === 2 ? bytes.subarray(at, (at += value)) : Buffer.of();
  });
  const [secret, key] = [fields[4]!, fields[5]!];
  if (secret.length !== 32 || key.length !== 32) throw new Error("the token of an invite has another form");
  return [secret, key];
}

/** What WebSocket frames say without their masks (RFC 6455 §5.2), behind the HTTP head of their connection. */
function messages(bytes: Buffer): Buffer {
  const head = bytes.indexOf("\r\n\r\n");
  if (head < 0) return Buffer.of();
  const said: Buffer[] = [];
  // The last frame may be cut off anywhere.
  const padded = Buffer.concat([bytes, Buffer.alloc(14)]);
  for (let at = head + 4; at < bytes.length; ) {
    const [masked, short] = [(padded[at + 1]! & 0x80) !== 0, padded[at + 1]! & 0x7f];
    at += 2;
    const long = { 126: 2, 127: 8 }[short] ?? 0;
    const length = long === 0 ? short : Number(`0x${padded.toString("hex", at, at + long)}`);
    at += long;
    const mask = masked ? padded.subarray(at, (at += 4)) : Buffer.alloc(4);
    const payload = padded.subarray(at, (at += length));
    said.push(Buffer.from(payload.map((byte, index) => byte ^ mask[index & 3]!)));
  }
  return Buffer.concat(said);
}
