/** Where a time axis has its ticks, and what they say, in the calendar of whoever looks at it. */

import { lengthOf, xOf, type Span } from "./scale.js";

/** One tick of the axis. */
export interface Tick {
  /** µs since 1970. */
  readonly time: number;
  /** px from the left edge. */
  readonly x: number;
  readonly label: string;
  /** Whether something larger begins here: a day among hours, a year among months. */
  readonly major: boolean;
}

type Unit = "fraction" | "second" | "minute" | "hour" | "day" | "month" | "year";

interface Step {
  readonly unit: Unit;
  /** How many of the unit; of fractions, µs. */
  readonly count: number;
}

const SECOND = 1_000_000;
/** µs of each unit, those of months and years on average. */
const MICROS: Readonly<Record<Unit, number>> = {
  fraction: 1,
  second: SECOND,
  minute: 60 * SECOND,
  hour: 3_600 * SECOND,
  day: 86_400 * SECOND,
  month: 2_629_746 * SECOND,
  year: 31_556_952 * SECOND,
};
const COUNTS: readonly (readonly [Unit, readonly number[]])[] = [
  ["fraction", [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000]],
  ["second", [1, 2, 5, 10, 15, 30]],
  ["minute", [1, 2, 5, 10, 15, 30]],
  ["hour", [1, 2, 3, 6, 12]],
  ["day", [1, 2, 7]],
  ["month", [1, 3, 6]],
  ["year", [1, 2, 5, 10, 20, 50, 100]],
];
const STEPS: readonly Step[] = COUNTS.flatMap(([unit, counts]) => counts.map((count) => ({ unit, count })));
/** px that a label takes, and some air. */
const APART = 84;
/** Ticks at most, whatever the width. */
const MOST = 64;

/** The ticks of a span that is drawn so wide. */
export function ticks(span: Span, width: number, locale?: string): readonly Tick[] {
  const step = stepOf(span, width);
  const found: Tick[] = [];
  for (let time = firstOf(step, span.from); time <= span.to && found.length < MOST; time = nextOf(step, time)) {
    if (time < span.from) continue;
    found.push({ time, x: xOf(span, width, time), label: label(step, time, locale), major: isMajor(step, time) });
  }
  return found;
}

/** A moment in full: day, and time to the second. */
export function moment(time: number, locale?: string): string {
  return format(time, { dateStyle: "long", timeStyle: "medium" }, locale);
}

/** A moment as exactly as the span in view asks for: the day alone, or with the time. */
export function momentIn(span: Span, time: number, locale?: string): string {
  const length = lengthOf(span);
  if (length > 120 * MICROS.day) return format(time, { dateStyle: "long" }, locale);
  if (length < 2 * MICROS.minute) return format(time, PRECISE, locale);
  const timeStyle = length > 2 * MICROS.hour ? "short" : "medium";
  return format(time, { dateStyle: "medium", timeStyle }, locale);
}

/** To the ms: of blocks that were written one right behind the other the seconds do not tell which. */
const PRECISE = {
  month: "short",
  day: "numeric",
  hour: "numeric",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
} as const;

/** How long a span is, in its two largest units at most: "3 days", "2 h 5 min". */
export function duration(micros: number): string {
  const named = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`;
  if (micros >= 2 * MICROS.year) return named(Math.round(micros / MICROS.year), "year");
  if (micros >= 2 * MICROS.month) return named(Math.round(micros / MICROS.month), "month");
  if (micros >= 2 * MICROS.day) return named(Math.round(micros / MICROS.day), "day");
  if (micros >= MICROS.hour) return `${Math.floor(micros / MICROS.hour)} h ${minutesOf(micros)} min`;
  if (micros >= MICROS.minute) return `${minutesOf(micros)} min ${Math.floor((micros % MICROS.minute) / SECOND)} s`;
  if (micros >= SECOND) return `${(micros / SECOND).toFixed(1)} s`;
  return `${(micros / 1_000).toFixed(1)} ms`;
}

function minutesOf(micros: number): number {
  return Math.floor((micros % MICROS.hour) / MICROS.minute);
}

function stepOf(span: Span, width: number): Step {
  const least = (lengthOf(span) / Math.max(1, width)) * APART;
  return STEPS.find(({ unit, count }) => MICROS[unit] * count >= least) ?? STEPS.at(-1)!;
}

/** The last moment of a step at or before `time`. */
function firstOf({ unit, count }: Step, time: number): number {
  if (unit === "fraction") return Math.floor(time / count) * count;
  const date = new Date(time / 1_000);
  if (unit === "second") return date.setSeconds(down(date.getSeconds(), count), 0) * 1_000;
  if (unit === "minute") return date.setMinutes(down(date.getMinutes(), count), 0, 0) * 1_000;
  if (unit === "hour") return date.setHours(down(date.getHours(), count), 0, 0, 0) * 1_000;
  date.setHours(0, 0, 0, 0);
  // Weeks begin on Monday; two days count from the first of their month.
  if (unit === "day" && count === 7) date.setDate(date.getDate() - ((date.getDay() + 6) % 7));
  else if (unit === "day") date.setDate(1 + down(date.getDate() - 1, count));
  else if (unit === "month") date.setMonth(down(date.getMonth(), count), 1);
  else date.setFullYear(down(date.getFullYear(), count), 0, 1);
  return date.getTime() * 1_000;
}

/** The moment of a step behind one. Hours and longer go by the calendar: where clocks change, a day has 23 hours. */
function nextOf(step: Step, time: number): number {
  const { unit, count } = step;
  if (unit === "fraction" || unit === "second" || unit === "minute") return time + MICROS[unit] * count;
  const date = new Date(time / 1_000);
  if (unit === "hour") date.setHours(date.getHours() + count);
  else if (unit === "day") date.setDate(date.getDate() + count);
  else if (unit === "month") date.setMonth(date.getMonth() + count);
  else date.setFullYear(date.getFullYear() + count);
  // The 31st is followed by the 1st, so that steps of two days are those of the month again.
  const next = unit === "day" && count === 2 && date.getDate() === 2 ? date.setDate(1) : date.getTime();
  return Math.max(next * 1_000, time + MICROS.minute);
}

function isMajor({ unit }: Step, time: number): boolean {
  const date = new Date(time / 1_000);
  if (unit === "fraction") return time % SECOND === 0;
  if (unit === "second") return date.getSeconds() === 0;
  if (unit === "minute" || unit === "hour") return date.getHours() === 0 && date.getMinutes() === 0;
  if (unit === "day" || unit === "month") return date.getMonth() === 0 && (unit === "month" || date.getDate() === 1);
  return false;
}

function label(step: Step, time: number, locale?: string): string {
  const { unit, count } = step;
  if (unit === "year") return format(time, { year: "numeric" }, locale);
  if (unit === "month") return format(time, isMajor(step, time) ? { year: "numeric" } : { month: "short" }, locale);
  if (unit === "day") {
    return isMajor(step, time)
      ? format(time, { year: "numeric" }, locale)
      : format(time, { day: "numeric", month: "short" }, locale);
  }
  if ((unit === "hour" || unit === "minute") && isMajor(step, time)) {
    return format(time, { day: "numeric", month: "short" }, locale);
  }
  const clock: Intl.DateTimeFormatOptions = { timeStyle: "short" };
  if (unit === "hour" || unit === "minute") return format(time, clock, locale);
  const seconds = format(time, { timeStyle: "medium" }, locale);
  if (unit === "second" || time % SECOND === 0) return seconds;
  const digits = count >= 100_000 ? 1 : count >= 10_000 ? 2 : count >= 1_000 ? 3 : 4;
  return `.${String(time % SECOND).padStart(6, "0").slice(0, digits)} s`;
}

function down(value: number, count: number): number {
  return value - (value % count);
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** A moment in the words of a locale. Formats are made once: to make one takes longer than to draw a frame. */
function format(time: number, options: Intl.DateTimeFormatOptions, locale?: string): string {
  const key = `${locale ?? ""}${JSON.stringify(options)}`;
  const made = formats.get(key) ?? new Intl.DateTimeFormat(locale, options);
  formats.set(key, made);
  return made.format(time / 1_000);
}
