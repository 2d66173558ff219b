//! Dishonest members. They speak the protocol, prove their keys, know what everybody wrote, act in concert, and then say
//! whatever may do harm.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{World, network::Packet, plan::Lie};
use crate::{
    block::{Block, Entry, Header, Kind, VerifiedBlock},
    effect::LinkId,
    evidence::Evidence,
    id::{BlockHash, LedgerId, NodeId},
    limits::{ANSWER_BLOCKS, CLOCK_WINDOW, FRAME_BYTES, FRAME_TARGET_BYTES},
    parts::{Part, Parts},
    time::Timestamp,
    wire::{Envelope, Head, Message, decode_frame},
};

/// Blocks that liars remember to rest on.
const KNOWN: usize = 4096;

/// What a block that rests on this one needs of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) hash: BlockHash,
    pub(super) author: NodeId,
    pub(super) height: u64,
    pub(super) end: Timestamp,
}

impl Known {
    pub(super) fn of(block: &Block) -> Self {
        let header = block.header();
        Self { hash: block.hash(), author: header.author, height: header.height, end: block.end() }
    }
}

/// What liars share.
#[derive(Debug, Default)]
pub(super) struct Liars {
    known: Vec<Known>,
    told: BTreeMap<BlockHash, Vec<u8>>,
}

impl Liars {
    pub(super) fn hear(&mut self, block: &Block) {
        if self.known.len() < KNOWN {
            self.known.push(Known::of(block));
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Known> {
        self.known.iter().copied()
    }

    pub(super) fn of(&self, author: &NodeId) -> impl Iterator<Item = Known> {
        self.known.iter().filter(move |known| known.author == *author).copied()
    }

    /// What they said.
    pub(super) fn told(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.told.values()
    }
}

impl World {
    /// A liar says something to somebody it is linked to.
    pub(super) fn lie(&mut self, number: usize) {
        let links: Vec<LinkId> = self.machines[number].up.keys().copied().collect();
        let Some(link) = self.random.pick(&links).copied() else { return };
        if self.group.is_some() && self.random.per_mille(600) {
            return self.trick(number, link);
        }
        let Some(lie) = self.random.pick(&self.plan.lies).copied() else { return };
        self.report.lie(lie);
        match lie {
            Lie::Fork => {
                let block = self.forge(number, |_| {});
                self.tell(number, link, &[block], false);
            }
            Lie::WrongParent => {
                let other = self.random.bytes();
                let block = self.forge(number, |header| {
                    header.height += 1 + u64::from(other[0] & 1);
                    if header.parents.is_empty() {
                        header.parents.push(BlockHash::from_bytes(other));
                    }
                });
                self.tell(number, link, &[block], false);
            }
            Lie::EarlyTime => {
                let early = |header: &mut Header| header.timestamp = Timestamp::from_micros(1).unwrap_or_default();
                let block = self.forge(number, early);
                // Without parents any time is right.
                let refusable = !block.header().parents.is_empty() && self.all_known(&block, link);
                self.tell(number, link, &[block], refusable);
            }
            Lie::FutureTime => {
                let ahead = [CLOCK_WINDOW + 1_000_000, 100 * CLOCK_WINDOW, 60_000 * CLOCK_WINDOW][self.random.index(3)];
                let block = self.forge(number, |header| header.timestamp = header.timestamp.plus(ahead));
                self.tell(number, link, &[block], false);
            }
            Lie::WrongSignature => {
                let mut bytes = self.forge(number, |_| {}).bytes().to_vec();
                let last = bytes.len() - 1;
                bytes[last] ^= 1 << self.random.below(8);
                self.announce(number, link, alloc::vec![bytes], true);
            }
            Lie::OtherLedger => {
                let ledger = LedgerId::from_bytes(self.random.bytes());
                let block = self.forge(number, |header| header.ledger = ledger);
                self.tell(number, link, &[block], true);
            }
            Lie::Flood => self.flood(number, link),
            Lie::Garbage => {
                let len = 1 + self.random.index(3000);
                let bytes: Vec<u8> = (0..len).map(|_| self.random.next() as u8).collect();
                // A frame of chance is no frame: its first byte would have to be the one array header that is allowed.
                let bytes = if bytes[0] == 0x85 { alloc::vec![0] } else { bytes };
                self.send(link, Packet::Frame { bytes, refusable: true });
            }
            Lie::Withhold => self.withhold(number, link),
            Lie::FalseEvidence => {
                let proof = self.false_proof(number);
                self.speak(number, link, Message::Evidence { proof }, true);
            }
            Lie::FalseHeads => self.false_heads(number, link),
            Lie::Nonsense => self.nonsense(number, link),
        }
    }

    /// A block of the liar: on any branch of its own, on any blocks of others.
    fn forge(&mut self, number: usize, change: impl FnOnce(&mut Header)) -> VerifiedBlock {
        let key = self.machines[number].key.clone();
        let me = key.node();
        let own: Vec<Known> = self.liars.known.iter().filter(|known| known.author == me).copied().collect();
        let own = if self.random.per_mille(150) {
            None
        } else if self.random.per_mille(500) {
            own.last().copied()
        } else {
            self.random.pick(&own).copied()
        };
        let mut parents: BTreeMap<BlockHash, Known> = BTreeMap::new();
        for _ in 0..self.random.below(4) {
            // Mostly what is new, because what is old is in everybody's past.
            let recent = self.liars.known.len().min(if self.random.per_mille(700) { 12 } else { KNOWN });
            let from = self.liars.known.len() - recent;
            if let Some(known) = self.random.pick(&self.liars.known[from..]).filter(|known| known.author != me) {
                parents.insert(known.hash, *known);
            }
        }
        let end = parents.values().chain(&own).map(|known| known.end).max().unwrap_or_default();
        let clock = self.machines[number].clock(self.now).micros() - self.random.below(1_000_000);
        let mut header = Header {
            ledger: self.ledger,
            author: me,
            height: own.map_or(0, |own| own.height) + 1,
            timestamp: end.max(Timestamp::from_micros(clock).unwrap_or_default()),
            parents: own.iter().map(|own| own.hash).chain(parents.into_keys()).collect(),
        };
        change(&mut header);
        let payload = alloc::format!("{}", self.random.next()).into_bytes();
        VerifiedBlock::sign(header, alloc::vec![Entry::new(Kind::DATA, self.random.bytes(), payload)], &key)
    }

    /// Whether all that a block rests on is at the other end of a link, so that it is judged and not parked.
    fn all_known(&self, block: &Block, link: LinkId) -> bool {
        let (connection, side) = super::network::side(link);
        let machine = self.connections[connection].ends[1 - side].machine;
        let durable = self.machines[machine].disk.durable();
        let there = |hash: &BlockHash| crate::store::ReadStore::summary(&*durable, hash).is_ok_and(|s| s.is_some());
        block.header().parents.iter().all(there)
    }

    fn flood(&mut self, number: usize, link: LinkId) {
        let count = self.random.between(20, 150);
        let mut blocks = Vec::new();
        for _ in 0..count {
            let block = self.forge(number, |_| {});
            self.remember(&block);
            blocks.push(block.bytes().to_vec());
        }
        for group in blocks.chunks(40) {
            self.announce(number, link, group.to_vec(), false);
        }
    }

    /// A chain of which the beginning comes late, or never.
    fn withhold(&mut self, number: usize, link: LinkId) {
        let count = self.random.between(2, 5);
        let mut blocks: Vec<VerifiedBlock> = Vec::new();
        for _ in 0..count {
            let block = self.forge(number, |_| {});
            self.liars.hear(&block);
            blocks.push(block);
        }
        if self.random.per_mille(500) {
            self.random.shuffle(&mut blocks);
        } else {
            blocks.remove(0);
        }
        for block in blocks {
            self.announce(number, link, alloc::vec![block.bytes().to_vec()], false);
        }
    }

    /// Says that it has what it has not, or has not what it has.
    fn false_heads(&mut self, number: usize, link: LinkId) {
        let mut heads: BTreeMap<NodeId, Head> = BTreeMap::new();
        for _ in 0..self.random.below(6) {
            let Some(known) = self.random.pick(&self.liars.known).copied() else { break };
            let height =
                if self.random.per_mille(500) { known.height } else { known.height + self.random.below(1 << 40) };
            let hash = if self.random.per_mille(500) { known.hash } else { BlockHash::from_bytes(self.random.bytes()) };
            let frozen = if self.random.per_mille(300) { self.random.below(height + 1) } else { 0 };
            heads.insert(known.author, Head { author: known.author, tips: alloc::vec![(height, hash)], frozen });
        }
        let last = self.random.per_mille(800);
        let parts = if self.plan.parts { self.any_parts() } else { None };
        let heads = heads.into_values().collect();
        self.speak(number, link, Message::LedgerSyncResponse { heads, last, parts }, false);
    }

    /// Most often of so many as honest members ask for.
    fn any_parts(&mut self) -> Option<Parts> {
        let bytes = if self.random.per_mille(800) { 2 } else { 4 };
        let bits: [u8; 32] = self.random.bytes();
        Parts::from_bits(&bits[..bytes]).filter(|_| self.random.per_mille(700))
    }

    fn nonsense(&mut self, number: usize, link: LinkId) {
        let any = |world: &mut Self| BlockHash::from_bytes(world.random.bytes());
        let known = self.random.pick(&self.liars.known).copied();
        let message = match self.random.index(7) {
            0 => Message::Credit { frames: self.random.next(), bytes: self.random.next() },
            1 => Message::Have { lanes: known.iter().map(|k| (k.author, self.random.next())).collect() },
            2 => Message::EntryRequest { blocks: (0..64).map(|_| any(self)).collect() },
            3 => {
                let known: BTreeSet<BlockHash> =
                    (0..64).filter_map(|_| self.random.pick(&self.liars.known).map(|known| known.hash)).collect();
                Message::EntryRequest { blocks: known.into_iter().collect() }
            }
            4 => {
                let nodes: BTreeSet<NodeId> = (0..100).map(|_| NodeId::from_bytes(self.random.bytes())).collect();
                Message::NodeAnnounce { nodes: nodes.into_iter().collect(), announcements: Vec::new() }
            }
            5 => {
                let digest = self.random.bytes();
                let part = Part { heights: alloc::vec![self.random.below(4)], ..Part::default() };
                let parts = if self.plan.parts { alloc::vec![part; 16] } else { Vec::new() };
                Message::LedgerSyncRequest { digest, parts }
            }
            _ => Message::Auth { signature: core::array::from_fn(|i| i as u8) },
        };
        for _ in 0..=self.random.below(20) {
            self.speak(number, link, message.clone(), false);
        }
    }

    /// One block twice; or two that an honest member never signed.
    fn false_proof(&mut self, number: usize) -> Vec<u8> {
        if self.random.per_mille(500) {
            let victim = self.machines[self.random.index(self.plan.honest)].key.node();
            let [a, b] = [(); 2].map(|()| {
                self.forge(number, |header| {
                    (header.author, header.height) = (victim, 1);
                    header.parents.clear();
                })
            });
            if let Ok(evidence) = Evidence::new(&a, &b) {
                return evidence.encode();
            }
        }
        let block = self.forge(number, |_| {});
        [&[0x82][..], block.strip().bytes(), block.strip().bytes()].concat()
    }

    fn remember(&mut self, block: &VerifiedBlock) {
        self.liars.hear(block);
        self.liars.told.insert(block.hash(), block.bytes().to_vec());
    }

    pub(super) fn tell(&mut self, number: usize, link: LinkId, blocks: &[VerifiedBlock], refusable: bool) {
        let ledger = self.ledger;
        for block in blocks.iter().filter(|block| block.header().ledger == ledger) {
            self.remember(block);
        }
        self.announce(number, link, blocks.iter().map(|block| block.bytes().to_vec()).collect(), refusable);
    }

    pub(super) fn announce(&mut self, number: usize, link: LinkId, blocks: Vec<Vec<u8>>, refusable: bool) {
        let remaining = if self.random.per_mille(100) { self.random.next() } else { 0 };
        self.speak(number, link, Message::announce(blocks, remaining), refusable);
    }

    fn speak(&mut self, number: usize, link: LinkId, message: Message, refusable: bool) {
        let envelope = Envelope {
            message_id: self.random.bytes(),
            sender: self.machines[number].key.node(),
            recipient: None,
            message,
        };
        let mut bytes = envelope.encode();
        // Now and then only a part arrives.
        let cut = self.random.per_mille(50) && !refusable;
        if cut {
            bytes.truncate(1 + self.random.index(bytes.len()));
        }
        if bytes.len() <= FRAME_BYTES {
            self.send(link, Packet::Frame { bytes, refusable });
        }
    }

    /// Liars answer for their lies: what is asked for by hash they send, void or not. True if that is all that the frame
    /// was about.
    pub(super) fn liar_answers(&mut self, number: usize, link: LinkId, frame: &[u8]) -> bool {
        let Ok(envelopes) = decode_frame(frame) else { return false };
        let [Envelope { message: Message::EntryRequest { blocks }, .. }] = &envelopes[..] else { return false };
        let mut answer: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        for block in blocks.iter().filter_map(|hash| self.liars.told.get(hash)).take(ANSWER_BLOCKS) {
            bytes += block.len();
            if bytes < FRAME_TARGET_BYTES {
                answer.push(block.clone());
            }
        }
        if answer.is_empty() || self.random.per_mille(200) {
            return false;
        }
        self.speak(number, link, Message::answer(answer), false);
        true
    }

    /// What a dishonest relay really sends of a frame.
    pub(super) fn withheld(&self, number: usize, frame: Vec<u8>) -> Vec<u8> {
        let Some(withheld) = self.machines[number].withholds else { return frame };
        only_blocks(frame, |author| author != withheld)
    }
}

/// A frame with only the blocks of some authors.
pub(super) fn only_blocks(frame: Vec<u8>, keeps: impl Fn(NodeId) -> bool) -> Vec<u8> {
    let Ok(mut envelopes) = decode_frame(&frame) else { return frame };
    for envelope in &mut envelopes {
        if let Message::EntryAnnounce { blocks, .. } | Message::EntryResponse { blocks } = &mut envelope.message {
            // What cannot be read is nobody's.
            blocks.retain(|block| Block::decode_header(block.bytes()).is_ok_and(|header| keeps(header.author)));
        }
    }
    envelopes.iter().flat_map(Envelope::encode).collect()
}
