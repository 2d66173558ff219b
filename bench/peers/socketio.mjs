/**
 * Socket.IO on Node.js: a server and clients that have no ledger between them.
 *
 * Mode: WebSockets on loopback from the start, without polling; the server and each client are processes of their own.
 * Durability: none. `append` keeps entries in the server's memory and acknowledges them; `live` and `serve` keep nothing.
 * What is verified: nothing.
 */

import { once } from "node:events";
import { createServer } from "node:http";

import { Server } from "socket.io";
import { io } from "socket.io-client";

import { Arrivals, line, main, measureLive, now, percentile, print, usages, used } from "./harness.mjs";

async function live(run) {
  const server = await run.start("server");
  const url = await server.ask("url");
  const [writer, reader] = [await run.start("client", { url }), await run.start("client", { url })];
  await measureLive("socketio", run.options.entries, writer, reader, [server, writer, reader]);
}

async function append(run) {
  const { entries, window } = run.options;
  const server = await run.start("server");
  const writer = await run.start("client", { url: await server.ask("url") });
  const processes = [server, writer];
  const before = await usages(processes);
  const ms = await writer.ask("append", entries, window);
  const after = await usages(processes);
  const kept = await server.ask("kept");
  if (kept !== entries) throw new Error(`${kept} entries were kept, not ${entries}`);
  print("socketio:append", (entries * 1_000) / ms, { cpu: used(before, after).cpu, memory: after[0].memory });
}

async function one(run) {
  const { trips } = run.options;
  const server = await run.start("server");
  const writer = await run.start("client", { url: await server.ask("url") });
  const before = await usages([server]);
  const times = await writer.ask("trips", trips);
  const of = used(before, await usages([server]));
  if ((await server.ask("kept")) !== trips) throw new Error("not all entries were kept");
  print("socketio:append/one", percentile(times, 50), of);
}

/** Hands on what each says to all others, until a signal ends it. */
async function serve() {
  console.log(JSON.stringify({ listening: await listen() }));
  await new Promise(() => {});
}

/** A server that hands on what is said and keeps what is appended; resolves to where it listens. */
async function listen(/** @type {string[]} */ kept = []) {
  const http = createServer();
  new Server(http).on("connection", (socket) => {
    socket.on("say", (payload, said) => {
      socket.broadcast.emit("said", payload);
      said?.();
    });
    socket.on("append", (entry, appended) => {
      kept.push(entry);
      appended(kept.length - 1);
    });
  });
  await once(http.listen(0, "127.0.0.1"), "listening");
  return `http://127.0.0.1:${http.address().port}`;
}

async function server() {
  /** @type {string[]} */
  const kept = [];
  const url = await listen(kept);
  return {
    url: () => url,
    /** How many entries are kept. Fails if one is not what was written. */
    kept: () => {
      const wrong = kept.findIndex((entry, number) => entry !== line(number));
      if (wrong >= 0) throw new Error(`entry ${wrong} was not kept as it was written`);
      return kept.length;
    },
  };
}

async function client({ url }) {
  const socket = io(url, { transports: ["websocket"] });
  const arrivals = new Arrivals();
  socket.on("said", (text) => arrivals.note(text));
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
  return {
    /** When the call was made. */
    write: (number) => {
      const text = line(number);
      const called = now();
      socket.emit("say", text, () => {});
      return called;
    },
    arrival: (number) => arrivals.of(line(number)),
    /** How long it takes until all are acknowledged, ms, with `window` of them on their way. */
    append: (entries, window) =>
      new Promise((resolve) => {
        const began = now();
        let [sent, acknowledged] = [0, 0];
        const send = () => socket.emit("append", line(sent++), onAck);
        const onAck = () => {
          acknowledged++;
          if (acknowledged === entries) resolve(now() - began);
          else if (sent < entries) send();
        };
        while (sent < Math.min(window, entries)) send();
      }),
    /** How long each takes until it is acknowledged, ms, one after the other. */
    trips: async (entries) => {
      const times = [];
      for (let number = 0; number < entries; number++) {
        const called = now();
        await socket.emitWithAck("append", line(number));
        times.push(now() - called);
      }
      return times;
    },
  };
}

await main(
  import.meta.filename,
  {
    live: { options: { entries: 1_000 }, run: live },
    append: { options: { entries: 100_000, window: 1_000 }, run: append },
    one: { options: { trips: 2_000 }, run: one },
    serve: { run: serve, serves: true },
  },
  { server, client },
);
