import { describe, expect, test } from "vitest";

import { addressText, bytesText, counted, devicesOf, relaysOf, roundTripText, wayText } from "./devices.js";
import { idOf, link, peer, statusOf } from "./fixture.js";

describe("devices", () => {
  const status = statusOf({
    former_nodes: [idOf(9)],
    heads: [
      { author: idOf(0), height: 4, hash: "" },
      { author: idOf(1), height: 7, hash: "" },
      { author: idOf(5), height: 2, hash: "" },
      { author: idOf(9), height: 3, hash: "" },
    ],
    links: [link(1, "quic", { total: 10, done: 4, remaining: 3 }), link(8, "relay")],
    peers: [peer(4, null), peer(3, "mesh"), peer(2, "relay"), peer(1, "quic"), peer(8, "relay")],
  });
  const devices = devicesOf(status);

  test("all others are there, nearest first; this one, who it was before, and relays are none of them", () => {
    expect(devices.map(({ node }) => node)).toEqual([1, 2, 3, 4, 5].map(idOf));
    expect(devices.map(({ way }) => way)).toEqual(["direct", "relay", "mesh", "none", "none"]);
    expect(counted(devices)).toEqual({ direct: 1, relay: 1, mesh: 1, none: 2 });
  });

  test("of a linked one it is known how far it is and what is still under way", () => {
    expect(devices[0]).toMatchObject({ roundTrip: 12_000, behind: 9, wrote: 7, transport: "quic" });
    expect(devices[1]).toMatchObject({ roundTrip: null, behind: null, wrote: 0 });
  });

  test("when a device was seen is said of those that are away", () => {
    expect(devices[2]!.seen).toBeNull();
    expect(devices[3]!.seen).not.toBeNull();
  });

  test("a link counts before presence has told of it", () => {
    expect(devicesOf(statusOf({ links: [link(1, "websocket")] }))[0]).toMatchObject({ way: "direct", transport: "websocket" });
    expect(devicesOf(statusOf({ links: [link(1, "quic", { node: null })] }))).toEqual([]);
  });
});

test("relays have their state, their reason and the time to them", () => {
  const status = statusOf({
    links: [link(8, "relay", { round_trip: 40_000 })],
    relays: [
      { url: "wss://relay.example/ledger/x", state: "connected", link: 8 },
      { url: "no address", state: "waiting", reason: "refused" },
    ],
  });
  expect(relaysOf(status)).toMatchObject([
    { host: "relay.example", state: "connected", roundTrip: 40_000, reason: null },
    { host: "no address", state: "waiting", roundTrip: null, reason: "refused" },
  ]);
});

test("addresses are said without keys and schemes", () => {
  expect(addressText("iroh:947ba5?ip=192.168.1.5:4713&ip=[2001:db8::1]:4713")).toBe("192.168.1.5:4713, [2001:db8::1]:4713 (QUIC)");
  expect(addressText("iroh:947ba5?relay=https://r.example")).toBe("QUIC, through routers");
  expect(addressText("ws://192.168.1.5:3000")).toBe("192.168.1.5:3000");
});

test("numbers are said as people say them", () => {
  expect([400, 1_240, 84_000].map(roundTripText)).toEqual(["under 1 ms", "1.2 ms", "84 ms"]);
  expect([12, 1_500, 250_000_000].map(bytesText)).toEqual(["12 bytes", "1.5 KB", "250 MB"]);
  expect(wayText({ way: "direct", transport: "quic" })).toBe("direct (QUIC)");
  expect(wayText({ way: "mesh", transport: null })).toBe("over other devices");
});
