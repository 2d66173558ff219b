/** The environment in which the scripts and tests run other tools: quiet, without questions, without reports to anyone. */

const quiet = {
  CI: "1",
  DO_NOT_TRACK: "1",
  NO_UPDATE_NOTIFIER: "1",
  // `wrangler dev` would otherwise ask for the place of this machine on the globe and for newer versions, and report errors.
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_HIDE_BANNER: "true",
  WRANGLER_SEND_ERROR_REPORTS: "false",
  WRANGLER_SEND_METRICS: "false",
  X_LOCAL_EXPLORER: "false",
};

/**
 * Clippy stands in the compiler's place and lints what it compiles, so that dependencies are not checked once more beside
 * being built.
 */
export const LINTED = {
  RUSTC_WORKSPACE_WRAPPER: "clippy-driver",
  CLIPPY_ARGS: "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
};
/** It leaves optimisations out for that, which wasm is to have. */
export const PLAIN = { RUSTC_WORKSPACE_WRAPPER: undefined };

/**
 * The environment of a child process.
 *
 * @param {Record<string, string | undefined>} [extra] set on top
 * @returns {NodeJS.ProcessEnv}
 */
export function environment(extra = {}) {
  return { ...process.env, ...quiet, ...extra };
}
