/** `just door [seconds] [kind …]`: a relay in workerd, or a node, two members who write, and a flood of strangers. Linux only. */

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { buildRelay, relayCommand } from "./relay-dev.mjs";
import { run, target, ToolError } from "./relay-tools.mjs";
import { main } from "./setup.mjs";

const KINDS = ["core", "wrong_proof", "silent", "wrong_secret", "no_such_ledger", "removal", "node"];

/** The process of workerd that has the relay: the youngest below wrangler that uses memory. @param {number} pid */
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

/** A relay that is ready. @param {string} directory */
async function relay(directory) {
  // The members know it, see node/examples/door/member.rs.
  const vars = { CREATION_SECRET: "right" };
  const { command, args, env, cwd } = relayCommand({ directory, state: join(directory, "state"), ip: "127.0.0.1", port: 0, vars });
  const child = spawn(command, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "ignore"] });
  const host = await address(child);
  await fetch(`http://${host}/healthz`);
  return { child, host, pid: workerd(child.pid ?? 0) ?? 0, words: [] };
}

/** A node that serves a group's ledger, and an invite for two. @param {string} directory */
async function node(directory) {
  const cairn = join(release, "cairn");
  const ask = (/** @type {string[]} */ ...words) => {
    const { status, stdout, stderr } = spawnSync(cairn, [...words, "--data", directory, "--json"], { encoding: "utf8" });
    if (status !== 0) throw new ToolError(`cairn ${words.join(" ")} ended with code ${status}: ${stderr}`);
    return JSON.parse(stdout);
  };
  ask("init", "door");
  const { link } = ask("invite", "--uses", "2");
  const args = ["serve", "--data", directory, "--listen", "127.0.0.1:0"];
  const child = spawn(cairn, args, { detached: true, stdio: ["ignore", "pipe", "ignore"] });
  return { child, host: await address(child), pid: child.pid ?? 0, words: [link] };
}

await main(async () => {
  const [seconds = "20", ...kinds] = process.argv.slice(2);
  await buildRelay();
  await run("cargo", ["build", "--release", "-p", "node", "--bin", "cairn", "--example", "door"], {});
  const directory = mkdtempSync(join(tmpdir(), "cairn-door-"));
  let good = true;
  try {
    for (const kind of kinds.length > 0 ? kinds : KINDS) {
      const { child, host, pid, words } = await (kind === "node" ? node : relay)(join(directory, kind));
      try {
        const door = spawn(join(release, "examples", "door"), [`ws://${host}`, seconds, String(pid), kind, ...words], {
          stdio: "inherit",
        });
        good = (await new Promise((resolve) => door.once("exit", resolve))) === 0 && good;
      } finally {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      }
    }
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
  return good ? 0 : 1;
});
