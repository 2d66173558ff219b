/**
 * Keeps the page's shell, so that it opens also while the node is away: the page itself and its built files, which never
 * change under their names. Nothing of any ledger is kept here.
 */

const SHELL = "cairn-shell-1";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (request.mode === "navigate" && pathname === "/") event.respondWith(newest(request));
  else if (pathname.startsWith("/assets/") || pathname === "/icon.svg" || pathname === "/manifest.webmanifest") event.respondWith(kept(request));
});

/** The page as the node has it now; as it was last where the node does not answer. */
async function newest(request) {
  const shell = await caches.open(SHELL);
  try {
    const answer = await fetch(request);
    if (answer.ok) await renew(shell, answer.clone());
    return answer;
  } catch (error) {
    const page = await shell.match("/");
    if (page === undefined) throw error;
    return page;
  }
}

async function kept(request) {
  const shell = await caches.open(SHELL);
  const found = await shell.match(request);
  if (found !== undefined) return found;
  const answer = await fetch(request);
  if (answer.ok) await shell.put(request, answer.clone());
  return answer;
}

/** Another page is another build: the files of the one before are not needed any more. */
async function renew(shell, answer) {
  const before = await shell.match("/");
  const text = await answer.clone().text();
  if (before !== undefined && (await before.text()) !== text) {
    for (const request of await shell.keys()) await shell.delete(request);
  }
  await shell.put("/", answer);
}
