//! How a node comes in that was invited: another invite, where one does not let it in, and its name once it is in.

use std::collections::VecDeque;

use shared::{
    Address, BlockHash,
    effect::{Wish, WishError},
    limits,
    replica::LinkStatus,
};
use tokio::sync::oneshot;
use tracing::warn;

use super::{Command, Failure, HostError, Meeting, Shared, Start, Turns, Wishing};
use crate::{ledgers::Joining, store::SqliteStore};

/// What a replica is told when it begins, for one that takes the place of another.
pub(super) struct Again {
    dials: u32,
    far: bool,
    pub(super) peers: Vec<Address>,
    /// Who showed itself on the local network: that is told once.
    found: VecDeque<Vec<Address>>,
}

impl Again {
    pub(super) fn new(dials: u32, far: bool, peers: Vec<Address>) -> Self {
        Self { dials, far, peers, found: VecDeque::new() }
    }

    /// Somebody showed itself on the local network.
    pub(super) fn note_found(&mut self, addresses: &Vec<Address>) {
        if !self.found.contains(addresses) {
            self.found.truncate(limits::FOUND_NODES - 1);
            self.found.push_front(addresses.clone());
        }
    }
}

impl Turns {
    /// Another invite is to be tried after this turn, unless the node is in, or out for ever.
    pub(super) fn want_rejoin(&mut self, joining: Box<Joining>, reply: oneshot::Sender<()>) {
        let standing = self.replica.standing();
        if standing.role.is_none() && !standing.removed {
            self.rejoin = Some((joining, reply));
        } else {
            // Whoever asked may have gone.
            _ = reply.send(());
        }
    }

    /// Begins anew, with another invite to come in by. What was not in the ledger is forgotten, and links are opened again.
    pub(super) fn rejoined(mut self, joining: &Joining) -> Result<Self, HostError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let (key, _) = self.keys.keys();
        let start = joining.note(self.replica.store_mut(), &key, nonce).map_err(Failure::Store)?;
        self.replica.checkpoint()?;
        let path = self.replica.store().path().to_owned();
        let Self { replica, beginning, keys, again, dials, turns, .. } = self;
        // One connection at a time writes.
        drop(replica);
        let store = SqliteStore::open(&path, beginning.clone()).map_err(Failure::Store)?;
        let Again { dials: awaited, far, peers, found } = again;
        let meeting = dials.map(|dials| Meeting { peers, far, dials });
        let shared = Shared {
            events: self.events,
            last_seq: self.last_seq,
            identity: self.identity,
            keys: self.epoch_keys,
            received: self.received,
        };
        let start = Start { dials: awaited, meeting, ..start };
        let mut anew = Self::open(store, beginning, keys, start, shared)?;
        anew.turns = turns;
        for addresses in found {
            anew.command(Command::Found { addresses })?;
        }
        Ok(anew)
    }

    /// Gives this node the name that was wished for it, once it is in: also for somebody who is linked to it and has its join. Of two
    /// who come by one link for one, both may believe for a moment that they are in.
    pub(super) fn give_name(&mut self) -> Result<(), Failure> {
        if self.wanted_name.is_none() || self.replica.standing().role.is_none() {
            return Ok(());
        }
        let own = self.replica.height(&self.replica.node());
        let knows = |link: &LinkStatus| link.node.is_some() && link.progress.0 == link.progress.1 && link.holds >= own;
        match self.wanted_name.take_if(|_| own > 0 && self.replica.links().iter().any(knows)) {
            Some(name) => self.wish(Wish::Nickname { name: name.clone() }, Wishing::Name(name)),
            None => Ok(()),
        }
    }

    /// What became of the wish for a name. Where it was not the time, it is wished again.
    pub(super) fn named(&mut self, name: String, result: Result<BlockHash, WishError>) -> Result<(), Failure> {
        match result {
            Err(WishError::NotYet) => {
                self.wanted_name = Some(name);
                return Ok(());
            }
            Err(error) => warn!("this node does not get the name that it was to have: {error}"),
            Ok(_) => {}
        }
        Ok(self.replica.store_mut().set_wanted_name(None)?)
    }
}
