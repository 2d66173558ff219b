//! The latest names and invites of a ledger, as places in it: what they say is read from the store when somebody asks.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::{Decoder, Encoder};

use super::{
    Ledger,
    checkpoint::{array, bytes32},
};
use crate::{
    block::{Block, EncodeResult, Kind},
    id::{BlockHash, NodeId},
    limits::INVITES,
    members::Control,
    names,
    order::OrderKey,
    time::Timestamp,
};

/// Where an entry stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) key: OrderKey,
    pub(crate) index: u32,
}

/// By the order of the ledger, so that it is the same however the blocks came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) nicknames: BTreeMap<NodeId, At>,
    /// Of each author, whatever its role: that is known when all blocks are.
    pub(super) ledger_names: BTreeMap<NodeId, At>,
    /// The key of each.
    pub(super) invites: BTreeMap<OrderKey, NodeId>,
}

impl Latest {
    pub(super) fn is_empty(&self) -> bool {
        self.nicknames.is_empty() && self.ledger_names.is_empty() && self.invites.is_empty()
    }

    /// Takes in a block of the ledger. Where there are too many invites, those go first that are closed, and then the oldest.
    pub(super) fn note(&mut self, block: &Block, is_closed: impl Fn(&BlockHash) -> bool) {
        let (ledger, author) = (block.header().ledger, block.header().author);
        for (index, entry) in block.entries().iter().enumerate().filter(|(_, entry)| names::is_name(&ledger, entry)) {
            let at = At { key: block.key(), index: index as u32 };
            let names = if entry.kind == Kind::NICKNAME { &mut self.nicknames } else { &mut self.ledger_names };
            let latest = names.entry(author).or_insert(at);
            *latest = at.max(*latest);
        }
        if ledger.has_members()
            && let Ok(Some(Control::Invite(invite))) = Control::of(block)
        {
            self.invites.insert(block.key(), invite.key);
            if self.invites.len() > INVITES {
                self.invites.retain(|place, _| !is_closed(&place.hash));
            }
            if self.invites.len() > INVITES {
                self.invites.pop_first();
            }
        }
    }

    /// `[[[author, time, hash, index] …], the same of ledger names, [[time, hash, key] …]]`
    pub(super) fn encode(&self, encoder: &mut Encoder<&mut Vec<u8>>) -> EncodeResult {
        encoder.array(3)?;
        for names in [&self.nicknames, &self.ledger_names] {
            encoder.array(names.len() as u64)?;
            for (author, At { key, index }) in names {
                encoder.array(4)?.bytes(author.as_bytes())?.u64(key.timestamp.micros())?.bytes(key.hash.as_bytes())?;
                encoder.u32(*index)?;
            }
        }
        encoder.array(self.invites.len() as u64)?;
        for (key, invite) in &self.invites {
            encoder.array(3)?.u64(key.timestamp.micros())?.bytes(key.hash.as_bytes())?.bytes(invite.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn decode(d: &mut Decoder<'_>) -> Option<Self> {
        array(d, 3)?;
        let (nicknames, ledger_names) = (decode_names(d)?, decode_names(d)?);
        let mut invites = BTreeMap::new();
        for _ in 0..d.array().ok()?? {
            array(d, 3)?;
            let key = order_key(d)?;
            invites.insert(key, NodeId::from_bytes(bytes32(d)?));
        }
        Some(Self { nicknames, ledger_names, invites })
    }
}

impl Ledger {
    /// Where an author says last what it wants to be called.
    pub(crate) fn nickname(&self, author: &NodeId) -> Option<At> {
        self.latest.nicknames.get(author).copied()
    }

    /// What each owner and admin says last that the ledger is called, the latest first.
    pub(crate) fn ledger_names(&self) -> Vec<At> {
        let names = self.latest.ledger_names.iter().filter(|(author, _)| self.members.is_steward(author));
        let mut names: Vec<At> = names.map(|(_, at)| *at).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names
    }

    /// The places and keys of the latest invites.
    pub(crate) fn invites(&self) -> &BTreeMap<OrderKey, NodeId> {
        &self.latest.invites
    }
}

fn decode_names(d: &mut Decoder<'_>) -> Option<BTreeMap<NodeId, At>> {
    let mut names = BTreeMap::new();
    for _ in 0..d.array().ok()?? {
        array(d, 4)?;
        let author = NodeId::from_bytes(bytes32(d)?);
        names.insert(author, At { key: order_key(d)?, index: d.u32().ok()? });
    }
    Some(names)
}

fn order_key(d: &mut Decoder<'_>) -> Option<OrderKey> {
    let timestamp = Timestamp::from_micros(d.u64().ok()?)?;
    Some(OrderKey { timestamp, hash: BlockHash::from_bytes(bytes32(d)?) })
}
