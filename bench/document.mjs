/** What is made of results: the tables of `just bench`, and `docs/BENCHMARKS.md`. */

import { FIGURES, FLOOR, OWN, PEERS, SCALE } from "./figures.mjs";

/**
 * @typedef {object} Run
 * @property {number} value
 * @property {number} [cpu] seconds
 * @property {number} [memory] bytes
 */

/**
 * What some runs measured: by figure all runs in their order, and by scenario why it gave nothing.
 *
 * @typedef {object} Results
 * @property {string} date
 * @property {string} commit
 * @property {{ processor: string, cores: number, memory: number, system: string }} machine
 * @property {Record<string, string>} versions
 * @property {number} runs
 * @property {Record<string, Run[]>} figures
 * @property {Record<string, string>} failed
 * @property {{ date: string, commit: string, runs: number, figures: string[] }[]} [again] what was measured again later, of another commit
 */

/**
 * The least, the one in the middle, and the most.
 *
 * @param {readonly number[]} values at least one
 */
export function spread(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const at = (/** @type {number} */ index) => /** @type {number} */ (sorted[index]);
  const middle = (sorted.length - 1) / 2;
  return { min: at(0), median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2, max: at(sorted.length - 1) };
}

/**
 * Whether a value is what is asked for.
 *
 * @param {import("./figures.mjs").Goal} goal
 * @param {number} value
 */
export function meets(goal, value) {
  return "least" in goal ? value >= goal.least : value <= goal.most;
}

/** Bytes from which they are shown in a larger unit. */
const LARGE = 10_000;

/**
 * A number for people: three digits that count, or all before the point. Many bytes are shown in KiB or MiB.
 *
 * @param {number} value
 * @param {string} [unit]
 */
export function number(value, unit) {
  if (unit === "bytes" && value >= 2 ** 20) return `${number(value / 2 ** 20)} MiB`;
  if (unit === "bytes" && value >= LARGE) return `${number(value / 2 ** 10)} KiB`;
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en-US", { maximumFractionDigits: Math.min(digits, 6) });
}

/**
 * @param {import("./figures.mjs").Goal | undefined} goal
 * @param {string} [unit]
 */
function asked(goal, unit) {
  if (goal === undefined) return "";
  return "least" in goal ? `≥ ${number(goal.least, unit)}` : `≤ ${number(goal.most, unit)}`;
}

/** @param {readonly (number | undefined)[]} values */
function middle(values) {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : spread(known).median;
}

/** @param {import("./figures.mjs").Goal | undefined} goal @param {number} value */
function verdict(goal, value) {
  if (goal === undefined) return "";
  return meets(goal, value) ? "met" : "missed";
}

/** The columns of {@link figureRow}. */
export const FIGURE_COLUMNS = ["figure", "unit", "goal", "min", "median", "max", "CPU s", "memory", ""];

/**
 * A figure as it was measured.
 *
 * @param {import("./figures.mjs").Figure} figure
 * @param {readonly Run[]} runs
 */
export function figureRow(figure, runs) {
  const { min, median, max } = spread(runs.map(({ value }) => value));
  const [cpu, memory] = [middle(runs.map((run) => run.cpu)), middle(runs.map((run) => run.memory))];
  const used = [cpu === undefined ? "" : number(cpu), memory === undefined ? "" : number(memory, "bytes")];
  const measured = [min, median, max].map((value) => number(value, figure.unit));
  return [figure.id, figure.unit, asked(figure.goal, figure.unit), ...measured, ...used, verdict(figure.goal, median)];
}

/** The columns of {@link besideRow}. */
export const BESIDE_COLUMNS = ["figure", "Cairn", "beside", "measured", "ratio", "asked", ""];

/**
 * What a figure is shown beside, as far as both were measured.
 *
 * @param {import("./figures.mjs").Figure} figure
 * @param {Record<string, readonly Run[]>} figures
 */
export function besideRows(figure, figures) {
  const median = (/** @type {string} */ id) => middle((figures[id] ?? []).map(({ value }) => value));
  const own = median(figure.id);
  if (own === undefined) return [];
  return (figure.beside ?? []).flatMap(({ figure: other, goal }) => {
    const theirs = median(other);
    const unit = FIGURES.get(other)?.unit ?? "";
    if (theirs === undefined) return [];
    const compared = figure.compared?.(own) ?? own;
    const ratio = compared / theirs;
    return [[figure.id, quantity(compared, unit), other, quantity(theirs, unit), `${number(ratio)} ×`, goal ? `${asked(goal)} ×` : "", verdict(goal, ratio)]];
  });
}

/** @param {number} value @param {string} unit */
function quantity(value, unit) {
  const shown = number(value, unit);
  return shown.endsWith("iB") ? shown : `${shown} ${unit}`;
}

/**
 * A table of words, its columns as wide as what stands in them.
 *
 * @param {readonly string[]} columns
 * @param {readonly (readonly string[])[]} rows
 */
export function text(columns, rows) {
  const lines = [columns, ...rows];
  const widths = columns.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const left = (/** @type {string} */ cell) => !/^[\d≤≥-]/u.test(cell);
  const pad = (/** @type {string} */ cell, /** @type {number} */ width) => (left(cell) ? cell.padEnd(width) : cell.padStart(width));
  return lines.map((line) => line.map((cell, column) => pad(cell, widths[column] ?? 0)).join("  ").trimEnd()).join("\n");
}

/**
 * @param {readonly string[]} columns
 * @param {readonly (readonly string[])[]} rows
 */
function markdown(columns, rows) {
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.join(" | ")} |`;
  return [line(columns), line(columns.map(() => "---")), ...rows.map(line)].join("\n");
}

/**
 * The document.
 *
 * @param {Results | undefined} own
 * @param {Results | undefined} peers
 */
export function render(own, peers) {
  const parts = [INTRODUCTION, "## Cairn", taken(own), ownTable(own), missedWords(own, peers), "### What the parts cost alone", FLOOR_WORDS, figureTable(FLOOR, own)];
  parts.push("## Beside others", BESIDE_WORDS, taken(peers), besideTable(peers), "### The others, each for itself", figureTable(PEERS, peers));
  parts.push("## Whether size matters", SCALE_WORDS, scaleTable("ingest", own), SCALE_LIVE_WORDS, scaleTable("live", own));
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

const INTRODUCTION = `# Benchmarks

<!-- Made by bench/run.mjs of bench/figures.mjs and bench/results: change those. -->

What Cairn costs, measured on one machine, and beside what somebody might use instead. \`just bench\` measures all of the first table again, \`just bench peers\` all
of the comparisons; words behind it choose what has them in its name (\`just bench sync\`), and only a run of everything, or one of some figures with \`--again\`, writes this page.

- **Every run begins with nothing**: processes and directories of its own. Each is repeated, and a table shows the least, the median and the most. A goal is met or
  missed by the median.
- **Everything is real**: what is acknowledged is on the disk (SQLite's write-ahead log, \`synchronous=FULL\`), what is received was checked (hashes, signature,
  rules) and stored. Each program looks afterwards whether all entries are there, each once, and the same everywhere.
- **Entries** are chat lines of 120 bytes of JSON text, no two alike. \`/256\` means that 256 of them share a block and so a signature, as in a burst or a first sync
  of one; \`/1\` that each has its own, as when people write now and then.
- **CPU s** are those of all processes under test over what is measured, user and system time; **memory** is the most that one of them had resident, by the kernel. What drives a
  test is not counted, but needs the same processors: where few are, a node alone would be faster than it is shown here.
- **All is on one machine**, over loopback. There is no distance and no loss, so times are what the programs need and not what a network adds; where distance matters,
  it is counted in round trips (\`rejoin/trips\`).`;

const FLOOR_WORDS = `Without any of Cairn's own work: no node can be faster than these on this machine, with one thread.`;

const BESIDE_WORDS = `Both sides in turns, run after run, with the same entries. The quotient is that of the medians, Cairn's above. Where nothing is asked, it is shown only: what stands there
does something else. Read each beside [bench/peers](../bench/peers/README.md), which says what every one of them brings to a disk and what it checks: Cairn alone syncs what it acknowledges, Socket.IO,
Yjs and Hocuspocus sign nothing and check nothing, and iroh-gossip keeps nothing and may lose messages.`;

const SCALE_WORDS = `A ledger of so many entries, each a block of its own, by so many authors in turns: µs for each entry that is taken in, in
the median of the runs (the last row: of one run). What grows is what the disk is given: each block changes a page of its own of the index of hashes, and with many
authors one of the index of lanes, and a page of 4 KiB goes to the log and then to the file. In a small ledger blocks of one commit share these pages; with 1,000,000 entries
few do, so that an entry makes 7.6 KB of writes with one author and 13.6 KB with 1,000 (the kernel's count). The number of indexes bounds that, and a live entry does not notice.`;
const SCALE_LIVE_WORDS = `µs for one more entry in such a ledger, from its block until clients are told, in the median of 500. Each waits for the disk (\`fdatasync\` above).`;

/** @param {Results | undefined} results */
function taken(results) {
  if (results === undefined) return "Nobody has run all of it yet.";
  const { date, commit, machine, versions, runs, failed, again = [] } = results;
  const on = `${machine.processor}, ${machine.cores} cores, ${machine.memory} GiB, ${machine.system}`;
  const of = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const lost = Object.entries(failed).map(([name, sentence]) => `\n- \`${name}\` failed: ${sentence}`);
  const later = again.map((part) => {
    const names = part.figures.map((id) => `\`${id}\``).join(", ");
    return ` Measured again on ${part.date.slice(0, 10)}, ${part.runs} runs, of commit \`${part.commit}\`: ${names}.`;
  });
  return `${runs} runs of each, on ${date.slice(0, 10)}, of commit \`${commit}\`. ${on}. ${of.join(", ")}.${later.join("")}${lost.length > 0 ? `\n${lost.join("")}` : ""}`;
}

/** @param {Results | undefined} results */
function ownTable(results) {
  return figureTable(OWN, results, (figure) => figure.goal === undefined && figure.beside?.some(({ goal }) => goal !== undefined) === true);
}

/**
 * The figures that miss something that is asked of them, alone or beside others.
 *
 * @param {Results | undefined} own
 * @param {Results | undefined} peers
 */
export function missed(own, peers) {
  return OWN.filter((figure) => {
    const runs = own?.figures[figure.id];
    const rows = [...(runs === undefined ? [] : [figureRow(figure, runs)]), ...besideRows(figure, peers?.figures ?? {})];
    return rows.some((row) => row.at(-1) === "missed");
  });
}

/** @param {Results | undefined} own @param {Results | undefined} peers */
function missedWords(own, peers) {
  const lines = missed(own, peers).map(({ id, why }) => `- \`${id}\`: ${why}`);
  return lines.length === 0 ? "" : `### What is missed, and why\n\n${lines.join("\n")}`;
}

/**
 * @param {readonly import("./figures.mjs").Figure[]} figures
 * @param {Results | undefined} results
 * @param {(figure: import("./figures.mjs").Figure) => boolean} [askedBeside] whether what is asked is said in the other table
 */
function figureTable(figures, results, askedBeside = () => false) {
  const rows = figures.map((figure) => {
    const runs = results?.figures[figure.id];
    const goal = askedBeside(figure) ? "beside others" : asked(figure.goal, figure.unit);
    const measured = runs === undefined ? ["", "not measured", "", "", "", ""] : figureRow(figure, runs).slice(3);
    return [`\`${figure.id}\``, figure.words, figure.unit, goal, ...measured];
  });
  const [first, unit, ...rest] = FIGURE_COLUMNS;
  return markdown([first ?? "", "what", unit ?? "", ...rest], rows);
}

/** @param {Results | undefined} results */
function besideTable(results) {
  const rows = OWN.flatMap((figure) => besideRows(figure, results?.figures ?? {}));
  if (rows.length === 0) return "";
  return markdown(BESIDE_COLUMNS, rows.map(([figure, own, other, ...rest]) => [`\`${figure}\``, own ?? "", `\`${other}\``, ...rest]));
}

/**
 * @param {"ingest" | "live"} what
 * @param {Results | undefined} results
 */
function scaleTable(what, results) {
  const named = (/** @type {number} */ authors) => `${authors.toLocaleString("en-US")} ${authors === 1 ? "author" : "authors"}`;
  const rows = SCALE.entries.map((entries) => {
    const cells = SCALE.authors.map((authors) => {
      const cost = middle((results?.figures[`scale/${entries}/${authors}/${what}`] ?? []).map(({ value }) => value));
      return cost === undefined ? "not measured" : number(cost);
    });
    return [entries.toLocaleString("en-US"), ...cells];
  });
  return markdown(["entries", ...SCALE.authors.map(named)], rows);
}
