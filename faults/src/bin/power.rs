//! `power [images] [seed]`: loses power at as many moments; what was acknowledged must be there each time.

use std::{env, panic, process::ExitCode, time::Instant};

use faults::power;
use indicatif::ProgressBar;

fn main() -> ExitCode {
    let number = |n: usize, otherwise| env::args().nth(n).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (images, seed) = (number(1, 10_000), number(2, 1) as u64);
    let directory = match tempfile::tempdir() {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("power: no directory for the stores: {error}");
            return ExitCode::from(74);
        }
    };
    let began = Instant::now();
    let bar = ProgressBar::new(images as u64);
    // A loss ends the run with a message that has its seed.
    let run = panic::AssertUnwindSafe(|| power::run(directory.path(), seed, images, || bar.inc(1)));
    let result = panic::catch_unwind(run);
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs();
    match result {
        Ok(counts) => {
            let power::Counts { images, acked, unacked, operations } = counts;
            println!(
                "power pass images={images} operations={operations} acked={acked} unacked={unacked} lost=0 seed={seed} \
                 seconds={seconds}"
            );
            ExitCode::SUCCESS
        }
        Err(_) => {
            println!("power FAIL seed={seed} seconds={seconds}");
            ExitCode::FAILURE
        }
    }
}
