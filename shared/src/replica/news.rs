//! That those who look at the list of members are told to look again.

use alloc::vec::Vec;

use super::Replica;
use crate::{effect::Effect, store::Store};

/// What changed in this turn.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Who belongs, or what somebody is called.
    pub(super) members: bool,
    /// The keys that are here.
    pub(super) keys: bool,
    /// Whether this node wrote at the end of the last turn.
    writes: bool,
}

impl<S: Store> Replica<S> {
    /// Whether this node writes, when nothing is waited for.
    fn writes(&self) -> bool {
        self.is_writer() && !self.lacks_key()
    }

    /// What the driver finds at the start is no news.
    pub(super) fn note_writes(&mut self) {
        self.news.writes = self.writes();
    }

    pub(super) fn tell_news(&mut self, effects: &mut Vec<Effect>) {
        let writes = self.writes();
        let News { members, keys, writes: before } =
            core::mem::replace(&mut self.news, News { writes, ..News::default() });
        if members || keys || writes != before {
            effects.push(Effect::MembersChanged { writes, keys });
        }
    }
}
