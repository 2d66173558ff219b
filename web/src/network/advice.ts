/** What is wrong with a node and its network, in plain words, and what to do about it: the gravest first. */

import type { NodeStatus } from "@cairn/client";

import { devicesOf, relaysOf } from "./devices.js";

/** One thing that people should know. */
export interface Advice {
  readonly grade: "alarm" | "warning" | "note" | "good";
  readonly title: string;
  readonly text: string;
}

/** What there is to say; that all is well, if there is nothing else. */
export function adviceOn(status: NodeStatus, connected: boolean): readonly Advice[] {
  if (!connected) {
    return [warning("This page has lost its device", "What you see is how it was last. The page connects again by itself; if it does not, see whether the device is on and Cairn runs on it.")];
  }
  const online = devicesOf(status).filter(({ way }) => way !== "none").length;
  const found = [...ofKey(status, online), ...ofBlocks(status, online), ...ofRelays(status, online), ...ofOthers(status, online)];
  return found.length > 0 ? found : [{ grade: "good", title: "All is well", text: allWell(status, online) }];
}

function ofKey(status: NodeStatus, online: number): readonly Advice[] {
  if (status.removed) {
    return [alarm("This device is out of this ledger", "It was removed, or has left. It keeps what it has and gets nothing new. To come in again it needs a new invite.")];
  }
  if (status.restoring) {
    return [
      alarm(
        "The key of this device was restored from a backup",
        `Nothing can be written until another device has told how far this key had written, so that nothing is signed twice. ${
          online > 0 ? "Others are on line: this ends by itself in a moment." : "Bring another device of the group on line."
        }`,
      ),
    ];
  }
  if (status.open || status.role !== null) return [];
  const text = online > 0 ? "Others are on line and let it in." : "It waits until somebody of the group is on line.";
  return [warning("This device is not in the group yet", text)];
}

function ofBlocks({ repairing, parked, held, links }: NodeStatus, online: number): readonly Advice[] {
  const found: Advice[] = [];
  if (repairing > 0) {
    const how = online > 0 ? "It gets them from others now" : "Bring another device on line: it has them";
    found.push(
      alarm(
        `${blocks(repairing)} of this device ${repairing === 1 ? "is" : "are"} damaged or missing`,
        `${how}. Until they are there nothing can be written here. If it comes again, the disk of this device may be failing.`,
      ),
    );
  }
  const missing = links.reduce((sum, link) => sum + Math.max(0, link.total - link.done), 0);
  if (missing > 0) found.push(note(`${blocks(missing)} on the way to this device`, "It catches up with the others. Nothing is to be done."));
  if (parked.blocks > 0) {
    found.push(
      note(
        `${blocks(parked.blocks)} ${parked.blocks === 1 ? "waits" : "wait"} for others`,
        "They rest on blocks that have not come yet, or were written by a clock that is ahead. They are shown as soon as they can be.",
      ),
    );
  }
  if (held.height > 0 && held.nodes === 0 && online > 0) {
    found.push(note("What you wrote last is on this device alone", "It goes out to others now."));
  }
  return found;
}

function ofRelays(status: NodeStatus, online: number): readonly Advice[] {
  const relays = relaysOf(status);
  const failing = relays.filter(({ state }) => state === "waiting");
  if (relays.length === 0) {
    if (online > 0) return [];
    return [note("This device has no relay", "It finds others in the same network and those whose addresses it knows. To reach people elsewhere, give it the address of a relay.")];
  }
  if (failing.length === 0 || failing.length < relays.length) {
    return failing.map(({ host, reason }) => note(`The relay ${host} cannot be reached`, `${sentence(reason)} Another relay is in use; this one is tried again by itself.`));
  }
  const why = failing.map(({ host, reason }) => (failing.length === 1 ? sentence(reason) : `${host}: ${sentence(reason)}`)).join(" ");
  const inside = online > 0 ? "Devices in the same network still reach one another." : "Devices in the same network would still find one another.";
  return [warning("No relay can be reached", `${why} See whether this device is on the internet. ${inside} It is tried again by itself.`)];
}

function ofOthers(status: NodeStatus, online: number): readonly Advice[] {
  if (online > 0 || status.removed) return [];
  if (devicesOf(status).length === 0) {
    return [note("This device knows no others yet", "What is written is on this device alone. Invite somebody, or come in with a second device of yours.")];
  }
  const own = status.held.height > 0 && status.held.nodes === 0;
  const kept = own ? "What you wrote last is on this device alone until then." : "";
  return [warning("Nobody else is on line", `You can go on writing: it goes out as soon as somebody comes. ${kept}`.trim())];
}

function allWell({ held }: NodeStatus, online: number): string {
  const others = online === 1 ? "One other device is on line" : `${online} other devices are on line`;
  const holders = held.nodes === 1 ? "one of those linked to this one holds" : `${held.nodes} of those linked to this one hold`;
  return held.height > 0 && held.nodes > 0 ? `${others}, and ${holders} everything you wrote.` : `${others}.`;
}

function blocks(count: number): string {
  return count === 1 ? "One block" : `${count.toLocaleString()} blocks`;
}

/** A reason as a sentence; it comes from the network and is only ever text. */
function sentence(reason: string | null): string {
  if (reason === null || reason === "") return "";
  const text = reason.length > 200 ? `${reason.slice(0, 200)}…` : reason;
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?…]$/u.test(text) ? "" : "."}`;
}

function alarm(title: string, text: string): Advice {
  return { grade: "alarm", title, text };
}

function warning(title: string, text: string): Advice {
  return { grade: "warning", title, text };
}

function note(title: string, text: string): Advice {
  return { grade: "note", title, text };
}
