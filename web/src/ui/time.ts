/** Times in words, in the reader's own language and zone. */

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const HOUR = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const DAY_OF_YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

const MINUTE = 60_000;
const HOURS = 60 * MINUTE;
const DAYS = 24 * HOURS;

/** All of it, for whoever wants to know. */
export function exact(at: number): string {
  return EXACT.format(at);
}

/** The time of day. */
export function hour(at: number): string {
  return HOUR.format(at);
}

/** A day: "Today", "Yesterday", a weekday, or a date. */
export function day(at: number, now: number): string {
  const days = Math.round((midnight(now) - midnight(at)) / DAYS);
  if (days === 0 || days === 1) return capital(AGO.format(-days, "day"));
  return (days > 1 && days < 180 ? DAY : DAY_OF_YEAR).format(at);
}

/** How long ago. */
export function ago(at: number, now: number): string {
  const passed = now - at;
  if (passed < MINUTE) return AGO.format(0, "second");
  if (passed < HOURS) return AGO.format(-Math.floor(passed / MINUTE), "minute");
  if (passed < DAYS) return AGO.format(-Math.floor(passed / HOURS), "hour");
  if (passed < 7 * DAYS) return AGO.format(-Math.floor(passed / DAYS), "day");
  return DAY_OF_YEAR.format(at);
}

function midnight(at: number): number {
  return new Date(at).setHours(0, 0, 0, 0);
}

function capital(text: string): string {
  return text.charAt(0).toLocaleUpperCase() + text.slice(1);
}
