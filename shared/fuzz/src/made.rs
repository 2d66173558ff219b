//! Keys, blocks and messages made from choices: well-formed where it matters, so that what lies behind a signature is
//! reached too.

use std::sync::OnceLock;

use shared::{
    Address, Announcement, BlockHash, Config, Directed, Entry, Header, Key, Kind, LedgerId, NodeId, Timestamp,
    VerifiedBlock,
    announce::encode_addresses,
    block::open_ledger,
    parts::{Part, Parts},
    wire::{Envelope, Head, Message, auth_message},
};

use crate::choices::Choices;

/// Numbers of the keys that honest nodes have; those above are liars'.
pub(crate) const HONEST: u8 = 3;
/// How many keys there are.
pub(crate) const KEYS: u8 = 8;

/// The time at which every target begins, µs.
pub(crate) const START: u64 = 1_000_000_000_000_000;

pub(crate) fn key(n: u8) -> &'static Key {
    static KEYS_MADE: OnceLock<Vec<Key>> = OnceLock::new();
    let keys = KEYS_MADE.get_or_init(|| (1..=KEYS).map(|n| Key::from_secret(&[n; 32])).collect());
    &keys[usize::from(n % KEYS)]
}

pub(crate) fn node_id(n: u8) -> NodeId {
    key(n).node()
}

pub(crate) fn ledger() -> LedgerId {
    static LEDGER: OnceLock<LedgerId> = OnceLock::new();
    *LEDGER.get_or_init(|| open_ledger("fuzz"))
}

pub(crate) fn config(n: u8, writes: bool, start: u8) -> Config {
    // Who writes meets others directly, too.
    Config { writes, meets: writes, ..Config::new(ledger(), key(n).clone(), [start; 32]) }
}

pub(crate) fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
}

/// A block with one entry.
pub(crate) fn block(author: u8, height: u64, micros: u64, parents: Vec<BlockHash>, entry: Entry) -> VerifiedBlock {
    let header = Header { ledger: ledger(), author: node_id(author), height, timestamp: at(micros), parents };
    VerifiedBlock::sign(header, vec![entry], key(author))
}

pub(crate) fn data(payload: &[u8]) -> Entry {
    Entry::new(Kind::DATA, [7; 16], payload.to_vec())
}

/// What a liar signs: a header of any numbers, parents among those named, entries of any kind.
pub(crate) fn signed_block(choices: &mut Choices<'_>, known: &[BlockHash]) -> VerifiedBlock {
    let author = HONEST + choices.byte() % (KEYS - HONEST);
    let mut parents: Vec<BlockHash> = (0..choices.below(18).min(16))
        .map(|_| match choices.below(3) {
            0 => BlockHash::from_bytes(choices.array()),
            _ => choices.pick(known).copied().unwrap_or(BlockHash::from_bytes([9; 32])),
        })
        .collect();
    if choices.below(4) > 0 {
        let skip = usize::from(choices.below(2) == 1).min(parents.len());
        parents[skip..].sort_unstable();
        parents.dedup();
    }
    let ledger = if choices.below(16) == 15 { LedgerId::from_bytes(choices.array()) } else { ledger() };
    let timestamp = match choices.below(3) {
        0 => at(START + choices.number() % 1_000_000_000),
        1 => at(choices.number()),
        _ => at(0),
    };
    let header = Header { ledger, author: node_id(author), height: choices.number(), timestamp, parents };
    let entries = (0..=choices.below(4))
        .map(|_| Entry::new(Kind(choices.below(6) as u16), choices.array(), choices.bytes(200).to_vec()))
        .collect();
    VerifiedBlock::sign(header, entries, key(author))
}

fn node(choices: &mut Choices<'_>) -> NodeId {
    match choices.below(3) {
        0 => NodeId::from_bytes(choices.array()),
        _ => node_id(choices.byte()),
    }
}

fn hash(choices: &mut Choices<'_>, known: &[BlockHash]) -> BlockHash {
    match choices.below(3) {
        0 => BlockHash::from_bytes(choices.array()),
        _ => choices.pick(known).copied().unwrap_or(BlockHash::from_bytes([9; 32])),
    }
}

/// A message of any type with any numbers. `blocks`: encoded blocks to choose from.
pub(crate) fn message(choices: &mut Choices<'_>, known: &[BlockHash], blocks: &[Vec<u8>]) -> Message {
    let some_blocks = |choices: &mut Choices<'_>| -> Vec<Vec<u8>> {
        (0..choices.below(4))
            .map(|_| match choices.below(4) {
                0 => choices.bytes(300).to_vec(),
                1 => signed_block(choices, known).bytes().to_vec(),
                _ => choices.pick(blocks).cloned().unwrap_or_default(),
            })
            .collect()
    };
    match choices.below(17) {
        0 => {
            Message::Hello { version: choices.number(), ledger: ledger(), node: node(choices), nonce: choices.array() }
        }
        1 => Message::Auth { signature: choices.array() },
        2 => {
            let nodes = (0..choices.below(5)).map(|_| node(choices)).collect();
            let announcements = (0..choices.below(3)).map(|_| announcement(choices)).collect();
            Message::NodeAnnounce { nodes, announcements }
        }
        3 => {
            let parts = choices.pick(&[0, 16, 256]).copied().unwrap_or_default();
            let heights = (0..choices.below(4)).map(|_| choices.number()).collect();
            let part = Part { digest: choices.array(), heights };
            Message::LedgerSyncRequest { digest: choices.array(), parts: vec![part; parts] }
        }
        4 => {
            let head = |choices: &mut Choices<'_>| Head {
                author: node(choices),
                tips: (0..choices.below(4)).map(|_| (choices.number(), hash(choices, known))).collect(),
                frozen: choices.number(),
            };
            let heads = (0..choices.below(6)).map(|_| head(choices)).collect();
            Message::LedgerSyncResponse { heads, last: choices.below(3) > 0, parts: Parts::from_bits(choices.bytes(4)) }
        }
        5 => Message::announce(some_blocks(choices), choices.number()),
        6 => Message::EntryRequest { blocks: (0..choices.below(65)).map(|_| hash(choices, known)).collect() },
        7 => Message::answer(some_blocks(choices)),
        8 => Message::Have { lanes: (0..choices.below(5)).map(|_| (node(choices), choices.number())).collect() },
        9 => Message::Credit { frames: choices.number(), bytes: choices.number() },
        10 => Message::Prune,
        11 => Message::Graft,
        12 => {
            let gone = |choices: &mut Choices<'_>| {
                (node(choices), Timestamp::from_micros(choices.number()).unwrap_or_default())
            };
            Message::NodeGone { nodes: (0..choices.below(5)).map(|_| gone(choices)).collect() }
        }
        13 => Message::Bye,
        14 => Message::NodeListRequest { known: (0..choices.below(65)).map(|_| choices.number()).collect() },
        15 => Message::Directed(directed(choices)),
        _ => Message::Evidence { proof: evidence(choices) },
    }
}

/// Something that a liar says, of any length, and that it did not seal.
fn directed(choices: &mut Choices<'_>) -> Directed {
    let at = Timestamp::from_micros(START + u64::from(choices.byte())).unwrap_or_default();
    Directed { at, body: choices.bytes(300).to_vec(), signature: choices.array() }
}

/// What a liar says of where somebody is, mostly itself.
fn announcement(choices: &mut Choices<'_>) -> Announcement {
    let signer = key(1 + choices.below(KEYS.into()) as u8);
    let at = Timestamp::from_micros(START + u64::from(choices.byte())).unwrap_or_default();
    let endpoint = format!("iroh:{}?ip=10.0.0.2:1&ip=127.0.0.1:1", "0a".repeat(32));
    let addresses = ["ws://10.0.0.1:1", "ws://127.0.0.1:1", "other:way", &endpoint];
    let addresses: Vec<Address> = addresses.iter().flat_map(|a| a.parse()).collect();
    let body = if choices.below(2) == 0 { choices.bytes(200).to_vec() } else { encode_addresses(&addresses) };
    let said = Announcement::sign(&ledger(), signer, at, body);
    if choices.below(4) == 0 { Announcement { node: node(choices), ..said } } else { said }
}

/// A proof that a liar forked its lane, or something like one.
fn evidence(choices: &mut Choices<'_>) -> Vec<u8> {
    if choices.below(3) == 0 {
        return choices.bytes(400).to_vec();
    }
    let (author, height) = (choices.byte(), choices.number().max(1));
    let half = |choices: &mut Choices<'_>| {
        let parents = if height > 1 { vec![BlockHash::from_bytes(choices.array())] } else { Vec::new() };
        block(author, height, START, parents, data(choices.bytes(20)))
    };
    let (a, b) = (half(choices), half(choices));
    shared::Evidence::new(&a, &b).map_or_else(|_| a.bytes().to_vec(), |evidence| evidence.encode())
}

/// One envelope from this node to whoever is at the other end.
pub(crate) fn envelope(sender: NodeId, message: Message) -> Vec<u8> {
    Envelope { message_id: [1; 16], sender, recipient: None, message }.encode()
}

/// The proof of a peer's key: what it says after it has read the other side's greeting.
pub(crate) fn proof(peer: u8, nonce: &[u8; 32], other: &NodeId, challenge: &[u8; 32]) -> Message {
    let message = auth_message(&ledger(), (&node_id(peer), nonce), (other, challenge));
    Message::Auth { signature: key(peer).sign(&message) }
}
