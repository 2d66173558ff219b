/** A node that lies: a proxy in front of an honest one, which changes what the node says over Socket.IO. Pages pass as they are. */

import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

import { WebSocket, WebSocketServer } from "ws";

import type { NodeProcess, World } from "./harness.js";

/** What a node says: an event with its arguments, or the answer to a request. */
export interface Said {
  /** The event's name; `null` for an answer. */
  readonly event: string | null;
  /** The event's first argument, or the answer. */
  readonly value: unknown;
}

/** What is said in the place of that: the value, several of them, or none. */
export type Lie = (said: Said) => readonly unknown[];

/** `4` message, `2` event or `3` answer, the namespace, the number of the answer, and JSON. */
const PACKET = /^(4[23](?:\/[^,]*,)?\d*)(\[.*\])$/s;

export class Liar {
  readonly url: string;
  /** How it lies; it is honest until this is set. */
  lie: Lie = ({ value }) => [value];
  readonly #server: Server;
  readonly #target: number;
  readonly #sockets = new WebSocketServer({ noServer: true });

  /** Stands in front of a node until the world ends. */
  static async before(world: World, node: NodeProcess): Promise<Liar> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const liar = new Liar(server, node.port);
    world.onClose(() => liar.close());
    return liar;
  }

  private constructor(server: Server, target: number) {
    this.#server = server;
    this.#target = target;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (incoming: IncomingMessage, answer: ServerResponse) => this.#pass(incoming, answer));
    server.on("upgrade", (incoming: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#sockets.handleUpgrade(incoming, socket, head, (near) => this.#join(near, incoming.url ?? "/")),
    );
  }

  close(): void {
    for (const near of this.#sockets.clients) near.terminate();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #pass(incoming: IncomingMessage, answer: ServerResponse): void {
    const { method, url, headers } = incoming;
    const far = request({ host: "127.0.0.1", port: this.#target, method, path: url, headers }, (told) => {
      answer.writeHead(told.statusCode ?? 502, told.headers);
      told.pipe(answer);
    });
    far.on("error", () => answer.destroy());
    incoming.pipe(far);
  }

  #join(near: WebSocket, path: string): void {
    const far = new WebSocket(`ws://127.0.0.1:${this.#target}${path}`);
    const early: string[] = [];
    near.on("message", (data) => (far.readyState === WebSocket.OPEN ? far.send(String(data)) : early.push(String(data))));
    far.on("open", () => early.splice(0).forEach((text) => far.send(text)));
    far.on("message", (data) => this.#change(String(data)).forEach((text) => near.send(text)));
    for (const [one, other] of [[near, far], [far, near]] as const) {
      one.on("close", () => other.terminate());
      one.on("error", () => other.terminate());
    }
  }

  #change(text: string): readonly string[] {
    const [, head, json] = PACKET.exec(text) ?? [];
    if (head === undefined || json === undefined) return [text];
    const parts = JSON.parse(json) as unknown[];
    const answers = head.startsWith("43");
    const said: Said = answers ? { event: null, value: parts[0] } : { event: parts[0] as string, value: parts[1] };
    return this.lie(said).map((value) => head + JSON.stringify(answers ? [value] : [said.event, value]));
  }
}
