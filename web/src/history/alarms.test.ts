import type { EvidenceEntry, Member } from "@cairn/client";
import { expect, test } from "vitest";

import { alarms } from "./alarms.js";
import { hexOf } from "./fixture.js";

const [IDA, BO, CAI] = [hexOf("a", 1), hexOf("a", 2), hexOf("a", 3)];
const head = (author: string): { author: string; height: number; hash: string } => ({ author, height: 9, hash: hexOf("b", 9) });

function proof(author: string, height: number): EvidenceEntry {
  return {
    id: `${BO}-4-0`,
    timestamp: "2026-01-01T00:00:00.000000Z",
    previous_hash: hexOf("b", 1),
    hash: hexOf("b", 2),
    creator_node_id: BO,
    signatures: {},
    height: 4,
    index: 0,
    parents: [],
    kind: "evidence",
    data: { author, height, blocks: [hexOf("f", 1), hexOf("f", 2)] },
    payload_hex: "82",
  };
}

function member(node: string, removed: boolean): Member {
  return { node, name: null, role: "member", joined: "", by: null, removed, me: false };
}

test("a fork is told once, with its proof as soon as there is one", () => {
  const status = { frozen: [{ author: IDA, height: 5 }], heads: [head(IDA), head(BO)] };
  expect(alarms([], [], status, [])).toEqual([{ author: IDA, height: 5, blocks: [], proof: null }]);
  const fork = { author: IDA, height: 5, blocks: [hexOf("f", 1), hexOf("f", 2)] };
  const told = alarms([fork], [proof(IDA, 5)], status, []);
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject({ author: IDA, height: 5, proof: { payload_hex: "82" } });
});

test("of two forks of a lane the lower one counts", () => {
  expect(alarms([], [proof(IDA, 8), proof(IDA, 3), proof(IDA, 5)], null, [])[0]!.height).toBe(3);
});

test("whoever was removed has forked nothing, nor has a closed invite", () => {
  const status = { frozen: [IDA, BO, CAI].map((author) => ({ author, height: 2 })), heads: [head(IDA), head(BO)] };
  const told = alarms([], [], status, [member(IDA, true), member(BO, false)]);
  expect(told.map(({ author }) => author)).toEqual([BO]);
  expect(alarms([], [], status, []).map(({ author }) => author)).toEqual([IDA, BO]);
});

test("but a proof holds also of those who were removed", () => {
  const told = alarms([], [proof(IDA, 5)], { frozen: [], heads: [] }, [member(IDA, true)]);
  expect(told.map(({ author }) => author)).toEqual([IDA]);
});
