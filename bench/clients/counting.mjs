/** The built relay, as it is, and beside it a count of what it does: events that reach it, and rows that its databases write. */

import { WorkerEntrypoint } from "cloudflare:workers";

import * as relay from "../../relay-worker/build/index.js";

/** Of all objects of this process, which forgets no more than that when one of them sleeps. */
const counts = { requests: 0, rows: 0 };

/** Counts the rows of a statement when the next one begins: by then it has run to its end. */
function counted(sql) {
  const exec = sql.exec.bind(sql);
  let last;
  const settle = () => {
    counts.rows += last?.rowsWritten ?? 0;
    last = undefined;
  };
  Object.defineProperty(sql, "exec", {
    value: (...statement) => {
      settle();
      return (last = exec(...statement));
    },
  });
  return settle;
}

const settles = new Set();

/** A room, whose every event is one that Cloudflare counts. */
export class RoomObject {
  #room;

  constructor(state, env) {
    settles.add(counted(state.storage.sql));
    this.#room = new relay.RoomObject(state, env);
  }

  fetch(...event) {
    return this.#count("fetch", event);
  }

  webSocketMessage(...event) {
    return this.#count("webSocketMessage", event);
  }

  webSocketClose(...event) {
    return this.#count("webSocketClose", event);
  }

  webSocketError(...event) {
    return this.#count("webSocketError", event);
  }

  alarm(...event) {
    return this.#count("alarm", event);
  }

  #count(name, event) {
    counts.requests += 1;
    return this.#room[name](...event);
  }
}

/** What comes from outside; `/counts` says what was counted so far. */
export default class extends WorkerEntrypoint {
  fetch(request) {
    if (new URL(request.url).pathname === "/counts") {
      for (const settle of settles) settle();
      return Response.json(counts);
    }
    counts.requests += 1;
    return new relay.default(this.ctx, this.env).fetch(request);
  }
}
