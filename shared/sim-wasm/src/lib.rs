//! The simulator for JavaScript, in a package of its own: the rules that are published never hold it.

use wasm_bindgen::prelude::*;

/// Runs the network of one seed to its end. Returns the digest of everything that happened in it.
#[wasm_bindgen(js_name = simTrace)]
pub fn sim_trace(seed: u64) -> u64 {
    shared::sim::run(seed).trace
}
