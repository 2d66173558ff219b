/**
 * A peer on the relay's open side: JSON over a WebSocket, without this client.
 *
 *     npx tsx client/examples/peer.ts ws://localhost:8787
 *     npx bun client/examples/peer.ts ws://localhost:8787
 */

import { randomUUID } from "node:crypto";

import { WebSocket } from "ws";

const url = process.argv[2] ?? "ws://localhost:8787";
const id = randomUUID();
const socket = new WebSocket(url);

function send(message_type: string, payload: object): void {
  socket.send(JSON.stringify({ message_type, message_id: randomUUID(), sender_id: id, recipient_id: "", payload }));
}

socket.on("open", () => {
  console.log("connected", url);
  send("NodeAnnounce", { node_id: id });
  send("NodeListRequest", {});
});
socket.on("message", (data) => console.log(String(data)));
socket.on("close", (code, reason) => console.log("disconnected", code, String(reason)));
socket.on("error", (error) => console.log("error", error.message));
