/** What the tests ask of nodes and relays about the ledger. */

import { connect, type Client, type Entry, type NodeStatus } from "../../client/src/index.js";
import { until, type NodeProcess, type Relay, type World } from "./harness.js";
import type { TextClient } from "./text.js";

/** Entries asked of a relay at once. */
const RELAY_PAGE = 500;

/** Whatever tells how a node is. */
type Watched = Pick<Client, "status">;

/** Connects a client that ends with the world. */
export function client<T = unknown>(world: World, node: { readonly url: string }): Client<T> {
  const connected = connect<T>(node.url);
  world.onClose(() => connected.close());
  return connected;
}

/** The whole ledger of a node, in its order. */
export async function ledger<T>(from: Client<T>): Promise<Entry<T>[]> {
  const entries: Entry<T>[] = [];
  for await (const entry of from.entries()) entries.push(entry);
  return entries;
}

/** Waits until the node has a link whose peer has proved its key. */
export async function linked(node: Watched): Promise<void> {
  await until(async () => (await node.status()).links.some((link) => link.node !== null), "the node is linked");
}

/** Waits until all nodes hold the same blocks, with so many entries. */
export async function converged(nodes: readonly Watched[], entries: number, timeout?: number): Promise<void> {
  let last: readonly NodeStatus[] = [];
  const check = async (): Promise<boolean> => {
    last = await Promise.all(nodes.map((node) => node.status()));
    return last.every(({ digest, totals }) => digest === last[0]!.digest && totals.entries === entries);
  };
  await until(check, `all nodes hold ${entries} entries`, timeout).catch((error: unknown) => {
    const have = last.map(({ digest, totals }) => `${totals.entries} entries, digest ${digest.slice(0, 8)}`);
    throw new Error(`not converged: ${have.join("; ")}`, { cause: error });
  });
}

/** The whole ledger as a relay has it, in its order. */
export async function relayLedger(text: TextClient): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (;;) {
    text.send("LedgerSyncRequest", { after: entries.at(-1)?.id ?? null, limit: RELAY_PAGE });
    const { payload } = await text.take<readonly Entry[]>("LedgerSyncResponse");
    if (payload.length === 0) return entries;
    entries.push(...payload);
  }
}

/** Waits until a relay holds so many entries; gives them. */
export async function relayHolds(world: World, relay: Relay, ledgerId: string, entries: number): Promise<Entry[]> {
  const text = await world.text(relay, ledgerId);
  let held: Entry[] = [];
  await until(async () => (held = await relayLedger(text)).length >= entries, `the relay holds ${entries} entries`);
  return held;
}

/** Starts nodes at one relay and waits until all are linked; a client for each. */
export async function group<T = unknown>(
  world: World,
  relay: Relay,
  count: number,
): Promise<{ readonly nodes: NodeProcess[]; readonly clients: Client<T>[] }> {
  const nodes = await Promise.all(Array.from({ length: count }, () => world.node({ relay: relay.url })));
  const clients = nodes.map((node) => client<T>(world, node));
  await Promise.all(clients.map((each) => linked(each)));
  return { nodes, clients };
}

/** The value below which so many percent of the values are. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0;
}
