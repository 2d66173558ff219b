/** Who wrote a block, and when: read from its bytes as they are stored (docs/PROTOCOL.md), for blocks that are not in view. */

/** What a block's header says of its place. */
export interface Place {
  readonly author: string;
  readonly height: number;
  /** µs since 1970. */
  readonly timestamp: number;
}

/** The place of a block whose bytes came in base64; `null` if they are none of a block. */
export function placeIn(base64: string): Place | null {
  const bytes = bytesOf(base64);
  if (bytes === null) return null;
  const reader = new Reader(bytes);
  // block = [header, …], header = [version, ledger, author, height, timestamp, parents]
  if (reader.head(ARRAY) !== 3 || reader.head(ARRAY) !== 6 || reader.head(NUMBER) !== 1) return null;
  const ledger = reader.bytes();
  const author = reader.bytes();
  const height = reader.head(NUMBER);
  const timestamp = reader.head(NUMBER);
  if (ledger?.length !== 32 || author?.length !== 32 || height === null || timestamp === null) return null;
  return { author: hexOf(author), height, timestamp };
}

/** The bytes of base64 in hexadecimal digits; `null` if it is none. */
export function hexIn(base64: string): string | null {
  const bytes = bytesOf(base64);
  return bytes === null ? null : hexOf(bytes);
}

/** Major types of CBOR, RFC 8949 §3.1. */
const NUMBER = 0;
const BYTES = 2;
const ARRAY = 4;

class Reader {
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The number in the head of an item of some type, and `null` where it is of another one, or too large. */
  head(type: number): number | null {
    if (this.#at >= this.#view.byteLength) return null;
    const first = this.#view.getUint8(this.#at++);
    if (first >> 5 !== type) return null;
    const short = first & 31;
    if (short < 24) return short;
    const width = 1 << (short - 24);
    if (width > 8 || this.#at + width > this.#view.byteLength) return null;
    const at = this.#at;
    this.#at += width;
    if (width === 1) return this.#view.getUint8(at);
    if (width === 2) return this.#view.getUint16(at);
    if (width === 4) return this.#view.getUint32(at);
    const number = this.#view.getBigUint64(at);
    return number <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(number) : null;
  }

  bytes(): Uint8Array | null {
    const length = this.head(BYTES);
    if (length === null || this.#at + length > this.#view.byteLength) return null;
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#at, length);
    this.#at += length;
    return bytes;
  }
}

function bytesOf(base64: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
