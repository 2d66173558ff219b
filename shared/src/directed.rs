//! Messages from one node to one other, over whatever nodes stand between: only the recipient reads them, and nobody makes one in
//! another node's name.
//!
//! ```text
//! directed  = [at, body: bytes, signature: bytes64]          the payload of an envelope with sender and recipient
//! body      = ephemeral: bytes32 ‖ sealed
//! sealed    = like a payload (crate::seal), at the place of the sender, height at, index 2^32 - 2
//! its key   = HKDF-SHA256(salt = ephemeral ‖ recipient, X25519(ephemeral, recipient),
//!                         info = "cairn/directed/1" ‖ ledger ‖ sender)
//! signature = the sender's, over "cairn/directed/1" ‖ ledger ‖ message id ‖ sender ‖ recipient ‖ at ‖ body
//! ```

use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::{
    id::{LedgerId, NodeId},
    key::{self, Agreed, Ephemeral, Key, KeyError},
    limits::DIRECTED_BYTES,
    seal::{self, EpochKey, Place, SealError, derive},
    time::Timestamp,
};

const LABEL: &[u8] = b"cairn/directed/1";
const EPHEMERAL_BYTES: usize = 32;
/// Where the body is sealed: entries have smaller indexes, and announcements the one after it.
const INDEX: u32 = u32::MAX - 1;

/// Whose message it is, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// A UUID.
    pub message_id: [u8; 16],
    /// Who says it.
    pub sender: NodeId,
    /// Who reads it.
    pub recipient: NodeId,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directed {
    /// When it was sent. No two messages of one sender have the same time.
    pub at: Timestamp,
    /// What is said, sealed for the recipient.
    pub body: Vec<u8>,
    /// By the sender's key.
    pub signature: [u8; 64],
}

impl Directed {
    /// Seals and signs a message. `random`: fresh bytes.
    ///
    /// # Errors
    /// When the recipient's key is weak.
    pub fn new(
        ledger: &LedgerId,
        key: &Key,
        route: &Route,
        at: Timestamp,
        random: ([u8; 32], [u8; 16]),
        plaintext: &[u8],
    ) -> Result<Self, KeyError> {
        let half = Ephemeral::from_secret(Zeroizing::new(random.0));
        let agreed = half.agree(&route.recipient)?;
        let sealing = sealing_key(&agreed, half.public(), ledger, route);
        let sealed = seal::seal(&sealing, &place(*ledger, route.sender, at), random.1, plaintext);
        let body = [half.public(), &sealed[..]].concat();
        let signature = key.sign(&signed(ledger, route, at, &body));
        Ok(Self { at, body, signature })
    }

    /// Whether the sender says this, to this recipient and in this ledger.
    ///
    /// # Errors
    /// When the signature is not the sender's.
    pub fn verify(&self, ledger: &LedgerId, route: &Route) -> Result<(), KeyError> {
        key::verify(&route.sender, &signed(ledger, route, self.at, &self.body), &self.signature)
    }

    /// What is said, with the recipient's key.
    ///
    /// # Errors
    /// When the body is not sealed for this recipient.
    pub fn open(&self, ledger: &LedgerId, key: &Key, route: &Route) -> Result<Vec<u8>, SealError> {
        let too_short = SealError::TooShort { len: self.body.len() };
        let (ephemeral, sealed) = self.body.split_first_chunk::<EPHEMERAL_BYTES>().ok_or(too_short)?;
        let sealing = sealing_key(&key.agree(ephemeral)?, ephemeral, ledger, route);
        seal::open(&sealing, &place(*ledger, route.sender, self.at), sealed)
    }

    /// Whether the body is of a length that is taken in.
    pub(crate) fn fits(&self) -> bool {
        self.body.len() <= EPHEMERAL_BYTES + seal::sealed_len(DIRECTED_BYTES)
    }
}

fn sealing_key(agreed: &Agreed, ephemeral: &[u8; 32], ledger: &LedgerId, route: &Route) -> EpochKey {
    let salt = [&ephemeral[..], route.recipient.as_bytes()].concat();
    EpochKey::from_secret(derive(&salt, agreed, &[LABEL, ledger.as_bytes(), route.sender.as_bytes()]))
}

fn place(ledger: LedgerId, sender: NodeId, at: Timestamp) -> Place {
    Place { ledger, author: sender, height: at.micros(), index: INDEX }
}

fn signed(ledger: &LedgerId, route: &Route, at: Timestamp, body: &[u8]) -> Vec<u8> {
    let Route { message_id, sender, recipient } = route;
    let at = at.micros().to_be_bytes();
    let parts: [&[u8]; 7] = [LABEL, ledger.as_bytes(), message_id, sender.as_bytes(), recipient.as_bytes(), &at, body];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::open_ledger;

    fn key(n: u8) -> Key {
        Key::from_secret(&[n; 32])
    }

    fn made() -> (LedgerId, Route, Directed) {
        let ledger = open_ledger("a");
        let route = Route { message_id: [7; 16], sender: key(1).node(), recipient: key(2).node() };
        let at = Timestamp::from_micros(5).unwrap();
        let random = ([3; 32], [4; 16]);
        (ledger, route, Directed::new(&ledger, &key(1), &route, at, random, b"hello").unwrap())
    }

    #[test]
    fn the_recipient_reads_it_and_nobody_else() {
        let (ledger, route, directed) = made();
        assert_eq!(directed.open(&ledger, &key(2), &route).unwrap(), b"hello");
        for other in [1, 3] {
            assert!(directed.open(&ledger, &key(other), &route).is_err());
        }
        assert!(directed.open(&open_ledger("b"), &key(2), &route).is_err());
        assert!(!directed.body.windows(5).any(|part| part == b"hello"));
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let (ledger, route, directed) = made();
        assert!(directed.verify(&ledger, &route).is_ok());
        assert!(directed.verify(&open_ledger("b"), &route).is_err());
        let other = key(3).node();
        for changed in [
            Route { sender: other, ..route },
            Route { recipient: other, ..route },
            Route { message_id: [8; 16], ..route },
        ] {
            assert!(directed.verify(&ledger, &changed).is_err(), "{changed:?}");
        }
        let mut body = directed.body.clone();
        body[40] ^= 1;
        for changed in [Directed { at: directed.at.plus(1), ..directed.clone() }, Directed { body, ..directed.clone() }]
        {
            assert!(changed.verify(&ledger, &route).is_err(), "{changed:?}");
            assert!(changed.open(&ledger, &key(2), &route).is_err(), "{changed:?}");
        }
    }

    #[test]
    fn what_is_cut_short_does_not_open() {
        let (ledger, route, directed) = made();
        for len in 0..directed.body.len() {
            let cut = Directed { body: directed.body[..len].to_vec(), ..directed.clone() };
            assert!(cut.open(&ledger, &key(2), &route).is_err(), "{len}");
        }
    }
}
