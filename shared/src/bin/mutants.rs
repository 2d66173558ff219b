//! `just mutants`: switches planted bugs on, one after the other, and runs seeds of the simulator until one breaks a promise.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use shared::{
    mutants::{Mutant, reached, switch},
    sim::{Report, run, run_members},
};

const USAGE: &str = "\
usage: mutants [NAME …] [--seconds N] [--threads N]

  NAME       planted bugs to try (all)
  --seconds  how long each may live (60)
  --threads  seeds at once (the number of cores)

Prints a line for each planted bug, and ends with 1 if one survives, with 2 if the command line is wrong.";

struct Options {
    names: Vec<String>,
    time: Duration,
    threads: usize,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self { names: Vec::new(), time: Duration::from_secs(60), threads: cores };
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
                value.parse::<u64>().map_err(|error| format!("{value:?}: {error}"))
            };
            match word.as_str() {
                "--seconds" => options.time = Duration::from_secs(number()?),
                "--threads" => options.threads = number()?.clamp(1, 1024) as usize,
                flag if flag.starts_with('-') => return Err(format!("{flag} is not known")),
                name if Mutant::ALL.iter().any(|(_, known, _)| *known == name) => options.names.push(word),
                name => return Err(format!("no planted bug is called {name:?}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

/// Seeds that came to their end, in all.
static DONE: AtomicU64 = AtomicU64::new(0);
/// How long a seed may take beyond the time of a planted bug.
const GRACE: Duration = Duration::from_secs(30);

/// Which of a seed's networks, by its name.
type Network = (&'static str, fn(u64) -> Report);

const OPEN: Network = ("open", run);
const MEMBERS: Network = ("members", run_members);

/// A promise that a seed breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Broken {
    seed: u64,
    invariant: &'static str,
    what: String,
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A panic is one more way to be noticed; its own lines would only stand between.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    thread::spawn(move || watch(options.time));
    let wanted: Vec<_> = Mutant::ALL.iter().filter(|(_, name, _)| options.wants(name)).collect();
    let mut killed = 0;
    // Seeds of open ledgers, and of members' ledgers.
    let mut seeds = [(OPEN, 0), (MEMBERS, 0)];
    for (mutant, name, what) in &wanted {
        let (network, most) = &mut seeds[usize::from(mutant.is_of_members())];
        let began = Instant::now();
        let (kill, tried, reached) = kill(&options, *network, *mutant, began + options.time);
        let seconds = began.elapsed().as_secs_f64();
        *most = tried.max(*most);
        match kill {
            Some(Broken { seed, invariant, .. }) => {
                killed += 1;
                println!("mutant.{name} pass killed_by={invariant} seed={seed} seeds={tried} seconds={seconds:.1}");
            }
            None => println!("mutant.{name} FAIL seeds={tried} seconds={seconds:.1} reached={reached} lives: {what}"),
        }
    }
    let sound =
        seeds.into_iter().filter(|(_, seeds)| *seeds > 0).all(|(network, seeds)| baseline(&options, network, seeds));
    let all = killed == wanted.len();
    let (verdict, seconds) = (if all && sound { "pass" } else { "FAIL" }, began.elapsed().as_secs_f64());
    println!("mutants {verdict} killed={killed} of={} seconds={seconds:.1}", wanted.len());
    if all && sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends the process when no seed has come to its end for long: a planted bug must not have a replica go round for ever.
fn watch(time: Duration) {
    let mut before = DONE.load(Ordering::Relaxed);
    loop {
        thread::sleep(time + GRACE);
        let done = DONE.load(Ordering::Relaxed);
        if done == before {
            println!("mutants FAIL a seed has not ended within {} s", (time + GRACE).as_secs());
            std::process::exit(1);
        }
        before = done;
    }
}

/// Runs seeds until one breaks a promise that it keeps without the planted bug. Returns also how many were run, and how often
/// they came by the planted bug.
fn kill(options: &Options, network: Network, mutant: Mutant, deadline: Instant) -> (Option<Broken>, u64, u64) {
    let (mut next, mut times) = (0, 0);
    loop {
        switch(Some(mutant));
        let (broken, tried) = hunt(options, network, next, u64::MAX, deadline);
        times += reached();
        switch(None);
        next = tried;
        let kill = broken.iter().find(|broken| first_broken(network, broken.seed).is_none());
        if kill.is_some() || Instant::now() >= deadline {
            return (kill.cloned(), next, times);
        }
    }
}

/// The same seeds without any planted bug break nothing.
fn baseline(options: &Options, network: Network, seeds: u64) -> bool {
    let began = Instant::now();
    let (broken, tried) = hunt(options, network, 0, seeds, began + options.time);
    let verdict = if broken.is_empty() { "pass" } else { "FAIL" };
    println!(
        "mutant.none {verdict} network={} seeds={tried} broken={} seconds={:.1}",
        network.0,
        broken.len(),
        began.elapsed().as_secs_f64()
    );
    for Broken { seed, invariant, what } in &broken {
        println!("seed {seed} of {} breaks {invariant}: {what}", network.0);
    }
    broken.is_empty()
}

/// Runs seeds from `first` up to `end`, until one breaks a promise or the time is up. Returns what was broken, by seed, and the
/// seed to go on with.
fn hunt(options: &Options, network: Network, first: u64, end: u64, deadline: Instant) -> (Vec<Broken>, u64) {
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    if let Some(broken) = first_broken(network, seed) {
                        stop.store(true, Ordering::Relaxed);
                        found.lock().unwrap_or_else(PoisonError::into_inner).push(broken);
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort();
    (found, next.into_inner().min(end))
}

/// The first promise that a seed breaks.
fn first_broken(network: Network, seed: u64) -> Option<Broken> {
    let report = catch_unwind(AssertUnwindSafe(|| network.1(seed)));
    DONE.fetch_add(1, Ordering::Relaxed);
    match report {
        Ok(report) => report.violations.into_iter().next().map(|violation| Broken {
            seed,
            invariant: violation.invariant,
            what: violation.what,
        }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let what = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Broken { seed, invariant: "no_panic", what: what.unwrap_or_default() })
        }
    }
}
