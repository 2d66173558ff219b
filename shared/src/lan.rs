//! What a node shows on its local network: others of its ledger find it by that, and nobody else learns whose it is.
//!
//! ```text
//! tag = salt (16) ‖ HKDF-SHA256(salt, ledger id, info = "cairn/lan/1 tag")[..16]
//! id  = XChaCha20-Poly1305(key, nonce of zeros, associated data = salt, the 32 bytes of the endpoint's key)
//! key = HKDF-SHA256(salt, ledger id, info = "cairn/lan/1 id")
//! ```
//!
//! The salt is drawn at each start. A key follows from it, so it seals one thing only: that is why its nonce may be zeros.

use thiserror::Error;

use crate::{
    id::LedgerId,
    seal::{NONCE_BYTES, TAG_BYTES, decrypt, derive, encrypt},
};

const SALT_BYTES: usize = 16;
/// Bytes that say which ledger it is.
const MARK_BYTES: usize = 16;

/// Why what somebody shows is of no use here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BeaconError {
    /// Too many bytes, or too few.
    #[error("{field} of {len} bytes, expected {expected}")]
    Length {
        /// Which of the two.
        field: &'static str,
        /// Bytes that came.
        len: usize,
        /// Bytes that it has.
        expected: usize,
    },
    /// Of another ledger.
    #[error("a tag of another ledger")]
    OtherLedger,
    /// Made by somebody who does not know the ledger, or changed since.
    #[error("a sealed endpoint that does not open")]
    Changed,
}

/// What a node shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beacon {
    /// Tells which ledger it is to whoever knows that.
    pub tag: [u8; SALT_BYTES + MARK_BYTES],
    /// The endpoint's key, sealed for those.
    pub id: [u8; 32 + TAG_BYTES],
}

impl Beacon {
    /// Of an endpoint, with a salt that was drawn for it alone.
    pub fn new(ledger: &LedgerId, endpoint: &[u8; 32], salt: [u8; SALT_BYTES]) -> Self {
        let mut tag = [0; SALT_BYTES + MARK_BYTES];
        tag[..SALT_BYTES].copy_from_slice(&salt);
        tag[SALT_BYTES..].copy_from_slice(&mark(ledger, &salt));
        let sealed = encrypt(&id_key(ledger, &salt), &[0; NONCE_BYTES], &salt, endpoint);
        Self { tag, id: core::array::from_fn(|i| sealed[i]) }
    }

    /// What somebody shows.
    ///
    /// # Errors
    /// When a part has another length.
    pub fn read(tag: &[u8], id: &[u8]) -> Result<Self, BeaconError> {
        Ok(Self { tag: exact("tag", tag)?, id: exact("id", id)? })
    }

    /// The endpoint's key, if it is of this ledger.
    ///
    /// # Errors
    /// When it is of another one, or was not made by somebody who knows this one.
    pub fn open(&self, ledger: &LedgerId) -> Result<[u8; 32], BeaconError> {
        let salt = core::array::from_fn(|i| self.tag[i]);
        if self.tag[SALT_BYTES..] != mark(ledger, &salt) {
            return Err(BeaconError::OtherLedger);
        }
        let endpoint = decrypt(&id_key(ledger, &salt), &[0; NONCE_BYTES], &salt, &self.id);
        exact("endpoint", &endpoint.map_err(|_| BeaconError::Changed)?)
    }
}

fn exact<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], BeaconError> {
    bytes.try_into().map_err(|_| BeaconError::Length { field, len: bytes.len(), expected: N })
}

fn mark(ledger: &LedgerId, salt: &[u8; SALT_BYTES]) -> [u8; MARK_BYTES] {
    let derived = derive(salt, ledger.as_bytes(), &[b"cairn/lan/1 tag"]);
    core::array::from_fn(|i| derived[i])
}

fn id_key(ledger: &LedgerId, salt: &[u8; SALT_BYTES]) -> zeroize::Zeroizing<[u8; 32]> {
    derive(salt, ledger.as_bytes(), &[b"cairn/lan/1 id"])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::open_ledger;

    fn beacon() -> Beacon {
        Beacon::new(&open_ledger("a"), &[7; 32], [9; 16])
    }

    #[test]
    fn who_knows_the_ledger_reads_the_endpoint() {
        let Beacon { tag, id } = beacon();
        assert_eq!(Beacon::read(&tag, &id).unwrap().open(&open_ledger("a")), Ok([7; 32]));
    }

    #[test]
    fn who_knows_another_ledger_reads_nothing() {
        let other = open_ledger("b");
        assert_eq!(beacon().open(&other), Err(BeaconError::OtherLedger));
        // Also with the right mark for it.
        let id = beacon().id;
        assert_eq!(Beacon { id, ..Beacon::new(&other, &[7; 32], [9; 16]) }.open(&other), Err(BeaconError::Changed));
    }

    #[test]
    fn two_starts_of_one_node_show_nothing_in_common() {
        let again = Beacon::new(&open_ledger("a"), &[7; 32], [8; 16]);
        let equal = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a == b).count();
        assert!(equal(&again.tag, &beacon().tag) < 4 && equal(&again.id, &beacon().id) < 4);
        assert!(!beacon().id.windows(4).any(|part| part == [7; 4]), "the endpoint is there to read");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let Beacon { tag, id } = beacon();
        for bit in 0..8 * (tag.len() + id.len()) {
            let mut changed = [&tag[..], &id[..]].concat();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (changed_tag, changed_id) = changed.split_at(tag.len());
            let error = Beacon::read(changed_tag, changed_id).unwrap().open(&open_ledger("a")).unwrap_err();
            let expected = if bit / 8 < tag.len() { BeaconError::OtherLedger } else { BeaconError::Changed };
            assert_eq!(error, expected, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_of_no_ledger(tag in prop::collection::vec(any::<u8>(), 0..80), id in prop::collection::vec(any::<u8>(), 0..80)) {
            let fits = tag.len() == beacon().tag.len() && id.len() == beacon().id.len();
            let read = Beacon::read(&tag, &id);
            prop_assert_eq!(read.is_ok(), fits);
            if let Ok(beacon) = read {
                prop_assert!(beacon.open(&open_ledger("a")).is_err());
            }
        }

        #[test]
        fn any_endpoint_comes_back(endpoint in any::<[u8; 32]>(), salt in any::<[u8; 16]>()) {
            let ledger = open_ledger("a");
            prop_assert_eq!(Beacon::new(&ledger, &endpoint, salt).open(&ledger), Ok(endpoint));
        }
    }
}
