/** `just door [seconds] [kind …]`: a relay in workerd, or a node, two members who write, and a flood of strangers or of a member. Linux only. */

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { constants, setPriority, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

import { Miniflare, NoOpLog } from "miniflare";
import { unstable_getMiniflareWorkerOptions } from "wrangler";

import { buildRelay } from "./relay-dev.mjs";
import { root, run, target, ToolError } from "./relay-tools.mjs";
import { main } from "./setup.mjs";

const KINDS = ["core", "wrong_proof", "silent", "wrong_secret", "no_such_ledger", "removal", "node", "flood"];
/** What a member floods a node with. */
const FLOODS = ["within", "beyond", "chatter", "packed", "announcements"];

/** The process of workerd that has the relay: the youngest below another. @param {number} pid */
function workerd(pid) {
  const parents = new Map();
  for (const name of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const [, command, parent] = /\((.*)\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "utf8")) ?? [];
      parents.set(Number(name), { command, parent: Number(parent) });
    } catch {
      // It has ended.
    }
  }
  const isBelow = (/** @type {number} */ id) => {
    for (let at = id; at > 1; at = parents.get(at)?.parent ?? 0) if (at === pid) return true;
    return false;
  };
  return [...parents].filter(([id, { command }]) => command === "workerd" && isBelow(id)).map(([id]) => id).at(-1);
}

const release = join(target, "release");

/** The address in what a process says when it is ready. @param {import("node:child_process").ChildProcess} process */
function address(process) {
  return new Promise((resolve, reject) => {
    process.once("exit", (code) => reject(new ToolError(`${process.spawnfile} ended with code ${code}`)));
    createInterface({ input: /** @type {import("node:stream").Readable} */ (process.stdout) }).on("line", (line) => {
      const [, host] = /http:\/\/(127\.0\.0\.1:\d+)/.exec(line) ?? [];
      if (host !== undefined) resolve(host);
    });
  });
}

/** What stands for the objects in the workerd in front: hands each request to the workerd that has them. */
const OBJECTS = `
class DurableObjectNamespace {
  constructor(behind) { this.behind = behind; }
  getByName() { return { fetch: (request) => this.behind.fetch(request) }; }
}
export default ({ behind }) => new DurableObjectNamespace(behind);
`;

/**
 * A relay that is ready, as near as this machine gets to Cloudflare: there is no proxy of `wrangler dev`, and the Worker that decides who
 * comes to an object does not share the object's thread. So there are two workerds with one Worker, as `wrangler.toml` describes it:
 * one has the objects, and one in front the counters of who knocks.
 *
 * @param {string} directory
 */
async function relay(directory) {
  const { workerOptions, main } = unstable_getMiniflareWorkerOptions(join(root, "wrangler.toml"));
  const { durableObjects, ratelimits, ...options } = workerOptions;
  const built = dirname(main ?? "");
  const modules = ["index.js", "index_bg.wasm"].map((name) => join(built, name));
  const worker = {
    ...options,
    modulesRoot: built,
    modules: modules.map((path) => ({ type: path.endsWith(".js") ? "ESModule" : "CompiledWasm", path })),
    // The members know it, see node/examples/door/member.rs.
    bindings: { CREATION_SECRET: "right" },
  };
  /** @type {(stdout: import("node:stream").Readable, stderr: import("node:stream").Readable) => void} */
  const handleRuntimeStdio = (...streams) => streams.forEach((stream) => stream.resume());
  const shared = { log: new NoOpLog(), handleRuntimeStdio };
  const behind = new Miniflare({ ...shared, ...worker, durableObjects, durableObjectsPersist: join(directory, "state") });
  const { host: address } = await behind.ready;
  const pid = workerd(process.pid) ?? 0;
  const stand = { name: "objects", modules: [{ type: "ESModule", path: "objects.mjs", contents: OBJECTS }] };
  const external = { external: { address, http: {} } };
  const front = new Miniflare({
    ...shared,
    workers: [
      { ...worker, name: "front", ratelimits, wrappedBindings: { ROOMS: { scriptName: "objects" } } },
      { ...stand, serviceBindings: { behind: external } },
    ],
  });
  const { host } = await front.ready;
  // There the front has machines of its own: here it gets what the object leaves over.
  setPriority(workerd(process.pid) ?? 0, constants.priority.PRIORITY_LOW);
  return { host: address, front: host, pid, words: [], end: () => Promise.all([front.dispose(), behind.dispose()]) };
}

/** A node that serves a group's ledger, and an invite for three. @param {string} directory */
async function node(directory) {
  const cairn = join(release, "cairn");
  const ask = (/** @type {string[]} */ ...words) => {
    const { status, stdout, stderr } = spawnSync(cairn, [...words, "--data", directory, "--json"], { encoding: "utf8" });
    if (status !== 0) throw new ToolError(`cairn ${words.join(" ")} ended with code ${status}: ${stderr}`);
    return JSON.parse(stdout);
  };
  ask("init", "door");
  const { link } = ask("invite", "--uses", "3");
  const args = ["serve", "--data", directory, "--listen", "127.0.0.1:0"];
  const child = spawn(cairn, args, { detached: true, stdio: ["ignore", "pipe", "ignore"] });
  const end = async () => {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  };
  const host = await address(child);
  return { host, front: host, pid: child.pid ?? 0, words: [link], end };
}

/** A node that a member floods, and another one that it floods to show what that alone costs the machine. @param {string} directory */
async function nodes(directory) {
  const [one, other] = [await node(directory), await node(`${directory}-elsewhere`)];
  const end = () => Promise.all([one.end(), other.end()]);
  return { ...one, front: other.host, words: [...one.words, ...other.words], end };
}

/** @param {string} kind */
function place(kind) {
  if (kind === "node") return node;
  return FLOODS.includes(kind) ? nodes : relay;
}

await main(async () => {
  const [seconds = "20", ...kinds] = process.argv.slice(2);
  await buildRelay();
  await run("cargo", ["build", "--release", "-p", "node", "--bin", "cairn", "--example", "door"], {});
  const directory = mkdtempSync(join(tmpdir(), "cairn-door-"));
  let good = true;
  try {
    const wanted = (kinds.length > 0 ? kinds : KINDS).flatMap((kind) => (kind === "flood" ? FLOODS : [kind]));
    for (const kind of wanted) {
      const { host, front, pid, words, end } = await place(kind)(join(directory, kind));
      try {
        const door = spawn(join(release, "examples", "door"), [`ws://${host}`, `ws://${front}`, seconds, String(pid), kind, ...words], {
          stdio: "inherit",
        });
        good = (await new Promise((resolve) => door.once("exit", resolve))) === 0 && good;
      } finally {
        await end();
      }
    }
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
  return good ? 0 : 1;
});
