//! The epoch keys that a node holds.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::{Decoder, Encoder};
use zeroize::Zeroizing;

use super::{EpochId, EpochKey, Place, SealError, epoch, open};
use crate::{block::infallible, limits::EPOCHS};

const VERSION: u64 = 1;

/// Epoch keys by their ids, and which of them new payloads are sealed with.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: BTreeMap<EpochId, EpochKey>,
    current: Option<EpochId>,
}

impl Keyring {
    /// Adds a key. Which one is current stays.
    ///
    /// # Errors
    /// When there are [`EPOCHS`] already.
    pub fn add(&mut self, key: EpochKey) -> Result<(), SealError> {
        if self.keys.len() >= EPOCHS && !self.keys.contains_key(&key.id()) {
            return Err(SealError::TooMany { len: EPOCHS as u64 + 1, limit: EPOCHS });
        }
        self.keys.insert(key.id(), key);
        Ok(())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key with this id.
    pub fn key(&self, id: &EpochId) -> Option<&EpochKey> {
        self.keys.get(id)
    }

    /// The ids of all keys, ascending.
    pub fn ids(&self) -> impl Iterator<Item = &EpochId> {
        self.keys.keys()
    }

    /// All keys.
    #[cfg(feature = "sim")]
    pub(crate) fn all(&self) -> impl Iterator<Item = &EpochKey> {
        self.keys.values()
    }

    /// Says which key new payloads are sealed with.
    ///
    /// # Errors
    /// When it is not here.
    pub fn set_current(&mut self, id: &EpochId) -> Result<(), SealError> {
        if !self.keys.contains_key(id) {
            return Err(SealError::Missing(*id));
        }
        self.current = Some(*id);
        Ok(())
    }

    /// The key that new payloads are sealed with, once there is one.
    pub fn current(&self) -> Option<&EpochKey> {
        self.current.as_ref().and_then(|id| self.keys.get(id))
    }

    /// Opens a payload with the key that it is sealed with.
    ///
    /// # Errors
    /// When that key is not here, or the bytes are not sealed with it for this place.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let id = epoch(sealed)?;
        open(self.keys.get(&id).ok_or(SealError::Missing(id))?, place, sealed)
    }

    /// `[version=1, current: bytes0 or bytes16, [[id: bytes16, key: bytes32] …]]` in canonical CBOR, ascending by id. For
    /// this node's own storage: whoever has these bytes reads everything.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // With room for all of it: bytes that a growing vector leaves behind would not be overwritten.
        let mut bytes = Zeroizing::new(Vec::with_capacity(32 + 52 * self.keys.len()));
        let mut encoder = Encoder::new(&mut *bytes);
        infallible((|| {
            encoder.array(3)?.u64(VERSION)?.bytes(self.current.as_ref().map_or(&[], |id| id.as_bytes()))?;
            encoder.array(self.keys.len() as u64)?;
            self.keys.iter().try_for_each(|(id, key)| encoder.array(2)?.bytes(id.as_bytes())?.bytes(key.secret())?.ok())
        })());
        bytes
    }

    /// Reads what [`Keyring::encode`] wrote. A key whose bits changed no longer fits its id.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        let mut decoder = Decoder::new(bytes);
        expect_array(&mut decoder, 3)?;
        if decoder.u64()? != VERSION {
            return Err(SealError::Malformed("a keyring of another version"));
        }
        let current = match decoder.bytes()? {
            [] => None,
            id => Some(EpochId(exact(id)?)),
        };
        let len = decoder.array()?.ok_or(SealError::NotCanonical)?;
        if len > EPOCHS as u64 {
            return Err(SealError::TooMany { len, limit: EPOCHS });
        }
        let mut ring = Self::default();
        for _ in 0..len {
            expect_array(&mut decoder, 2)?;
            let expected = EpochId(exact(decoder.bytes()?)?);
            let key = EpochKey::from_secret(Zeroizing::new(exact(decoder.bytes()?)?));
            if key.id() != expected {
                return Err(SealError::OtherKey { came: key.id(), expected });
            }
            ring.add(key)?;
        }
        current.map_or(Ok(()), |id| ring.set_current(&id))?;
        if *ring.encode() == bytes { Ok(ring) } else { Err(SealError::NotCanonical) }
    }
}

pub(super) fn expect_array(decoder: &mut Decoder<'_>, len: u64) -> Result<(), SealError> {
    match decoder.array()? {
        Some(found) if found == len => Ok(()),
        _ => Err(SealError::Malformed("an array has the wrong length")),
    }
}

pub(super) fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], SealError> {
    bytes.try_into().map_err(|_| SealError::Malformed("a byte string has the wrong length"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            seal,
            tests::{epoch_key, numbered, place},
        },
        *,
    };

    fn ring(keys: impl IntoIterator<Item = u8>) -> Keyring {
        let mut ring = Keyring::default();
        keys.into_iter().for_each(|n| ring.add(epoch_key(n)).unwrap());
        ring
    }

    #[test]
    fn the_key_is_found_by_what_was_sealed() {
        let ring = ring(1..=3);
        for n in 1..=3 {
            assert_eq!(ring.open(&place(), &seal(&epoch_key(n), &place(), [9; 16], &[n])), Ok([n].to_vec()));
        }
        let missing = epoch_key(4).id();
        let error = ring.open(&place(), &seal(&epoch_key(4), &place(), [9; 16], b"hello")).unwrap_err();
        assert_eq!(error, SealError::Missing(missing));
        assert_eq!(
            alloc::format!("{error}"),
            alloc::format!("sealed with key {missing}, which this node does not have")
        );
    }

    #[test]
    fn the_current_key_is_one_that_is_there() {
        let mut ring = ring([1, 2]);
        assert_eq!(ring.current(), None);
        ring.set_current(&epoch_key(1).id()).unwrap();
        assert_eq!(ring.set_current(&epoch_key(3).id()), Err(SealError::Missing(epoch_key(3).id())));
        assert_eq!(ring.current(), Some(&epoch_key(1)));
        ring.add(epoch_key(3)).unwrap();
        assert_eq!(ring.current(), Some(&epoch_key(1)));
    }

    #[test]
    fn it_holds_so_many_keys_and_no_more() {
        let mut ring = Keyring::default();
        (0..EPOCHS as u32).for_each(|number| ring.add(numbered(number)).unwrap());
        let full = SealError::TooMany { len: EPOCHS as u64 + 1, limit: EPOCHS };
        assert_eq!(ring.add(numbered(EPOCHS as u32)), Err(full));
        assert_eq!(ring.add(numbered(7)), Ok(()));
        let bytes = ring.encode();
        // What a store takes as a small value.
        assert!(bytes.len() < 2_000_000 && bytes.capacity() == 32 + 52 * EPOCHS);
        assert_eq!(Keyring::decode(&bytes).unwrap().keys.len(), EPOCHS);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_a_stored_keyring_is_noticed() {
        let mut ring = ring([1, 2]);
        ring.set_current(&epoch_key(2).id()).unwrap();
        let bytes = ring.encode();
        for len in 0..bytes.len() {
            assert!(Keyring::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Keyring::decode(&changed).is_err(), "bit {bit}");
        }
        assert!(Keyring::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_list_that_claims_to_be_endless_is_refused() {
        let bytes = [0x83, 0x01, 0x40, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255];
        let refused = SealError::TooMany { len: u64::MAX, limit: EPOCHS };
        assert_eq!(Keyring::decode(&bytes).unwrap_err(), refused);
    }

    proptest! {
        #[test]
        fn a_keyring_reads_back(keys in proptest::collection::btree_set(any::<u8>(), 0..20), current in any::<u8>()) {
            let mut ring = ring(keys);
            let _ = ring.set_current(&epoch_key(current).id());
            let read = Keyring::decode(&ring.encode()).unwrap();
            prop_assert_eq!(&read.keys, &ring.keys);
            prop_assert_eq!(read.current, ring.current);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_a_keyring(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(ring) = Keyring::decode(&bytes) {
                prop_assert_eq!(&ring.encode()[..], &bytes[..]);
            }
        }
    }
}
