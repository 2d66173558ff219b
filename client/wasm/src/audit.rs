//! [`shared::audit`] for JavaScript.

use shared::{
    Block, EntryId, Keyring, LedgerId, Timestamp,
    audit::{self, Claim, Order},
};
use wasm_bindgen::prelude::*;
use zeroize::Zeroizing;

/// A history as far as it was looked at. See `shared::audit`.
#[wasm_bindgen]
pub struct Audit {
    audit: audit::Audit,
    keys: Keyring,
    claims: Vec<u8>,
}

#[wasm_bindgen]
impl Audit {
    /// Nothing was looked at yet. `ledger`: its id; `keyring`: what opens sealed payloads, both in hexadecimal digits.
    ///
    /// # Errors
    /// When one of them is something else.
    #[wasm_bindgen(constructor)]
    pub fn new(ledger: &str, keyring: &str) -> Result<Self, JsError> {
        let ledger: LedgerId = ledger.parse()?;
        Ok(Self { audit: audit::Audit::new(ledger), keys: keys(keyring)?, claims: Vec::new() })
    }

    /// The keys that open sealed payloads from now on.
    ///
    /// # Errors
    /// When these are no keys.
    #[wasm_bindgen(js_name = setKeyring)]
    pub fn set_keyring(&mut self, keyring: &str) -> Result<(), JsError> {
        self.keys = keys(keyring)?;
        Ok(())
    }

    /// Takes in the next block. That its author signed it is still to be checked, see [`Audit::claims`].
    ///
    /// # Errors
    /// What is wrong with the block.
    pub fn add(&mut self, block: &[u8], now: f64) -> Result<(), JsError> {
        // Milliseconds as JavaScript has them; a negative or huge number becomes the nearest time there is.
        let now = Timestamp::from_micros((now * 1000.0) as u64).unwrap_or(Timestamp::MAX);
        let Claim { author, message, signature } = self.audit.add(block, now)?;
        for part in [&author.as_bytes()[..], &signature, &message] {
            self.claims.extend_from_slice(part);
        }
        Ok(())
    }

    /// What is still to be checked of the blocks that were taken in since this was asked last, in their order: for each its author (32 bytes), the
    /// signature (64), and what was signed (49).
    pub fn claims(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.claims)
    }

    /// How many entries were taken in.
    pub fn entries(&self) -> f64 {
        self.audit.totals().entries as f64
    }

    /// One entry as it was signed, as JSON.
    ///
    /// # Errors
    /// When it was not given.
    pub fn entry(&self, id: &str) -> Result<String, JsError> {
        Ok(serde_json::to_string(&self.audit.entry(&id.parse()?, &self.keys)?)?)
    }

    /// The id of the entry that follows one, `undefined`: that comes first. `given`: in the order in which the blocks were given, not in
    /// that of the ledger.
    ///
    /// # Errors
    /// When the entry before it was not given.
    pub fn next(&self, given: bool, id: Option<String>) -> Result<Option<String>, JsError> {
        let id: Option<EntryId> = id.map(|id| id.parse()).transpose()?;
        let order = if given { Order::Given } else { Order::Ledger };
        Ok(self.audit.next(order, id.as_ref())?.map(|id| id.to_string()))
    }

    /// How much was taken in: blocks, entries, authors, forks.
    pub fn totals(&self) -> Vec<f64> {
        let totals = self.audit.totals();
        [totals.blocks, totals.entries, self.audit.authors() as u64, self.audit.forks() as u64]
            .map(|count| count as f64)
            .to_vec()
    }

    /// A hash over all heads, in hexadecimal digits.
    pub fn digest(&self) -> String {
        hex::encode(self.audit.digest())
    }
}

/// Whose block that is, at which height, and its hash, as `<author>-<height>-<hash>`. Nothing of it is checked.
///
/// # Errors
/// When the bytes are no block.
#[wasm_bindgen]
pub fn place(block: &[u8]) -> Result<String, JsError> {
    let block = Block::decode(block)?;
    Ok(format!("{}-{}-{}", block.header().author, block.header().height, block.hash()))
}

/// Checks one of the claims of [`Audit::claims`], for machines that cannot do it faster.
#[wasm_bindgen(js_name = checkClaim)]
pub fn check_claim(claim: &[u8]) -> bool {
    let claim = || {
        let (author, rest) = claim.split_first_chunk()?;
        let (signature, message) = rest.split_first_chunk()?;
        let author = shared::NodeId::from_bytes(*author);
        Some(Claim { author, message: message.try_into().ok()?, signature: *signature })
    };
    claim().is_some_and(|claim: Claim| claim.check().is_ok())
}

fn keys(hexadecimal: &str) -> Result<Keyring, JsError> {
    if hexadecimal.is_empty() {
        return Ok(Keyring::default());
    }
    let bytes = hex::decode(hexadecimal).map_err(|error| JsError::new(&error.to_string()))?;
    Ok(Keyring::decode(&Zeroizing::new(bytes))?)
}
