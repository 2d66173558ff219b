import { expect, test } from "vitest";

import { CairnError } from "../errors.js";
import type { Entry, EntryBatch } from "../types.js";
import type { Checker } from "./checker.js";
import { Gate } from "./gate.js";

/** A gate with a checker that proves all but what is called "false", and says what it was asked. */
function gate() {
  const came: string[] = [];
  const asked: string[] = [];
  const checker = {
    confirm: async (entries: readonly Entry[], order: string, after: string | null | undefined) => {
      asked.push(`${entries.map(({ id }) => id)} ${order} after ${String(after)}`);
      if (entries.some(({ id }) => id === "false")) throw new CairnError("unproven", "it is not so");
      return entries;
    },
  } as unknown as Checker<unknown>;
  let overflowed: () => void;
  const overflow = new Promise<void>((resolve) => (overflowed = resolve));
  let failed: (error: CairnError) => void;
  const failure = new Promise<CairnError>((resolve) => (failed = resolve));
  const made = new Gate<unknown>(() => Promise.resolve(checker), {
    onBatch: ({ entries }) => came.push(`batch ${entries.map(({ id }) => id)}`),
    onLive: (entries) => came.push(...entries.map(({ id }) => `live ${id}`)),
    onFailure: (error) => failed(error),
    onOverflow: () => overflowed(),
  });
  return { gate: made, came, asked, overflow, failure };
}

const entry = (id: string) => ({ id }) as Entry;
const batch = (done: boolean, ...ids: string[]): EntryBatch => ({ entries: ids.map(entry), cursor: "node@9+1", done });

async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test("what comes is let through in its order, and each must follow what came before it", async () => {
  const { gate: made, came, asked } = gate();
  made.follow(undefined);
  made.takeBatch(batch(false, "a", "b"));
  made.takeBatch(batch(true, "c"));
  made.takeLive([entry("d")]);
  made.takeLive([entry("e")]);
  await settled();
  expect(came).toEqual(["batch a,b", "batch c", "live d", "live e"]);
  expect(asked).toEqual(["a,b given after null", "c given after b", "d given after c", "e given after d"]);
});

test("a cursor that only the node understands asks for no particular first entry, an id does", async () => {
  const { gate: made, asked } = gate();
  made.follow("node@3+1");
  made.takeBatch(batch(true, "a"));
  await settled();
  made.follow("z");
  made.takeBatch(batch(true, "b"));
  await settled();
  expect(asked).toEqual(["a given after undefined", "b given after z"]);
});

test("behind what is not proved nothing comes through, until there is another connection", async () => {
  const { gate: made, came, failure } = gate();
  made.takeLive([entry("a")]);
  made.takeLive([entry("false")]);
  made.takeLive([entry("b")]);
  expect((await failure).code).toBe("unproven");
  await settled();
  expect(came).toEqual(["live a"]);
  made.takeLive([entry("c")]);
  await settled();
  expect(came).toEqual(["live a"]);
  made.reset();
  made.takeLive([entry("d")]);
  await settled();
  expect(came).toEqual(["live a", "live d"]);
});

test("what came by a connection that is gone is dropped", async () => {
  const { gate: made, came } = gate();
  made.takeLive([entry("a")]);
  made.reset();
  await settled();
  expect(came).toEqual([]);
});

test("what waits has a bound", async () => {
  const { gate: made, overflow } = gate();
  const many = Array.from({ length: 30_000 }, (_, number) => `${number}`);
  made.takeBatch(batch(false, ...many));
  made.takeBatch(batch(false, ...many));
  await overflow;
});
