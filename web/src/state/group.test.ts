import { expect, test } from "vitest";

import type { NodeStatus } from "@cairn/client";

import { othersOnline } from "./group.js";

test("a relay is no device on line, and who is away is none", () => {
  const peer = (node: string, online: boolean) => ({ node, online, addresses: [], path: null, seen: null });
  const link = { link: 1, node: "relay", path: "relay" };
  const status = { links: [link], peers: [peer("relay", true), peer("ben", true), peer("mira", false)] } as unknown as NodeStatus;
  expect(othersOnline(status)).toBe(1);
  expect(othersOnline(null)).toBe(0);
});
