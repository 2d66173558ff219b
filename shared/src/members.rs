//! Who belongs to a members' ledger: genesis, invites, joins, removals. Each is decided from the entries on which it rests,
//! never from arrival.
//!
//! ```text
//! genesis = [1, founder: bytes32, salt: bytes16]                  the founder's first entry; its hash is the ledger's id
//! invite  = [1, join: bytes32, key: bytes32, role, uses, expires] by an owner or admin; join: its author's first block
//! join    = [1, invite: bytes32, signature: bytes64]              a newcomer's first entry; signed by the invite's key
//! remove  = [1, join: bytes32, member: bytes32, rests: bytes32, height]
//! ```
//!
//! `join`, `invite` and `rests` name blocks by their hashes. A control entry stands alone in its block. A removal freezes the
//! member's lane above `height`, the height that stays; with the key of an invite for the member it closes that invite, and
//! `rests` is the invite's block. Both are freezes as a fork makes them (see `freeze`), with a proof of their own.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    block::{Block, BlockError, Entry, Header, Kind, VerifiedBlock, infallible},
    freeze::Freezes,
    id::{BlockHash, LedgerId, NodeId},
    key::{self, Key},
    limits::{INVITE_DEPTH, REMOVAL_BLOCKS},
    order::OrderKey,
    time::Timestamp,
};

const VERSION: u64 = 1;
const LABEL_GENESIS: &[u8] = b"cairn/genesis/1";
const LABEL_JOIN: &[u8] = b"cairn/join/1";

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Invites with any role, and removes everybody but those it came in by.
    Owner = 0,
    /// Invites with any role below owner, and removes whom it brought in, directly or through others.
    Admin = 1,
    /// Writes.
    Member = 2,
    /// Reads.
    Reader = 3,
}

impl Role {
    fn from_number(number: u64) -> Option<Self> {
        [Self::Owner, Self::Admin, Self::Member, Self::Reader].into_iter().find(|role| *role as u64 == number)
    }

    fn may_invite(self, role: Role) -> bool {
        self == Self::Owner || (self == Self::Admin && role != Self::Owner)
    }
}

/// Begins a members' ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// Its first owner, whom nobody can remove.
    pub founder: NodeId,
    /// Makes two ledgers of one founder differ.
    pub salt: [u8; 16],
}

impl Genesis {
    /// The id of the ledger that begins so.
    pub fn ledger(&self) -> LedgerId {
        let digest = Sha256::new().chain_update(LABEL_GENESIS).chain_update(self.encode());
        LedgerId::of_members(digest.finalize().into())
    }

    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.array(3)?.u64(VERSION)?.bytes(self.founder.as_bytes())?.bytes(&self.salt)?;
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            begin(d, 3)?;
            Some(Self { founder: node(d)?, salt: d.bytes().ok()?.try_into().ok()? })
        };
        read(&mut Decoder::new(bytes)).filter(|genesis| genesis.encode() == bytes)
    }
}

/// Lets others in who hold its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The first block of the one who invites.
    pub join: BlockHash,
    /// Public half of the invite's key.
    pub key: NodeId,
    /// What a newcomer may do.
    pub role: Role,
    /// How many may come in by it.
    pub uses: u32,
    /// Joins are earlier than this; [`Timestamp::MAX`]: at any time.
    pub expires: Timestamp,
}

impl Invite {
    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.array(6)?.u64(VERSION)?.bytes(self.join.as_bytes())?.bytes(self.key.as_bytes())?;
            e.u64(self.role as u64)?.u32(self.uses)?.u64(self.expires.micros())?;
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            begin(d, 6)?;
            let (join, key, role) = (block(d)?, node(d)?, Role::from_number(d.u64().ok()?)?);
            Some(Self { join, key, role, uses: d.u32().ok()?, expires: Timestamp::from_micros(d.u64().ok()?)? })
        };
        read(&mut Decoder::new(bytes)).filter(|invite| invite.encode() == bytes)
    }
}

/// Brings a newcomer in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The block of the invite.
    pub invite: BlockHash,
    /// By the invite's key, over the ledger, the invite and the newcomer.
    pub signature: [u8; 64],
}

impl Join {
    /// A newcomer's join by an invite whose secret it holds.
    pub fn sign(secret: &Key, ledger: &LedgerId, invite: BlockHash, newcomer: &NodeId) -> Self {
        Self { invite, signature: secret.sign(&join_message(ledger, &invite, newcomer)) }
    }

    /// A newcomer's first block. `end` is the end of the invite's block; `nonce` is random.
    pub fn block(
        &self,
        ledger: LedgerId,
        newcomer: &Key,
        end: Timestamp,
        now: Timestamp,
        nonce: [u8; 16],
    ) -> VerifiedBlock {
        let timestamp = now.max(end);
        let header =
            Header { ledger, author: newcomer.node(), height: 1, timestamp, parents: alloc::vec![self.invite] };
        VerifiedBlock::sign(header, alloc::vec![Entry::new(Kind::JOIN, nonce, self.encode())], newcomer)
    }

    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.array(3)?.u64(VERSION)?.bytes(self.invite.as_bytes())?.bytes(&self.signature)?;
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            begin(d, 3)?;
            Some(Self { invite: block(d)?, signature: d.bytes().ok()?.try_into().ok()? })
        };
        read(&mut Decoder::new(bytes)).filter(|join| join.encode() == bytes)
    }
}

/// One who came in, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who.
    pub node: NodeId,
    /// What it may do.
    pub role: Role,
    /// Time of its first block.
    pub joined: Timestamp,
    /// Who invited it; `None` for the founder.
    pub by: Option<NodeId>,
    /// Its lane is frozen, because it was removed or forked it: blocks up to this height count without more ado.
    pub stays: Option<u64>,
}

/// Removes a member, or closes an invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remove {
    /// The first block of the one who removes.
    pub join: BlockHash,
    /// Whose lane, or the key of an invite.
    pub member: NodeId,
    /// The member's first block, or the invite's block.
    pub rests: BlockHash,
    /// Height of the lane that stays, at least 1; 0 for an invite.
    pub height: u64,
}

impl Remove {
    /// The lane that it freezes, and the height from which on it is frozen.
    pub fn freeze(&self) -> (NodeId, u64) {
        (self.member, self.height.saturating_add(1))
    }

    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.array(5)?.u64(VERSION)?.bytes(self.join.as_bytes())?.bytes(self.member.as_bytes())?;
            e.bytes(self.rests.as_bytes())?.u64(self.height)?;
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            begin(d, 5)?;
            Some(Self { join: block(d)?, member: node(d)?, rests: block(d)?, height: d.u64().ok()? })
        };
        read(&mut Decoder::new(bytes)).filter(|remove| remove.encode() == bytes)
    }
}

/// What a block says about who belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    Genesis(Genesis),
    Invite(Invite),
    Join(Join),
    Remove(Remove),
}

impl Control {
    /// The control entry of a block; `None` if it has none.
    ///
    /// # Errors
    /// When it has one that is malformed, or not alone in its block.
    pub(crate) fn of(block: &Block) -> Result<Option<Self>, MemberError> {
        let is_control = |kind| matches!(kind, Kind::GENESIS | Kind::INVITE | Kind::JOIN | Kind::REMOVE);
        if !block.entries().iter().any(|entry| is_control(entry.kind)) {
            return Ok(None);
        }
        let [entry] = block.entries() else { return Err(MemberError::NotAlone) };
        let payload = entry.payload().ok_or(MemberError::Malformed)?;
        let control = match entry.kind {
            Kind::GENESIS => Genesis::decode(payload).map(Self::Genesis),
            Kind::INVITE => Invite::decode(payload).map(Self::Invite),
            Kind::JOIN => Join::decode(payload).map(Self::Join),
            _ => Remove::decode(payload).map(Self::Remove),
        };
        control.map(Some).ok_or(MemberError::Malformed)
    }

    /// The blocks that it names.
    pub(crate) fn names(&self) -> Vec<BlockHash> {
        match self {
            Self::Genesis(_) => Vec::new(),
            Self::Invite(invite) => alloc::vec![invite.join],
            Self::Join(join) => alloc::vec![join.invite],
            Self::Remove(remove) => alloc::vec![remove.join, remove.rests],
        }
    }
}

/// Why a block breaks a rule of who belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemberError {
    /// Something that begins a lane other than by joining.
    #[error("a lane of this ledger begins with a join, or with its genesis")]
    Stranger,
    /// What a control entry rests on is not before it.
    #[error("a control entry is earlier than a block on which it rests")]
    Early,
    /// A first entry where it is not the first.
    #[error("a genesis or a join begins a lane, this one is further up")]
    NotFirst,
    /// Another ledger's genesis.
    #[error("the genesis is not this ledger's")]
    WrongGenesis,
    /// A control entry among others.
    #[error("a control entry is not alone in its block")]
    NotAlone,
    /// Bytes that say nothing.
    #[error("a control entry is malformed")]
    Malformed,
    /// The named block is not what it should be.
    #[error("a control entry rests on a block that is not what it needs")]
    WrongBlock,
    /// The invite's key did not sign.
    #[error("the invite's key did not sign this join")]
    WrongSignature,
    /// Too late.
    #[error("the invite had expired")]
    Expired,
    /// A join rests on its invite, and on nothing else.
    #[error("a join has its invite for its only parent")]
    JoinParents,
    /// The author's role is too low.
    #[error("the author's role does not allow this")]
    NotAllowed,
    /// Members between this one and the founder.
    #[error("more than {INVITE_DEPTH} members stand between a newcomer and the founder")]
    TooDeep,
}

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

    pub(crate) fn is_empty(&self) -> bool {
        self.joins.is_empty()
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

    /// The joins by an invite, in ledger order.
    pub(crate) fn by(&self, invite: &BlockHash) -> impl Iterator<Item = &OrderKey> {
        self.uses.get(invite).into_iter().flatten()
    }

    /// Whether somebody came in by an invite that is closed, or of a frozen lane, or that others have used up before in ledger
    /// order: then its join counts only with a voucher, as a block of a frozen lane does.
    pub(crate) fn needs_voucher(&self, member: &Member, frozen: &Freezes) -> bool {
        let Some(by) = member.by else { return false };
        let in_zone = |node: &NodeId, height: u64| frozen.get(node).is_some_and(|frozen| *frozen <= height);
        let uses = by.uses as usize;
        let counts = |other: &Member| !in_zone(&other.node, 1);
        let before = |key: &&OrderKey| **key < member.key && self.get(&key.hash).is_none_or(counts);
        in_zone(&by.key, 1)
            || in_zone(&by.inviter, by.height)
            || self.by(&by.invite).filter(before).take(uses).count() == uses
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

    /// Checks a block by what it says about who belongs; its parents are here. Returns the newcomer of a first block.
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
            Some(Control::Remove(remove)) => {
                let rests = match self.get(&remove.rests) {
                    Some(_) => None,
                    None => named(&remove.rests)?,
                };
                self.check_remove(header.author, &remove, rests.as_ref())
            }
            // What a reader's lane holds above its join is its leaving.
            None if header.height == 2 => match header.parents.first().and_then(|join| self.get(join)) {
                Some(member) if member.role == Role::Reader => Err(MemberError::NotAllowed),
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
        if header.timestamp >= invite.expires && invite.expires != Timestamp::MAX {
            return Err(MemberError::Expired);
        }
        let inviter = self.get(&invite.join).ok_or(MemberError::WrongBlock)?;
        if inviter.depth >= INVITE_DEPTH {
            return Err(MemberError::TooDeep);
        }
        let (inviter, height) = (at.author, at.height);
        let by = By { invite: join.invite, key: invite.key, uses: invite.uses, inviter, join: invite.join, height };
        key::verify(&invite.key, &join_message(ledger, &join.invite, &header.author), &join.signature)
            .map_err(|_| MemberError::WrongSignature)?;
        Ok((invite.role, by))
    }

    fn author(&self, author: NodeId, join: &BlockHash) -> Result<&Member, MemberError> {
        self.get(join).filter(|member| member.node == author).ok_or(MemberError::WrongBlock)
    }

    fn check_invite(&self, author: NodeId, invite: &Invite) -> Newcomer {
        if self.author(author, &invite.join)?.role.may_invite(invite.role) {
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
        let below = self.chain(target).skip(1).any(|above| above.node == author);
        let allowed = match own.role {
            _ if is_founder => false,
            Role::Owner => !self.chain(own).skip(1).any(|above| above.node == target.node),
            Role::Admin => below || leaves,
            Role::Member | Role::Reader => leaves && least == 1,
        };
        if (remove.height == 0) != (least == 0) {
            return Err(MemberError::Malformed);
        }
        if allowed { Ok(None) } else { Err(MemberError::NotAllowed) }
    }
}

/// Why bytes are no proof of a removal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// Not a list of blocks.
    #[error("not a removal: {0}")]
    Malformed(&'static str),
    /// One of the blocks is wrong.
    #[error("a block of the removal is wrong: {0}")]
    Block(#[from] BlockError),
    /// One of the blocks breaks a rule.
    #[error("a block of the removal breaks a rule: {0}")]
    Rule(#[from] MemberError),
}

/// Proof that a member was removed, or an invite closed, by one who may: the blocks on which that rests, from the genesis on,
/// and the block of the removal last. It can be checked by anybody, with nothing else at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    ledger: LedgerId,
    blocks: Vec<Block>,
    remove: Remove,
}

impl Removal {
    /// The proof that these blocks make. Their signatures are the caller's duty.
    ///
    /// # Errors
    /// When a block breaks a rule, or the last one is no removal.
    pub(crate) fn new(blocks: Vec<Block>) -> Result<Self, RemovalError> {
        let Some(last) = blocks.last() else { return Err(RemovalError::Malformed("it has no blocks")) };
        let ledger = last.header().ledger;
        let Ok(Some(Control::Remove(remove))) = Control::of(last) else {
            return Err(RemovalError::Malformed("its last block is no removal"));
        };
        let mut members = Members::default();
        for (i, block) in blocks.iter().enumerate() {
            if block.header().ledger != ledger {
                return Err(RemovalError::Malformed("its blocks are of several ledgers"));
            }
            let named = |hash: &BlockHash| {
                Ok::<_, core::convert::Infallible>(blocks[..i].iter().find(|block| block.hash() == *hash).cloned())
            };
            let Ok(checked) = members.check(&ledger, block, named);
            checked?.into_iter().for_each(|member| members.insert(*member));
        }
        Ok(Self { ledger, blocks, remove })
    }

    /// The ledger of the removal.
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The lane that it freezes, and from which height on.
    pub fn lane(&self) -> (NodeId, u64) {
        self.remove.freeze()
    }

    /// The block of the removal.
    pub fn hash(&self) -> BlockHash {
        self.blocks[self.blocks.len() - 1].hash()
    }

    /// When.
    pub fn time(&self) -> Timestamp {
        self.blocks[self.blocks.len() - 1].header().timestamp
    }

    /// Who removes.
    pub fn author(&self) -> NodeId {
        self.blocks[self.blocks.len() - 1].header().author
    }

    /// `[block …]` in canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        infallible(Encoder::new(&mut bytes).array(self.blocks.len() as u64).map(|_| ()));
        self.blocks.iter().for_each(|block| bytes.extend_from_slice(block.bytes()));
        bytes
    }

    /// Reads a proof and checks all of it, the signatures included.
    ///
    /// # Errors
    /// When the bytes are not canonical, a signature is wrong, or a block breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, RemovalError> {
        let removal = Self::parse(bytes)?;
        for block in &removal.blocks {
            block.clone().verify()?;
        }
        Ok(removal)
    }

    /// Reads a proof whose signatures were checked before.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RemovalError> {
        let malformed = |_| RemovalError::Malformed("wrong or truncated CBOR");
        let mut decoder = Decoder::new(bytes);
        let count = decoder.array().map_err(malformed)?.filter(|count| *count <= REMOVAL_BLOCKS as u64);
        let count = count.ok_or(RemovalError::Malformed("too many blocks"))?;
        let mut blocks = Vec::new();
        for _ in 0..count {
            let start = decoder.position();
            decoder.skip().map_err(malformed)?;
            blocks.push(Block::decode(&bytes[start..decoder.position()])?);
        }
        let removal = Self::new(blocks)?;
        if removal.encode() != bytes {
            return Err(RemovalError::Malformed("not the canonical encoding of its blocks"));
        }
        Ok(removal)
    }
}

fn join_message(ledger: &LedgerId, invite: &BlockHash, newcomer: &NodeId) -> Vec<u8> {
    [LABEL_JOIN, ledger.as_bytes(), invite.as_bytes(), newcomer.as_bytes()].concat()
}

fn encode(
    write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<core::convert::Infallible>>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    infallible(write(&mut Encoder::new(&mut bytes)));
    bytes
}

fn begin(d: &mut Decoder<'_>, len: u64) -> Option<()> {
    (d.array().ok()?? == len && d.u64().ok()? == VERSION).then_some(())
}

fn node(d: &mut Decoder<'_>) -> Option<NodeId> {
    Some(NodeId::from_bytes(d.bytes().ok()?.try_into().ok()?))
}

fn block(d: &mut Decoder<'_>) -> Option<BlockHash> {
    Some(BlockHash::from_bytes(d.bytes().ok()?.try_into().ok()?))
}
