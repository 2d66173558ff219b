/** What a client loads when something is to be checked. */

export { Checker } from "./checker.js";
export { verify } from "./verification.js";
