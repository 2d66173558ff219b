/**
 * Notes that are not in the ledger yet, kept by the browser across reloads (IndexedDB: pictures are too large for local
 * storage). Windows of one browser share it: whoever is to send a note takes it first, and only one can.
 */

import type { Outgoing } from "../state/outbox.js";

const STORE = "notes";

/** Where notes wait. */
export interface OutboxStore {
  /** Those of a ledger. */
  all(ledger: string): Promise<readonly Outgoing[]>;
  put(note: Outgoing): Promise<void>;
  /** Marks a note that waits as being sent; `false` if it does not wait any more. */
  take(key: string): Promise<boolean>;
  forget(keys: readonly string[]): Promise<void>;
}

/** The browser's store; one in memory where it allows none. */
export async function openOutbox(): Promise<OutboxStore> {
  try {
    return kept(await open());
  } catch {
    return inMemory();
  }
}

export function inMemory(): OutboxStore {
  const notes = new Map<string, Outgoing>();
  return {
    all: async (ledger) => [...notes.values()].filter((note) => note.ledger === ledger),
    put: async (note) => void notes.set(note.key, note),
    take: async (key) => {
      const note = notes.get(key);
      if (note?.delivery.state !== "waiting") return false;
      notes.set(key, { ...note, delivery: { state: "sending" } });
      return true;
    },
    forget: async (keys) => keys.forEach((key) => notes.delete(key)),
  };
}

function kept(database: IDBDatabase): OutboxStore {
  const notes = (mode: IDBTransactionMode): IDBObjectStore => database.transaction(STORE, mode, { durability: "strict" }).objectStore(STORE);
  return {
    all: async (ledger) => (await done(notes("readonly").index("ledger").getAll(ledger))) as readonly Outgoing[],
    put: async (note) => void (await done(notes("readwrite").put(note))),
    take: async (key) => {
      // Read and written in one transaction, so no other window comes in between.
      const store = notes("readwrite");
      const note = (await done(store.get(key))) as Outgoing | undefined;
      if (note?.delivery.state !== "waiting") return false;
      await done(store.put({ ...note, delivery: { state: "sending" } } satisfies Outgoing));
      return true;
    },
    forget: async (keys) => {
      const store = notes("readwrite");
      await Promise.all(keys.map((key) => done(store.delete(key))));
    },
  };
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open("cairn-outbox", 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" }).createIndex("ledger", "ledger");
  return done(request);
}

function done<R>(request: IDBRequest<R>): Promise<R> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser's store failed"));
  });
}
