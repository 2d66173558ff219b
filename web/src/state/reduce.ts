/** The page's one machine: what the state becomes when something happens. */

import type { Event } from "./event.js";
import { emptyGroup, reduceGroup, type GroupEvent } from "./group.js";
import { reduceOutbox, type OutboxEvent } from "./outbox.js";
import { reduceSession, type SessionEvent } from "./session.js";
import type { State } from "./state.js";
import { emptyTimeline, reduceTimeline, type TimelineEvent } from "./timeline.js";

/** Pure. Parts that an event does not concern stay the same values, so whoever shows them has nothing to do. */
export function reduce(state: State, event: Event): State {
  if (event.type === "opened") {
    return { session: state.session, group: emptyGroup(), timeline: emptyTimeline(), outbox: [] };
  }
  const session = reduceSession(state.session, event as SessionEvent);
  const group = reduceGroup(state.group, event as GroupEvent);
  const timeline = reduceTimeline(state.timeline, event as TimelineEvent);
  const outbox = reduceOutbox(state.outbox, event as OutboxEvent);
  const same =
    session === state.session && group === state.group && timeline === state.timeline && outbox === state.outbox;
  return same ? state : { session, group, timeline, outbox };
}
