/** How the page is built, and served while it is worked on. */

import { fileURLToPath } from "node:url";

import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type UserConfig } from "vite";

const node = process.env["CAIRN_NODE"] ?? "http://127.0.0.1:3000";

const CONFIG: UserConfig = {
  root: fileURLToPath(new URL(".", import.meta.url)),
  plugins: [svelte()],
  resolve: {
    // The source, so that the page and its client are always of one state.
    alias: { "@cairn/client": fileURLToPath(new URL("../client/src/index.ts", import.meta.url)) },
  },
  build: {
    target: "es2022",
    // The node's policy allows no `data:` in styles or scripts, so nothing is put inline.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        // Two files, of which the first is all that the conversation needs: small ones compress worse, each by itself.
        codeSplitting: {
          includeDependenciesRecursively: false,
          groups: [
            { name: "later", test: /web\/src\/(settings|verify|network|history)\/|web\/src\/group\/(Invite|Qr)|lean-qr/ },
            { name: "page", test: /./ },
          ],
        },
      },
    },
  },
  worker: { format: "es" },
  server: { proxy: { "/socket.io": { target: node, ws: true, headers: { origin: node, host: new URL(node).host } } } },
};

// What is built is for its users, whatever NODE_ENV the shell has: else Svelte's own checks go along and no worker is registered.
export default defineConfig(({ command }) => {
  if (command === "build") process.env["NODE_ENV"] = "production";
  return CONFIG;
});
