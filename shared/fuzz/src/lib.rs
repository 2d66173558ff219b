//! Fuzzing: plain functions from bytes, one for each edge where bytes come from outside.
//!
//! A target panics when something is wrong and returns otherwise. The same functions are driven on stable by this
//! package's runner (mutations from a seed) and on nightly by libFuzzer (`libfuzzer/`, coverage).

pub mod allocation;
mod choices;
pub mod files;
mod made;
pub mod mutate;
mod net;
pub mod run;
mod seeds;
pub mod targets;

pub use seeds::seeds;
pub use targets::{TARGETS, Target, target};

/// Runs the target of this name: what a libFuzzer binary does with its input.
///
/// # Panics
/// When something is wrong, or there is no such target.
pub fn run_named(name: &str, bytes: &[u8]) {
    match target(name) {
        Some(target) if bytes.len() <= target.longest => (target.run)(bytes),
        Some(_) => {}
        None => panic!("no target {name:?}"),
    }
}
