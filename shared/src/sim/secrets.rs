//! What nobody but members reads: plaintexts carry a mark, and every epoch key that a node ever held is remembered.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    vec::Vec,
};

use super::World;
use crate::{
    block::{Block, Kind},
    effect::Effect,
    id::{BlockHash, NodeId},
    key::Key,
    members::{Control, Role},
    replica::Replica,
    seal::{self, EpochId, EpochKey, Keyring, Place, Rekey},
};

/// Every plaintext is this, over and over.
const MARK: [u8; 4] = *b"Qz7#";
/// Bytes between two looks for the mark, and bytes of one look.
const STEP: usize = 16;
const LOOK: usize = 8;
/// A plaintext of so many bytes is found wherever it begins.
const SHORTEST: usize = STEP + LOOK;

/// What somebody writes.
pub(super) fn plaintext(len: usize) -> Vec<u8> {
    MARK.iter().copied().cycle().take(len.max(SHORTEST)).collect()
}

/// Whether a plaintext is among these bytes.
pub(super) fn has_mark(bytes: &[u8]) -> bool {
    bytes.windows(LOOK).step_by(STEP).any(|look| {
        let turned = |turn: usize| look.iter().zip(MARK.iter().cycle().skip(turn)).all(|(byte, mark)| byte == mark);
        (0..MARK.len()).any(turned)
    })
}

/// An epoch key, of which the blocks that hand it out are known.
struct Epoch {
    /// Places of these blocks in ledger order, and to whom each gives it.
    given: Vec<(usize, BTreeSet<NodeId>)>,
}

impl World {
    /// Nothing that a machine sends is readable.
    pub(super) fn check_sent(&mut self, bytes: &[u8]) {
        if self.group.is_some() {
            self.check("plaintext_stays_inside", !has_mark(bytes), |_| "a frame holds what somebody wrote".into());
        }
    }

    /// What a machine's node holds now, and that nothing readable is on its disk.
    pub(super) fn check_group_turn(&mut self, number: usize, effects: &[Effect]) {
        if self.group.is_none() {
            return;
        }
        let leaks = self.machines[number].disk.take_leaks();
        self.check("plaintext_stays_inside", leaks == 0, |_| {
            format!("machine {number} stored what somebody wrote as it is")
        });
        self.note_keys(number);
        self.check_forward(number, effects);
        self.overhear(number, effects);
        self.check_doors(number, effects);
    }

    fn note_keys(&mut self, number: usize) {
        let Some(replica) = &self.machines[number].replica else { return };
        let (node, keys) = (self.machines[number].key.node(), replica.keys());
        let Some(group) = &mut self.group else { return };
        let held = group.held.entry(node).or_default();
        for key in keys.all() {
            held.entry(key.id()).or_insert_with(|| key.clone());
        }
        let current = keys.current().map(|key| key.id());
        // What somebody gave who was removed may have come before its removal.
        let giver = current.and_then(|id| group.false_keys.get(&id).copied());
        // Who is behind does not know everybody, and has a key from an invite.
        let has_say = |giver: NodeId| (0..self.machines.len()).any(|other| self.has_say(other, &giver));
        let wrong = number < self.plan.honest && giver.is_some_and(|giver| !has_say(giver));
        self.check("keys_stay_with_members", !wrong, |_| {
            format!("machine {number} seals with {current:?}, which somebody handed out who has no say")
        });
    }

    /// Nobody goes back to a key that came along with a newer one: it may be with somebody who was removed since.
    fn check_forward(&mut self, number: usize, effects: &[Effect]) {
        let machine = &self.machines[number];
        let (Some(replica), Some(group)) = (&machine.replica, &mut self.group) else { return };
        if number >= self.plan.honest {
            return;
        }
        for effect in effects {
            let Effect::Added(added) = effect else { continue };
            if self.truth.owner(&added.block.header().author).is_none() {
                continue;
            }
            for rekey in rekeys(&added.block) {
                let Some(key) = replica.keys().key(&rekey.epoch()) else { continue };
                let before = rekey.previous(key).iter().map(EpochKey::id).collect::<Vec<_>>();
                group.before.entry(rekey.epoch()).or_default().extend(before);
            }
        }
        let Some(now) = replica.keys().current().map(EpochKey::id) else { return };
        let Some((start, then)) = group.sealed_with.insert(number, (machine.starts, now)) else { return };
        // Whoever starts anew may do so on an older disk.
        if start != machine.starts || then == now {
            return;
        }
        let (mut older, mut next) = (BTreeSet::new(), alloc::vec![then]);
        while let Some(id) = next.pop() {
            let before = group.before.get(&id).into_iter().flatten();
            next.extend(before.copied().filter(|id| older.insert(*id)));
        }
        let back = older.contains(&now) && group.before.contains_key(&now);
        self.check("epochs_go_forward", !back, |_| format!("machine {number} seals with {now} again, after {then}"));
    }

    /// Whether a node is, or was, an owner or admin, as a machine knows it.
    fn has_say(&self, number: usize, node: &NodeId) -> bool {
        let members = self.machines[number].replica.as_ref().and_then(|replica| replica.members().ok());
        members.into_iter().flatten().any(|member| member.node == *node && member.role <= Role::Admin)
    }

    /// What holds of secrets in the end; `blocks` are the ledger, in its order.
    pub(super) fn check_secrets(&mut self, blocks: &[Block]) {
        let index: BTreeMap<BlockHash, usize> = blocks.iter().enumerate().map(|(i, block)| (block.hash(), i)).collect();
        let parents = |i: usize| blocks[i].header().parents.iter().filter_map(|hash| index.get(hash).copied());
        let epochs = self.epochs(blocks);
        let removed = self.removed_nodes(blocks);
        for node in &removed {
            let ring = self.ring_of(node, blocks);
            // Whoever knew of a removal gives the one who was removed no key any more.
            let mut after = alloc::vec![false; blocks.len()];
            for i in 0..blocks.len() {
                after[i] = parents(i).any(|parent| after[parent] || is_removal_of(&blocks[parent], node));
            }
            let given = |(id, epoch): &(&EpochId, &Epoch)| {
                let begun = ring.key(id).is_some() && epoch.given.first().is_some_and(|(first, _)| after[*first]);
                begun || epoch.given.iter().any(|(i, to)| after[*i] && to.contains(node))
            };
            let given = epochs.iter().find(given).map(|(id, _)| *id);
            self.check("keys_stay_with_members", given.is_none(), |_| {
                format!("{node:?} holds {given:?}, which began, or was given to it, after its removal")
            });
            let read = self.first_read(blocks, &ring);
            self.check("removed_read_nothing_new", read.is_none(), |_| {
                format!("{node:?} was removed and reads {read:?}, which was written after all were in step")
            });
        }
        self.check_readers(blocks);
    }

    /// Everybody of whom the hub knows that it was removed, or the ledger says so.
    fn removed_nodes(&self, blocks: &[Block]) -> BTreeSet<NodeId> {
        let Some(hub) = &self.machines[self.hub()].replica else { return BTreeSet::new() };
        let known = self.group.iter().flat_map(|group| group.keys.keys()).copied();
        let said = blocks.iter().filter_map(|block| match Control::of(block) {
            Ok(Some(Control::Remove(remove))) if remove.height > 0 => Some(remove.member),
            _ => None,
        });
        known.filter(|node| hub.is_removed(node)).chain(said).collect()
    }

    /// The keys that honest members began, each with the blocks that hand it out.
    fn epochs(&self, blocks: &[Block]) -> BTreeMap<EpochId, Epoch> {
        let mut epochs: BTreeMap<EpochId, Epoch> = BTreeMap::new();
        for (i, block) in blocks.iter().enumerate() {
            if self.truth.owner(&block.header().author).is_none() {
                continue;
            }
            for rekey in rekeys(block) {
                let to = rekey.recipients().copied().collect();
                epochs.entry(rekey.epoch()).or_insert(Epoch { given: Vec::new() }).given.push((i, to));
            }
        }
        epochs
    }

    /// Every key that a node held, and every one that it can take out of the ledger.
    fn ring_of(&self, node: &NodeId, blocks: &[Block]) -> Keyring {
        let mut ring = Keyring::default();
        let Some(group) = &self.group else { return ring };
        for key in group.held.get(node).into_iter().flat_map(BTreeMap::values) {
            let _ = ring.add(key.clone());
        }
        let Some(key) = group.keys.get(node) else { return ring };
        let rekeys: Vec<Rekey> = blocks.iter().flat_map(rekeys).collect();
        take_all(&mut ring, key, &rekeys, self);
        ring
    }

    /// The first entry that was written after all were in step and that these keys open.
    fn first_read(&self, blocks: &[Block], ring: &Keyring) -> Option<(NodeId, u64)> {
        let settled = self.group.as_ref()?.settled?;
        let late = blocks.iter().filter(|block| block.header().timestamp >= settled);
        let mut late = late.filter(|block| self.truth.owner(&block.header().author).is_some());
        let opens = |block: &&Block| data(block).any(|(place, payload)| ring.open(&place, payload).is_ok());
        late.find(opens).map(|block| (block.header().author, block.header().height))
    }

    /// Every member reads all that honest members wrote, if one who gives keys out has the key.
    fn check_readers(&mut self, blocks: &[Block]) {
        let stewards = self.able_stewards();
        let mut needed = BTreeSet::new();
        for block in blocks.iter().filter(|block| self.truth.owner(&block.header().author).is_some()) {
            needed.extend(data(block).filter_map(|(_, payload)| seal::epoch(payload).ok()));
        }
        needed.retain(|id| stewards.iter().any(|number| self.has_key(*number, id)));
        let is_reader = |number: &usize| {
            let role = self.machines[*number].replica.as_ref().and_then(Replica::role);
            *number < self.plan.honest && role.is_some()
        };
        let readers: Vec<usize> = self.seated().into_iter().filter(is_reader).collect();
        for number in readers {
            let missing = needed.iter().find(|id| !self.has_key(number, id)).copied();
            let unread = self.first_unread(number, blocks, &needed);
            self.check("members_read_everything", missing.is_none() && unread.is_none(), |_| {
                format!("machine {number} lacks {missing:?} and cannot read {unread:?}")
            });
        }
    }

    fn has_key(&self, number: usize, id: &EpochId) -> bool {
        self.machines[number].replica.as_ref().is_some_and(|replica| replica.keys().key(id).is_some())
    }

    /// The first block of an honest member, sealed with one of these keys, that a machine does not open.
    fn first_unread(&self, number: usize, blocks: &[Block], needed: &BTreeSet<EpochId>) -> Option<(NodeId, u64)> {
        let replica = self.machines[number].replica.as_ref()?;
        let closed = |(place, payload): (Place, &[u8])| {
            seal::epoch(payload).is_ok_and(|id| needed.contains(&id)) && replica.keys().open(&place, payload).is_err()
        };
        let mut honest = blocks.iter().filter(|block| self.truth.owner(&block.header().author).is_some());
        honest.find(|block| data(block).any(closed)).map(|block| (block.header().author, block.header().height))
    }
}

fn is_removal_of(block: &Block, node: &NodeId) -> bool {
    matches!(Control::of(block), Ok(Some(Control::Remove(remove))) if remove.member == *node)
}

fn rekeys(block: &Block) -> impl Iterator<Item = Rekey> {
    let entries = block.entries().iter().filter(|entry| entry.kind == Kind::REKEY);
    entries.filter_map(|entry| Rekey::decode(entry.payload()?).ok())
}

fn data(block: &Block) -> impl Iterator<Item = (Place, &[u8])> {
    let header = block.header();
    let place = |index: usize| Place {
        ledger: header.ledger,
        author: header.author,
        height: header.height,
        index: index as u32,
    };
    let entries = block.entries().iter().enumerate().filter(|(_, entry)| entry.kind == Kind::DATA);
    entries.filter_map(move |(index, entry)| Some((place(index), entry.payload()?)))
}

/// Opens what a key opens, and what these keys open, until nothing new comes.
fn take_all(ring: &mut Keyring, key: &Key, rekeys: &[Rekey], world: &World) {
    loop {
        let before = ring.all().count();
        for rekey in rekeys {
            let own = rekey.open_as(key, &world.ledger).ok().flatten();
            let known = own.or_else(|| ring.key(&rekey.epoch()).cloned());
            if let Some(known) = known {
                for key in rekey.previous(&known).into_iter().chain([known]) {
                    let _ = ring.add(key);
                }
            }
        }
        if ring.all().count() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plaintext_is_found_wherever_it_is() {
        for before in 0..40 {
            let bytes = [alloc::vec![1; before], plaintext(0), alloc::vec![2; 9]].concat();
            assert!(has_mark(&bytes), "after {before} bytes");
        }
        assert!(!has_mark(&alloc::vec![7; 4000]));
    }
}
