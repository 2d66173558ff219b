//! The keys of a members' ledger: payloads are sealed with the newest, members are given it, and a removal begins another.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Replica, Timer, Turn};
use crate::{
    block::{Block, Entry, Kind, infallible},
    effect::Effect,
    id::{BlockHash, NodeId},
    ledger::stored,
    limits::{BLOCK_BYTES, EPOCHS, PREVIOUS_EPOCHS, REKEY_WITHIN},
    order::OrderKey,
    replica::{OpenError, ReplicaError},
    seal::{self, EpochId, EpochKey, Keyring, Place, Rekey},
    store::Store,
    time::Timestamp,
};

/// The epoch keys, sealed with a key that only this node's own key gives.
const META_KEYS: &str = "keys";
/// The newest epoch: its place in ledger order, its id, and who was given its key; and the blocks of epochs whose keys are
/// not here.
const META_EPOCH: &str = "epoch";
/// Where a store has the epoch keys and what is known of them. The keys are sealed with one that only the node's own key gives,
/// so these values may be kept wherever that key is kept.
pub const META_EPOCHS: [&str; 2] = [META_KEYS, META_EPOCH];
const LABEL_STORE: &[u8] = b"cairn/keys/1";

/// What this node knows of epochs.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    keys: Keyring,
    newest: Option<Newest>,
    /// Keys that no other key at hand brings along: more than one, where epochs began side by side.
    tips: BTreeSet<EpochId>,
    /// Epochs that began with keys before them, in blocks that do not open without their own.
    locked: BTreeMap<EpochId, BlockHash>,
    /// Somebody was removed or came in: the newest key may be one too old, or not for everybody.
    pub(super) stale: bool,
    /// By this node's own doing: it mends it at once.
    pub(super) mine: bool,
    /// Others have had the time to mend it.
    due: bool,
}

#[derive(Debug, Clone)]
struct Newest {
    key: OrderKey,
    id: EpochId,
    /// Who began it, and knows its key, named or not.
    author: NodeId,
    recipients: BTreeSet<NodeId>,
}

impl<S: Store> Replica<S> {
    /// The keys that open what is sealed in this ledger.
    pub fn keys(&self) -> &Keyring {
        &self.epochs.keys
    }

    pub(super) fn load_keys(&mut self) -> Result<(), OpenError<S::Error>> {
        if !self.config.ledger.has_members() || !self.config.writes {
            return Ok(());
        }
        if let Some(sealed) = self.store.meta(META_KEYS).map_err(OpenError::Store)? {
            let (key, place) = self.store_key();
            let keys = seal::open(&key, &place, &sealed).map(Zeroizing::new);
            let keys = keys.and_then(|keys| Keyring::decode(&keys));
            self.epochs.keys = keys.map_err(|_| OpenError::Damaged("its epoch keys, or they are of another node"))?;
        }
        match self.store.meta(META_EPOCH).map_err(OpenError::Store)? {
            Some(bytes) => {
                let (newest, locked, tips) = decode_epochs(&bytes).ok_or(OpenError::Damaged("its newest epoch"))?;
                (self.epochs.newest, self.epochs.locked, self.epochs.tips) = (Some(newest), locked, tips);
            }
            // Nothing was said of epochs yet: what is here came with the invite, and no other key brings it along.
            None => self.epochs.tips = self.epochs.keys.ids().copied().collect(),
        }
        if let Some(key) = self.config.epoch.take()
            && self.epochs.keys.current().is_none()
        {
            let id = key.id();
            let added = self.epochs.keys.add(key).and_then(|()| self.epochs.keys.set_current(&id));
            added.map_err(|_| OpenError::Damaged("its epoch keys are too many"))?;
            self.epochs.tips.insert(id);
            self.save_keys().map_err(OpenError::Store)?;
        }
        self.epochs.stale = true;
        Ok(())
    }

    /// What the keys are sealed with in the store: known to whoever can sign as this node, and to nobody else.
    fn store_key(&self) -> (EpochKey, Place) {
        let message = [LABEL_STORE, self.config.ledger.as_bytes()].concat();
        let signature = Zeroizing::new(self.config.key.sign(&message));
        let secret = Zeroizing::new(Sha256::digest(signature.as_slice()).into());
        (EpochKey::from_secret(secret), Place { ledger: self.config.ledger, author: self.me, height: 0, index: 0 })
    }

    fn save_keys(&mut self) -> Result<(), S::Error> {
        let (key, place) = self.store_key();
        let random = self.random.bytes16();
        let sealed = seal::seal(&key, &place, random, &self.epochs.keys.encode());
        self.store.set_meta(META_KEYS, &sealed)?;
        match &self.epochs.newest {
            Some(newest) => {
                let bytes = encode_epochs(newest, &self.epochs.locked, &self.epochs.tips);
                self.store.set_meta(META_EPOCH, &bytes)
            }
            None => Ok(()),
        }
    }

    /// The payload of a data entry of this node's next block.
    pub(super) fn sealed(&mut self, index: usize, payload: Vec<u8>) -> Vec<u8> {
        if !self.config.ledger.has_members() || mutant!(Unsealed) {
            return payload;
        }
        let height = self.ledger.height(&self.me) + 1;
        let place = Place { ledger: self.config.ledger, author: self.me, height, index: index as u32 };
        let random = self.random.bytes16();
        // `barred` was asked before. Rather no node than one that writes what everybody can read.
        let Some(key) = self.epochs.keys.current() else { panic!("nothing is written without a key to seal it") };
        seal::seal(key, &place, random, &payload)
    }

    /// Whether this node cannot seal what it writes: an older key than the newest may be with somebody who was removed.
    pub(super) fn lacks_key(&self) -> bool {
        let newest = self.epochs.newest.as_ref().map(|newest| newest.id);
        let here = |id: EpochId| self.epochs.keys.current().is_some_and(|key| key.id() == id);
        self.config.ledger.has_members() && !newest.map_or(self.epochs.keys.current().is_some(), here)
    }

    /// Takes the keys out of a block that was added.
    pub(super) fn take_keys(&mut self, block: &Block) -> Turn<S> {
        if !self.config.writes
            || !self.config.ledger.has_members()
            || !(self.ledger.members().is_steward(&block.header().author) || mutant!(KeysByAnybody))
        {
            return Ok(());
        }
        let (rekeys, before): (Vec<Rekey>, usize) = (rekeys(block).collect(), self.epochs.keys.len());
        for rekey in &rekeys {
            let id = rekey.epoch();
            let known = self.epochs.keys.key(&id).cloned();
            let key = known.or_else(|| rekey.open_as(&self.config.key, &self.config.ledger).ok().flatten());
            match key {
                Some(key) => self.take(rekey, key),
                None if rekey.has_previous() && self.epochs.locked.len() < EPOCHS => {
                    self.epochs.locked.insert(id, block.hash());
                }
                None => {}
            }
            let (place, author, recipients) = (block.key(), block.header().author, rekey.recipients().copied());
            match &mut self.epochs.newest {
                Some(newest) if newest.id == id => newest.recipients.extend(recipients),
                // An epoch begins with the keys before it. Who is given an older key later does not make it the newest again.
                Some(newest) if newest.key > place || !(rekey.has_previous() || mutant!(OldKeyAgain)) => {}
                newest => *newest = Some(Newest { key: place, id, author, recipients: recipients.collect() }),
            }
        }
        if rekeys.is_empty() {
            return Ok(());
        }
        // With a key come those before it, one epoch after the other.
        while let Some((id, hash)) = self.unlocked() {
            self.epochs.locked.remove(&id);
            let (Some(block), Some(key)) = (stored(&self.store, &hash)?, self.epochs.keys.key(&id).cloned()) else {
                continue;
            };
            rekeys_of(&block, id).for_each(|rekey| self.take(&rekey, key.clone()));
        }
        if let Some(newest) = &self.epochs.newest {
            // If its key is not here, nothing is sealed until it comes.
            let _ = self.epochs.keys.set_current(&newest.id);
        }
        self.epochs.stale = true;
        self.news.keys |= self.epochs.keys.len() > before;
        Ok(self.save_keys()?)
    }

    /// Adds a key and those that came with it. Beyond their bound they are not kept, and what they seal is not read here.
    fn take(&mut self, rekey: &Rekey, key: EpochKey) {
        // One that is known already has its place.
        if self.epochs.keys.key(&key.id()).is_none() {
            self.epochs.tips.insert(key.id());
        }
        for previous in rekey.previous(&key).into_iter().filter(|_| !mutant!(NoKeysBefore)) {
            self.epochs.tips.remove(&previous.id());
            let _ = self.epochs.keys.add(previous);
        }
        let _ = self.epochs.keys.add(key);
    }

    fn unlocked(&self) -> Option<(EpochId, BlockHash)> {
        let here = |(id, _): &(&EpochId, &BlockHash)| self.epochs.keys.key(id).is_some();
        self.epochs.locked.iter().find(here).map(|(id, hash)| (*id, *hash))
    }

    /// At the end of a turn: begins an epoch where somebody has the newest key who was removed, and gives it to those who
    /// came in since. The one who removed or invited does so at once; any other after some time, if nobody has done it.
    pub(super) fn renew_epoch(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        let able = self.config.ledger.has_members() && self.may_write() && !self.is_mending();
        if !self.epochs.stale || !able || !self.ledger.members().is_steward(&self.me) {
            return Ok(());
        }
        self.epochs.stale = false;
        let members = self.readers();
        let due = core::mem::take(&mut self.epochs.due);
        let at_once = core::mem::take(&mut self.epochs.mine) || due;
        let Some(newest) = self.epochs.newest.clone() else {
            // The founder begins.
            let founder = self.ledger.members().of(&self.me).any(|member| member.by.is_none());
            return if founder { self.begin_epoch(&members, effects).map(drop) } else { Ok(()) };
        };
        let lack: BTreeSet<NodeId> = members.difference(&newest.recipients).copied().collect();
        // Who has the key without being named: whoever began the epoch, and whoever had it with an invite.
        let outdated = !newest.recipients.is_subset(&members)
            || self.ledger.is_removed(&newest.author)
            || self.ledger.last_removal() > Some(newest.key.timestamp);
        match self.epochs.keys.key(&newest.id).cloned() {
            _ if outdated && !mutant!(EpochKept) => match at_once {
                true => self.begin_epoch(&members, effects).map(drop),
                false => self.renew_later(),
            },
            Some(key) if !lack.is_empty() && !mutant!(NewcomersKeyless) => match at_once {
                true => self.give(&key, &[], lack, effects).map(drop),
                false => self.renew_later(),
            },
            // Nobody gave it to this node in time, or not everybody has the keys of epochs that began side by side.
            None => match due {
                true => self.begin_epoch(&members, effects).map(drop),
                false => self.renew_later(),
            },
            Some(_) if self.epochs.tips.len() > 1 => match due {
                true => self.begin_epoch(&members, effects).map(drop),
                false => self.renew_later(),
            },
            Some(_) => Ok(()),
        }
    }

    /// Whoever may have the newest key.
    pub(super) fn readers(&self) -> BTreeSet<NodeId> {
        let all = self.ledger.members().all().map(|member| member.node);
        all.filter(|node| !self.ledger.is_removed(node) || mutant!(KeysToRemoved)).collect()
    }

    /// With the new key come the newest before it: where epochs began side by side, those of all of them. Returns the last
    /// block that says it.
    pub(super) fn begin_epoch(
        &mut self,
        members: &BTreeSet<NodeId>,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<BlockHash>, ReplicaError<S::Error>> {
        let tips = self.epochs.tips.iter().filter_map(|id| self.epochs.keys.key(id));
        let previous: Vec<EpochKey> = tips.take(PREVIOUS_EPOCHS).cloned().collect();
        let key = EpochKey::from_secret(Zeroizing::new(self.random.bytes32()));
        self.give(&key, &previous, members.clone(), effects)
    }

    fn renew_later(&mut self) -> Turn<S> {
        if !self.timers.is_set(Timer::Rekey) {
            let random = u64::from(self.random.bytes16()[0]);
            self.timers.set(Timer::Rekey, REKEY_WITHIN / 2 + random * (REKEY_WITHIN / 2) / 256);
        }
        Ok(())
    }

    /// The time for others to renew the epoch is over.
    pub(super) fn on_rekey_due(&mut self) {
        (self.epochs.stale, self.epochs.due) = (true, true);
    }

    /// Writes who may have a key. Returns the last block that says it.
    fn give(
        &mut self,
        key: &EpochKey,
        previous: &[EpochKey],
        mut to: BTreeSet<NodeId>,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<BlockHash>, ReplicaError<S::Error>> {
        let random = Zeroizing::new(self.random.bytes32());
        let rekeys = loop {
            match Rekey::for_members(&self.config.ledger, key, previous, &to, random.clone()) {
                Ok(rekeys) => break rekeys,
                // A key that nothing can be sealed to: its holder made it so.
                Err(seal::SealError::Recipient { node, .. }) => to.remove(&node),
                Err(_) => return Ok(None),
            };
        };
        // Payloads are of at most a quarter of a block.
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for rekey in rekeys {
            let payload = rekey.encode();
            if bytes + payload.len() > BLOCK_BYTES * 3 / 4 {
                self.write(core::mem::take(&mut entries), effects)?;
                bytes = 0;
            }
            bytes += payload.len();
            entries.push(Entry::new(Kind::REKEY, self.random.bytes16(), payload));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.write(entries, effects)?.hash()))
    }
}

fn rekeys(block: &Block) -> impl Iterator<Item = Rekey> {
    let entries = block.entries().iter().filter(|entry| entry.kind == Kind::REKEY);
    entries.filter_map(|entry| Rekey::decode(entry.payload()?).ok())
}

fn rekeys_of(block: &Block, id: EpochId) -> impl Iterator<Item = Rekey> {
    rekeys(block).filter(move |rekey| rekey.epoch() == id)
}

/// `[time, hash, id, author, [recipient …], [[id, hash] …], [tip …]]` in canonical CBOR.
fn encode_epochs(newest: &Newest, locked: &BTreeMap<EpochId, BlockHash>, tips: &BTreeSet<EpochId>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    infallible((|| {
        encoder.array(7)?.u64(newest.key.timestamp.micros())?.bytes(newest.key.hash.as_bytes())?;
        encoder.bytes(newest.id.as_bytes())?.bytes(newest.author.as_bytes())?;
        encoder.array(newest.recipients.len() as u64)?;
        newest.recipients.iter().try_for_each(|node| encoder.bytes(node.as_bytes()).map(|_| ()))?;
        encoder.array(locked.len() as u64)?;
        locked.iter().try_for_each(|(id, hash)| {
            encoder.array(2)?.bytes(id.as_bytes())?.bytes(hash.as_bytes())?;
            Ok::<_, minicbor::encode::Error<_>>(())
        })?;
        encoder.array(tips.len() as u64)?;
        tips.iter().try_for_each(|id| encoder.bytes(id.as_bytes()).map(|_| ()))
    })());
    bytes
}

type Known = (Newest, BTreeMap<EpochId, BlockHash>, BTreeSet<EpochId>);

fn decode_epochs(bytes: &[u8]) -> Option<Known> {
    let mut d = Decoder::new(bytes);
    (d.array().ok()?? == 7).then_some(())?;
    let timestamp = Timestamp::from_micros(d.u64().ok()?)?;
    let hash = BlockHash::from_bytes(d.bytes().ok()?.try_into().ok()?);
    let id = EpochId::from_bytes(d.bytes().ok()?.try_into().ok()?);
    let author = NodeId::from_bytes(d.bytes().ok()?.try_into().ok()?);
    let (mut recipients, mut locked, mut tips) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for _ in 0..d.array().ok()?? {
        recipients.insert(NodeId::from_bytes(d.bytes().ok()?.try_into().ok()?));
    }
    for _ in 0..d.array().ok()?? {
        (d.array().ok()?? == 2).then_some(())?;
        let id = EpochId::from_bytes(d.bytes().ok()?.try_into().ok()?);
        locked.insert(id, BlockHash::from_bytes(d.bytes().ok()?.try_into().ok()?));
    }
    for _ in 0..d.array().ok()?? {
        tips.insert(EpochId::from_bytes(d.bytes().ok()?.try_into().ok()?));
    }
    Some((Newest { key: OrderKey { timestamp, hash }, id, author, recipients }, locked, tips))
}
