//! Damaged and missing blocks: found, never sent, and fetched again from those who have them.

use std::collections::BTreeSet;

use crate::common::{Net, config, ledger};
use shared::{
    AppendError, BlockHash, Effect, Input, LinkId, MemoryStore, Page, ReadStore, Record, Replica, ReplicaError, Role,
    Store, Summary, limits,
    repair::{Scan, Wrong, mend, scan},
};

const ALL: Page = Page { blocks: usize::MAX, bytes: usize::MAX };

/// Two writers that know each other's blocks, and a hub between them.
fn written() -> Net {
    let mut net = Net::new(&[true, true, false]);
    net.link(0, 2);
    net.link(1, 2);
    for round in 0..40 {
        net.append(round % 2, &format!("note {round}"));
        net.settle();
    }
    net
}

fn rows(net: &Net, node: usize) -> Vec<Record> {
    net.replica(node).store().arrived(0, ALL).unwrap()
}

/// Ends a node and its links, and gives what it stored.
fn stop(net: &mut Net, node: usize) -> MemoryStore {
    let ends: Vec<_> = net.ends.keys().filter(|end| end.node == node).copied().collect();
    ends.into_iter().for_each(|end| net.cut(end));
    net.nodes[node].replica.take().unwrap().store().clone()
}

fn flip(store: &mut MemoryStore, record: &Record, byte: usize) {
    let mut bytes = record.bytes.clone();
    bytes[byte] ^= 4;
    store.replace(record.summary.seq, Some((&record.summary, &bytes))).unwrap();
}

fn scanned(store: &MemoryStore) -> Scan {
    scan(store, &ledger(), |_, _| {}).unwrap()
}

#[test]
fn what_is_damaged_or_missing_comes_again_from_a_peer() {
    let mut net = written();
    let before = rows(&net, 0);
    let (order, digest) = (net.order(0), net.replica(0).digest());
    let mut store = stop(&mut net, 0);
    // Bytes, also those of the last block; a whole row; columns; and a second row for one block.
    flip(&mut store, &before[3], 200);
    flip(&mut store, &before[39], 90);
    store.replace(10, None).unwrap();
    store.replace(11, None).unwrap();
    let wrong = Summary { height: before[20].summary.height + 1, ..before[20].summary };
    store.replace(wrong.seq, Some((&wrong, &before[20].bytes))).unwrap();
    let found = scanned(&store);
    let what: Vec<_> = found.wrong.iter().map(|finding| (finding.seq, finding.hash)).collect();
    let damaged = [3, 20, 39].map(|index| (before[index].summary.seq, before[index].summary.hash));
    assert_eq!(what, damaged);
    assert!(
        matches!(&found.wrong[..], [a, b, c] if matches!((&a.wrong, &b.wrong, &c.wrong), (Wrong::Bytes(_), Wrong::Columns, Wrong::Bytes(_))))
    );
    let missing = BTreeSet::from([9, 10].map(|index: usize| before[index].summary.hash));
    assert_eq!(found.missing, missing);

    let wanted = mend(&mut store, &found).unwrap();
    assert_eq!(wanted, [3, 39, 9, 10].map(|index: usize| before[index].summary.hash).into());
    net.start(0, store, &[]);
    assert_eq!(net.replica(0).repairing(), 4);
    net.append(0, "too early");
    assert_eq!(net.nodes[0].appended.last().unwrap(), &Err(AppendError::Repairing { blocks: 4 }));
    net.append(1, "meanwhile");
    net.settle();
    net.link(0, 2);
    net.settle();
    assert_eq!(net.nodes[0].repaired.iter().copied().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(net.replica(0).repairing(), 0);
    net.assert_equal();
    assert_eq!(net.order(0)[..40], order[..]);
    assert_ne!(net.replica(0).digest(), digest);
    assert!(scanned(net.replica(0).store()).is_clean());
    net.append(0, "and on");
    net.settle();
    net.assert_equal();
    assert!(net.nodes.iter().all(|node| node.closed.is_empty()), "nobody broke the protocol");
    assert!(net.nodes.iter().all(|node| node.forks.is_empty()), "no height was signed twice");
    // Whoever starts from it again finds the same.
    let store = stop(&mut net, 0);
    net.start(0, store, &[]);
    assert_eq!(net.replica(0).digest(), net.replica(2).digest());
}

#[test]
fn a_damaged_block_is_not_sent() {
    for index in [0, 5, 39] {
        let mut net = written();
        let records = rows(&net, 0);
        let mut store = stop(&mut net, 0);
        // Behind the checkpoint, so that the start does not see it.
        net.start(0, store.clone(), &[]);
        let mut replica = net.nodes[0].replica.take().unwrap();
        replica.checkpoint().unwrap();
        store = replica.store().clone();
        flip(&mut store, &records[index], 70);
        let mut effects = Vec::new();
        let now = crate::common::at(net.now);
        let mut damaged = Replica::restore(config(1, true, 9), store, &[], now, &mut effects).unwrap();
        let mut fresh =
            Replica::restore(config(7, true, 8), MemoryStore::default(), &[], now, &mut Vec::new()).unwrap();
        let error = exchange(&mut damaged, &mut fresh, now);
        assert!(matches!(error, ReplicaError::Damaged(hash) if hash == records[index].summary.hash), "{error}");
        assert!(error.to_string().contains("cairn verify --repair"));
        assert!(fresh.totals().blocks < 40);
    }
}

/// Links two replicas until the first one fails.
fn exchange(
    a: &mut Replica<MemoryStore>,
    b: &mut Replica<MemoryStore>,
    now: shared::Timestamp,
) -> ReplicaError<std::convert::Infallible> {
    let link = LinkId(1);
    let mut to_a = vec![Input::relay_opened(link, Role::Dialled)];
    let mut to_b = vec![Input::relay_opened(link, Role::Accepted)];
    loop {
        let mut effects = Vec::new();
        let turn = to_a.drain(..).try_for_each(|input| a.handle(now, input, &mut effects));
        if let Err(error) = turn.and_then(|()| a.commit(now, &mut effects)) {
            return error;
        }
        to_b.extend(frames(effects));
        let mut effects = Vec::new();
        to_b.drain(..).for_each(|input| b.handle(now, input, &mut effects).unwrap());
        b.commit(now, &mut effects).unwrap();
        to_a.extend(frames(effects));
        assert!(!to_a.is_empty(), "the exchange ended without an error");
    }
}

fn frames(effects: Vec<Effect>) -> impl Iterator<Item = Input> {
    effects.into_iter().filter_map(|effect| match effect {
        Effect::Send { link, bytes } => Some(Input::Frame { link, bytes }),
        _ => None,
    })
}

#[test]
fn what_nobody_has_stays_wanted_and_is_asked_for_on_every_new_link() {
    let mut net = written();
    let records = rows(&net, 0);
    let mut store = stop(&mut net, 0);
    store.replace(5, None).unwrap();
    let found = scanned(&store);
    mend(&mut store, &found).unwrap();
    net.start(0, store, &[]);
    // A peer without it, and a restart in between.
    let stranger = net.nodes.len();
    net.nodes.push(crate::common::Node::new(9, true));
    net.start(stranger, MemoryStore::default(), &[]);
    net.link(0, stranger);
    net.settle();
    assert_eq!(net.replica(0).repairing(), 1);
    assert!(net.blocks(stranger).is_empty(), "a lane with a hole was sent");
    let store = stop(&mut net, 0);
    net.start(0, store, &[]);
    assert_eq!(net.replica(0).repairing(), 1);
    net.link(0, stranger);
    net.link(0, 2);
    net.settle();
    assert_eq!(net.nodes[0].repaired, [records[4].summary.hash]);
    net.assert_equal();
    assert_eq!(net.blocks(stranger).len(), 40);
}

#[test]
fn a_live_replica_repairs_what_it_is_told() {
    let mut net = written();
    let hashes: Vec<BlockHash> = rows(&net, 0).iter().map(|record| record.summary.hash).take(7).collect();
    net.turn(
        0,
        vec![Input::Append { token: 0, payloads: vec![b"1".to_vec()] }, Input::Repair { blocks: hashes.clone() }],
    );
    assert_eq!(net.nodes[0].appended.last().unwrap(), &Err(AppendError::Repairing { blocks: 7 }));
    net.settle();
    assert_eq!(net.nodes[0].repaired.len(), 7);
    net.append(0, "on");
    net.settle();
    net.assert_equal();
    assert!(scanned(net.replica(0).store()).is_clean());
}

#[test]
fn a_chain_of_missing_blocks_comes_whole_and_the_list_is_bounded() {
    let mut net = Net::new(&[true, false]);
    net.link(0, 1);
    for _ in 0..30 {
        let append = |_| Input::Append { token: 0, payloads: vec![b"1".to_vec(); limits::BLOCK_ENTRIES] };
        net.turn(0, (0..60).map(append).collect());
    }
    net.settle();
    let records = rows(&net, 0);
    assert!(records.len() > limits::WANTED_PER_LINK);
    let mut store = stop(&mut net, 0);
    // All but the tip.
    for record in &records[..records.len() - 1] {
        store.replace(record.summary.seq, None).unwrap();
    }
    let found = scanned(&store);
    assert_eq!(found.missing.len(), 1, "only the tip is there to name a parent");
    mend(&mut store, &found).unwrap();
    net.start(0, store, &[]);
    net.link(0, 1);
    net.settle();
    assert_eq!(net.nodes[0].repaired.len(), records.len() - 1);
    net.assert_equal();
    let many = (0..limits::REPAIR_BLOCKS as u64 + 9).map(|n| {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        BlockHash::from_bytes(bytes)
    });
    net.turn(0, vec![Input::Repair { blocks: many.collect() }]);
    assert_eq!(net.replica(0).repairing(), limits::REPAIR_BLOCKS);
}
