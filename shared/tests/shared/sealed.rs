//! The golden vectors of sealed payloads, names, closed invites and invite tokens.

use std::collections::BTreeSet;

use crate::common::{at, key, node_id};
use serde_json::Value;
use shared::{
    BlockHash, EpochKey, Keyring, NodeId, Place, Rekey, Token, TokenError, block::open_ledger, key::Ephemeral,
    members::Remove, seal,
};
use zeroize::Zeroizing;

fn seal_vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/seal.json")).unwrap()
}

fn names_vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/names.json")).unwrap()
}

fn token_vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/token.json")).unwrap()
}

/// The bytes that a list of [hexadecimal digits, what they are] stands for.
fn bytes(fields: &Value) -> Vec<u8> {
    fields.as_array().unwrap().iter().flat_map(|field| hex::decode(field[0].as_str().unwrap()).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn secret(value: &Value) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(hex::decode(text(value)).unwrap().try_into().unwrap())
}

fn epoch_key(value: &Value) -> EpochKey {
    EpochKey::from_secret(secret(&value["key"]))
}

#[test]
fn a_payload_is_sealed_and_opened() {
    let vectors = seal_vectors();
    let (sealed, new) = (&vectors["sealed"], epoch_key(&vectors["epoch"]));
    assert_eq!(new.id().to_string(), text(&vectors["epoch"]["id"]));
    let place = Place { ledger: open_ledger("commons"), author: node_id(1), height: 7, index: 1 };
    let plaintext = text(&sealed["plaintext"]).as_bytes();
    let made = seal::seal(&new, &place, [0x11; 16], plaintext);
    assert_eq!(hex::encode(&made), hex::encode(bytes(&sealed["bytes"])));
    assert_eq!(seal::open(&new, &place, &made).unwrap(), plaintext);
}

#[test]
fn a_nickname_is_a_sealed_json_string() {
    let (vectors, new) = (names_vectors(), epoch_key(&seal_vectors()["epoch"]));
    let vector = &vectors["nickname"];
    let place = Place { ledger: open_ledger("commons"), author: node_id(1), height: 8, index: 0 };
    let plaintext = text(&vector["plaintext"]);
    assert_eq!(serde_json::to_string(text(&vector["name"])).unwrap(), plaintext);
    let made = seal::seal(&new, &place, [0x11; 16], plaintext.as_bytes());
    assert_eq!(hex::encode(made), hex::encode(bytes(&vector["bytes"])));
}

#[test]
fn a_closed_invite_has_a_lane_of_its_own() {
    let vectors = names_vectors();
    let (vector, join) = (&vectors["closed"], BlockHash::from_bytes([1; 32]));
    let rests: BlockHash = text(&vector["invite"]).parse().unwrap();
    let close = Remove { join, member: node_id(1), rests, height: 0 };
    assert_eq!(close.freeze(), (text(&vector["lane"]).parse().unwrap(), 1));
    assert_eq!(Remove { height: 1, ..close }.freeze(), (node_id(1), 2));
}

#[test]
fn a_node_and_an_ephemeral_key_agree() {
    let vectors = seal_vectors();
    let vector = &vectors["agreement"];
    let half = Ephemeral::from_secret(secret(&vector["ephemeral_secret"]));
    assert_eq!(hex::encode(half.public()), text(&vector["ephemeral"]));
    let node: NodeId = text(&vector["node"]).parse().unwrap();
    for agreed in [half.agree(&node), key(1).agree(half.public())] {
        assert_eq!(hex::encode(*agreed.unwrap()), text(&vector["agreed"]));
    }
}

#[test]
fn a_new_key_is_handed_to_two_members() {
    let vectors = seal_vectors();
    let (ledger, new) = (open_ledger("commons"), epoch_key(&vectors["epoch"]));
    let previous: Vec<_> = vectors["previous"].as_array().unwrap().iter().map(epoch_key).collect();
    let encoded = bytes(&vectors["rekey"]["bytes"]);
    let (members, random) = ([node_id(1), node_id(2)].into(), secret(&vectors["agreement"]["ephemeral_secret"]));
    let made = Rekey::for_members(&ledger, &new, &previous, &members, random).unwrap();
    assert_eq!(made.iter().map(|rekey| hex::encode(rekey.encode())).collect::<Vec<_>>(), [hex::encode(&encoded)]);
    let read = Rekey::decode(&encoded).unwrap();
    for n in [1, 2] {
        assert_eq!(read.open_as(&key(n), &ledger), Ok(Some(new.clone())));
    }
    let ids = |keys: Vec<EpochKey>| keys.iter().map(EpochKey::id).collect::<BTreeSet<_>>();
    assert_eq!(ids(read.previous(&new)), ids(previous));
}

#[test]
fn a_keyring_is_stored() {
    let vectors = seal_vectors();
    let mut ring = Keyring::default();
    ring.add(epoch_key(&vectors["epoch"])).unwrap();
    ring.add(epoch_key(&vectors["previous"][0])).unwrap();
    ring.set_current(&epoch_key(&vectors["epoch"]).id()).unwrap();
    assert_eq!(hex::encode(&*ring.encode()), hex::encode(bytes(&vectors["keyring"]["bytes"])));
}

#[test]
fn a_token_is_made_and_read() {
    let vectors = token_vectors();
    let vector = &vectors["token"];
    let token = Token {
        genesis: hex::decode(text(&vector["genesis"])).unwrap(),
        invite: text(&vector["invite"]).parse::<BlockHash>().unwrap(),
        end: at(vector["end"].as_u64().unwrap()),
        secret: secret(&vector["secret"]),
        key: Some(epoch_key(vector)),
        relays: vector["relays"].as_array().unwrap().iter().map(|relay| text(relay).into()).collect(),
    };
    assert_eq!(*token.encode().unwrap(), text(&vector["text"]));
    let least = Token { genesis: vec![], end: at(0), key: None, relays: vec![], ..token.clone() };
    assert_eq!(*least.encode().unwrap(), text(&vectors["least"]["text"]));
    for way in [text(&vector["text"]), text(&vector["link"])] {
        assert_eq!(Token::parse(way).unwrap().encode(), token.encode());
    }
}

#[test]
fn a_newer_token_is_told_from_a_damaged_one() {
    let newer = Token::parse(text(&token_vectors()["newer"]["text"]));
    assert_eq!(newer.map(|_| ()), Err(TokenError::Version(2)));
}

/// The worked examples of the protocol's description are the golden vectors.
#[test]
fn the_description_shows_the_same_bytes() {
    let page = include_str!("../../../docs/PROTOCOL.md");
    let (seal, names, token) = (seal_vectors(), names_vectors(), token_vectors());
    for fields in
        [&names["nickname"]["bytes"], &seal["sealed"]["bytes"], &seal["rekey"]["bytes"], &token["token"]["bytes"]]
    {
        for field in fields.as_array().unwrap() {
            assert!(page.contains(text(&field[0])), "docs/PROTOCOL.md lacks {field}");
        }
    }
    let whole = [
        &seal["epoch"]["id"],
        &seal["sealed"]["associated"],
        &seal["agreement"]["montgomery"],
        &seal["agreement"]["agreed"],
        &seal["rekey"]["wrapping_key"],
        &seal["rekey"]["previous_wrapping_key"],
        &names["closed"]["lane"],
        &token["token"]["link"],
    ];
    for value in whole {
        assert!(page.contains(text(value)), "docs/PROTOCOL.md lacks {value}");
    }
}
