//! Sealed payloads: what the members of a ledger read, and neither a relay nor a removed member does.
//!
//! ```text
//! sealed     = suite=1 ‖ epoch id (16) ‖ nonce (24) ‖ XChaCha20-Poly1305(epoch key, nonce, associated data, plaintext)
//! epoch id   = SHA-256("cairn/epoch/1" ‖ epoch key)[..16]
//! associated = "cairn/seal/1" ‖ ledger ‖ author ‖ height ‖ index          height as 8 bytes, index as 4, big endian
//! nonce      = SHA-256("cairn/nonce/1" ‖ epoch key ‖ associated ‖ random (16) ‖ plaintext)[..24]
//! ```
//!
//! Two plaintexts under one key and nonce would give each other away, and forgeries with them. So the nonce is not the random
//! bytes themselves but a hash over everything that goes in: a node that is restored from a backup, with a height that it
//! had signed before and a generator that repeats itself, gets the same nonce only for the same plaintext at the same
//! place, and then the same sealed bytes (the idea of SIV, Rogaway and Shrimpton 2006). The random bytes hide whether two
//! payloads of one place are equal.

mod keyring;
mod rekey;

pub use keyring::Keyring;
pub use rekey::Rekey;
pub(crate) use rekey::derive;

use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    block::{Block, Header},
    id::{LedgerId, NodeId},
    key::KeyError,
    limits::PAYLOAD_BYTES,
};

/// XChaCha20-Poly1305 with synthetic nonces; keys handed over by X25519 and HKDF-SHA256.
const SUITE: u8 = 1;
pub(crate) const NONCE_BYTES: usize = 24;
pub(crate) const TAG_BYTES: usize = 16;
const PREFIX_BYTES: usize = 1 + EpochId::BYTES + NONCE_BYTES;

/// Bytes by which a sealed payload is longer than what is in it.
pub const OVERHEAD: usize = PREFIX_BYTES + TAG_BYTES;

/// Why something sealed stays closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// Too few bytes for anything sealed.
    #[error("sealed payload of {len} bytes, it has at least {OVERHEAD}")]
    TooShort {
        /// Bytes that came.
        len: usize,
    },
    /// Sealed in a way that this code does not know.
    #[error("sealed with suite {0}, suite 1 is known")]
    Suite(u64),
    /// The epoch key is not here.
    #[error("sealed with key {0}, which this node does not have")]
    Missing(EpochId),
    /// Another epoch key than the one at hand.
    #[error("a key of {came}, expected {expected}")]
    OtherKey {
        /// What came.
        came: EpochId,
        /// What was needed.
        expected: EpochId,
    },
    /// The bytes were changed, or were sealed for another place or another node.
    #[error("sealed bytes that do not open: they were changed, or are for another place")]
    Changed,
    /// Not the CBOR of a rekey or a keyring.
    #[error("not what it should be: {0}")]
    Malformed(&'static str),
    /// Not the canonical CBOR.
    #[error("not in its canonical encoding")]
    NotCanonical,
    /// A rekey that is too large for a payload.
    #[error("rekey of {len} bytes, limit is {PAYLOAD_BYTES}")]
    TooLarge {
        /// Bytes that came.
        len: usize,
    },
    /// Too many epoch keys.
    #[error("{len} epoch keys, limit is {limit}")]
    TooMany {
        /// Keys that came.
        len: u64,
        /// Keys allowed.
        limit: usize,
    },
    /// A node to which no key can be handed.
    #[error("no key can be handed to {node}: {error}")]
    Recipient {
        /// The node.
        node: NodeId,
        /// Why.
        error: KeyError,
    },
    /// The other side's half of the key agreement is no good.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<minicbor::decode::Error> for SealError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed("wrong or truncated CBOR")
    }
}

/// Names an epoch key and tells nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId([u8; Self::BYTES]);

impl EpochId {
    const BYTES: usize = 16;

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochId({self})")
    }
}

/// The secret that payloads are sealed with, from one change of the membership to the next. It prints as its id, and is
/// overwritten when it is dropped.
#[derive(Clone)]
pub struct EpochKey {
    id: EpochId,
    secret: Zeroizing<[u8; 32]>,
}

impl EpochKey {
    /// The key with this secret: random bytes when an epoch begins.
    pub fn from_secret(secret: Zeroizing<[u8; 32]>) -> Self {
        let digest: [u8; 32] = Sha256::new().chain_update(b"cairn/epoch/1").chain_update(*secret).finalize().into();
        Self { id: EpochId(core::array::from_fn(|i| digest[i])), secret }
    }

    /// Its name.
    pub fn id(&self) -> EpochId {
        self.id
    }

    /// The secret itself, to hand it on or to keep it.
    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// By the ids, which are public: comparing secrets byte by byte would tell by its time how many are equal.
impl PartialEq for EpochKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for EpochKey {}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochKey({})", self.id)
    }
}

/// Where a sealed payload stands. At any other place it does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The ledger.
    pub ledger: LedgerId,
    /// The block's author.
    pub author: NodeId,
    /// The block's height in its author's lane.
    pub height: u64,
    /// The entry's index in the block.
    pub index: u32,
}

impl Place {
    /// Of entry `index` of a block.
    pub fn of(block: &Block, index: usize) -> Self {
        let Header { ledger, author, height, .. } = *block.header();
        Self { ledger, author, height, index: index as u32 }
    }

    /// Every field has a fixed length, so no two places give the same bytes.
    fn associated(&self) -> Vec<u8> {
        let parts: [&[u8]; 5] = [
            b"cairn/seal/1",
            self.ledger.as_bytes(),
            self.author.as_bytes(),
            &self.height.to_be_bytes(),
            &self.index.to_be_bytes(),
        ];
        parts.concat()
    }
}

/// The length of a payload of so many bytes once it is sealed.
pub const fn sealed_len(plaintext: usize) -> usize {
    plaintext.saturating_add(OVERHEAD)
}

/// Seals a payload for its place. The random bytes need not be new each time for it to be safe: see the module.
pub fn seal(key: &EpochKey, place: &Place, random: [u8; 16], plaintext: &[u8]) -> Vec<u8> {
    let associated = place.associated();
    let digest = Sha256::new().chain_update(b"cairn/nonce/1").chain_update(key.secret()).chain_update(&associated);
    let digest: [u8; 32] = digest.chain_update(random).chain_update(plaintext).finalize().into();
    let nonce = core::array::from_fn(|i| digest[i]);
    let ciphertext = encrypt(key.secret(), &nonce, &associated, plaintext);
    [&[SUITE], &key.id.0[..], &nonce, &ciphertext].concat()
}

/// The id of the key that a payload is sealed with.
///
/// # Errors
/// When the bytes are too few, or of a suite that is not known.
pub fn epoch(sealed: &[u8]) -> Result<EpochId, SealError> {
    Ok(split(sealed)?.0)
}

/// Opens a payload at its place.
///
/// # Errors
/// When the bytes are not sealed with this key for this place, or were changed since.
pub fn open(key: &EpochKey, place: &Place, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let (came, nonce, ciphertext) = split(sealed)?;
    if came != key.id {
        return Err(SealError::OtherKey { came, expected: key.id });
    }
    decrypt(key.secret(), nonce, &place.associated(), ciphertext)
}

/// Epoch id, nonce, and ciphertext with its tag.
fn split(sealed: &[u8]) -> Result<(EpochId, &[u8; NONCE_BYTES], &[u8]), SealError> {
    let too_short = SealError::TooShort { len: sealed.len() };
    let Some((suite, rest)) = sealed.split_first() else { return Err(too_short) };
    if *suite != SUITE {
        return Err(SealError::Suite((*suite).into()));
    }
    let parts = rest.split_first_chunk().and_then(|(id, rest)| Some((id, rest.split_first_chunk()?)));
    match parts {
        Some((id, (nonce, ciphertext))) if ciphertext.len() >= TAG_BYTES => Ok((EpochId(*id), nonce, ciphertext)),
        _ => Err(too_short),
    }
}

pub(crate) fn encrypt(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: plaintext, aad: associated };
    match XChaCha20Poly1305::new(key.into()).encrypt(nonce.into(), payload) {
        Ok(ciphertext) => ciphertext,
        Err(_) => unreachable!("256 GiB is the most that can be sealed, and no payload has them"),
    }
}

pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    associated: &[u8],
    ciphertext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let payload = Payload { msg: ciphertext, aad: associated };
    XChaCha20Poly1305::new(key.into()).decrypt(nonce.into(), payload).map_err(|_| SealError::Changed)
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;
    use crate::block::open_ledger;

    pub(super) fn epoch_key(n: u8) -> EpochKey {
        EpochKey::from_secret(Zeroizing::new([n; 32]))
    }

    pub(super) fn numbered(number: u32) -> EpochKey {
        let mut secret = Zeroizing::new([0; 32]);
        secret[..4].copy_from_slice(&number.to_be_bytes());
        EpochKey::from_secret(secret)
    }

    pub(super) fn place() -> Place {
        Place { ledger: open_ledger("a"), author: NodeId::from_bytes([2; 32]), height: 3, index: 4 }
    }

    #[test]
    fn what_is_sealed_opens_at_its_place() {
        let sealed = seal(&epoch_key(1), &place(), [9; 16], b"hello");
        assert_eq!(sealed.len(), sealed_len(5));
        assert_eq!(epoch(&sealed), Ok(epoch_key(1).id()));
        assert_eq!(open(&epoch_key(1), &place(), &sealed), Ok(b"hello".to_vec()));
    }

    #[test]
    fn at_any_other_place_it_stays_closed() {
        let sealed = seal(&epoch_key(1), &place(), [9; 16], b"hello");
        let others = [
            Place { ledger: open_ledger("b"), ..place() },
            Place { author: NodeId::from_bytes([3; 32]), ..place() },
            Place { height: 4, ..place() },
            Place { index: 5, ..place() },
        ];
        for other in others {
            assert_eq!(open(&epoch_key(1), &other, &sealed), Err(SealError::Changed), "{other:?}");
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let sealed = seal(&epoch_key(1), &place(), [9; 16], b"hello");
        for len in 0..sealed.len() {
            let expected = if len < OVERHEAD { SealError::TooShort { len } } else { SealError::Changed };
            assert_eq!(open(&epoch_key(1), &place(), &sealed[..len]), Err(expected), "{len} bytes");
        }
        for bit in 0..8 * sealed.len() {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = open(&epoch_key(1), &place(), &changed).unwrap_err();
            let fits = match bit / 8 {
                0 => error == SealError::Suite(changed[0].into()),
                1..=16 => matches!(error, SealError::OtherKey { expected, .. } if expected == epoch_key(1).id()),
                _ => error == SealError::Changed,
            };
            assert!(fits, "bit {bit}: {error}");
        }
    }

    #[test]
    fn another_key_opens_nothing() {
        let sealed = seal(&epoch_key(1), &place(), [9; 16], b"hello");
        let (came, expected) = (epoch_key(1).id(), epoch_key(2).id());
        assert_eq!(open(&epoch_key(2), &place(), &sealed), Err(SealError::OtherKey { came, expected }));
    }

    fn nonce(sealed: &[u8]) -> [u8; NONCE_BYTES] {
        *split(sealed).unwrap().1
    }

    #[test]
    fn nonces_differ_when_anything_that_is_sealed_differs() {
        let first = seal(&epoch_key(1), &place(), [9; 16], b"hello");
        assert_eq!(seal(&epoch_key(1), &place(), [9; 16], b"hello"), first);
        let others = [
            seal(&epoch_key(1), &place(), [9; 16], b"hellp"),
            seal(&epoch_key(1), &place(), [9; 16], b"hello "),
            seal(&epoch_key(1), &place(), [8; 16], b"hello"),
            seal(&epoch_key(1), &Place { height: 4, ..place() }, [9; 16], b"hello"),
            seal(&epoch_key(2), &place(), [9; 16], b"hello"),
        ];
        for (number, other) in others.iter().enumerate() {
            assert_ne!(nonce(other), nonce(&first), "number {number}");
        }
    }

    #[test]
    fn a_key_overwrites_itself() {
        fn check<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        // Of anything else this does not build.
        check(&epoch_key(1).secret);
    }

    #[test]
    fn nothing_prints_the_secret() {
        let key = epoch_key(0xab);
        let mut ring = Keyring::default();
        ring.add(key.clone()).unwrap();
        for text in [format!("{key:?}"), format!("{ring:?}")] {
            assert!(text.contains(&format!("{}", key.id())), "{text}");
            assert!(!text.contains("abab") && !text.contains("171, 171"), "{text}");
        }
    }

    #[test]
    fn a_full_payload_can_be_measured_before_it_is_sealed() {
        let plaintext = vec![7; PAYLOAD_BYTES - OVERHEAD];
        assert_eq!(sealed_len(plaintext.len()), PAYLOAD_BYTES);
        assert_eq!(seal(&epoch_key(1), &place(), [9; 16], &plaintext).len(), PAYLOAD_BYTES);
        assert_eq!(sealed_len(usize::MAX), usize::MAX);
    }

    proptest! {
        #[test]
        fn any_payload_is_longer_by_the_overhead_and_comes_back(plaintext in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let sealed = seal(&epoch_key(1), &place(), [9; 16], &plaintext);
            prop_assert_eq!(sealed.len(), sealed_len(plaintext.len()));
            prop_assert_eq!(open(&epoch_key(1), &place(), &sealed), Ok(plaintext));
        }

        #[test]
        fn arbitrary_bytes_stay_closed(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), ours in any::<bool>()) {
            if ours && bytes.len() > 17 {
                bytes[0] = SUITE;
                bytes[1..17].copy_from_slice(epoch_key(1).id().as_bytes());
            }
            prop_assert!(open(&epoch_key(1), &place(), &bytes).is_err());
        }
    }
}
