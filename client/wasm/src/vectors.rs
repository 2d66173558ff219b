//! Single steps of the rules, for whoever checks blocks one by one and for the golden vectors.

use wasm_bindgen::prelude::*;

/// The id of the open ledger with this name, in hexadecimal digits.
#[wasm_bindgen(js_name = openLedger)]
pub fn open_ledger(name: &str) -> String {
    shared::block::open_ledger(name).to_string()
}

/// The hash of an encoded block, in hexadecimal digits. Its signature is not checked.
///
/// # Errors
/// What is wrong with the bytes.
#[wasm_bindgen(js_name = blockHash)]
pub fn block_hash(bytes: &[u8]) -> Result<String, JsError> {
    Ok(shared::Block::decode(bytes)?.hash().to_string())
}
