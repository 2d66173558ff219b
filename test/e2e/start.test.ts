/** `npm start`, as a new user runs it: two servers come up and go down together. */

import { execFileSync } from "node:child_process";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";

import { expect } from "vitest";

import { test } from "./fixture.js";
import { root, until, type World } from "./harness.js";
import { client, linked } from "./ledger.js";
import type { Process } from "./process.js";

/** A port that is free now. The script under test takes no port 0, because it prints the ports before anyone listens. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function start(
  world: World,
): Promise<{ readonly script: Process; readonly url: string; readonly relay: string }> {
  const [port, relayPort] = [await freePort(), await freePort()];
  const directory = await world.directory("start");
  const script = world.run("start", process.execPath, [join(root, "scripts/start.mjs")], {
    CAIRN_DATA: join(directory, "data"),
    CAIRN_LISTEN: `127.0.0.1:${port}`,
    CAIRN_RELAY_PORT: String(relayPort),
    CAIRN_RELAY_STATE: join(directory, "relay"),
  });
  // The servers have groups of their own, so they end only with a script that ends in order.
  world.onClose(async () => void (await script.stop(20_000)));
  await script.line(/A second node on another machine/, 100_000);
  return { script, url: `http://127.0.0.1:${port}`, relay: `http://127.0.0.1:${relayPort}` };
}

async function gone(url: string): Promise<void> {
  await until(
    async () =>
      fetch(url).then(
        () => false,
        () => true,
      ),
    `nothing listens at ${url}`,
  );
}

test("it starts both, says what to try next, and stops both", async ({ world }) => {
  const { script, url, relay } = await start(world);
  const ledger = client<string>(world, { url });
  await linked(ledger);
  expect((await ledger.status()).name).toBe("commons");
  await script.line(new RegExp(`cargo run -p node -- --relay ws://[^ ]+:${new URL(relay).port}$`));
  expect(await script.stop()).toEqual({ code: 0, signal: null });
  await Promise.all([gone(url), gone(relay)]);
});

test("when one dies it says so and stops the other", async ({ world }) => {
  const { script, url, relay } = await start(world);
  const pid = execFileSync("pgrep", ["-P", String(script.pid), "-f", "cairn --listen"], { encoding: "utf8" });
  process.kill(Number(pid), "SIGKILL");
  await script.line(/The node ended \(SIGKILL\)/);
  expect(await script.exited).toEqual({ code: 1, signal: null });
  await Promise.all([gone(url), gone(relay)]);
});

test("a port in use gets a clear sentence", async ({ world }) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  world.onClose(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const script = world.run("start", process.execPath, [join(root, "scripts/start.mjs")], {
    CAIRN_RELAY_PORT: String(port),
  });
  await script.line(new RegExp(`^Port ${port} is in use, so the relay cannot start there: .*CAIRN_RELAY_PORT=`));
  expect(await script.exited).toEqual({ code: 1, signal: null });
});
