/** Signatures, checked by the machine's own cryptography where it has Ed25519, and by the rules in wasm where not. */

import { rules } from "./rules.js";

/** Bytes of a claim: author, signature, and what was signed. */
const AUTHOR = 32;
const SIGNATURE = 64;
const CLAIM = AUTHOR + SIGNATURE + 49;

/** Claims of `Audit.claims`, one behind the other. */
export type Claims = Uint8Array<ArrayBuffer>;

/** Who checks claims. */
export interface ClaimChecker {
  /** The index of the first that is not true; -1: all are. */
  check(claims: Claims): Promise<number>;
}

/**
 * Checks them in this thread. That no key and no signature is of small order was checked by `Audit.add`, which is what a strict check asks
 * beyond RFC 8032.
 */
export class Signatures implements ClaimChecker {
  /** The author's key by its bytes; `undefined`: this platform takes none. */
  readonly #keys = new Map<string, CryptoKey | undefined>();

  async check(claims: Claims): Promise<number> {
    const checks: Promise<boolean>[] = [];
    for (let start = 0; start < claims.length; start += CLAIM) {
      const claim = claims.subarray(start, start + CLAIM);
      const name = String.fromCharCode(...claim.subarray(0, AUTHOR));
      if (!this.#keys.has(name)) this.#keys.set(name, await imported(claim.slice(0, AUTHOR)));
      checks.push(this.#one(claim, this.#keys.get(name)));
    }
    return (await Promise.all(checks)).indexOf(false);
  }

  async #one(claim: Claims, key: CryptoKey | undefined): Promise<boolean> {
    if (key === undefined) return (await rules()).checkClaim(claim);
    const [signature, signed] = [claim.subarray(AUTHOR, AUTHOR + SIGNATURE), claim.subarray(AUTHOR + SIGNATURE)];
    return crypto.subtle.verify("Ed25519", key, signature, signed);
  }
}

/** Shares claims out among other workers, because a browser checks the signatures of each worker one after the other. */
export class SharedSignatures implements ClaimChecker {
  readonly #ports: readonly MessagePort[];

  /** The ports lead to workers that {@link serveSignatures}. */
  constructor(ports: readonly MessagePort[]) {
    this.#ports = ports;
  }

  async check(claims: Claims): Promise<number> {
    const share = Math.ceil(claims.length / CLAIM / this.#ports.length);
    const asked = this.#ports.map((port, number) => ask(port, claims.slice(number * share * CLAIM, (number + 1) * share * CLAIM)));
    const wrong = (await Promise.all(asked)).map((index, number) => (index < 0 ? Infinity : number * share + index));
    const first = Math.min(...wrong);
    return first === Infinity ? -1 : first;
  }
}

/** Answers one after the other what {@link SharedSignatures} asks over a port. */
export function serveSignatures(port: MessagePort): void {
  const signatures = new Signatures();
  let last: Promise<void> = Promise.resolve();
  port.onmessage = ({ data }: MessageEvent<Claims>) => {
    last = last.then(async () => port.postMessage(await signatures.check(data)));
  };
}

/** A port answers in the order in which it was asked, and is asked once at a time. */
function ask(port: MessagePort, claims: Claims): Promise<number> {
  return new Promise((resolve) => {
    port.onmessage = ({ data }: MessageEvent<number>) => resolve(data);
    port.postMessage(claims, [claims.buffer]);
  });
}

/** Pages from another machine over plain http have no `crypto.subtle`, and older browsers no Ed25519 in it. */
async function imported(author: Uint8Array<ArrayBuffer>): Promise<CryptoKey | undefined> {
  return globalThis.crypto?.subtle?.importKey("raw", author, "Ed25519", false, ["verify"]).catch(() => undefined);
}
