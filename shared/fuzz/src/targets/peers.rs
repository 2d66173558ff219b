//! Frames from outside to a real replica: from strangers, who prove nothing, and from a peer that has proved its key.

use std::sync::OnceLock;

use shared::{
    BlockHash, Config, Effect, Input, Key, LinkId, MemoryStore, Page, ReadStore, Replica, Role,
    limits::{FRAME_BYTES, HANDSHAKE},
    wire::{Message, PROTOCOL_VERSION, decode_frame},
};

use super::decoders::BEFORE_PROOF;
use crate::{
    allocation::at_most,
    choices::Choices,
    made::{self, START, at, config, data, key, ledger, node_id},
    net::{check_caps, snapshot},
};

/// The peer's key.
const PEER: u8 = 5;

/// A short history, and its blocks.
fn history() -> &'static (MemoryStore, Vec<Vec<u8>>) {
    static HISTORY: OnceLock<(MemoryStore, Vec<Vec<u8>>)> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let (replica, blocks) = write_history();
        (replica.store().clone(), blocks)
    })
}

/// A replica with that history.
fn hub(writes: bool, dials: u32, successor: Option<Key>) -> (Replica<MemoryStore>, Vec<Vec<u8>>) {
    let (store, blocks) = history();
    let mut effects = Vec::new();
    let config = Config { dials, successor, ..config(0, writes, 1) };
    let replica = Replica::restore(config, store.clone(), &[], at(START + 100), &mut effects);
    let Ok(replica) = replica else { panic!("a replica refuses its own store") };
    (replica, blocks.clone())
}

fn write_history() -> (Replica<MemoryStore>, Vec<Vec<u8>>) {
    let mut blocks = Vec::new();
    let mut parent: Vec<BlockHash> = Vec::new();
    for height in 1..=6 {
        let block = made::block(4, height, START + 10 * height, parent, data(b"\"note\""));
        parent = vec![block.hash()];
        blocks.push(block.bytes().to_vec());
    }
    let mut effects = Vec::new();
    let replica = Replica::restore(config(0, false, 1), MemoryStore::default(), &[], at(START + 100), &mut effects);
    let Ok(mut replica) = replica else { panic!("an empty store opens") };
    turn(&mut replica, START + 100, vec![Input::import(0, blocks.clone())]);
    assert_eq!(replica.totals().blocks, 6);
    (replica, blocks)
}

pub(super) fn turn(replica: &mut Replica<MemoryStore>, now: u64, inputs: Vec<Input>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for input in inputs {
        replica.handle(at(now), input, &mut effects).expect("a store in memory never fails");
    }
    replica.commit(at(now), &mut effects).expect("a store in memory never fails");
    check_caps(replica, &effects);
    effects
}

/// Frames of any bytes and size on links that have not proved a key: nothing large is allocated for them, and nothing of
/// them stays.
pub(super) fn stranger(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (mut replica, blocks) = hub(true, 0, None);
    let before = snapshot(&replica);
    let (mut now, mut next) = (START + 1_000, 0);
    while !choices.is_empty() {
        now += u64::from(choices.byte());
        let link = LinkId(if next == 0 { 0 } else { choices.below(next as usize) as u64 });
        let input = match choices.below(10) {
            0 => {
                next += 1;
                let role = if choices.below(2) == 0 { Role::Accepted } else { Role::Dialled };
                Input::relay_opened(LinkId(next - 1), role)
            }
            1 => Input::Frame { link, bytes: choices.bytes(1200).to_vec() },
            2 => Input::Frame { link, bytes: long(&mut choices) },
            3 | 4 => Input::Frame { link, bytes: greeting(&mut choices) },
            5 | 6 => {
                let count = 1 + choices.below(3);
                let messages = (0..count).map(|_| made::message(&mut choices, &[], &blocks));
                Input::Frame { link, bytes: messages.flat_map(|m| made::envelope(node_id(PEER), m)).collect() }
            }
            7 => Input::Ping { link },
            8 => Input::LinkClosed { link },
            _ => {
                now += choices.number() % (2 * HANDSHAKE);
                Input::Wake
            }
        };
        let effects = at_most(BEFORE_PROOF, "a link that has proved nothing", || turn(&mut replica, now, vec![input]));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::PeerUp { .. })), "a key was proved by chance");
    }
    assert!(replica.links().iter().all(|link| link.node.is_none()));
    assert!(before == snapshot(&replica), "a stranger left a trace");
    assert_eq!(replica.parked(), (0, 0));
}

/// A frame of up to [`FRAME_BYTES`], and a byte more.
fn long(choices: &mut Choices<'_>) -> Vec<u8> {
    let piece = choices.bytes(64);
    let len = [1024, 1025, 4096, 64 * 1024, FRAME_BYTES, FRAME_BYTES + 1][choices.below(6)];
    let mut frame = piece.repeat(len.checked_div(piece.len()).unwrap_or(0) + 1);
    frame.resize(len, 0x80);
    frame
}

fn greeting(choices: &mut Choices<'_>) -> Vec<u8> {
    let version = if choices.below(8) == 7 { choices.number() } else { PROTOCOL_VERSION };
    let node = if choices.below(8) == 7 { choices.byte() } else { PEER };
    let hello = Message::Hello { version, ledger: ledger(), node: node_id(node), nonce: choices.array() };
    let mut frame = made::envelope(node_id(PEER), hello);
    if choices.below(3) == 2 {
        frame.extend(made::envelope(node_id(PEER), Message::Auth { signature: choices.array() }));
    }
    frame
}

/// A link whose other side has proved its key and says anything at all.
pub(super) fn peer(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (mut replica, mut blocks) = {
        let (writes, dials) = (choices.below(2) == 0, choices.below(3) as u32);
        hub(writes, dials, (choices.below(2) == 0).then(|| key(7).clone()))
    };
    let mut now = START + 1_000;
    let mut next = 0;
    let mut link = None;
    let mut tip: Option<shared::VerifiedBlock> = None;
    for _ in 0..200 {
        if choices.is_empty() {
            break;
        }
        let Some(id) = link.filter(|id| replica.links().iter().any(|status| status.link == *id)) else {
            next += 1;
            link = Some(greet(&mut replica, LinkId(next), now, choices.below(2) == 0));
            continue;
        };
        now += choices.number() % 30_000_000;
        let known: Vec<BlockHash> = replica.heads().values().flatten().map(|(_, hash)| *hash).collect();
        let inputs = match choices.below(8) {
            0 => vec![if choices.below(4) == 0 { Input::DialFailed } else { Input::Wake }],
            1 => vec![Input::Append { token: 1, payloads: vec![choices.bytes(50).to_vec()] }],
            2 => vec![Input::Frame { link: id, bytes: choices.bytes(600).to_vec() }],
            3 => vec![if choices.below(2) == 0 { Input::Ping { link: id } } else { Input::Pong { link: id } }],
            4 => {
                // A lane of the peer's own, with a fork now and then.
                let (height, parents) = match tip.as_ref().filter(|_| choices.below(6) > 0) {
                    Some(tip) => (tip.header().height + 1, vec![tip.hash()]),
                    None => (1, Vec::new()),
                };
                let end = tip.as_ref().map_or(START, |tip| tip.end().micros());
                let block = made::block(PEER, height, end, parents, data(choices.bytes(30)));
                blocks.push(block.bytes().to_vec());
                tip = Some(block);
                let message = Message::announce(blocks.last().cloned().into_iter().collect(), choices.number());
                vec![Input::Frame { link: id, bytes: made::envelope(node_id(PEER), message) }]
            }
            _ => {
                let count = 1 + choices.below(3);
                let messages = (0..count).map(|_| made::message(&mut choices, &known, &blocks));
                vec![Input::Frame {
                    link: id,
                    bytes: messages.flat_map(|m| made::envelope(node_id(PEER), m)).collect(),
                }]
            }
        };
        turn(&mut replica, now, inputs);
    }
    check_whole(&replica);
}

/// Opens a link and proves the peer's key on it.
fn greet(replica: &mut Replica<MemoryStore>, link: LinkId, now: u64, dialled: bool) -> LinkId {
    let role = if dialled { Role::Dialled } else { Role::Accepted };
    let effects = turn(replica, now, vec![Input::relay_opened(link, role)]);
    let hello = effects.iter().find_map(|effect| match effect {
        Effect::Send { bytes, .. } => decode_frame(bytes).ok(),
        _ => None,
    });
    let Some(Message::Hello { node, nonce: challenge, .. }) = hello.map(|frame| frame[0].message.clone()) else {
        panic!("the first word is no greeting");
    };
    let nonce = [3; 32];
    let hello = Message::Hello { version: PROTOCOL_VERSION, ledger: ledger(), node: node_id(PEER), nonce };
    let proof = made::proof(PEER, &nonce, &node, &challenge);
    let frames = [hello, proof].map(|message| Input::Frame { link, bytes: made::envelope(node_id(PEER), message) });
    let effects = turn(replica, now, frames.into());
    assert!(effects.iter().any(|effect| matches!(effect, Effect::PeerUp { .. })), "the proof was not taken");
    link
}

/// What is stored is valid, rests on what is stored, and is counted right.
pub(super) fn check_whole(replica: &Replica<MemoryStore>) {
    let store = replica.store();
    let Ok(records) = store.after(None, Page { blocks: usize::MAX, bytes: usize::MAX });
    let (mut entries, mut bytes) = (0, 0);
    for record in &records {
        let block = shared::Block::decode(&record.bytes).and_then(shared::Block::verify);
        let block = block.expect("what a replica keeps is a valid block");
        assert_eq!(block.hash(), record.summary.hash);
        for parent in &block.header().parents {
            let Ok(parent) = store.summary(parent);
            assert!(
                parent.is_some_and(|parent| parent.end() <= block.header().timestamp),
                "a parent is missing or late"
            );
        }
        entries += u64::from(record.summary.entries);
        bytes += record.bytes.len() as u64;
    }
    let totals = replica.totals();
    assert_eq!((totals.blocks, totals.entries, totals.bytes), (records.len() as u64, entries, bytes));
}
