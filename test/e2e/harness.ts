/** A small world of real parts: node processes, relays in workerd, Socket.IO clients, text clients, and cables between them. */

import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { io, type ManagerOptions, type Socket, type SocketOptions } from "socket.io-client";

import { environment } from "../../scripts/environment.mjs";
import { relayCommand } from "../../scripts/relay-dev.mjs";
import { Cable, type Target } from "./cable.js";
import type { Canary } from "./canary.js";
import { Process } from "./process.js";
import { TextClient } from "./text.js";

/** The top of the repository. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** How long anything may take that is not measured, in ms. */
export const PATIENCE = 30_000;

/** What a node is started with. */
export interface NodeOptions {
  /** Its data directory; a new one if none is given. */
  readonly data?: string;
  /** URL of its relay, without the ledger; none: it runs alone. */
  readonly relay?: string;
  /** Name of its ledger; `commons` if none is given. */
  readonly ledger?: string;
  /** Where it listens; a free port if none is given. */
  readonly listen?: string;
  /** Whether it links to other nodes directly; not unless said so. */
  readonly direct?: boolean;
  /** What it is started by, with what that takes before the command. */
  readonly within?: readonly string[];
  /** Further arguments. */
  readonly args?: readonly string[];
  /** Further environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What became of a command. */
export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a relay is started with. */
export interface RelayOptions {
  readonly port?: number;
  readonly state?: string;
  readonly vars?: Record<string, string>;
}

/** A running node. */
export class NodeProcess {
  readonly process: Process;
  /** Its data directory, which outlives it until the world ends. */
  readonly data: string;
  /** `http://127.0.0.1:<port>`. */
  readonly url: string;

  constructor(process: Process, data: string, url: string) {
    this.process = process;
    this.data = data;
    this.url = url;
  }

  /** The port it listens on. */
  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Stops it as Ctrl-C does, and waits. */
  async stop(): Promise<void> {
    await this.process.stop();
  }

  /** Ends it as `kill -9` does, and waits. */
  async kill(): Promise<void> {
    await this.process.kill();
  }
}

/** A running relay. */
export class Relay {
  readonly process: Process;
  readonly port: number;
  /** Where its ledgers are kept, until the world ends. */
  readonly state: string;

  constructor(process: Process, port: number, state: string) {
    this.process = process;
    this.port = port;
    this.state = state;
  }

  /** `ws://127.0.0.1:<port>`, as `--relay` takes it. */
  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** `http://127.0.0.1:<port>`. */
  get http(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Ends it at once, and waits until nothing listens on its port. */
  async kill(): Promise<void> {
    await this.process.kill();
    await until(() => unused(this.port), `port ${this.port} is free`);
  }
}

/** Everything that one test starts; all of it ends with `close`. */
export class World {
  /** What watches for what nobody outside may read, if anything does. */
  readonly canary: Canary | undefined;
  readonly #directory: Promise<string>;
  readonly #processes: Process[] = [];
  readonly #closers: (() => void | Promise<void>)[] = [];
  /** The ledger of nodes that name none; none: what a node begins with. */
  #ledger: string | undefined;
  #count = 0;

  constructor(canary?: Canary) {
    this.canary = canary;
    this.#directory = mkdtemp(join(tmpdir(), "cairn-test-"));
  }

  /** A text for every payload: where it is watched, it is found. */
  get mark(): string {
    return this.canary?.mark ?? "unmarked";
  }

  /** The nodes that follow have another ledger than those before. */
  anotherGroup(): void {
    this.#ledger = `ledger ${++this.#count}`;
  }

  /** A new empty directory. */
  async directory(name: string): Promise<string> {
    const path = join(await this.#directory, `${name}-${++this.#count}`);
    await mkdir(path);
    return path;
  }

  /** Where a data directory may be made. */
  async newData(name: string): Promise<string> {
    return join(await this.directory(name), "data");
  }

  /** Starts a node and waits until it listens. */
  async node(options: NodeOptions = {}): Promise<NodeProcess> {
    const data = options.data ?? (await this.newData("node"));
    const args = ["--listen", options.listen ?? "127.0.0.1:0", "--data", data];
    if (options.relay !== undefined) args.push("--relay", await this.tapped(options.relay));
    const ledger = options.ledger ?? (options.data === undefined ? this.#ledger : undefined);
    if (ledger !== undefined) args.push("--ledger", ledger);
    // Or nodes would find a way around cables that are pulled.
    args.push("--direct", options.direct === true ? "lan" : "off");
    // What a node does is worth a look where nothing of what it reads may be in the log.
    const env = { ...(this.canary !== undefined && { RUST_LOG: "node=trace,info" }), ...options.env };
    const [program, ...words] = [...(options.within ?? []), nodeBinary(), ...args, ...(options.args ?? [])];
    const process = this.run("node", program!, words, env);
    this.canary?.listensTo(process, "stderr");
    const [, url] = await process.line(/listening on (http:\/\/\S+)$/);
    return new NodeProcess(process, data, url!);
  }

  /**
   * Starts a relay and waits until it is healthy. `state` of an earlier one brings its ledgers back, `port` its address.
   * Everybody may make ledgers on it, unless `vars` says otherwise.
   */
  async relay(options: RelayOptions = {}): Promise<Relay> {
    const directory = await this.directory("relay");
    const state = options.state ?? join(directory, "state");
    const { port: wanted = 0, vars = { CREATION: "free" } } = options;
    const { command, args, env, cwd } = relayCommand({ directory, state, ip: "127.0.0.1", port: wanted, vars });
    const process = this.run("relay", command, args, env, cwd);
    this.canary?.listensTo(process, "stdout", "stderr");
    this.canary?.keepsAnEyeOn(directory);
    const [, port] = await process.line(/Ready on http:\/\/127\.0\.0\.1:(\d+)/, 2 * PATIENCE);
    const relay = new Relay(process, Number(port), state);
    await until(async () => (await fetch(`${relay.http}/healthz`)).ok, "the relay is healthy");
    return relay;
  }

  /** Runs a command of the node to its end. */
  async tries(...args: readonly string[]): Promise<Ran> {
    const process = this.run("cairn", nodeBinary(), args);
    const said = { stdout: "", stderr: "" };
    process.listen((line, stream) => (said[stream] += `${line}\n`));
    const { code } = await process.exited;
    return { code, ...said };
  }

  /** Runs a command of the node that does what it should; what it prints. */
  async cairn(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tries(...args);
    if (code !== 0) throw new Error(`cairn ${args[0]} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** Starts any process that ends with the world. */
  run(
    name: string,
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string | undefined>> = {},
    cwd: string = root,
  ): Process {
    const process = new Process({ name: `${name} ${++this.#count}`, command, args, env: environment(env), cwd });
    this.#processes.push(process);
    return process;
  }

  /** The URL of a relay by a way on which all is heard that is to be watched. */
  async tapped(relay: string): Promise<string> {
    if (this.canary === undefined) return relay;
    const cable = await Cable.to(target(relay), this.canary.tap);
    this.#closers.push(() => cable.close());
    return cableUrl(cable, relay);
  }

  /** Lays a cable to a node or a relay; `cableUrl` names its near end. */
  async cable(url: string): Promise<Cable> {
    const cable = await Cable.to(target(url));
    this.#closers.push(() => cable.close());
    return cable;
  }

  /** Connects the official Socket.IO client and waits for the connection; `setup` can listen before anything comes. */
  async socket(
    node: { readonly url: string },
    options: Partial<ManagerOptions & SocketOptions> & { readonly namespace?: string } = {},
    setup: (socket: Socket) => void = () => {},
  ): Promise<Socket> {
    const { namespace = "/", ...rest } = options;
    const socket = io(new URL(namespace, node.url).href, { transports: ["websocket"], forceNew: true, ...rest });
    this.#closers.push(() => void socket.disconnect());
    setup(socket);
    await event(socket, "connect");
    return socket;
  }

  /** Opens the text side of a relay: a ledger's room, or the lobby without a ledger. */
  async text(relay: Relay, ledger?: string): Promise<TextClient> {
    const client = await TextClient.open(ledger === undefined ? `${relay.url}/` : `${relay.url}/ledger/${ledger}`);
    this.#closers.push(() => client.close());
    return client;
  }

  /** Closes something when the world ends. */
  onClose(close: () => void | Promise<void>): void {
    this.#closers.push(close);
  }

  /** The last output of every process, for messages about failures. */
  output(lines = 40): string {
    const tail = (text: string): string => text.split("\n").slice(-lines).join("\n");
    return this.#processes.map((process) => `--- ${process.name}\n${tail(process.output)}`).join("\n");
  }

  /** Ends everything and removes all files. */
  async close(): Promise<void> {
    for (const close of this.#closers.reverse()) await close();
    await Promise.all(this.#processes.map((process) => process.kill()));
    await rm(await this.#directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The URL that goes through a cable instead of straight to `url`. */
export function cableUrl(cable: Cable, url: string): string {
  const through = new URL(url);
  through.hostname = "127.0.0.1";
  through.port = String(cable.port);
  return through.href.replace(/\/$/, "");
}

/** Host and port of a URL. */
export function target(url: string): Target {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}

/** The next event of a socket for which `where` holds; its first argument. */
export function event<T = unknown>(
  socket: Socket,
  name: string,
  where: (value: T) => boolean = () => true,
  timeout: number = PATIENCE,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.off(name, listener);
      reject(new Error(`no event "${name}" within ${timeout} ms`));
    }, timeout);
    const listener = (value: T): void => {
      if (!where(value)) return;
      clearTimeout(timer);
      socket.off(name, listener);
      resolve(value);
    };
    socket.on(name, listener);
  });
}

/** Waits until a check holds that nothing announces, asking again and again. A check that throws does not hold. */
export async function until(
  check: () => boolean | Promise<boolean>,
  what: string,
  timeout: number = PATIENCE,
): Promise<void> {
  const end = Date.now() + timeout;
  let last: unknown;
  for (;;) {
    try {
      if (await check()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${timeout} ms: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Path of the node's binary: that of the last `cargo build -p node`, or `CAIRN_BIN`. */
export function nodeBinary(): string {
  const directory = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");
  const path = process.env["CAIRN_BIN"] ?? join(directory, "debug", "cairn");
  if (!existsSync(path)) throw new Error(`there is no ${path}: run \`cargo build -p node\` first`);
  return path;
}

function unused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", () => resolve(true));
  });
}
