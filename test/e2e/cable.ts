/** A TCP connection that can be pulled: a proxy on a port of its own in front of a server. */

import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";

/** What is at the far end. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/** Hears what goes through a cable: called for each connection, for what takes the bytes of either direction. */
export type Tap = () => { readonly up: (chunk: Buffer) => void; readonly down: (chunk: Buffer) => void };

/** A cable between whoever dials its port and a server. */
export class Cable {
  /** The port to dial instead of the server's. */
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #tap: Tap | undefined;
  #target: Target;
  #plugged = true;

  /** Lays a cable to a server. */
  static async to(target: Target, tap?: Tap): Promise<Cable> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    return new Cable(server, target, tap);
  }

  private constructor(server: Server, target: Target, tap: Tap | undefined) {
    this.#server = server;
    this.#target = target;
    this.#tap = tap;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (socket) => this.#join(socket));
  }

  /** Breaks every connection and refuses new ones. */
  pull(): void {
    this.#plugged = false;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Lets connections through again, to another server if one is named. */
  plug(target: Target = this.#target): void {
    this.#target = target;
    this.#plugged = true;
  }

  /** Ends it. */
  async close(): Promise<void> {
    this.pull();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket): void {
    if (!this.#plugged) {
      near.resetAndDestroy();
      return;
    }
    const far = connect(this.#target);
    const heard = this.#tap?.();
    if (heard !== undefined) {
      near.on("data", heard.up);
      far.on("data", heard.down);
    }
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      // A broken connection shows as `close` on both sides; the error itself says nothing more.
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  }
}
