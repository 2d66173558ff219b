/** The binary side of a relay, spoken by hand: keys, blocks, envelopes and the handshake of docs/PROTOCOL.md. */

import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";

import { WebSocket, type ClientOptions } from "ws";

/** Message types. */
export const HELLO = 1;
export const AUTH = 2;
export const SYNC_REQUEST = 4;
export const SYNC_RESPONSE = 5;
export const ANNOUNCE = 6;
export const HAVE = 9;
export const MEMBERSHIP = 12;

/** A value of canonical CBOR: numbers, byte strings, lists, and truth. */
export type Value = number | Buffer | boolean | readonly Value[];

/** Its encoding. */
export function encode(value: Value): Buffer {
  if (typeof value === "number") return head(0, value);
  if (typeof value === "boolean") return Buffer.of(value ? 0xf5 : 0xf4);
  if (Buffer.isBuffer(value)) return Buffer.concat([head(2, value.length), value]);
  return Buffer.concat([head(4, value.length), ...value.map(encode)]);
}

function head(major: number, value: number): Buffer {
  const type = major << 5;
  if (value < 24) return Buffer.of(type | value);
  if (value < 0x100) return Buffer.of(type | 24, value);
  if (value < 0x1_0000) return Buffer.of(type | 25, value >> 8, value & 0xff);
  const bytes = Buffer.alloc(value < 0x1_0000_0000 ? 5 : 9, type | (value < 0x1_0000_0000 ? 26 : 27));
  if (bytes.length === 5) bytes.writeUInt32BE(value, 1);
  else bytes.writeBigUInt64BE(BigInt(value), 1);
  return bytes;
}

/** All values in some bytes, one behind the other. */
export function decode(bytes: Buffer): Value[] {
  let at = 0;
  const number = (small: number): number => {
    if (small < 24) return small;
    const length = 1 << (small - 24);
    at += length;
    return length === 8 ? Number(bytes.readBigUInt64BE(at - 8)) : bytes.readUIntBE(at - length, length);
  };
  const next = (): Value => {
    const first = bytes[at++]!;
    if (first >> 5 === 7) return first === 0xf5;
    const value = number(first & 31);
    if (first >> 5 === 0) return value;
    if (first >> 5 === 2) return bytes.subarray(at, (at += value));
    return Array.from({ length: value }, next);
  };
  const values: Value[] = [];
  while (at < bytes.length) values.push(next());
  return values;
}

const sha256 = (...parts: (string | Buffer)[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();

/** Somebody with a key. */
export class Person {
  readonly #key: KeyObject;
  /** µs of its last block: the next one is later. */
  #time = 0;
  /** Its node id. */
  readonly id: Buffer;

  constructor() {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    this.#key = privateKey;
    this.id = publicKey.export({ format: "der", type: "spki" }).subarray(-32);
  }

  sign(...parts: (string | Buffer)[]): Buffer {
    return sign(null, Buffer.concat(parts.map((part) => Buffer.from(part as string))), this.#key);
  }

  /** A block of one entry; its bytes and its hash. */
  block(ledger: Buffer, height: number, parents: Buffer[], kind: number, payload: Buffer): { bytes: Buffer; hash: Buffer } {
    const nonce = randomBytes(16);
    this.#time = Math.max(this.#time + 1, Date.now() * 1000);
    const header: Value = [1, ledger, this.id, height, this.#time, parents];
    const commitment = sha256("cairn/payload/1", nonce, payload);
    const hash = sha256(sha256("cairn/block/1", encode(header)), encode([kind, commitment, payload.length]));
    const bytes = encode([header, [[kind, nonce, payload]], this.sign("cairn/signature/1", hash)]);
    return { bytes, hash };
  }

  /** A members' ledger of its own: the id, and the block that begins it. */
  found(): { ledger: Buffer; genesis: { bytes: Buffer; hash: Buffer } } {
    const genesis = encode([1, this.id, randomBytes(16)]);
    const ledger = sha256("cairn/genesis/1", genesis);
    ledger[0] = 0xca;
    return { ledger, genesis: this.block(ledger, 1, [], 2, genesis) };
  }
}

/** What came on a link: one envelope. */
export interface Came {
  readonly type: number;
  readonly sender: Buffer;
  readonly payload: readonly Value[];
}

/** A connection to a room. */
export class Link {
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  /** Every byte that came, texts too. */
  readonly heard: Buffer[] = [];
  readonly #socket: WebSocket;
  readonly #ledger: Buffer;
  readonly #waiting: Came[] = [];
  #wake: () => void = () => {};

  /** Connects to a ledger's room. Rejects with the relay's answer if it is not let in. */
  static async open(relay: string, ledger: Buffer, headers: Record<string, string> = {}): Promise<Link> {
    const options: ClientOptions = { perMessageDeflate: false, headers };
    const link = new Link(new WebSocket(`${relay}/ledger/${ledger.toString("hex")}`, options), ledger);
    await new Promise<void>((resolve, reject) => {
      link.#socket.once("open", resolve);
      link.#socket.once("error", reject);
    });
    return link;
  }

  private constructor(socket: WebSocket, ledger: Buffer) {
    this.#socket = socket;
    this.#ledger = ledger;
    socket.on("error", () => {});
    socket.on("message", (data, binary) => {
      const bytes = Buffer.from(data as Buffer);
      this.heard.push(bytes);
      if (binary) {
        for (const envelope of decode(bytes) as Value[][]) {
          const [type, , sender, , payload] = envelope as [number, Buffer, Buffer, Buffer, Value[]];
          this.#waiting.push({ type, sender, payload });
        }
      }
      this.#wake();
    });
    this.closed = new Promise((resolve) => {
      socket.once("close", (code, reason) => resolve({ code, reason: String(reason) }));
    });
    void this.closed.then(() => this.#wake());
  }

  /** The next envelope of a type; what came before is passed over. */
  async take(type: number): Promise<Came> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next?.type === type) return next;
      if (next !== undefined) continue;
      if (this.#socket.readyState !== WebSocket.OPEN) throw new Error(`closed before a message of type ${type}`, { cause: await this.closed });
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Sends envelopes in one frame. */
  send(sender: Person, ...messages: [type: number, payload: Value][]): void {
    const envelope = ([type, payload]: [number, Value]): Buffer =>
      encode([type, randomBytes(16), sender.id, Buffer.alloc(0), payload]);
    this.#socket.send(Buffer.concat(messages.map(envelope)));
  }

  raw(data: Buffer | string): void {
    this.#socket.send(data);
  }

  /** Says hello and proves a key; `membership` follows in a frame of its own. */
  async prove(person: Person, membership?: Value, wrong = false): Promise<void> {
    const nonce = randomBytes(32);
    this.send(person, [HELLO, [1, this.#ledger, person.id, nonce]]);
    const { payload } = await this.take(HELLO);
    const [, , relay, challenge] = payload as [number, Buffer, Buffer, Buffer];
    const proof = person.sign("cairn/auth/1", this.#ledger, person.id, nonce, relay, challenge);
    if (wrong) proof[0]! ^= 1;
    this.send(person, [AUTH, [proof]]);
    if (membership !== undefined) this.send(person, [MEMBERSHIP, [membership]]);
  }

  async close(): Promise<void> {
    this.#socket.close();
    await this.closed;
  }
}
