//! Heads of many lanes, compared part by part, so that those are told only of parts in which they differ.
//!
//! A head is in the part that the first byte of its author names, modulo the number of parts. That number is the asking side's; the digests of all
//! parts go with its question, the heads of those that differ come back.
//!
//! Who dials says the heights of its heads, too. Most often it lacks the last blocks of some lanes and nothing else: then the other side finds, in its
//! own lanes at these heights, the very heads that make the digest, and sends what is missing with its answer ([`crate::replica`]).

use alloc::{vec, vec::Vec};

use crate::{
    id::NodeId,
    wire::{Head, has_bit, set_bit},
};

/// Bytes of the digest of one part.
pub const PART_DIGEST_BYTES: usize = 16;
/// Fewest parts.
const LEAST_PARTS: usize = 16;
/// Most parts.
pub(crate) const MOST_PARTS: usize = 256;
/// Heads that share a part, as long as there are no more parts than [`MOST_PARTS`].
const SHARE: usize = 4;

/// One part of a list of heads, as it is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The beginning of SHA-256 over the heads.
    pub digest: [u8; PART_DIGEST_BYTES],
    /// The highest tip of each head, ascending by author, 0: none. Nothing at all where the speaker does not say them.
    pub heights: Vec<u64>,
}

/// Into how many parts so many heads are divided.
pub(crate) fn parts_for(heads: usize) -> usize {
    (heads / SHARE).next_power_of_two().clamp(LEAST_PARTS, MOST_PARTS)
}

/// Whether heads may be divided into so many parts.
pub(crate) fn is_number_of_parts(number: usize) -> bool {
    number.is_power_of_two() && (LEAST_PARTS..=MOST_PARTS).contains(&number)
}

/// Which of so many parts a node, or the head of its lane, is in.
pub(crate) fn part_of(node: &NodeId, parts: usize) -> usize {
    usize::from(node.as_bytes()[0]) % parts.max(1)
}

/// The highest tip of a head, 0: none.
pub(crate) fn height_of(head: &Head) -> u64 {
    head.tips.iter().map(|(height, _)| *height).max().unwrap_or(0)
}

/// Some of the parts of a list of heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Bit i % 8 of byte i / 8 stands for part i.
    bits: Vec<u8>,
}

impl Parts {
    /// The parts of which the digests differ, of two lists of one length; nothing where there are none.
    pub(crate) fn differing(ours: impl IntoIterator<Item = Part>, theirs: &[Part]) -> Option<Self> {
        let mut bits = vec![0; theirs.len() / 8];
        let pairs = ours.into_iter().zip(theirs).enumerate();
        let differing = pairs.filter(|(_, (ours, theirs))| ours.digest != theirs.digest);
        for (part, _) in differing.skip(usize::from(mutant!(PartOverlooked))) {
            set_bit(&mut bits, part);
        }
        Self::from_bits(&bits)
    }

    /// Reads what [`Self::bits`] gave; nothing where heads are never divided into so many parts.
    pub fn from_bits(bits: &[u8]) -> Option<Self> {
        is_number_of_parts(bits.len() * 8).then(|| Self { bits: bits.to_vec() })
    }

    /// Bit i % 8 of byte i / 8 stands for part i.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// How many parts there are, these and the others.
    pub(crate) fn number(&self) -> usize {
        self.bits.len() * 8
    }

    /// Whether a part is one of these.
    pub(crate) fn has(&self, part: usize) -> bool {
        has_bit(&self.bits, part)
    }

    /// Whether the head of a lane is in one of these parts.
    pub(crate) fn contains(&self, lane: &NodeId) -> bool {
        self.has(part_of(lane, self.number()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(first: u8) -> NodeId {
        let mut bytes = [7; 32];
        bytes[0] = first;
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn few_heads_have_few_parts_and_many_no_more_than_there_are_first_bytes() {
        assert_eq!([0, 65, 100, 1_000, 100_000].map(parts_for), [16, 16, 32, 256, 256]);
    }

    #[test]
    fn lanes_of_parts_that_differ_are_named_and_no_others() {
        let ours = vec![Part::default(); 32];
        let mut theirs = ours.clone();
        theirs[9].digest[15] = 1;
        theirs[31].digest[0] = 1;
        let parts = Parts::differing(ours, &theirs).unwrap();
        let named: Vec<u8> = (0..=255).filter(|first| parts.contains(&lane(*first))).collect();
        assert_eq!(named, [9, 31, 41, 63, 73, 95, 105, 127, 137, 159, 169, 191, 201, 223, 233, 255]);
        assert_eq!(Parts::from_bits(parts.bits()), Some(parts));
        assert_eq!(Parts::from_bits(&[]), None);
        assert_eq!(Parts::from_bits(&[0; 3]), None);
    }
}
