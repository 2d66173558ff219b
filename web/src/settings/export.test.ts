import { describe, expect, it } from "vitest";

import { peopleOf } from "../people.js";
import { EVE, header, IDA, wrote } from "../state/fixture.js";
import { blocksFile, jsonFile, markdown } from "./export.js";

const person = peopleOf(new Map([[IDA, "Ida"], [EVE, "Eve"]]), IDA);

describe("a ledger as a file", () => {
  it("of blocks is what cairn import reads", async () => {
    const pages = [
      { blocks: [btoa("one"), btoa("block 2")], cursor: "a", done: false },
      { blocks: [btoa("3")], cursor: "b", done: true },
    ];
    const asked: unknown[] = [];
    const client = { blocks: async (which: unknown) => (asked.push(which), pages.shift()!) };
    const file = new Uint8Array(await new Blob([...(await blocksFile(client, "cafe", () => {}))]).arrayBuffer());
    const text = new TextDecoder("latin1").decode(file);
    expect(text).toBe("cairn-blocks 1 cafe\n\0\0\0\x03one\0\0\0\x07block 2\0\0\0\x013\0\0\0\0\0\0\0\0\0\0\0\x03");
    expect(asked).toEqual([{ after: null }, { after: "a" }]);
  });

  it("of entries is JSON, also where there are none", async () => {
    const client = (entries: readonly unknown[]) => ({
      async *entries() {
        yield* entries as never[];
      },
    });
    const entries = [wrote(IDA, 1, "a"), wrote(EVE, 1, { any: ["json"] })];
    expect(JSON.parse((await jsonFile(client(entries), () => {})).join(""))).toEqual(entries);
    expect(JSON.parse((await jsonFile(client([]), () => {})).join(""))).toEqual([]);
  });

  it("of words is the conversation as it stands by now", () => {
    const note = `${IDA}-1-0`;
    const entries = [
      { ...header(IDA, 9, 0), kind: "genesis" as const, data: { founder: IDA } },
      wrote(IDA, 1, { type: "note", text: "first" }),
      wrote(IDA, 2, { type: "edit", of: note, text: "second" }),
      wrote(EVE, 1, { type: "reaction", of: note, emoji: "🌱" }),
      wrote(EVE, 2, "gone"),
      wrote(EVE, 3, { type: "removal", of: `${EVE}-2-0` }),
    ];
    expect(markdown(entries, "Us", person).join("")).toBe(
      "# Us\n\n## 2026-06-10\n\n*12:00 Ida began this ledger*\n\n**Ida** 12:00 *(edited)*\n\nsecond\n\n🌱 1\n\n**Eve** 12:00 *(removed)*\n",
    );
  });
});
