//! A liar that gives itself out for somebody else: its greeting names an honest member, and its proof is its own.

use alloc::vec::Vec;

use super::{World, machine::Kind, network::side, plan::Lie};
use crate::{
    effect::LinkId,
    wire::{Envelope, Message, decode_frame},
};

/// Of so many connections of a liar it tries this on one.
const MASKS: usize = 3;

impl World {
    /// What a machine's frame is once a liar has put its mask on.
    pub(super) fn masked(&mut self, number: usize, link: LinkId, frame: Vec<u8>) -> Vec<u8> {
        let (connection, _) = side(link);
        let masks = self.machines[number].kind == Kind::Liar
            && self.plan.lies.contains(&Lie::Nonsense)
            && !self.healed
            && connection.is_multiple_of(MASKS);
        if !masks {
            return frame;
        }
        let Ok(mut envelopes) = decode_frame(&frame) else { return frame };
        let name = self.machines[connection % self.plan.honest].key.node();
        let mut greets = false;
        for envelope in &mut envelopes {
            match &mut envelope.message {
                Message::Hello { node, .. } => (*node, greets) = (name, true),
                Message::Auth { .. } => {}
                _ => continue,
            }
            envelope.sender = name;
        }
        if greets {
            self.report.lie(Lie::Nonsense);
        }
        envelopes.iter().flat_map(Envelope::encode).collect()
    }
}
