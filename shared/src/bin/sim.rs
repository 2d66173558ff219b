//! `just sim`: runs seeds of the simulator on all cores, shows progress, and prints what was counted and what was found.

use std::{
    any::Any,
    io::{IsTerminal, Write},
    num::ParseIntError,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use shared::sim::{Mesh, Report, Spread, Violation, large, mesh, run, run_members};

const USAGE: &str = "\
usage: sim [members] [FIRST [COUNT]] [--threads N] [--traces]
       sim --large [MEMBERS]
       sim --mesh [MEMBERS]

  members    the other network of each seed: a members' ledger instead of an open one
  FIRST      the first seed (0)
  COUNT      how many seeds (1000)
  --threads  how many at once (the number of cores)
  --traces   prints each seed's trace: equal seeds give equal traces in every build
  --large    instead: one network of so many members (1000) and a relay, each writes ten entries and all get in step
  --mesh     instead: so many members (1000) who link directly, of whom one writes: to all, to all while three tenths hand on nothing, and
             to the rest when four fifths are gone

Prints a line for each fault, lie and promise, and ends with 1 if a promise was broken, with 2 if the command line is wrong.";
/// Broken promises that are shown; the rest is counted.
const SHOWN: usize = 20;

/// Members of a large network, and what it may cost.
const MEMBERS: usize = 1000;
const LARGE_TIME: Duration = Duration::from_secs(600);
const LARGE_MEMORY_MIB: u64 = 8 * 1024;

/// What a block of one writer may cost in a mesh: copies beyond one a node, and links on its way to the last one.
const REDUNDANCY: f64 = 0.2;
const HOPS: u32 = 15;
/// Of a thousand nodes in a minute, those that somebody takes for gone who only stand still now and then; and µs until everybody misses who died.
const FALSE_ALARMS: f64 = 1.0;
const MISSED: u64 = 30_000_000;
/// Of a thousand, those who hand on nothing, and those who are gone at once.
const SELFISH: u64 = 300;
const KILLED: u64 = 800;

struct Options {
    first: u64,
    count: u64,
    threads: usize,
    traces: bool,
    large: bool,
    mesh: bool,
    members: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut options =
            Self { first: 0, count: 1000, threads: cores, traces: false, large: false, mesh: false, members: false };
        let mut place = 0;
        let number = |word: &str| word.parse::<u64>().map_err(|error: ParseIntError| format!("{word:?}: {error}"));
        while let Some(word) = words.next() {
            match (word.as_str(), place) {
                ("--traces", _) => options.traces = true,
                ("--large", _) => options.large = true,
                ("--mesh", _) => options.mesh = true,
                ("members", 0) => options.members = true,
                ("--threads", _) => {
                    let word = words.next().ok_or("--threads needs a number")?;
                    options.threads = number(&word)?.clamp(1, 1024) as usize;
                }
                (word, 0) => (options.first, place) = (number(word)?, 1),
                (word, 1) => (options.count, place) = (number(word)?, 2),
                (word, _) => return Err(format!("{word:?} is one word too many")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A panic is caught and reported with its seed; its own lines would only stand between.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let members = if options.first == 0 { MEMBERS } else { options.first as usize };
    if options.large {
        return large_network(members);
    }
    if options.mesh {
        return large_mesh(members);
    }
    let total = simulate(&options);
    print(&total, if options.members { "members " } else { "" }, began.elapsed());
    if total.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One large network. Beside its promises, time and memory are bounded.
fn large_network(members: usize) -> ExitCode {
    let began = Instant::now();
    let report = large(members, |written, total| {
        if std::io::stderr().is_terminal() && written.is_multiple_of(100) {
            eprint!("\r{written} of {total} entries written ");
            _ = std::io::stderr().flush();
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let memory = peak_memory();
    for Violation { invariant, what, .. } in &report.violations {
        println!("the network breaks {invariant}: {what}");
    }
    let good = report.violations.is_empty()
        && began.elapsed() <= LARGE_TIME
        && memory.is_none_or(|mib| mib <= LARGE_MEMORY_MIB);
    println!(
        "sim.large {} nodes={members} entries={} seconds={seconds:.1} peak_memory_mib={} turns={} in_step={:.1}s",
        verdict(good),
        report.acked,
        memory.map_or("unknown".to_owned(), |mib| mib.to_string()),
        report.turns,
        report.converged as f64 / 1e6,
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One large mesh. What its tree costs is bounded.
fn large_mesh(members: usize) -> ExitCode {
    let began = Instant::now();
    let Mesh { links, steady, selfish, false_alarms, missed, survived, broken } =
        mesh(members, SELFISH, KILLED, |what| eprintln!("{what} …"));
    broken.iter().for_each(|what| println!("{what}"));
    let present = false_alarms < FALSE_ALARMS && missed <= MISSED;
    let good = broken.is_empty() && steady.redundancy < REDUNDANCY && steady.hops <= HOPS && present;
    let Spread { redundancy, hops, last } = steady;
    let seconds = |micros: u64| format!("{:.2}s", micros as f64 / 1e6);
    println!(
        "sim.mesh {} nodes={members} most_links={links} redundancy={redundancy:.3} hops={hops} last={} false_alarms={false_alarms:.3} missed={} selfish={} killed={} seconds={:.0}",
        verdict(good),
        seconds(last),
        seconds(missed),
        seconds(selfish),
        seconds(survived),
        began.elapsed().as_secs_f64(),
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// MiB that the process had in memory at most, where the system tells (Linux).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

fn simulate(options: &Options) -> Report {
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let total = Mutex::new(if options.members { Report::of_members() } else { Report::new() });
    let network = if options.members { run_members } else { run };
    let add = |seed: u64| {
        let report =
            catch_unwind(AssertUnwindSafe(|| network(seed))).unwrap_or_else(|panic| panicked(seed, panic.as_ref()));
        if options.traces {
            println!("{seed} {:016x}", report.trace);
        }
        total.lock().unwrap_or_else(PoisonError::into_inner).add(report);
        done.fetch_add(1, Ordering::Relaxed);
    };
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= options.count {
                return;
            }
            add(options.first + n);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..options.threads).map(|_| scope.spawn(work)).collect();
        let began = Instant::now();
        while std::io::stderr().is_terminal() && !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::park_timeout(Duration::from_millis(200));
            let done = done.load(Ordering::Relaxed);
            let rate = done as f64 / began.elapsed().as_secs_f64();
            eprint!("\r{done} of {} seeds, {rate:.0} a second ", options.count);
            _ = std::io::stderr().flush();
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn panicked(seed: u64, panic: &(dyn Any + Send)) -> Report {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let what = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned();
    Report { seeds: 1, violations: vec![Violation { seed, invariant: "no_panic", what }], ..Report::new() }
}

fn print(total: &Report, network: &str, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    let hours = total.node_micros as f64 / 3.6e9;
    let per_hour = |n: f64| n / seconds * 3600.0;
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    for (name, count) in &total.faults {
        println!("sim.fault.{name} {} count={count}", verdict(*count > 0 || total.seeds < 1000));
    }
    for (name, count) in &total.lies {
        println!("sim.lie.{name} {} count={count}", verdict(*count > 0 || total.seeds < 1000));
    }
    for (name, count) in &total.deeds {
        println!("sim.deed.{name} {} count={count}", verdict(*count > 0 || total.seeds < 1000));
    }
    for (name, count) in &total.checks {
        let broken = total.violations.iter().filter(|violation| violation.invariant == *name).count();
        println!("sim.invariant.{name} {} checks={count} broken={broken}", verdict(broken == 0));
    }
    for (reason, count) in &total.closed {
        println!("  {count} links closed: {reason}");
    }
    for (code, count) in &total.refused {
        println!("  {count} appends refused: {code}");
    }
    for Violation { seed, invariant, what } in total.violations.iter().take(SHOWN) {
        println!("seed {seed} breaks {invariant}, `just sim {network}{seed} 1` shows it again: {what}");
    }
    println!(
        "sim {} seeds={} violations={} seconds={seconds:.1} seeds_per_hour={:.0} node_hours={hours:.0} \
         node_hours_per_hour={:.0} turns={} acked={} forks={} successions={} dials={} repaired={} freezes={} removals={} reordered={} most_reads={} slowest_in_step={:.1}s \
         trace={:016x}",
        verdict(total.violations.is_empty()),
        total.seeds,
        total.violations.len(),
        per_hour(total.seeds as f64),
        per_hour(hours),
        total.turns,
        total.acked,
        total.forks,
        total.successions,
        total.dials,
        total.repaired,
        total.freezes,
        total.removals,
        total.reordered,
        total.reads,
        total.converged as f64 / 1e6,
        total.trace,
    );
}

fn verdict(good: bool) -> &'static str {
    if good { "pass" } else { "FAIL" }
}
