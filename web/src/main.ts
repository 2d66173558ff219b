/** Where the page begins. */

import { mount } from "svelte";

import App from "./App.svelte";
import "./ui/tokens.css";

const target = document.getElementById("app");
if (target === null) throw new Error("the document has no element #app");
mount(App, { target });
