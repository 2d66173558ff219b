import { describe, expect, it } from "vitest";

import type { Entry, Json } from "@cairn/client";

import { Chunks } from "../state/chunks.js";
import { EVE, header, IDA, wrote } from "../state/fixture.js";
import { itemOf } from "../state/timeline.js";
import { settingOf } from "./rows.js";

/** The settings as letters: (d)ay, (u)nread, (h)ead. */
function settings(entries: readonly Entry<Json>[], unread?: string): readonly string[] {
  const items = Chunks.of(entries.map(itemOf));
  return entries.map((_, place) => {
    const { day, unread: marked, head } = settingOf(items, place, unread);
    return `${day ? "d" : ""}${marked ? "u" : ""}${head ? "h" : ""}`;
  });
}

describe("neighbours", () => {
  it("stand together when one person writes them within a short time", () => {
    expect(settings([wrote(IDA, 1, "a"), wrote(IDA, 2, "b"), wrote(EVE, 3, "c"), wrote(IDA, 4, "d")])).toEqual(["dh", "", "h", "h"]);
    expect(settings([wrote(IDA, 1, "a", 0), wrote(IDA, 2, "b", 299), wrote(IDA, 3, "c", 600)])).toEqual(["dh", "", "h"]);
  });

  it("are divided by a day, by what was not read, by a reply and by a line about the group", () => {
    const day = 86_400;
    expect(settings([wrote(IDA, 1, "a"), wrote(IDA, 2, "b", day)])).toEqual(["dh", "dh"]);
    expect(settings([wrote(IDA, 1, "a"), wrote(IDA, 2, "b")], `${IDA}-2-0`)).toEqual(["dh", "uh"]);
    expect(settings([wrote(IDA, 1, "a"), wrote(IDA, 2, { type: "note", text: "b", reply_to: `${IDA}-1-0` })])).toEqual(["dh", "h"]);
    const joined = { ...header(EVE, 2), kind: "join" as const, data: { invite: "00" } };
    expect(settings([wrote(IDA, 1, "a"), joined, wrote(IDA, 3, "b")])).toEqual(["dh", "h", "h"]);
  });

  it("are not divided by what is not shown", () => {
    const reaction = wrote(EVE, 2, { type: "reaction", of: `${IDA}-1-0`, emoji: "🌱" });
    expect(settings([wrote(IDA, 1, "a"), reaction, wrote(IDA, 3, "b")])[2]).toBe("");
  });
});
