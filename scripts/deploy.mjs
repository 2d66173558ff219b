/**
 * `npm run deploy`: puts the relay on Cloudflare, gives it the secret with which ledgers are made on it if it has none yet,
 * and says what each machine needs. It may be run again at any time; the secret stays.
 */

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { root, ToolError } from "./relay-tools.mjs";
import { main, npmPackages, rust } from "./setup.mjs";

const SECRET = "CREATION_SECRET";

/**
 * @typedef {object} Place
 * @property {string[]} wrangler the program and its first arguments
 * @property {string} kept the file in which the secret is kept on this machine
 * @property {boolean} shown whether the secret may be printed: what is no terminal is often a log
 * @property {(text: string) => void} say
 */

/**
 * Deploys the relay.
 *
 * @param {Place} place
 */
export async function deploy({ wrangler, kept, shown, say }) {
  const user = await wranglerSays(wrangler, ["whoami", "--json"]);
  if (json(user.output)?.loggedIn !== true) {
    throw new ToolError(
      `Cloudflare does not know you on this machine: run \`npx wrangler login\` (a free account is enough), or set \
CLOUDFLARE_API_TOKEN, and run this again.${user.code === 0 || json(user.output) ? "" : `\n${user.output}`}`,
    );
  }
  const url = await upload(wrangler);

  const list = await wranglerSays(wrangler, ["secret", "list", "--format", "json"]);
  const secrets = json(list.output);
  if (list.code !== 0 || !Array.isArray(secrets)) {
    throw new ToolError(`The relay is there, but wrangler does not say whether it has a secret:\n${list.output}`);
  }
  const isNew = !secrets.some(({ name }) => name === SECRET);
  if (isNew) {
    // Kept before it is set: nobody can read it back from Cloudflare. One that is there comes from a run that was cut short.
    if (!existsSync(kept)) {
      mkdirSync(join(kept, ".."), { recursive: true });
      writeFileSync(kept, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600, flag: "wx" });
    }
    const put = await wranglerSays(wrangler, ["secret", "put", SECRET], readFileSync(kept, "utf8").trim());
    if (put.code !== 0) {
      throw new ToolError(`The relay is there, but makes no ledgers yet: its secret could not be set.\n${put.output}`);
    }
  }
  say(`\nThe relay runs at ${url}\n`);
  say(`On each machine of your own, in cairn-data/cairn.toml (chmod 600):\n`);
  say(`  relay = "${url.replace(/^http/, "ws")}"`);
  const secret = existsSync(kept) ? readFileSync(kept, "utf8").trim() : undefined;
  if (secret !== undefined && shown) say(`  relay_secret = "${secret}"\n`);
  else if (secret !== undefined) say(`  relay_secret = "<what is in ${kept}>"\n`);
  else say(`  relay_secret = "<the secret that was made at the first deploy, on another machine>"\n`);
  say("The secret makes new ledgers on this relay. Whom you invite needs the invite's link only, not the secret.");
  if (secret === undefined) say(`Is it lost? \`npx wrangler secret put ${SECRET}\` sets another; ledgers stay.`);
  else say(`It is kept in ${kept}, and nobody can read it back from Cloudflare.`);
}

/**
 * Builds and uploads, with wrangler's own words on this terminal, where it may ask something the first time.
 *
 * @param {string[]} wrangler
 * @returns {Promise<string>} the relay's address
 */
async function upload(wrangler) {
  const directory = mkdtempSync(join(tmpdir(), "cairn-deploy-"));
  const record = join(directory, "wrangler.ndjson");
  try {
    const [program, ...first] = wrangler;
    const env = { ...process.env, WRANGLER_OUTPUT_FILE_PATH: record };
    const child = spawn(program ?? "", [...first, "deploy"], { cwd: root, env, stdio: "inherit" });
    const code = await ended(child);
    if (code !== 0) throw new ToolError(`The relay was not deployed: \`wrangler deploy\` ended with code ${code}.`);
    const lines = existsSync(record) ? readFileSync(record, "utf8").trim().split("\n") : [];
    const targets = lines.map(json).find((line) => line?.type === "deploy")?.targets ?? [];
    const url = targets.find((/** @type {string} */ target) => /^https:\/\/[^ *]+$/.test(target));
    if (url === undefined) {
      throw new ToolError("The relay was deployed, but has no address: give it a workers.dev subdomain or a route.");
    }
    return url.replace(/\/$/, "");
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Runs wrangler to its end, without questions.
 *
 * @param {string[]} wrangler
 * @param {string[]} args
 * @param {string} [input] what it reads
 * @returns {Promise<{ code: number | string, output: string }>}
 */
async function wranglerSays(wrangler, args, input = "") {
  const [program, ...first] = wrangler;
  const child = spawn(program ?? "", [...first, ...args], { cwd: root, env: { ...process.env, WRANGLER_HIDE_BANNER: "true" } });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (/** @type {string} */ text) => (output += text));
  }
  // One that ends without reading is told of by its code.
  child.stdin.on("error", () => {}).end(input);
  return { code: await ended(child), output: output.trim() };
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @returns {Promise<number | string>}
 */
function ended(child) {
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new ToolError(`wrangler does not start: ${error.message}`)));
    child.once("close", (code, signal) => resolve(code ?? signal ?? "no code"));
  });
}

/**
 * The JSON in what a program printed, if there is any.
 *
 * @param {string} text
 * @returns {any}
 */
function json(text) {
  try {
    return JSON.parse(text.slice(text.search(/[[{]/)));
  } catch {
    return undefined;
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main(async () => {
    await npmPackages();
    await rust();
    await deploy({
      wrangler: [process.execPath, join(root, "node_modules", "wrangler", "bin", "wrangler.js")],
      kept: join(root, ".wrangler", "creation-secret"),
      shown: process.stdout.isTTY === true,
      say: (text) => console.log(text),
    });
    return 0;
  });
}
