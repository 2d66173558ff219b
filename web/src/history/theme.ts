/** The page's colours and type for a canvas, which does not know CSS variables, and when they change. */

import type { Theme } from "./paint.js";

/** The theme where an element stands. */
export function themeOf(element: Element): Theme & { readonly person: (hue: number) => string } {
  const style = getComputedStyle(element);
  const value = (name: string): string => style.getPropertyValue(name).trim();
  return {
    surface: value("--surface"),
    line: value("--line"),
    lineStrong: value("--line-strong"),
    ink: value("--ink"),
    inkSoft: value("--ink-soft"),
    inkFaint: value("--ink-faint"),
    accent: value("--accent"),
    alarm: value("--alarm"),
    onPerson: value("--on-person"),
    font: style.fontFamily,
    person: (hue) => value(`--person-${hue}`),
  };
}

/** Calls back when the page turns light or dark; the result ends that. */
export function onThemeChange(changed: () => void): () => void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(changed);
  dark.addEventListener("change", changed);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  return () => {
    dark.removeEventListener("change", changed);
    observer.disconnect();
  };
}
