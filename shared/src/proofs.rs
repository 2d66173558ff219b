//! Proofs that a lane is frozen, and what was found out about them and need not be found out again: which are true, and which
//! freezes a stored block has in its past. Both follow from bytes alone, so what is remembered stays right.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use sha2::{Digest, Sha256};

use crate::{
    block::{Block, Kind},
    evidence::Evidence,
    freeze::{Freezes, lower},
    id::{BlockHash, LedgerId, NodeId},
    limits::{KNOWN_PASTS, KNOWN_PROOFS},
    members::{Control, Removal},
};

/// Why a lane is frozen. Anybody can check it with nothing else at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Its author signed two blocks of one height.
    Fork(Arc<Evidence>),
    /// Its author was removed; or, for what stands for an invite, the invite was closed.
    Removal(Arc<Removal>),
}

impl Proof {
    /// The frozen lane, and the height from which on it is.
    pub fn lane(&self) -> (NodeId, u64) {
        match self {
            Self::Fork(evidence) => evidence.lane(),
            Self::Removal(removal) => removal.lane(),
        }
    }

    /// The ledger of the lane.
    pub fn ledger(&self) -> LedgerId {
        match self {
            Self::Fork(evidence) => evidence.ledger(),
            Self::Removal(removal) => removal.ledger(),
        }
    }

    /// A list of blocks in canonical CBOR: two for a fork, more for a removal.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Fork(evidence) => evidence.encode(),
            Self::Removal(removal) => removal.encode(),
        }
    }

    /// Reads a proof and checks all of it; `None` if it proves nothing.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let fork = Evidence::decode(bytes).map(|evidence| Self::Fork(Arc::new(evidence)));
        fork.ok().or_else(|| Some(Self::Removal(Arc::new(Removal::decode(bytes).ok()?))))
    }

    /// Reads a proof whose signatures were checked before.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let fork = Evidence::parse(bytes).map(|evidence| Self::Fork(Arc::new(evidence)));
        fork.ok().or_else(|| Some(Self::Removal(Arc::new(Removal::parse(bytes).ok()?))))
    }
}

/// Checking a proof costs two signatures; a liar may write the same one into any number of blocks.
#[derive(Debug)]
pub(crate) struct Proofs {
    ledger: LedgerId,
    /// SHA-256 of a proof → its lane and height, or that it proves nothing.
    checked: BTreeMap<[u8; 32], Option<(NodeId, u64)>>,
    pasts: BTreeMap<BlockHash, Arc<Freezes>>,
    /// The different sets of freezes in `pasts`, each once, and how long they are together.
    sets: BTreeSet<Arc<Freezes>>,
    lanes: usize,
}

impl Proofs {
    pub(crate) fn new(ledger: LedgerId) -> Self {
        Self { ledger, checked: BTreeMap::new(), pasts: BTreeMap::new(), sets: BTreeSet::new(), lanes: 0 }
    }

    /// The freezes that a block records: those for which it carries true proofs, and the removal that it is.
    pub(crate) fn recorded(&mut self, block: &Block) -> Vec<(NodeId, u64)> {
        if self.ledger.has_members()
            && let Ok(Some(Control::Remove(remove))) = Control::of(block)
        {
            return alloc::vec![remove.freeze()];
        }
        payloads(block).filter_map(|payload| self.check(payload)).collect()
    }

    /// Whose removal a block tells of: by being it, or by carrying its proof.
    pub(crate) fn removals(&mut self, block: &Block) -> Vec<NodeId> {
        if !self.ledger.has_members() {
            return Vec::new();
        }
        if let Ok(Some(Control::Remove(remove))) = Control::of(block) {
            return alloc::vec![remove.freeze().0];
        }
        let removed = |proof: Proof| matches!(proof, Proof::Removal(_)).then_some(proof.lane().0);
        self.carried(block).into_iter().filter_map(removed).collect()
    }

    /// The true proofs that a block carries.
    pub(crate) fn carried(&mut self, block: &Block) -> Vec<Proof> {
        payloads(block).filter(|payload| self.check(payload).is_some()).filter_map(Proof::parse).collect()
    }

    fn check(&mut self, payload: &[u8]) -> Option<(NodeId, u64)> {
        let key = Sha256::digest(payload).into();
        if let Some(known) = self.checked.get(&key) {
            return *known;
        }
        if self.checked.len() >= KNOWN_PROOFS {
            self.checked.clear();
        }
        let proof = Proof::decode(payload).filter(|proof| proof.ledger() == self.ledger);
        let lane = proof.map(|proof| proof.lane());
        self.checked.insert(key, lane);
        lane
    }

    /// Makes room for the pasts of further blocks. Only between two questions, so that each is answered at one go.
    pub(crate) fn bound_pasts(&mut self) {
        if self.pasts.len() > KNOWN_PASTS || self.lanes > KNOWN_PASTS {
            self.pasts.clear();
            self.sets.clear();
            self.lanes = 0;
        }
    }

    /// The freezes recorded in a block and its past, if they are known.
    pub(crate) fn past(&self, hash: &BlockHash) -> Option<&Arc<Freezes>> {
        self.pasts.get(hash)
    }

    /// Notes that a block has no freeze in its past.
    pub(crate) fn note_nothing(&mut self, hash: BlockHash) {
        self.pasts.insert(hash, Arc::default());
    }

    /// Notes the past of a block from those of its parents, which are known, and from what it records itself.
    pub(crate) fn note_past(&mut self, block: &Block) {
        let parents = block.header().parents.iter().filter_map(|parent| self.pasts.get(parent));
        let largest = parents.clone().max_by_key(|freezes| freezes.len()).cloned().unwrap_or_default();
        let mut freezes = Freezes::clone(&largest);
        parents.flat_map(|freezes| freezes.iter()).for_each(|(lane, height)| lower(&mut freezes, *lane, *height));
        let records = if mutant!(RecordForgotten) { Vec::new() } else { self.recorded(block) };
        records.into_iter().for_each(|(lane, height)| lower(&mut freezes, lane, height));
        // Most blocks know what one of their parents knew.
        let shared = if freezes == *largest { largest } else { self.shared(Arc::new(freezes)) };
        self.pasts.insert(block.hash(), shared);
    }

    /// This set of freezes as it is here already: where branches meet, many blocks come to know the same.
    fn shared(&mut self, freezes: Arc<Freezes>) -> Arc<Freezes> {
        if let Some(known) = self.sets.get(&freezes) {
            return known.clone();
        }
        self.lanes += freezes.len();
        self.sets.insert(freezes.clone());
        freezes
    }
}

fn payloads(block: &Block) -> impl Iterator<Item = &[u8]> {
    block.entries().iter().filter(|entry| entry.kind == Kind::EVIDENCE).filter_map(|entry| entry.payload())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        block::{Entry, Header, VerifiedBlock, open_ledger},
        key::Key,
        time::Timestamp,
    };

    fn block(author: u8, parents: &[BlockHash], micros: u64, entry: (Kind, Vec<u8>)) -> Block {
        let key = Key::from_secret(&[author; 32]);
        let (height, timestamp) = (1, Timestamp::from_micros(micros).unwrap());
        let header =
            Header { ledger: open_ledger("test"), author: key.node(), height, timestamp, parents: parents.to_vec() };
        VerifiedBlock::sign(header, alloc::vec![Entry::new(entry.0, [7; 16], entry.1)], &key).into_inner()
    }

    #[test]
    fn blocks_that_know_the_same_by_several_ways_share_one_set() {
        let mut proofs = Proofs::new(open_ledger("test"));
        let carriers = [1, 2].map(|author| {
            let [one, two] = [1, 2].map(|micros| block(author + 10, &[], micros, (Kind::DATA, Vec::new())));
            let proof = Evidence::new(&one, &two).unwrap().encode();
            block(author, &[], 5, (Kind::EVIDENCE, proof))
        });
        carriers.iter().for_each(|carrier| proofs.note_past(carrier));
        let parents = carriers.each_ref().map(Block::hash);
        let children = (3..10).map(|author| block(author, &parents, 9, (Kind::DATA, Vec::new())));
        for child in children {
            proofs.note_past(&child);
            assert_eq!(proofs.past(&child.hash()).unwrap().len(), 2);
        }
        assert_eq!((proofs.sets.len(), proofs.lanes), (3, 4));
    }
}
