/** Everything that can happen to the state. */

import type { GroupEvent } from "./group.js";
import type { OutboxEvent } from "./outbox.js";
import type { SessionEvent } from "./session.js";
import type { TimelineEvent } from "./timeline.js";

/** Another ledger is shown from here on: nothing of the one before holds. */
export interface Opened {
  readonly type: "opened";
  readonly ledger: string;
}

export type Event = Opened | SessionEvent | GroupEvent | TimelineEvent | OutboxEvent;
