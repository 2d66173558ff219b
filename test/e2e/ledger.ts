/** What the tests ask of nodes and relays about the ledger. */

import { connect, type Client, type DataEntry, type Entry, type NodeStatus } from "../../client/src/index.js";
import { until, type NodeProcess, type Relay, type World } from "./harness.js";

/** Whatever tells how a node is. */
type Watched = Pick<Client, "status">;

/** Connects a client that ends with the world. */
export function client<T = unknown>(world: World, node: { readonly url: string }): Client<T> {
  const connected = connect<T>(node.url);
  world.onClose(() => connected.close());
  return connected;
}

/** What was appended to a ledger, in its order. */
export async function content<T>(from: Pick<Client<T>, "entries">): Promise<DataEntry<T>[]> {
  return (await ledger(from)).filter((entry): entry is DataEntry<T> => entry.kind === "data" && !("sealed" in entry));
}

/** The whole ledger of a node, in its order. */
export async function ledger<T>(from: Pick<Client<T>, "entries">): Promise<Entry<T>[]> {
  const entries: Entry<T>[] = [];
  for await (const entry of from.entries()) entries.push(entry);
  return entries;
}

/** Waits until the node has a link whose peer has proved its key, and is in where there are members. */
export async function linked(node: Watched): Promise<void> {
  const is = ({ open, role, links }: NodeStatus): boolean =>
    (open || role !== null) && links.some((link) => link.node !== null);
  await until(async () => is(await node.status()), "the node is linked");
}

/** Waits until all nodes hold the same blocks, in which so much was appended. */
export async function converged(
  nodes: readonly (Watched & Pick<Client, "entries">)[],
  entries: number,
  timeout?: number,
): Promise<void> {
  let last: readonly NodeStatus[] = [];
  const check = async (): Promise<boolean> => {
    last = await Promise.all(nodes.map((node) => node.status()));
    const same = last.every(({ digest, totals }) => digest === last[0]!.digest && totals.entries >= entries);
    return same && (await content(nodes[0]!)).length === entries;
  };
  await until(check, `all nodes hold ${entries} entries`, timeout).catch((error: unknown) => {
    const have = last.map(({ digest, totals }) => `${totals.entries} entries, digest ${digest.slice(0, 8)}`);
    throw new Error(`not converged: ${have.join("; ")}`, { cause: error });
  });
}

/** Waits until a relay has everything that these nodes wrote. */
export async function held(nodes: readonly Watched[]): Promise<void> {
  for (const node of nodes) {
    await until(async () => {
      const { held, heads, node: id } = await node.status();
      return held.nodes > 0 && held.height === heads.find(({ author }) => author === id)?.height;
    }, "a relay holds all that the node wrote");
  }
}

/** Starts nodes at one relay and waits until all are linked; a client for each. */
export async function group<T = unknown>(
  world: World,
  relay: Relay,
  count: number,
): Promise<{ readonly nodes: NodeProcess[]; readonly clients: Client<T>[] }> {
  const start = (count: number) =>
    Promise.all(Array.from({ length: count }, () => world.node({ relay: relay.url })));
  const nodes = await start(1);
  const clients = nodes.map((node) => client<T>(world, node));
  // In a group the others are let in by what the first one wrote.
  await linked(clients[0]!);
  nodes.push(...(await start(count - 1)));
  clients.push(...nodes.slice(1).map((node) => client<T>(world, node)));
  await Promise.all(clients.map((each) => linked(each)));
  return { nodes, clients };
}

/** The value below which so many percent of the values are. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0;
}
