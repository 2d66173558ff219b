//! Everybody who came in, and the rules by which one does.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Control, Invite, Join, MemberError, Remove, Role, closed, join_message};
use crate::{
    block::Block,
    erase::Erase,
    freeze::Freezes,
    id::{BlockHash, LedgerId, NodeId},
    key,
    limits::INVITE_DEPTH,
    order::OrderKey,
    time::Timestamp,
};

/// One who came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    pub(crate) role: Role,
    /// Place of its first block in ledger order.
    pub(crate) key: OrderKey,
    /// How it came in; `None` for the founder.
    pub(crate) by: Option<By>,
    depth: u16,
}

/// Whom a block brings in, or the rule that it breaks.
pub(crate) type Newcomer = Result<Option<Box<Member>>, MemberError>;

/// The invite by which somebody came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct By {
    /// The invite's block.
    pub(crate) invite: BlockHash,
    /// Its key.
    pub(crate) key: NodeId,
    pub(crate) uses: u32,
    /// Who invited.
    pub(crate) inviter: NodeId,
    /// The inviter's first block.
    pub(crate) join: BlockHash,
    /// Height of the invite's block.
    pub(crate) height: u64,
}

/// Everybody who came in, by the first block of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    joins: BTreeMap<BlockHash, Member>,
    lanes: BTreeMap<NodeId, BTreeSet<BlockHash>>,
    uses: BTreeMap<BlockHash, BTreeSet<OrderKey>>,
}

impl Members {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn insert(&mut self, member: Member) {
        self.lanes.entry(member.node).or_default().insert(member.key.hash);
        if let Some(by) = member.by {
            self.uses.entry(by.invite).or_default().insert(member.key);
        }
        self.joins.insert(member.key.hash, member);
    }

    pub(crate) fn get(&self, join: &BlockHash) -> Option<&Member> {
        self.joins.get(join)
    }

    /// Who began this lane; several, if it began more than once.
    pub(crate) fn of(&self, lane: &NodeId) -> impl Iterator<Item = &Member> {
        self.lanes.get(lane).into_iter().flatten().filter_map(|join| self.joins.get(join))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Member> {
        self.joins.values()
    }

    /// Whether a member gives keys out and says what the ledger is called: an owner or an admin.
    pub(crate) fn is_steward(&self, node: &NodeId) -> bool {
        self.of(node).any(|member| member.role <= Role::Admin)
    }

    /// The joins by an invite, in ledger order.
    pub(crate) fn by(&self, invite: &BlockHash) -> impl Iterator<Item = &OrderKey> {
        self.uses.get(invite).into_iter().flatten()
    }

    /// Whether somebody came in by an invite that is closed, or of a frozen lane, or that others have used up before in ledger
    /// order: then its join counts only with a voucher, as a block of a frozen lane does.
    pub(crate) fn needs_voucher(&self, member: &Member, frozen: &Freezes) -> bool {
        let Some(by) = member.by else { return false };
        let uses = by.uses as usize;
        let before = |key: &&OrderKey| **key < member.key && self.takes_place(key, frozen);
        let closed = is_closed(&by.invite, (&by.inviter, by.height), frozen) && !mutant!(ClosedLetIn);
        let used_up = self.by(&by.invite).filter(before).take(uses).count() == uses && !mutant!(UsesUncounted);
        closed || used_up
    }

    /// How many came in by an invite.
    pub(crate) fn used(&self, invite: &BlockHash, frozen: &Freezes) -> usize {
        self.by(invite).filter(|key| self.takes_place(key, frozen)).count()
    }

    /// Whether a join by an invite leaves one fewer to come in by it.
    fn takes_place(&self, join: &OrderKey, frozen: &Freezes) -> bool {
        self.get(&join.hash).is_none_or(|member| !in_zone(&member.node, 1, frozen))
    }

    /// The blocks on which each beginning of a lane rests: joins and invites, up to the founder's first block.
    pub(crate) fn rests_on(&self, lane: &NodeId) -> Vec<Vec<BlockHash>> {
        let blocks = |member: &Member| [Some(member.key.hash), member.by.map(|by| by.invite)].into_iter().flatten();
        self.of(lane).map(|member| self.chain(member).flat_map(blocks).collect()).collect()
    }

    /// A member and those by whom it came in, up to the founder.
    pub(crate) fn chain<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Member> {
        core::iter::successors(Some(member), |member| member.by.and_then(|by| self.get(&by.join)))
            .take(usize::from(INVITE_DEPTH) + 1)
    }

    /// Checks a block by what it says about who belongs, and what it erases; its parents are here. Returns the newcomer of a
    /// first block.
    ///
    /// `named` gives a block of the ledger by its hash.
    ///
    /// # Errors
    /// Those of `named`; inside, the rule that the block breaks.
    pub(crate) fn check<E>(
        &self,
        ledger: &LedgerId,
        block: &Block,
        named: impl Fn(&BlockHash) -> Result<Option<Block>, E>,
    ) -> Result<Newcomer, E> {
        let header = block.header();
        let control = match Control::of(block) {
            Ok(control) => control,
            Err(error) => return Ok(Err(error)),
        };
        for hash in control.iter().flat_map(Control::names) {
            let time = match self.get(&hash) {
                Some(member) => Some(member.key.timestamp.plus(1)),
                None => named(&hash)?.map(|block| block.end()),
            };
            if time.is_none_or(|end| end > header.timestamp) {
                return Ok(Err(MemberError::Early));
            }
        }
        if !ledger.has_members() {
            return Ok(match control {
                Some(Control::Erase(erase)) => self.check_erase(header.author, &erase, named(&erase.block)?.as_ref()),
                _ => Ok(None),
            });
        }
        let key = OrderKey { timestamp: header.timestamp, hash: block.hash() };
        Ok(match control {
            Some(Control::Genesis(_) | Control::Join(_)) if header.height > 1 => Err(MemberError::NotFirst),
            Some(Control::Genesis(genesis)) => {
                let right = genesis.ledger() == *ledger && genesis.founder == header.author;
                let founder = Member { node: header.author, role: Role::Owner, key, by: None, depth: 0 };
                if right && header.parents.is_empty() {
                    Ok(Some(Box::new(founder)))
                } else {
                    Err(MemberError::WrongGenesis)
                }
            }
            Some(Control::Join(join)) => {
                let invite = named(&join.invite)?;
                self.check_join(ledger, block, &join, invite.as_ref()).map(|by| {
                    let depth = self.get(&by.1.join).map_or(0, |inviter| inviter.depth) + 1;
                    Some(Box::new(Member { node: header.author, role: by.0, key, by: Some(by.1), depth }))
                })
            }
            _ if header.height == 1 => Err(MemberError::Stranger),
            Some(Control::Invite(invite)) => self.check_invite(header.author, &invite),
            Some(Control::Erase(erase)) => self.check_erase(header.author, &erase, named(&erase.block)?.as_ref()),
            Some(Control::Remove(remove)) => {
                let rests = match self.get(&remove.rests) {
                    Some(_) => None,
                    None => named(&remove.rests)?,
                };
                self.check_remove(header.author, &remove, rests.as_ref())
            }
            // What a reader's lane holds above its join is its leaving.
            None if header.height == 2 => match header.parents.first().and_then(|join| self.get(join)) {
                Some(member) if member.role == Role::Reader && !mutant!(ReadersWrite) => Err(MemberError::NotAllowed),
                _ => Ok(None),
            },
            None => Ok(None),
        })
    }

    fn check_join(
        &self,
        ledger: &LedgerId,
        block: &Block,
        join: &Join,
        invite: Option<&Block>,
    ) -> Result<(Role, By), MemberError> {
        let header = block.header();
        let Some((at, Ok(Some(Control::Invite(invite))))) = invite.map(|block| (block.header(), Control::of(block)))
        else {
            return Err(MemberError::WrongBlock);
        };
        if header.parents[..] != [join.invite] {
            return Err(MemberError::JoinParents);
        }
        if header.timestamp >= invite.expires && invite.expires != Timestamp::MAX && !mutant!(ExpiredLetIn) {
            return Err(MemberError::Expired);
        }
        let inviter = self.get(&invite.join).ok_or(MemberError::WrongBlock)?;
        if inviter.depth >= INVITE_DEPTH {
            return Err(MemberError::TooDeep);
        }
        let (inviter, height) = (at.author, at.height);
        let by = By { invite: join.invite, key: invite.key, uses: invite.uses, inviter, join: invite.join, height };
        let signed = key::verify(&invite.key, &join_message(ledger, &join.invite, &header.author), &join.signature);
        if signed.is_err() && !mutant!(SecretUnchecked) {
            return Err(MemberError::WrongSignature);
        }
        Ok((invite.role, by))
    }

    fn author(&self, author: NodeId, join: &BlockHash) -> Result<&Member, MemberError> {
        self.get(join).filter(|member| member.node == author).ok_or(MemberError::WrongBlock)
    }

    fn check_invite(&self, author: NodeId, invite: &Invite) -> Newcomer {
        if self.author(author, &invite.join)?.role.may_invite(invite.role) || mutant!(RoleUnchecked) {
            Ok(None)
        } else {
            Err(MemberError::NotAllowed)
        }
    }

    /// Whether a node may remove a member, or close an invite (then with the invite's block).
    pub(crate) fn check_remove(&self, author: NodeId, remove: &Remove, invite: Option<&Block>) -> Newcomer {
        let own = self.author(author, &remove.join)?;
        let (target, leaves, least) = match self.get(&remove.rests) {
            Some(member) if member.node == remove.member => (member, author == member.node, 1),
            Some(_) => return Err(MemberError::WrongBlock),
            None => {
                let Some(Ok(Some(Control::Invite(invite)))) = invite.map(Control::of) else {
                    return Err(MemberError::WrongBlock);
                };
                if invite.key != remove.member {
                    return Err(MemberError::WrongBlock);
                }
                let inviter = self.get(&invite.join).ok_or(MemberError::WrongBlock)?;
                (inviter, author == inviter.node, 0)
            }
        };
        let is_founder = target.by.is_none() && least == 1;
        let allowed = match own.role {
            _ if is_founder => false,
            Role::Owner | Role::Admin => self.has_power(own, target) || leaves,
            Role::Member | Role::Reader => leaves && least == 1,
        };
        if (remove.height == 0) != (least == 0) {
            return Err(MemberError::Malformed);
        }
        if allowed || mutant!(RemovalUnchecked) { Ok(None) } else { Err(MemberError::NotAllowed) }
    }

    /// Whether somebody may remove another one by its role, and erase what that one wrote.
    fn has_power(&self, own: &Member, target: &Member) -> bool {
        let is_above = |lower, upper: &Member| self.chain(lower).skip(1).any(|above| above.node == upper.node);
        match own.role {
            Role::Owner => !is_above(own, target),
            Role::Admin => is_above(target, own),
            Role::Member | Role::Reader => false,
        }
    }

    fn check_erase(&self, author: NodeId, erase: &Erase, target: Option<&Block>) -> Newcomer {
        let entry = erase.entry;
        let is_there = |block: &&Block| (block.header().author, block.header().height) == (entry.author, entry.height);
        let erased = target.filter(is_there).and_then(|block| block.entries().get(entry.index as usize));
        let kind = erased.ok_or(MemberError::WrongBlock)?.kind;
        if !kind.is_erasable() {
            return Err(MemberError::NotErasable(kind));
        }
        let allowed = match &erase.power {
            None => author == entry.author,
            Some(power) => self.has_power(self.author(author, &power.join)?, self.author(entry.author, &power.rests)?),
        };
        if allowed { Ok(None) } else { Err(MemberError::NotTheirs) }
    }
}

fn in_zone(lane: &NodeId, height: u64, frozen: &Freezes) -> bool {
    frozen.get(lane).is_some_and(|frozen| *frozen <= height)
}

/// Whether an invite was closed, or its block, with this author and height, is of a frozen lane's zone.
pub(crate) fn is_closed(invite: &BlockHash, (by, height): (&NodeId, u64), frozen: &Freezes) -> bool {
    in_zone(&closed(invite), 1, frozen) || in_zone(by, height, frozen)
}
