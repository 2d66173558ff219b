import { describe, expect, test } from "vitest";

import { devicesOf, relaysOf, type Device } from "./devices.js";
import { idOf, link, peer, statusOf } from "./fixture.js";
import { layOut } from "./layout.js";

const SIZES = [
  [320, 360],
  [900, 460],
] as const;

function devices(count: number): readonly Device[] {
  const ways = ["relay", "mesh", null];
  return devicesOf(statusOf({ peers: Array.from({ length: count }, (_, index) => peer(index + 1, ways[index % 3]!)) }));
}

describe("the map", () => {
  test("everything is inside of it and no two devices lie on each other, however many there are", () => {
    for (const [width, height] of SIZES) {
      for (const count of [0, 1, 2, 5, 12, 300]) {
        const map = layOut(devices(count), [], width, height);
        expect(map.places.length + map.left).toBe(count);
        for (const [index, { x, y }] of map.places.entries()) {
          expect(x).toBeGreaterThanOrEqual(20);
          expect(x).toBeLessThanOrEqual(width - 20);
          expect(y).toBeGreaterThanOrEqual(20);
          expect(y).toBeLessThanOrEqual(height - 20);
          for (const other of map.places.slice(index + 1)) {
            expect(Math.hypot(other.x - x, other.y - y), `${count} devices on ${width} px`).toBeGreaterThan(56);
          }
        }
      }
    }
  });

  test("who is on line has a line, who is not has none", () => {
    const map = layOut(devices(6), [], 900, 460);
    const lined = new Set(map.paths.map(({ key }) => key));
    for (const { device } of map.places) expect(lined.has(device.node)).toBe(device.way !== "none");
  });

  test("a direct link goes to the middle and says its time, one over a relay goes to a relay that is connected", () => {
    const status = statusOf({
      links: [link(1, "quic"), link(8, "relay", { round_trip: 30_000 })],
      peers: [peer(1, "quic"), peer(2, "relay")],
      relays: [
        { url: "wss://a.example", state: "waiting", reason: "refused" },
        { url: "wss://b.example", state: "connected", link: 8 },
      ],
    });
    const map = layOut(devicesOf(status), relaysOf(status), 900, 460);
    const of = (key: string): (typeof map.paths)[number] => map.paths.find((path) => path.key === key)!;
    const far = (a: { x: number; y: number }, b: { x: number; y: number }): number => Math.hypot(a.x - b.x, a.y - b.y);
    expect(of(idOf(1))).toMatchObject({ way: "direct", roundTrip: 12_000 });
    expect(far(of(idOf(1)).from, map.centre)).toBeLessThan(40);
    expect(of(idOf(2))).toMatchObject({ way: "relay", roundTrip: null });
    expect(far(of(idOf(2)).from, map.hubs[1]!)).toBeLessThan(20);
    expect(of("relay wss://a.example").live).toBe(false);
    expect(of("relay wss://b.example")).toMatchObject({ live: true, roundTrip: 30_000 });
  });

  test("devices keep their places when only times change", () => {
    const at = (roundTrip: number): unknown =>
      layOut(devicesOf(statusOf({ links: [link(1, "quic", { round_trip: roundTrip }), link(2, "quic")] })), [], 900, 460).places.map(
        ({ x, y }) => ({ x, y }),
      );
    expect(at(10)).toEqual(at(99_000));
  });

  test("relays do not lie on each other or on the middle", () => {
    for (const [width, height] of SIZES) {
      const relays = relaysOf(
        statusOf({ relays: [1, 2, 3].map((each) => ({ url: `wss://r${each}.example`, state: "dialling" as const })) }),
      );
      const { hubs, centre } = layOut(devices(4), relays, width, height);
      for (const [index, hub] of hubs.entries()) {
        expect(Math.hypot(hub.x - centre.x, hub.y - centre.y)).toBeGreaterThan(40);
        for (const other of hubs.slice(index + 1)) expect(Math.hypot(hub.x - other.x, hub.y - other.y)).toBeGreaterThan(40);
      }
    }
  });
});
