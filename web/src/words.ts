/** What went wrong, in words for people. */

import { CairnError } from "@cairn/client";

/** Why something did not work, for people. */
export function inWords(error: unknown): string {
  if (!(error instanceof CairnError)) return `Something in this page went wrong: ${String(error)}`;
  const words: Readonly<Record<string, string>> = {
    timeout: "The node did not answer in time.",
    outcome_unknown: "The connection was lost before the node answered: look whether it happened before you try again.",
    no_invite: "This is no invite, or a damaged one.",
    used_key: "This device used this invite before.",
    wrong_name: "A name has 1 to 64 characters, and none that cannot be seen.",
    unknown_entry: "This device does not have that entry.",
    not_allowed: "Your role does not allow this.",
    unknown_event: "This node is too old for this: update it.",
  };
  return words[error.code] ?? sentence(error.message);
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/u.test(text) ? "" : "."}`;
}
