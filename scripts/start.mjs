/**
 * `npm start`: sets everything up, runs a relay and a node, and says what to try next. Ctrl-C stops both.
 *
 * The node takes its settings from the environment as always (CAIRN_LISTEN, CAIRN_DATA, CAIRN_LEDGER). The relay's port is
 * CAIRN_RELAY_PORT, and CAIRN_RELAY_STATE the directory of its ledgers.
 */

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

import { environment } from "./environment.mjs";
import { buildRelay, relayCommand } from "./relay-dev.mjs";
import { root, run, ToolError } from "./relay-tools.mjs";
import { main, npmPackages, rust } from "./setup.mjs";

const RELAY_PORT = 8787;
const LISTEN = "127.0.0.1:3000";
/** ms until both have to be healthy; the relay's first start compiles its wasm. */
const PATIENCE = 60_000;
/** ms between asking to stop and killing. */
const STOP_PATIENCE = 10_000;

/** @typedef {{ command: string, args: string[], env: NodeJS.ProcessEnv, cwd: string }} Command */

/** The processes that this script runs. Each has a group of its own, so that Ctrl-C reaches only the script. */
class Servers {
  /** @type {{ name: string, child: import("node:child_process").ChildProcess, exited: Promise<unknown> }[]} */
  #running = [];
  /** @type {(sentence: string) => void} */
  #onDeath = () => {};
  /** Resolves with a sentence when one of them ends by itself. @type {Promise<string>} */
  death = new Promise((resolve) => (this.#onDeath = resolve));

  constructor() {
    process.on("exit", () => this.#running.forEach(({ child }) => signalGroup(child, "SIGKILL")));
  }

  /**
   * Starts a process whose output is shown line by line behind its name.
   *
   * @param {string} name
   * @param {Command} command
   */
  start(name, { command, args, env, cwd }) {
    const child = spawn(command, args, {
      cwd,
      env,
      detached: process.platform !== "win32",
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        if (worthShowing(line)) console.log(`${name.padEnd(5)} | ${line}`);
      });
    }
    const exited = new Promise((resolve) => {
      child.once("error", (error) => resolve(`The ${name} does not start: ${error.message}.`));
      child.once("exit", (code, signal) => resolve(`The ${name} ended (${signal ?? `code ${code}`}).`));
    });
    exited.then(this.#onDeath);
    this.#running.push({ name, child, exited });
  }

  /** Stops all that run, the last one first: the node says goodbye to a relay that is still there. */
  async stop() {
    for (const { name, child, exited } of this.#running.reverse()) {
      const timer = setTimeout(() => {
        console.log(`The ${name} did not stop within ${STOP_PATIENCE / 1000} s and is killed.`);
        signalGroup(child, "SIGKILL");
      }, STOP_PATIENCE);
      signalGroup(child, "SIGTERM");
      await exited;
      clearTimeout(timer);
    }
  }
}

await main(async () => {
  const listen = process.env["CAIRN_LISTEN"] || LISTEN;
  const colon = listen.lastIndexOf(":");
  const relayPort = port("CAIRN_RELAY_PORT", process.env["CAIRN_RELAY_PORT"] || String(RELAY_PORT));
  const nodePort = port("CAIRN_LISTEN", listen.slice(colon + 1));
  await free("0.0.0.0", relayPort, "the relay", "CAIRN_RELAY_PORT=8788");
  await free(
    listen.slice(0, Math.max(0, colon)).replace(/^\[|\]$/g, ""),
    nodePort,
    "the node",
    "CAIRN_LISTEN=127.0.0.1:3001",
  );
  await build();

  const servers = new Servers();
  const signalled = new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => resolve(undefined));
  });
  const failed = serve(servers, listen, nodePort, relayPort).then(
    () => servers.death,
    (error) => error.message,
  );
  const sentence = await Promise.race([servers.death, failed, signalled]);
  console.log(sentence === undefined ? "\nStopping." : `\n${sentence} Stopping what still runs.`);
  await servers.stop();
  return sentence === undefined ? 0 : 1;
});

async function build() {
  await npmPackages();
  await rust();
  console.log("Building the relay.");
  await buildRelay();
  console.log("Building the page and the client.");
  await run(process.execPath, ["scripts/wasm-build.mjs"], {});
  await run(process.execPath, ["node_modules/vite/bin/vite.js", "build", "web", "--logLevel", "warn"], {});
  await run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "client/tsconfig.build.json"], {});
  console.log("Building the node.");
  await run("cargo", ["build", "-p", "node"], {});
}

/**
 * Starts the relay and then the node, and says what to try next when both are well.
 *
 * @param {Servers} servers
 * @param {string} listen
 * @param {number} nodePort
 * @param {number} relayPort
 */
async function serve(servers, listen, nodePort, relayPort) {
  const directory = join(root, ".wrangler", "start");
  const state = resolve(root, process.env["CAIRN_RELAY_STATE"] || join(".wrangler", "state"));
  // For trying, on a network that is trusted: whoever reaches this relay makes ledgers on it.
  const vars = { CREATION: "free" };
  servers.start("relay", relayCommand({ directory, state, ip: "0.0.0.0", port: relayPort, vars }));
  await healthz(`http://127.0.0.1:${relayPort}`);
  const target = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");
  const args = ["--listen", listen, "--relay", `ws://127.0.0.1:${relayPort}`];
  servers.start("node", { command: join(target, "debug", "cairn"), args, env: { ...process.env }, cwd: root });
  await healthz(`http://127.0.0.1:${nodePort}`);
  greet(nodePort, relayPort);
}

/**
 * What wrangler says of each request and of its settings is noise here.
 *
 * @param {string} line
 */
function worthShowing(line) {
  return line.trim() !== "" && !/^\[wrangler:info\]|^⎔|^Your Worker has access|^Binding |^env\.|^ ?⛅|^─+$/.test(line);
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @param {NodeJS.Signals} signal
 */
function signalGroup(child, signal) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    if (process.platform === "win32") child.kill(signal);
    else process.kill(-child.pid, signal);
  } catch {
    // It ended a moment ago, and its exit has not been reported yet.
  }
}

/**
 * Waits until a server says that it is well.
 *
 * @param {string} url
 */
async function healthz(url) {
  const end = Date.now() + PATIENCE;
  while (Date.now() < end) {
    const answer = await fetch(`${url}/healthz`).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new ToolError(`${url}/healthz did not answer within ${PATIENCE / 1000} s.`);
}

/**
 * @param {string} name
 * @param {string} text
 */
function port(name, text) {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= 65_535) return value;
  throw new ToolError(`${name} has the port "${text}", expected 1 to 65535.`);
}

/**
 * Checks that a port can be listened on, before anything is built.
 *
 * @param {string} host
 * @param {number} number
 * @param {string} who
 * @param {string} instead
 */
function free(host, number, who, instead) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (/** @type {NodeJS.ErrnoException} */ error) => {
      const why = error.code === "EADDRINUSE" ? "is in use" : `cannot be listened on (${error.code})`;
      reject(
        new ToolError(
          `Port ${number} ${why}, so ${who} cannot start there: stop what uses it, or choose another with \`${instead} npm start\`.`,
        ),
      );
    });
    server.listen(number, host, () => server.close(resolve));
  });
}

/** The first address of this machine that others can reach. */
function lanAddress() {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address;
}

/**
 * @param {number} node
 * @param {number} relay
 */
function greet(node, relay) {
  const url = `http://localhost:${node}`;
  console.log(`
A relay and a node are running. Ctrl-C stops both; the ledger stays in ${process.env["CAIRN_DATA"] || "cairn-data"}.

  Open the page                 ${url}
  Add an entry                  cargo run -q -p node -- append "a stone on the cairn"
  Read the ledger               cargo run -q -p node -- log --follow
  Add and follow by a script    npx tsx client/examples/listener.ts ${url}

  A second node on this machine:
    cargo run -p node -- --relay ws://127.0.0.1:${relay} --data ./cairn-data-2 --listen 127.0.0.1:3001

  A second node on another machine in this network (clone, then):
    cargo run -p node -- --relay ws://${lanAddress() ?? "<address of this machine>"}:${relay}
`);
}
