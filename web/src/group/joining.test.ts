import { describe, expect, it } from "vitest";

import type { NodeStatus } from "@cairn/client";

import { reduce } from "../state/reduce.js";
import { INITIAL, type State } from "../state/state.js";
import { isJoining, joining } from "./joining.js";

const asked = { open: false, role: null, removed: false, links: [], relays: [], totals: { blocks: 0, entries: 0, bytes: 0 } };

function at(more: Partial<NodeStatus>): State {
  return reduce(INITIAL, { type: "status", status: { ...asked, ...more } as unknown as NodeStatus });
}

/** The steps as marks, and what is said of the one that it waits for. */
function told(state: State): readonly [marks: string, more: string] {
  const steps = joining(state);
  return [steps.map((step) => ({ done: "x", now: "o", later: "." })[step.state]).join(""), steps.find((step) => step.state === "now")?.more ?? ""];
}

const link = { node: "b", path: "quic" } as NodeStatus["links"][number];

describe("coming into a group", () => {
  it("says what it waits for", () => {
    expect(told(at({ relays: [{ url: "wss://relay.example/", state: "waiting", reason: "no route" }] }))).toEqual(["o..", expect.stringContaining("relay.example cannot be reached: no route")]);
    expect(told(at({ relays: [{ url: "wss://relay.example/", state: "dialling" }] }))).toEqual(["o..", expect.stringContaining("Connecting to the relay relay.example")]);
    expect(told(at({}))).toEqual(["o..", expect.stringContaining("no relay")]);
    expect(told(at({ links: [link] }))).toEqual(["xo.", expect.stringContaining("Nobody of the group has answered yet")]);
    expect(told(reduce(at({ links: [link], totals: { blocks: 5, entries: 5, bytes: 5 } }), { type: "progress", progress: { done: 5, total: 90 } }))).toEqual(["xo.", "5 of 90 blocks"]);
    expect(told(at({ links: [link], totals: { blocks: 90, entries: 90, bytes: 5 } }))[0]).toBe("xxo");
  });

  it("is over for who has a role, is out again, or needs none", () => {
    expect([at({}), at({ role: "member" }), at({ removed: true }), at({ open: true }), INITIAL].map(isJoining)).toEqual([true, false, false, false, false]);
  });
});
