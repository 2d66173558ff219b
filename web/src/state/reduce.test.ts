import { describe, expect, it } from "vitest";

import type { LedgerInfo, Member, NodeStatus } from "@cairn/client";

import { EVE, header, IDA, notes, wrote } from "./fixture.js";
import { devices, forkedLanes } from "./group.js";
import { reduce } from "./reduce.js";
import { INITIAL, type State } from "./state.js";
import type { Event } from "./event.js";

const after = (...events: readonly Event[]): State => events.reduce(reduce, INITIAL);
const status = (more: Partial<NodeStatus>): Event => ({ type: "status", status: { node: IDA, open: false, members: 2, known_nodes: [IDA, EVE], frozen: [], ...more } as NodeStatus });
const member = (node: string, more: Partial<Member> = {}): Member => ({ node, name: null, role: "member", joined: "", by: null, removed: false, me: false, ...more });
const ledger: LedgerInfo = { id: "l", name: "Us", open: false, node: IDA, default: true };

describe("the state", () => {
  it("is the same value where nothing changes", () => {
    const state = after({ type: "fresh", entries: notes(0, 3), start: true, end: true });
    expect(reduce(state, { type: "arrived", entries: notes(0, 3) })).toBe(state);
    const { session, group } = reduce(state, { type: "arrived", entries: notes(3, 4) });
    expect([session, group]).toEqual([state.session, state.group]);
    expect(session).toBe(state.session);
    expect(group).toBe(state.group);
  });

  it("keeps nothing of one ledger in another", () => {
    const state = after({ type: "connected" }, { type: "ledgers", ledgers: [ledger] }, status({}), { type: "fresh", entries: notes(0, 3), start: true, end: true }, { type: "opened", ledger: "m" });
    expect(state.timeline).toEqual({ ...INITIAL.timeline, known: state.timeline.known, strays: state.timeline.strays, remarks: state.timeline.remarks, held: state.timeline.held, items: state.timeline.items });
    expect([state.timeline.items.length, state.group, state.session.connection]).toEqual([0, INITIAL.group, { state: "connecting" }]);
    expect(state.session.ledgers).toEqual([ledger]);
  });

  it("takes a ledger's name from where it is known first, and keeps it where it is not known", () => {
    const nameless = after({ type: "ledgers", ledgers: [{ ...ledger, name: "" }] });
    expect(reduce(nameless, status({ ledger: "l", name: "Us" })).session.ledgers).toEqual([ledger]);
    expect(reduce(after({ type: "ledgers", ledgers: [ledger] }), status({ ledger: "l", name: "" })).session.ledgers).toEqual([ledger]);
    expect(reduce(nameless, status({ ledger: "m", name: "Them" })).session).toBe(nameless.session);
  });

  it("tells of an exchange while it goes on", () => {
    const going = after({ type: "progress", progress: { done: 1, total: 3 } });
    expect(going.session.progress).toEqual({ done: 1, total: 3 });
    expect(reduce(going, { type: "progress", progress: { done: 3, total: 3 } }).session.progress).toBe(null);
    expect(reduce(going, { type: "disconnected", at: 0 }).session.progress).toBe(null);
  });
});

describe("names", () => {
  const named = (author: string, height: number, data: string) => ({ ...header(author, height), kind: "nickname" as const, data });

  it("are those of the members, or what entries say in an open ledger", () => {
    const state = after({ type: "fresh", entries: [named(EVE, 1, "Eve")], start: false, end: true }, { type: "members", members: [member(IDA, { name: "Ida" })] });
    expect([...state.group.names]).toEqual([[EVE, "Eve"], [IDA, "Ida"]]);
  });

  it("that are older stand back", () => {
    const state = after({ type: "fresh", entries: [named(EVE, 2, "Eva")], start: false, end: true }, { type: "older", entries: [named(EVE, 1, "Eve"), named(IDA, 1, "Ida")], start: true });
    expect(Object.fromEntries(state.group.names)).toEqual({ [EVE]: "Eva", [IDA]: "Ida" });
  });
});

describe("forks", () => {
  const frozen = [{ author: EVE, height: 3 }, { author: "f".repeat(64), height: 1 }];

  it("are lanes that are frozen though their author belongs; closed invites and removals are none", () => {
    expect(forkedLanes(after(status({ frozen }), { type: "members", members: [member(IDA), member(EVE)] }).group)).toEqual([EVE]);
    expect(forkedLanes(after(status({ frozen }), { type: "members", members: [member(IDA), member(EVE, { removed: true })] }).group)).toEqual([]);
    expect(forkedLanes(after(status({ frozen, open: true })).group)).toHaveLength(2);
  });

  it("are told of by events and by proofs in the ledger, each once", () => {
    const fork = { author: EVE, height: 3, blocks: ["a", "b"] };
    const proof = { ...wrote(IDA, 1, null), kind: "evidence" as const, data: fork, payload_hex: "" };
    expect(forkedLanes(after({ type: "fork", fork }, { type: "fresh", entries: [proof], start: true, end: true }).group)).toEqual([EVE]);
  });
});

it("an entry can be on all devices of those who belong, or of all who are known", () => {
  expect(devices(after({ type: "members", members: [member(IDA), member(EVE), member("f", { removed: true })] }).group)).toBe(2);
  expect(devices(after(status({ open: true, members: 0 })).group)).toBe(2);
  expect(devices(INITIAL.group)).toBe(1);
});
