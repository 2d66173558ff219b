import { describe, expect, it } from "vitest";

import { formatRoute, parseHash } from "./route.js";

describe("the address", () => {
  it.each([
    ["", { ledger: null, view: "talk", entry: null }],
    ["#/", { ledger: null, view: "talk", entry: null }],
    ["#/ab12", { ledger: "ab12", view: "talk", entry: null }],
    ["#/ab12/history", { ledger: "ab12", view: "history", entry: null }],
    ["#/ab12/talk/cd-1-0", { ledger: "ab12", view: "talk", entry: "cd-1-0" }],
    ["#/ab12/nowhere", { ledger: "ab12", view: "talk", entry: null }],
    ["#/%zz", { ledger: "%zz", view: "talk", entry: null }],
  ] as const)("%s", (hash, route) => expect(parseHash(hash)).toEqual({ type: "route", route }));

  it("is read as it was written", () => {
    const route = { ledger: "ab/12", view: "network", entry: "x-1-0" } as const;
    expect(parseHash(formatRoute(route))).toEqual({ type: "route", route });
  });

  it("brings tokens and invites", () => {
    expect(parseHash("#token=00ff")).toEqual({ type: "token", token: "00ff" });
    expect(parseHash("#join=a-b_c")).toEqual({ type: "join", token: "a-b_c" });
  });
});
