/** `npm run deploy`, with a program in the place of wrangler that answers as wrangler 4 does and notes what it was asked. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "vitest";

import { deploy } from "../../scripts/deploy.mjs";
import { test } from "./fixture.js";
import type { World } from "./harness.js";

/** What the stand-in is to say. */
interface Account {
  readonly loggedIn?: boolean;
  readonly secrets?: readonly string[];
  readonly targets?: readonly string[];
  /** The command that fails. */
  readonly fails?: string;
}

const URL_ = "https://cairn-relay.somebody.workers.dev";

async function standIn(world: World, account: Account): Promise<{ place: Parameters<typeof deploy>[0]; said: string[]; asked: () => string[] }> {
  const directory = await world.directory("wrangler");
  const log = join(directory, "asked");
  const { loggedIn = true, secrets = [], targets = [URL_], fails } = account;
  const program = `
    const { appendFileSync, readFileSync } = require("node:fs");
    const command = process.argv.slice(2).join(" ");
    const input = command.startsWith("secret put") ? readFileSync(0, "utf8") : "";
    appendFileSync(${JSON.stringify(log)}, command + (input && " <" + input) + "\\n");
    if (command === ${JSON.stringify(fails)}) { console.error("✘ [ERROR] it failed"); process.exit(1); }
    if (command === "whoami --json") {
      console.log(JSON.stringify({ loggedIn: ${loggedIn} }, null, 2));
      process.exitCode = ${loggedIn ? 0 : 1};
    }
    if (command === "deploy") {
      const line = { type: "deploy", version: 1, worker_name: "cairn-relay", targets: ${JSON.stringify(targets)} };
      appendFileSync(process.env.WRANGLER_OUTPUT_FILE_PATH, '{"type":"wrangler-session"}\\n' + JSON.stringify(line) + "\\n");
    }
    if (command.startsWith("secret list")) {
      console.log(JSON.stringify(${JSON.stringify(secrets.map((name) => ({ name, type: "secret_text" })))}, null, "  "));
    }
  `;
  await writeFile(join(directory, "wrangler.cjs"), program);
  const said: string[] = [];
  const kept = join(directory, "kept", "creation-secret");
  const wrangler = [process.execPath, join(directory, "wrangler.cjs")];
  const asked = (): string[] => (existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : []);
  return { place: { wrangler, kept, shown: true, say: (text: string) => said.push(text) }, said, asked };
}

test("the first time makes a secret, sets it, and says what each machine needs", async ({ world }) => {
  const { place, said, asked } = await standIn(world, {});
  await deploy(place);
  const secret = readFileSync(place.kept, "utf8").trim();
  expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
  expect(statSync(place.kept).mode & 0o777).toBe(0o600);
  expect(asked()).toEqual(["whoami --json", "deploy", "secret list --format json", `secret put CREATION_SECRET <${secret}`]);
  expect(said.join("\n")).toContain(`relay = "wss://cairn-relay.somebody.workers.dev"`);
  expect(said.join("\n")).toContain(`relay_secret = "${secret}"`);
});

test("a secret that is there stays", async ({ world }) => {
  const { place, said, asked } = await standIn(world, { secrets: ["OTHER", "CREATION_SECRET"] });
  await deploy(place);
  expect(asked().at(-1)).toBe("secret list --format json");
  expect(existsSync(place.kept)).toBe(false);
  expect(said.join("\n")).toContain("npx wrangler secret put CREATION_SECRET");
});

test("what is no terminal does not see the secret", async ({ world }) => {
  const { place, said } = await standIn(world, {});
  await deploy({ ...place, shown: false });
  expect(said.join("\n")).not.toContain(readFileSync(place.kept, "utf8").trim());
  expect(said.join("\n")).toContain(place.kept);
});

test("a run that was cut short is taken up with the same secret", async ({ world }) => {
  const first = await standIn(world, { fails: "secret put CREATION_SECRET" });
  await expect(deploy(first.place)).rejects.toThrow(/makes no ledgers yet: its secret could not be set.*it failed/s);
  const secret = readFileSync(first.place.kept, "utf8").trim();
  const second = await standIn(world, {});
  await deploy({ ...second.place, kept: first.place.kept });
  expect(second.asked().at(-1)).toBe(`secret put CREATION_SECRET <${secret}`);
});

test.for<[string, Account, RegExp]>([
  ["nobody is logged in", { loggedIn: false }, /npx wrangler login/],
  ["wrangler fails to say who is", { fails: "whoami --json" }, /npx wrangler login.*it failed/s],
  ["the upload fails", { fails: "deploy" }, /`wrangler deploy` ended with code 1/],
  ["there is no address", { targets: [] }, /has no address/],
  ["secrets cannot be listed", { fails: "secret list --format json" }, /does not say whether it has a secret.*it failed/s],
])("it says what to do when %s", async ([, account, words], { world }) => {
  const { place, said } = await standIn(world, account);
  await expect(deploy(place)).rejects.toThrow(words);
  expect(said).toEqual([]);
});
