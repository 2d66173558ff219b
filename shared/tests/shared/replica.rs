//! What replicas do together: forwarding, catching up, partitions, forks, hibernation.

use crate::common::{Net, at, block, ledger, node_id};
use shared::{Entry, Header, Input, Kind, LinkId, MemoryStore, ReadStore, Role, VerifiedBlock, limits};

/// Two writers and a hub that does not write, in a star.
fn star(writers: usize) -> Net {
    let mut net = Net::new(&[vec![true; writers], vec![false]].concat());
    for node in 0..writers {
        net.link(node, writers);
    }
    net.settle();
    net
}

#[test]
fn what_one_writes_reaches_all_by_the_hub() {
    let mut net = star(3);
    for i in 0..20 {
        net.append(i % 3, &format!("note {i}"));
        net.settle();
    }
    net.assert_equal();
    assert_eq!(net.replica(0).totals().entries, 20);
    assert!(net.nodes.iter().all(|node| node.added.len() == 20 && node.closed.is_empty()));
    assert_eq!(net.nodes[0].held, Some((7, 1)));
}

#[test]
fn a_replica_knows_which_of_its_peers_have_a_block() {
    let mut net = star(3);
    let [first, second, third, hub] = [0, 1, 2, 3].map(|node| net.replica(node).node());
    net.append(0, "hello");
    net.settle();
    let holders = |net: &Net, node: usize, height| Vec::from_iter(net.replica(node).holders(&first, height));
    let mut all = vec![first, second, third];
    all.sort();
    assert_eq!(holders(&net, 3, 1), all);
    assert!((0..3).all(|node| holders(&net, node, 1) == [hub] && holders(&net, node, 2).is_empty()));
    // What the hub has not got yet it does not hold, and who is gone is not named.
    let end = net.ends.keys().find(|end| end.node == 2).copied().unwrap();
    net.cut(end);
    net.append(2, "apart");
    net.settle();
    assert!(net.replica(2).holders(&third, 1).is_empty());
    assert!(!holders(&net, 3, 1).contains(&third));
}

#[test]
fn waiting_appends_of_one_turn_become_one_block() {
    let mut net = Net::new(&[true]);
    let append = |token| Input::Append { token, payloads: vec![b"1".to_vec(), b"2".to_vec()] };
    net.turn(0, (0..200).map(append).collect());
    assert_eq!(net.replica(0).totals().entries, 400);
    assert_eq!(net.replica(0).totals().blocks, 2);
    let ids: Vec<_> = net.nodes[0].appended.iter().flat_map(|result| result.clone().unwrap()).collect();
    assert_eq!(ids.len(), 400);
    assert!(ids.is_sorted());
}

#[test]
fn large_payloads_are_split_into_blocks_that_keep_the_limits() {
    let mut net = Net::new(&[true, true]);
    let payloads = vec![vec![b'7'; limits::PAYLOAD_BYTES]; 20];
    net.turn(0, vec![Input::Append { token: 0, payloads }]);
    net.link(0, 1);
    net.settle();
    net.assert_equal();
    assert_eq!(net.replica(1).totals().entries, 20);
}

#[test]
fn both_sides_of_a_partition_read_the_same_afterwards() {
    let mut net = star(2);
    net.append(0, "before");
    net.settle();
    let cut = *net.ends.keys().find(|end| end.node == 1).unwrap();
    net.cut(cut);
    for i in 0..50 {
        net.append(i % 2, &format!("apart {i}"));
        net.settle();
    }
    assert_ne!(net.replica(0).digest(), net.replica(1).digest());
    net.link(1, 2);
    net.settle();
    net.assert_equal();
    assert_eq!(net.replica(1).totals().entries, 51);
    assert!(net.nodes[0].reordered > 0);
    // The next block rests on all tips.
    net.append(0, "after");
    net.settle();
    net.assert_equal();
    assert_eq!(net.replica(0).heads()[&node_id(1)].len(), 1);
}

#[test]
fn a_newcomer_gets_everything_with_progress_from_the_first_frame() {
    let mut net = Net::new(&[true, false, true]);
    for i in 0..3000 {
        net.append(0, &format!("entry {i}"));
    }
    net.link(0, 1);
    net.settle();
    net.cut(*net.ends.keys().next().unwrap());
    net.link(2, 1);
    net.settle();
    net.assert_equal();
    let progress = &net.nodes[2].progress;
    assert_eq!(progress.first().map(|(_, total)| *total), Some(3000));
    assert_eq!(progress.last(), Some(&(3000, 3000)));
}

#[test]
fn more_writers_than_parents_still_merge() {
    let mut net = star(40);
    let ends: Vec<_> = net.ends.keys().filter(|end| end.node < 40).copied().collect();
    ends.into_iter().for_each(|end| net.cut(end));
    for node in 0..40 {
        net.append(node, "alone");
    }
    (0..40).for_each(|node| _ = net.link(node, 40));
    net.settle();
    net.assert_equal();
    for _ in 0..3 {
        net.append(0, "merge");
        net.settle();
    }
    net.assert_equal();
}

#[test]
fn a_block_of_the_future_waits_for_its_time() {
    let mut net = Net::new(&[true]);
    let early = block(9, 1, net.now + limits::CLOCK_WINDOW + 5_000_000, &[], &[b"1"]);
    net.inject(0, &early);
    assert_eq!(net.nodes[0].imported[0].parked, 1);
    assert_eq!(net.replica(0).totals().blocks, 0);
    net.now = net.replica(0).next_wake().unwrap().micros();
    net.turn(0, vec![Input::Wake]);
    assert_eq!(net.replica(0).totals().blocks, 1);
}

#[test]
fn an_orphan_waits_and_its_parent_is_asked_for() {
    let mut net = star(2);
    let parent = block(9, 1, net.now, &[], &[b"1"]);
    let child = block(9, 2, net.now + 5, &[parent.hash()], &[b"2"]);
    net.inject(0, &child);
    assert_eq!(net.replica(0).parked().0, 1);
    net.inject(0, &parent);
    assert_eq!(net.replica(0).parked(), (0, 0));
    net.settle();
    net.assert_equal();
    assert_eq!(net.replica(1).totals().blocks, 2);
}

#[test]
fn refused_blocks_leave_no_trace() {
    let mut net = Net::new(&[true]);
    let good = block(9, 1, net.now, &[], &[b"1", b"2"]);
    net.inject(0, &good);
    let digest = net.replica(0).digest();
    let mut flipped = block(8, 1, net.now, &[], &[b"1"]).bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let not_own = block(8, 2, net.now + 10, &[good.hash()], &[b"1"]);
    let too_early = block(8, 1, net.now + 1, &[good.hash()], &[b"1"]);
    let stripped = Entry::new(Kind::EVIDENCE, [7; 16], b"1".to_vec());
    let header = block(8, 1, net.now, &[], &[b"1"]).header().clone();
    let stripped = VerifiedBlock::sign(header, vec![stripped], &crate::common::key(8)).strip();
    let ledger = shared::block::open_ledger("other");
    let header = Header { ledger, ..block(8, 1, net.now, &[], &[b"1"]).header().clone() };
    let foreign =
        VerifiedBlock::sign(header, vec![Entry::new(Kind::DATA, [7; 16], b"1".to_vec())], &crate::common::key(8));
    for bytes in [
        &flipped[..],
        not_own.bytes(),
        too_early.bytes(),
        stripped.bytes(),
        foreign.bytes(),
        b"",
        &[0xff; 40],
        &good.bytes()[1..],
    ] {
        net.turn(0, vec![Input::import(0, vec![bytes.to_vec()])]);
        assert_eq!(net.nodes[0].imported.last().unwrap().refused, 1);
    }
    assert_eq!(net.replica(0).digest(), digest);
    assert_eq!(net.replica(0).parked(), (0, 0));
}

#[test]
fn two_blocks_of_one_height_are_the_same_proof_everywhere() {
    let mut net = star(3);
    net.append(0, "before");
    net.settle();
    let (a, b) = (block(9, 1, net.now, &[], &[b"1"]), block(9, 1, net.now, &[], &[b"2"]));
    net.inject(0, &a);
    net.inject(1, &b);
    net.settle();
    net.assert_equal();
    for node in &net.nodes {
        assert_eq!(node.forks.len(), 1, "node {}", node.number);
        assert_eq!(node.forks[0], net.nodes[0].forks[0]);
    }
    assert_eq!(net.replica(2).frozen().get(&node_id(9)), Some(&1));
    // Both were seen by somebody, so both stay; what the liar writes now is void.
    assert!(net.blocks(2).contains(&a.hash()) && net.blocks(2).contains(&b.hash()));
    let more = block(9, 2, net.now + 10, &[a.hash()], &[b"3"]);
    net.inject(2, &more);
    net.settle();
    net.assert_equal();
    assert!(!net.blocks(2).contains(&more.hash()));
    net.append(1, "after");
    net.settle();
    net.assert_equal();
}

#[test]
fn what_only_a_relay_has_seen_goes_with_the_freeze() {
    let mut net = Net::new(&[false, true]);
    let (a, b) = (block(9, 1, net.now, &[], &[b"1"]), block(9, 1, net.now, &[], &[b"2"]));
    net.inject(0, &a);
    assert_eq!(net.replica(0).totals().blocks, 1);
    net.inject(0, &b);
    assert_eq!(net.replica(0).totals().blocks, 0);
    // Somebody who was off line has seen one half, and says so by resting on it.
    net.inject(1, &a);
    net.append(1, "on it");
    net.link(1, 0);
    net.settle();
    net.assert_equal();
    assert!(net.blocks(0).contains(&a.hash()) && !net.blocks(0).contains(&b.hash()));
}

#[test]
fn a_fork_that_only_a_hub_saw_is_told_to_its_links() {
    let mut net = star(1);
    let (a, b) = (block(9, 1, net.now, &[], &[b"1"]), block(9, 1, net.now, &[], &[b"2"]));
    net.inject(1, &a);
    net.settle();
    net.inject(1, &b);
    net.settle();
    assert_eq!(net.replica(0).frozen().get(&node_id(9)), Some(&1));
    assert_eq!(net.nodes[0].forks, net.nodes[1].forks);
    net.assert_equal();
    assert!(net.blocks(1).contains(&a.hash()), "node 0 had seen it and vouches for it");
}

#[test]
fn a_long_branch_that_somebody_saw_comes_in_whole() {
    let mut net = Net::new(&[true, true, false]);
    let mut branch: Vec<shared::VerifiedBlock> = vec![block(9, 1, net.now, &[], &[b"0"])];
    let other = block(9, 1, net.now, &[], &[b"x"]);
    for height in 2..700 {
        let parent = branch.last().unwrap().hash();
        branch.push(block(9, height, net.now + height * 2, &[parent], &[b"y"]));
    }
    net.now += 10_000;
    branch.iter().for_each(|b| net.inject(0, b));
    net.append(0, "I saw it");
    net.inject(1, &other);
    net.inject(1, &branch[0]);
    net.link(0, 2);
    net.link(1, 2);
    net.settle();
    net.assert_equal();
    assert!(net.blocks(1).contains(&branch[698].hash()));
}

#[test]
fn a_node_whose_own_lane_is_forked_writes_no_more() {
    let mut net = star(2);
    net.append(0, "mine");
    net.settle();
    let copy = block(1, 1, net.now, &[], &[b"restored from a backup"]);
    net.inject(1, &copy);
    net.settle();
    net.append(0, "more");
    assert!(matches!(net.nodes[0].appended.last(), Some(Err(shared::AppendError::Frozen { height: 1 }))));
    net.append(1, "others go on");
    net.settle();
    net.assert_equal();
}

#[test]
fn a_hub_that_slept_goes_on_as_if_it_had_not() {
    let mut net = star(3);
    for i in 0..30 {
        net.append(i % 3, &format!("note {i}"));
        while net.step(i) {
            net.hibernate(3);
        }
    }
    net.settle();
    net.assert_equal();
    assert_eq!(net.replica(3).totals().entries, 30);
    assert!(net.nodes.iter().all(|node| node.closed.is_empty()));
}

#[test]
fn a_hub_that_slept_with_something_under_way_compares_heads_again() {
    let mut net = star(2);
    net.append(0, "before");
    net.settle();
    // The third byte of a link's state says that nothing is under way.
    net.nodes[2].remembered.values_mut().for_each(|state| state[2] = 0);
    net.hibernate(2);
    net.settle();
    net.append(1, "after");
    net.settle();
    net.assert_equal();
    assert_eq!(net.replica(0).totals().entries, 2);
}

/// What a session of two nodes at a hub leaves behind, and how many frames it took. At frame `restart` the hub ends, its links
/// with it, and starts again from its store.
fn session(restart: Option<usize>) -> (Vec<Vec<u8>>, usize) {
    let mut net = star(2);
    let begin = net.frames;
    for step in 0..6 {
        net.append(step % 2, &format!("step {step}"));
        loop {
            if restart == Some(net.frames - begin) && net.nodes[2].starts == 1 {
                let store = net.replica(2).store().clone();
                net.nodes[2].replica = None;
                let ends: Vec<_> = net.ends.keys().filter(|end| end.node == 2).copied().collect();
                ends.into_iter().for_each(|end| net.cut(end));
                net.start(2, store, &[]);
                (0..2).for_each(|node| _ = net.link(node, 2));
            }
            if !net.step(step) {
                break;
            }
        }
    }
    net.settle();
    net.assert_equal();
    let payloads = |block: &shared::VerifiedBlock| block.entries()[0].payload().unwrap().to_vec();
    (net.verified(2).iter().map(payloads).collect(), net.frames - begin)
}

#[test]
fn a_hub_restarted_between_any_two_frames_changes_nothing() {
    let (expect, frames) = session(None);
    assert_eq!(expect.len(), 6);
    assert!(frames > 20);
    for restart in 0..frames {
        assert_eq!(session(Some(restart)).0, expect, "restarted at frame {restart} of {frames}");
    }
}

#[test]
fn a_start_reads_back_all_that_was_stored() {
    let mut net = star(2);
    for i in 0..40 {
        net.append(i % 2, &format!("note {i}"));
    }
    net.settle();
    let (digest, totals) = (net.replica(0).digest(), net.replica(0).totals());
    let store = net.nodes[0].replica.take().unwrap().store().clone();
    let store: MemoryStore = store;
    net.ends.clear();
    net.queues.clear();
    net.start(0, store, &[]);
    assert_eq!((net.replica(0).digest(), net.replica(0).totals()), (digest, totals));
    net.append(0, "next");
    assert_eq!(net.replica(0).height(&node_id(1)), 21);
}

#[test]
fn a_checkpoint_changes_nothing() {
    let mut net = Net::new(&[true]);
    for _ in 0..40 {
        net.turn(0, vec![Input::Append { token: 0, payloads: vec![b"1".to_vec(); limits::APPEND_ENTRIES] }]);
    }
    assert!(net.replica(0).store().meta("checkpoint").unwrap().is_some());
    let (digest, totals, heads) = (net.replica(0).digest(), net.replica(0).totals(), net.replica(0).heads());
    let store = net.replica(0).store().clone();
    net.start(0, store, &[]);
    assert_eq!((net.replica(0).digest(), net.replica(0).totals(), net.replica(0).heads()), (digest, totals, heads));
}

#[test]
fn a_store_of_another_ledger_is_refused() {
    let mut net = Net::new(&[true]);
    net.append(0, "x");
    let store = net.replica(0).store().clone();
    let other = shared::Config { ledger: shared::block::open_ledger("other"), ..crate::common::config(1, true, 0) };
    let error = shared::Replica::restore(other, store, &[], at(0), &mut Vec::new()).err().unwrap();
    assert!(error.to_string().contains(&ledger().to_string()), "{error}");
}

/// What a hub says to a peer that begins with these frames.
#[track_caller]
fn check_close(frames: &[Vec<u8>], expect: &str) {
    let mut net = Net::new(&[false]);
    let link = LinkId(1);
    net.turn(0, vec![Input::relay_opened(link, Role::Accepted)]);
    for bytes in frames {
        net.turn(0, vec![Input::Frame { link, bytes: bytes.clone() }]);
    }
    assert_eq!(net.nodes[0].closed, [expect]);
    assert!(net.replica(0).links().is_empty());
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_and_closed() {
    use shared::wire::{Envelope, Message};
    let say = |message| Envelope { message_id: [1; 16], sender: node_id(9), recipient: None, message }.encode();
    let hello = |version, ledger, node| say(Message::Hello { version, ledger, node, nonce: [0; 32] });
    check_close(&[vec![0xff; 10]], "wrong or truncated CBOR in a frame");
    check_close(&[vec![0; 2000]], "a frame before the handshake is too large");
    check_close(&[say(Message::Have { lanes: vec![] })], "a handshake is Hello, then Auth, each once");
    check_close(&[hello(2, ledger(), node_id(9))], "no protocol version in common, this side speaks 1");
    check_close(&[hello(1, shared::block::open_ledger("other"), node_id(9))], "this link is for another ledger");
    check_close(&[hello(1, ledger(), node_id(8))], "the proof of the node's key is wrong");
    let proof = say(Message::Auth { signature: [0; 64] });
    check_close(&[hello(1, ledger(), node_id(9)), proof], "the proof of the node's key is wrong");
}

#[test]
fn a_silent_peer_is_closed_in_time() {
    let mut net = Net::new(&[true]);
    net.turn(0, vec![Input::relay_opened(LinkId(1), Role::Dialled)]);
    net.now = net.replica(0).next_wake().unwrap().micros();
    net.turn(0, vec![Input::Wake]);
    assert_eq!(net.nodes[0].closed, ["no proof of the node's key within 5 s"]);
    assert_eq!(net.replica(0).next_wake(), None);
}

#[test]
fn a_dead_link_is_pinged_and_then_closed() {
    let mut net = star(1);
    let started = net.now;
    net.now = net.replica(0).next_wake().unwrap().micros();
    net.turn(0, vec![Input::Wake]);
    // The hub answers, so the link lives.
    while net.step(0) {}
    assert!(net.nodes[0].closed.is_empty());
    for _ in 0..2 {
        net.now = net.replica(0).next_wake().unwrap().micros();
        net.turn(0, vec![Input::Wake]);
        net.queues.clear();
    }
    assert_eq!(net.nodes[0].closed, ["no answer to a ping in time"]);
    assert!(net.now - started >= 2 * limits::PING_EVERY);
}

#[test]
fn a_peer_that_gives_no_credit_is_sent_a_window_and_no_more() {
    let mut net = Net::new(&[true, true]);
    for _ in 0..100 {
        net.turn(0, vec![Input::Append { token: 0, payloads: vec![vec![b'1'; 30_000]; 8] }]);
    }
    let (_, end) = net.link(0, 1);
    // Node 1 reads but node 0 never hears of it.
    for _ in 0..1000 {
        let back = net.ends[&end];
        if net.nodes[1].replica.as_ref().unwrap().totals().blocks > 0 {
            net.queues.remove(&back);
        }
        if !net.step(0) {
            break;
        }
    }
    let sent = net.replica(1).totals().bytes;
    assert!(sent > 0 && sent <= limits::LINK_WINDOW_BYTES + limits::FRAME_BYTES as u64, "{sent}");
    let end = net.now + limits::STALL_TIMEOUT;
    while net.now < end {
        net.now = net.now.max(net.replica(0).next_wake().unwrap().micros());
        net.turn(0, vec![Input::Wake]);
    }
    assert_eq!(net.nodes[0].closed, ["no credit for 20 s, dial again to resume"]);
    net.link(0, 1);
    net.settle();
    net.assert_equal();
}

#[test]
fn a_newer_link_of_a_node_replaces_the_older() {
    let mut net = star(1);
    net.link(0, 1);
    net.settle();
    assert_eq!(net.replica(1).links().len(), 1);
    net.append(0, "x");
    net.settle();
    net.assert_equal();
}
