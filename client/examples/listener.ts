/**
 * A listener as it was written for earlier systems: plain Socket.IO, without this client.
 *
 *     npx tsx client/examples/listener.ts http://localhost:3000
 *     npx bun client/examples/listener.ts http://localhost:3000
 *
 * Behind the address goes the token of a node that wants one.
 */

import { io } from "socket.io-client";

const url = process.argv[2] ?? "http://localhost:3000";
const socket = io(url, { auth: { token: process.argv[3] ?? "abcd" } });

for (const name of ["auth", "pong", "ledger_entry_added", "ledger_entries", "known_nodes", "error"]) {
  socket.on(name, (value: unknown) => console.log(name, JSON.stringify(value)));
}
socket.on("connect", () => console.log("connected", url));
socket.on("disconnect", (reason) => console.log("disconnected", reason));
socket.on("connect_error", (error) => console.log("no connection", error.message));

setInterval(() => socket.emit("ping", { timestamp: Date.now() }), 4000);
setTimeout(() => socket.emit("add_ledger_entry", { message: "hello", timestamp: Date.now() }), 2000);
setTimeout(() => socket.emit("get_ledger"), 3000);
setTimeout(() => socket.emit("get_known_nodes"), 4000);
