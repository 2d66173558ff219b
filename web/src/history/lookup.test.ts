import type { Entry, HistoryBlock, HistoryRequest, Json } from "@cairn/client";
import { expect, test } from "vitest";

import { answer, block, hexOf } from "./fixture.js";
import { Lookup, type Asked, type Found } from "./lookup.js";

const [IDA, BO] = [hexOf("a", 0), hexOf("a", 1)];
const HOUR = 3_600_000_000;

/** A node with these blocks and entries; says what was asked of it. */
function node(blocks: readonly HistoryBlock[], entries: Readonly<Record<string, object>>): { client: Asked; asked: string[] } {
  const asked: string[] = [];
  const client: Asked = {
    blocks: async () => Promise.resolve({ blocks: [], cursor: "", done: true }),
    entry: async (id) => {
      asked.push(id);
      const found = entries[id];
      if (found === undefined) throw new Error(`unknown entry ${id}`);
      return Promise.resolve({ id, ...found } as Entry<Json>);
    },
    history: async (request: HistoryRequest = {}) => Promise.resolve(answer(blocks, request)),
  };
  return { client, asked };
}

test("what an erase names is known as erased, and each block is looked into once", async () => {
  const blocks = [
    block({ hash: hexOf("b", 1), author: IDA }),
    block({ hash: hexOf("b", 2), author: BO, kinds: ["erase"] }),
  ];
  const { client, asked } = node(blocks, { [`${BO}-1-0`]: { kind: "erase", data: { entry: `${IDA}-1-0` } } });
  let found: Found | undefined;
  const lookup = new Lookup(client, (now) => (found = now));
  await lookup.look(blocks);
  await lookup.look(blocks);
  expect([...found!.erased]).toEqual([`${IDA}-1`]);
  expect(asked).toEqual([`${BO}-1-0`]);
});

test("the proof of a fork is found long after the fork", async () => {
  const fork = block({ hash: hexOf("b", 1), author: IDA, timestamp: HOUR });
  const evidence = block({ hash: hexOf("b", 2), author: BO, timestamp: 30 * HOUR, kinds: ["evidence"] });
  const end = block({ hash: hexOf("b", 3), author: BO, height: 2, timestamp: 900 * HOUR });
  const data = { author: IDA, height: 1, blocks: [hexOf("f", 1), hexOf("f", 2)] };
  const { client } = node([fork, evidence, end], { [`${BO}-1-0`]: { kind: "evidence", data, payload_hex: "82" } });
  let found: Found | undefined;
  const lookup = new Lookup(client, (now) => (found = now));
  expect(await lookup.prove(IDA, HOUR)).toBe(true);
  expect(found!.proofs[0]!.data).toEqual(data);
});

test("where there is no proof the search ends, and entries that cannot be read break nothing", async () => {
  const blocks = [block({ hash: hexOf("b", 1), author: IDA, timestamp: HOUR, kinds: ["evidence"] })];
  const { client } = node(blocks, {});
  expect(await new Lookup(client, () => undefined).prove(IDA, HOUR)).toBe(false);
});
