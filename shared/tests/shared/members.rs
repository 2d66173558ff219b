//! Who belongs to a members' ledger: joining, removing, races for one invite, and liars who let each other in.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{
    End, Net, Packet, at,
    group::{HUB, SALT, block, bring_in, group, head, invite, join, ledger, wish},
    key, node_id,
};
use shared::{
    BlockHash, Entry, EntryId, Header, Input, Kind, MemoryStore, NodeId, Page, ReadStore, Rekey, Replica, Timestamp,
    VerifiedBlock,
    effect::{Wish, WishError},
    erase::{Erase, Power},
    members::{Genesis, Invite, Join, MemberError, Removal, Remove, Role},
    seal::{EpochKey, Place},
    wire::{Envelope, Message, auth_message, decode_frame},
};
use zeroize::Zeroizing;

/// What a node can read, in alphabetical order; what it cannot is "?".
fn read(net: &Net, node: usize, reader: usize) -> Vec<String> {
    let keys = net.replica(reader).keys();
    let mut texts = Vec::new();
    for block in net.verified(node) {
        let Header { ledger, author, height, .. } = *block.header();
        for (i, entry) in block.entries().iter().enumerate().filter(|(_, entry)| entry.kind == Kind::DATA) {
            let place = Place { ledger, author, height, index: i as u32 };
            let Some(payload) = entry.payload() else { continue };
            let text = keys.open(&place, payload);
            texts.push(text.map_or_else(|_| "?".to_owned(), |text| String::from_utf8(text).unwrap()));
        }
    }
    texts.sort();
    texts
}

fn cut(net: &mut Net, node: usize) {
    net.cut(*net.ends.keys().find(|end| end.node == node).unwrap());
}

fn members(net: &Net, node: usize) -> BTreeSet<NodeId> {
    let members = net.replica(node).members().unwrap();
    members.iter().filter(|member| member.stays.is_none()).map(|member| member.node).collect()
}

fn nodes(numbers: &[u8]) -> BTreeSet<NodeId> {
    numbers.iter().map(|number| node_id(*number)).collect()
}

#[test]
fn who_holds_an_invite_comes_in_and_writes() {
    let mut net = group();
    net.append(1, "too early");
    assert_eq!(net.nodes[1].appended.pop(), Some(Err(shared::AppendError::NotAMember)));
    bring_in(&mut net, 0, 1, Role::Member);
    bring_in(&mut net, 0, 2, Role::Admin);
    net.append(1, "one");
    net.append(2, "two");
    net.settle();
    net.assert_equal();
    for node in 0..3 {
        assert_eq!(read(&net, HUB, node), ["\"one\"", "\"two\""]);
    }
    for node in 0..4 {
        assert_eq!(members(&net, node), nodes(&[1, 2, 3]));
    }
}

#[test]
fn a_restart_knows_who_belongs() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 1, 2, Role::Member);
    wish(&mut net, 1, Wish::Remove { member: node_id(3) }).unwrap();
    net.settle();
    let before = net.replica(HUB).members().unwrap();
    for checkpoint in [false, true] {
        if checkpoint {
            net.nodes[HUB].replica.as_mut().unwrap().checkpoint().unwrap();
        }
        net.hibernate(HUB);
        assert_eq!(net.replica(HUB).members().unwrap(), before);
    }
    assert_eq!(members(&net, HUB), nodes(&[1, 2]));
}

#[test]
fn strangers_write_nothing() {
    let mut net = group();
    let invite = invite(&mut net, 0, 100, Role::Member, 1);
    net.settle();
    let before = net.order(HUB);
    let end = net.now + 10;
    let genesis = Genesis { founder: node_id(9), salt: SALT };
    let wrong = Join::sign(&key(101), &ledger(), invite, &node_id(9));
    let others = Join::sign(&key(100), &ledger(), invite, &node_id(8));
    let cases = [
        block(9, 1, end, &[], Kind::DATA, b"1"),
        block(9, 1, end, &[invite], Kind::DATA, b"1"),
        block(9, 1, end, &[], Kind::GENESIS, &genesis.encode()),
        block(9, 1, end, &[invite], Kind::JOIN, &wrong.encode()),
        block(9, 1, end, &[invite], Kind::JOIN, &others.encode()),
        block(9, 1, end, &[invite], Kind::JOIN, b"nonsense"),
        // What the founder says of itself, and what lets 9 in, each in the wrong place.
        block(9, 1, end, &[], Kind::GENESIS, &Genesis { founder: node_id(1), salt: SALT }.encode()),
        block(9, 1, end, &[], Kind::JOIN, &Join::sign(&key(100), &ledger(), invite, &node_id(9)).encode()),
        // An invite is no invite of somebody who did not write it.
        block(9, 1, end, &[before[0]], Kind::JOIN, &Join::sign(&key(100), &ledger(), before[0], &node_id(9)).encode()),
    ];
    for (i, case) in cases.iter().enumerate() {
        net.inject(HUB, case);
        let report = net.nodes[HUB].imported.pop().unwrap();
        assert_eq!((report.refused, net.order(HUB) == before), (1, true), "case {i}");
    }
    net.inject(HUB, &join(9, 100, invite, end));
    assert_eq!(net.nodes[HUB].imported.pop().unwrap().added, 1);
}

#[test]
fn an_expired_invite_lets_nobody_in() {
    let mut net = group();
    let expires = at(net.now + 10_000);
    let made = Wish::Invite { key: node_id(100), role: Role::Member, uses: 9, expires };
    let invite = wish(&mut net, 0, made).unwrap();
    for (time, added) in [(expires.micros() - 1, 1), (expires.micros(), 0)] {
        net.inject(0, &join(9 + added as u8, 100, invite, time));
        assert_eq!(net.nodes[0].imported.pop().unwrap().added, added);
    }
}

#[test]
fn roles_say_who_invites_and_who_removes_whom() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 1, 2, Role::Member);
    let wish_invite = |role| Wish::Invite { key: node_id(100), role, uses: 1, expires: Timestamp::MAX };
    let not_allowed = Err(WishError::Rule(MemberError::NotAllowed));
    assert_eq!(wish(&mut net, 2, wish_invite(Role::Reader)), not_allowed);
    assert_eq!(wish(&mut net, 1, wish_invite(Role::Owner)), not_allowed);
    assert!(wish(&mut net, 1, wish_invite(Role::Admin)).is_ok());
    net.settle();
    // Nobody removes the founder, nor those it came in by; a member removes nobody but itself.
    assert_eq!(wish(&mut net, 1, Wish::Remove { member: node_id(1) }), not_allowed);
    assert_eq!(wish(&mut net, 2, Wish::Remove { member: node_id(2) }), not_allowed);
    assert_eq!(wish(&mut net, 0, Wish::Remove { member: node_id(1) }), not_allowed);
    assert_eq!(wish(&mut net, 0, Wish::Remove { member: node_id(9) }), Err(WishError::Unknown(node_id(9))));
    assert!(wish(&mut net, 2, Wish::Remove { member: node_id(3) }).is_ok());
    assert!(wish(&mut net, 0, Wish::Remove { member: node_id(2) }).is_ok());
    net.settle();
    net.assert_same(&[0, HUB]);
    assert_eq!(members(&net, HUB), nodes(&[1]));
    for node in [1, 2] {
        net.append(node, "no more");
        assert_eq!(net.nodes[node].appended.pop(), Some(Err(shared::AppendError::Removed)));
    }
    assert_eq!(wish(&mut net, 1, wish_invite(Role::Member)), Err(WishError::Stranger));
}

#[test]
fn an_admin_removes_whom_it_brought_in_and_an_owner_all_but_those_above_it() {
    let not_allowed = Err(WishError::Rule(MemberError::NotAllowed));
    for role in [Role::Admin, Role::Owner] {
        let mut net = group();
        bring_in(&mut net, 0, 1, Role::Owner);
        bring_in(&mut net, 1, 2, role);
        for (by, secret, newcomer) in [(0, 110, 8), (2, 111, 9)] {
            let invite = invite(&mut net, by, secret, Role::Member, 1);
            net.settle();
            net.inject(by, &join(newcomer, secret, invite, net.now));
            net.settle();
        }
        assert_eq!(members(&net, 2), nodes(&[1, 2, 3, 8, 9]));
        let owner = role == Role::Owner;
        assert_eq!(wish(&mut net, 2, Wish::Remove { member: node_id(8) }).is_ok(), owner);
        assert_eq!(wish(&mut net, 2, Wish::Remove { member: node_id(2) }), not_allowed);
        assert!(wish(&mut net, 2, Wish::Remove { member: node_id(9) }).is_ok());
        net.settle();
        net.assert_equal();
    }
}

#[test]
fn a_reader_writes_nothing_and_may_leave() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Reader);
    net.append(1, "no");
    assert_eq!(net.nodes[1].appended.pop(), Some(Err(shared::AppendError::NotAMember)));
    assert!(wish(&mut net, 1, Wish::Remove { member: node_id(2) }).is_ok());
    net.settle();
    net.assert_same(&[0, 1, HUB]);
    assert_eq!(members(&net, HUB), nodes(&[1]));
}

#[test]
fn what_a_reader_signs_is_refused() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Reader);
    let joined = head(&net, HUB, 2);
    net.inject(HUB, &block(2, 2, net.now + 10, &[joined], Kind::DATA, b"1"));
    assert_eq!(net.nodes[HUB].imported.pop().unwrap().refused, 1);
}

#[test]
fn what_a_removed_member_writes_later_is_accepted_nowhere() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    net.append(1, "before");
    net.settle();
    let last = head(&net, 1, 2);
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.settle();
    let before = net.order(HUB);
    // It pretends that it wrote this before it was removed.
    let late = block(2, 3, net.now - 10, &[last], Kind::DATA, b"\"late\"");
    for node in [0, HUB] {
        net.inject(node, &late);
    }
    net.settle();
    assert_eq!((net.order(HUB), net.order(0)), (before.clone(), before));
    assert_eq!(read(&net, 0, 0), ["\"before\""]);
    assert!(net.nodes[..2].iter().all(|node| node.removed.contains(&(node_id(2), 3))));
    assert!(net.ends.keys().all(|end| end.node != 1), "it is linked still");
}

#[test]
fn what_was_seen_of_a_removed_member_stays() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    bring_in(&mut net, 0, 2, Role::Member);
    // The founder is away while 1 writes; 2 sees it.
    cut(&mut net, 0);
    net.append(1, "seen by 2");
    net.settle();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.link(0, HUB);
    net.settle();
    net.assert_same(&[0, 2, HUB]);
    assert_eq!(read(&net, 0, 0), ["\"seen by 2\""]);
    assert_eq!(members(&net, 0), nodes(&[1, 3]));
}

#[test]
fn of_two_who_race_for_one_invite_the_same_one_comes_in_everywhere() {
    for first in [0, 1] {
        let mut net = group();
        bring_in(&mut net, 0, 1, Role::Member);
        bring_in(&mut net, 0, 2, Role::Member);
        let invite = invite(&mut net, 0, 100, Role::Member, 1);
        net.settle();
        (0..3).for_each(|node| cut(&mut net, node));
        let joins = [join(8, 100, invite, net.now + 1), join(9, 100, invite, net.now + 2)];
        // The founder closes the invite as soon as it is used up, so it hears of them last.
        net.inject(1, &joins[first]);
        net.inject(2, &joins[1 - first]);
        net.inject(HUB, &joins[first]);
        net.inject(HUB, &joins[1 - first]);
        (1..3).for_each(|node| _ = net.link(node, HUB));
        net.settle();
        net.link(0, HUB);
        net.settle();
        net.assert_equal();
        assert_eq!(members(&net, 2), nodes(&[1, 2, 3, 8]), "{first} came first");
    }
}

#[test]
fn who_closes_an_invite_freezes_the_lane_of_nobody() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Member);
    let join = head(&net, HUB, 2);
    // Whoever invites says what the key is: here the founder's own, and another member's.
    for (step, victim) in [1, 3].into_iter().enumerate() {
        let own = head(&net, HUB, 2);
        let (height, time) = (2 + 2 * step as u64, net.now + 10);
        let invite = Invite { join, key: node_id(victim), role: Role::Member, uses: 1, expires: Timestamp::MAX };
        let invite = block(2, height, time, &[own], Kind::INVITE, &invite.encode());
        let remove = Remove { join, member: node_id(victim), rests: invite.hash(), height: 0 };
        let close = block(2, height + 1, time + 1, &[invite.hash()], Kind::REMOVE, &remove.encode());
        net.inject(HUB, &invite);
        net.inject(HUB, &close);
        net.settle();
    }
    assert_eq!(members(&net, HUB), nodes(&[1, 2, 3]));
    for node in [0, 2] {
        net.append(node, "still here");
        assert!(net.nodes[node].appended.pop().unwrap().is_ok());
    }
    net.settle();
    net.assert_same(&[0, 2, HUB]);
    assert_eq!(read(&net, HUB, 0).len(), 2);
}

#[test]
fn who_says_to_have_joined_earlier_evicts_nobody_on_whom_others_rest() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    let invite = invite(&mut net, 0, 100, Role::Member, 1);
    net.settle();
    let (early, store) = (join(10, 100, invite, net.now + 500), net.replica(1).store().clone());
    net.inject(1, &early);
    assert!(net.order(1).contains(&early.hash()), "it is right in itself");
    net.restart(1, store);
    net.link(1, HUB);
    net.settle();
    net.inject(0, &join(8, 100, invite, net.now + 1_000));
    net.settle();
    // The founder has closed the invite with its next block, which rests on the join.
    let before = net.order(HUB);
    assert_eq!(net.replica(HUB).frozen().len(), 2);
    for node in [0, 1, HUB] {
        net.inject(node, &join(9, 100, invite, net.now + 2_000));
        net.inject(node, &early);
    }
    net.settle();
    assert_eq!((net.order(0), net.order(1), net.order(HUB)), (before.clone(), before.clone(), before));
    assert_eq!(members(&net, 1), nodes(&[1, 2, 8]));
}

#[test]
fn those_whom_a_removed_member_lets_in_do_not_vouch_for_it() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Admin);
    let (a, b) = (head(&net, HUB, 2), head(&net, HUB, 3));
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    wish(&mut net, 0, Wish::Remove { member: node_id(3) }).unwrap();
    net.settle();
    let before = net.order(HUB);
    // Both let somebody in, with times before their removal, and each newcomer vouches for the other's invite.
    let payload =
        |join, key| Invite { join, key: node_id(key), role: Role::Member, uses: 1, expires: Timestamp::MAX }.encode();
    let time = net.now - 1_500;
    let (x, y) = (
        block(2, 2, time, &[a], Kind::INVITE, &payload(a, 110)),
        block(3, 2, time, &[b], Kind::INVITE, &payload(b, 111)),
    );
    let (p, q) = (join(8, 110, x.hash(), time + 1), join(9, 111, y.hash(), time + 1));
    let parents = |own: BlockHash, other: BlockHash| vec![own, other];
    let (v, w) = (
        block(8, 2, time + 2, &parents(p.hash(), q.hash()), Kind::DATA, b"1"),
        block(9, 2, time + 2, &parents(q.hash(), p.hash()), Kind::DATA, b"1"),
    );
    for node in [0, HUB] {
        for block in [&x, &y, &p, &q, &v, &w] {
            net.inject(node, block);
        }
    }
    net.settle();
    net.assert_same(&[0, HUB]);
    assert_eq!((net.order(HUB), members(&net, HUB)), (before, nodes(&[1])));
}

#[test]
fn who_knew_that_an_invite_was_closed_vouches_for_nobody_who_comes_late() {
    for knows in [true, false] {
        let mut net = group();
        bring_in(&mut net, 0, 1, Role::Member);
        let invite = invite(&mut net, 0, 110, Role::Member, 1);
        wish(&mut net, 0, Wish::Close { invite }).unwrap();
        net.settle();
        // A member rests on somebody who came in by it, and on the closing or on what was before.
        let late = join(8, 110, invite, net.now - 500);
        let mut others = [late.hash(), if knows { head(&net, HUB, 1) } else { invite }];
        others.sort();
        let parents = [head(&net, HUB, 2), others[0], others[1]];
        let alibi = block(2, 2, net.now + 10, &parents, Kind::DATA, b"1");
        for node in [0, HUB] {
            net.inject(node, &late);
            net.inject(node, &alibi);
            assert_eq!(members(&net, node).contains(&node_id(8)), !knows);
        }
    }
}

#[test]
fn an_invite_that_was_seen_before_its_author_was_removed_lets_nobody_in_afterwards() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Member);
    cut(&mut net, 0);
    let invite = invite(&mut net, 1, 110, Role::Member, 9);
    net.settle();
    net.append(2, "seen");
    net.settle();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.link(0, HUB);
    net.settle();
    assert!(net.blocks(0).contains(&invite));
    for node in [0, 2, HUB] {
        net.inject(node, &join(8, 110, invite, net.now));
        assert_eq!(members(&net, node), nodes(&[1, 3]));
    }
}

#[test]
fn a_removal_holds_although_the_block_that_brought_it_does_not_count() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Owner);
    bring_in(&mut net, 1, 2, Role::Member);
    // 1 removes 2 while the founder removes 1, and only the hub has seen what 1 wrote.
    [0, 2].into_iter().for_each(|node| cut(&mut net, node));
    wish(&mut net, 1, Wish::Remove { member: node_id(3) }).unwrap();
    net.settle();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.link(0, HUB);
    net.settle();
    assert_eq!((members(&net, 0), members(&net, HUB)), (nodes(&[1]), nodes(&[1])));
    assert_eq!((net.order(0), net.replica(0).frozen()), (net.order(HUB), net.replica(HUB).frozen()));
}

#[test]
fn so_it_does_where_a_fork_had_frozen_the_lane_before() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Owner);
    let invite = invite(&mut net, 0, 120, Role::Member, 2);
    net.settle();
    let first = join(8, 120, invite, net.now);
    net.inject(HUB, &first);
    fork(&mut net, 8, 2, first.hash());
    // The other owner removes 8 while the founder removes that owner. Of the first removal the hub has nothing but the proof.
    cut(&mut net, 0);
    wish(&mut net, 1, Wish::Remove { member: node_id(8) }).unwrap();
    net.settle();
    let before = net.replica(0).keys().current().cloned();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    let between = net.replica(0).keys().current().cloned();
    net.verified(0).iter().for_each(|block| net.inject(HUB, block));
    net.link(0, HUB);
    rekey_due(&mut net, 0);
    assert!(net.nodes[0].removed.iter().any(|(lane, _)| *lane == node_id(8)));
    assert_eq!(net.replica(0).digest(), net.replica(HUB).digest());
    let after = net.replica(0).keys().current().cloned();
    assert!(before != between && between != after, "{before:?} {between:?} {after:?}");
}

#[test]
fn a_removal_that_is_not_allowed_is_no_proof() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    bring_in(&mut net, 0, 2, Role::Member);
    let (own, other) = (head(&net, HUB, 2), head(&net, HUB, 3));
    let remove = Remove { join: own, member: node_id(3), rests: other, height: 1 };
    let before = net.order(HUB);
    net.inject(HUB, &block(2, 2, net.now + 5, &[own, other], Kind::REMOVE, &remove.encode()));
    assert_eq!(net.nodes[HUB].imported.pop().unwrap().refused, 1);
    // With the first block of somebody who may.
    let genesis = net.verified(HUB)[0].hash();
    let borrowed = Remove { join: genesis, ..remove };
    net.inject(HUB, &block(2, 2, net.now + 5, &[own, other], Kind::REMOVE, &borrowed.encode()));
    assert_eq!((net.nodes[HUB].imported.pop().unwrap().refused, net.order(HUB)), (1, before));
    let all = Page { blocks: usize::MAX, bytes: usize::MAX };
    assert!(net.replica(HUB).store().after(None, all).unwrap().len() > 4);
    // Nor is it one that is handed on by itself, with all that it rests on.
    let chain: Vec<Vec<u8>> = net.verified(HUB).iter().map(|block| block.bytes().to_vec()).collect();
    let proof = |remove: &Remove, author: u8, height| {
        let last =
            block(author, height, net.now + 5, &[*net.order(HUB).last().unwrap()], Kind::REMOVE, &remove.encode());
        let blocks = chain.iter().map(Vec::as_slice).chain([last.bytes()]);
        Removal::decode(&blocks.fold(vec![0x80 | (chain.len() + 1) as u8], |proof, block| [&proof, block].concat()))
    };
    assert!(proof(&remove, 2, 2).is_err() && proof(&borrowed, 2, 2).is_err());
    assert!(proof(&borrowed, 1, 6).is_ok(), "the founder may");
}

#[test]
fn a_stranger_hears_nothing() {
    let mut net = group();
    net.append(0, "secret");
    net.settle();
    let (near, _) = net.link(2, HUB);
    let mut heard = Vec::new();
    loop {
        for packet in net.queues.get(&near).into_iter().flatten() {
            if let Packet::Frame(bytes) = packet {
                heard.extend(decode_frame(bytes).unwrap().into_iter().map(|envelope| envelope.message));
            }
        }
        if !net.step(0) {
            break;
        }
    }
    assert!(heard.iter().all(|message| matches!(message, Message::Hello { .. } | Message::Auth { .. })), "{heard:?}");
    assert!(heard.len() >= 2 && net.order(2).is_empty() && net.replica(2).known_nodes().len() == 1);
    assert_eq!(net.nodes[HUB].closed, ["this ledger is its members' own, and this node is none"]);
}

/// The hub's end of a link with a stranger that has said hello, and proved its key, or has not come so far.
fn knock(net: &mut Net, stranger: u8, steps: usize) -> End {
    // Node 2 stands in for it, and says nothing itself.
    let (near, far) = net.link(2, HUB);
    let Some(Packet::Frame(hello)) = net.queues[&near].front() else { panic!("the hub says nothing") };
    let Message::Hello { nonce, .. } = decode_frame(hello).unwrap()[0].message else {
        panic!("the hub does not greet")
    };
    let own = (node_id(stranger), [9; 32]);
    if steps > 0 {
        speak(net, far, stranger, Message::Hello { version: 1, ledger: ledger(), node: own.0, nonce: own.1 });
    }
    if steps > 1 {
        let hub = node_id(net.nodes[HUB].number);
        let proof = auth_message(&ledger(), (&own.0, &own.1), (&hub, &nonce));
        speak(net, far, stranger, Message::Auth { signature: key(stranger).sign(&proof) });
    }
    assert!(net.ends.contains_key(&far), "it is closed before it has said anything else");
    far
}

fn speak(net: &mut Net, link: End, speaker: u8, message: Message) {
    let envelope = Envelope { message_id: [1; 16], sender: node_id(speaker), recipient: None, message };
    net.turn(link.node, vec![Input::Frame { link: link.link, bytes: envelope.encode() }]);
}

#[test]
fn nothing_is_read_from_a_stranger() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    cut(&mut net, 1);
    net.append(1, "not heard yet");
    let blocks = vec![net.verified(1).last().unwrap().bytes().to_vec()];
    let before = net.order(HUB);
    for steps in 0..3 {
        for message in [
            Message::announce(blocks.clone(), 0),
            Message::answer(blocks.clone()),
            Message::LedgerSyncRequest { digest: [0; 32], parts: Vec::new() },
        ] {
            let link = knock(&mut net, 9, steps);
            speak(&mut net, link, 9, message);
            assert!(!net.ends.contains_key(&link), "it may go on after {steps} steps");
        }
    }
    assert_eq!(net.order(HUB), before);
}

#[test]
fn who_shows_an_invite_that_nobody_signed_hears_nothing() {
    let mut net = group();
    let genesis = net.order(HUB)[0];
    // An invite that the founder has never signed, and a join by it that is right in itself.
    let invite = Invite { join: genesis, key: node_id(100), role: Role::Owner, uses: 1, expires: Timestamp::MAX };
    let (ledger, author, timestamp) = (ledger(), node_id(1), at(net.now));
    let header = Header { ledger, author, height: 2, timestamp, parents: vec![genesis] };
    let forged = VerifiedBlock::sign(header, vec![Entry::new(Kind::INVITE, [7; 16], invite.encode())], &key(9));
    let shown = [&forged, &join(9, 100, forged.hash(), net.now + 1)].map(|block| block.bytes().to_vec());
    let link = knock(&mut net, 9, 2);
    speak(&mut net, link, 9, Message::Membership { blocks: shown.to_vec() });
    // Not for a block that is wrong: then it would have heard the heads.
    assert_eq!(net.nodes[HUB].closed, ["this ledger is its members' own, and this node is none"]);
    assert_eq!(members(&net, HUB), nodes(&[1]));
}

#[test]
fn who_left_hands_in_first_what_it_wrote_before() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    cut(&mut net, 0);
    net.append(1, "kept");
    wish(&mut net, 1, Wish::Remove { member: node_id(2) }).unwrap();
    net.settle();
    // The hub loses everything, and only the one who left has it.
    let written = net.order(1);
    net.restart(HUB, MemoryStore::default());
    net.link(1, HUB);
    net.settle();
    assert_eq!(net.order(HUB), written);
    assert_eq!(members(&net, HUB), nodes(&[1]));
}

#[test]
fn an_invite_that_was_used_up_opens_no_door() {
    let mut net = group();
    let invite = invite(&mut net, 0, 100, Role::Member, 1);
    net.settle();
    for (node, comes_in) in [(1, true), (2, false)] {
        let first = join(node as u8 + 1, 100, invite, net.now);
        net.nodes[node].join = Some(first.bytes().to_vec());
        net.restart(node, MemoryStore::default());
        net.link(node, HUB);
        net.settle();
        assert_eq!((net.order(node) == net.order(HUB), net.order(node).is_empty()), (comes_in, !comes_in));
    }
    assert_eq!(members(&net, HUB), nodes(&[1, 2]));
}

#[test]
fn who_comes_too_late_by_a_link_for_one_hears_nothing_more() {
    for (order, inviter_is_there) in [([1, 2], true), ([2, 1], true), ([1, 2], false), ([2, 1], false)] {
        let mut net = group();
        let invite = invite(&mut net, 0, 100, Role::Member, 1);
        net.settle();
        if !inviter_is_there {
            cut(&mut net, 0);
        }
        for node in order {
            let first = join(node as u8 + 1, 100, invite, net.now);
            net.nodes[node].join = Some(first.bytes().to_vec());
            net.restart(node, MemoryStore::default());
            net.link(node, HUB);
        }
        net.settle();
        if !inviter_is_there {
            net.link(0, HUB);
            net.settle();
        }
        net.append(0, "for members");
        net.settle();
        let (inside, outside) = if members(&net, HUB) == nodes(&[1, 2]) { (1, 2) } else { (2, 1) };
        assert_eq!(members(&net, HUB), nodes(&[1, inside as u8 + 1]));
        // It did not count for a moment, if the other one's block is before its own and came later; then it dials again.
        if net.ends.keys().all(|end| end.node != inside) {
            net.link(inside, HUB);
            net.settle();
        }
        let reads = |node: usize| net.order(node).contains(net.order(HUB).last().unwrap());
        assert_eq!((reads(inside), reads(outside)), (true, false), "{order:?} {inviter_is_there}");
    }
}

#[test]
fn more_newcomers_at_once_than_a_block_has_parents_all_stay() {
    // The founder closes the invite, which is used up; or it removes who had invited them.
    for by in [0, 1] {
        let mut net = group();
        bring_in(&mut net, 0, 1, Role::Admin);
        let uses = if by == 0 { 40 } else { 50 };
        let invite = invite(&mut net, by, 120, Role::Member, uses);
        net.settle();
        let joins = (10..50).map(|newcomer| join(newcomer, 120, invite, net.now).bytes().to_vec()).collect();
        net.turn(0, vec![Input::import(0, joins)]);
        if by == 1 {
            wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
        }
        net.settle();
        for node in [0, HUB] {
            assert_eq!(members(&net, node).len(), if by == 0 { 42 } else { 41 }, "invited by {by}, at node {node}");
        }
        net.assert_same(&[0, HUB]);
    }
}

#[test]
fn a_hub_that_lost_everything_gets_it_back_from_any_member() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 1, 2, Role::Member);
    net.append(2, "kept");
    net.settle();
    let before = net.order(HUB);
    (0..3).for_each(|node| cut(&mut net, node));
    net.restart(HUB, MemoryStore::default());
    net.link(2, HUB);
    net.settle();
    assert_eq!(net.order(HUB), before);
    (0..2).for_each(|node| _ = net.link(node, HUB));
    net.settle();
    net.assert_equal();
}

#[test]
fn a_hub_and_a_removed_member_read_nothing() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    bring_in(&mut net, 0, 2, Role::Admin);
    net.append(0, "canary 1");
    net.settle();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.settle();
    net.append(0, "canary 2");
    net.append(2, "canary 3");
    net.settle();
    // Whoever hands it what came after its removal.
    net.verified(HUB).iter().for_each(|block| net.inject(1, block));
    assert_eq!(read(&net, HUB, 1), ["\"canary 1\"", "?", "?"]);
    assert_eq!(read(&net, HUB, 2), ["\"canary 1\"", "\"canary 2\"", "\"canary 3\""]);
    assert_eq!(read(&net, HUB, HUB), ["?", "?", "?"]);
    let contains = |node: usize| {
        let blocks = net.verified(node);
        blocks.iter().any(|block| block.bytes().windows(6).any(|bytes| bytes == b"canary"))
    };
    assert!(!(0..4).any(contains));
}

#[test]
fn who_comes_in_reads_what_was_before_through_every_epoch() {
    let mut net = group();
    for (number, text) in [(60, "one"), (61, "two"), (62, "three")] {
        net.append(0, text);
        net.nodes[1].number = number;
        bring_in(&mut net, 0, 1, Role::Member);
        wish(&mut net, 0, Wish::Remove { member: node_id(number) }).unwrap();
        net.settle();
    }
    bring_in(&mut net, 0, 2, Role::Member);
    assert_eq!(read(&net, 2, 2), ["\"one\"", "\"three\"", "\"two\""]);
}

#[test]
fn a_key_is_taken_from_owners_and_admins_alone() {
    for (role, taken) in [(Role::Member, false), (Role::Admin, true)] {
        let mut net = group();
        bring_in(&mut net, 0, 1, role);
        let old = net.replica(1).keys().current().cloned().unwrap();
        let new = EpochKey::from_secret(Zeroizing::new([8; 32]));
        let (recipients, random) = (nodes(&[1, 2]), Zeroizing::new([7; 32]));
        let rekeys = Rekey::for_members(&ledger(), &new, &[old], &recipients, random).unwrap();
        let own = head(&net, HUB, 2);
        let rekey = block(2, 2, net.now + 10, &[own], Kind::REKEY, &rekeys[0].encode());
        net.inject(0, &rekey);
        assert_eq!(net.replica(0).keys().current() == Some(&new), taken, "{role:?}");
    }
}

#[test]
fn keys_outlive_a_restart_and_are_not_in_the_store_to_read() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    net.append(1, "kept");
    net.settle();
    let store = net.replica(1).store().clone();
    (net.nodes[1].epoch, net.nodes[1].join) = (None, None);
    net.restart(1, store);
    assert_eq!(read(&net, 1, 1), ["\"kept\""]);
    let key = net.replica(1).keys().encode();
    let sealed = net.replica(1).store().meta("keys").unwrap().unwrap();
    assert!(!sealed.windows(32).any(|bytes| key.windows(32).any(|secret| secret == bytes)));
}

#[test]
fn an_admin_renews_the_key_if_the_one_who_removed_does_not() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Member);
    // Two remove at once, and each new key is with somebody whom the other removed; then the founder is gone.
    cut(&mut net, 0);
    wish(&mut net, 0, Wish::Remove { member: node_id(3) }).unwrap();
    let invite = invite(&mut net, 1, 110, Role::Member, 1);
    net.settle();
    net.inject(1, &join(8, 110, invite, net.now));
    wish(&mut net, 1, Wish::Remove { member: node_id(8) }).unwrap();
    net.settle();
    net.link(0, HUB);
    net.settle();
    cut(&mut net, 0);
    net.now += shared::limits::REKEY_WITHIN;
    net.turn(1, vec![Input::Wake]);
    net.settle();
    net.append(1, "safe");
    net.settle();
    assert_eq!(read(&net, HUB, 1), ["\"safe\""]);
    assert_eq!(read(&net, HUB, 2), ["?"]);
}

fn erase(net: &mut Net, node: usize, entry: EntryId) -> Result<BlockHash, WishError> {
    wish(net, node, Wish::Erase { entry })
}

fn erased(net: &Net, node: usize, entry: &EntryId) -> (bool, bool) {
    let view = shared::view::entry(net.replica(node).store(), entry, net.replica(node).keys()).unwrap();
    assert!(view.erased.is_none() || view.payload_hex.is_none());
    (view.erased.is_some(), view.withheld)
}

/// What `node` writes, and the id of that.
fn say(net: &mut Net, node: usize, text: &str) -> EntryId {
    net.append(node, text);
    net.nodes[node].appended.pop().unwrap().unwrap()[0]
}

#[test]
fn who_may_remove_somebody_erases_what_it_wrote_and_nobody_else_does() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 1, 2, Role::Member);
    let by_founder = say(&mut net, 0, "founder");
    net.settle();
    let by_admin = say(&mut net, 1, "admin");
    net.settle();
    let by_member = say(&mut net, 2, "member");
    let own = say(&mut net, 2, "own");
    net.settle();
    let not_theirs = Err(WishError::Rule(MemberError::NotTheirs));
    assert_eq!(erase(&mut net, 2, by_admin), not_theirs);
    assert_eq!(erase(&mut net, 1, by_founder), not_theirs);
    let join = EntryId { author: node_id(3), height: 1, index: 0 };
    assert_eq!(erase(&mut net, 0, join), Err(WishError::Rule(MemberError::NotErasable(Kind::JOIN))));
    erase(&mut net, 2, own).unwrap();
    erase(&mut net, 1, by_member).unwrap();
    erase(&mut net, 0, by_admin).unwrap();
    net.settle();
    net.assert_equal();
    for node in 0..4 {
        let all = [by_founder, by_admin, by_member, own].map(|entry| erased(&net, node, &entry));
        assert_eq!(all, [(false, false), (true, false), (true, false), (true, false)], "{node}");
    }
    assert_eq!(net.nodes[HUB].erased[1].1, node_id(2));
}

#[test]
fn an_erased_nickname_is_nobodys_name_any_more() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    wish(&mut net, 1, Wish::Nickname { name: "Ada".to_owned() }).unwrap();
    net.settle();
    let name = |net: &Net, node: usize| net.replica(node).nickname(&node_id(2)).unwrap();
    assert_eq!([0, 1].map(|node| name(&net, node)), [Some("Ada".to_owned()), Some("Ada".to_owned())]);
    let entry = EntryId { author: node_id(2), height: net.replica(1).height(&node_id(2)), index: 0 };
    let told = net.nodes[0].changed.len();
    erase(&mut net, 1, entry).unwrap();
    net.settle();
    for node in [0, 1, HUB] {
        assert_eq!((erased(&net, node, &entry), name(&net, node)), ((true, false), None));
    }
    assert_eq!(net.nodes[0].changed.len(), told + 1, "who shows names hears of it");
}

#[test]
fn an_admin_erases_nothing_of_those_whom_others_brought_in() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Member);
    let entry = say(&mut net, 2, "member");
    net.settle();
    assert_eq!(erase(&mut net, 1, entry), Err(WishError::Rule(MemberError::NotTheirs)));
    // Nor with the words of somebody else about itself.
    let target = net
        .verified(HUB)
        .into_iter()
        .find(|block| block.header().author == entry.author && block.header().height == entry.height)
        .unwrap();
    let (own, founder) = (head(&net, HUB, 2), net.replica(HUB).heads()[&node_id(1)][0].1);
    for (join, rests) in [(own, own), (own, founder), (target.hash(), own)] {
        let power = Some(Power { join, rests });
        let payload = Erase { block: target.hash(), entry, power }.encode();
        let height = net.replica(HUB).height(&node_id(2)) + 1;
        let lie = block(2, height, net.now + 5_000_000, &[own], Kind::ERASE, &payload);
        net.inject(HUB, &lie);
        assert_eq!(net.nodes[HUB].imported.last().unwrap().refused, 1);
    }
    assert_eq!(erased(&net, HUB, &entry), (false, false));
}

#[test]
fn one_who_was_removed_erases_nothing_of_others_with_whose_help_ever() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Owner);
    bring_in(&mut net, 1, 2, Role::Member);
    let theirs = say(&mut net, 2, "theirs");
    net.settle();
    let own = say(&mut net, 1, "own");
    net.settle();
    // It is removed by the founder, with whom it has no link, and goes on as if it had not heard of that.
    cut(&mut net, 1);
    let revenge = erase(&mut net, 1, theirs).unwrap();
    let forgotten = erase(&mut net, 1, own).unwrap();
    let mut theirs_blocks = net.verified(1);
    theirs_blocks.retain(|block| [revenge, forgotten].contains(&block.hash()));
    // Another one of its kind has seen that before it heard of the removal, and says so.
    cut(&mut net, 2);
    theirs_blocks.iter().for_each(|block| net.inject(2, block));
    assert_eq!(erased(&net, 2, &theirs), (true, false));
    let voucher = say(&mut net, 2, "I have seen it");
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.settle();
    net.link(2, HUB);
    net.settle();
    // Its blocks are there, because somebody vouches for them; but what others wrote stays, and comes back.
    net.assert_same(&[0, 2, HUB]);
    assert!(net.order(HUB).contains(&revenge) && net.order(HUB).contains(&forgotten));
    assert!(net.replica(HUB).height(&node_id(3)) >= voucher.height);
    for node in [0, 2, HUB] {
        assert_eq!(erased(&net, node, &theirs), (false, false), "{node}");
        assert_eq!(erased(&net, node, &own), (true, false), "{node}");
    }
    assert!(read(&net, 2, 2).contains(&"\"theirs\"".to_owned()));
}

#[test]
fn an_erase_waits_for_the_block_that_it_names() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Owner);
    bring_in(&mut net, 1, 2, Role::Member);
    let before: Vec<Vec<u8>> = net.verified(HUB).iter().map(|block| block.bytes().to_vec()).collect();
    let entry = say(&mut net, 2, "word");
    net.settle();
    let target = net
        .verified(HUB)
        .into_iter()
        .find(|b| b.header().author == node_id(3) && b.header().height == entry.height)
        .unwrap();
    // An erase that does not rest on what it erases, but for naming it.
    let (head, height) = net.replica(HUB).heads()[&node_id(2)].last().map(|(height, hash)| (*hash, *height)).unwrap();
    let first = |n: u8| {
        net.verified(HUB).into_iter().find(|b| b.header().author == node_id(n) && b.header().height == 1).unwrap()
    };
    let power = Some(Power { join: first(2).hash(), rests: first(3).hash() });
    let payload = Erase { block: target.hash(), entry, power }.encode();
    let erase = block(2, height + 1, target.end().micros(), &[head], Kind::ERASE, &payload);
    let mut other = Net::of(Some(ledger()), &[false]);
    other.now = net.now;
    other.turn(0, vec![Input::import(0, before)]);
    other.inject(0, &erase);
    assert_eq!(other.replica(0).parked().0, 1);
    other.inject(0, &target);
    assert_eq!(other.replica(0).parked().0, 0);
    assert_eq!(erased(&other, 0, &entry), (true, false));
}

#[test]
fn whom_a_node_dials_gets_nothing_once_it_is_removed() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.settle();
    let before = net.order(1);
    net.append(0, "no more");
    net.link(0, 1);
    net.settle();
    assert_eq!(net.order(1), before);
    assert!(net.nodes[1].removed.contains(&(node_id(2), 2)), "it hears of its removal");
    assert_eq!(net.nodes[0].closed, ["this ledger is its members' own, and this node is none"]);
}

#[test]
fn who_was_let_in_and_turns_out_to_be_one_too_many_is_turned_away() {
    let mut net = group();
    let invite = invite(&mut net, 0, 100, Role::Member, 1);
    net.settle();
    cut(&mut net, 0);
    // The founder sees the earlier of two, the hub first the later one.
    net.inject(0, &join(8, 100, invite, net.now + 1));
    net.nodes[2].join = Some(join(3, 100, invite, net.now + 2).bytes().to_vec());
    net.restart(2, MemoryStore::default());
    net.link(2, HUB);
    net.settle();
    assert_eq!(members(&net, HUB), nodes(&[1, 3]));
    net.link(0, HUB);
    net.settle();
    assert_eq!(members(&net, HUB), nodes(&[1, 8]));
    assert!(net.ends.keys().all(|end| end.node != 2), "it is linked still");
}

#[test]
fn who_was_let_in_before_its_invite_was_here_is_turned_away_when_that_is_closed() {
    let mut net = group();
    bring_in(&mut net, 0, 2, Role::Owner);
    let by_seven = invite(&mut net, 0, 107, Role::Member, 2);
    net.settle();
    net.now += 10;
    net.inject(0, &join(7, 107, by_seven, net.now));
    net.settle();
    [0, 2].into_iter().for_each(|node| cut(&mut net, node));
    // The hub knows that 7 was removed. The founder, who does not, invites on a word of 7, which waits at the hub then.
    wish(&mut net, 2, Wish::Remove { member: node_id(7) }).unwrap();
    net.link(2, HUB);
    net.settle();
    cut(&mut net, 2);
    net.inject(0, &block(7, 2, net.now, &[head(&net, 0, 7)], Kind::DATA, b"1"));
    let invite = invite(&mut net, 0, 120, Role::Member, 2);
    net.now += 10;
    net.nodes[1].join = Some(join(2, 120, invite, net.now).bytes().to_vec());
    net.restart(1, MemoryStore::default());
    let blocks = net.verified(0).iter().map(|block| block.bytes().to_vec()).collect();
    net.turn(1, vec![Input::import(0, blocks)]);
    wish(&mut net, 0, Wish::Close { invite }).unwrap();
    let (lane, _) = *net.nodes[0].removed.last().unwrap();
    let proof = shared::ledger::stored_evidence(net.replica(0).store(), &lane).unwrap().unwrap();
    net.link(1, HUB);
    while net.replica(HUB).links().iter().all(|link| link.node.is_none()) {
        assert!(net.step(0), "it is let in");
    }
    // It hears of the closing before the invite has come.
    let told = block(2, 100, net.now, &[BlockHash::from_bytes([1; 32])], Kind::EVIDENCE, &proof);
    net.inject(HUB, &told);
    assert!(net.replica(HUB).links().iter().all(|link| link.node.is_none()), "it is turned away");
    net.settle();
    assert!(!members(&net, HUB).contains(&node_id(2)));
    assert!(net.replica(HUB).links().is_empty());
}

#[test]
fn nobody_is_let_in_without_being_on_the_list() {
    let mut net = group();
    let invite = invite(&mut net, 0, 100, Role::Member, 1);
    net.settle();
    net.nodes[1].join = Some(join(2, 100, invite, net.now).bytes().to_vec());
    net.restart(1, MemoryStore::default());
    net.link(1, HUB);
    let is_in = |net: &Net| net.replica(HUB).links().iter().any(|link| link.node == Some(node_id(2)));
    while !is_in(&net) {
        assert!(net.step(0));
    }
    // Whatever it sends or keeps to itself from now on.
    assert_eq!(members(&net, HUB), nodes(&[1, 2]));
}

#[test]
fn a_join_of_the_future_opens_no_door() {
    let mut net = group();
    let invite = invite(&mut net, 0, 100, Role::Member, 1);
    net.settle();
    let later = net.now + 2 * shared::limits::CLOCK_WINDOW;
    net.nodes[1].join = Some(join(2, 100, invite, later).bytes().to_vec());
    net.restart(1, MemoryStore::default());
    net.link(1, HUB);
    net.settle();
    assert!(net.order(1).is_empty() && net.ends.keys().all(|end| end.node != 1));
}

/// Two blocks of one height, as the hub gets to see them.
fn fork(net: &mut Net, author: u8, height: u64, before: BlockHash) {
    for payload in [b"1", b"2"] {
        net.now += 10;
        let block = block(author, height, net.now, &[before], Kind::DATA, payload);
        net.inject(HUB, &block);
    }
    net.settle();
}

#[test]
fn who_forks_its_lane_can_be_removed_and_does_not_come_back_by_it() {
    for first in ["fork", "removal"] {
        let mut net = group();
        bring_in(&mut net, 0, 1, Role::Member);
        bring_in(&mut net, 0, 2, Role::Member);
        let joined = head(&net, HUB, 2);
        net.append(1, "seen");
        net.settle();
        let seen = head(&net, HUB, 2);
        if first == "fork" {
            fork(&mut net, 2, 2, joined);
            wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
        } else {
            wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
            net.settle();
            fork(&mut net, 2, 2, joined);
        }
        net.settle();
        assert_eq!(net.replica(HUB).frozen()[&node_id(2)], 2);
        assert!(net.blocks(HUB).contains(&seen), "what was seen stays");
        net.append(0, "new");
        net.settle();
        net.assert_same(&[0, 2, HUB]);
        assert!(read(&net, HUB, 1).contains(&"?".to_owned()), "{first} first: it reads what is new");
        for restarts in [false, true] {
            if restarts {
                net.hibernate(HUB);
            }
            let before = net.order(1);
            net.link(1, HUB);
            net.settle();
            assert_eq!(net.order(1), before, "{first} first: the door is open to it");
        }
    }
}

#[test]
fn who_has_the_key_from_its_invite_alone_does_not_read_on_after_its_removal() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    let invite = invite(&mut net, 1, 110, Role::Member, 1);
    net.settle();
    // The one who invited is off line, so nobody has been told to give the newcomer a key.
    cut(&mut net, 1);
    net.inject(0, &join(8, 110, invite, net.now));
    let before = net.replica(0).keys().current().cloned();
    wish(&mut net, 0, Wish::Remove { member: node_id(8) }).unwrap();
    assert_ne!(net.replica(0).keys().current().cloned(), before);
}

fn rekey_due(net: &mut Net, node: usize) {
    net.settle();
    net.now += shared::limits::REKEY_WITHIN;
    net.turn(node, vec![Input::Wake]);
    net.settle();
}

#[test]
fn whose_removal_alone_is_known_does_not_read_on() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    let invite = invite(&mut net, 0, 110, Role::Member, 2);
    net.settle();
    // Somebody comes in and leaves where the founder does not hear of it, and of all that only the proof is left.
    cut(&mut net, 1);
    let first = join(8, 110, invite, net.now);
    let remove = Remove { join: first.hash(), member: node_id(8), rests: first.hash(), height: 2 };
    let leaves = block(8, 2, net.now + 1, &[first.hash()], Kind::REMOVE, &remove.encode());
    [&first, &leaves].into_iter().for_each(|block| net.inject(1, block));
    let proof = shared::ledger::stored_evidence(net.replica(1).store(), &node_id(8)).unwrap().unwrap();
    let before = net.replica(0).keys().current().cloned();
    let told = block(2, 100, net.now, &[leaves.hash()], Kind::EVIDENCE, &proof);
    net.inject(0, &told);
    rekey_due(&mut net, 0);
    assert!(!net.blocks(0).contains(&first.hash()) && net.replica(0).frozen().contains_key(&node_id(8)));
    let key = net.replica(0).keys().current().cloned();
    assert_ne!(key, before);
    // Once is enough, also where invites are closed since.
    wish(&mut net, 0, Wish::Close { invite }).unwrap();
    rekey_due(&mut net, 0);
    assert_eq!(net.replica(0).keys().current().cloned(), key);
}

#[test]
fn epochs_that_began_side_by_side_are_read_by_all() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    let invites = [(0, 120), (1, 121)].map(|(by, secret)| invite(&mut net, by, secret, Role::Member, 1));
    net.settle();
    for (by, newcomer, secret, invite) in [(0, 8, 120, invites[0]), (1, 9, 121, invites[1])] {
        net.inject(by, &join(newcomer, secret, invite, net.now));
    }
    net.settle();
    // Apart from each other, both remove somebody, and the admin lets somebody in.
    cut(&mut net, 0);
    wish(&mut net, 0, Wish::Remove { member: node_id(8) }).unwrap();
    net.append(0, "on one side");
    wish(&mut net, 1, Wish::Remove { member: node_id(9) }).unwrap();
    bring_in(&mut net, 1, 2, Role::Member);
    net.append(1, "on the other");
    net.link(0, HUB);
    rekey_due(&mut net, 0);
    rekey_due(&mut net, 1);
    net.assert_equal();
    for reader in 0..3 {
        assert_eq!(read(&net, HUB, reader), ["\"on one side\"", "\"on the other\""], "{reader}");
    }
}

#[test]
fn a_key_that_came_with_an_invite_is_handed_on_also_after_a_restart() {
    let mut net = group();
    net.append(0, "old");
    let invite = invite(&mut net, 0, 101, Role::Admin, 1);
    net.settle();
    net.nodes[1].join = Some(join(2, 101, invite, net.now).bytes().to_vec());
    net.nodes[1].epoch = net.replica(0).keys().current().cloned();
    net.restart(1, MemoryStore::default());
    // It starts again before it met anybody, and then it is the one who begins the next epoch.
    let store = net.replica(1).store().clone();
    net.nodes[1].epoch = None;
    net.restart(1, store);
    net.link(1, HUB);
    net.settle();
    bring_in(&mut net, 1, 2, Role::Member);
    wish(&mut net, 1, Wish::Remove { member: node_id(3) }).unwrap();
    net.append(1, "new");
    net.settle();
    assert_eq!(read(&net, HUB, 2), ["\"old\"", "?"], "removed");
    net.nodes[2].number = 60;
    bring_in(&mut net, 1, 2, Role::Member);
    assert_eq!(read(&net, HUB, 2), ["\"new\"", "\"old\""]);
}

#[test]
fn a_key_that_is_given_late_does_not_become_the_newest_again() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Member);
    let invite = invite(&mut net, 1, 120, Role::Member, 1);
    net.settle();
    let old = net.replica(1).keys().current().cloned();
    // The admin does not know yet that somebody was removed, and gives the key that it knows to a newcomer.
    cut(&mut net, 1);
    wish(&mut net, 0, Wish::Remove { member: node_id(3) }).unwrap();
    net.settle();
    net.inject(1, &join(8, 120, invite, net.now));
    net.link(1, HUB);
    rekey_due(&mut net, 0);
    rekey_due(&mut net, 1);
    for node in 0..2 {
        assert_ne!(net.replica(node).keys().current().cloned(), old);
    }
    net.append(1, "new");
    net.settle();
    assert_eq!(read(&net, HUB, 2), ["?"]);
}

#[test]
fn an_admin_to_whom_nobody_gives_the_newest_key_begins_another() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    let invite = invite(&mut net, 0, 120, Role::Member, 1);
    net.settle();
    net.inject(0, &join(8, 120, invite, net.now));
    net.settle();
    // The founder removes somebody and does not know yet of an admin whom another one lets in; then both are gone.
    cut(&mut net, 0);
    wish(&mut net, 0, Wish::Remove { member: node_id(8) }).unwrap();
    bring_in(&mut net, 1, 2, Role::Admin);
    cut(&mut net, 1);
    net.link(0, HUB);
    for _ in 0..3 {
        // Without a turn of its own that it would give the key in.
        net.step(0);
    }
    let blocks: Vec<VerifiedBlock> = net.verified(0);
    cut(&mut net, 0);
    blocks.iter().for_each(|block| net.inject(HUB, block));
    net.settle();
    net.append(2, "too early");
    assert_eq!(net.nodes[2].appended.pop(), Some(Err(shared::AppendError::NoKey)));
    rekey_due(&mut net, 2);
    rekey_due(&mut net, 2);
    net.append(2, "written");
    assert!(matches!(net.nodes[2].appended.pop(), Some(Ok(_))));
}

#[test]
fn a_store_whose_invites_are_damaged_is_repaired() {
    use shared::{
        Store,
        repair::{mend, scan},
    };
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 1, 2, Role::Member);
    net.append(2, "kept");
    net.settle();
    let mut store = net.replica(2).store().clone();
    let all = Page { blocks: usize::MAX, bytes: usize::MAX };
    for record in store.after(None, all).unwrap() {
        let kind = shared::Block::decode(&record.bytes).unwrap().entries()[0].kind;
        if matches!(kind, Kind::INVITE | Kind::GENESIS) {
            let mut bytes = record.bytes.clone();
            bytes[90] ^= 1;
            store.replace(record.summary.seq, Some((&record.summary, &bytes))).unwrap();
        }
    }
    let found = scan(&store, &ledger(), |_, _| {}).unwrap();
    mend(&mut store, &found).unwrap();
    net.restart(2, store);
    net.link(2, HUB);
    net.settle();
    net.assert_equal();
    assert_eq!(members(&net, 2), nodes(&[1, 2, 3]));
    net.append(2, "and on");
    assert!(matches!(net.nodes[2].appended.pop(), Some(Ok(_))));
}

#[test]
fn who_is_let_in_while_a_hub_mends_its_ledger_shows_again_how_it_came_in() {
    use shared::{
        Store,
        repair::{mend, scan},
    };
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    net.append(0, "damaged soon");
    net.settle();
    let [for_one, for_two] = [(110, 1), (111, 2)].map(|(secret, uses)| invite(&mut net, 0, secret, Role::Member, uses));
    net.settle();
    let mut store = net.replica(HUB).store().clone();
    let last = store.lane(&node_id(1), net.replica(HUB).height(&node_id(1)) - 2, Page::ONE).unwrap().remove(0);
    let mut bytes = last.bytes.clone();
    bytes[90] ^= 1;
    store.replace(last.summary.seq, Some((&last.summary, &bytes))).unwrap();
    let found = scan(&store, &ledger(), |_, _| {}).unwrap();
    mend(&mut store, &found).unwrap();
    net.restart(HUB, store);
    // Of two by an invite for one, another one is first, and the invite is closed; the hub does not know yet.
    net.inject(0, &join(8, 110, for_one, net.now));
    let linked = |net: &Net| net.replica(HUB).links().iter().filter_map(|link| link.node).collect::<BTreeSet<_>>();
    for (node, number, secret, invite) in [(1, 12, 110, for_one), (2, 13, 111, for_two)] {
        net.nodes[node].number = number;
        net.nodes[node].join = Some(join(number, secret, invite, net.now + 1).bytes().to_vec());
        net.restart(node, MemoryStore::default());
        net.verified(0).iter().for_each(|block| net.inject(node, block));
        let (end, _) = net.link(node, HUB);
        while !linked(&net).contains(&node_id(number)) {
            assert!(net.step(0), "it is let in");
        }
        // It gives the missing block when both are in.
        net.slow.insert(end);
    }
    assert_eq!(net.replica(HUB).repairing(), 1);
    net.link(0, HUB);
    net.settle();
    assert_eq!(net.replica(HUB).repairing(), 0);
    assert_eq!(linked(&net), nodes(&[1]));
    [1, 2].into_iter().for_each(|node| _ = net.link(node, HUB));
    net.settle();
    assert_eq!(linked(&net), nodes(&[1, 13]));
    assert_eq!(members(&net, HUB), nodes(&[1, 2, 8, 13]));
}

#[test]
fn a_join_that_waited_for_its_invite_is_looked_at_again_when_its_voucher_comes() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 1, 2, Role::Member);
    let frozen = net.replica(HUB).frozen();
    let hub = net.replica(HUB).store();
    let proof = |lane| shared::ledger::stored_evidence(hub, lane).unwrap().unwrap();
    // Both closings are known before anything else. Then come the blocks, the second join first, and last of what is before it
    // the block that vouches for the first join.
    let proofs: Vec<Vec<u8>> = frozen.keys().map(proof).collect();
    let blocks = net.verified(HUB);
    let of_second = |block: &&VerifiedBlock| block.header().author == node_id(3);
    let second = blocks.iter().find(of_second).unwrap().clone();
    let at = blocks.iter().position(|block| block.hash() == second.hash()).unwrap();
    let mut other = Net::of(Some(ledger()), &[false]);
    other.now = net.now;
    for (i, proof) in proofs.iter().enumerate() {
        let told = block(2, 100 + i as u64, net.now, &[second.hash()], Kind::EVIDENCE, proof);
        other.inject(0, &told);
    }
    assert_eq!(other.replica(0).frozen(), frozen);
    other.inject(0, &second);
    let (removals, before): (Vec<_>, Vec<_>) =
        blocks[..at].iter().partition(|block| block.entries()[0].kind == Kind::REMOVE);
    before.into_iter().chain(removals).chain(&blocks[at + 1..]).for_each(|block| other.inject(0, block));
    assert_eq!(other.order(0), net.order(HUB));
}

/// Only the other owner, node 1, has seen what 9 writes, and removes 8. The founder removes 9, and is the only one to have seen
/// what 8 writes. So the removal of 8 rests on what waits for a voucher, and comes to the founder together with it. Returns
/// the words of 8 and of 9. If 8 has forked its lane before, its removal freezes nothing that is not frozen, and no proof of it comes
/// but the block.
fn two_who_remove_apart(forked: bool) -> (Net, [VerifiedBlock; 2]) {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Owner);
    let invite = invite(&mut net, 0, 120, Role::Member, 2);
    net.settle();
    let joins = [8, 9].map(|newcomer| join(newcomer, 120, invite, net.now));
    joins.iter().for_each(|join| net.inject(0, join));
    net.settle();
    if forked {
        fork(&mut net, 8, 2, joins[0].hash());
    }
    (0..2).for_each(|node| cut(&mut net, node));
    let end = net.now;
    let words = [8, 9].map(|author| {
        let first = joins[usize::from(author) - 8].hash();
        block(author, 2, end, &[first], Kind::DATA, b"1")
    });
    net.inject(1, &words[1]);
    net.append(1, "on that");
    wish(&mut net, 0, Wish::Remove { member: node_id(9) }).unwrap();
    if !forked {
        net.inject(0, &words[0]);
    }
    wish(&mut net, 1, Wish::Remove { member: node_id(8) }).unwrap();
    (net, words)
}

#[test]
fn what_was_seen_before_a_removal_that_had_waited_stays() {
    let (mut net, [of_eight, of_nine]) = two_who_remove_apart(false);
    let blocks = net.verified(1).iter().map(|block| block.bytes().to_vec()).collect();
    net.turn(0, vec![Input::import(0, blocks)]);
    assert!(net.blocks(0).contains(&of_nine.hash()) && net.replica(0).frozen()[&node_id(8)] == 2);
    assert!(net.blocks(0).contains(&of_eight.hash()), "what the founder had seen is void");
    (0..2).for_each(|node| _ = net.link(node, HUB));
    net.settle();
    net.assert_same(&[0, 1, HUB]);
}

#[test]
fn a_restored_node_gets_its_lane_back_though_removals_wait_in_it() {
    for forked in [false, true] {
        let (mut net, _) = two_who_remove_apart(forked);
        // More than are gone through at every chance.
        (0..=shared::limits::ZONE_AT_ONCE).for_each(|n| net.append(1, &format!("{n}")));
        let backup = net.replica(0).store().clone();
        (0..2).for_each(|node| _ = net.link(node, HUB));
        net.settle();
        net.append(0, "later");
        net.settle();
        let order = net.order(HUB);
        net.nodes[0].dials = 1;
        net.restart(0, backup);
        net.link(0, HUB);
        net.append(0, "and on");
        net.settle();
        net.now += shared::limits::OWN_LANE;
        net.turn(0, vec![Input::Wake]);
        net.settle();
        net.assert_same(&[0, 1, HUB]);
        assert!(!net.replica(HUB).frozen().contains_key(&node_id(1)), "it signed a height twice, forked {forked}");
        assert_eq!(net.order(HUB)[..order.len()], order);
    }
}

#[test]
fn a_join_that_no_member_has_seen_goes_when_its_invite_is_closed() {
    let mut net = group();
    let invite = invite(&mut net, 0, 100, Role::Member, 2);
    net.settle();
    cut(&mut net, 0);
    net.inject(HUB, &join(8, 100, invite, net.now));
    assert_eq!(members(&net, HUB), nodes(&[1, 8]));
    wish(&mut net, 0, Wish::Close { invite }).unwrap();
    net.link(0, HUB);
    net.settle();
    net.assert_same(&[0, HUB]);
    assert_eq!(members(&net, HUB), nodes(&[1]));
}

#[test]
fn who_lost_blocks_of_its_own_that_were_void_signs_no_height_again() {
    let mut net = group();
    bring_in(&mut net, 0, 2, Role::Member);
    let invite = invite(&mut net, 0, 120, Role::Member, 2);
    net.settle();
    // The founder does not hear of the newcomer, and a member of its first word only.
    cut(&mut net, 0);
    net.nodes[1].join = Some(join(2, 120, invite, net.now).bytes().to_vec());
    net.nodes[1].epoch = net.replica(0).keys().current().cloned();
    net.restart(1, MemoryStore::default());
    net.link(1, HUB);
    net.settle();
    net.append(1, "one");
    net.settle();
    cut(&mut net, 2);
    net.append(2, "seen");
    net.append(1, "two");
    let last =
        net.verified(1).into_iter().find(|block| block.header().height == 3 && block.header().author == node_id(2));
    cut(&mut net, 1);
    wish(&mut net, 0, Wish::Close { invite }).unwrap();
    let import = |net: &mut Net, from: usize| {
        let blocks = net.verified(from).iter().map(|block| block.bytes().to_vec()).collect();
        net.turn(1, vec![Input::import(0, blocks)]);
    };
    import(&mut net, 0);
    assert_eq!(net.replica(1).height(&node_id(2)), 0);
    // What waits for a voucher does not outlive the process.
    let store = net.replica(1).store().clone();
    net.restart(1, store);
    import(&mut net, 2);
    assert_eq!(net.replica(1).height(&node_id(2)), 2);
    net.append(1, "three");
    assert_eq!(net.nodes[1].appended.pop(), Some(Err(shared::AppendError::Restored)));
    assert!(!net.replica(1).may_write());
    net.inject(1, &last.unwrap());
    net.append(1, "three");
    assert!(matches!(net.nodes[1].appended.pop(), Some(Ok(_))));
}

#[test]
fn who_learns_of_a_fork_by_which_it_is_out_itself_writes_nothing() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 1, 2, Role::Member);
    cut(&mut net, 2);
    let blocks = net.verified(2);
    let of_admin = |block: &&VerifiedBlock| block.header().author == node_id(2);
    let invite = blocks.iter().filter(of_admin).find(|block| block.entries()[0].kind == Kind::INVITE).unwrap();
    let other = block(2, invite.header().height, net.now, &invite.header().parents, Kind::DATA, b"1");
    net.inject(2, &other);
    assert!(net.replica(2).frozen().contains_key(&node_id(2)));
    assert_eq!((members(&net, 2), net.replica(2).may_write()), (nodes(&[1]), false));
}

#[test]
fn of_two_closings_that_had_waited_together_each_is_in_force() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Owner);
    let [by_seven, by_eight, by_nine] = [107, 108, 109].map(|secret| invite(&mut net, 0, secret, Role::Member, 2));
    net.inject(0, &join(7, 107, by_seven, net.now));
    net.settle();
    (0..2).for_each(|node| cut(&mut net, node));
    // The hub hears that 7 was removed, and lets two in whom no member has seen.
    wish(&mut net, 1, Wish::Remove { member: node_id(7) }).unwrap();
    net.link(1, HUB);
    net.settle();
    cut(&mut net, 1);
    net.inject(HUB, &join(8, 108, by_eight, net.now));
    net.inject(HUB, &join(9, 109, by_nine, net.now));
    assert_eq!(members(&net, HUB), nodes(&[1, 2, 8, 9]));
    // The founder closes both invites, on a word of 7 that waits at the hub until the founder's come.
    let word = block(7, 2, net.now, &[head(&net, 0, 7)], Kind::DATA, b"1");
    net.inject(0, &word);
    for invite in [by_eight, by_nine] {
        wish(&mut net, 0, Wish::Close { invite }).unwrap();
    }
    let blocks = net.verified(0).iter().map(|block| block.bytes().to_vec()).collect();
    net.turn(HUB, vec![Input::import(0, blocks)]);
    assert!(net.blocks(HUB).contains(&word.hash()));
    assert_eq!(members(&net, HUB), nodes(&[1, 2]));
    (0..2).for_each(|node| _ = net.link(node, HUB));
    net.settle();
    net.assert_same(&[0, 1, HUB]);
}

/// Members, liars, sock puppets and a hub at war, on the rules alone: whatever comes in whatever order, all who belong end
/// with the same ledger, and so does whoever gets its blocks shuffled.
fn war(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut net = group();
    bring_in(&mut net, 0, 1, [Role::Owner, Role::Admin][random.below(2)]);
    bring_in(&mut net, random.below(2), 2, [Role::Admin, Role::Member][random.below(2)]);
    let mut made: Vec<VerifiedBlock> = net.verified(HUB);
    let mut secret = 120;
    let mut puppet = 200;
    // What each has seen while it could write.
    let mut seen: Seen = Default::default();
    for _ in 0..random.below(50) + 10 {
        note_seen(&net, &mut seen);
        let node = random.below(3);
        made.extend(net.verified(node).into_iter().filter(|block| !made.contains(block)).collect::<Vec<_>>());
        match random.below(14) {
            0 | 1 => net.append(node, "word"),
            2 => {
                let key = node_id(secret);
                secret += 1;
                let uses = 1 + random.below(2) as u32;
                let _ = wish(&mut net, node, Wish::Invite { key, role: Role::Member, uses, expires: Timestamp::MAX });
            }
            3 => {
                let target = random.below(3) as u8 + 1;
                let _ = wish(&mut net, node, Wish::Remove { member: node_id(target) });
            }
            4 | 5 => {
                if !net.ends.keys().any(|end| end.node == node) {
                    net.link(node, HUB);
                }
            }
            6 => {
                if net.ends.keys().any(|end| end.node == node) {
                    cut(&mut net, node);
                }
            }
            7 => {
                // Somebody comes in, or says so, by any invite that it has heard of.
                let invites: Vec<&VerifiedBlock> =
                    made.iter().filter(|b| b.entries()[0].kind == Kind::INVITE).collect();
                if !invites.is_empty() {
                    let by = invites[random.below(invites.len())];
                    let invite = Invite::decode(by.entries()[0].payload().unwrap()).unwrap();
                    let secret = (100..=u8::MAX).find(|n| node_id(*n) == invite.key).unwrap();
                    let time = by.end().micros() + random.below(3) as u64 * 500;
                    let block = join(puppet, secret, by.hash(), time);
                    puppet += 1;
                    made.push(block.clone());
                    net.inject([node, HUB][random.below(2)], &block);
                }
            }
            8 | 9 => {
                // A liar writes what it likes on what it has heard of: a second block of a height, an invite, an alibi.
                let author = if puppet > 200 && random.below(2) == 0 {
                    200 + random.below(usize::from(puppet) - 200) as u8
                } else {
                    3
                };
                let own: Vec<&VerifiedBlock> = made.iter().filter(|b| b.header().author == node_id(author)).collect();
                if let Some(before) = own.get(random.below(own.len().max(1))) {
                    let other = &made[random.below(made.len())];
                    let mut parents = vec![before.hash()];
                    parents.extend((other.header().author != node_id(author)).then(|| other.hash()));
                    let time = before.end().max(other.end()).micros() + random.below(2) as u64 * 700;
                    let first = own.iter().find(|b| b.header().height == 1).map(|b| b.hash());
                    let lets_in = random.below(3) == 0 && first.is_some();
                    let (kind, payload) = if lets_in {
                        let (join, key, uses) = (first.unwrap(), node_id(secret), 1);
                        secret += 1;
                        (Kind::INVITE, Invite { join, key, role: Role::Member, uses, expires: Timestamp::MAX }.encode())
                    } else {
                        (Kind::DATA, b"1".to_vec())
                    };
                    let block = block(author, before.header().height + 1, time, &parents, kind, &payload);
                    made.push(block.clone());
                    net.inject([node, HUB][random.below(2)], &block);
                }
            }
            10 | 11 => {
                // Somebody erases what it may, or tries to.
                let entries: Vec<EntryId> = made.iter().map(|block| block.entry_id(0)).collect();
                let _ = wish(&mut net, node, Wish::Erase { entry: entries[random.below(entries.len())] });
            }
            _ => (0..random.below(20)).for_each(|_| _ = net.step(random.below(9))),
        }
    }
    for _ in 0..4 {
        for node in 0..3 {
            if !net.ends.keys().any(|end| end.node == node) {
                net.link(node, HUB);
            }
        }
        net.settle();
    }
    let here: Vec<usize> = (0..3).filter(|node| net.ends.keys().any(|end| end.node == *node)).chain([HUB]).collect();
    if here.contains(&0) {
        net.assert_same(&here);
    }
    check_seen(&net, &here, &seen);
    let mut blocks: Vec<Vec<u8>> = net.verified(HUB).iter().map(|block| block.bytes().to_vec()).collect();
    for i in (1..blocks.len()).rev() {
        blocks.swap(i, random.below(i + 1));
    }
    let mut other = Net::of(Some(ledger()), &[false]);
    other.now = net.now;
    other.turn(0, vec![Input::import(0, blocks)]);
    assert_eq!(other.order(0), net.order(HUB));
    let names = |replica: &Replica<MemoryStore>| {
        replica.members().unwrap().iter().map(|member| member.node).collect::<Vec<_>>()
    };
    assert_eq!(names(other.replica(0)), names(net.replica(HUB)));
    // What is erased is so for everybody, and nothing is missing that anybody has.
    for entry in net.verified(HUB).iter().map(|block| block.entry_id(0)) {
        let at_hub = erased(&net, HUB, &entry).0;
        assert_eq!(erased(&other, 0, &entry).0, at_hub, "{entry}");
        for node in here.iter().filter(|_| here.contains(&0)) {
            assert_eq!(erased(&net, *node, &entry).0, at_hub, "{entry} at {node}");
        }
    }
}

/// Blocks by node, with their authors.
type Seen = [BTreeMap<BlockHash, NodeId>; 3];

fn note_seen(net: &Net, seen: &mut Seen) {
    let all = Page { blocks: usize::MAX, bytes: usize::MAX };
    for (node, seen) in seen.iter_mut().enumerate().filter(|(node, _)| net.replica(*node).may_write()) {
        let records = net.replica(node).store().after(None, all).unwrap();
        seen.extend(records.iter().map(|record| (record.summary.hash, record.summary.author)));
    }
}

/// What a member has seen while it could write stays, unless its author lost a race for an invite or the member's own word
/// does not count: because it was removed, or one by whom it came in.
fn check_seen(net: &Net, here: &[usize], seen: &Seen) {
    let frozen = net.replica(HUB).frozen();
    let listed = net.replica(HUB).members().unwrap();
    let inviter = |node: NodeId| listed.iter().find(|member| member.node == node).and_then(|member| member.by);
    let is_sound = |node: NodeId| {
        let mut chain = std::iter::successors(Some(node), |node| inviter(*node));
        chain.all(|node| !frozen.contains_key(&node))
    };
    let order = net.blocks(HUB);
    for (node, seen) in seen.iter().enumerate().filter(|(node, _)| here.contains(node)) {
        if !is_sound(node_id(net.nodes[node].number)) {
            continue;
        }
        for (gone, author) in seen.iter().filter(|(hash, _)| !order.contains(hash)) {
            let came_in = listed.iter().any(|member| member.node == *author);
            assert!(!came_in, "{node} had seen {gone} of {author:?}");
        }
    }
}

#[test]
fn wars_end_with_one_ledger() {
    let number = |name, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (first, count) = (number("CAIRN_SEED", 0), number("CAIRN_SEEDS", 100));
    for seed in first..first + count {
        let result = std::panic::catch_unwind(|| war(seed));
        assert!(result.is_ok(), "CAIRN_SEED={seed} CAIRN_SEEDS=1 shows it again");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}
