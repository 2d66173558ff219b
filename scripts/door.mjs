/** `just door [seconds] [kind …]`: a relay in workerd, two members who write, and a flood of strangers. Linux only. */

import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { buildRelay, relayCommand } from "./relay-dev.mjs";
import { root, run } from "./relay-tools.mjs";
import { main } from "./setup.mjs";

const KINDS = ["core", "wrong_proof", "silent", "wrong_secret", "no_such_ledger", "removal"];

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

await main(async () => {
  const [seconds = "20", ...kinds] = process.argv.slice(2);
  await buildRelay();
  await run("cargo", ["build", "--release", "-p", "node", "--example", "door"], {});
  const directory = mkdtempSync(join(tmpdir(), "cairn-door-"));
  let good = true;
  try {
    for (const kind of kinds.length > 0 ? kinds : KINDS) {
      // The members know it, see node/examples/door/member.rs.
      const vars = { CREATION_SECRET: "right" };
      const here = join(directory, kind);
      const { command, args, env, cwd } = relayCommand({ directory: here, state: join(here, "state"), ip: "127.0.0.1", port: 0, vars });
      const relay = spawn(command, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "ignore"] });
      try {
        const port = await new Promise((resolve) => {
          createInterface({ input: relay.stdout }).on("line", (line) => {
            const [, port] = /Ready on http:\/\/127\.0\.0\.1:(\d+)/.exec(line) ?? [];
            if (port !== undefined) resolve(port);
          });
        });
        await fetch(`http://127.0.0.1:${port}/healthz`);
        const door = join(process.env["CARGO_TARGET_DIR"] ?? join(root, "target"), "release", "examples", "door");
        const pid = String(workerd(relay.pid ?? 0) ?? 0);
        const child = spawn(door, [`ws://127.0.0.1:${port}`, seconds, pid, kind], { stdio: "inherit" });
        good = (await new Promise((resolve) => child.once("exit", resolve))) === 0 && good;
      } finally {
        if (relay.pid !== undefined) process.kill(-relay.pid, "SIGKILL");
      }
    }
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
  return good ? 0 : 1;
});
