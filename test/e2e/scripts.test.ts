/** The scripts that earlier systems' users have, and the examples of the READMEs, under Node.js and under Bun. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { describe, expect } from "vitest";

import { test } from "./fixture.js";
import { root } from "./harness.js";

const runtimes = {
  "Node.js": [process.execPath, "--import", "tsx"],
  Bun: [join(root, "node_modules/.bin/bun"), "run"],
} as const;

describe.each(Object.entries(runtimes))("under %s", (_name, [command, ...flags]) => {
  test("the listener gets every answer that it expects", async ({ world }) => {
    const node = await world.node();
    const listener = world.run("listener", command, [...flags, "client/examples/listener.ts", node.url]);
    await listener.line(/^connected /);
    expect(await json(listener.line(/^auth (.*)$/))).toEqual({ token: "abcd" });
    const added = await json<{ id: string; data: object }>(listener.line(/^ledger_entry_added (.*)$/));
    expect(added.data).toEqual({ message: "hello", timestamp: expect.any(Number) });
    expect(await json(listener.line(/^ledger_entries (.*)$/))).toEqual([added]);
    const { nodes } = await json<{ nodes: string[] }>(listener.line(/^known_nodes (.*)$/));
    expect(nodes).toEqual([added.id.split("-")[0]]);
    expect(await json(listener.line(/^pong (.*)$/))).toEqual({ timestamp: expect.any(Number) });
    expect(listener.output).not.toMatch(/^error /m);
  });

  test("the peer is listed by the relay, and hears of other peers", async ({ world }) => {
    const relay = await world.relay();
    const first = world.run("peer", command, [...flags, "client/examples/peer.ts", relay.url]);
    const list = JSON.parse((await first.line(/"NodeListResponse"/)).input!) as { payload: { nodes: string[] } };
    expect(list.payload.nodes).toHaveLength(1);
    const second = world.run("peer", command, [...flags, "client/examples/peer.ts", relay.url]);
    await second.line(new RegExp(`"NodeAnnounce".*${list.payload.nodes[0]}`));
    await first.line(/"NodeAnnounce"/);
  });

  test.for(["README.md", "client/README.md"])("the example of %s works", async (file, { world }) => {
    const node = await world.node();
    const readme = await readFile(join(root, file), "utf8");
    const example = /```ts\n(.*?)```/s.exec(readme)![1]!;
    const script = join(await world.directory("example"), "example.mts");
    const client = JSON.stringify(join(root, "client/src/index.ts"));
    await writeFile(script, example.replace('"@cairn/client"', client).replace("http://localhost:3000", node.url));
    const run = world.run("example", command, [...flags, script]);
    await run.line(/^\d{4}-\d\d-\d\dT.* a stone on the cairn$/);
  });
});

async function json<T = unknown>(line: Promise<RegExpMatchArray>): Promise<T> {
  return JSON.parse((await line)[1]!) as T;
}
