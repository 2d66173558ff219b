//! A new epoch key on its way to the members.
//!
//! ```text
//! rekey    = [suite=1, epoch id: bytes16, ephemeral: bytes32, [previous …], [recipient …]]
//! previous = [epoch id: bytes16, wrapped: bytes48]       ascending by id
//! recipient = [node: bytes32, wrapped: bytes48]          ascending by node
//!
//! wrapped  = XChaCha20-Poly1305(wrapping key, nonce of zeros, nothing associated, the 32 bytes of the epoch key)
//! wrapping key of a recipient = HKDF-SHA256(salt = ephemeral ‖ node, X25519(ephemeral, node),
//!                                           info = "cairn/wrap/1" ‖ ledger ‖ epoch id)
//! wrapping key of a previous key = HKDF-SHA256(no salt, the new epoch key,
//!                                              info = "cairn/previous/1" ‖ epoch id ‖ previous epoch id)
//! ```
//!
//! A wrapping key depends on the id of what it wraps, so it wraps one thing only, also when randomness repeats: that is why its
//! nonce may be zeros.

use alloc::{collections::BTreeMap, collections::BTreeSet, vec::Vec};

use hkdf::Hkdf;
use minicbor::{Decoder, Encoder};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    EpochId, EpochKey, NONCE_BYTES, SUITE, SealError, TAG_BYTES, decrypt, encrypt,
    keyring::{exact, expect_array},
};
use crate::{
    block::infallible,
    id::{LedgerId, NodeId},
    key::{Agreed, Ephemeral, Key},
    limits::{PAYLOAD_BYTES, PREVIOUS_EPOCHS},
};

/// Bytes of all that is there once, with the longest length of the list of recipients.
const FIXED_BYTES: usize = 57;
const PREVIOUS_BYTES: usize = 68;
const RECIPIENT_BYTES: usize = 85;

type Wrapped = [u8; 32 + TAG_BYTES];

/// The payload that begins an epoch: its key, wrapped for each recipient, and the keys before it, wrapped under the new one,
/// so that a newcomer who has the newest key can read what is older. It is not sealed itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekey {
    epoch: EpochId,
    ephemeral: [u8; 32],
    previous: BTreeMap<EpochId, Wrapped>,
    recipients: BTreeMap<NodeId, Wrapped>,
}

impl Rekey {
    /// Wraps a new key for the members, and up to [`PREVIOUS_EPOCHS`] keys before it. A payload has a limit, so there may
    /// be several: each stands alone, for its part of the members. Name the author among the members, whose own copy of
    /// the key may be lost.
    ///
    /// # Errors
    /// When there are too many previous keys, or a member has a weak key.
    pub fn for_members(
        ledger: &LedgerId,
        key: &EpochKey,
        previous: &[EpochKey],
        members: &BTreeSet<NodeId>,
        random: Zeroizing<[u8; 32]>,
    ) -> Result<Vec<Rekey>, SealError> {
        check_previous(previous.len() as u64)?;
        let half = Ephemeral::from_secret(random);
        let previous: BTreeMap<_, _> =
            previous.iter().map(|old| (old.id(), wrap(&previous_key(key, &old.id()), old))).collect();
        let mut rekeys: Vec<Rekey> = Vec::new();
        for node in members {
            let agreed = half.agree(node).map_err(|error| SealError::Recipient { node: *node, error })?;
            let wrapped = wrap(&recipient_key(&agreed, half.public(), node, ledger, &key.id()), key);
            if rekeys.last().is_none_or(Rekey::is_full) {
                rekeys.push(Rekey {
                    epoch: key.id(),
                    ephemeral: *half.public(),
                    previous: previous.clone(),
                    recipients: BTreeMap::new(),
                });
            }
            rekeys.last_mut().map(|rekey| rekey.recipients.insert(*node, wrapped));
        }
        Ok(rekeys)
    }

    fn is_full(&self) -> bool {
        FIXED_BYTES + PREVIOUS_BYTES * self.previous.len() + RECIPIENT_BYTES * (self.recipients.len() + 1)
            > PAYLOAD_BYTES
    }

    /// The id of the new key.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// For whom it is, ascending.
    pub fn recipients(&self) -> impl Iterator<Item = &NodeId> {
        self.recipients.keys()
    }

    /// Whether keys of epochs before come along.
    pub fn has_previous(&self) -> bool {
        !self.previous.is_empty()
    }

    /// The new key, if this node is a recipient.
    ///
    /// # Errors
    /// When what is there for this node does not open, or is not the key that the rekey names.
    pub fn open_as(&self, key: &Key, ledger: &LedgerId) -> Result<Option<EpochKey>, SealError> {
        let node = key.node();
        let Some(wrapped) = self.recipients.get(&node) else { return Ok(None) };
        let agreed = key.agree(&self.ephemeral)?;
        unwrap(&recipient_key(&agreed, &self.ephemeral, &node, ledger, &self.epoch), wrapped, self.epoch).map(Some)
    }

    /// The keys before the new one. What does not open, or is not the key that its id names, is left out, so that one false
    /// key hides no other.
    pub fn previous(&self, key: &EpochKey) -> Vec<EpochKey> {
        self.previous.iter().filter_map(|(id, wrapped)| unwrap(&previous_key(key, id), wrapped, *id).ok()).collect()
    }

    /// The payload: canonical CBOR, at most [`PAYLOAD_BYTES`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let lists = PREVIOUS_BYTES * self.previous.len() + RECIPIENT_BYTES * self.recipients.len();
        let mut bytes = Vec::with_capacity(FIXED_BYTES + lists);
        let mut encoder = Encoder::new(&mut bytes);
        infallible((|| {
            encoder.array(5)?.u8(SUITE)?.bytes(self.epoch.as_bytes())?.bytes(&self.ephemeral)?;
            encoder.array(self.previous.len() as u64)?;
            for (id, wrapped) in &self.previous {
                encoder.array(2)?.bytes(id.as_bytes())?.bytes(wrapped)?;
            }
            encoder.array(self.recipients.len() as u64)?;
            self.recipients
                .iter()
                .try_for_each(|(node, wrapped)| encoder.array(2)?.bytes(node.as_bytes())?.bytes(wrapped)?.ok())
        })());
        bytes
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// When the bytes are not canonical, break a limit, or are of a suite that is not known.
    pub fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        if bytes.len() > PAYLOAD_BYTES {
            return Err(SealError::TooLarge { len: bytes.len() });
        }
        let mut decoder = Decoder::new(bytes);
        expect_array(&mut decoder, 5)?;
        let suite = decoder.u64()?;
        if suite != u64::from(SUITE) {
            return Err(SealError::Suite(suite));
        }
        let epoch = EpochId(exact(decoder.bytes()?)?);
        let ephemeral = exact(decoder.bytes()?)?;
        let mut rekey = Self { epoch, ephemeral, previous: BTreeMap::new(), recipients: BTreeMap::new() };
        let len = decoder.array()?.ok_or(SealError::NotCanonical)?;
        check_previous(len)?;
        for _ in 0..len {
            expect_array(&mut decoder, 2)?;
            rekey.previous.insert(EpochId(exact(decoder.bytes()?)?), exact(decoder.bytes()?)?);
        }
        // Whatever the length claims, the loop ends with the bytes.
        for _ in 0..decoder.array()?.ok_or(SealError::NotCanonical)? {
            expect_array(&mut decoder, 2)?;
            rekey.recipients.insert(NodeId::from_bytes(exact(decoder.bytes()?)?), exact(decoder.bytes()?)?);
        }
        // What is not ascending, or there twice, is not what the maps give back.
        if rekey.encode() == bytes { Ok(rekey) } else { Err(SealError::NotCanonical) }
    }
}

fn check_previous(len: u64) -> Result<(), SealError> {
    if len > PREVIOUS_EPOCHS as u64 { Err(SealError::TooMany { len, limit: PREVIOUS_EPOCHS }) } else { Ok(()) }
}

fn recipient_key(
    agreed: &Agreed,
    ephemeral: &[u8; 32],
    node: &NodeId,
    ledger: &LedgerId,
    epoch: &EpochId,
) -> Zeroizing<[u8; 32]> {
    let salt = [&ephemeral[..], node.as_bytes()].concat();
    derive(&salt, agreed, &[b"cairn/wrap/1", ledger.as_bytes(), epoch.as_bytes()])
}

fn previous_key(key: &EpochKey, previous: &EpochId) -> Zeroizing<[u8; 32]> {
    derive(&[], key.secret(), &[b"cairn/previous/1", key.id().as_bytes(), previous.as_bytes()])
}

/// HKDF-SHA256 (RFC 5869).
pub(crate) fn derive(salt: &[u8], secret: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    match Hkdf::<Sha256>::new(Some(salt), secret).expand_multi_info(info, &mut *key) {
        Ok(()) => key,
        Err(_) => unreachable!("HKDF-SHA256 gives up to 8160 bytes"),
    }
}

fn wrap(wrapping: &[u8; 32], key: &EpochKey) -> Wrapped {
    let wrapped = encrypt(wrapping, &[0; NONCE_BYTES], &[], key.secret());
    core::array::from_fn(|i| wrapped[i])
}

fn unwrap(wrapping: &[u8; 32], wrapped: &Wrapped, expected: EpochId) -> Result<EpochKey, SealError> {
    let secret = Zeroizing::new(decrypt(wrapping, &[0; NONCE_BYTES], &[], wrapped)?);
    let key = EpochKey::from_secret(Zeroizing::new(exact(&secret)?));
    if key.id() == expected { Ok(key) } else { Err(SealError::OtherKey { came: key.id(), expected }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::tests::{epoch_key, numbered},
        *,
    };
    use crate::{block::open_ledger, key::KeyError};

    fn ledger() -> LedgerId {
        open_ledger("a")
    }

    fn key(n: u8) -> Key {
        Key::from_secret(&[n; 32])
    }

    fn members(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<NodeId> {
        numbers.into_iter().map(|n| key(n).node()).collect()
    }

    fn rekeys(previous: &[EpochKey], members: &BTreeSet<NodeId>) -> Result<Vec<Rekey>, SealError> {
        Rekey::for_members(&ledger(), &epoch_key(9), previous, members, Zeroizing::new([7; 32]))
    }

    fn rekey(previous: impl IntoIterator<Item = u8>, to: impl IntoIterator<Item = u8>) -> Rekey {
        let previous: Vec<_> = previous.into_iter().map(epoch_key).collect();
        let mut all = rekeys(&previous, &members(to)).unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn every_member_gets_the_key_and_nobody_else() {
        let rekey = Rekey::decode(&rekey([], 1..=3).encode()).unwrap();
        for n in 1..=3 {
            assert_eq!(rekey.open_as(&key(n), &ledger()), Ok(Some(epoch_key(9))));
        }
        assert_eq!(rekey.open_as(&key(4), &ledger()), Ok(None));
        assert_eq!(rekey.epoch(), epoch_key(9).id());
        assert!(rekey.recipients().eq(&members(1..=3)));
    }

    #[cfg(feature = "sim")]
    #[test]
    fn simulated_members_get_it_beside_others() {
        let (simulated, other) = (Key::simulated(1), key(1));
        let mut all = rekeys(&[], &[&simulated, &other].map(Key::node).into()).unwrap();
        let rekey = all.remove(0);
        for member in [&simulated, &other] {
            assert_eq!(rekey.open_as(member, &ledger()), Ok(Some(epoch_key(9))));
        }
        assert_eq!(rekey.open_as(&Key::simulated(2), &ledger()), Ok(None));
    }

    #[test]
    fn in_another_ledger_it_stays_closed() {
        assert_eq!(rekey([], [1]).open_as(&key(1), &open_ledger("b")), Err(SealError::Changed));
    }

    #[test]
    fn what_is_for_one_member_does_not_open_for_another() {
        let mut rekey = rekey([], [1, 2]);
        let [one, two] = [1, 2].map(|n| key(n).node());
        let wrapped = rekey.recipients[&one];
        rekey.recipients.insert(two, wrapped);
        assert_eq!(rekey.open_as(&key(2), &ledger()), Err(SealError::Changed));
        assert_eq!(rekey.open_as(&key(1), &ledger()), Ok(Some(epoch_key(9))));
    }

    #[test]
    fn the_new_key_opens_the_keys_before_it() {
        let rekey = Rekey::decode(&rekey([3, 1, 2], [1]).encode()).unwrap();
        let found: BTreeSet<_> = rekey.previous(&epoch_key(9)).iter().map(EpochKey::id).collect();
        assert_eq!(found, [1, 2, 3].map(|n| epoch_key(n).id()).into());
        assert_eq!(rekey.previous(&epoch_key(8)), []);
    }

    #[test]
    fn a_key_under_a_false_name_is_refused_and_hides_no_other() {
        let mut rekey = rekey([1, 2], [1]);
        let (new, false_id) = (epoch_key(9), epoch_key(1).id());
        rekey.previous.insert(false_id, wrap(&previous_key(&new, &false_id), &epoch_key(5)));
        assert_eq!(rekey.previous(&new), [epoch_key(2)]);

        let half = Ephemeral::from_secret(Zeroizing::new([7; 32]));
        let node = key(1).node();
        let wrapping = recipient_key(&half.agree(&node).unwrap(), half.public(), &node, &ledger(), &new.id());
        rekey.recipients.insert(node, wrap(&wrapping, &epoch_key(5)));
        let other = SealError::OtherKey { came: epoch_key(5).id(), expected: new.id() };
        assert_eq!(rekey.open_as(&key(1), &ledger()), Err(other));
    }

    #[test]
    fn ten_thousand_members_get_it_in_payloads_that_each_stand_alone() {
        let previous: Vec<_> = (20..20 + PREVIOUS_EPOCHS as u8).map(epoch_key).collect();
        let keys: Vec<_> = (0..10_000_u32).map(|number| Key::from_secret(numbered(number).secret())).collect();
        let members: BTreeSet<_> = keys.iter().map(Key::node).collect();
        let all = rekeys(&previous, &members).unwrap();
        assert_eq!(all.len(), 14);
        let mut reached = BTreeSet::new();
        for (number, rekey) in all.iter().enumerate() {
            let bytes = rekey.encode();
            let (full, last) = (bytes.len() + RECIPIENT_BYTES > PAYLOAD_BYTES, number + 1 == all.len());
            assert!(bytes.len() <= PAYLOAD_BYTES && full != last, "payload {number} of {} bytes", bytes.len());
            let read = Rekey::decode(&bytes).unwrap();
            let key = keys.iter().find(|key| read.recipients.contains_key(&key.node())).unwrap();
            assert_eq!(read.open_as(key, &ledger()), Ok(Some(epoch_key(9))));
            assert_eq!(read.previous(&epoch_key(9)).len(), PREVIOUS_EPOCHS);
            reached.extend(read.recipients.into_keys());
        }
        assert_eq!(reached, members);
    }

    #[test]
    fn too_many_previous_keys_are_refused() {
        let previous: Vec<_> = (0..=PREVIOUS_EPOCHS as u8).map(epoch_key).collect();
        let refused = SealError::TooMany { len: 17, limit: 16 };
        assert_eq!(rekeys(&previous, &members([1])), Err(refused.clone()));
        let mut rekey = rekey([], [1]);
        rekey.previous = previous.iter().map(|key| (key.id(), [0; 48])).collect();
        assert_eq!(Rekey::decode(&rekey.encode()), Err(refused));
    }

    #[test]
    fn a_weak_member_is_named_and_nothing_is_handed_out() {
        let weak = NodeId::from_bytes([0; 32]);
        let members = [key(1).node(), weak].into();
        let refused = SealError::Recipient { node: weak, error: KeyError::Weak };
        assert_eq!(rekeys(&[], &members), Err(refused));
    }

    #[test]
    fn an_ephemeral_key_that_everybody_shares_is_refused() {
        let mut rekey = rekey([], [1]);
        rekey.ephemeral = [0; 32];
        assert_eq!(rekey.open_as(&key(1), &ledger()), Err(SealError::Key(KeyError::Agreement)));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = rekey([1], [1]).encode();
        for len in 0..bytes.len() {
            assert!(Rekey::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let Ok(rekey) = Rekey::decode(&changed) else { continue };
            match rekey.open_as(&key(1), &ledger()) {
                // Only what is there of the previous key may have changed: that is what must not open then.
                Ok(Some(new)) => assert_eq!((&new, rekey.previous(&new)), (&epoch_key(9), [].into()), "bit {bit}"),
                Ok(None) => assert!(!rekey.recipients().eq(&members([1])), "bit {bit}"),
                Err(error) => assert!(matches!(error, SealError::Changed | SealError::Key(_)), "bit {bit}: {error}"),
            }
        }
    }

    #[test]
    fn other_ways_to_say_it_are_refused() {
        let bytes = rekey([], [1, 2]).encode();
        let longer = [&bytes[..], &[0]].concat();
        let (head, list) = bytes.split_at(bytes.len() - 2 * RECIPIENT_BYTES);
        let (first, second) = list.split_at(RECIPIENT_BYTES);
        let descending = [head, second, first].concat();
        let twice = [head, first, first].concat();
        let wordy = [&[0x98, 5], &bytes[1..]].concat();
        for bytes in [longer, descending, twice, wordy] {
            assert_eq!(Rekey::decode(&bytes), Err(SealError::NotCanonical));
        }
        let mut newer = bytes.clone();
        newer[1] = 2;
        assert_eq!(Rekey::decode(&newer), Err(SealError::Suite(2)));
        let large = alloc::vec![0; PAYLOAD_BYTES + 1];
        assert_eq!(Rekey::decode(&large), Err(SealError::TooLarge { len: PAYLOAD_BYTES + 1 }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_a_rekey(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(rekey) = Rekey::decode(&bytes) {
                prop_assert_eq!(rekey.encode(), bytes);
            }
        }
    }
}
