//! Who gets what at a door: strangers who know the ledger's id and try to get in, and what honest machines send to those who
//! do not belong.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    vec::Vec,
};

use super::{World, machine::Kind as MachineKind, network::side};
use crate::{
    block::{Block, Entry, Header, Kind, VerifiedBlock},
    effect::{Effect, LinkId},
    id::{BlockHash, NodeId},
    key::Key,
    members::{Invite, Join, Role},
    proofs::Proof,
    store::{Page, ReadStore},
    time::Timestamp,
    wire::{Envelope, Message, decode_frame},
};

/// Stands apart from the keys of others.
const FORGED_KEY: u64 = 3_000_000;

impl World {
    /// What a stranger's frame is once it has tried something.
    pub(super) fn disguised(&mut self, number: usize, link: LinkId, frame: Vec<u8>) -> Vec<u8> {
        if !self.machines[number].stranger {
            return frame;
        }
        let Ok(mut envelopes) = decode_frame(&frame) else { return frame };
        let (connection, _) = side(link);
        let trick = connection % 6;
        if trick == 1 {
            return self.behind_a_mask(envelopes, connection);
        }
        let shows = envelopes.iter().any(|envelope| matches!(envelope.message, Message::Membership { .. }));
        if !shows {
            return frame;
        }
        let blocks = match trick {
            2 => self.anothers_membership(),
            3 => self.forged_invite(number),
            4 => self.forged_join(number),
            5 => {
                self.report.deed("stranger_asks_at_once");
                let hash = self.somebodys_block();
                envelopes.retain(|envelope| !matches!(envelope.message, Message::Membership { .. }));
                let sender = self.machines[number].key.node();
                let asks = [
                    Message::EntryRequest { blocks: hash.into_iter().collect() },
                    Message::LedgerSyncRequest { digest: [0; 32], parts: Vec::new() },
                ];
                let asks = asks.map(|message| Envelope { message_id: [1; 16], sender, recipient: None, message });
                envelopes = asks.into_iter().chain(envelopes).collect();
                return envelopes.iter().flat_map(Envelope::encode).collect();
            }
            _ => {
                self.report.deed("stranger_without_membership");
                Vec::new()
            }
        };
        for envelope in &mut envelopes {
            if let Message::Membership { blocks: shown } = &mut envelope.message {
                shown.clone_from(&blocks);
            }
        }
        envelopes.iter().flat_map(Envelope::encode).collect()
    }

    /// It says that it is a member, and proves its own key.
    fn behind_a_mask(&mut self, mut envelopes: Vec<Envelope>, connection: usize) -> Vec<u8> {
        let name = self.machines[connection % self.plan.honest].key.node();
        for envelope in &mut envelopes {
            if let Message::Hello { node, .. } = &mut envelope.message {
                *node = name;
                self.report.deed("stranger_behind_a_mask");
            }
            envelope.sender = name;
        }
        envelopes.iter().flat_map(Envelope::encode).collect()
    }

    fn somebodys_block(&mut self) -> Option<BlockHash> {
        let number = self.random.index(self.plan.honest);
        let hashes: Vec<BlockHash> = self.machines[number].disk.hashes().into_iter().collect();
        self.random.pick(&hashes).copied()
    }

    /// Somebody's first block and what that rests on, the founder's first.
    fn anothers_membership(&mut self) -> Vec<Vec<u8>> {
        self.report.deed("stranger_with_anothers_membership");
        let number = self.random.index(self.plan.honest);
        let durable = self.machines[number].disk.durable();
        let mut blocks = Vec::new();
        let first = |node: &NodeId| durable.lane(node, 1, Page::ONE).ok()?.into_iter().next();
        let mut next = first(&self.machines[number].key.node());
        while let Some(record) = next.take() {
            let Ok(block) = Block::decode(&record.bytes) else { break };
            blocks.push(record.bytes);
            let Some(invite) = block.header().parents.first() else { break };
            let Ok(Some(invite)) = durable.block(invite) else { break };
            next = first(&invite.summary.author);
            blocks.push(invite.bytes);
        }
        blocks.reverse();
        blocks
    }

    /// The founder's first block, an invite that the stranger wrote itself, and its join by that.
    fn forged_invite(&mut self, number: usize) -> Vec<Vec<u8>> {
        self.report.deed("stranger_with_a_forged_invite");
        let mut blocks = self.anothers_membership();
        let Some(Ok(first)) = blocks.first().map(|bytes| Block::decode(bytes)) else { return blocks };
        let (key, secret) = (self.machines[number].key.clone(), self.key(FORGED_KEY));
        let payload =
            Invite { join: first.hash(), key: secret.node(), role: Role::Owner, uses: 9, expires: Timestamp::MAX };
        let (ledger, author, parents) = (self.ledger, key.node(), alloc::vec![first.hash()]);
        let header = Header { ledger, author, height: 2, timestamp: first.end(), parents };
        let entry = Entry::new(Kind::INVITE, self.random.bytes(), payload.encode());
        let invite = VerifiedBlock::sign(header, alloc::vec![entry], &key);
        let join = self.join_by(&key, &secret, invite.hash(), invite.end());
        blocks.truncate(1);
        blocks.extend([invite.bytes().to_vec(), join]);
        blocks
    }

    /// A true invite, and a join that its key did not sign.
    fn forged_join(&mut self, number: usize) -> Vec<Vec<u8>> {
        self.report.deed("stranger_with_a_forged_join");
        let mut blocks = self.anothers_membership();
        blocks.pop();
        let Some(Ok(invite)) = blocks.last().map(|bytes| Block::decode(bytes)) else { return blocks };
        let (key, secret) = (self.machines[number].key.clone(), self.key(FORGED_KEY));
        blocks.push(self.join_by(&key, &secret, invite.hash(), invite.end()));
        blocks
    }

    fn join_by(&mut self, key: &Key, secret: &Key, invite: BlockHash, end: Timestamp) -> Vec<u8> {
        let join = Join::sign(secret, &self.ledger, invite, &key.node());
        join.block(self.ledger, key, end, end, self.random.bytes()).bytes().to_vec()
    }

    /// Whoever is no member by what a machine knows hears nothing from it but its greeting and its proof.
    pub(super) fn check_doors(&mut self, number: usize, effects: &[Effect]) {
        if self.machines[number].kind == MachineKind::Liar {
            return;
        }
        let mut came: BTreeMap<LinkId, NodeId> = BTreeMap::new();
        let mut closed: BTreeSet<LinkId> = BTreeSet::new();
        for effect in effects {
            match effect {
                Effect::Close { link, .. } => _ = closed.insert(*link),
                Effect::PeerUp { link, node } => _ = came.insert(*link, *node),
                _ => {}
            }
        }
        for effect in effects {
            let Effect::Send { link, bytes } = effect else { continue };
            let before = self.machines[number].up.get(link).map(|(node, _)| *node);
            let node = came.get(link).copied().or(before);
            // What was said in the turn in which it became known that somebody does not belong was said before.
            let was_in = node.is_some() && closed.contains(link);
            let welcome = was_in || node.is_some_and(|node| self.is_welcome(number, *link, &node));
            let (connection, side) = side(*link);
            let peer = self.connections[connection].ends[1 - side].machine;
            let said = if welcome { None } else { self.said_too_much(bytes, number, peer) };
            self.check("outsiders_get_nothing", said.is_none(), |_| {
                format!(
                    "machine {number} says {} to {node:?} on {link:?}, who does not belong",
                    said.unwrap_or_default()
                )
            });
        }
    }

    /// Whether a node may have what a machine has, by what that knows.
    fn is_welcome(&self, number: usize, link: LinkId, node: &NodeId) -> bool {
        let Some(replica) = &self.machines[number].replica else { return false };
        // Once it is known, it stays so.
        if replica.is_removed(node) || self.machines[number].knows_removed.contains(node) {
            return false;
        }
        let (connection, side) = side(link);
        let stranger = self.machines[self.connections[connection].ends[1 - side].machine].stranger;
        // Whom a machine dials it was told to trust with what a relay sees.
        if replica.has_come_in(node) || side == 0 {
            return !stranger || side == 0;
        }
        let genuine = self.group.as_ref().and_then(|group| group.genuine.get(node));
        let join = genuine.and_then(|bytes| Block::decode(bytes).ok());
        // Of the founder nobody may know who has lost the ledger; it shows its first block.
        let founder = self.machines[0].papers.as_ref().is_some_and(|papers| papers.join.is_none());
        match join {
            Some(join) => !replica.turns_away(&join),
            None => founder && self.machines[0].key.node() == *node,
        }
    }

    /// The first thing in a frame that is not for everybody.
    fn said_too_much(&self, bytes: &[u8], number: usize, peer: usize) -> Option<&'static str> {
        // It may have another key by now.
        let own = |node: NodeId| self.had_key(peer, &node);
        let own_removal = |proof: &[u8]| match Proof::decode(proof) {
            Some(Proof::Removal(removal)) => own(removal.lane().0),
            _ => false,
        };
        // Who is not in yet begins, where it is linked directly: with its own first block.
        let first = |blocks: &[Vec<u8>]| {
            let own = |bytes: &Vec<u8>| Block::decode(bytes).is_ok_and(|it| self.had_key(number, &it.header().author));
            blocks.len() <= 1 && blocks.iter().all(own)
        };
        let too_much = |message: &Message| match message {
            Message::Membership { blocks } => (!first(blocks)).then_some("how it came in"),
            Message::Hello { .. } | Message::Auth { .. } | Message::Bye => None,
            Message::Evidence { proof } => (!own_removal(proof)).then_some("evidence"),
            Message::EntryAnnounce { .. } | Message::EntryResponse { .. } => Some("blocks"),
            Message::LedgerSyncRequest { .. } | Message::LedgerSyncResponse { .. } => Some("heads"),
            Message::NodeAnnounce { .. } => Some("who is there"),
            _ => Some("something"),
        };
        decode_frame(bytes).unwrap_or_default().iter().find_map(|envelope| too_much(&envelope.message))
    }

    /// No stranger has a block.
    pub(super) fn check_strangers(&mut self) {
        let has = |machine: &super::machine::Machine| machine.stranger && !machine.disk.hashes().is_empty();
        let holder = self.machines.iter().position(has);
        self.check("strangers_have_nothing", holder.is_none(), |_| format!("machine {holder:?} has blocks"));
    }
}
