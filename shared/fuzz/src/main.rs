//! `fuzz`: drives the targets on stable, replays inputs, and writes the seeds.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::Mutex,
    thread,
    time::Duration,
};

use fuzz::{
    TARGETS, Target,
    allocation::Counting,
    files,
    run::{Crash, Report, drive, note_panics, once, print_panics},
    target,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "usage:
  fuzz run [--seconds N] [--seed N] [--jobs N] [target …]   drive targets with mutations (10 s each, seed 1, 2 at once)
  fuzz replay <target> <file> …                             run a target over inputs
  fuzz seeds                                                write the seeds of every target to corpus/
  fuzz list                                                 the targets";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.split_first() {
        Some((&"run", rest)) => run(rest),
        Some((&"replay", [name, paths @ ..])) => replay(name, paths),
        Some((&"seeds", [])) => seeds().map(|()| true).map_err(|error| format!("the seeds cannot be written: {error}")),
        Some((&"list", [])) => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(true)
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn find(name: &str) -> Result<&'static Target, String> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    target(name).ok_or_else(|| format!("no target {name:?}, there are: {}", names.join(" ")))
}

struct Options {
    seconds: u64,
    seed: u64,
    jobs: u64,
    targets: Vec<&'static Target>,
}

fn options(words: &[&str]) -> Result<Options, String> {
    let mut options = Options { seconds: 10, seed: 1, jobs: 2, targets: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let number = match *word {
            "--seconds" => &mut options.seconds,
            "--seed" => &mut options.seed,
            "--jobs" => &mut options.jobs,
            name => {
                options.targets.push(find(name)?);
                continue;
            }
        };
        let came = words.next().unwrap_or(&"nothing");
        *number = came.parse().map_err(|_| format!("{word} {came}, a number is expected"))?;
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

/// Drives targets, several at once, and prints a line for each.
fn run(words: &[&str]) -> Result<bool, String> {
    let Options { seconds, seed, jobs, targets } = options(words)?;
    println!("fuzz seed={seed} seconds={seconds} targets={}", targets.len());
    note_panics();
    let queue = Mutex::new(targets.into_iter());
    let good = Mutex::new(true);
    let next = || queue.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let report = drive(target, Duration::from_secs(seconds), seed, &hung);
                    print(&report);
                    if let (Some(_), Ok(mut good)) = (&report.crash, good.lock()) {
                        *good = false;
                    }
                }
            });
        }
    });
    print_panics();
    good.into_inner().map_err(|error| error.to_string())
}

fn print(report: &Report) {
    let Report { target, took, runs, largest, crash } = report;
    let (word, crashers) = if crash.is_some() { ("FAIL", 1) } else { ("pass", 0) };
    let seconds = took.as_secs_f64();
    let per_second = *runs as f64 / seconds.max(0.001);
    println!(
        "fuzz {word} target={} seconds={seconds:.1} runs={runs} runs_per_s={per_second:.0} crashers={crashers} largest_allocation={largest}",
        target.name
    );
    if let Some(Crash { bytes, said }) = crash {
        eprintln!("{said}");
        tell(target, bytes);
    }
}

/// An input that does not end cannot be stopped either; the process ends with it.
fn hung(target: &Target, bytes: &[u8]) {
    println!("fuzz FAIL target={} hung=1", target.name);
    tell(target, bytes);
    process::exit(1);
}

/// Keeps an input and says how to run it again.
fn tell(target: &Target, bytes: &[u8]) {
    match keep(target, bytes) {
        Ok(path) => {
            eprintln!("replay it with: cargo run -p fuzz -- replay {} {}", target.name, path.display());
        }
        Err(error) => eprintln!("the input cannot be kept ({error}): {bytes:02x?}"),
    }
}

fn keep(target: &Target, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = files::crashers(target.name);
    fs::create_dir_all(&folder)?;
    // FNV-1a, so that the same input has the same name.
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let path = folder.join(format!("{hash:016x}"));
    fs::write(&path, bytes)?;
    Ok(path)
}

fn replay(name: &str, paths: &[&str]) -> Result<bool, String> {
    let target = find(name)?;
    let mut good = true;
    note_panics();
    for path in paths {
        let bytes = fs::read(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
        match once(target, &bytes) {
            Ok(()) => println!("replay pass target={name} file={path}"),
            Err(said) => {
                println!("replay FAIL target={name} file={path}\n{said}");
                good = false;
            }
        }
    }
    print_panics();
    Ok(good)
}

/// Writes the seeds anew.
fn seeds() -> io::Result<()> {
    for target in TARGETS {
        let folder = files::corpus(target.name);
        fs::create_dir_all(&folder)?;
        for (number, bytes) in fuzz::seeds(target.name).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:02}")), bytes)?;
        }
    }
    Ok(())
}
