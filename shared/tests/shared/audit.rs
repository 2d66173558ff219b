//! Histories that somebody else keeps, checked from outside.

use shared::{
    Block, EntryId, Keyring, LedgerId, Page, ReadStore, Timestamp, VerifiedBlock,
    audit::{Audit, AuditError, Order},
    effect::Wish,
    members::Role,
};

use crate::common::{
    Net, block,
    group::{self, bring_in, group, wish},
    node_id,
};

const ALL: Page = Page { blocks: usize::MAX, bytes: usize::MAX };

/// The blocks of a node in the order in which it got them.
fn given(net: &Net, node: usize) -> Vec<Vec<u8>> {
    let records = net.replica(node).store().arrived(0, ALL).unwrap();
    records.into_iter().map(|record| record.bytes).collect()
}

/// The ledger that a node's blocks name.
fn ledger_of(net: &Net, node: usize) -> LedgerId {
    Block::decode(&given(net, node)[0]).unwrap().header().ledger
}

fn now(net: &Net) -> Timestamp {
    Timestamp::from_micros(net.now).unwrap()
}

/// Takes in all of them and checks each signature.
fn audit(net: &Net, node: usize) -> Audit {
    let mut audit = Audit::new(ledger_of(net, node));
    for bytes in given(net, node) {
        audit.add(&bytes, now(net)).unwrap().check().unwrap();
    }
    audit
}

/// Three who write at once, with and without each other.
fn open() -> Net {
    let mut net = Net::new(&[true, true, false]);
    net.link(0, 2);
    net.link(1, 2);
    for round in 0..6 {
        net.append(0, &format!("a{round}"));
        net.append(1, &format!("b{round}"));
        if round % 2 == 1 {
            net.settle();
        }
    }
    net.settle();
    net
}

#[test]
fn what_was_given_in_whole_is_what_the_node_has() {
    let net = open();
    for node in 0..3 {
        let audit = audit(&net, node);
        assert_eq!(audit.totals(), net.replica(node).totals());
        assert_eq!(audit.digest(), net.replica(node).digest());
        assert_eq!((audit.authors(), audit.forks()), (2, 0));
    }
}

#[test]
fn both_orders_are_gone_through_without_a_gap() {
    let net = open();
    let audit = audit(&net, 2);
    let walk = |order| {
        let mut ids: Vec<EntryId> = Vec::new();
        while let Some(id) = audit.next(order, ids.last()).unwrap() {
            ids.push(id);
        }
        ids
    };
    let of = |blocks: Vec<VerifiedBlock>| -> Vec<EntryId> {
        blocks
            .iter()
            .flat_map(|block| (0..block.entries().len()).map(|i| block.entry_id(i)).collect::<Vec<_>>())
            .collect()
    };
    assert_eq!(walk(Order::Ledger), of(net.verified(2)));
    let arrived = given(&net, 2).iter().map(|bytes| Block::decode(bytes).unwrap().verify().unwrap()).collect();
    assert_eq!(walk(Order::Given), of(arrived));
    let stranger = EntryId { author: node_id(77), height: 1, index: 0 };
    assert!(audit.next(Order::Ledger, Some(&stranger)).is_err());
}

#[test]
fn a_changed_byte_is_found_in_the_block_that_it_is_in() {
    let net = open();
    let blocks = given(&net, 2);
    let target = 7;
    for place in 0..blocks[target].len() {
        let mut audit = Audit::new(ledger_of(&net, 2));
        for bytes in &blocks[..target] {
            audit.add(bytes, now(&net)).unwrap();
        }
        let mut changed = blocks[target].clone();
        changed[place] ^= 1;
        let proved = audit.add(&changed, now(&net)).map(|claim| claim.check());
        assert!(!matches!(proved, Ok(Ok(()))), "byte {place}");
    }
}

#[test]
fn a_block_that_was_left_out_is_missed_by_the_first_that_rests_on_it() {
    let net = open();
    let blocks = given(&net, 2);
    let left_out = Block::decode(&blocks[3]).unwrap().hash();
    let mut audit = Audit::new(ledger_of(&net, 2));
    let others = blocks.iter().enumerate().filter(|(number, _)| *number != 3);
    let wrong = others.map(|(_, bytes)| audit.add(bytes, now(&net))).find_map(Result::err);
    assert_eq!(wrong, Some(AuditError::Missing(left_out)));
}

#[test]
fn blocks_out_of_order_twice_or_of_another_ledger_are_found() {
    let net = open();
    let blocks = given(&net, 2);
    let mut audit = Audit::new(ledger_of(&net, 2));
    assert!(matches!(audit.add(blocks.last().unwrap(), now(&net)), Err(AuditError::Missing(_))));
    audit.add(&blocks[0], now(&net)).unwrap();
    assert_eq!(audit.add(&blocks[0], now(&net)), Err(AuditError::Twice));
    let mut other = Audit::new(group::ledger());
    assert!(matches!(other.add(&blocks[0], now(&net)), Err(AuditError::Block(_))));
    assert_eq!(audit.totals().blocks, 1);
}

#[test]
fn times_that_go_back_and_heights_that_jump_break_a_rule() {
    let net = open();
    let mut audit = audit(&net, 2);
    let newest = net.verified(2).pop().unwrap();
    for wrong in [block(9, 1, 5, &[newest.hash()], &[b"1"]), block(1, 90, net.now, &[newest.hash()], &[b"1"])] {
        assert!(matches!(audit.add(wrong.bytes(), now(&net)), Err(AuditError::Rule(_))));
    }
    let tomorrow = block(9, 1, net.now + 86_400_000_000, &[newest.hash()], &[b"1"]);
    assert!(matches!(audit.add(tomorrow.bytes(), now(&net)), Err(AuditError::Early(_))));
}

#[test]
fn a_fork_is_counted_and_freezes_as_it_does_for_the_node() {
    let mut net = open();
    let parents: Vec<_> = net.verified(2).last().map(|block| block.hash()).into_iter().collect();
    for text in [b"\"one\"", b"\"two\""] {
        net.now += 1_000;
        let forked = block(50, 1, net.now, &parents, &[text]);
        net.inject(0, &forked);
    }
    net.settle();
    for node in 0..2 {
        let audit = audit(&net, node);
        assert_eq!(audit.digest(), net.replica(node).digest(), "node {node}");
        assert_eq!(audit.totals(), net.replica(node).totals());
    }
    assert_eq!(audit(&net, 0).forks(), 1);
}

#[test]
fn a_group_is_checked_with_those_who_belong_and_what_is_sealed_opens() {
    let mut net = group();
    bring_in(&mut net, 0, 1, Role::Member);
    bring_in(&mut net, 0, 2, Role::Member);
    net.append(1, "within");
    net.settle();
    wish(&mut net, 0, Wish::Remove { member: node_id(3) }).unwrap();
    net.settle();
    net.append(1, "later");
    net.settle();
    let mut audit = audit(&net, 1);
    assert_eq!(audit.digest(), net.replica(1).digest());
    assert_eq!(audit.totals(), net.replica(1).totals());
    let said = net.verified(1).into_iter().rfind(|block| block.header().author == node_id(2)).unwrap().entry_id(0);
    assert!(audit.entry(&said, &Keyring::default()).unwrap().sealed);
    assert_eq!(audit.entry(&said, net.replica(1).keys()).unwrap().data.get(), "\"later\"");
    // Somebody who was never asked in signs as well as anybody.
    let parent = group::head(&net, 1, 1);
    let stranger = group::block(40, 1, net.now, &[parent], shared::Kind::DATA, b"let me");
    assert!(matches!(audit.add(stranger.bytes(), now(&net)), Err(AuditError::Rule(_))));
}

#[test]
fn a_key_or_signature_of_small_order_proves_nothing_whoever_checks_it() {
    let net = open();
    let mut audit = audit(&net, 2);
    let good = block(60, 1, net.now, &[], &[b"1"]);
    let mut bytes = good.bytes().to_vec();
    let signature = bytes.len() - 64;
    // The neutral point: its signatures fit every message where nobody looks at the order.
    bytes[signature..].fill(0);
    bytes[signature] = 1;
    assert!(matches!(audit.add(&bytes, now(&net)), Err(AuditError::Key(_))));
    let weak: [u8; 32] = core::array::from_fn(|i| u8::from(i == 0));
    let author = good.bytes().windows(32).position(|window| window == node_id(60).as_bytes()).unwrap();
    let mut bytes = good.bytes().to_vec();
    bytes[author..author + 32].copy_from_slice(&weak);
    assert!(matches!(audit.add(&bytes, now(&net)), Err(AuditError::Key(_))));
}
