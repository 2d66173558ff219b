/** The page's one machine: what the state becomes when something happens. */

import type { Event } from "./event.js";
import { emptyGroup, reduceGroup } from "./group.js";
import { reduceOutbox } from "./outbox.js";
import { reduceSession } from "./session.js";
import type { State } from "./state.js";
import { emptyTimeline, reduceTimeline } from "./timeline.js";

/** Pure. Parts that an event does not concern stay the same values, so whoever shows them has nothing to do. */
export function reduce(state: State, event: Event): State {
  if (event.type === "opened") {
    return { session: reduceSession(state.session, event), group: emptyGroup(), timeline: emptyTimeline(), outbox: [] };
  }
  const session = reduceSession(state.session, event);
  const group = reduceGroup(state.group, event);
  const timeline = reduceTimeline(state.timeline, event);
  const outbox = reduceOutbox(state.outbox, event);
  const same =
    session === state.session && group === state.group && timeline === state.timeline && outbox === state.outbox;
  return same ? state : { session, group, timeline, outbox };
}
