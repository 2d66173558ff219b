//! The rules of who belongs by their wording, for each block that a replica adds; and what must hold of the members in the end.

use alloc::{collections::BTreeMap, format, vec::Vec};

use super::{World, machine::Kind as MachineKind};
use crate::{
    block::{Block, Kind},
    effect::Effect,
    id::{BlockHash, NodeId},
    key,
    members::{Control, MemberStatus, Role, join_message},
    replica::Replica,
    store::{MemoryStore, Page, ReadStore},
    time::Timestamp,
};

/// Members between one and the founder, at most.
const LONGEST: usize = 40;
const ALL: Page = Page { blocks: usize::MAX, bytes: usize::MAX };

/// What is on one disk of who belongs.
struct Register<'a>(&'a MemoryStore);

impl Register<'_> {
    fn block(&self, hash: &BlockHash) -> Option<Block> {
        Block::decode(&self.0.block(hash).ok()??.bytes).ok()
    }

    /// What the author of a first block may do.
    fn role(&self, first: &BlockHash) -> Option<Role> {
        match Control::of(&self.block(first)?).ok()?? {
            Control::Genesis(_) => Some(Role::Owner),
            Control::Join(join) => match Control::of(&self.block(&join.invite)?).ok()?? {
                Control::Invite(invite) => Some(invite.role),
                _ => None,
            },
            _ => None,
        }
    }

    /// The first blocks by which the author of one came in, its own first.
    fn chain(&self, first: &BlockHash) -> Vec<BlockHash> {
        let above = |first: &BlockHash| {
            let Control::Join(join) = Control::of(&self.block(first)?).ok()?? else { return None };
            let Control::Invite(invite) = Control::of(&self.block(&join.invite)?).ok()?? else { return None };
            Some(invite.join)
        };
        core::iter::successors(Some(*first), above).take(LONGEST).collect()
    }

    /// Whether this node wrote that first block.
    fn is_of(&self, first: &BlockHash, node: &NodeId) -> bool {
        self.block(first).is_some_and(|block| block.header().author == *node && block.header().height == 1)
    }

    /// The rule that a block breaks.
    fn broken(&self, block: &Block) -> Option<&'static str> {
        let header = block.header();
        let author = &header.author;
        let Ok(control) = Control::of(block) else { return Some("says nothing that can be understood") };
        let first = match &control {
            Some(Control::Genesis(genesis)) => {
                let right = genesis.ledger() == header.ledger && genesis.founder == *author && header.height == 1;
                return (!right).then_some("is another ledger's beginning");
            }
            Some(Control::Join(join)) => {
                let Some(by) = self.block(&join.invite) else { return Some("joins by an invite that is not there") };
                let Ok(Some(Control::Invite(invite))) = Control::of(&by) else { return Some("joins by no invite") };
                let message = join_message(&header.ledger, &join.invite, author);
                let late = header.timestamp >= invite.expires && invite.expires != Timestamp::MAX;
                return match () {
                    () if header.height != 1 => Some("joins in the middle of a lane"),
                    () if late => Some("joins after its invite had expired"),
                    () if key::verify(&invite.key, &message, &join.signature).is_err() => {
                        Some("joins without the secret")
                    }
                    () => None,
                };
            }
            Some(Control::Invite(invite)) => Some(invite.join),
            Some(Control::Remove(remove)) => Some(remove.join),
            // Nobody erases in the simulator.
            Some(Control::Erase(_)) | None => self.first_of(block),
        };
        let Some(first) = first.filter(|first| header.height > 1 && self.is_of(first, author)) else {
            return Some("is of somebody who did not come in");
        };
        let Some(role) = self.role(&first) else { return Some("is of somebody without a role") };
        let may = match &control {
            Some(Control::Invite(invite)) => role == Role::Owner || (role == Role::Admin && invite.role != Role::Owner),
            Some(Control::Remove(remove)) => self.may_remove(author, role, &first, &remove.member, &remove.rests),
            _ => role != Role::Reader,
        };
        (!may).then_some("is more than its author's role allows")
    }

    fn may_remove(&self, author: &NodeId, role: Role, first: &BlockHash, member: &NodeId, rests: &BlockHash) -> bool {
        let (target, closes) = match self.block(rests).as_ref().map(Control::of) {
            Some(Ok(Some(Control::Invite(invite)))) if invite.key == *member => (invite.join, true),
            Some(Ok(Some(Control::Genesis(_)))) => return false,
            _ if self.is_of(rests, member) => (*rests, false),
            _ => return false,
        };
        let above = self.chain(&target);
        let own = self.is_of(&target, author);
        match role {
            Role::Owner => own || !self.chain(first).contains(&target),
            Role::Admin => own || above.contains(first),
            Role::Member | Role::Reader => own && !closes,
        }
    }

    /// Whether a block is a join, and its invite was used up before it.
    fn is_surplus(&self, block: &Block, frozen: &BTreeMap<NodeId, u64>) -> bool {
        let Ok(Some(Control::Join(join))) = Control::of(block) else { return false };
        let by = self.block(&join.invite).map(|by| Control::of(&by));
        let Some(Ok(Some(Control::Invite(invite)))) = by else { return false };
        let after_invite = self.0.summary(&join.invite).ok().flatten().map(|summary| summary.key());
        let before = self.0.after(after_invite.as_ref(), ALL).unwrap_or_default();
        let before = before.iter().take_while(|record| record.summary.key() < block.key());
        let earlier = before.filter(|record| record.summary.height == 1).filter(|record| {
            let other = Block::decode(&record.bytes).map(|other| Control::of(&other));
            matches!(other, Ok(Ok(Some(Control::Join(other)))) if other.invite == join.invite)
                && frozen.get(&record.summary.author) != Some(&1)
        });
        earlier.count() >= invite.uses as usize
    }

    /// Whether somebody else rests on this lane.
    fn has_voucher(&self, block: &Block) -> bool {
        let author = block.header().author;
        let later = self.0.after(Some(&block.key()), ALL).unwrap_or_default();
        let is_of =
            |hash: &BlockHash| self.0.summary(hash).ok().flatten().is_some_and(|parent| parent.author == author);
        let rests = |bytes: &[u8]| Block::decode_header(bytes).is_ok_and(|header| header.parents.iter().any(is_of));
        later.iter().filter(|record| record.summary.author != author).any(|record| rests(&record.bytes))
    }

    /// The first block of the lane in which a block stands.
    fn first_of(&self, block: &Block) -> Option<BlockHash> {
        if block.header().height == 1 {
            return None;
        }
        let mut parent = *block.header().parents.first()?;
        while let Some(summary) = self.0.summary(&parent).ok().flatten().filter(|summary| summary.height > 1) {
            // A lane that did not fork has one first block; of one that did, the way down decides.
            let lane = self.0.lane(&summary.author, 1, Page { blocks: 2, bytes: usize::MAX }).ok()?;
            let firsts: Vec<BlockHash> =
                lane.iter().filter(|record| record.summary.height == 1).map(|record| record.summary.hash).collect();
            if let [only] = firsts[..] {
                return Some(only);
            }
            parent = *self.block(&parent)?.header().parents.first()?;
        }
        Some(parent)
    }
}

/// Whether a block is a removal whose freeze is not known.
fn is_idle(block: &Block, frozen: &BTreeMap<NodeId, u64>) -> bool {
    let Ok(Some(Control::Remove(remove))) = Control::of(block) else { return false };
    let (lane, height) = remove.freeze();
    frozen.get(&lane).is_none_or(|known| *known > height)
}

impl World {
    /// The rules of who belongs, for a block that a machine has added.
    pub(super) fn check_control(&mut self, number: usize, block: &Block) {
        // A damaged block says nothing.
        if self.group.is_none() || !self.machines[number].damaged.is_empty() {
            return;
        }
        let durable = self.machines[number].disk.durable();
        // It may have become void in the same turn, and what it rests on with it.
        let stays = durable.summary(&block.hash()).is_ok_and(|summary| summary.is_some());
        let frozen = self.machines[number].replica.as_ref().map(Replica::frozen).unwrap_or_default();
        let register = Register(&durable);
        let surplus = || register.is_surplus(block, &frozen) && !register.has_voucher(block);
        let broken = match register.broken(block).filter(|_| stays) {
            None if stays && is_idle(block, &frozen) => Some("is a removal that is not in force"),
            None if stays && surplus() => Some("is one join too many, for whom nobody vouches"),
            broken => broken,
        };
        drop(durable);
        let (author, height) = (block.header().author, block.header().height);
        self.check("control_by_the_rules", broken.is_none(), |_| {
            format!("machine {number} added block {height} of {author:?}, which {}", broken.unwrap_or_default())
        });
    }

    /// Whether a machine may make a block of this author void: its join has lost a race; or the author, or one by whom it came
    /// in, was removed, and the machine vouches for nobody.
    pub(super) fn may_be_void(&self, number: usize, author: &NodeId, vouches: bool) -> bool {
        let machine = &self.machines[number];
        let Some(replica) = machine.replica.as_ref().filter(|_| self.group.is_some()) else { return false };
        let vouches = vouches && replica.may_write() && !replica.is_shaky(&machine.key.node());
        !replica.has_come_in(author) || (!vouches && replica.is_shaky(author))
    }

    /// Whether a machine takes a node's word for one that may not count.
    pub(super) fn is_shaky(&self, number: usize, node: &NodeId) -> bool {
        self.machines[number].replica.as_ref().is_some_and(|replica| replica.is_shaky(node))
    }

    pub(super) fn is_reader(&self, number: usize) -> bool {
        self.machines[number].replica.as_ref().and_then(Replica::role) == Some(Role::Reader)
    }

    /// Whether a machine's own first block was added in a turn: before that it could vouch for nobody.
    pub(super) fn comes_in(&self, number: usize, effects: &[Effect]) -> bool {
        let node = self.machines[number].node();
        let is_own = |header: &crate::block::Header| header.author == node && header.height == 1;
        effects.iter().any(|effect| matches!(effect, Effect::Added(added) if is_own(added.block.header())))
    }

    /// Newcomers of a turn.
    pub(super) fn news_of_members(&self, effects: &[Effect]) -> u64 {
        let joins = |effect: &&Effect| match effect {
            Effect::Added(added) => added.block.entries()[0].kind == Kind::JOIN,
            _ => false,
        };
        effects.iter().filter(joins).count() as u64
    }

    /// Whether somebody was there who records what nobody has recorded.
    pub(super) fn is_recorded_by_anybody(&self) -> bool {
        let writes = |number: usize| {
            let machine = &self.machines[number];
            let writer = machine.replica.as_ref().is_some_and(Replica::may_write);
            machine.kind == MachineKind::Honest && writer && !self.is_shaky(number, &machine.key.node())
        };
        self.group.is_none() || self.seated().into_iter().any(writes)
    }

    /// What must hold of the members in the end.
    pub(super) fn check_group_end(&mut self, blocks: &[Block]) {
        if self.group.is_none() {
            return;
        }
        let seated = self.seated();
        let members = |number: usize| self.machines[number].replica.as_ref().and_then(|replica| replica.members().ok());
        let first: Option<Vec<MemberStatus>> = seated.first().and_then(|number| members(*number));
        let differing = seated.iter().copied().find(|number| members(*number) != first);
        self.check("member_sets_are_equal", differing.is_none(), |world| {
            let count = |number: usize| {
                world.machines[number].replica.as_ref().and_then(|replica| Some(replica.members().ok()?.len()))
            };
            format!(
                "machine {differing:?} knows {:?} members, the hub {:?}",
                differing.map(count),
                first.map(|m| m.len())
            )
        });
        self.check_strangers();
        self.check_secrets(blocks);
    }
}
