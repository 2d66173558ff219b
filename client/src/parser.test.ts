import { Encoder, PacketType } from "socket.io-parser";
import { expect, test } from "vitest";

import { Json, parser } from "./parser.js";

const [ours, library] = [new parser.Encoder(), new Encoder()];

test.for([
  [[]],
  [[null]],
  [[{ text: 'a "b" \\ \u2028 \ud83d\ude00 \ud800', list: [1, [], {}] }]],
  [[[1, "two", { three: 3 }]]],
  [["two", { arguments: true }]],
])("arguments that are JSON already go out as the library writes them: %j", ([args]) => {
  const json = args!.map((arg) => JSON.stringify(arg)).join(",");
  for (const where of [{ nsp: "/" }, { nsp: "/", id: 7 }, { nsp: "/ledger/abc", id: 0 }, { nsp: "/ledger/abc" }]) {
    const packet = { type: PacketType.EVENT, ...where };
    expect(ours.encode({ ...packet, data: ["event", new Json(json)] })).toEqual(library.encode({ ...packet, data: ["event", ...args!] }));
  }
});

test("all else is the library's", () => {
  for (const packet of [
    { type: PacketType.CONNECT, nsp: "/", data: { token: "t" } },
    { type: PacketType.DISCONNECT, nsp: "/ledger/abc" },
    { type: PacketType.EVENT, nsp: "/", data: ["listen"], id: 3 },
    { type: PacketType.ACK, nsp: "/", data: [{ ok: true }], id: 3 },
  ])
    expect(ours.encode(packet)).toEqual(library.encode(packet));
});
