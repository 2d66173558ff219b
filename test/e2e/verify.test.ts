/** What a client that checks makes of nodes that lie. Everything passes a real node, and then whoever changes it. */

import { expect } from "vitest";

import { CairnError, connect, type Client, type ConnectOptions, type DataEntry, type Entry, type Finding } from "../../client/src/index.js";
import { privateTest, test } from "./fixture.js";
import { until, type World } from "./harness.js";
import { client, converged, group } from "./ledger.js";
import { Liar, type Lie } from "./liar.js";

interface Note {
  readonly text: string;
}

type Named = Entry<Note> & { readonly data: Note };

/** Fifty notes on a node, one block each, and a liar in front of it. */
async function told(world: World): Promise<{ readonly honest: Client<Note>; readonly notes: readonly DataEntry<Note>[]; readonly liar: Liar }> {
  const node = await world.node();
  const honest = client<Note>(world, node);
  const notes: DataEntry<Note>[] = [];
  for (let number = 0; number < 50; number++) notes.push(await honest.append({ text: `note ${number}` }));
  return { honest, notes, liar: await Liar.before(world, node) };
}

function checking<T>(world: World, url: string, options: ConnectOptions = { verify: true }): Client<T> {
  const connected = connect<T>(url, options);
  world.onClose(() => connected.close());
  return connected;
}

/** What is wrong, by the error that a call or a subscription ended with. */
async function finding(failed: Promise<unknown>): Promise<Finding> {
  const error = await failed.then(
    (value) => value,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(CairnError);
  expect(error).toMatchObject({ code: "unproven" });
  return (error as CairnError).cause as Finding;
}

/** Applies a lie to the lists of entries in pages, in batches, and as they come live. */
function ofEntries(lie: (entries: Named[]) => Entry<Note>[]): Lie {
  return ({ event, value }) => {
    if (event === "ledger_entries_added") return [lie(value as Named[])];
    const list = (value as { readonly entries?: Named[] } | null)?.entries;
    return list === undefined ? [value] : [{ ...(value as object), entries: lie(list) }];
  };
}

/** The lies, and what each has to be told of. */
const LIES: readonly (readonly [name: string, lie: (entries: Named[]) => Entry<Note>[], what: string])[] = [
  [
    "alters content",
    (entries) => entries.map((entry) => (entry.data?.text === "note 20" ? ({ ...entry, data: { text: "note 21" } } as Entry<Note>) : entry)),
    "content",
  ],
  ["drops an entry in the middle", (entries) => entries.filter((entry) => entry.data?.text !== "note 20"), "one is missing"],
  [
    "reorders",
    (entries) => {
      const index = entries.findIndex((entry) => entry.data?.text === "note 20");
      if (index < 0 || index + 1 >= entries.length) return entries;
      return entries.with(index, entries[index + 1]!).with(index + 1, entries[index]!);
    },
    "out of order",
  ],
  [
    "puts its words into another's mouth",
    (entries) => entries.map((entry) => (entry.data?.text === "note 20" ? { ...entry, creator_node_id: "ab".repeat(32) } : entry)),
    "not what was signed",
  ],
  [
    "invents an entry",
    (entries) => entries.flatMap((entry) => (entry.data?.text === "note 20" ? [entry, { ...entry, id: entry.id.replace(/-\d+$/, "-7") }] : [entry])),
    "belongs",
  ],
  [
    "says that something was erased",
    (entries) =>
      entries.map((entry) =>
        entry.data?.text === "note 20" ? ({ ...entry, data: null, erased: { by: entry.creator_node_id, at: entry.timestamp, entry: entry.id } } as Entry<Note>) : entry,
      ),
    "nobody has signed that",
  ],
];

test.for(LIES)("in a page of the ledger, a node that %s is caught", async ([, lie, what], { world }) => {
  const { notes, liar } = await told(world);
  liar.lie = ofEntries(lie);
  const careful = checking<Note>(world, liar.url);
  const found = await finding(careful.newest(100));
  expect(found.what).toContain(what);
  expect([notes[20]!.id, notes[21]!.id, `${notes[20]!.id.replace(/-\d+$/, "-7")}`]).toContain(found.entry);
});

test.for(LIES)("in a subscription, a node that %s is caught before its lie is shown", async ([, lie, what], { world }) => {
  const { liar } = await told(world);
  liar.lie = ofEntries(lie);
  const shown: string[] = [];
  const subscription = checking<Note>(world, liar.url).subscribe((entry) => void shown.push(entry.kind));
  expect((await finding(subscription.closed)).what).toContain(what);
  // A batch is shown in whole or not at all.
  expect(shown).toEqual([]);
});

test("live, each lie is caught as it arrives, and what came before it was shown", async ({ world }) => {
  const { honest, liar } = await told(world);
  for (const [name, lie] of LIES.filter(([name]) => name !== "drops an entry in the middle" && name !== "reorders")) {
    const careful = checking<Note>(world, liar.url);
    liar.lie = ({ value }) => [value];
    const shown: string[] = [];
    const subscription = careful.subscribe((entry) => void (entry.kind === "data" && shown.push((entry.data as Note).text)));
    await subscription.caughtUp;
    liar.lie = ofEntries((entries) => lie(entries));
    await honest.append({ text: `before ${name}` });
    await honest.append({ text: "note 20" });
    await finding(subscription.closed);
    expect(shown.slice(shown.lastIndexOf(`before ${name}`))).toEqual([`before ${name}`]);
    careful.close();
  }
});

test("live, an entry that was kept back is missed when the next one comes", async ({ world }) => {
  const { honest, liar } = await told(world);
  const careful = checking<Note>(world, liar.url);
  const subscription = careful.subscribe(() => {});
  await subscription.caughtUp;
  liar.lie = ({ event, value }) => (event === "ledger_entries_added" && (value as Named[])[0]?.data?.text === "kept back" ? [] : [value]);
  await honest.append({ text: "kept back" });
  await honest.append({ text: "after it" });
  expect((await finding(subscription.closed)).what).toContain("one is missing");
});

test("a byte that is changed on the way is found, with the block that it was in", async ({ world }) => {
  const { honest, liar } = await told(world);
  expect((await checking<Note>(world, liar.url, {}).verify()).finding).toBeNull();
  const { blocks } = await honest.blocks({ after: null });
  for (const target of [0, 20, blocks.length - 1]) {
    const bytes = Buffer.from(blocks[target]!, "base64");
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    liar.lie = ({ value }) => {
      const { page } = value as { readonly page?: { readonly blocks: readonly string[] } };
      if (page === undefined) return [value];
      return [{ ...(value as object), page: { ...page, blocks: page.blocks.with(target, bytes.toString("base64")) } }];
    };
    const { finding, blocks: proved } = await checking<Note>(world, liar.url, {}).verify();
    expect(finding?.block).toBe(target + 1);
    expect(proved).toBe(target);
  }
});

test("blocks that are kept back are missed", async ({ world }) => {
  const { liar } = await told(world);
  liar.lie = ({ value }) => {
    const { page } = value as { readonly page?: { readonly blocks: readonly string[] } };
    return [page === undefined ? value : { ...(value as object), page: { ...page, blocks: page.blocks.slice(0, -1) } }];
  };
  const { finding } = await checking<Note>(world, liar.url, {}).verify();
  expect(finding?.what).toMatch(/says that it has \d+ entries in \d+ blocks, and gave \d+ in \d+/);
});

privateTest("in a group, what honest nodes show is proved, sealed and erased entries included", async ({ world }) => {
  const relay = await world.relay();
  const { nodes, clients } = await group<Note>(world, relay, 2);
  const careful = checking<Note>(world, nodes[1]!.url);
  const shown: Entry<Note>[] = [];
  careful.on("entry", (entry) => shown.push(entry));
  await careful.newest(1);
  const secret = await clients[0]!.append({ text: `${world.mark} a secret` });
  const regretted = await clients[0]!.append({ text: `${world.mark} regretted` });
  await clients[1]!.append({ text: `${world.mark} from the other` });
  await converged(clients, 3);
  await until(() => shown.filter((entry) => entry.kind === "data").length === 3, "all three were proved");
  expect(shown.find(({ id }) => id === secret.id)?.data).toEqual({ text: `${world.mark} a secret` });
  await clients[0]!.erase(regretted.id);
  await until(async () => "erased" in (await careful.entry(regretted.id)), "the other node has erased it");
  const again = checking<Note>(world, nodes[1]!.url);
  const entries = await again.newest(100);
  expect(entries.find(({ id }) => id === regretted.id)).toMatchObject({ data: null, erased: { by: regretted.creator_node_id } });
  expect((await again.verify()).finding).toBeNull();
});
