//! What members read and are called: names, sealed payloads in views, new keys on demand, and what a driver is told of it.

use crate::common::{
    Net, at,
    group::{HUB, block, bring_in, group, head, invite, join, ledger, wish},
    key, node_id,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::{
    AppendError, Block, EpochKey, Keyring, Kind, MemoryStore, NodeId, Place, ReadStore, Store, VerifiedBlock,
    effect::{Wish, WishError},
    limits::{NAME_JSON_BYTES, REKEYS},
    members::{MemberError, Role},
    names::NameError,
    seal,
    view::{self, Cursor, EntryView},
};
use zeroize::Zeroizing;

fn nickname(net: &mut Net, node: usize, name: &str) -> Result<(), WishError> {
    wish(net, node, Wish::Nickname { name: name.into() }).map(drop)
}

fn ledger_name(net: &mut Net, node: usize, name: &str) -> Result<(), WishError> {
    wish(net, node, Wish::LedgerName { name: name.into() }).map(drop)
}

/// What a node reads as the names of the ledger and of three nodes.
fn names(net: &Net, node: usize) -> [Option<String>; 4] {
    let replica = net.replica(node);
    let of = |number| replica.nickname(&node_id(number)).unwrap();
    [replica.ledger_name().unwrap(), of(1), of(2), of(3)]
}

fn some(names: [&str; 4]) -> [Option<String>; 4] {
    names.map(|name| (name != "-").then(|| name.to_owned()))
}

/// All entries of a kind, as they are shown with a node's keys.
fn shown(net: &Net, reader: usize, kind: &str) -> Vec<EntryView> {
    let replica = net.replica(reader);
    let mut views = view::after(replica.store(), None, usize::MAX, replica.keys()).unwrap();
    views.retain(|view| view.kind == kind);
    views
}

fn data(view: &EntryView) -> Value {
    serde_json::from_str(view.data.get()).unwrap()
}

fn current(net: &Net, node: usize) -> EpochKey {
    net.replica(node).keys().current().unwrap().clone()
}

/// A block of one entry of now, sealed with a key.
fn sealed(net: &Net, key: &EpochKey, author: u8, parent: &VerifiedBlock, kind: Kind, text: &[u8]) -> VerifiedBlock {
    let height = parent.header().height + 1;
    let place = Place { ledger: ledger(), author: node_id(author), height, index: 0 };
    let payload = seal::seal(key, &place, [3; 16], text);
    block(author, height, net.now.max(parent.end().micros()), &[parent.hash()], kind, &payload)
}

/// The last block of a lane.
fn last(net: &Net, node: usize, author: u8) -> VerifiedBlock {
    let record = net.replica(node).store().block(&head(net, node, author)).unwrap().unwrap();
    Block::decode(&record.bytes).unwrap().verify().unwrap()
}

#[test]
fn members_read_names_and_nobody_else_does() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    ledger_name(&mut net, 0, "the choir").unwrap();
    nickname(&mut net, 0, "Ada").unwrap();
    nickname(&mut net, 1, "Bo \"the\" bass").unwrap();
    net.settle();
    // Who comes in later reads what was before.
    bring_in(&mut net, 0, 2, Role::Reader);
    net.assert_equal();
    for node in 0..3 {
        assert_eq!(names(&net, node), some(["the choir", "Ada", "Bo \"the\" bass", "-"]), "{node}");
    }
    let list = net.replica(2).members().unwrap();
    let name = |number| list.iter().find(|member| member.node == node_id(number)).unwrap().name.as_deref();
    assert_eq!((name(1), name(2), name(3)), (Some("Ada"), Some("Bo \"the\" bass"), None));
    assert_eq!(names(&net, HUB), some(["-", "-", "-", "-"]));
    for block in net.verified(HUB) {
        for secret in ["choir", "Ada", "bass"] {
            assert!(!block.bytes().windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret} is there");
        }
    }
}

#[test]
fn the_latest_name_in_ledger_order_counts_however_blocks_came() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Member);
    nickname(&mut net, 1, "old").unwrap();
    net.settle();
    // Two name it apart; the later name is the first to be known.
    let end = *net.ends.keys().find(|end| end.node == 0).unwrap();
    net.cut(end);
    ledger_name(&mut net, 0, "earlier").unwrap();
    nickname(&mut net, 0, "one").unwrap();
    nickname(&mut net, 0, "another").unwrap();
    ledger_name(&mut net, 1, "later").unwrap();
    nickname(&mut net, 1, "new").unwrap();
    net.settle();
    net.link(0, HUB);
    net.settle();
    net.assert_equal();
    let expected = some(["later", "another", "new", "-"]);
    for node in 0..3 {
        assert_eq!(names(&net, node), expected, "{node}");
    }
    // The same after a start from the blocks, from a checkpoint, and from a checkpoint with some blocks after it.
    for step in 0..3 {
        if step == 1 {
            net.nodes[2].replica.as_mut().unwrap().checkpoint().unwrap();
        }
        if step == 2 {
            nickname(&mut net, 2, "Cy").unwrap();
        }
        net.hibernate(2);
        let third = if step == 2 { "Cy" } else { "-" };
        assert_eq!(names(&net, 2), some(["later", "another", "new", third]), "step {step}");
    }
}

#[test]
fn a_name_of_a_block_that_is_void_gives_way_to_the_one_before() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Reader);
    ledger_name(&mut net, 0, "first").unwrap();
    nickname(&mut net, 1, "Bo").unwrap();
    net.settle();
    let end = *net.ends.keys().find(|end| end.node == 0).unwrap();
    net.cut(end);
    ledger_name(&mut net, 1, "second").unwrap();
    nickname(&mut net, 1, "Bob").unwrap();
    net.settle();
    assert_eq!(names(&net, 2), some(["second", "-", "Bob", "-"]));
    net.nodes[2].changed.clear();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.link(0, HUB);
    net.settle();
    net.assert_same(&[0, 2, HUB]);
    assert_eq!(names(&net, 2), some(["first", "-", "Bo", "-"]));
    assert!(!net.nodes[2].changed.is_empty());
    net.hibernate(2);
    assert_eq!(names(&net, 2), some(["first", "-", "Bo", "-"]));
}

#[test]
fn what_cannot_be_a_name_hides_none() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    bring_in(&mut net, 0, 2, Role::Admin);
    nickname(&mut net, 1, "Bo").unwrap();
    ledger_name(&mut net, 0, "the choir").unwrap();
    net.settle();
    let epoch = current(&net, 0);
    let expected = some(["the choir", "-", "Bo", "-"]);
    // By its length everybody sees that it is none.
    let long = format!("\"{}\"", "x".repeat(NAME_JSON_BYTES - 1));
    for text in [&b"\"\""[..], b"1", long.as_bytes()] {
        let before = last(&net, HUB, 2);
        let next = sealed(&net, &epoch, 2, &before, Kind::NICKNAME, text);
        net.inject(HUB, &next);
        net.settle();
        assert_eq!((last(&net, 0, 2).hash(), names(&net, 0)), (next.hash(), expected.clone()));
    }
    // A member's word is not what the ledger is called, and an admin's takes nothing away that is no name.
    for (author, text) in [(2, &b"\"mine\""[..]), (3, b"123"), (3, b"\"a\\n\""), (3, b"nonsense")] {
        let before = last(&net, HUB, author);
        let next = sealed(&net, &epoch, author, &before, Kind::LEDGER_NAME, text);
        net.inject(HUB, &next);
        net.settle();
        assert_eq!(names(&net, 0), expected, "{author}");
    }
    // What only the members see to be none leaves its author without a name.
    let other = EpochKey::from_secret(Zeroizing::new([9; 32]));
    for (seal_key, text) in [(&epoch, &b"{\"a\":1}"[..]), (&epoch, b"\"a\\u0007\""), (&other, b"\"Bo\"")] {
        nickname(&mut net, 0, "Ada").unwrap();
        net.settle();
        let before = last(&net, HUB, 2);
        let next = sealed(&net, seal_key, 2, &before, Kind::NICKNAME, text);
        net.inject(HUB, &next);
        net.settle();
        assert_eq!(names(&net, 0), some(["the choir", "Ada", "-", "-"]));
    }
    let before = last(&net, HUB, 2);
    let next = sealed(&net, &epoch, 2, &before, Kind::NICKNAME, b" \"B\\u006f\"");
    net.inject(HUB, &next);
    net.settle();
    assert_eq!(names(&net, 0), some(["the choir", "Ada", "Bo", "-"]));
    net.assert_same(&[0, HUB]);
}

#[test]
fn who_may_not_name_is_told_why() {
    let mut net = group();
    assert_eq!(nickname(&mut net, 1, "a"), Err(WishError::Barred(AppendError::NotAMember)));
    bring_in(&mut net, 0, 1, Role::Member);
    bring_in(&mut net, 0, 2, Role::Reader);
    let not_allowed = Err(WishError::Rule(MemberError::NotAllowed));
    assert_eq!(ledger_name(&mut net, 1, "a"), not_allowed);
    assert_eq!(wish(&mut net, 1, Wish::Rekey).map(drop), not_allowed);
    assert_eq!(nickname(&mut net, 2, "a"), Err(WishError::Barred(AppendError::NotAMember)));
    assert_eq!(nickname(&mut net, HUB, "a"), Err(WishError::Barred(AppendError::ReadOnly)));
    assert_eq!(nickname(&mut net, 1, ""), Err(WishError::Name(NameError::Length { len: 0 })));
    assert_eq!(nickname(&mut net, 1, &"x".repeat(65)), Err(WishError::Name(NameError::Length { len: 65 })));
    assert_eq!(ledger_name(&mut net, 0, "a\tb"), Err(WishError::Name(NameError::Control('\t'))));
    let before = net.order(HUB);
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.settle();
    assert_eq!(nickname(&mut net, 1, "a"), Err(WishError::Barred(AppendError::Removed)));
    // The removal and the new key, and nothing else.
    assert_eq!(net.order(HUB).len(), before.len() + 2);
}

#[test]
fn without_the_newest_key_nobody_names_or_begins_an_epoch() {
    let mut net = group();
    let invite = invite(&mut net, 0, 101, Role::Admin, 1);
    net.settle();
    let end = *net.ends.keys().find(|end| end.node == 0).unwrap();
    net.cut(end);
    net.nodes[1].join = Some(join(2, 101, invite, net.now).bytes().to_vec());
    net.restart(1, MemoryStore::default());
    net.link(1, HUB);
    net.settle();
    let no_key = Err(WishError::Barred(AppendError::NoKey));
    assert_eq!(nickname(&mut net, 1, "a"), no_key);
    assert_eq!(ledger_name(&mut net, 1, "a"), no_key);
    assert_eq!(wish(&mut net, 1, Wish::Rekey).map(drop), no_key);
    net.nodes[1].changed.clear();
    net.link(0, HUB);
    net.settle();
    // It was told when it could.
    assert!(net.nodes[1].changed.contains(&(true, true)), "{:?}", net.nodes[1].changed);
    assert_eq!(nickname(&mut net, 1, "a"), Ok(()));
}

#[test]
fn whoever_is_removed_in_the_same_turn_reads_no_name_any_more() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    net.now += 1_000;
    let wishes = [Wish::Remove { member: node_id(2) }, Wish::Nickname { name: "Ada".into() }];
    let inputs = wishes.into_iter().map(|wish| shared::Input::Control { token: 0, wish }).collect();
    net.turn(0, inputs);
    assert_eq!(net.nodes[0].granted.drain(..).filter(Result::is_ok).count(), 2);
    assert_eq!(net.replica(0).nickname(&node_id(1)).unwrap().as_deref(), Some("Ada"));
    let view = shown(&net, 0, "nickname").pop().unwrap();
    let block = net.verified(0).into_iter().find(|block| block.entry_id(0).to_string() == view.id).unwrap();
    let old = net.replica(1).keys();
    assert!(view::views(&block, &block.hash(), old)[0].sealed);
}

#[test]
fn in_an_open_ledger_everybody_has_a_nickname() {
    let mut net = Net::new(&[true, true, false]);
    net.link(0, 2);
    net.link(1, 2);
    nickname(&mut net, 0, "old").unwrap();
    nickname(&mut net, 0, "Ada").unwrap();
    assert_eq!(ledger_name(&mut net, 0, "a"), Err(WishError::OpenName));
    assert_eq!(wish(&mut net, 0, Wish::Rekey).map(drop), Err(WishError::Open));
    net.settle();
    net.assert_equal();
    // Everybody sees that these are no names.
    for (height, text) in [(3, &b"\"\""[..]), (4, b"\"a\\n\""), (5, b"12345"), (6, b"\"\xff\"")] {
        let before = last(&net, 2, 1);
        let header =
            shared::Header { height, timestamp: before.end(), parents: vec![before.hash()], ..before.header().clone() };
        let entry = shared::Entry::new(Kind::NICKNAME, [7; 16], text.to_vec());
        net.inject(2, &VerifiedBlock::sign(header, vec![entry], &key(1)));
    }
    net.settle();
    net.assert_equal();
    for node in 0..3 {
        assert_eq!(names(&net, node), some(["-", "Ada", "-", "-"]));
        assert_eq!(shown(&net, node, "nickname").len(), 6);
    }
    assert_eq!(data(&shown(&net, 2, "nickname")[1]), "Ada");
    // A ledger without names has the checkpoint that it always had.
    for (node, parts) in [(0, 0x88), (1, 0x88)] {
        net.nodes[node].replica.as_mut().unwrap().checkpoint().unwrap();
        assert_eq!(net.replica(node).store().meta("checkpoint").unwrap().unwrap()[0], parts);
        net.hibernate(node);
        assert_eq!(names(&net, node), some(["-", "Ada", "-", "-"]));
    }
    let mut plain = Net::new(&[true]);
    plain.append(0, "a");
    plain.nodes[0].replica.as_mut().unwrap().checkpoint().unwrap();
    assert_eq!(plain.replica(0).store().meta("checkpoint").unwrap().unwrap()[0], 0x87);
}

#[test]
fn of_a_forked_lane_the_same_name_counts_everywhere() {
    let mut net = Net::new(&[true, true, false]);
    let named = |micros, name: &str| {
        let (ledger, author) = (crate::common::ledger(), node_id(9));
        let header = shared::Header { ledger, author, height: 1, timestamp: at(micros), parents: vec![] };
        let entry = shared::Entry::new(Kind::NICKNAME, [7; 16], format!("{name:?}").into_bytes());
        VerifiedBlock::sign(header, vec![entry], &key(9))
    };
    let (earlier, later) = (named(10, "a"), named(20, "b"));
    net.inject(0, &earlier);
    net.inject(1, &later);
    // Each vouches for the one that it has seen.
    net.link(0, 2);
    net.link(1, 2);
    net.settle();
    net.assert_equal();
    assert!([earlier, later].iter().all(|block| net.blocks(0).contains(&block.hash())));
    for node in 0..3 {
        assert_eq!(net.replica(node).nickname(&node_id(9)).unwrap().as_deref(), Some("b"));
    }
}

#[test]
fn a_damaged_checkpoint_of_names_is_noticed() {
    let mut net = group();
    nickname(&mut net, 0, "Ada").unwrap();
    net.nodes[0].replica.as_mut().unwrap().checkpoint().unwrap();
    let whole = net.replica(0).store().meta("checkpoint").unwrap().unwrap();
    let mut opens = 0;
    for len in 0..whole.len() {
        let mut store = net.replica(0).store().clone();
        store.set_meta("checkpoint", &whole[..len]).unwrap();
        let config = shared::Config::new(ledger(), key(1), [1; 32]);
        opens += usize::from(shared::Replica::restore(config, store, &[], at(net.now), &mut Vec::new()).is_ok());
    }
    assert_eq!(opens, 0);
}

#[test]
fn views_open_what_is_sealed_and_say_what_stays_closed() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    net.append(1, "hello");
    nickname(&mut net, 1, "Bo").unwrap();
    ledger_name(&mut net, 0, "the choir").unwrap();
    net.turn(
        0,
        vec![shared::Input::Append { token: 0, payloads: vec![b"not JSON".to_vec(), b"\xff".to_vec(), vec![]] }],
    );
    net.settle();
    let own: Vec<_> =
        shown(&net, 0, "data").iter().map(|view| (data(view), view.payload_hex.clone(), view.sealed)).collect();
    // What an author sealed is shown as it would be in an open ledger.
    let expected = [
        (json!("hello"), None, false),
        (Value::Null, Some(hex::encode("not JSON")), false),
        (Value::Null, Some("ff".into()), false),
        (Value::Null, None, false),
    ];
    assert_eq!(own, expected);
    assert_eq!(data(&shown(&net, 0, "nickname")[0]), "Bo");
    assert_eq!(data(&shown(&net, 0, "ledger_name")[0]), "the choir");
    assert!(!serde_json::to_string(&shown(&net, 0, "data")).unwrap().contains("sealed"));
    for kind in ["data", "nickname", "ledger_name"] {
        for view in shown(&net, HUB, kind) {
            // Suite 1, and the id of the epoch.
            let start = format!("01{}", current(&net, 0).id());
            assert!(view.sealed && view.data.get() == "null" && view.payload_hex.as_ref().unwrap().starts_with(&start));
            assert!(view::to_line(&view).unwrap().get().ends_with(",\"sealed\":true}"));
        }
    }
    // All ways to read show the same.
    let (store, keys) = (net.replica(0).store(), net.replica(0).keys());
    let all = view::after(store, None, usize::MAX, keys).unwrap();
    let lines =
        |views: &[EntryView]| views.iter().map(|view| view::to_line(view).unwrap().to_string()).collect::<Vec<_>>();
    assert_eq!(lines(&view::newest(store, usize::MAX, usize::MAX, keys).unwrap()), lines(&all));
    for view in &all {
        let entry = view::entry(store, &view.id.parse().unwrap(), keys).unwrap();
        assert_eq!(lines(&[entry]), lines(std::slice::from_ref(view)));
    }
    let start = Cursor { node: node_id(1), seq: 0, entries: 0 };
    let (mut arrived, _) = view::arrived(store, start, usize::MAX, usize::MAX, keys).unwrap();
    arrived.sort_by_key(|view| all.iter().position(|other| other.id == view.id));
    assert_eq!(lines(&arrived), lines(&all));
}

#[test]
fn what_is_not_sealed_in_a_members_ledger_is_nobodys_word() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    let before = last(&net, HUB, 2);
    let plain = block(2, 2, before.end().micros(), &[before.hash()], Kind::DATA, b"\"trust me\"");
    net.inject(HUB, &plain);
    net.settle();
    let view = shown(&net, 0, "data").pop().unwrap();
    assert_eq!((view.data.get(), view.sealed), ("null", true));
}

#[test]
fn what_was_sealed_after_a_removal_stays_closed_to_the_removed() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    net.append(0, "before");
    net.settle();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.append(0, "after");
    net.settle();
    let (store, old) = (net.replica(0).store(), net.replica(1).keys());
    let mut views = view::after(store, None, usize::MAX, old).unwrap();
    views.retain(|view| view.kind == "data");
    assert_eq!(
        views.iter().map(|view| (data(view), view.sealed)).collect::<Vec<_>>(),
        [(json!("before"), false), (Value::Null, true)]
    );
}

#[test]
fn control_entries_say_what_they_do() {
    let mut net = group();
    let expires = at(net.now + 3_600_000_000);
    let made = Wish::Invite { key: node_id(100), role: Role::Admin, uses: 3, expires };
    let limited = wish(&mut net, 0, made).unwrap();
    bring_in(&mut net, 0, 1, Role::Member);
    wish(&mut net, 0, Wish::Close { invite: limited }).unwrap();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.settle();
    let of = |kind| shown(&net, HUB, kind).iter().map(data).collect::<Vec<_>>();
    let invites: Vec<String> =
        net.replica(0).invites().unwrap().iter().map(|invite| invite.block.to_string()).collect();
    assert_eq!(of("genesis"), [json!({ "founder": node_id(1).to_string() })]);
    let text = expires.to_string();
    assert_eq!(
        of("invite"),
        [
            json!({ "key": node_id(100).to_string(), "role": "admin", "uses": 3, "expires": text }),
            json!({ "key": node_id(101).to_string(), "role": "member", "uses": 1, "expires": null }),
        ]
    );
    assert_eq!(of("join"), [json!({ "invite": invites[1] })]);
    assert_eq!(
        of("remove"),
        [
            json!({ "invite": invites[1], "closed": true }),
            json!({ "invite": invites[0], "closed": true }),
            json!({ "member": node_id(2).to_string(), "height": 1 }),
        ]
    );
    let recipients: Vec<Value> = of("rekey").iter().map(|rekey| rekey["recipients"].clone()).collect();
    assert_eq!(recipients, [1, 1, 1]);
    assert_eq!(of("rekey")[2]["epoch"], current(&net, 0).id().to_string());
    for view in ["genesis", "invite", "join", "remove", "rekey"].map(|kind| shown(&net, HUB, kind)).iter().flatten() {
        assert_eq!((&view.payload_hex, view.sealed), (&None, false), "{}", view.kind);
    }
}

#[test]
fn in_an_open_ledger_entries_of_members_ledgers_are_their_authors_words() {
    for number in 5..=8 {
        let entry = shared::Entry::new(Kind(number), [7; 16], b"{\"a\":1}".to_vec());
        let header = shared::Header {
            ledger: crate::common::ledger(),
            author: node_id(1),
            height: 1,
            timestamp: at(1),
            parents: vec![],
        };
        let block = VerifiedBlock::sign(header, vec![entry], &key(1));
        let view = &view::views(&block, &block.hash(), &Keyring::default())[0];
        assert_eq!((view.data.get(), view.sealed), ("{\"a\":1}", false));
    }
}

#[test]
fn an_epoch_begins_when_an_owner_or_admin_wants_it() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Reader);
    net.append(0, "before");
    net.settle();
    for node in [0, 1] {
        let before = current(&net, 0).id();
        let block = wish(&mut net, node, Wish::Rekey).unwrap();
        assert_eq!(block, head(&net, node, node as u8 + 1));
        net.settle();
        net.append(0, "after");
        net.settle();
        assert_ne!(current(&net, 0).id(), before);
        for reader in [1, 2] {
            assert_eq!(current(&net, reader).id(), current(&net, 0).id());
        }
        let sealed_with = seal::epoch(last(&net, 0, 1).entries()[0].payload().unwrap()).unwrap();
        assert_eq!(sealed_with, current(&net, 0).id());
    }
    net.assert_equal();
    let texts = |node| shown(&net, node, "data").iter().map(data).collect::<Vec<_>>();
    for node in 0..3 {
        assert_eq!(texts(node), ["before", "after", "after"]);
    }
}

#[test]
fn room_for_keys_is_kept_for_removals() {
    let mut net = group();
    // As many keys as it holds when no further epoch begins on demand, kept as the node keeps them.
    let mut ring = net.replica(0).keys().clone();
    for number in 1..REKEYS as u32 {
        let mut secret = Zeroizing::new([0; 32]);
        secret[..4].copy_from_slice(&number.to_be_bytes());
        ring.add(EpochKey::from_secret(secret)).unwrap();
    }
    let secret = Sha256::digest(key(1).sign(&[b"cairn/keys/1", &ledger().as_bytes()[..]].concat()));
    let place = Place { ledger: ledger(), author: node_id(1), height: 0, index: 0 };
    let kept = seal::seal(&EpochKey::from_secret(Zeroizing::new(secret.into())), &place, [1; 16], &ring.encode());
    let mut store = net.replica(0).store().clone();
    store.set_meta("keys", &kept).unwrap();
    net.restart(0, store);
    assert_eq!(wish(&mut net, 0, Wish::Rekey), Err(WishError::Epochs { len: REKEYS, limit: REKEYS }));
    net.link(0, HUB);
    bring_in(&mut net, 0, 1, Role::Member);
    let before = current(&net, 0).id();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    assert_ne!(current(&net, 0).id(), before);
}

#[test]
fn the_driver_is_told_once_a_turn_when_members_names_or_keys_change() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    let clear = |net: &mut Net| net.nodes.iter_mut().for_each(|node| node.changed.clear());
    clear(&mut net);
    net.append(0, "no news");
    let open = invite(&mut net, 0, 110, Role::Member, 2);
    net.settle();
    assert!(net.nodes.iter().all(|node| node.changed.is_empty()));
    // Somebody comes in.
    let first = join(8, 110, open, net.now);
    net.inject(HUB, &first);
    assert_eq!(net.nodes[HUB].changed, [(false, false)]);
    bring_in(&mut net, 0, 2, Role::Member);
    assert!(net.nodes[1].changed.contains(&(true, false)));
    clear(&mut net);
    // A name, and another one in the same turn.
    net.now += 1_000;
    let say = |name: &str| shared::Input::Control { token: 0, wish: Wish::Nickname { name: name.into() } };
    net.turn(0, vec![say("A"), say("B")]);
    assert_eq!(net.nodes[0].changed, [(true, false)]);
    net.settle();
    assert_eq!(net.nodes[HUB].changed.first(), Some(&(false, false)));
    clear(&mut net);
    wish(&mut net, 0, Wish::Rekey).unwrap();
    net.settle();
    assert_eq!((&net.nodes[0].changed, &net.nodes[1].changed), (&vec![(true, true)], &vec![(true, true)]));
    assert!(net.nodes[HUB].changed.is_empty());
    clear(&mut net);
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.settle();
    assert_eq!(net.nodes[1].changed.last(), Some(&(false, false)));
    assert_eq!(net.nodes[2].changed.last(), Some(&(true, true)));
    assert_eq!(net.nodes[HUB].changed, [(false, false)]);
}

#[test]
fn who_may_write_again_after_an_epoch_that_it_had_no_key_of_is_told() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    net.nodes[1].changed.clear();
    // An epoch whose key is with the founder alone.
    let new = EpochKey::from_secret(Zeroizing::new([8; 32]));
    let founder: std::collections::BTreeSet<NodeId> = [node_id(1)].into();
    let old = [net.replica(0).keys().current().unwrap().clone()];
    let rekey = shared::Rekey::for_members(&ledger(), &new, &old, &founder, Zeroizing::new([4; 32])).unwrap();
    let before = last(&net, HUB, 1);
    let height = before.header().height + 1;
    let next = block(1, height, before.end().micros(), &[before.hash()], Kind::REKEY, &rekey[0].encode());
    net.inject(1, &next);
    assert_eq!(net.nodes[1].changed, [(false, false)]);
    net.settle();
    net.now += 30_000_000;
    net.turn(0, vec![shared::Input::Wake]);
    net.settle();
    assert_eq!(net.nodes[1].changed.last(), Some(&(true, true)));
}
