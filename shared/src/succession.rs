//! Succession: a node whose lane is forked goes on with a fresh key, and the old key says so.

use alloc::vec::Vec;

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use crate::{
    block::infallible,
    id::{LedgerId, NodeId},
    key::{self, Key, KeyError},
};

const LABEL: &[u8] = b"cairn/succession/1";

/// Why bytes are no succession.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SuccessionError {
    /// Not what a succession is made of.
    #[error("not a succession: an array of a node id and a signature in canonical CBOR is expected")]
    Malformed,
    /// The old key did not sign it.
    #[error("the old key did not sign this succession: {0}")]
    Key(#[from] KeyError),
}

/// The payload of a succession entry: the old key's word that the author of the entry is its holder. Anybody can check it
/// with nothing else at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The node whose lane is forked.
    pub old: NodeId,
    /// By the old key, over the label, the ledger and the new node.
    pub signature: [u8; 64],
}

impl Succession {
    /// The word of an old key for a new node.
    pub fn sign(old: &Key, ledger: &LedgerId, new: &NodeId) -> Self {
        Self { old: old.node(), signature: old.sign(&message(ledger, new)) }
    }

    /// Checks that the old key said it of this new node in this ledger.
    ///
    /// # Errors
    /// When the signature is not the old key's, or the key is weak.
    pub fn verify(&self, ledger: &LedgerId, new: &NodeId) -> Result<(), SuccessionError> {
        Ok(key::verify(&self.old, &message(ledger, new), &self.signature)?)
    }

    /// `[old node: bytes32, signature: bytes64]` in canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(101);
        let mut encoder = Encoder::new(&mut bytes);
        infallible((|| {
            encoder.array(2)?.bytes(self.old.as_bytes())?.bytes(&self.signature)?;
            Ok(())
        })());
        bytes
    }

    /// Reads the payload of a succession entry. Its signature is still to be checked.
    ///
    /// # Errors
    /// When the bytes are not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self, SuccessionError> {
        let read = || {
            let mut decoder = Decoder::new(bytes);
            if decoder.array().ok()?? != 2 {
                return None;
            }
            let old = NodeId::from_bytes(decoder.bytes().ok()?.try_into().ok()?);
            Some(Self { old, signature: decoder.bytes().ok()?.try_into().ok()? })
        };
        read().filter(|succession| succession.encode() == bytes).ok_or(SuccessionError::Malformed)
    }
}

fn message(ledger: &LedgerId, new: &NodeId) -> Vec<u8> {
    [LABEL, ledger.as_bytes(), new.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::open_ledger;

    #[test]
    fn the_old_key_speaks_for_one_node_in_one_ledger() {
        let (old, new, ledger) = (Key::from_secret(&[1; 32]), Key::from_secret(&[2; 32]).node(), open_ledger("a"));
        let succession = Succession::sign(&old, &ledger, &new);
        let read = Succession::decode(&succession.encode()).unwrap();
        assert_eq!(read, succession);
        assert_eq!(read.verify(&ledger, &new), Ok(()));
        let wrong = Err(SuccessionError::Key(KeyError::Signature));
        assert_eq!(read.verify(&open_ledger("b"), &new), wrong);
        assert_eq!(read.verify(&ledger, &old.node()), wrong);
        assert_eq!(Succession { old: new, ..read }.verify(&ledger, &new), wrong);
    }

    #[test]
    fn other_bytes_are_no_succession() {
        let bytes =
            Succession::sign(&Key::from_secret(&[1; 32]), &open_ledger("a"), &NodeId::from_bytes([9; 32])).encode();
        for len in 0..bytes.len() {
            assert_eq!(Succession::decode(&bytes[..len]), Err(SuccessionError::Malformed), "{len} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        // The same array, its length said with a byte more than it needs.
        let wordy = [&[0x98, 2], &bytes[1..]].concat();
        for bytes in [longer, wordy] {
            assert_eq!(Succession::decode(&bytes), Err(SuccessionError::Malformed));
        }
    }
}
