/** The opening handshake of a WebSocket at a relay, by hand. */

import { randomBytes } from "node:crypto";
import { request } from "node:http";

import type { Relay } from "../../test/e2e/harness.js";

export interface Answer {
  readonly status: number;
  readonly code?: string;
  readonly error?: string;
}

/** Asks for a WebSocket with exactly these headers; 101 is closed again at once. */
export function upgrade(relay: Relay, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const all = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
    ...headers,
  };
  return new Promise((resolve, reject) => {
    const outgoing = request(relay.http + path, { headers: all }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, ...(JSON.parse(body) as object) }));
    });
    outgoing.on("upgrade", (_response, socket) => {
      socket.destroy();
      resolve({ status: 101 });
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

/** The path of a ledger's room. */
export const room = (ledger: Buffer = randomBytes(32)): string => `/ledger/${ledger.toString("hex")}`;

/** How a relay's secret is shown. */
export const bearer = (secret: string): Record<string, string> => ({ Authorization: `Bearer ${secret}` });
