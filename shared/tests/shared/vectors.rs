//! The golden vectors, natively. `client/wasm` reads the same file in wasm.

use crate::common::{at, key, node_id};
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::{
    Announcement, Beacon, Block, BlockHash, Entry, Header, Kind, NodeId, Succession, VerifiedBlock,
    block::open_ledger,
    key::verify,
    members::{Genesis, Join},
    wire::{Message, auth_message, decode_frame},
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/vectors.json")).unwrap()
}

/// The bytes that a list of [hexadecimal digits, what they are] stands for.
fn bytes(fields: &Value) -> Vec<u8> {
    fields.as_array().unwrap().iter().flat_map(|field| hex::decode(field[0].as_str().unwrap()).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn an_open_ledger_is_the_hash_of_its_genesis() {
    let open = &vectors()["open_ledger"];
    assert_eq!(open_ledger(text(&open["name"])).to_string(), text(&open["id"]));
}

#[test]
fn header_and_entries_make_the_block() {
    let vectors = vectors();
    let (header, entry, block) = (&vectors["header"], &vectors["entry"], &vectors["block"]);
    let parents = header["parents"].as_array().unwrap().iter().map(|p| text(p).parse().unwrap()).collect();
    let header = Header {
        ledger: open_ledger("commons"),
        author: text(&vectors["key"]["public"]).parse().unwrap(),
        height: header["height"].as_u64().unwrap(),
        timestamp: at(header["timestamp"].as_u64().unwrap()),
        parents,
    };
    let first = Entry::new(Kind::DATA, [0x11; 16], text(&entry["payload"]).as_bytes().to_vec());
    assert_eq!(hex::encode(first.commitment().0), text(&entry["commitment"]));
    let entries = vec![first, Entry::new(Kind::DATA, [0x22; 16], b"42".to_vec())];
    let made = VerifiedBlock::sign(header, entries, &key(1));
    assert_eq!(hex::encode(made.bytes()), hex::encode(bytes(&block["bytes"])));
    assert_eq!(made.hash().to_string(), text(&block["hash"]));
    assert_eq!(hex::encode(made.signature()), text(&block["signature"]));
    let hashes: Vec<String> = made.entry_hashes().iter().map(BlockHash::to_string).collect();
    assert_eq!(hashes, block["entry_hashes"].as_array().unwrap().iter().map(text).collect::<Vec<_>>());
}

#[test]
fn the_block_reads_back_and_its_parts_are_where_they_should_be() {
    let vectors = vectors();
    let encoded = bytes(&vectors["block"]["bytes"]);
    let block = Block::decode(&encoded).unwrap().verify().unwrap();
    let (header, entry) = (bytes(&vectors["header"]["bytes"]), bytes(&vectors["entry"]["bytes"]));
    assert_eq!(encoded[1..=header.len()], header);
    assert_eq!(encoded[header.len() + 2..][..entry.len()], entry);
    let stripped = Block::decode(&bytes(&vectors["stripped_block"]["bytes"])).unwrap();
    assert_eq!(block.strip(), stripped);
    assert_eq!(stripped.hash(), block.hash());
}

#[test]
fn envelopes_read_back() {
    let vectors = vectors();
    let block = bytes(&vectors["block"]["bytes"]);
    let [me, peer] = ["key", "peer"].map(|who| text(&vectors[who]["public"]).parse::<NodeId>().unwrap());
    for vector in vectors["envelopes"].as_array().unwrap() {
        let encoded = bytes(&vector["bytes"]);
        let envelope = decode_frame(&encoded).unwrap().pop().unwrap();
        assert_eq!(envelope.encode(), encoded);
        assert_eq!(envelope.sender, me);
        match envelope.message {
            Message::Hello { version, ledger, node, nonce } => {
                assert_eq!((version, ledger, node, nonce), (1, open_ledger("commons"), me, [0x33; 32]));
            }
            Message::Auth { signature } => {
                let message = auth_message(&open_ledger("commons"), (&me, &[0x33; 32]), (&peer, &[0x44; 32]));
                assert_eq!(hex::encode(&message), text(&vector["signed"]));
                assert_eq!(key(1).sign(&message), signature);
            }
            Message::EntryAnnounce { blocks, remaining } => {
                assert_eq!((blocks, remaining), (vec![block.clone().into()], 3))
            }
            other => panic!("no vector is {other:?}"),
        }
    }
}

/// Those that are not in the vectors.
#[test]
fn what_is_signed_and_hashed_has_a_label_and_its_ledger() {
    let genesis = Genesis { founder: node_id(1), salt: [5; 16] };
    let digest = Sha256::new().chain_update(b"cairn/genesis/1").chain_update(genesis.encode()).finalize();
    // The first byte says that it has members.
    assert_eq!(genesis.ledger().as_bytes()[1..], digest[1..]);
    let (ledger, invite, node) = (genesis.ledger(), BlockHash::from_bytes([7; 32]), node_id(2));
    let join = Join::sign(&key(3), &ledger, invite, &node);
    let parts: [&[u8]; 4] = [b"cairn/join/1", ledger.as_bytes(), invite.as_bytes(), node.as_bytes()];
    assert_eq!(verify(&node_id(3), &parts.concat(), &join.signature), Ok(()));
    let said = Announcement::sign(&ledger, &key(2), at(9), b"where it is".to_vec());
    let parts: [&[u8]; 5] = [b"cairn/announce/1", ledger.as_bytes(), node.as_bytes(), &9_u64.to_be_bytes(), &said.body];
    assert_eq!(verify(&node, &parts.concat(), &said.signature), Ok(()));
}

/// The worked example of the protocol's description is the golden vector.
#[test]
fn the_description_shows_the_same_bytes() {
    let page = include_str!("../../../docs/PROTOCOL.md");
    let vectors = vectors();
    for field in vectors["block"]["bytes"].as_array().unwrap() {
        assert!(page.contains(text(&field[0])), "docs/PROTOCOL.md lacks {field}");
    }
    for hash in ["/open_ledger/id", "/header/hash_0", "/block/entry_hashes/0", "/block/hash", "/entry/commitment"] {
        let hash = text(vectors.pointer(hash).unwrap());
        assert!(page.contains(hash), "docs/PROTOCOL.md lacks {hash}");
    }
}

#[test]
fn what_is_shown_on_a_local_network_is_what_the_description_shows() {
    let page = include_str!("../../../docs/PROTOCOL.md");
    let Beacon { tag, id } = Beacon::new(&open_ledger("commons"), &[7; 32], [9; 16]);
    for part in [hex::encode(tag), hex::encode(id)] {
        assert!(page.contains(&part), "docs/PROTOCOL.md lacks {part}");
    }
}

#[test]
fn the_old_key_speaks_for_the_new_one() {
    let vectors = vectors();
    let encoded = bytes(&vectors["succession"]["bytes"]);
    let (ledger, new) = (open_ledger("commons"), text(&vectors["peer"]["public"]).parse().unwrap());
    assert_eq!(hex::encode(Succession::sign(&key(1), &ledger, &new).encode()), hex::encode(&encoded));
    assert_eq!(Succession::decode(&encoded).unwrap().verify(&ledger, &new), Ok(()));
}
