//! What fuzzing found: each as the shortest case that showed it.

use crate::common::{Net, at, block, config, node_id};
use shared::{
    Input, LinkId, MemoryStore, Page, ReadStore, Replica, ReplicaError, Store, Summary, Timestamp, VerifiedBlock,
    replica::OpenError,
    wire::{Envelope, Message},
};

fn summary(seq: u64, block: &VerifiedBlock) -> Summary {
    let header = block.header();
    let (author, height, timestamp) = (header.author, header.height, header.timestamp);
    Summary { seq, hash: block.hash(), author, height, timestamp, entries: block.entries().len() as u32 }
}

fn restore(store: MemoryStore) -> Result<Replica<MemoryStore>, OpenError<core::convert::Infallible>> {
    Replica::restore(config(1, true, 9), store, &[], at(2_000_000), &mut Vec::new())
}

fn append(replica: &mut Replica<MemoryStore>) -> Result<(), ReplicaError<core::convert::Infallible>> {
    let mut effects = Vec::new();
    let input = Input::Append { token: 0, payloads: vec![b"1".to_vec()] };
    replica.handle(at(2_000_000), input, &mut effects)?;
    replica.commit(at(2_000_000), &mut effects)
}

#[test]
fn a_peer_may_say_that_any_number_of_blocks_is_to_come() {
    let mut net = Net::new(&[true, true]);
    let (end, _) = net.link(0, 1);
    net.settle();
    let news = block(9, 1, 1_000_000, &[], &[b"1"]);
    let message = Message::announce(vec![news.bytes().to_vec()], u64::MAX);
    let envelope = Envelope { message_id: [0; 16], sender: node_id(2), recipient: None, message };
    net.turn(0, vec![Input::Frame { link: end.link, bytes: envelope.encode() }]);
    assert_eq!(net.nodes[0].progress.last(), Some(&(1, u64::MAX)));
}

#[test]
fn the_last_arrival_number_has_none_behind_it() {
    let mut store = MemoryStore::default();
    let Ok(()) = store.append(&summary(u64::MAX, &block(9, 1, 1_000_000, &[], &[b"1"])), b"");
    let Ok(behind) = store.arrived(u64::MAX, Page::ONE);
    assert!(behind.is_empty());
}

#[test]
fn a_row_that_its_block_contradicts_stops_the_start() {
    let one = block(9, 1, 1_000_000, &[], &[b"1"]);
    let right = summary(1, &one);
    let cases = [
        Summary { seq: 1 << 53, ..right },
        Summary { height: 2, ..right },
        Summary { author: node_id(8), ..right },
        Summary { timestamp: Timestamp::MAX, ..right },
    ];
    for wrong in cases {
        let mut store = MemoryStore::default();
        let Ok(()) = store.append(&wrong, one.bytes());
        assert!(matches!(restore(store), Err(OpenError::Damaged(_))), "{wrong:?}");
    }
    let mut store = MemoryStore::default();
    let Ok(()) = store.append(&right, one.bytes());
    assert!(restore(store).is_ok());
}

#[test]
fn a_checkpoint_with_impossible_numbers_stops_the_start() {
    // [arrival number, blocks, entries, bytes, no last block, no lanes, no tips]
    let most = [0x1b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let more = [0x1b, 0, 0x20, 0, 0, 0, 0, 0, 0];
    for field in 0..4 {
        let checkpoint = |number: &[u8]| {
            let numbers: Vec<u8> = (0..4).flat_map(|i| if i == field { number.to_vec() } else { vec![0] }).collect();
            [&[0x87][..], &numbers, &[0x80, 0x80, 0x80]].concat()
        };
        for (number, opens) in [(most, true), (more, false)] {
            let mut store = MemoryStore::default();
            let Ok(()) = store.set_meta("checkpoint", &checkpoint(&number));
            assert_eq!(restore(store).is_ok(), opens, "field {field}");
        }
    }
}

#[test]
fn a_store_that_lost_the_own_head_is_not_written_again_from_height_one() {
    let mut replica = restore(MemoryStore::default()).ok().unwrap();
    append(&mut replica).unwrap();
    replica.checkpoint().unwrap();
    // Another author's block on top, so that the own head is a tip no more and is looked up.
    let head = replica.heads()[&node_id(1)][0].1;
    let above = block(9, 1, 3_000_000, &[head], &[b"1"]);
    let input = Input::import(0, vec![above.bytes().to_vec()]);
    replica.handle(at(3_000_000), input, &mut Vec::new()).unwrap();
    replica.checkpoint().unwrap();
    let mut store = replica.store().clone();
    let Ok(()) = store.remove(&head);
    let mut replica = restore(store).ok().unwrap();
    assert!(matches!(append(&mut replica), Err(ReplicaError::Damaged(hash)) if hash == head));
}

#[test]
fn rows_in_an_order_that_blocks_cannot_have_are_damage() {
    // A child whose time is before its parent's: no replica adds it, but a changed file may hold it.
    let parent = block(9, 1, 1_500_000, &[], &[b"1"]);
    let child = block(8, 1, 1_000_000, &[parent.hash()], &[b"1"]);
    let mut store = MemoryStore::default();
    let Ok(()) = store.append(&summary(1, &parent), parent.bytes());
    let Ok(()) = store.append(&summary(2, &child), child.bytes());
    let mut replica = restore(store).ok().unwrap();
    // The other half of a fork of each: what is void is looked for from the first of them on.
    let forks = [block(8, 1, 1_000_000, &[], &[b"2"]), block(9, 1, 1_500_000, &[], &[b"2"])];
    let import = |fork: &VerifiedBlock| Input::import(0, vec![fork.bytes().to_vec()]);
    let result = forks.iter().try_for_each(|fork| replica.handle(at(2_000_000), import(fork), &mut Vec::new()));
    assert!(matches!(result, Err(ReplicaError::Damaged(_))), "{result:?}");
}

#[test]
fn a_lane_with_a_hole_stops_the_start() {
    let mut store = MemoryStore::default();
    let mut parents = Vec::new();
    for height in 1..=3 {
        let block = block(9, height, 1_000_000 + height, &parents, &[b"1"]);
        parents = vec![block.hash()];
        let Ok(()) = store.append(&summary(height, &block), block.bytes());
    }
    assert!(restore(store.clone()).is_ok());
    let Ok(records) = store.lane(&node_id(9), 2, Page::ONE);
    let Ok(()) = store.remove(&records[0].summary.hash);
    assert!(matches!(restore(store), Err(OpenError::Damaged(_))));
}

#[test]
fn a_link_state_of_any_bytes_opens_a_link() {
    for state in [&[][..], &[0; 98], &[0; 99], &[255; 99], &[2; 200]] {
        let links = [(LinkId(1), state.to_vec())];
        let mut effects = Vec::new();
        let opened = Replica::restore(config(1, false, 1), MemoryStore::default(), &links, at(1_000_000), &mut effects);
        assert_eq!(opened.ok().unwrap().links().len(), 1);
    }
}
