/** Signatures, checked by the machine's own cryptography where it has Ed25519, and by the rules in wasm where not. */

import type { Rules } from "./rules.js";

/** Bytes of a claim: author, signature, and what was signed. */
const AUTHOR = 32;
const SIGNATURE = 64;
const CLAIM = AUTHOR + SIGNATURE + 49;

/**
 * Checks claims of `Audit.claims`. That no key and no signature is of small order was checked there, which is what a strict check asks
 * beyond RFC 8032.
 */
export class Signatures {
  readonly #rules: Rules;
  /** The author's key by its bytes; `undefined`: this platform takes none. */
  readonly #keys = new Map<string, CryptoKey | undefined>();

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  /** The index of the first of these claims that is not true; -1: all are. */
  async check(claims: Uint8Array<ArrayBuffer>): Promise<number> {
    const checks: (boolean | Promise<boolean>)[] = [];
    for (let start = 0; start < claims.length; start += CLAIM) {
      const claim = claims.subarray(start, start + CLAIM);
      const name = String.fromCharCode(...claim.subarray(0, AUTHOR));
      if (!this.#keys.has(name)) this.#keys.set(name, await imported(claim.slice(0, AUTHOR)));
      checks.push(this.#one(claim, this.#keys.get(name)));
    }
    return (await Promise.all(checks)).indexOf(false);
  }

  #one(claim: Uint8Array<ArrayBuffer>, key: CryptoKey | undefined): boolean | Promise<boolean> {
    if (key === undefined) return this.#rules.checkClaim(claim);
    const [signature, signed] = [claim.subarray(AUTHOR, AUTHOR + SIGNATURE), claim.subarray(AUTHOR + SIGNATURE)];
    return crypto.subtle.verify("Ed25519", key, signature, signed);
  }
}

/** Pages from another machine over plain http have no `crypto.subtle`, and older browsers no Ed25519 in it. */
async function imported(author: Uint8Array<ArrayBuffer>): Promise<CryptoKey | undefined> {
  return globalThis.crypto?.subtle?.importKey("raw", author, "Ed25519", false, ["verify"]).catch(() => undefined);
}
