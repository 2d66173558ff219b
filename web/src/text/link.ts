/** Where a link leads, and what has to be said of it so that its text hides nothing. */

/** A link that may be followed. */
export interface Target {
  readonly href: string;
  /** The host, in the form in which two that look the same differ; of an e-mail the address. */
  readonly host: string;
}

/** Parses a link; `undefined` unless it is one to the web or an e-mail address. */
export function safeLink(written: string): Target | undefined {
  let url: URL;
  try {
    url = new URL(written);
  } catch {
    return undefined;
  }
  if (url.protocol === "mailto:") return { href: url.href, host: url.pathname };
  if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
  // "https://bank.example@elsewhere.example" leads elsewhere: nobody writes that to be understood.
  if (url.username !== "" || url.password !== "") return undefined;
  return { href: url.href, host: url.host };
}

/** The host if the text does not begin with it, so that a reader knows where the link leads. */
export function hiddenHost(text: string, target: Target): string | undefined {
  const shown = text.trim().toLowerCase().replace(/^(?:https?:\/\/|mailto:)/u, "");
  const rest = shown.startsWith(target.host) ? shown.slice(target.host.length) : undefined;
  return rest !== undefined && /^(?:$|[/?#])/u.test(rest) ? undefined : target.host;
}
