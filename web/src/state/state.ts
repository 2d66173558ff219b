/** Everything that the page shows, as one value. */

import { emptyGroup, type Group } from "./group.js";
import { emptySession, type Session } from "./session.js";
import { emptyTimeline, type Timeline } from "./timeline.js";
import type { Outgoing } from "./outbox.js";

export interface State {
  readonly session: Session;
  /** The ledger that is shown, without its entries. */
  readonly group: Group;
  readonly timeline: Timeline;
  /** What was written here and is not known to be in the ledger, the oldest first. */
  readonly outbox: readonly Outgoing[];
}

export const INITIAL: State = {
  session: emptySession(),
  group: emptyGroup(),
  timeline: emptyTimeline(),
  outbox: [],
};
