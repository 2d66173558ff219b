//! Links at the door, whose peers have yet to show that they belong, and the pace at which those are taken from who do.
//!
//! Strangers keep nobody out. Where one link too many comes, another one goes: of eight that are drawn, the one that came the
//! shortest way. To send away the oldest instead would shut the door on everybody whose proof takes longer than the flood
//! takes to fill it; to refuse the newest would shut it until the oldest are out of time. This way everybody has a chance at each try,
//! and more of one for each step that strangers do not take.

use super::{Replica, Timer, Turn};
use crate::{
    effect::{CloseReason, Effect, LinkId, LinkPath, Role},
    id::NodeId,
    limits::{ANSWERS, CREDIT_EVERY, CREDIT_SIGN, DOOR_LINKS, MEMBER_CREDIT_EVERY},
    pace::Pace,
    store::Store,
    sync::{Phase, Window},
    time::Timestamp,
    wire::Message,
};

/// The row of the store with who is in debt.
const DEBTS: &str = "debts";

impl<S: Store> Replica<S> {
    /// Takes a link to the door, and sends another one away if that is full.
    pub(super) fn enter_door(&mut self, id: LinkId, effects: &mut alloc::vec::Vec<Effect>) {
        if self.door.len() >= DOOR_LINKS {
            let draws = self.random.bytes32();
            let drawn = draws.chunks_exact(4).filter_map(|draw| {
                let number = u32::from_be_bytes(draw.try_into().ok()?) as usize;
                self.door.get(number % self.door.len()).copied()
            });
            if let Some(other) = drawn.min_by_key(|other| self.steps(*other)) {
                self.close(other, CloseReason::Full, effects);
            }
        }
        self.door.push(id);
    }

    pub(super) fn leave_door(&mut self, id: LinkId) {
        if let Some(place) = self.door.iter().position(|other| *other == id) {
            self.door.swap_remove(place);
        }
    }

    /// How far a link has come.
    fn steps(&self, id: LinkId) -> u8 {
        match self.links.get(&id).map(|link| &link.phase) {
            None | Some(Phase::Greeting) => 0,
            Some(Phase::Proving { .. }) => 1,
            Some(Phase::Joining { .. }) => 2,
            Some(Phase::Ready { .. }) => 3,
        }
    }

    /// Counts a frame to what its peer may send.
    pub(super) fn meter(
        &mut self,
        id: LinkId,
        len: usize,
        messages: u64,
        needs_credit: bool,
    ) -> Result<(), CloseReason> {
        let now = self.timers.now();
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if needs_credit {
            link.reading.add(len);
            // Whom this node dials may have slept, and forgotten what it had sent.
            if link.role == Role::Accepted && link.unpaid().is_beyond_credit(link.path) {
                return Err(CloseReason::Protocol("more blocks came than there was credit for"));
            }
        }
        // A relay tells a node of everybody.
        let paced = self.config.pace || (self.config.writes && link.path != LinkPath::Relay);
        let Some(peer) = link.peer().filter(|_| paced) else { return Ok(()) };
        if needs_credit {
            if self.config.pace {
                link.due = link.due.max(self.pace.on_frame(now, peer, len));
            }
        } else {
            let answers = if link.answerable > 0 { ANSWERS } else { 0 };
            link.answerable = link.answerable.saturating_sub(1);
            let unasked = messages.saturating_sub(answers);
            if unasked > 0 && !self.pace.on_chatter(now, peer, unasked) {
                return Err(CloseReason::TooFast);
            }
        }
        Ok(())
    }

    /// Counts a block to what its author may write, and lets the link that brought it wait for that.
    pub(super) fn meter_block(&mut self, author: NodeId, source: Option<LinkId>) {
        let now = self.timers.now();
        let link = source.and_then(|source| Some((source, self.links.get_mut(&source)?)));
        if self.config.pace {
            let due = self.pace.on_block(now, author);
            if let Some((_, link)) = link {
                link.due = link.due.max(due);
            }
        } else if let Some((id, link)) = link
            && self.config.writes
            && link.peer() == Some(author)
        {
            link.due = link.due.max(self.pace.on_own_block(now, id, author));
        }
    }

    /// When the next frame of a link is to be handed in, by the wall clock: at once, or when what the peer brought beyond its pace is
    /// paid for. `None`: when the last one is read to its end. Earlier it is read all the same, and the others wait.
    pub fn takes_next(&self, id: LinkId) -> Option<Timestamp> {
        let read = self.links.get(&id).is_none_or(|link| link.unread.is_empty());
        read.then(|| self.timers.at(self.timers.now().plus(self.rests_for(id))))
    }

    /// µs until what a peer brought beyond its pace is paid for, in which nothing more of it is read. A hub holds back its credit alone.
    pub(super) fn rests_for(&self, id: LinkId) -> u64 {
        let due = self.links.get(&id).filter(|_| !self.config.pace).map(|link| link.due);
        due.map_or(0, |due| due.since(self.timers.now()))
    }

    /// Gives back credit for what was taken, now or when it is due.
    pub(super) fn give_credit(&mut self, id: LinkId, taken: Window) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.owed.is_empty() && link.due <= self.timers.now() {
            self.say(id, Message::Credit { frames: taken.frames, bytes: taken.bytes });
            return;
        }
        link.owed.push_back((link.due, taken));
        self.await_credit(id);
    }

    fn await_credit(&mut self, id: LinkId) {
        let now = self.timers.now();
        let Some((due, _)) = self.links.get(&id).and_then(|link| link.owed.front()) else { return };
        if !self.timers.is_set(Timer::Credit(id)) {
            let least = if self.config.pace { CREDIT_EVERY } else { MEMBER_CREDIT_EVERY };
            self.timers.set(Timer::Credit(id), due.since(now).clamp(least, CREDIT_SIGN));
        }
    }

    /// Gives back what is due; if nothing is, the peer hears at least that it is not forgotten.
    pub(super) fn on_credit_due(&mut self, id: LinkId) {
        let now = self.timers.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut given = Window::default();
        while let Some((_, part)) = link.owed.pop_front_if(|(due, _)| *due <= now) {
            given.frames += part.frames;
            given.bytes += part.bytes;
        }
        self.say(id, Message::Credit { frames: given.frames, bytes: given.bytes });
        self.await_credit(id);
    }

    pub(super) fn load_debts(&mut self, now: Timestamp) -> Result<(), S::Error> {
        if self.config.pace
            && let Some(note) = self.store.meta(DEBTS)?
        {
            self.pace = Pace::restore(&note, self.timers.now(), now);
        }
        Ok(())
    }

    pub(super) fn note_debts(&mut self) -> Turn<S> {
        if self.config.pace
            && let Some(note) = self.pace.note(self.timers.now(), self.now)
        {
            self.store.set_meta(DEBTS, &note)?;
        }
        Ok(())
    }
}
