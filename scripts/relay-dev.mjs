/** How a relay that is built already runs in workerd: `wrangler dev` that builds nothing and writes only where it is told. */

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { environment } from "./environment.mjs";
import { root, run, ToolError } from "./relay-tools.mjs";

/**
 * @typedef {object} RelayOptions
 * @property {string} directory for the configuration, logs and caches; made if it is missing
 * @property {string} state where the ledgers are kept
 * @property {string} ip the address to listen on
 * @property {number} port the port, 0 for a free one
 * @property {Record<string, string>} vars variables and secrets of the relay: who may make ledgers, above all
 */

/**
 * The command that runs the relay.
 *
 * @param {RelayOptions} options
 * @returns {{ command: string, args: string[], env: NodeJS.ProcessEnv, cwd: string }}
 */
export function relayCommand({ directory, state, ip, port, vars }) {
  mkdirSync(directory, { recursive: true });
  const config = join(directory, "wrangler.toml");
  writeFileSync(config, builtConfig());
  const wrangler = join(root, "node_modules", "wrangler", "bin", "wrangler.js");
  const options = { config, ip, port, "inspector-port": 0, "persist-to": state, "show-interactive-dev-session": false };
  const args = [wrangler, "dev", ...Object.entries(options).map(([name, value]) => `--${name}=${value}`)];
  args.push(...Object.entries(vars).flatMap(([name, value]) => ["--var", `${name}:${value}`]));
  const env = environment({
    WRANGLER_CACHE_DIR: join(directory, "cache"),
    WRANGLER_LOG_PATH: join(directory, "logs"),
    WRANGLER_REGISTRY_PATH: join(directory, "registry"),
  });
  return { command: process.execPath, args, env, cwd: directory };
}

/** What the relay is made of. */
const SOURCES = [
  "relay-worker/src",
  "shared/src",
  "relay-worker/Cargo.toml",
  "shared/Cargo.toml",
  "Cargo.toml",
  "Cargo.lock",
];

/** Builds the relay, unless it is newer than all that it is made of: its last step alone takes 20 s. */
export async function buildRelay() {
  const built = join(root, "relay-worker", "build", "index.js");
  if (existsSync(built) && SOURCES.every((source) => newest(join(root, source)) < statSync(built).mtimeMs)) return;
  await run(process.execPath, [join(root, "scripts", "relay-build.mjs")], { env: environment() });
}

/**
 * When the newest file of a folder, or a file, was written.
 *
 * @param {string} path
 * @returns {number}
 */
function newest(path) {
  const stat = statSync(path);
  const inside = stat.isDirectory() ? readdirSync(path).map((name) => newest(join(path, name))) : [];
  return Math.max(stat.mtimeMs, ...inside);
}

/** The relay's configuration without its build, and with a path that holds everywhere. */
function builtConfig() {
  const config = readFileSync(join(root, "wrangler.toml"), "utf8");
  const main = /^main\s*=\s*"([^"]+)"/m.exec(config)?.[1];
  if (main === undefined) throw new ToolError("wrangler.toml names no `main`");
  const built = join(root, main);
  if (!existsSync(built)) throw new ToolError(`There is no ${main}: run \`node scripts/relay-build.mjs\` first.`);
  const withoutBuild = config.replace(/^\[build\]\r?\n(?:(?!\[).*\r?\n)*/m, "");
  return withoutBuild.replace(/^main\s*=.*$/m, `main = ${JSON.stringify(built)}`);
}
