/** What one node says to one other, over whatever stands between. */

import { randomUUID } from "node:crypto";

import { expect } from "vitest";

import { privateTest, test } from "./fixture.js";
import { until, type NodeProcess, type World } from "./harness.js";
import { client } from "./ledger.js";

/** What goes through `/p2p`. */
interface Envelope {
  readonly message_type: string;
  readonly message_id: string;
  readonly sender_id: string;
  readonly recipient_id: string;
  readonly payload: unknown;
}

/** A program at a node's `/p2p`. */
class Program {
  readonly node: string;
  readonly #socket: Awaited<ReturnType<World["socket"]>>;
  readonly #came: Envelope[] = [];

  private constructor(node: string, socket: Awaited<ReturnType<World["socket"]>>) {
    this.node = node;
    this.#socket = socket;
    socket.on("p2p_message", (envelope: Envelope) => this.#came.push(envelope));
  }

  static async at(world: World, node: NodeProcess): Promise<Program> {
    const { node: id } = await client(world, node).status();
    return new Program(id, await world.socket(node, { namespace: "/p2p", auth: { node_id: "program" } }));
  }

  /** Says something to a node; the message's id. */
  async say(recipient_id: string, payload: unknown): Promise<string> {
    const message_id = randomUUID();
    const envelope = { message_type: "Chat", message_id, sender_id: "program", recipient_id, payload };
    expect(await this.#socket.emitWithAck("p2p_message", envelope)).toEqual({ ok: true });
    return message_id;
  }

  /** What came that is of this type. */
  came(message_type: string): readonly Envelope[] {
    return this.#came.filter((envelope) => envelope.message_type === message_type);
  }
}

/** Waits until a node shows another one as on line. */
async function sees(world: World, node: NodeProcess, other: string): Promise<void> {
  const program = client(world, node);
  await until(
    async () => (await program.status()).peers.some((peer) => peer.node === other && peer.online),
    "a node sees another one",
  );
}

test("a message goes over a node and a relay to a node three links away, and its answer comes back", async ({ world }) => {
  const relay = await world.relay();
  const far = await world.node({ relay: relay.url });
  const between = await world.node({ relay: relay.url, direct: true });
  const near = await world.node({ direct: true, args: ["--peer", `ws://127.0.0.1:${between.port}`] });
  const [one, middle, other] = await Promise.all([near, between, far].map((node) => Program.at(world, node)));
  await sees(world, near, other!.node);
  await sees(world, far, one!.node);

  const asked = await one!.say(other!.node, { text: "are you there?" });
  await until(() => other!.came("Chat").length === 1, "the message arrives");
  const [question] = other!.came("Chat");
  expect(question).toEqual({
    message_type: "Chat",
    message_id: asked,
    sender_id: one!.node,
    recipient_id: other!.node,
    payload: { text: "are you there?" },
  });
  await other!.say(question!.sender_id, { text: "yes" });
  await until(() => one!.came("Chat").length === 1, "the answer arrives");
  expect(middle!.came("Chat")).toEqual([]);
  expect(other!.came("Chat").length).toBe(1);

  await one!.say("5".repeat(64), { text: "anybody?" });
  await until(() => one!.came("Error").length === 1, "it is told that nobody has this id");
  expect(one!.came("Error")[0]).toMatchObject({ payload: { code: "unreachable" } });
  await far.stop();
  await until(async () => {
    await one!.say(other!.node, "still there?");
    return one!.came("Error").length > 1;
  }, "it is told that the other one is gone");
});

privateTest("in a group, a relay carries what members say to each other and reads nothing of it", async ({ world }) => {
  const relay = await world.relay();
  const nodes = [await world.node({ relay: relay.url }), await world.node({ relay: relay.url })];
  const [one, other] = await Promise.all(nodes.map((node) => Program.at(world, node)));
  await sees(world, nodes[0]!, other!.node);
  await one!.say(other!.node, { text: world.mark });
  await until(() => other!.came("Chat").length === 1, "the message arrives");
  expect(other!.came("Chat")[0]).toMatchObject({ sender_id: one!.node, payload: { text: world.mark } });
});
