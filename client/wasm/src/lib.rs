//! The rules of the `shared` crate for JavaScript: the same code that node and relay run, compiled to wasm.

use shared::{BlockHash, Keyring, view, wire::decode_frame};
use wasm_bindgen::prelude::*;

/// The id of the open ledger with this name, in hexadecimal digits.
#[wasm_bindgen(js_name = openLedger)]
pub fn open_ledger(name: &str) -> String {
    shared::block::open_ledger(name).to_string()
}

/// Checks an encoded block: canonical bytes, limits, hash chain, signature. Returns its entries as JSON; `previous` is the hash
/// of its latest parent in ledger order.
///
/// # Errors
/// What is wrong with the block, or with `previous`.
#[wasm_bindgen(js_name = verifyBlock)]
pub fn verify_block(bytes: &[u8], previous: &str) -> Result<String, JsError> {
    let previous: BlockHash = previous.parse()?;
    let block = shared::Block::decode(bytes)?.verify()?;
    Ok(serde_json::to_string(&view::views(&block, &previous, &Keyring::default()))?)
}

/// The hash of an encoded block, in hexadecimal digits. Its signature is not checked.
///
/// # Errors
/// What is wrong with the bytes.
#[wasm_bindgen(js_name = blockHash)]
pub fn block_hash(bytes: &[u8]) -> Result<String, JsError> {
    Ok(shared::Block::decode(bytes)?.hash().to_string())
}

/// Reads a frame of a link and encodes it anew, which gives the same bytes.
///
/// # Errors
/// What is wrong with the frame.
#[wasm_bindgen(js_name = recodeFrame)]
pub fn recode_frame(bytes: &[u8]) -> Result<Vec<u8>, JsError> {
    Ok(decode_frame(bytes)?.iter().flat_map(shared::wire::Envelope::encode).collect())
}
