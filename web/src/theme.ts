/** Light or dark: as the device says, unless the person says otherwise. */

import { KEY, keep, recall } from "./storage.js";

export type Theme = "auto" | "light" | "dark";

export function theme(): Theme {
  const kept = recall(KEY.theme);
  return kept === "light" || kept === "dark" ? kept : "auto";
}

export function setTheme(theme: Theme): void {
  keep(KEY.theme, theme === "auto" ? null : theme);
  applyTheme(theme);
}

export function applyTheme(theme: Theme): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}
