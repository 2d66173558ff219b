/** Signatures, checked by the machine's own cryptography where it has Ed25519, and by the rules in wasm where not. */

import type { Rules } from "./rules.js";

/** Bytes of a claim: author, signature, and the rest is what was signed. */
const AUTHOR = 32;
const SIGNATURE = 64;

/**
 * Checks claims of `Audit.add`. That no key and no signature is of small order was checked there, which is what a strict check asks
 * beyond RFC 8032.
 */
export class Signatures {
  readonly #rules: Rules;
  readonly #keys = new Map<string, Promise<CryptoKey | undefined>>();

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  /** Whether each of these claims is true, in their order. */
  async check(claims: readonly Uint8Array[]): Promise<boolean[]> {
    return Promise.all(claims.map((claim) => this.#one(claim)));
  }

  async #one(claim: Uint8Array): Promise<boolean> {
    const author = claim.subarray(0, AUTHOR);
    const key = await this.#key(author);
    if (key === undefined) return this.#rules.checkClaim(claim);
    const signature = claim.slice(AUTHOR, AUTHOR + SIGNATURE);
    return crypto.subtle.verify("Ed25519", key, signature, claim.slice(AUTHOR + SIGNATURE));
  }

  #key(author: Uint8Array): Promise<CryptoKey | undefined> {
    const name = String.fromCharCode(...author);
    let key = this.#keys.get(name);
    if (key === undefined) {
      // Pages from another machine over plain http have no `crypto.subtle`, and older browsers no Ed25519 in it.
      const imported = globalThis.crypto?.subtle?.importKey("raw", author.slice(), "Ed25519", false, ["verify"]);
      key = imported === undefined ? Promise.resolve(undefined) : imported.catch(() => undefined);
      this.#keys.set(name, key);
    }
    return key;
  }
}
