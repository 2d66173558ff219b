import type { NodeStatus } from "@cairn/client";
import { describe, expect, test } from "vitest";

import { adviceOn } from "./advice.js";
import { link, peer, statusOf } from "./fixture.js";

const WITH_OTHERS = { peers: [peer(1, "quic")], links: [link(1, "quic")] };

function titles(some: Partial<NodeStatus>): readonly string[] {
  return adviceOn(statusOf(some), true).map(({ title }) => title);
}

describe("what is wrong", () => {
  test("with others on line and nothing to mend all is well", () => {
    const [only, ...more] = adviceOn(statusOf({ ...WITH_OTHERS, held: { height: 4, nodes: 1 } }), true);
    expect(only).toMatchObject({ grade: "good", text: "One other device is on line, and one of those linked to this one holds everything you wrote." });
    expect(more).toEqual([]);
  });

  test("a page without its node says so and nothing else, for all else may be otherwise by now", () => {
    const told = adviceOn(statusOf({ repairing: 5 }), false);
    expect(told.map(({ title }) => title)).toEqual(["This page has lost its device"]);
  });

  test("alone among known devices is another thing than knowing none", () => {
    expect(titles({ relays: [{ url: "wss://r", state: "dialling" }] })).toEqual(["This device knows no others yet"]);
    const away = statusOf({ peers: [peer(1, null)], held: { height: 3, nodes: 0 }, relays: [{ url: "wss://r", state: "dialling" }] });
    const [told] = adviceOn(away, true);
    expect(told).toMatchObject({ grade: "warning", title: "Nobody else is on line" });
    expect(told!.text).toContain("on this device alone");
  });

  test("one relay of two is a note, none of two a warning with both reasons", () => {
    const waiting = { state: "waiting", reason: "connection refused" } as const;
    const one = { ...WITH_OTHERS, relays: [{ url: "wss://a.example", state: "connected", link: 3 }, { url: "wss://b.example", ...waiting }] } as const;
    expect(adviceOn(statusOf(one), true)).toMatchObject([{ grade: "note", title: "The relay b.example cannot be reached" }]);
    const both = { ...WITH_OTHERS, relays: [{ url: "wss://a.example", ...waiting }, { url: "wss://b.example", ...waiting }] };
    const [told] = adviceOn(statusOf(both), true);
    expect(told).toMatchObject({ grade: "warning", title: "No relay can be reached" });
    expect(told!.text).toContain("a.example: Connection refused. b.example: Connection refused.");
    expect(told!.text).toContain("Devices in the same network still reach one another.");
  });

  test("what keeps one from writing comes first", () => {
    expect(titles({ restoring: true, relays: [{ url: "wss://r", state: "waiting", reason: "" }] })[0]).toBe(
      "The key of this device was restored from a backup",
    );
    expect(titles({ ...WITH_OTHERS, repairing: 2, parked: { blocks: 1, bytes: 9 } })).toEqual([
      "2 blocks of this device are damaged or missing",
      "One block waits for others",
    ]);
    expect(titles({ open: false, removed: true })[0]).toBe("This device is out of this ledger");
    expect(titles({ open: false, ...WITH_OTHERS })).toEqual(["This device is not in the group yet"]);
  });

  test("what to do depends on who is there", () => {
    const text = (some: Partial<NodeStatus>): string => adviceOn(statusOf({ restoring: true, ...some }), true)[0]!.text;
    expect(text({})).toContain("Bring another device");
    expect(text(WITH_OTHERS)).toContain("by itself");
  });

  test("a reason of a megabyte is cut", () => {
    const relays = [{ url: "wss://r", state: "waiting", reason: "x".repeat(1e6) }] as const;
    for (const { text } of adviceOn(statusOf({ relays }), true)) expect(text.length).toBeLessThan(600);
  });
});
