/**
 * A long list as a value. An array would be copied whole for every note that arrives: 100,000 places, some hundred times a
 * second while a group catches up. Here a list is cut in chunks; a new one shares all but those that changed, and the table of
 * chunks, some hundred places, is all that is copied.
 */

/** Items of a chunk at most. */
const SIZE = 256;

export class Chunks<T> {
  readonly length: number;
  readonly #chunks: readonly (readonly T[])[];
  /** The place of each chunk's first item. */
  readonly #starts: readonly number[];

  private constructor(chunks: readonly (readonly T[])[]) {
    const starts: number[] = [];
    let length = 0;
    for (const chunk of chunks) {
      starts.push(length);
      length += chunk.length;
    }
    this.#chunks = chunks;
    this.#starts = starts;
    this.length = length;
  }

  static of<T>(items: readonly T[]): Chunks<T> {
    return new Chunks(cut(items));
  }

  get last(): T | undefined {
    return this.#chunks.at(-1)?.at(-1);
  }

  at(place: number): T | undefined {
    if (place < 0 || place >= this.length) return undefined;
    const chunk = this.#chunkOf(place);
    return this.#chunks[chunk]![place - this.#starts[chunk]!];
  }

  append(items: readonly T[]): Chunks<T> {
    if (items.length === 0) return this;
    const last = this.#chunks.at(-1) ?? [];
    // The last chunk is filled up, so that single items do not become chunks of their own.
    if (last.length + items.length <= SIZE) return new Chunks([...this.#chunks.slice(0, -1), [...last, ...items]]);
    return new Chunks([...this.#chunks, ...cut(items)]);
  }

  prepend(items: readonly T[]): Chunks<T> {
    return items.length === 0 ? this : new Chunks([...cut(items), ...this.#chunks]);
  }

  /** The first items, so many. */
  take(count: number): Chunks<T> {
    if (count >= this.length) return this;
    if (count <= 0) return new Chunks<T>([]);
    const chunk = this.#chunkOf(count - 1);
    return new Chunks([...this.#chunks.slice(0, chunk), this.#chunks[chunk]!.slice(0, count - this.#starts[chunk]!)]);
  }

  replace(place: number, item: T): Chunks<T> {
    if (place < 0 || place >= this.length) return this;
    const chunk = this.#chunkOf(place);
    const changed = this.#chunks[chunk]!.with(place - this.#starts[chunk]!, item);
    return new Chunks(this.#chunks.with(chunk, changed));
  }

  /** The place of the last item that is so; -1 if none. From the end, where what is looked for mostly is. */
  findLast(is: (item: T) => boolean): number {
    for (let chunk = this.#chunks.length - 1; chunk >= 0; chunk -= 1) {
      const place = this.#chunks[chunk]!.findLastIndex(is);
      if (place >= 0) return this.#starts[chunk]! + place;
    }
    return -1;
  }

  *from(place: number): Generator<T, void, undefined> {
    if (place >= this.length) return;
    const first = this.#chunkOf(Math.max(0, place));
    for (let chunk = first; chunk < this.#chunks.length; chunk += 1) {
      const items = this.#chunks[chunk]!;
      for (let index = chunk === first ? Math.max(0, place) - this.#starts[chunk]! : 0; index < items.length; index += 1) yield items[index]!;
    }
  }

  [Symbol.iterator](): Generator<T, void, undefined> {
    return this.from(0);
  }

  #chunkOf(place: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle]! <= place) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function cut<T>(items: readonly T[]): readonly (readonly T[])[] {
  const chunks: T[][] = [];
  for (let at = 0; at < items.length; at += SIZE) chunks.push(items.slice(at, at + SIZE));
  return chunks;
}
