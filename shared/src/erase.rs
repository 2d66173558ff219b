//! Erasing: an entry keeps its commitment, and so its place in the history, and everybody drops its payload.
//!
//! ```text
//! erase = [1, block: bytes32, author: bytes32, height, index]                                  by the entry's author
//!       | [1, block: bytes32, author: bytes32, height, index, join: bytes32, rests: bytes32]   by who may remove the author
//! ```
//!
//! `block` is the block of the entry; author, height and index are there so that whoever shows the erase need not look them
//! up. `join` and `rests` are the first blocks of the one who erases and of the one who wrote. An erase stands alone in its
//! block. Only what people say can be erased ([`Kind::is_erasable`](crate::Kind::is_erasable)).
//!
//! Whether an erase is in force follows from the blocks that count and from the freezes: in its author's zone it does
//! nothing to the words of others, though somebody vouches for it. A payload that is gone does not come back by that where
//! nobody has it any more; so this is what keeps one who was removed from taking revenge, with whose help ever.

use alloc::{format, string::String, vec::Vec};

use minicbor::{Decoder, Encoder};

use crate::{
    block::infallible,
    id::{BlockHash, EntryId, NodeId},
    limits::ERASES_PER_ENTRY,
    members::{VERSION, block, encode, node},
    order::OrderKey,
    store::{ReadStore, Store},
    time::Timestamp,
};

/// Lets everybody drop the payload of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erase {
    /// The block of the entry.
    pub block: BlockHash,
    /// The entry.
    pub entry: EntryId,
    /// By what right, where it is not the entry's author who erases.
    pub power: Option<Power>,
}

/// Why somebody may erase what another one wrote: it could remove that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// The first block of the one who erases.
    pub join: BlockHash,
    /// The first block of the one who wrote.
    pub rests: BlockHash,
}

impl Erase {
    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            let EntryId { author, height, index } = self.entry;
            e.array(if self.power.is_some() { 7 } else { 5 })?.u64(VERSION)?.bytes(self.block.as_bytes())?;
            e.bytes(author.as_bytes())?.u64(height)?.u32(index)?;
            if let Some(power) = &self.power {
                e.bytes(power.join.as_bytes())?.bytes(power.rests.as_bytes())?;
            }
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            let parts = d.array().ok()??;
            let version = d.u64().ok()?;
            let block_of_entry = block(d)?;
            let entry = EntryId { author: node(d)?, height: d.u64().ok()?, index: d.u32().ok()? };
            let power = match parts {
                5 => None,
                7 => Some(Power { join: block(d)?, rests: block(d)? }),
                _ => return None,
            };
            (version == VERSION).then_some(Self { block: block_of_entry, entry, power })
        };
        read(&mut Decoder::new(bytes)).filter(|erase| erase.encode() == bytes)
    }
}

/// An erase that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Erasure {
    /// Index of the erased entry.
    pub(crate) index: u32,
    /// The place of the erase's block in ledger order.
    pub(crate) key: OrderKey,
    /// Who erases.
    pub(crate) by: NodeId,
    /// Height of the erase's block.
    pub(crate) height: u64,
}

impl Erasure {
    /// The erase entry.
    pub(crate) fn entry(&self) -> EntryId {
        EntryId { author: self.by, height: self.height, index: 0 }
    }
}

/// The erases that are in force for entries of one block: of each lane the lowest, because that is the last to fall when the
/// lane is frozen. Kept in the store, so that whoever shows the block finds who erased what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Erasures(Vec<Erasure>);

impl Erasures {
    /// What a store notes of a block. `None`: what it notes makes no sense.
    pub(crate) fn of<S: ReadStore>(store: &S, block: &BlockHash) -> Result<Option<Self>, S::Error> {
        Ok(store.meta(&meta_key(block))?.map_or_else(|| Some(Self::default()), |bytes| Self::decode(&bytes)))
    }

    pub(crate) fn note<S: Store>(&self, store: &mut S, block: &BlockHash) -> Result<(), S::Error> {
        store.set_meta(&meta_key(block), &self.encode())
    }

    /// The erase of an entry that is first in ledger order.
    pub(crate) fn first(&self, index: usize) -> Option<&Erasure> {
        self.of_entry(index as u32).min_by_key(|erasure| erasure.key)
    }

    fn of_entry(&self, index: u32) -> impl Iterator<Item = &Erasure> {
        self.0.iter().filter(move |erasure| erasure.index == index)
    }

    /// Adds an erase. With more lanes than are remembered, those that are last in ledger order are left out.
    pub(crate) fn insert(&mut self, new: Erasure) {
        let same = |erasure: &&mut Erasure| (erasure.index, erasure.by) == (new.index, new.by);
        match self.0.iter_mut().find(same) {
            Some(known) if (known.height, known.key) <= (new.height, new.key) => {}
            Some(known) => *known = new,
            None => self.0.push(new),
        }
        if self.of_entry(new.index).count() > ERASES_PER_ENTRY {
            let last = self.of_entry(new.index).map(|erasure| erasure.key).max();
            self.0.retain(|erasure| erasure.index != new.index || Some(erasure.key) != last);
        }
        self.0.sort_unstable_by_key(|erasure| (erasure.index, erasure.key));
    }

    /// Takes out the erases of these blocks. Whether there were any.
    pub(crate) fn remove(&mut self, gone: impl Fn(&BlockHash) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|erasure| !gone(&erasure.key.hash));
        self.0.len() < before
    }

    /// `[[index, time, hash, author, height] …]` in canonical CBOR.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        infallible((|| {
            encoder.array(self.0.len() as u64)?;
            self.0.iter().try_for_each(|erasure| {
                let Erasure { index, key, by, height } = erasure;
                encoder.array(5)?.u32(*index)?.u64(key.timestamp.micros())?.bytes(key.hash.as_bytes())?;
                encoder.bytes(by.as_bytes())?.u64(*height)?;
                Ok(())
            })
        })());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut d = Decoder::new(bytes);
        let mut erasures = Vec::new();
        for _ in 0..d.array().ok()?? {
            (d.array().ok()?? == 5).then_some(())?;
            let index = d.u32().ok()?;
            let (timestamp, hash) = (Timestamp::from_micros(d.u64().ok()?)?, block(&mut d)?);
            let (by, height) = (node(&mut d)?, d.u64().ok()?);
            erasures.push(Erasure { index, key: OrderKey { timestamp, hash }, by, height });
        }
        Some(Self(erasures))
    }
}

fn meta_key(block: &BlockHash) -> String {
    format!("erased/{block}")
}

/// How many payloads of a stored block were erased, and how many are missing without an erase.
///
/// # Errors
/// When the store cannot be read.
pub fn missing<S: ReadStore>(store: &S, block: &crate::Block) -> Result<(u64, u64), S::Error> {
    if block.lacking().next().is_none() {
        return Ok((0, 0));
    }
    let notes = Erasures::of(store, &block.hash())?.unwrap_or_default();
    let all = block.lacking().count() as u64;
    let erased = block.lacking().filter(|index| notes.first(*index).is_some()).count() as u64;
    Ok((erased, all - erased))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erasure(index: u32, by: u8, height: u64, micros: u64) -> Erasure {
        let hash = BlockHash::from_bytes([by; 32]);
        let key = OrderKey { timestamp: Timestamp::from_micros(micros).unwrap(), hash };
        Erasure { index, key, by: NodeId::from_bytes([by; 32]), height }
    }

    #[test]
    fn payloads_read_back_and_nothing_else_does() {
        let entry = EntryId { author: NodeId::from_bytes([1; 32]), height: 7, index: 255 };
        let [block, join, rests] = [2, 3, 4].map(|n| BlockHash::from_bytes([n; 32]));
        for power in [None, Some(Power { join, rests })] {
            let erase = Erase { block, entry, power };
            let bytes = erase.encode();
            assert_eq!(Erase::decode(&bytes), Some(erase));
            for len in 0..bytes.len() {
                assert_eq!(Erase::decode(&bytes[..len]), None);
            }
            assert_eq!(Erase::decode(&[&bytes[..], &[0]].concat()), None);
            assert_eq!(Erase::decode(&[&bytes[..1], &[2], &bytes[2..]].concat()), None, "another version");
        }
    }

    #[test]
    fn the_example_of_the_protocol_is_right() {
        let numbers: Vec<u8> = (0..32).collect();
        let block = BlockHash::from_bytes(numbers.try_into().unwrap());
        let entry = EntryId { author: crate::Key::from_secret(&[1; 32]).node(), height: 7, index: 1 };
        let text = "85015820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f5820\
                    8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0701";
        assert_eq!(hex::encode(Erase { block, entry, power: None }.encode()), text);
    }

    #[test]
    fn of_each_lane_the_lowest_erase_is_kept_and_the_first_in_order_is_shown() {
        let mut notes = Erasures::default();
        for new in [
            erasure(3, 1, 9, 50),
            erasure(3, 2, 4, 60),
            erasure(3, 1, 8, 40),
            erasure(3, 2, 5, 10),
            erasure(4, 1, 2, 5),
        ] {
            notes.insert(new);
        }
        assert_eq!(notes.first(3), Some(&erasure(3, 1, 8, 40)));
        assert_eq!(notes.first(4), Some(&erasure(4, 1, 2, 5)));
        assert_eq!(notes.first(0), None);
        assert_eq!(Erasures::decode(&notes.encode()), Some(notes.clone()));
        assert!(notes.remove(|hash| *hash == BlockHash::from_bytes([1; 32])));
        assert_eq!(notes.first(3), Some(&erasure(3, 2, 4, 60)));
        assert!(!notes.remove(|hash| *hash == BlockHash::from_bytes([1; 32])));
    }

    #[test]
    fn the_lanes_that_are_remembered_are_bounded_whatever_the_order() {
        let all: Vec<Erasure> = (0..40).map(|n| erasure(0, n, 1, 100 - u64::from(n))).collect();
        let of = |erasures: &mut dyn Iterator<Item = &Erasure>| {
            let mut notes = Erasures::default();
            erasures.for_each(|erasure| notes.insert(*erasure));
            notes
        };
        let notes = of(&mut all.iter());
        assert_eq!(notes.0.len(), ERASES_PER_ENTRY);
        assert_eq!(notes.first(0), Some(&all[39]));
        assert_eq!(of(&mut all.iter().rev()), notes);
    }
}
