/** The rules in wasm, loaded when they are first needed. */

import init, * as wasm from "../../wasm/build/cairn_wasm.js";

export type Rules = typeof wasm;
export type Audit = wasm.Audit;

let loading: Promise<Rules> | undefined;

/** The rules, ready to be used. */
export function rules(): Promise<Rules> {
  loading ??= load();
  return loading;
}

async function load(): Promise<Rules> {
  const { process } = globalThis as { process?: { versions?: { node?: string } } };
  if (process?.versions?.node === undefined) {
    await init();
    return wasm;
  }
  // Node.js and Bun fetch no files. The name is not to be seen by bundlers, which have no such module for a page.
  const files = "node:fs/promises";
  const { readFile } = (await import(/* @vite-ignore */ files)) as { readFile(path: URL): Promise<Uint8Array<ArrayBuffer>> };
  await init({ module_or_path: await readFile(new URL("../../wasm/build/cairn_wasm_bg.wasm", import.meta.url)) });
  return wasm;
}
