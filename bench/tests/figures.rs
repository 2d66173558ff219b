//! Small runs of what needs no `cairn` beside it: each prints its figures and nothing else, and leaves nothing behind.

use std::{fs, process::Command};

use serde_json::Value;

/// The figures that a run printed, and their values.
fn run(arguments: &[&str]) -> Vec<(String, f64)> {
    let place = tempfile::tempdir().unwrap();
    let bench = Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).env("TMPDIR", place.path()).output().unwrap();
    assert!(bench.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&bench.stderr));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{arguments:?} leaves files");
    let figure = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["figure"].as_str().unwrap().to_owned(), line["value"].as_f64().unwrap())
    };
    String::from_utf8(bench.stdout).unwrap().lines().map(figure).collect()
}

fn names(arguments: &[&str]) -> Vec<String> {
    run(arguments).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_run_prints_its_figures() {
    assert_eq!(names(&["ingest", "--entries", "1000"]), ["ingest/256"]);
    assert_eq!(names(&["ingest", "--entries", "100", "--per-block", "1"]), ["ingest/1"]);
    assert_eq!(names(&["scale", "--entries", "100", "--authors", "10"]), ["scale/100/10/ingest", "scale/100/10/live"]);
}

#[test]
fn an_entry_is_stored_in_no_less_than_its_bytes() {
    let [(name, bytes)] = &run(&["stored", "--entries", "10000"])[..] else { panic!("one figure") };
    assert!(name == "stored/256" && (120.0..200.0).contains(bytes), "{name} {bytes}");
}

#[test]
fn who_comes_back_waits_for_an_answer_and_gets_what_is_missing() {
    let size = ["--entries", "2000", "--per-block", "10", "--authors", "20"];
    let figures = run(&[&["rejoin"], &size[..]].concat());
    let [(bytes, of_wire), (trips, waits)] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!([bytes, trips], ["rejoin/bytes", "rejoin/trips"]);
    // Ten entries of 120 bytes came, and nobody knew without an answer which.
    assert!(*of_wire > 1200.0 && (1.0..=4.0).contains(waits), "{figures:?}");
}
