import { expect, test } from "vitest";

import type { NodeStatus } from "@cairn/client";

import { emptyGroup, holders, othersOnline } from "./group.js";

test("a relay is no device on line, and who is away is none", () => {
  const peer = (node: string, online: boolean) => ({ node, online, addresses: [], path: null, seen: null });
  const link = { link: 1, node: "relay", path: "relay" };
  const status = { links: [link], peers: [peer("relay", true), peer("ben", true), peer("mira", false)] } as unknown as NodeStatus;
  expect(othersOnline(status)).toBe(1);
  expect(othersOnline(null)).toBe(0);
});

test("a relay that is linked can hold an entry beside the devices, one that is not cannot", () => {
  const links = [
    { link: 1, node: "relay", path: "relay" },
    { link: 2, node: null, path: "relay" },
    { link: 3, node: "ben", path: "quic" },
  ];
  const status = { links, members: 3, open: false, known_nodes: [] } as unknown as NodeStatus;
  expect(holders({ ...emptyGroup(), status })).toBe(4);
  expect(holders(emptyGroup())).toBe(1);
});
