//! What dishonest members, and those who were removed, do about who belongs: they bring in puppets, come in late, vouch for each
//! other, write as of before, remove honest members, hand out keys of their own, and say again what was said.

use alloc::{collections::BTreeSet, vec::Vec};
use zeroize::Zeroizing;

use super::{World, group::Ticket, lies::Known, machine::Kind as MachineKind};
use crate::{
    block::{Entry, Header, Kind, VerifiedBlock},
    effect::{Effect, LinkId},
    id::{BlockHash, NodeId},
    key::Key,
    members::{Invite, Join, Remove, Role},
    seal::{EpochKey, Rekey},
    time::Timestamp,
};

/// Stands apart from the keys of others.
const PUPPET_KEY: u64 = 4_000_000;
/// Blocks of one replay.
const REPLAYED: usize = 10;

/// A lane of a liar or of a puppet: its key and its first block.
#[derive(Debug, Clone)]
struct Lane {
    key: Key,
    first: Known,
}

impl World {
    /// A liar's own blocks are known to all liars.
    pub(super) fn overhear(&mut self, number: usize, effects: &[Effect]) {
        if self.machines[number].kind != MachineKind::Liar {
            return;
        }
        for effect in effects {
            if let Effect::Added(added) = effect
                && self.truth.owner(&added.block.header().author).is_none()
            {
                self.liars.hear(&added.block);
            }
        }
    }

    /// A liar does something about who belongs.
    pub(super) fn trick(&mut self, number: usize, link: LinkId) {
        let lanes = self.liar_lanes();
        let blocks = match self.random.index(7) {
            0 => self.bring_puppet(&lanes),
            1 => self.join_late(),
            2 => self.alibi(&lanes),
            3 => self.backdate(&lanes),
            4 => self.remove_falsely(&lanes),
            5 => self.give_false_keys(&lanes),
            _ => return self.replay(number, link),
        };
        if !blocks.is_empty() {
            self.tell(number, link, &blocks, false);
        }
    }

    fn liar_lanes(&self) -> Vec<Lane> {
        let Some(group) = &self.group else { return Vec::new() };
        let keys = group.keys.values().chain(&group.puppets).filter(|key| self.truth.owner(&key.node()).is_none());
        let mut lanes = Vec::new();
        for key in keys {
            let first = self.liars.of(&key.node()).find(|known| known.height == 1);
            lanes.extend(first.map(|first| Lane { key: key.clone(), first }));
        }
        lanes
    }

    /// What a node may do, and whether it was removed, as the hub knows it.
    fn standing(&self, node: &NodeId) -> Option<(Role, bool)> {
        let replica = self.machines[self.hub()].replica.as_ref()?;
        let member = replica.members().ok()?.into_iter().find(|member| member.node == *node)?;
        Some((member.role, replica.is_removed(node)))
    }

    /// Now and then one without a say, who will be refused.
    fn pick_steward(&mut self, lanes: &[Lane]) -> Option<Lane> {
        let has_say = |lane: &&Lane| self.standing(&lane.key.node()).is_some_and(|(role, _)| role <= Role::Admin);
        let stewards: Vec<Lane> = lanes.iter().filter(has_say).cloned().collect();
        let among = if self.random.per_mille(100) { lanes } else { &stewards };
        self.random.pick(among).cloned()
    }

    /// A block of a liar on any branch of its lane and on these blocks; at the earliest time that is possible, or now.
    fn write_as(&mut self, lane: &Lane, others: &[Known], early: bool, entry: Entry) -> VerifiedBlock {
        let node = lane.key.node();
        let own: Vec<Known> = self.liars.of(&node).collect();
        let own = if self.random.per_mille(600) { own.last().copied() } else { self.random.pick(&own).copied() };
        let own = own.unwrap_or(lane.first);
        let others: BTreeSet<BlockHash> =
            others.iter().filter(|other| other.author != node).map(|other| other.hash).collect();
        let ends = self.liars.all().filter(|known| others.contains(&known.hash)).map(|known| known.end);
        let end = ends.chain([own.end]).max().unwrap_or_default();
        let clock = Timestamp::from_micros(super::machine::BEGIN + self.now).unwrap_or_default();
        let header = Header {
            ledger: self.ledger,
            author: node,
            height: own.height + 1,
            timestamp: if early { end } else { end.max(clock) },
            parents: [own.hash].into_iter().chain(others).collect(),
        };
        VerifiedBlock::sign(header, alloc::vec![entry], &lane.key)
    }

    fn entry(&mut self, kind: Kind, payload: Vec<u8>) -> Entry {
        Entry::new(kind, self.random.bytes(), payload)
    }

    fn some_blocks(&mut self, most: u64) -> Vec<Known> {
        let all: Vec<Known> = self.liars.all().collect();
        let count = self.random.below(most + 1);
        (0..count).filter_map(|_| self.random.pick(&all).copied()).collect()
    }

    /// An invite, a puppet that comes in by it, and that puppet's word for whatever it likes.
    fn bring_puppet(&mut self, lanes: &[Lane]) -> Vec<VerifiedBlock> {
        let Some(lane) = self.pick_steward(lanes) else { return Vec::new() };
        self.report.deed("puppet");
        let Some(group) = &mut self.group else { return Vec::new() };
        let number = PUPPET_KEY + 2 * group.puppets.len() as u64;
        let (puppet, secret) = (self.key(number), self.key(number + 1));
        self.group.iter_mut().for_each(|group| group.puppets.push(puppet.clone()));
        let role = [Role::Member, Role::Admin][self.random.index(2)];
        let uses = self.random.between(1, 3) as u32;
        let invite = Invite { join: lane.first.hash, key: secret.node(), role, uses, expires: Timestamp::MAX };
        let (early, entry) = (self.random.per_mille(700), self.entry(Kind::INVITE, invite.encode()));
        let invite = self.write_as(&lane, &[], early, entry);
        let join = Join::sign(&secret, &self.ledger, invite.hash(), &puppet.node());
        let join = join.block(self.ledger, &puppet, invite.end(), invite.end(), self.random.bytes());
        let lane = Lane { key: puppet, first: Known::of(&join) };
        let seen = self.some_blocks(2);
        let entry = self.entry(Kind::DATA, alloc::vec![b'1']);
        let word = self.write_as(&lane, &seen, early, entry);
        alloc::vec![invite, join, word]
    }

    /// A puppet comes in by a link that liars know of, perhaps one that is closed or used up, and says that it was earlier.
    fn join_late(&mut self) -> Vec<VerifiedBlock> {
        let Some(group) = &self.group else { return Vec::new() };
        let leaked: Vec<Ticket> = group.tickets.iter().filter(|ticket| ticket.leaked).cloned().collect();
        let number = PUPPET_KEY + 2 * group.puppets.len() as u64;
        let Some(ticket) = self.random.pick(&leaked).cloned() else { return Vec::new() };
        self.report.deed("late_join");
        let puppet = self.key(number);
        self.group.iter_mut().for_each(|group| group.puppets.push(puppet.clone()));
        let time = if self.random.per_mille(600) {
            ticket.end
        } else {
            Timestamp::from_micros(super::machine::BEGIN + self.now).unwrap_or_default()
        };
        let join = Join::sign(&ticket.secret, &self.ledger, ticket.invite, &puppet.node());
        let join = join.block(self.ledger, &puppet, ticket.end, time, self.random.bytes());
        alloc::vec![join]
    }

    /// Liars vouch for each other.
    fn alibi(&mut self, lanes: &[Lane]) -> Vec<VerifiedBlock> {
        let Some(lane) = self.random.pick(lanes).cloned() else { return Vec::new() };
        self.report.deed("alibi");
        let nodes: BTreeSet<NodeId> = lanes.iter().map(|lane| lane.key.node()).collect();
        let of_liars: Vec<Known> = self.liars.all().filter(|known| nodes.contains(&known.author)).collect();
        let seen: Vec<Known> = (0..3).filter_map(|_| self.random.pick(&of_liars).copied()).collect();
        let (early, entry) = (self.random.per_mille(700), self.entry(Kind::DATA, alloc::vec![b'2']));
        alloc::vec![self.write_as(&lane, &seen, early, entry)]
    }

    /// Writes as if it had been before it was removed.
    fn backdate(&mut self, lanes: &[Lane]) -> Vec<VerifiedBlock> {
        let Some(lane) = self.random.pick(lanes).cloned() else { return Vec::new() };
        self.report.deed("backdated");
        let seen = self.some_blocks(1);
        let entry = self.entry(Kind::DATA, alloc::vec![b'3']);
        alloc::vec![self.write_as(&lane, &seen, true, entry)]
    }

    /// Removes an honest member, by its own right or by somebody else's.
    fn remove_falsely(&mut self, lanes: &[Lane]) -> Vec<VerifiedBlock> {
        let lane = if self.random.per_mille(300) { self.pick_steward(lanes) } else { self.random.pick(lanes).cloned() };
        let Some(lane) = lane else { return Vec::new() };
        let firsts: Vec<Known> = self.liars.all().filter(|known| known.height == 1).collect();
        let honest = |known: &&Known| self.truth.owner(&known.author).is_some();
        let victims: Vec<Known> = firsts.iter().filter(honest).copied().collect();
        let Some(victim) = self.random.pick(&victims).copied() else { return Vec::new() };
        self.report.deed("false_removal");
        let right = if self.random.per_mille(700) { Some(lane.first) } else { self.random.pick(&firsts).copied() };
        let join = right.unwrap_or(lane.first).hash;
        let remove = Remove { join, member: victim.author, rests: victim.hash, height: 1 + self.random.below(3) };
        let (early, entry) = (self.random.per_mille(300), self.entry(Kind::REMOVE, remove.encode()));
        // What a control entry rests on is before it.
        let seen: Vec<Known> = [Some(victim), right].into_iter().flatten().collect();
        alloc::vec![self.write_as(&lane, &seen, early, entry)]
    }

    /// Hands out a key of its own, though nobody asked it: it has no say, or was removed.
    fn give_false_keys(&mut self, lanes: &[Lane]) -> Vec<VerifiedBlock> {
        let has_none =
            |lane: &&Lane| self.standing(&lane.key.node()).is_none_or(|(role, removed)| removed || role > Role::Admin);
        let without: Vec<Lane> = lanes.iter().filter(has_none).cloned().collect();
        let Some(lane) = self.random.pick(&without).cloned() else { return Vec::new() };
        self.report.deed("false_keys");
        let to: BTreeSet<NodeId> =
            self.liars.all().filter(|known| known.height == 1).map(|known| known.author).collect();
        let key = EpochKey::from_secret(Zeroizing::new(self.random.bytes()));
        if let Some(group) = &mut self.group {
            group.held.entry(lane.key.node()).or_default().insert(key.id(), key.clone());
            group.false_keys.insert(key.id(), lane.key.node());
        }
        // As an epoch begins: with a key before it.
        let before = EpochKey::from_secret(Zeroizing::new(self.random.bytes()));
        let random = Zeroizing::new(self.random.bytes());
        let Ok(rekeys) = Rekey::for_members(&self.ledger, &key, &[before], &to, random) else { return Vec::new() };
        let seen = self.some_blocks(2);
        let mut blocks = Vec::new();
        for rekey in rekeys {
            let (early, entry) = (self.random.per_mille(300), self.entry(Kind::REKEY, rekey.encode()));
            blocks.push(self.write_as(&lane, &seen, early, entry));
        }
        blocks
    }

    /// Says again what liars have said before.
    fn replay(&mut self, number: usize, link: LinkId) {
        self.report.deed("replay");
        let told: Vec<Vec<u8>> = self.liars.told().cloned().collect();
        let count = 1 + self.random.index(REPLAYED);
        let blocks: Vec<Vec<u8>> = (0..count).filter_map(|_| self.random.pick(&told).cloned()).collect();
        self.announce(number, link, blocks, false);
    }
}
