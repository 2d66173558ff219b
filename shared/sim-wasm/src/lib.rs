//! What tests run in wasm, in a package of its own: the rules that are published never hold it.

use wasm_bindgen::prelude::*;

/// Runs the network of one seed to its end. Returns the digest of everything that happened in it.
#[wasm_bindgen(js_name = simTrace)]
pub fn sim_trace(seed: u64) -> u64 {
    shared::sim::run(seed).trace
}

/// Reads a frame of a link and encodes it anew, which gives the same bytes.
///
/// # Errors
/// What is wrong with the frame.
#[wasm_bindgen(js_name = recodeFrame)]
pub fn recode_frame(bytes: &[u8]) -> Result<Vec<u8>, JsError> {
    Ok(shared::wire::decode_frame(bytes)?.iter().flat_map(shared::wire::Envelope::encode).collect())
}
