//! What members and their ledger are called.
//!
//! ```text
//! nickname    = a name, of whoever wrote the entry
//! ledger name = a name, of the ledger; from an owner or an admin, and in a members' ledger only
//! name        = a JSON string of 1 to 64 bytes of UTF-8, without control characters; sealed in a members' ledger
//! ```
//!
//! No rule looks at a name before a block is accepted: a relay cannot read it. What everybody can tell to be no name, by its
//! length or, in an open ledger, by what it says, counts as not there. What only whoever opens it can tell hides what the same
//! author wrote before.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use serde_json::Value;
use thiserror::Error;

use crate::{
    block::{Block, Body, Entry, Kind},
    id::LedgerId,
    limits::{NAME_BYTES, NAME_JSON_BYTES},
    seal::{Keyring, Place, sealed_len},
};

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, or too much.
    #[error("name of {len} bytes, 1 to {NAME_BYTES} are allowed")]
    Length {
        /// Bytes that came.
        len: usize,
    },
    /// What moves a cursor or rings a bell.
    #[error("name with the control character {0:?}, none is allowed")]
    Control(char),
}

/// Checks a name.
///
/// # Errors
/// When it has too few or too many bytes, or control characters.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > NAME_BYTES {
        return Err(NameError::Length { len: name.len() });
    }
    match name.chars().find(|character| character.is_control()) {
        Some(control) => Err(NameError::Control(control)),
        None => Ok(()),
    }
}

/// Whether the payload of such an entry is sealed.
pub(crate) fn is_sealed(ledger: &LedgerId, kind: Kind) -> bool {
    ledger.has_members() && matches!(kind, Kind::DATA | Kind::NICKNAME | Kind::LEDGER_NAME)
}

/// The payload of a name, before it is sealed.
pub(crate) fn encode(name: &str) -> Vec<u8> {
    Value::from(name).to_string().into_bytes()
}

/// Reads a payload, after it was opened.
pub(crate) fn decode(payload: &[u8]) -> Option<String> {
    let name: String = serde_json::from_slice(payload).ok().filter(|_| payload.len() <= NAME_JSON_BYTES)?;
    check(&name).is_ok().then_some(name)
}

/// Whether an entry counts as a name for whoever cannot open it. Of an erased one its length is known still.
pub(crate) fn is_name(ledger: &LedgerId, entry: &Entry) -> bool {
    let len = match &entry.body {
        Body::Full { payload, .. } => payload.len(),
        Body::Erased { len, .. } => *len as usize,
    };
    let fits = |least: usize, most: usize| (least..=most).contains(&len);
    match entry.kind {
        Kind::NICKNAME | Kind::LEDGER_NAME if ledger.has_members() => {
            fits(sealed_len(QUOTES + 1), sealed_len(NAME_JSON_BYTES))
        }
        Kind::NICKNAME => match entry.payload() {
            Some(payload) => decode(payload).is_some(),
            None => fits(QUOTES + 1, NAME_JSON_BYTES),
        },
        _ => false,
    }
}

/// The name that an entry says, if it is one and opens with these keys.
pub(crate) fn open(block: &Block, index: usize, keys: &Keyring) -> Option<String> {
    let entry = block.entries().get(index)?;
    let payload = entry.payload()?;
    if is_sealed(&block.header().ledger, entry.kind) {
        decode(&keys.open(&Place::of(block, index), payload).ok()?)
    } else {
        decode(payload)
    }
}

/// Bytes of the quotation marks of a JSON string.
const QUOTES: usize = 2;

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::block::open_ledger;

    #[test]
    fn a_name_has_1_to_64_bytes_and_no_control_characters() {
        for name in ["a", " ", "Ada", "žluťoučký kůň", "🪨", &"x".repeat(64), "\"quoted\\\""] {
            assert_eq!(check(name), Ok(()));
            assert_eq!(decode(&encode(name)).as_deref(), Some(name));
            assert!(is_name(&open_ledger("a"), &Entry::new(Kind::NICKNAME, [0; 16], encode(name))), "{name}");
        }
        assert_eq!(check(""), Err(NameError::Length { len: 0 }));
        assert_eq!(check(&"x".repeat(65)), Err(NameError::Length { len: 65 }));
        assert_eq!(check(&"ž".repeat(33)), Err(NameError::Length { len: 66 }));
        for control in ['\n', '\0', '\u{1b}', '\u{7f}', '\u{85}'] {
            assert_eq!(check(&format!("a{control}")), Err(NameError::Control(control)));
        }
    }

    #[test]
    fn what_is_no_json_string_of_a_name_is_no_name() {
        let long = format!("\"{}\"", "x".repeat(65));
        let padded = format!("{}\"a\"", " ".repeat(NAME_JSON_BYTES));
        for payload in
            ["", "a", "1", "null", "[\"a\"]", "\"\"", "\"a", "\"a\"b", "\"a\\n\"", "\"\\ud800\"", &long, &padded]
        {
            assert_eq!(decode(payload.as_bytes()), None, "{payload}");
        }
        assert_eq!(decode(b"\"\xff\""), None);
        // Written in another way than ours.
        let escaped = format!("\"{}\"", "\\u0061".repeat(64));
        assert_eq!(escaped.len(), NAME_JSON_BYTES);
        assert_eq!(decode(escaped.as_bytes()), Some("a".repeat(64)));
    }
}
