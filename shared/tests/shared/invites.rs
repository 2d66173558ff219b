//! Invites: the list of them, the tokens that are made of them, and keys that may not be used again.

use crate::common::{
    Net, at,
    group::{HUB, bring_in, group, invite, join, ledger, wish},
    key, node_id,
};
use shared::{
    BlockHash, Key, MemoryStore, Timestamp, Token,
    effect::{Wish, WishError},
    limits::INVITES,
    members::{Genesis, Join, Role},
};
use zeroize::Zeroizing;

fn secret(n: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([n; 32])
}

/// Block, used, closed.
fn list(net: &Net, node: usize) -> Vec<(BlockHash, u32, bool)> {
    let invites = net.replica(node).invites().unwrap();
    invites.iter().map(|invite| (invite.block, invite.used, invite.closed)).collect()
}

#[test]
fn with_nothing_but_a_token_a_newcomer_comes_in_and_reads() {
    let mut net = group();
    net.append(0, "before");
    let made = invite(&mut net, 0, 100, Role::Member, 1);
    net.settle();
    let relays = vec!["wss://relay.example".to_owned()];
    let token = net.replica(0).token(&made, secret(100), relays.clone()).unwrap().unwrap();
    let token = Token::parse(&token.encode().unwrap()).unwrap();
    assert_eq!((&token.relays, token.invite), (&relays, made));
    let ledger = Genesis::decode(&token.genesis).unwrap().ledger();
    assert_eq!(ledger, net.ledger.unwrap());
    // Its clock stands far behind.
    let join = Join::sign(&Key::from_secret(&token.secret), &ledger, token.invite, &node_id(2));
    let first = join.block(ledger, &key(2), token.end, at(1), [9; 16]);
    net.nodes[1].join = Some(first.bytes().to_vec());
    net.nodes[1].epoch = token.key;
    net.restart(1, MemoryStore::default());
    net.link(1, HUB);
    net.settle();
    assert_eq!(net.replica(HUB).members().unwrap().len(), 2);
    net.append(1, "after");
    net.settle();
    net.assert_same(&[0, 1, HUB]);
    let replica = net.replica(1);
    let views = shared::view::after(replica.store(), None, 100, replica.keys()).unwrap();
    let texts: Vec<&str> = views.iter().filter(|view| view.kind == "data").map(|view| view.data.get()).collect();
    assert_eq!(texts, ["\"before\"", "\"after\""]);
}

#[test]
fn a_token_is_made_of_an_invite_and_its_secret_only() {
    let mut net = group();
    let made = invite(&mut net, 0, 100, Role::Member, 1);
    net.settle();
    let token = |node, block: &BlockHash, n| net.replica(node).token(block, secret(n), vec![]).unwrap();
    assert!(token(0, &made, 100).is_some());
    assert!(token(0, &made, 101).is_none());
    assert!(token(0, &net.order(0)[0], 100).is_none());
    assert!(token(0, &BlockHash::from_bytes([1; 32]), 100).is_none());
    assert_eq!(net.replica(HUB).genesis().unwrap(), net.replica(0).genesis().unwrap());
    assert_eq!(net.replica(0).genesis().unwrap().map(|genesis| genesis.ledger()), Some(ledger()));
    // Without a key of its own it hands none on, least of all an older one.
    assert_eq!(token(HUB, &made, 100).unwrap().key, None);
    let open = Net::new(&[true]);
    assert!(open.replica(0).genesis().unwrap().is_none());
    assert!(open.replica(0).token(&made, secret(100), vec![]).unwrap().is_none());
}

#[test]
fn invites_are_listed_with_what_became_of_them() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    let expires = at(net.now + 1_000_000);
    let (a, b) = (invite(&mut net, 0, 110, Role::Member, 2), invite(&mut net, 1, 111, Role::Reader, 1));
    let c = wish(&mut net, 0, Wish::Invite { key: node_id(112), role: Role::Admin, uses: 5, expires }).unwrap();
    net.settle();
    net.inject(0, &join(8, 110, a, net.now + 5_000));
    wish(&mut net, 0, Wish::Close { invite: c }).unwrap();
    net.settle();
    let first = net.replica(0).invites().unwrap()[0].clone();
    assert_eq!((first.key, first.used, first.uses, first.closed), (node_id(101), 1, 1, true));
    let expected = [(first.block, 1, true), (a, 1, false), (b, 0, false), (c, 0, true)];
    for node in [0, 1, HUB] {
        assert_eq!(list(&net, node), expected);
    }
    let second = net.replica(HUB).invites().unwrap()[2].clone();
    assert_eq!((second.by, second.role, second.expires), (node_id(2), Role::Reader, Timestamp::MAX));
    assert_eq!(net.replica(HUB).invites().unwrap()[3].expires, expires);
    for checkpoint in [false, true] {
        if checkpoint {
            net.nodes[HUB].replica.as_mut().unwrap().checkpoint().unwrap();
        }
        net.hibernate(HUB);
        assert_eq!(list(&net, HUB), expected);
    }
}

#[test]
fn an_invite_of_a_block_that_a_removal_takes_away_lets_nobody_in() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Admin);
    bring_in(&mut net, 0, 2, Role::Member);
    let end = *net.ends.keys().find(|end| end.node == 0).unwrap();
    net.cut(end);
    // Node 2 has seen it, so it stays in the ledger; who comes in by it now needs a voucher.
    let made = invite(&mut net, 1, 110, Role::Member, 1);
    net.settle();
    wish(&mut net, 0, Wish::Remove { member: node_id(2) }).unwrap();
    net.link(0, HUB);
    net.settle();
    assert_eq!(list(&net, 0).last(), Some(&(made, 0, true)));
}

#[test]
fn a_key_is_used_for_one_invite_only() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    let made = invite(&mut net, 0, 110, Role::Member, 2);
    let again = |n| Wish::Invite { key: node_id(n), role: Role::Member, uses: 1, expires: Timestamp::MAX };
    // Of an open invite, of one that is used up, of the founder, of a member.
    for n in [110, 101, 1, 2] {
        assert_eq!(wish(&mut net, 0, again(n)), Err(WishError::UsedKey(node_id(n))));
    }
    wish(&mut net, 0, Wish::Close { invite: made }).unwrap();
    assert_eq!(wish(&mut net, 0, again(110)), Err(WishError::UsedKey(node_id(110))));
    assert!(wish(&mut net, 0, again(111)).is_ok());
}

#[test]
fn of_too_many_invites_the_closed_ones_are_left_out_first_and_then_the_oldest() {
    let mut net = Net::of(Some(ledger()), &[true]);
    wish(&mut net, 0, Wish::Found { salt: crate::common::group::SALT }).unwrap();
    let mut made = Vec::new();
    let mut another = |net: &mut Net| {
        let number = made.len() as u32;
        let mut bytes = [200; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let key = Key::from_secret(&bytes).node();
        made.push(wish(net, 0, Wish::Invite { key, role: Role::Member, uses: 1, expires: Timestamp::MAX }).unwrap());
        *made.last().unwrap()
    };
    let all: Vec<BlockHash> = (0..INVITES).map(|_| another(&mut net)).collect();
    assert_eq!(list(&net, 0).len(), INVITES);
    wish(&mut net, 0, Wish::Close { invite: all[7] }).unwrap();
    let more = [another(&mut net), another(&mut net)];
    let expected: Vec<BlockHash> = all.iter().filter(|hash| **hash != all[7]).skip(1).chain(&more).copied().collect();
    assert_eq!(list(&net, 0).iter().map(|(hash, ..)| *hash).collect::<Vec<_>>(), expected);
}
