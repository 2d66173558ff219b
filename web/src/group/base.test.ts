import { expect, test } from "vitest";

import { inviteBase } from "./base.js";

const relay = (url: string) => ({ url, state: "connected", link: 1 }) as const;

test("a page that others reach is where its invites lead", () => {
  expect(inviteBase("http://192.168.1.5:3000", [relay("wss://relay.example")])).toEqual({ base: "http://192.168.1.5:3000", local: false });
});

test.each(["http://127.0.0.1:3000", "http://localhost:3000", "http://[::1]:3000"])("from %s they lead to a relay that others reach", (origin) => {
  const relays = [relay("ws://127.0.0.1:8787"), { url: "wss://away.example", state: "dialling" } as const, relay("wss://relay.example")];
  expect(inviteBase(origin, relays)).toEqual({ base: "https://relay.example", local: false });
});

test("with no such relay they lead here, and the person is told", () => {
  expect(inviteBase("http://127.0.0.1:3000", [relay("ws://localhost:8787")])).toEqual({ base: "http://127.0.0.1:3000", local: true });
});
