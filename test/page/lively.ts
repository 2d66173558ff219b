/** A group in which people talk, to be looked at: three devices at a relay, and a conversation with all that a note can be. */

import type { BrowserContext } from "playwright-core";

import type { Client, Json } from "../../client/src/index.js";
import { until, type NodeProcess, type World } from "../e2e/harness.js";
import { clientOf } from "./person.js";

/** The group, as its people's devices have it. */
export interface Lively {
  readonly ledger: string;
  /** Anna founded it, Ben and Mira came in. */
  readonly nodes: Readonly<Record<"anna" | "ben" | "mira", NodeProcess>>;
  /** Where Anna reads. */
  readonly url: string;
}

type Who = "anna" | "ben" | "mira";

/** Makes the group and lets them talk. */
export async function lively(world: World, context: BrowserContext): Promise<Lively> {
  const relay = await world.relay();
  const [anna, ben, mira] = await Promise.all([1, 2, 3].map(() => world.node({ relay: relay.url })));
  const nodes = { anna: anna!, ben: ben!, mira: mira! };
  const founder = clientOf<Json>(world, nodes.anna.url);
  const { id } = await founder.createLedger("The allotments", { nickname: "Anna" });
  const clients = { anna: clientOf<Json>(world, nodes.anna.url, id), ben: clientOf<Json>(world, nodes.ben.url, id), mira: clientOf<Json>(world, nodes.mira.url, id) };
  const invite = await clients.anna.invite({ role: "member", uses: 10, expiresIn: 86_400 });
  const token = decodeURIComponent(new URL(invite.link("http://127.0.0.1/")).hash.replace("#join=", ""));
  for (const [who, nickname] of [["ben", "Ben"], ["mira", "Mira"]] as const) {
    await clientOf<Json>(world, nodes[who].url).joinLedger(token, { nickname });
    await until(async () => (await clients[who].status()).role === "member", `${who} is in`);
  }
  await talk(clients, await plan(context));
  const heights = async (): Promise<readonly string[]> => Promise.all(Object.values(clients).map(async (client) => (await client.status()).digest));
  await until(async () => new Set(await heights()).size === 1, "all have all");
  return { ledger: id, nodes, url: `${nodes.anna.url}/#/${id}/talk` };
}

async function talk(clients: Readonly<Record<Who, Client<Json>>>, image: string): Promise<void> {
  // Each has what was said before, or the order would be another one.
  const say = async (who: Who, data: Json): Promise<string> => {
    const { id } = await clients[who].append(data);
    for (const client of Object.values(clients)) await until(async () => (await client.entry(id)).id === id, "it arrived");
    return id;
  };
  const note = (who: Who, text: string, more: Readonly<Record<string, Json>> = {}): Promise<string> => say(who, { type: "note", text, ...more });
  await note("anna", "Morning, all! The water is back on at the **lower gate**. Please close the tap *properly* this time.");
  const compost = await note("ben", "Thanks! I have two cubic metres of compost to share. First come, first served.");
  await say("anna", { type: "reaction", of: compost, emoji: "🌱" });
  await say("mira", { type: "reaction", of: compost, emoji: "🌱" });
  await say("mira", { type: "reaction", of: compost, emoji: "🙏" });
  await note("mira", "I would take a barrow or two. Is Saturday all right?", { reply_to: compost });
  const shifts = await note("ben", "Any time. Watering shifts for next week:\n\n- Mo, Tu: Ben\n- We, Th: Mira\n- Fr to Su: Anna");
  await say("mira", { type: "edit", of: shifts, text: "no, it is not mine to change" });
  await say("ben", { type: "edit", of: shifts, text: "Any time. Watering shifts for next week:\n\n- Mo, Tu: Ben\n- We, Th: Mira\n- Fr to Su: Anna (thank you!)" });
  const map = await note("anna", "The new plan of the beds. Number 7 is still free:", { image });
  await say("ben", { type: "reaction", of: map, emoji: "👍" });
  const wrong = await note("mira", "Number 7 is mine!");
  await say("mira", { type: "removal", of: wrong });
  await note("mira", "> Number 7 is still free\n\nMy sister would like it. The form is at https://allotments.example/form, and the lock’s code is `4711`.");
  await note("anna", "She is welcome. I send her a link.");
}

/** A picture: beds of a garden, drawn by the browser. */
async function plan(context: BrowserContext): Promise<string> {
  const page = await context.newPage();
  try {
    return await page.evaluate(() => {
      const canvas = document.createElement("canvas");
      canvas.width = 400;
      canvas.height = 150;
      const draw = canvas.getContext("2d");
      if (draw === null) throw new Error("this browser does not draw");
      draw.fillStyle = "#c9d8a8";
      draw.fillRect(0, 0, 400, 150);
      draw.fillStyle = "#e4d6b4";
      draw.fillRect(0, 67, 400, 16);
      draw.font = "600 22px sans-serif";
      draw.textAlign = "center";
      draw.textBaseline = "middle";
      for (let bed = 0; bed < 8; bed++) {
        const [x, y] = [12 + (bed % 4) * 95, bed < 4 ? 10 : 91];
        draw.fillStyle = bed === 6 ? "#f3ead2" : ["#7d9b57", "#8d6b48", "#6f8f6a", "#a3894f"][bed % 4]!;
        draw.fillRect(x, y, 86, 49);
        draw.fillStyle = bed === 6 ? "#5a4a2a" : "#ffffff";
        draw.fillText(String(bed + 1), x + 43, y + 26);
      }
      return canvas.toDataURL("image/webp", 0.8);
    });
  } finally {
    await page.close();
  }
}
