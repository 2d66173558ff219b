//! What a ledger keeps in memory, as bytes in the store.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::{Decoder, Encoder};

use super::{COUNT, Freeze, Ledger, latest::Latest};
use crate::{
    block::infallible,
    id::{BlockHash, NodeId},
    order::OrderKey,
    replica::Totals,
    store::Summary,
    time::Timestamp,
};

impl Ledger {
    pub(super) fn encode_checkpoint(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        infallible((|| {
            let parts = 7 + u64::from(!self.latest.is_empty());
            encoder.array(parts)?.u64(self.last_seq + u64::from(mutant!(CheckpointAhead)))?;
            encoder.u64(self.totals.blocks)?.u64(self.totals.entries)?.u64(self.totals.bytes)?;
            match self.last {
                Some(key) => encoder.array(2)?.u64(key.timestamp.micros())?.bytes(key.hash.as_bytes())?,
                None => encoder.array(0)?,
            };
            encoder.array(self.lanes.values().map(BTreeMap::len).sum::<usize>() as u64)?;
            for (author, lane) in &self.lanes {
                for (hash, height) in lane {
                    encoder.array(3)?.bytes(author.as_bytes())?.bytes(hash.as_bytes())?.u64(*height)?;
                }
            }
            let tips = if mutant!(CheckpointTipless) { 0 } else { self.tips.len() };
            encoder.array(tips as u64)?;
            for tip in self.tips.values().take(tips) {
                encoder.array(6)?.u64(tip.seq)?.bytes(tip.hash.as_bytes())?.bytes(tip.author.as_bytes())?;
                encoder.u64(tip.height)?.u64(tip.timestamp.micros())?.u32(tip.entries)?;
            }
            if parts > 7 { self.latest.encode(&mut encoder) } else { Ok(()) }
        })());
        bytes
    }

    pub(super) fn decode_checkpoint(&mut self, bytes: &[u8]) -> Option<()> {
        let mut d = Decoder::new(bytes);
        // Without the eighth part there are no names and no invites, or it was written before there were any.
        let parts = d.array().ok()??;
        if parts != 7 && parts != 8 {
            return None;
        }
        self.last_seq = number(&mut d)?;
        self.totals = Totals { blocks: number(&mut d)?, entries: number(&mut d)?, bytes: number(&mut d)? };
        if d.array().ok()?? == 2 {
            let timestamp = Timestamp::from_micros(d.u64().ok()?)?;
            self.last = Some(OrderKey { timestamp, hash: BlockHash::from_bytes(bytes32(&mut d)?) });
        }
        for _ in 0..d.array().ok()?? {
            array(&mut d, 3)?;
            let (author, hash) = (NodeId::from_bytes(bytes32(&mut d)?), BlockHash::from_bytes(bytes32(&mut d)?));
            self.lanes.entry(author).or_default().insert(hash, number(&mut d)?);
        }
        for _ in 0..d.array().ok()?? {
            array(&mut d, 6)?;
            let tip = Summary {
                seq: number(&mut d)?,
                hash: BlockHash::from_bytes(bytes32(&mut d)?),
                author: NodeId::from_bytes(bytes32(&mut d)?),
                height: number(&mut d)?,
                timestamp: Timestamp::from_micros(d.u64().ok()?)?,
                entries: d.u32().ok()?,
            };
            self.tips.insert(tip.hash, tip);
        }
        if parts == 8 {
            self.latest = Latest::decode(&mut d)?;
        }
        Some(())
    }

    pub(super) fn encode_frozen(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        infallible((|| {
            encoder.array(self.frozen.len() as u64)?;
            for (lane, freeze) in &self.frozen {
                encoder.array(7)?.bytes(lane.as_bytes())?.u64(freeze.height)?.u64(freeze.since.micros())?;
                encoder.bool(freeze.recorded)?.bool(freeze.removal)?.u64(freeze.told.micros())?;
                encoder.bool(freeze.of_member)?;
            }
            Ok(())
        })());
        bytes
    }
}

pub(super) fn decode_frozen(bytes: &[u8]) -> Option<BTreeMap<NodeId, Freeze>> {
    let mut d = Decoder::new(bytes);
    let mut frozen = BTreeMap::new();
    for _ in 0..d.array().ok()?? {
        // Three parts were written before it was noted whether a block records the freeze, six before closed invites were told
        // from members: to take them for members costs an epoch.
        let parts = d.array().ok()??;
        let lane = NodeId::from_bytes(bytes32(&mut d)?);
        let (height, since) = (d.u64().ok()?, Timestamp::from_micros(d.u64().ok()?)?);
        let (recorded, removal, told) = match parts {
            3 => (false, false, Timestamp::MAX),
            6 | 7 => (d.bool().ok()?, d.bool().ok()?, Timestamp::from_micros(d.u64().ok()?)?),
            _ => return None,
        };
        let of_member = if parts == 7 { d.bool().ok()? } else { removal };
        frozen.insert(lane, Freeze { height, since, recorded, removal, of_member, told });
    }
    Some(frozen)
}

/// A count or a height of a checkpoint.
fn number(decoder: &mut Decoder<'_>) -> Option<u64> {
    decoder.u64().ok().filter(|number| *number <= COUNT)
}

pub(super) fn array(decoder: &mut Decoder<'_>, len: u64) -> Option<()> {
    (decoder.array().ok()?? == len).then_some(())
}

pub(super) fn bytes32(decoder: &mut Decoder<'_>) -> Option<[u8; 32]> {
    decoder.bytes().ok()?.try_into().ok()
}
