//! A key that comes back without its store: nothing is signed before a peer has given it its lane.

use std::collections::BTreeSet;

use crate::common::{Net, node_id};
use shared::{
    AppendError, Input, Kind, LinkId, MemoryStore, Page, ReadStore, Replica, Role, Store, Timestamp,
    effect::{Wish, WishError},
    limits,
    members::{Genesis, Join, Role as MemberRole},
    replica::{META_EPOCHS, note_restored},
    seal::Place,
};

const HUB: usize = 1;
/// Number of node 0's spare key.
const SPARE: u8 = 50;

/// A writer and a hub, and what the writer wrote.
fn pair(blocks: usize) -> Net {
    let mut net = Net::new(&[true, false]);
    net.link(0, HUB);
    (0..blocks).for_each(|i| net.append(0, &format!("before {i}")));
    net.settle();
    net
}

/// What a backup gives back of a node: an empty store with a note.
fn restored(node: u8, height: u64) -> MemoryStore {
    let mut store = MemoryStore::default();
    note_restored(&mut store, &node_id(node), height).unwrap();
    store
}

fn restart(net: &mut Net, store: MemoryStore, dials: u32) {
    net.nodes[0].dials = dials;
    net.nodes[0].appended.clear();
    net.restart(0, store);
}

#[track_caller]
fn assert_refused(net: &mut Net) {
    net.nodes[0].appended.clear();
    net.append(0, "too early");
    assert_eq!(net.nodes[0].appended, [Err(AppendError::Restored)]);
    assert!(net.replica(0).is_restoring() && !net.replica(0).may_write());
}

fn append(net: &mut Net, node: usize, text: &str) -> u64 {
    net.append(node, text);
    net.nodes[node].appended.last().unwrap().as_ref().unwrap()[0].height
}

#[track_caller]
fn assert_no_fork(net: &Net) {
    for node in 0..net.nodes.len() {
        let mut heights = BTreeSet::new();
        for block in net.verified(node) {
            assert!(heights.insert((block.header().author, block.header().height)), "node {node}");
        }
        assert!(net.nodes[node].forks.is_empty(), "node {node}");
    }
}

/// Lets all deadlines pass.
fn wait(net: &mut Net) {
    for _ in 0..10 {
        net.now += limits::OWN_LANE_MOST;
        net.turn(0, vec![Input::Wake]);
    }
}

#[test]
fn a_restored_key_goes_on_in_its_lane_once_a_peer_has_given_it() {
    let mut net = pair(5);
    // The backup was made after three blocks.
    restart(&mut net, restored(1, 3), 1);
    assert_refused(&mut net);
    net.link(0, HUB);
    net.settle();
    assert!(!net.replica(0).is_restoring());
    assert_eq!(append(&mut net, 0, "after"), 6);
    net.settle();
    net.assert_equal();
    assert_no_fork(&net);
    // From now on it is a node as any other.
    let store = net.replica(0).store().clone();
    restart(&mut net, store, 0);
    assert_eq!(append(&mut net, 0, "alone"), 7);
}

#[test]
fn no_deadline_and_no_failed_dial_lets_a_restored_key_write() {
    for dials in 0..3 {
        let mut net = Net::new(&[true]);
        restart(&mut net, restored(1, 0), dials);
        for _ in 0..dials {
            net.turn(0, vec![Input::DialFailed]);
        }
        wait(&mut net);
        net.turn(0, vec![Input::relay_opened(LinkId(999), Role::Dialled)]);
        wait(&mut net);
        assert_refused(&mut net);
        // Nor does another start.
        let store = net.replica(0).store().clone();
        restart(&mut net, store, dials);
        wait(&mut net);
        assert_refused(&mut net);
    }
}

#[test]
fn a_peer_that_knows_nothing_of_the_lane_is_not_enough() {
    let mut net = Net::new(&[true, true]);
    net.append(1, "somebody else's");
    restart(&mut net, restored(1, 0), 1);
    net.link(0, 1);
    net.settle();
    assert_eq!(net.texts(0), net.texts(1), "what the peer has is read");
    wait(&mut net);
    assert_refused(&mut net);
    // The next peer has it: with a key that was never seen to write, one block.
    let mut other = pair(1);
    let store = other.nodes[HUB].replica.take().unwrap().store().clone();
    net.restart(1, store);
    net.link(0, 1);
    net.settle();
    assert_eq!(append(&mut net, 0, "after"), 2);
    assert_no_fork(&net);
}

#[test]
fn a_peer_with_less_of_the_lane_than_the_backup_knew_is_not_enough() {
    let mut net = pair(3);
    restart(&mut net, restored(1, 4), 1);
    net.link(0, HUB);
    net.settle();
    assert_eq!(net.replica(0).height(&node_id(1)), 3);
    wait(&mut net);
    assert_refused(&mut net);
}

#[test]
fn a_peer_that_withholds_the_lane_is_not_enough() {
    let mut net = pair(3);
    restart(&mut net, restored(1, 0), 1);
    let (near, _) = net.link(0, HUB);
    // The last packets are the blocks.
    while net.replica(0).links()[0].node.is_none() {
        assert!(net.step(0));
    }
    let is_blocks = |bytes: &[u8]| {
        let envelopes = shared::wire::decode_frame(bytes).unwrap();
        envelopes.iter().any(|e| matches!(e.message, shared::wire::Message::EntryAnnounce { .. }))
    };
    loop {
        let next = net.queues.get(&near).and_then(|queue| queue.front());
        if matches!(next, Some(crate::common::Packet::Frame(bytes)) if is_blocks(bytes)) {
            net.queues.remove(&near);
        }
        if !net.step(0) {
            break;
        }
    }
    wait(&mut net);
    assert_eq!(net.replica(0).height(&node_id(1)), 0);
    assert_refused(&mut net);
}

#[test]
fn what_a_file_gave_and_a_peer_has_from_here_is_not_enough() {
    let mut net = pair(5);
    let blocks = net.verified(0);
    // The hub has lost everything, and the file is older than the last blocks.
    net.restart(HUB, MemoryStore::default());
    restart(&mut net, restored(1, 3), 1);
    blocks[..4].iter().for_each(|block| net.inject(0, block));
    for _ in 0..2 {
        let (near, _) = net.link(0, HUB);
        net.settle();
        wait(&mut net);
        assert_refused(&mut net);
        net.cut(near);
    }
    assert_eq!(net.replica(HUB).totals().blocks, 0, "it was given what it should tell");
    assert_eq!(net.replica(0).totals().blocks, 4);
}

#[test]
fn a_restored_key_whose_lane_is_forked_goes_on_with_its_successor() {
    let mut net = pair(3);
    let copy = net.replica(0).store().clone();
    net.append(0, "one life");
    net.settle();
    let (end, _) = net.ends.iter().next().map(|(a, b)| (*a, *b)).unwrap();
    net.cut(end);
    restart(&mut net, copy, 0);
    net.append(0, "another life");
    let fork = net.verified(0);
    net.inject(HUB, fork.last().unwrap());
    assert_eq!(net.replica(HUB).frozen().len(), 1);
    net.nodes[0].successor = Some(SPARE);
    restart(&mut net, restored(1, 3), 1);
    // The first link brings the fork, the second one is dialled with the new key.
    for _ in 0..2 {
        net.link(0, HUB);
        net.settle();
    }
    assert_eq!(net.nodes[0].succeeded, [(node_id(1), node_id(SPARE))]);
    assert!(!net.replica(0).is_restoring());
    net.append(0, "after");
    net.settle();
    net.assert_equal();
    assert!(net.texts(HUB).contains(&"\"after\"".to_owned()));
}

const SALT: [u8; 16] = [5; 16];

fn genesis() -> Genesis {
    Genesis { founder: node_id(1), salt: SALT }
}

fn wish(net: &mut Net, node: usize, wish: Wish) -> Result<shared::BlockHash, WishError> {
    net.now += 1_000;
    net.turn(node, vec![Input::Control { token: 0, wish }]);
    net.nodes[node].granted.pop().unwrap()
}

/// A founder, a member, and a hub.
fn group() -> Net {
    let mut net = Net::of(Some(genesis().ledger()), &[true, false, true]);
    wish(&mut net, 0, Wish::Found { salt: SALT }).unwrap();
    net.link(0, HUB);
    let (key, role) = (node_id(100), MemberRole::Member);
    let invite = wish(&mut net, 0, Wish::Invite { key, role, uses: 1, expires: Timestamp::MAX }).unwrap();
    net.settle();
    let now = crate::common::at(net.now);
    let join = Join::sign(&crate::common::key(100), &genesis().ledger(), invite, &node_id(3));
    let first = join.block(genesis().ledger(), &crate::common::key(3), now, now, [3; 16]);
    net.nodes[2].join = Some(first.bytes().to_vec());
    net.nodes[2].epoch = net.replica(0).keys().current().cloned();
    net.restart(2, MemoryStore::default());
    net.link(2, HUB);
    net.settle();
    net
}

/// What a node reads of its own ledger, in alphabetical order.
fn read(replica: &Replica<MemoryStore>) -> Vec<String> {
    let all = Page { blocks: usize::MAX, bytes: usize::MAX };
    let mut texts = Vec::new();
    for record in replica.store().after(None, all).unwrap() {
        let block = shared::Block::decode(&record.bytes).unwrap();
        let header = block.header();
        for (index, entry) in block.entries().iter().enumerate().filter(|(_, entry)| entry.kind == Kind::DATA) {
            let index = u32::try_from(index).unwrap();
            let place = Place { ledger: header.ledger, author: header.author, height: header.height, index };
            let text = replica.keys().open(&place, entry.payload().unwrap());
            texts.push(text.map_or_else(|_| "?".to_owned(), |text| String::from_utf8(text).unwrap()));
        }
    }
    texts.sort();
    texts
}

#[test]
fn a_restored_member_reads_the_sealed_history_and_goes_on_in_its_lane() {
    for (node, number) in [(0, 1), (2, 3)] {
        let mut net = group();
        append(&mut net, 0, "of the founder");
        append(&mut net, 2, "of the member");
        net.settle();
        let height = net.replica(node).height(&node_id(number));
        let mut store = restored(number, height);
        for key in META_EPOCHS {
            store.set_meta(key, &net.replica(node).store().meta(key).unwrap().unwrap()).unwrap();
        }
        // Written after the backup.
        let last = append(&mut net, node, "later");
        net.settle();
        // The invite's key is not in the backup.
        (net.nodes[node].join, net.nodes[node].epoch, net.nodes[node].dials) = (None, None, 1);
        net.nodes[node].appended.clear();
        net.restart(node, store);
        net.append(node, "too early");
        assert_eq!(net.nodes[node].appended, [Err(AppendError::Restored)]);
        let invite = Wish::Invite { key: node_id(9), role: MemberRole::Member, uses: 1, expires: Timestamp::MAX };
        assert_eq!(wish(&mut net, node, invite), Err(AppendError::Restored.into()));
        net.link(node, HUB);
        net.settle();
        assert_eq!(append(&mut net, node, "after"), last + 1);
        net.settle();
        net.assert_equal();
        assert_no_fork(&net);
        let expected = ["\"after\"", "\"later\"", "\"of the founder\"", "\"of the member\""];
        assert_eq!(read(net.replica(0)), expected);
        assert_eq!(read(net.replica(2)), expected);
    }
}

#[test]
fn a_restored_member_that_was_removed_hears_that_and_is_given_nothing() {
    let mut net = group();
    append(&mut net, 2, "once");
    net.settle();
    wish(&mut net, 0, Wish::Remove { member: node_id(3) }).unwrap();
    net.settle();
    (net.nodes[2].join, net.nodes[2].epoch, net.nodes[2].dials) = (None, None, 1);
    net.restart(2, restored(3, 1));
    net.nodes[HUB].closed.clear();
    net.link(2, HUB);
    net.settle();
    net.nodes[2].appended.clear();
    net.append(2, "again");
    assert_eq!(net.nodes[2].appended, [Err(AppendError::Removed)]);
    assert_eq!((net.nodes[HUB].closed.len(), net.replica(2).totals().blocks), (1, 0));
}
