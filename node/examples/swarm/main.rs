//! `just swarm [quick] [scenario …]`: thousands of Socket.IO clients, slow readers, floods, strangers and malformed frames
//! against a real `cairn serve`, each in a process of its own.
//!
//! Every scenario prints one line `swarm.<name> pass|FAIL key=value …`; the exit code is 1 when one failed. `quick` is the
//! version of `npm test`: a few hundred clients, and no criterion that depends on how fast the machine is. The generator
//! shares the processors with the node, so each line says how much of them both used (`cpu_node`, `cpu_swarm`, in per cent of
//! one core). The node is the `cairn` of the same build, or what CAIRN_BIN says.

use std::{env, process::ExitCode, time::Instant};

mod background;
mod client;
mod clients;
mod crowd;
mod deliveries;
mod floods;
mod frame;
mod links;
mod malformed;
mod node;
mod report;
mod slow;
mod strangers;

use report::Report;

/// How much of each scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// For `npm test`.
    Quick,
    /// With the goals as criteria.
    Full,
}

impl Scale {
    fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

const SCENARIOS: [&str; 7] = ["malformed", "strangers", "links", "floods", "slow", "deliveries", "crowd"];

fn main() -> ExitCode {
    let mut scale = Scale::Full;
    let mut wanted = Vec::new();
    for word in env::args().skip(1) {
        match word.as_str() {
            "quick" => scale = Scale::Quick,
            name if SCENARIOS.contains(&name) => wanted.push(word),
            _ => {
                eprintln!("usage: swarm [quick] [scenario …]; scenarios: {}", SCENARIOS.join(" "));
                return ExitCode::from(2);
            }
        }
    }
    let files = match node::raise_open_files(scale) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("swarm: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("swarm: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!(
        "swarm: {} cores, {files} open files for each process",
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    let names = SCENARIOS.into_iter().filter(|name| wanted.is_empty() || wanted.iter().any(|other| other == name));
    let passed = runtime.block_on(run_all(names.collect(), scale));
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The full ones one after the other, because each measures; the quick ones wait most of the time, so all at once.
async fn run_all(names: Vec<&'static str>, scale: Scale) -> bool {
    let mut passed = true;
    let mut running = tokio::task::JoinSet::new();
    for name in names {
        running.spawn(run(name, scale));
        while scale == Scale::Full
            && let Some(result) = running.join_next().await
        {
            passed &= result.unwrap_or(false);
        }
    }
    while let Some(result) = running.join_next().await {
        passed &= result.unwrap_or(false);
    }
    passed
}

/// Runs a scenario and prints its lines. Whether all of them passed.
async fn run(name: &'static str, scale: Scale) -> bool {
    let began = Instant::now();
    let reports = match name {
        "malformed" => malformed::run(scale).await,
        "strangers" => strangers::run(scale).await,
        "links" => links::run(scale).await,
        "floods" => floods::run(scale).await,
        "slow" => slow::run(scale).await,
        "deliveries" => deliveries::run(scale).await,
        _ => crowd::run(scale).await,
    };
    let reports = reports.unwrap_or_else(|error| {
        let mut report = Report::new(name);
        report.fail(error.to_string());
        vec![report]
    });
    let passed = reports.iter().fold(true, |passed, report| passed & report.print());
    eprintln!("swarm: {name} took {:.0} s", began.elapsed().as_secs_f64());
    passed
}
