//! The JSON text side of a hub: anything that clients may write, in a lobby and in a room with a ledger.

use std::sync::OnceLock;

use serde_json::Value;
use shared::{
    Block, BlockHash, Effect, Input, LinkId, MemoryStore, Replica,
    effect::Added,
    limits::{TEXT_FAULTS, TEXT_FRAME_BYTES},
    room::{Room, RoomEffect},
};

use crate::{
    allocation::at_most,
    choices::Choices,
    made::{self, START, at, config, data, node_id},
};

/// Clients of one room.
const CLIENTS: usize = 6;
const TYPES: &[&str] = &[
    "NodeAnnounce",
    "NodeListRequest",
    "EntryRequest",
    "LedgerSyncRequest",
    "EntryAnnounce",
    "EntryResponse",
    "LedgerSyncResponse",
    "x",
    "",
];

fn history() -> &'static MemoryStore {
    static STORE: OnceLock<MemoryStore> = OnceLock::new();
    STORE.get_or_init(|| {
        let mut effects = Vec::new();
        let opened = Replica::restore(config(0, false, 1), MemoryStore::default(), &[], at(START), &mut effects);
        let Ok(mut replica) = opened else { panic!("an empty store opens") };
        let mut parent = Vec::new();
        for height in 1..=8 {
            let block = made::block(1, height, START + height, parent, data(b"{\"text\":\"note\"}"));
            parent = vec![block.hash()];
            let input = Input::import(0, vec![block.bytes().to_vec()]);
            replica.handle(at(START), input, &mut effects).expect("a store in memory never fails");
        }
        replica.commit(at(START), &mut effects).expect("a store in memory never fails");
        assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Added(_))).count(), 8);
        replica.store().clone()
    })
}

/// What one frame may allocate at once. Before anybody else is there, nothing is copied that is as long as the frame,
/// except what the frame itself makes long: a field or an id of that length, which is refused.
fn allowed(text: &str) -> usize {
    64 * 1024 + 2 * text.len().min(TEXT_FRAME_BYTES)
}

pub(super) fn room(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut effects = Vec::new();
    let opened = Replica::restore(config(0, false, 1), history().clone(), &[], at(START + 100), &mut effects);
    let Ok(replica) = opened else { panic!("a replica refuses its own store") };
    let ledger = (choices.below(3) > 0).then_some(&replica);
    let mut room = Room::new(node_id(0), [7; 32], None).reaching_nodes();
    let mut closed = [false; CLIENTS];
    let mut faults = [0; CLIENTS];
    while !choices.is_empty() {
        let client = choices.below(CLIENTS);
        let link = LinkId(client as u64);
        let mut effects = Vec::new();
        match choices.below(10) {
            0 if !closed[client] => room.on_opened(link, &mut effects),
            1 => {
                room.on_closed(link);
                (closed[client], faults[client]) = (false, 0);
            }
            2 => {
                // A client comes back after hibernation, once, with whatever the driver kept.
                room.on_closed(link);
                room.restore(link, choices.bytes(200));
                (closed[client], faults[client]) = (false, 0);
            }
            3 => {
                let block = made::signed_block(&mut choices, &[]);
                if let Ok(block) = Block::decode(block.bytes()).and_then(Block::verify) {
                    let added = Added { seq: 1, block: block.into(), previous: BlockHash::from_bytes([1; 32]) };
                    room.on_added(&added, &mut effects);
                }
            }
            _ if closed[client] => {}
            what => {
                let text = if what == 4 { long(&mut choices) } else { frame(&mut choices, what < 6) };
                let alone = || room.on_text(link, &text, ledger, &mut effects);
                let Ok(()) = at_most(allowed(&text), "a text frame", alone);
            }
        }
        for effect in effects {
            check(&effect, &mut closed, &mut faults);
        }
    }
}

/// Text of any bytes, or an envelope whose fields are those of the protocol more often than not.
fn frame(choices: &mut Choices<'_>, raw: bool) -> String {
    if raw {
        return String::from_utf8_lossy(choices.bytes(2_000)).into_owned();
    }
    let id = |choices: &mut Choices<'_>| match choices.below(5) {
        0 => node_id(0).to_string(),
        1 => "a".repeat(choices.below(140)),
        2 => format!("{}-{}-{}", node_id(1), choices.number(), choices.number() as u32),
        3 => format!("{}-{}-0", node_id(1), choices.below(10)),
        _ => String::from_utf8_lossy(choices.bytes(20)).into_owned(),
    };
    let kind = TYPES[choices.below(TYPES.len())];
    let (sender, recipient, inner) = (id(choices), id(choices), id(choices));
    let recipient = if choices.below(2) == 0 { String::new() } else { recipient };
    let payload = match choices.below(7) {
        0 => serde_json::json!({ "node_id": inner }),
        1 => serde_json::json!({ "entry_id": inner }),
        2 => serde_json::json!({ "after": inner, "limit": choices.number() }),
        3 => serde_json::json!({ "after": null, "limit": choices.below(600) }),
        4 => serde_json::json!([inner, "x", "y"]),
        5 => serde_json::json!({}),
        _ => Value::from(choices.number()),
    };
    let envelope = serde_json::json!({
        "message_type": kind, "message_id": "m", "sender_id": sender, "recipient_id": recipient, "payload": payload,
    });
    envelope.to_string()
}

/// A frame about as long as the limit.
fn long(choices: &mut Choices<'_>) -> String {
    let len = [70_000, TEXT_FRAME_BYTES - 200, TEXT_FRAME_BYTES, TEXT_FRAME_BYTES + 1][choices.below(4)];
    let mut fill = ["x", "\\n", "[", "1,"][choices.below(4)].repeat(len);
    fill.truncate(len);
    match choices.below(5) {
        0 => fill,
        1 => format!("{{\"{fill}\":1}}"),
        2 => format!("{{\"message_type\":\"{fill}\"}}"),
        3 => format!(
            "{{\"message_type\":\"NodeAnnounce\",\"message_id\":\"m\",\"sender_id\":\"\",\"recipient_id\":\"\",\"payload\":{{\"node_id\":\"{fill}\"}}}}"
        ),
        _ => format!(
            "{{\"message_type\":\"x\",\"message_id\":\"m\",\"sender_id\":\"\",\"recipient_id\":\"\",\"payload\":[{fill}0]}}"
        ),
    }
}

fn check(effect: &RoomEffect, closed: &mut [bool; CLIENTS], faults: &mut [u32; CLIENTS]) {
    match effect {
        RoomEffect::Send { link, text } => {
            let client = link.0 as usize;
            assert!(!closed[client], "a closed client is sent something");
            let envelope: Value = serde_json::from_str(text).expect("an envelope is JSON");
            assert_eq!(envelope.as_object().map_or(0, serde_json::Map::len), 5, "{text:.200}");
            if envelope["message_type"] == "Error" && envelope["sender_id"] == node_id(0).to_string() {
                let code = envelope["payload"]["code"].as_str().unwrap_or_default();
                faults[client] += u32::from(["too_large", "malformed", "bad_payload"].contains(&code));
                assert!(faults[client] <= TEXT_FAULTS, "{} faults", faults[client]);
                assert!(text.len() < 2_000, "an error of {} bytes", text.len());
            }
        }
        RoomEffect::Forward { link, text, .. } => {
            assert!(!closed[link.0 as usize], "a closed client sends something");
            assert!(text.len() <= TEXT_FRAME_BYTES, "a message of {} bytes", text.len());
        }
        RoomEffect::Close { link, .. } => closed[link.0 as usize] = true,
        RoomEffect::Remember { state, .. } => assert!(state.len() <= 2_000, "a state of {} bytes", state.len()),
    }
}
