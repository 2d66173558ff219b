import { describe, expect, it } from "vitest";

import type { Member, NodeStatus, Role } from "@cairn/client";

import { EVE, IDA, wrote } from "../state/fixture.js";
import { emptyGroup, type Group } from "../state/group.js";
import { itemOf } from "../state/timeline.js";
import { closedBecause, possibleDeeds } from "./deed.js";
import { said } from "./said.js";

function group(role: Role | null, more: Partial<NodeStatus> = {}): Group {
  const members = [{ node: IDA, role: role ?? "member" }, { node: EVE, role: "member" }] as unknown as readonly Member[];
  return { ...emptyGroup(), members, status: { node: IDA, open: false, role, removed: false, ...more } as NodeStatus };
}

function possible(author: string, group: Group): string {
  const item = itemOf(wrote(author, 1, "text"));
  return possibleDeeds(item, said(item, []), group).join(" ");
}

describe("what one may do with a note", () => {
  it("depends on whose it is, and on one's role", () => {
    expect(possible(IDA, group("member"))).toBe("react reply copy details edit remove erase");
    expect(possible(EVE, group("member"))).toBe("react reply copy details");
    expect(possible(EVE, group("admin"))).toBe("react reply copy details erase");
    expect(possible(EVE, group("owner"))).toBe("react reply copy details erase");
    expect(possible(IDA, group("reader"))).toBe("copy details");
    expect(possible(EVE, group(null, { open: true }))).toBe("react reply copy details");
  });

  it("is little where nothing is left of it", () => {
    const { data: _, ...header } = wrote(EVE, 1, "text");
    const erased = itemOf({ ...header, data: null, erased: { by: EVE, at: "", entry: "" } });
    expect(possibleDeeds(erased, said(erased, []), group("owner"))).toEqual(["details"]);
  });

  it("says why one cannot write", () => {
    expect(closedBecause(group("member"))).toBe(null);
    expect(closedBecause(group(null, { open: true }))).toBe(null);
    expect(closedBecause(group("reader"))).toContain("reader");
    expect(closedBecause(group("member", { removed: true }))).toContain("not in this group any more");
    expect(closedBecause(group(null))).toContain("as soon as you are in");
  });
});
