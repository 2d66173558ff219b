/** Where the page begins. */

import { mount } from "svelte";

import App from "./App.svelte";
import { keepShell } from "./install.svelte.js";
import { applyTheme, theme } from "./theme.js";
import "./ui/tokens.css";

const target = document.getElementById("app");
if (target === null) throw new Error("the document has no element #app");
// Before anything is drawn, so that nothing flashes.
applyTheme(theme());
mount(App, { target });
void keepShell();
