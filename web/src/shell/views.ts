/** What the navigation shows of each view. */

import type { View } from "../app.js";
import type { IconName } from "../ui/icons.js";

export const VIEW_NAMES: Readonly<Record<View, { readonly name: string; readonly icon: IconName }>> = {
  talk: { name: "Talk", icon: "talk" },
  history: { name: "History", icon: "history" },
  network: { name: "Network", icon: "network" },
  verify: { name: "Verify", icon: "verify" },
  settings: { name: "Settings", icon: "settings" },
};
