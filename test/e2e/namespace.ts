/** Networks of this test run alone: Linux network namespaces, made without the rights of an administrator. */

import { execFile, execFileSync, spawn } from "node:child_process";
import { connect, createServer, type AddressInfo } from "node:net";
import { promisify } from "node:util";

import { environment } from "../../scripts/environment.mjs";
import { root, type World } from "./harness.js";

const run = promisify(execFile);

/** Set in a test run that has networks of its own. */
const INSIDE = "CAIRN_TEST_NETWORKS";

/** What gives a process networks and mounts of its own: anybody may have them with users of its own, an administrator without. */
const WAYS = [
  ["--user", "--map-root-user", "--net", "--mount"],
  ["--net", "--mount"],
];

/** Whether this test run has networks of its own. */
export const isInside = process.env[INSIDE] !== undefined;

/** Runs a test file again, with networks of its own; what it says is said here. Rejects when it fails. */
export async function inside(file: string): Promise<void> {
  const way = await possible();
  const vitest = `${root}/node_modules/vitest/vitest.mjs`;
  const command = [...way, "--", process.execPath, vitest, "run", "--project", "system", file];
  const child = spawn("unshare", command, {
    cwd: root,
    env: environment({ [INSIDE]: "1" }),
    stdio: ["ignore", "inherit", "inherit"],
  });
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  if (code !== 0) throw new Error(`the tests in ${file} that have networks of their own ended with ${String(code)}`);
}

/** The first way that this machine allows. */
async function possible(): Promise<readonly string[]> {
  const why: string[] = [];
  for (const way of WAYS) {
    try {
      await run("unshare", [...way, "--", "sh", "-c", "ip link set lo up && mount -t tmpfs tmpfs /run"]);
      return way;
    } catch (error) {
      why.push(`unshare ${way.join(" ")}: ${(error as Error).message.split("\n").filter(Boolean).at(-1)}`);
    }
  }
  throw new Error(
    "This test makes networks of its own, and this machine allows none: it needs Linux with `unshare`, `nsenter` and `ip` " +
      "(util-linux, iproute2), and user namespaces for everybody (sysctl kernel.apparmor_restrict_unprivileged_userns=0 " +
      `where AppArmor forbids them) or the rights of root. What was tried:\n${why.join("\n")}`,
  );
}

/** Runs `ip` here, or in one of the networks. */
function ip(args: string, network?: string): void {
  const [command, ...rest] = [...(network === undefined ? [] : within(network)), "ip", ...args.split(" ")];
  execFileSync(command!, rest, { stdio: ["ignore", "pipe", "pipe"] });
}

/** What runs a command in a network. */
export function within(network: string): string[] {
  return ["nsenter", `--net=/run/netns/${network}`];
}

/** Machines that each have a network of their own, around a router: this test run. */
export class Networks {
  readonly #names: readonly string[];

  /** Makes them. None has a route to another one, and the router forwards nothing. */
  constructor(names: readonly string[]) {
    this.#names = names;
    ip("link set lo up");
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    this.forwards(false);
    for (const name of names) {
      ip(`netns add ${name}`);
      ip(`link add to-${name} type veth peer name eth0 netns ${name}`);
      ip(`address add ${this.router(name)}/24 dev to-${name}`);
      ip(`link set to-${name} up`);
      ip("link set lo up", name);
      ip(`address add ${this.address(name)}/24 dev eth0`, name);
      ip("link set eth0 up", name);
    }
  }

  /** The machine in a network. */
  address(name: string): string {
    return `10.77.${this.#names.indexOf(name) + 1}.2`;
  }

  /** The router as a network sees it. */
  router(name: string): string {
    return `10.77.${this.#names.indexOf(name) + 1}.1`;
  }

  /** A machine gets a route to everywhere. */
  route(name: string): void {
    ip(`route add default via ${this.router(name)}`, name);
  }

  /** Whether the router forwards. Nobody is told when it stops: what is sent is not there any more. */
  forwards(does: boolean): void {
    execFileSync("sh", ["-c", `echo ${does ? 1 : 0} > /proc/sys/net/ipv4/ip_forward`]);
  }

  /** Makes what listens on this machine's own address reachable from a network; the port there. */
  async offer(world: World, port: number, name: string): Promise<number> {
    const server = createServer((near) => {
      const far = connect(port, "127.0.0.1");
      near.pipe(far).pipe(near);
      near.on("error", () => far.destroy()).on("close", () => far.destroy());
      far.on("error", () => near.destroy()).on("close", () => near.destroy());
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(0, this.router(name), resolve);
    });
    world.onClose(() => void server.close());
    return (server.address() as AddressInfo).port;
  }
}

/** Machines on one local network, joined by a switch. */
export class Lan {
  /** Where this test run is: one of the machines, or it would not reach the others. */
  static readonly own = "10.77.0.1";
  readonly #names: readonly string[];

  /** Makes them. */
  constructor(names: readonly string[]) {
    this.#names = names;
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    ip("link set lo up");
    ip("link add switch type bridge");
    ip(`address add ${Lan.own}/24 dev switch`);
    ip("link set switch up");
    for (const name of names) {
      ip(`netns add ${name}`);
      ip(`link add to-${name} type veth peer name eth0 netns ${name}`);
      ip(`link set to-${name} master switch up`);
      ip("link set lo up", name);
      ip(`address add ${this.address(name)}/24 dev eth0`, name);
      ip("link set eth0 up multicast on", name);
    }
  }

  /** Where a machine is. */
  address(name: string): string {
    return `10.77.0.${this.#names.indexOf(name) + 2}`;
  }
}
