//! `flips [count] [seed] [flips|cuts]`: damages a store in as many ways, one of both kinds or both, and counts what became
//! of the answers.

use std::{env, process::ExitCode, time::Instant};

use faults::flips::{Counts, Kinds, World, run_on_all};
use indicatif::ProgressBar;

fn main() -> ExitCode {
    let number = |n: usize, otherwise| env::args().nth(n).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (count, seed, only) = (number(1, 20_000), number(2, 1) as u64, env::args().nth(3));
    let directory = match tempfile::tempdir() {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("flips: no directory for the stores: {error}");
            return ExitCode::from(74);
        }
    };
    let world = World::new(&directory.path().join("world"));
    let mut well = true;
    let both = [("flips", Kinds::Bits, count), ("cuts", Kinds::Pages, count / 10)];
    let wanted = |(name, ..): &(&str, Kinds, usize)| only.as_ref().is_none_or(|only| only == name);
    for (name, kinds, count) in both.into_iter().filter(wanted) {
        let began = Instant::now();
        let bar = ProgressBar::new(count as u64);
        let counts = run_on_all(&world, directory.path(), seed, (count, kinds, 50), || bar.inc(1));
        bar.finish_and_clear();
        let Counts { damaged, harmless, detected, refused, repaired, wrong } = &counts;
        wrong.iter().for_each(|what| eprintln!("{what}"));
        let verdict = if wrong.is_empty() { "pass" } else { "FAIL" };
        println!(
            "{name} {verdict} damaged={damaged} harmless={harmless} detected={detected} refused={refused} \
             repaired={repaired} wrong={} seed={seed} seconds={:.0}",
            wrong.len(),
            began.elapsed().as_secs_f64()
        );
        well &= wrong.is_empty();
    }
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
