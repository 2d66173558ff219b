//! The seeds of each target, made from real blocks, frames and the golden vectors.

use serde_json::Value;
use shared::{
    Address, Announcement, Block, BlockHash, Directed, Entry, Evidence, Keyring, Kind, Timestamp, VerifiedBlock,
    announce::encode_addresses,
    directed::Route,
    members::{Genesis, Invite, Join, Remove, Role},
    parts::{Part, Parts},
    view::{self, Cursor},
    wire::{BUCKETS, Envelope, Head, Message, PROTOCOL_VERSION},
};

use crate::{
    made::{START, block, data, envelope, key, ledger, node_id},
    mutate::Random,
    targets::SECRETS,
};

/// Streams of choices for a structured target.
const STREAMS: usize = 12;

/// The seeds of the target of this name; the same at every call.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = match target {
        "block" => blocks().iter().map(|block| block.bytes().to_vec()).chain(vectors()).collect(),
        "evidence" => vec![proof()].into_iter().chain(vectors()).collect(),
        "frame" => frames().into_iter().chain(vectors()).collect(),
        "text" => texts(),
        "event" => lines(EVENTS),
        "config" => lines(SETTINGS),
        "control" => lines(CONTROL),
        "blocks_file" => files(),
        "socket" => sockets(),
        "secrets" => secrets(),
        name => streams(name),
    };
    seeds.retain(|seed| !seed.is_empty());
    seeds
}

fn lines(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn streams(name: &str) -> Vec<Vec<u8>> {
    let mut random = Random::new(name.bytes().map(u64::from).sum());
    (1..=STREAMS).map(|n| (0..n * 48).map(|_| random.number() as u8).collect()).collect()
}

/// A lane of three blocks and one of another author that rests on it, a whole one and one without its payloads.
fn blocks() -> Vec<Block> {
    let first = block(1, 1, START, Vec::new(), data(b"{\"text\":\"note\"}"));
    let second = block(1, 2, START + 10, vec![first.hash()], data(b"1"));
    let mut parents = vec![first.hash(), second.hash()];
    parents.sort_unstable();
    let third = block(2, 1, START + 20, parents, Entry::new(Kind::VOUCHER, [1; 16], Vec::new()));
    let fourth = block(2, 2, START + 30, vec![third.hash()], Entry::new(Kind::EVIDENCE, [2; 16], proof()));
    let whole: Vec<Block> = [first, second, third, fourth].into_iter().map(VerifiedBlock::into_inner).collect();
    let stripped = whole[0].strip();
    whole.into_iter().chain([stripped]).collect()
}

fn proof() -> Vec<u8> {
    let half = |payload: &[u8]| block(4, 1, START, Vec::new(), data(payload));
    Evidence::new(&half(b"1"), &half(b"2")).map(|evidence| evidence.encode()).unwrap_or_default()
}

/// Every byte string of the golden vectors.
fn vectors() -> Vec<Vec<u8>> {
    let Ok(vectors) = serde_json::from_str::<Value>(include_str!("../../vectors/vectors.json")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    collect(&vectors, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(parts)) = fields.get("bytes") {
                let digits: String = parts.iter().filter_map(|part| part.get(0)?.as_str()).collect();
                let bytes = digits.as_bytes().chunks(2);
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                found.extend(bytes.map(byte).collect::<Option<Vec<u8>>>());
            }
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// What the target chooses by its first byte: golden vectors of rekeys, keyrings, sealed payloads and tokens, and control entries.
fn secrets() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for text in [include_str!("../../vectors/seal.json"), include_str!("../../vectors/token.json")] {
        serde_json::from_str::<Value>(text).iter().for_each(|vectors| collect(vectors, &mut found));
    }
    let invite = BlockHash::from_bytes([5; 32]);
    let control = [
        Genesis { founder: node_id(1), salt: [2; 16] }.encode(),
        Invite { join: invite, key: node_id(2), role: Role::Admin, uses: 3, expires: Timestamp::MAX }.encode(),
        Join::sign(key(2), &ledger(), invite, &node_id(3)).encode(),
        Remove { join: invite, member: node_id(3), rests: invite, height: 1 }.encode(),
    ];
    let kinds = 0..=SECRETS;
    found.iter().chain(&control).flat_map(|bytes| kinds.clone().map(|kind| [&[kind][..], bytes].concat())).collect()
}

/// A frame of each message, and one of several.
fn frames() -> Vec<Vec<u8>> {
    let encoded: Vec<Vec<u8>> = blocks().iter().map(|block| block.bytes().to_vec()).collect();
    let hash = BlockHash::from_bytes([5; 32]);
    let head = Head { author: node_id(1), tips: vec![(3, hash), (4, hash)], frozen: 2 };
    let at = Timestamp::from_micros(START).unwrap_or_default();
    let endpoint = format!("iroh:{}?ip=192.168.1.5:3000&relay=https://relay.example/", "0a".repeat(32));
    let addresses: Vec<Address> = ["ws://192.168.1.5:3000", &endpoint].iter().flat_map(|a| a.parse()).collect();
    let said = Announcement::sign(&ledger(), key(1), at, encode_addresses(&addresses));
    let messages = [
        Message::Hello { version: PROTOCOL_VERSION, ledger: ledger(), node: node_id(1), nonce: [1; 32] },
        Message::Auth { signature: [2; 64] },
        Message::NodeAnnounce { nodes: vec![node_id(1), node_id(2)], announcements: vec![said] },
        Message::Prune,
        Message::Graft,
        Message::LedgerSyncRequest { digest: [3; 32], parts: Vec::new() },
        Message::LedgerSyncRequest { digest: [3; 32], parts: vec![Part { digest: [4; 16], heights: vec![1] }; 16] },
        Message::LedgerSyncResponse { heads: vec![head.clone()], last: true, parts: None },
        Message::LedgerSyncResponse { heads: vec![head], last: true, parts: Parts::from_bits(&[5; 2]) },
        Message::announce(encoded[..2].to_vec(), 7),
        Message::EntryRequest { blocks: vec![hash] },
        Message::answer(encoded[..1].to_vec()),
        Message::Have { lanes: vec![(node_id(1), 300)] },
        Message::Credit { frames: 1, bytes: 70_000 },
        Message::Evidence { proof: proof() },
        Message::Membership { blocks: encoded[..2].to_vec() },
        Message::NodeGone { nodes: vec![(node_id(2), at), (node_id(3), Timestamp::default())] },
        Message::Bye,
        Message::NodeListRequest { known: (0..BUCKETS as u64).collect() },
    ];
    let frames: Vec<Vec<u8>> = messages.into_iter().map(|message| envelope(node_id(1), message)).collect();
    let frames: Vec<Vec<u8>> = frames.into_iter().chain([directed()]).collect();
    let together = [&frames[3][..], &frames[8], &frames[9]].concat();
    frames.into_iter().chain([together]).collect()
}

/// A message from one node to one other.
fn directed() -> Vec<u8> {
    let route = Route { message_id: [1; 16], sender: node_id(1), recipient: node_id(2) };
    let (at, random) = (Timestamp::from_micros(START).unwrap_or_default(), ([3; 32], [4; 16]));
    let directed = Directed::new(&ledger(), key(1), &route, at, random, b"hello").expect("the key is a good one");
    let Route { message_id, sender, recipient } = route;
    Envelope { message_id, sender, recipient: Some(recipient), message: Message::Directed(directed) }.encode()
}

fn texts() -> Vec<Vec<u8>> {
    let mut texts = vec![
        node_id(1).to_string(),
        format!("{}-7-255", node_id(1)),
        Cursor { node: node_id(1), seq: 9, entries: 3 }.to_string(),
    ];
    for block in blocks() {
        texts.extend(
            view::views(&block, &block.hash(), &Keyring::default())
                .iter()
                .filter_map(|view| Some(view::to_line(view).ok()?.to_string())),
        );
    }
    texts.into_iter().map(String::into_bytes).collect()
}

/// A file of blocks as `cairn export` writes it, and batches.
fn files() -> Vec<Vec<u8>> {
    let blocks = blocks();
    let part = |block: &Block| [&(block.bytes().len() as u32).to_be_bytes()[..], block.bytes()].concat();
    let parts: Vec<u8> = blocks[..3].iter().flat_map(part).collect();
    let head = format!("cairn-blocks 1 {}\n", ledger()).into_bytes();
    let whole = [&head[..], &parts, &[0; 4], &3_u64.to_be_bytes()].concat();
    vec![whole, [&head[..], &[0; 12]].concat(), parts, head]
}

/// Choices of the socket target: the first byte says how the rest is sent.
fn sockets() -> Vec<Vec<u8>> {
    let events = EVENTS.iter().map(|event| [b"\x02\x0142", event.as_bytes(), b"\n421", event.as_bytes()].concat());
    let polled = EVENTS.iter().take(3).map(|event| [b"\x0142", event.as_bytes(), b"\x1e3"].concat());
    let raw = [
        &b"\x00GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\x00GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x00GET /socket.io/?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"\x00POST /control/import HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nContent-Length: 4\r\n\r\nabcd",
        b"\x02\x0042[\"p2p_message\",{\"message_type\":\"NodeListRequest\"}]\n42/p2p,[\"p2p_message\",{}]",
        b"\x02\x01451-[\"message\",{\"_placeholder\":true,\"num\":0}]\nb4AAAA\n41\n40",
        b"\x03\x81\x82\x00\x00\x00\x0040\x89\x80\x00\x00\x00\x00\x88\x82\x00\x00\x00\x00\x03\xe8",
        b"\x03\x01\x81\x00\x00\x00\x004\x80\x81\x00\x00\x00\x000\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    ];
    events.chain(polled).chain(raw.into_iter().map(<[u8]>::to_vec)).collect()
}

const EVENTS: &[&str] = &[
    "[\"message\",{\"a\":[1,null]}]",
    "[\"ping\"]",
    "[\"message-with-ack\",1.50]",
    "[\"add_ledger_entry\",{\"message\":\"hello\",\"timestamp\":1}]",
    "[\"append_many\",[1,{\"a\" :2},null]]",
    "[\"get_ledger\",{\"after\":null,\"limit\":10}]",
    "[\"get_known_nodes\"]",
    "[\"get_status\",null]",
    "[\"get_entry\",{\"id\":\"8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c-1-0\"}]",
    "[\"subscribe\",{\"cursor\":\"8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c@1+1\",\"keep_live\":true}]",
    "[\"p2p_message\",{\"message_type\":\"x\"}]",
];

const SETTINGS: &[&str] = &[
    "relay = [\"wss://relay.example/a/\", \"ws://127.0.0.1:8787\"]\nledger = \"garden\"\nlisten = \"[::1]:0\"\ndata = \"x\"\n",
    "relay = \"https://r.example\"",
    "ws://a:1,wss://b/c http://d\ngarden\nx\n127.0.0.1:3000\n",
    "ws://[::1]:8787/x/y/",
];

const CONTROL: &[&str] = &[
    "{\"address\":\"127.0.0.1:3000\",\"token\":\"00ff\"}",
    "cairn node key 1 0101010101010101010101010101010101010101010101010101010101010101\n",
];
