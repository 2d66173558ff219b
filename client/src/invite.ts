/** Invites: whom they let in, and the links that carry them. */

import type { Role } from "./types.js";

/** Whom to let in. Everything has a default. */
export interface InviteOptions {
  /** What they may do; `member` if not given. */
  readonly role?: Role | undefined;
  /** How many may come in; one if not given. */
  readonly uses?: number | undefined;
  /** For how many seconds, `null`: for ever; seven days if not given. */
  readonly expiresIn?: number | null | undefined;
}

/** An invite. Whoever has it reads what the group wrote, so it belongs into no log. */
export class Invite {
  /** What `cairn join` takes, and what a link carries. */
  readonly token: string;

  /** @internal */
  constructor(token: string) {
    this.token = token;
  }

  /**
   * The link that opens a page with the invite. The invite stands behind `#`, which browsers send to no server.
   *
   * @example
   * ```ts
   * (await ledger.invite()).link("https://relay.example/");
   * ```
   */
  link(page: string | URL): string {
    const url = new URL(page);
    url.hash = `join=${this.token}`;
    return url.href;
  }
}
