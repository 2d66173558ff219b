/** Calls the person when something was written while the page was in the background. */

import { KEY, keep, recall } from "./storage.js";
import { nameSafe } from "./text/safe.js";

/** Characters of a note that a notification shows. */
const LENGTH = 160;

/** Whether the browser has notifications at all, for this page. */
export function asksToNotify(): boolean {
  return "Notification" in globalThis && isSecureContext;
}

export function notifies(): boolean {
  return asksToNotify() && recall(KEY.notify) === "yes" && Notification.permission === "granted";
}

/** Turns it on or off; resolves with whether it is on. */
export async function setNotifies(wanted: boolean): Promise<boolean> {
  const on = wanted && asksToNotify() && (await Notification.requestPermission()) === "granted";
  keep(KEY.notify, on ? "yes" : null);
  return on;
}

/** One notification for each ledger: the newest note takes the place of the one before. */
export function notify(ledger: string, title: string, text: string, onclick: () => void): void {
  if (!notifies() || !document.hidden) return;
  const notification = new Notification(nameSafe(title), { body: text.slice(0, LENGTH), tag: ledger, icon: "/icon.svg" });
  notification.onclick = () => {
    focus();
    notification.close();
    onclick();
  };
}
