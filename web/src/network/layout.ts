/** Where devices and relays stand on the map, and what runs between them. */

import type { Device, Relay, Way } from "./devices.js";

/** A place on the map, in px. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** A device on the map. */
export interface Place extends Point {
  readonly device: Device;
}

/** A relay on the map. */
export interface Hub extends Point {
  readonly relay: Relay;
}

/** A line of the map. */
export interface Path {
  readonly key: string;
  readonly way: Exclude<Way, "none">;
  readonly from: Point;
  readonly to: Point;
  /** µs there and back; where it is drawn is `at`. */
  readonly roundTrip: number | null;
  readonly at: Point;
  /** Whether the relay at its end is connected. */
  readonly live: boolean;
}

/** The map. */
export interface NetworkMap {
  readonly centre: Point;
  readonly places: readonly Place[];
  readonly hubs: readonly Hub[];
  readonly paths: readonly Path[];
  /** Devices for which there is no room; they are in the table. */
  readonly left: number;
}

/** px around the map for names. */
export const MARGIN = { x: 58, y: 46 };
/** px from the middle of this device, of another one, and of a relay to where lines begin. */
const EDGE = { me: 36, device: 26, relay: 19 };
/** px of the way around the map that a device and its name take. */
const APART = 84;
/** Into how many steps the ring is divided to measure it. */
const STEPS = 360;
/** How far relays stand from the middle, of 1. */
const HUB = 0.52;
/** How far a device that is off line stands outside of those that are on line. */
const INNER = 0.88;

/** Lays out a map of some size: this device in the middle, the others around it in the order in which they come. */
export function layOut(devices: readonly Device[], relays: readonly Relay[], width: number, height: number): NetworkMap {
  const centre = { x: width / 2, y: height / 2 };
  const reach = { x: Math.max(40, centre.x - MARGIN.x), y: Math.max(40, centre.y - MARGIN.y) };
  const shown = devices.slice(0, roomFor(reach));
  const angles = anglesOf(shown.length, reach);
  const places = shown.map((device, index) => ({
    device,
    ...around(centre, reach, angles[index]!, device.way === "none" ? 1 : INNER),
  }));
  const hubs = hubsOf(relays, shown, angles, centre, reach);
  return { centre, places, hubs, paths: pathsOf(places, hubs, centre), left: devices.length - shown.length };
}

/** Devices on the ring: as many as have room for their names. */
function roomFor(reach: Point): number {
  return Math.max(4, Math.floor(measured(reach).at(-1)! / APART));
}

/** Where the ring begins: at the end of its longer axis, where a line to the middle has room for a time. */
function beginning({ x, y }: Point): number {
  return x >= y ? Math.PI : -Math.PI / 2;
}

/** Equally far from one another along the ring, clockwise from its beginning. */
function anglesOf(count: number, reach: Point): readonly number[] {
  const lengths = measured(reach);
  const whole = lengths.at(-1)!;
  return Array.from({ length: count }, (_, index) => {
    const step = lengths.findIndex((length) => length >= (whole * index) / count);
    return beginning(reach) + (2 * Math.PI * step) / STEPS;
  });
}

/** The way along the ring from its beginning up to each of its steps, in px. */
function measured(reach: Point): readonly number[] {
  const lengths = [0];
  const [along, across] = [Math.max(reach.x, reach.y), Math.min(reach.x, reach.y)];
  const step = (2 * Math.PI) / STEPS;
  for (let index = 1; index <= STEPS; index += 1) {
    const middle = (index - 0.5) * step;
    lengths.push(lengths[index - 1]! + step * Math.hypot(along * Math.sin(middle), across * Math.cos(middle)));
  }
  return lengths;
}

function around(centre: Point, reach: Point, angle: number, far: number): Point {
  return { x: centre.x + reach.x * far * Math.cos(angle), y: centre.y + reach.y * far * Math.sin(angle) };
}

/** Relays stand in front of the devices that are reached over them; without such devices in the first gap of the ring. */
function hubsOf(
  relays: readonly Relay[],
  devices: readonly Device[],
  angles: readonly number[],
  centre: Point,
  reach: Point,
): readonly Hub[] {
  const over = angles.filter((_, index) => devices[index]!.way === "relay");
  const gap = beginning(reach) + Math.PI / Math.max(2, devices.length);
  const first = over[0] ?? gap;
  const last = over.at(-1) ?? gap;
  return relays.map((relay, index) => {
    const share = (index + 0.5) / relays.length;
    // Without devices behind them, and where those stand close, relays still need a part of the ring each.
    const wide = Math.max(last - first, Math.min(2 * Math.PI, 0.9 * relays.length));
    const angle = (first + last) / 2 + wide * (share - 0.5);
    return { relay, ...around(centre, reach, angle, HUB) };
  });
}

function pathsOf(places: readonly Place[], hubs: readonly Hub[], centre: Point): readonly Path[] {
  const live = hubs.filter(({ relay }) => relay.state === "connected");
  const toHubs = hubs.map((hub) =>
    path({
      key: `relay ${hub.relay.url}`,
      way: "relay",
      ...between(centre, EDGE.me, hub, EDGE.relay),
      roundTrip: hub.relay.roundTrip,
      live: hub.relay.state === "connected",
    }),
  );
  const toPlaces = places.flatMap((place): readonly Path[] => {
    const { node, way, roundTrip } = place.device;
    if (way === "none") return [];
    // Which of several relays a device is at is not known: the nearest one on the map stands for them.
    const hub = way === "relay" ? nearest(live, place) : null;
    const ends = hub === null ? between(centre, EDGE.me, place, EDGE.device) : between(hub, EDGE.relay, place, EDGE.device);
    return [path({ key: node, way, ...ends, roundTrip, live: true })];
  });
  return [...toHubs, ...toPlaces];
}

function path(some: Omit<Path, "at">): Path {
  const { from, to } = some;
  return { ...some, at: { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 } };
}

/** The line between two marks, from the edge of one to the edge of the other. */
function between(a: Point, edgeOfA: number, b: Point, edgeOfB: number): { readonly from: Point; readonly to: Point } {
  const length = Math.max(1, Math.hypot(b.x - a.x, b.y - a.y));
  const at = (px: number): Point => ({ x: a.x + ((b.x - a.x) * px) / length, y: a.y + ((b.y - a.y) * px) / length });
  return { from: at(Math.min(edgeOfA, length / 2)), to: at(Math.max(length - edgeOfB, length / 2)) };
}

function nearest(hubs: readonly Hub[], to: Point): Hub | null {
  const far = (hub: Hub): number => Math.hypot(hub.x - to.x, hub.y - to.y);
  return hubs.reduce<Hub | null>((best, hub) => (best === null || far(hub) < far(best) ? hub : best), null);
}
