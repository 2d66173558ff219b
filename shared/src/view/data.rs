//! What the view of an entry shows of its payload.

use alloc::{
    borrow::ToOwned,
    boxed::Box,
    string::{String, ToString},
};

use serde_json::{Value, json, value::RawValue};

use crate::{
    block::{Block, Kind},
    erase::Erase,
    evidence::Evidence,
    members::{Genesis, Invite, Join, Remove},
    names,
    seal::{Keyring, Place, Rekey},
    succession::Succession,
    time::Timestamp,
};

/// The fields of a view that come from its payload.
pub(super) struct Data {
    pub(super) data: Box<RawValue>,
    pub(super) payload_hex: Option<String>,
    pub(super) sealed: bool,
}

impl Data {
    /// What is shown of entry `index` of a block.
    pub(super) fn new(block: &Block, index: usize, keys: &Keyring) -> Self {
        let entry = &block.entries()[index];
        let Some(payload) = entry.payload() else { return Self::of(null(), None) };
        if names::is_sealed(&block.header().ledger, entry.kind) {
            return match keys.open(&Place::of(block, index), payload) {
                Ok(opened) => Self::of_author(&opened),
                Err(_) => Self { sealed: true, ..Self::of(null(), Some(payload)) },
            };
        }
        match said(block, entry.kind, payload) {
            // The proof itself, or the name of the key that signed, is not in what is said.
            Said::Part(value) => Self::of(json_of(&value), Some(payload)),
            Said::All(value) => Self::of(json_of(&value), None),
            Said::Nonsense => Self::of(null(), Some(payload)),
            Said::Author => Self::of_author(payload),
        }
    }

    /// The words of an author: JSON, or whatever bytes they are.
    fn of_author(payload: &[u8]) -> Self {
        match core::str::from_utf8(payload).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok()) {
            Some(data) => Self::of(data, None),
            None => Self::of(null(), Some(payload)),
        }
    }

    fn of(data: Box<RawValue>, payload: Option<&[u8]>) -> Self {
        let payload_hex = payload.filter(|payload| !payload.is_empty()).map(hex::encode);
        Self { data, payload_hex, sealed: false }
    }
}

/// What a payload says to whoever reads the ledger.
enum Said {
    /// All that is in it.
    All(Value),
    /// This, and more.
    Part(Value),
    /// Nothing, though its kind has a form.
    Nonsense,
    /// It is its author's, and has no form that is known here.
    Author,
}

fn said(block: &Block, kind: Kind, payload: &[u8]) -> Said {
    let header = block.header();
    let all = |value: Option<Value>| value.map_or(Said::Nonsense, Said::All);
    match kind {
        Kind::EVIDENCE => Evidence::decode(payload).map_or(Said::Nonsense, |evidence| {
            let (author, height) = evidence.lane();
            let blocks = evidence.blocks().each_ref().map(|block| shown(&block.hash()));
            Said::Part(json!({ "author": shown(&author), "height": height, "blocks": blocks }))
        }),
        Kind::SUCCESSION => match Succession::decode(payload) {
            Ok(succession) if succession.verify(&header.ledger, &header.author).is_ok() => {
                let signature = hex::encode(succession.signature);
                Said::Part(json!({ "node": shown(&succession.old), "signature": signature }))
            }
            _ => Said::Nonsense,
        },
        Kind::ERASE => all(Erase::decode(payload).map(|erase| json!({ "entry": shown(&erase.entry) }))),
        _ if !header.ledger.has_members() => Said::Author,
        Kind::GENESIS => all(Genesis::decode(payload).map(|genesis| json!({ "founder": shown(&genesis.founder) }))),
        Kind::INVITE => all(Invite::decode(payload).map(|invite| {
            let expires = (invite.expires != Timestamp::MAX).then(|| shown(&invite.expires));
            let (key, role) = (shown(&invite.key), invite.role.name());
            json!({ "key": key, "role": role, "uses": invite.uses, "expires": expires })
        })),
        Kind::JOIN => all(Join::decode(payload).map(|join| json!({ "invite": shown(&join.invite) }))),
        Kind::REMOVE => all(Remove::decode(payload).map(|remove| match remove.height {
            0 => json!({ "invite": shown(&remove.rests), "closed": true }),
            height => json!({ "member": shown(&remove.member), "height": height }),
        })),
        Kind::REKEY => all(Rekey::decode(payload)
            .ok()
            .map(|rekey| json!({ "epoch": shown(&rekey.epoch()), "recipients": rekey.recipients().count() }))),
        _ => Said::Author,
    }
}

fn shown(value: &impl ToString) -> String {
    value.to_string()
}

fn json_of(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap_or_else(|_| null())
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}
