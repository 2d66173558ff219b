/**
 * A map as a value, for the same reason as `Chunks`: it is cut in 4,096 buckets by the key, and a new one shares those that did
 * not change.
 */

import { digest } from "../people.js";

const BUCKETS = 4096;

type Bucket<V> = ReadonlyMap<string, V>;

export class IndexMap<V> {
  readonly #buckets: readonly (Bucket<V> | undefined)[];

  private constructor(buckets: readonly (Bucket<V> | undefined)[]) {
    this.#buckets = buckets;
  }

  static empty<V>(): IndexMap<V> {
    return new IndexMap<V>(new Array<undefined>(BUCKETS).fill(undefined));
  }

  get(key: string): V | undefined {
    return this.#buckets[digest(key) % BUCKETS]?.get(key);
  }

  has(key: string): boolean {
    return this.#buckets[digest(key) % BUCKETS]?.has(key) === true;
  }

  /** Sets many at once; where the value is `undefined`, the key goes. Each bucket that is touched is copied once. */
  with(changes: Iterable<readonly [key: string, value: V | undefined]>): IndexMap<V> {
    const copied = new Map<number, Map<string, V>>();
    for (const [key, value] of changes) {
      const place = digest(key) % BUCKETS;
      let bucket = copied.get(place);
      if (bucket === undefined) copied.set(place, (bucket = new Map(this.#buckets[place])));
      if (value === undefined) bucket.delete(key);
      else bucket.set(key, value);
    }
    if (copied.size === 0) return this;
    const buckets = this.#buckets.slice();
    for (const [place, bucket] of copied) buckets[place] = bucket;
    return new IndexMap(buckets);
  }
}
