//! This node's own lane first: restored backups, forks that were made all the same, and successors.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Net, at, block, node_id};
use shared::{
    BlockHash, Effect, Evidence, Input, Kind, LinkId, MemoryStore, NodeId, Role, Succession, VerifiedBlock, limits,
};

const HUB: usize = 2;
/// Number of node 0's spare key.
const SPARE: u8 = 50;

/// Two writers and a hub between them.
fn star() -> Net {
    let mut net = Net::new(&[true, true, false]);
    net.link(0, HUB);
    net.link(1, HUB);
    net.settle();
    net
}

fn store(net: &Net, node: usize) -> MemoryStore {
    net.replica(node).store().clone()
}

/// Node 0 after three entries, its store then, and what it wrote later.
fn backup(net: &mut Net, later: usize) -> MemoryStore {
    (0..3).for_each(|i| net.append(0, &format!("early {i}")));
    net.settle();
    let copy = store(net, 0);
    (0..later).for_each(|i| net.append(0, &format!("later {i}")));
    net.settle();
    copy
}

/// Starts node 0 with this store, a spare key, and so many relays to be dialled.
fn restore(net: &mut Net, store: MemoryStore, dials: u32) {
    net.nodes[0].dials = dials;
    net.nodes[0].successor = Some(SPARE);
    net.nodes[0].appended.clear();
    net.restart(0, store);
}

fn last_height(net: &Net, node: usize) -> u64 {
    net.nodes[node].appended.last().unwrap().as_ref().unwrap()[0].height
}

/// No height of a lane has two blocks.
fn assert_no_fork(net: &Net) {
    for node in 0..net.nodes.len() {
        let mut heights = BTreeSet::new();
        for block in net.verified(node) {
            assert!(heights.insert((block.header().author, block.header().height)), "node {node}");
        }
        assert!(net.replica(node).frozen().is_empty() && net.nodes[node].forks.is_empty(), "node {node}");
    }
}

/// The succession entries of a replica: old node → new node.
fn successions(net: &Net, node: usize) -> BTreeMap<NodeId, NodeId> {
    let mut found = BTreeMap::new();
    for block in net.verified(node) {
        for entry in block.entries().iter().filter(|entry| entry.kind == Kind::SUCCESSION) {
            let succession = Succession::decode(entry.payload().unwrap()).unwrap();
            succession.verify(&crate::common::ledger(), &block.header().author).unwrap();
            assert_eq!(found.insert(succession.old, block.header().author), None, "two successions of one key");
        }
    }
    found
}

fn texts(early: usize, later: usize, more: &[&str]) -> Vec<String> {
    let mut texts: Vec<String> = (0..early).map(|i| format!("\"early {i}\"")).collect();
    texts.extend((0..later).map(|i| format!("\"later {i}\"")));
    texts.extend(more.iter().map(|text| format!("{text:?}")));
    texts.sort();
    texts
}

/// Whether a block of this node's ledger carries a proof of a fork.
fn is_recorded(net: &Net, node: usize) -> bool {
    net.verified(node).iter().any(|block| block.entries().iter().any(|entry| entry.kind == Kind::EVIDENCE))
}

#[test]
fn a_restored_backup_goes_on_after_the_head_that_the_hub_has() {
    let mut net = star();
    let copy = backup(&mut net, 4);
    restore(&mut net, copy, 1);
    net.append(0, "after");
    assert!(net.nodes[0].appended.is_empty(), "answered before the lane was here");
    net.link(0, HUB);
    net.append(0, "and more");
    net.settle();
    assert_eq!((net.nodes[0].appended.len(), last_height(&net, 0)), (2, 8));
    net.assert_equal();
    assert_no_fork(&net);
    assert_eq!(net.texts(1), texts(3, 4, &["after", "and more"]));
    assert!(net.nodes[0].succeeded.is_empty());
}

#[test]
fn a_restart_with_everything_costs_one_round_trip() {
    let mut net = star();
    backup(&mut net, 0);
    let all = store(&net, 0);
    restore(&mut net, all, 1);
    net.append(0, "after");
    net.link(0, HUB);
    // Hello and proof on both sides, and what the hub has, which goes out with its proof.
    let begin = net.frames;
    while net.nodes[0].appended.is_empty() {
        assert!(net.step(0));
    }
    assert!(net.frames - begin <= 6, "{} frames", net.frames - begin);
    net.settle();
    net.assert_equal();
    assert_no_fork(&net);
}

#[test]
fn a_node_that_reaches_nobody_writes_at_once() {
    for dials in 0..3 {
        let mut net = Net::new(&[true]);
        restore(&mut net, MemoryStore::default(), dials);
        net.append(0, "alone");
        for dial in 0..dials {
            assert!(net.nodes[0].appended.is_empty(), "answered before dial {dial} of {dials} failed");
            net.turn(0, vec![Input::DialFailed]);
        }
        assert_eq!(last_height(&net, 0), 1);
    }
}

#[test]
fn a_node_that_hears_nothing_writes_at_the_deadline() {
    let mut net = Net::new(&[true]);
    let start = net.now;
    restore(&mut net, MemoryStore::default(), 1);
    net.append(0, "alone");
    net.turn(0, vec![Input::relay_opened(LinkId(1), Role::Dialled)]);
    assert_eq!(net.replica(0).next_wake(), Some(at(start + limits::OWN_LANE)));
    net.now = start + limits::OWN_LANE - 1;
    net.turn(0, vec![Input::Wake]);
    assert!(net.nodes[0].appended.is_empty());
    net.now += 1;
    net.turn(0, vec![Input::Wake]);
    assert_eq!(last_height(&net, 0), 1);
}

#[test]
fn what_is_held_is_bounded() {
    let mut net = Net::new(&[true]);
    restore(&mut net, MemoryStore::default(), 1);
    let append = || Input::Append { token: 0, payloads: vec![b"1".to_vec(); 8192] };
    net.turn(0, vec![append(), append()]);
    assert!(net.nodes[0].appended.is_empty());
    net.turn(0, vec![append()]);
    assert!(matches!(net.nodes[0].appended[..], [Err(shared::AppendError::Busy { .. })]));
    net.turn(0, vec![Input::DialFailed]);
    assert_eq!(net.replica(0).totals().entries, 16_384);
    assert!(net.nodes[0].appended[1..].iter().all(Result::is_ok));
}

#[test]
fn every_relay_is_heard_before_a_node_writes() {
    // The second relay has what the first one lost.
    let mut net = Net::new(&[true, false, false]);
    net.link(0, HUB);
    net.settle();
    let copy = backup(&mut net, 4);
    restore(&mut net, copy, 2);
    net.append(0, "after");
    net.link(0, 1);
    net.settle();
    assert!(net.nodes[0].appended.is_empty(), "answered when one of two relays had told");
    net.link(0, HUB);
    net.settle();
    assert_eq!(last_height(&net, 0), 8);
    net.assert_equal();
    assert_no_fork(&net);
}

#[test]
fn a_link_that_fails_is_not_waited_for() {
    let mut net = star();
    backup(&mut net, 1);
    let all = store(&net, 0);
    restore(&mut net, all, 2);
    net.append(0, "after");
    net.link(0, HUB);
    net.settle();
    net.turn(0, vec![Input::relay_opened(LinkId(999), Role::Dialled)]);
    assert!(net.nodes[0].appended.is_empty());
    net.turn(0, vec![Input::LinkClosed { link: LinkId(999) }]);
    assert_eq!(last_height(&net, 0), 5);
}

/// Links node 0 to the hub and lets all pass but blocks, one packet at a time. Stops before the first frame with blocks.
fn until_blocks(net: &mut Net) -> (crate::common::End, crate::common::End) {
    use shared::wire::{Message, decode_frame};
    let (near, far) = net.link(0, HUB);
    loop {
        let next = net.queues.get(&near).and_then(|queue| queue.front());
        if let Some(crate::common::Packet::Frame(bytes)) = next
            && decode_frame(bytes).unwrap().iter().any(|e| matches!(e.message, Message::EntryAnnounce { .. }))
        {
            return (near, far);
        }
        assert!(net.step(0));
    }
}

#[test]
fn a_peer_that_withholds_costs_the_deadline_and_no_more() {
    let mut net = star();
    let copy = backup(&mut net, 4);
    let start = net.now;
    restore(&mut net, copy, 1);
    net.append(0, "after");
    let (near, _) = until_blocks(&mut net);
    net.queues.remove(&near);
    while net.step(0) {
        net.queues.remove(&near);
    }
    assert!(net.nodes[0].appended.is_empty());
    net.now = start + limits::OWN_LANE;
    net.turn(0, vec![Input::Wake]);
    assert_eq!(last_height(&net, 0), 4);
}

#[test]
fn the_deadline_is_put_off_while_the_lane_comes_in_and_not_for_ever() {
    const SLOW: u64 = 4_000_000;
    let mut net = star();
    // Blocks of this size go one to a frame.
    (0..40).for_each(|_| net.turn(0, vec![Input::Append { token: 0, payloads: vec![vec![b'1'; 60_000]] }]));
    net.settle();
    let start = net.now;
    restore(&mut net, MemoryStore::default(), 1);
    net.append(0, "after");
    until_blocks(&mut net);
    let mut heights = Vec::new();
    while net.nodes[0].appended.is_empty() {
        heights.push(net.replica(0).height(&node_id(1)));
        // The hub is fast, the path to node 0 is not.
        let busy =
            |net: &Net| net.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(end, _)| end.node).collect();
        let mut waiting: Vec<usize> = busy(&net);
        while waiting.last().is_some_and(|node| *node != 0) {
            net.step(waiting.len() - 1);
            waiting = busy(&net);
        }
        net.now += SLOW;
        if net.replica(0).next_wake().is_some_and(|due| due <= at(net.now)) {
            net.turn(0, vec![Input::Wake]);
        }
        net.step(0);
    }
    let waited = net.now - start;
    assert!(heights.is_sorted() && heights.len() > 5, "{heights:?}");
    assert!((limits::OWN_LANE_MOST..limits::OWN_LANE_MOST + 2 * SLOW).contains(&waited), "{waited} µs");
}

/// Both lives of node 0 have written: the first one what the hub has, the restored one on its own. Then they meet.
fn meet(first: usize, second: usize, member: bool) -> Net {
    let mut net = star();
    if !member {
        net.cut(*net.ends.keys().find(|end| end.node == 1).unwrap());
    }
    let copy = backup(&mut net, first);
    restore(&mut net, copy, 1);
    net.append(0, "second 0");
    net.turn(0, vec![Input::DialFailed]);
    (1..second).for_each(|i| net.append(0, &format!("second {i}")));
    assert_eq!(last_height(&net, 0), 3 + second as u64);
    net.link(0, HUB);
    net.settle();
    net
}

fn second(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("second {i}")).collect()
}

#[test]
fn a_fork_made_apart_ends_with_a_successor_and_nothing_lost() {
    for (lives, member) in
        [(1, 1), (4, 1), (1, 4), (4, 4), (300, 2), (2, 300)].into_iter().flat_map(|l| [(l, true), (l, false)])
    {
        let (first, second_life) = lives;
        let mut net = meet(first, second_life, member);
        assert_eq!(net.nodes[0].succeeded, [(node_id(1), node_id(SPARE))], "{lives:?} {member}");
        assert_eq!(net.nodes[0].closed, ["this node goes on with a new key and dials again"]);
        net.append(0, "after");
        net.link(0, HUB);
        if !member {
            net.link(1, HUB);
        }
        net.settle();
        net.append(0, "at last");
        net.settle();
        net.assert_equal();
        let more = second(second_life);
        let mut more: Vec<&str> = more.iter().map(String::as_str).collect();
        more.extend(["after", "at last"]);
        for node in 0..3 {
            assert_eq!(net.texts(node), texts(3, first, &more), "{lives:?} {member} node {node}");
            assert_eq!(net.replica(node).frozen(), BTreeMap::from([(node_id(1), 4)]));
            assert_eq!(successions(&net, node), BTreeMap::from([(node_id(1), node_id(SPARE))]));
        }
        assert!(net.nodes[0].appended.iter().all(Result::is_ok));
        assert_eq!(net.replica(0).node(), node_id(SPARE));
    }
}

#[test]
fn a_successor_vouches_for_more_tips_than_a_block_has_parents() {
    let mut net = star();
    net.cut(*net.ends.keys().find(|end| end.node == 1).unwrap());
    let copy = backup(&mut net, 2);
    restore(&mut net, copy, 0);
    net.append(0, "second 0");
    // Whoever these are, their blocks are tips beside the two branches.
    (100..160).for_each(|author| net.inject(0, &block(author, 1, net.now, &[], &[b"1"])));
    for _ in 0..2 {
        net.link(0, HUB);
        net.settle();
    }
    net.link(1, HUB);
    net.settle();
    net.assert_equal();
    assert_eq!(net.replica(0).node(), node_id(SPARE));
    let mine = net.texts(1).into_iter().filter(|text| text.len() > 1).collect::<Vec<_>>();
    assert_eq!(mine, texts(3, 2, &["second 0"]));
}

#[test]
fn a_peer_that_withholds_the_other_branch_delays_a_successor_by_the_deadline_at_most() {
    use shared::wire::{Message, decode_frame};
    let mut net = star();
    let copy = backup(&mut net, 300);
    restore(&mut net, copy, 0);
    net.append(0, "second 0");
    // The hub sends the first blocks of the other branch, and then no more.
    let (near, _) = until_blocks(&mut net);
    while net.replica(0).height(&node_id(1)) < 5 {
        net.step(0);
    }
    let began = net.now;
    net.append(0, "held");
    assert_eq!(net.nodes[0].appended.len(), 1);
    let blocks = |packet: &crate::common::Packet| match packet {
        crate::common::Packet::Frame(bytes) => decode_frame(bytes)
            .unwrap()
            .iter()
            .any(|e| matches!(e.message, Message::EntryAnnounce { .. } | Message::EntryResponse { .. })),
        _ => false,
    };
    loop {
        if let Some(queue) = net.queues.get_mut(&near) {
            queue.retain(|packet| !blocks(packet));
        }
        if !net.step(0) {
            break;
        }
    }
    assert!(net.nodes[0].succeeded.is_empty());
    net.now = began + limits::OWN_LANE;
    net.turn(0, vec![Input::Wake]);
    assert_eq!(net.nodes[0].succeeded.len(), 1);
    assert_eq!(net.nodes[0].appended.len(), 2);
    (0..2).for_each(|node| _ = net.link(node, HUB));
    net.settle();
    net.assert_equal();
    assert!(net.texts(1).contains(&"\"held\"".to_owned()));
}

#[test]
fn appends_while_the_other_life_comes_in_are_answered_in_the_new_lane() {
    let mut net = star();
    let copy = backup(&mut net, 300);
    restore(&mut net, copy, 0);
    net.append(0, "second 0");
    net.link(0, HUB);
    let mut held = None;
    let mut appended = 0;
    while net.step(0) {
        if net.nodes[0].succeeded.is_empty() && net.replica(0).height(&node_id(1)) > 4 && held.is_none() {
            held = Some(net.nodes[0].appended.len());
            net.append(0, "held");
            appended = net.nodes[0].appended.len();
        }
    }
    assert_eq!(held, Some(appended), "answered while the fork was known and the lane not here");
    let id = net.nodes[0].appended.last().unwrap().as_ref().unwrap()[0];
    assert_eq!(id.author, node_id(SPARE));
    net.link(0, HUB);
    net.settle();
    net.assert_equal();
    assert_eq!(net.texts(1), texts(3, 300, &["second 0", "held"]));
}

#[test]
fn a_node_that_has_not_written_yet_waits_when_a_peer_knows_more() {
    // The relay was not there at the start, and comes a moment later.
    let mut net = star();
    let copy = backup(&mut net, 4);
    restore(&mut net, copy, 1);
    net.turn(0, vec![Input::DialFailed]);
    until_blocks(&mut net);
    net.append(0, "after");
    assert!(net.nodes[0].appended.is_empty());
    net.settle();
    assert_eq!(last_height(&net, 0), 8);
    net.assert_equal();
    assert_no_fork(&net);
}

/// A stranger that holds its key links to node 0 and says that it has a block of node 0's lane which nobody has.
fn lie(net: &mut Net, link: LinkId) {
    use shared::wire::{Envelope, Head, Message, auth_message, decode_frame};
    let liar = crate::common::key(9);
    let say = |message| {
        let envelope = Envelope { message_id: [1; 16], sender: liar.node(), recipient: None, message };
        Input::Frame { link, bytes: envelope.encode() }
    };
    let hello = Message::Hello { version: 1, ledger: crate::common::ledger(), node: liar.node(), nonce: [3; 32] };
    let mut effects = Vec::new();
    let now = at(net.now);
    let replica = net.nodes[0].replica.as_mut().unwrap();
    replica.handle(now, Input::relay_opened(link, Role::Accepted), &mut effects).unwrap();
    replica.handle(now, say(hello), &mut effects).unwrap();
    replica.commit(now, &mut effects).unwrap();
    let challenge = effects.iter().find_map(|effect| match effect {
        Effect::Send { bytes, .. } => {
            decode_frame(bytes).unwrap().into_iter().find_map(|envelope| match envelope.message {
                Message::Hello { nonce, .. } => Some(nonce),
                _ => None,
            })
        }
        _ => None,
    });
    let proof = auth_message(&crate::common::ledger(), (&liar.node(), &[3; 32]), (&node_id(1), &challenge.unwrap()));
    let head = Head { author: node_id(1), tips: vec![(7, BlockHash::from_bytes([8; 32]))], frozen: 0 };
    let heads = Message::LedgerSyncResponse { heads: vec![head], last: true, parts: None };
    net.turn(0, vec![say(Message::Auth { signature: liar.sign(&proof) }), say(heads)]);
}

#[test]
fn a_peer_that_cries_wolf_is_believed_only_so_often() {
    let mut net = Net::new(&[true]);
    for round in 0..limits::OWN_WAITS {
        lie(&mut net, LinkId(1 + u64::from(round)));
        if round == 0 {
            net.append(0, "held");
            assert!(net.nodes[0].appended.is_empty());
            // Forget it: a node that has written is not stopped any more.
            let fresh = MemoryStore::default();
            net.restart(0, fresh);
            lie(&mut net, LinkId(100));
        }
        net.now += limits::OWN_LANE;
        net.turn(0, vec![Input::Wake]);
    }
    lie(&mut net, LinkId(200));
    net.append(0, "at once");
    assert_eq!(last_height(&net, 0), 1);
    // And one that has written goes on writing.
    lie(&mut net, LinkId(201));
    net.append(0, "and again");
    assert_eq!(last_height(&net, 0), 2);
}

#[test]
fn a_node_that_has_written_is_not_stopped_by_what_a_peer_says() {
    let mut net = Net::new(&[true]);
    net.append(0, "before");
    lie(&mut net, LinkId(1));
    net.append(0, "at once");
    assert_eq!(last_height(&net, 0), 2);
}

#[test]
fn a_hub_hears_nothing_of_a_fork_before_its_branch_is_safe() {
    let mut net = star();
    net.cut(*net.ends.keys().find(|end| end.node == 1).unwrap());
    let copy = backup(&mut net, 1);
    restore(&mut net, copy, 0);
    (0..4).for_each(|i| net.append(0, &format!("second {i}")));
    net.link(0, HUB);
    while net.step(0) {
        assert!(net.replica(HUB).frozen().is_empty(), "the hub took its branch for void");
    }
    assert_eq!(net.nodes[0].succeeded.len(), 1);
}

/// The fork of [`meet`], with a crash of node 0 after its `crash`-th turn from the meeting on, before its driver has put the
/// keys in place. Returns whether there were so many turns.
fn crash_in_succession(later: usize, crash: usize) -> bool {
    let mut net = star();
    let copy = backup(&mut net, later);
    restore(&mut net, copy, 1);
    net.append(0, "second 0");
    net.turn(0, vec![Input::DialFailed]);
    net.append(0, "second 1");
    net.link(0, HUB);
    let mut turns = 0;
    let mut crashed = false;
    while net.queues.values().any(|queue| !queue.is_empty()) {
        let next = net.queues.iter().find(|(_, queue)| !queue.is_empty()).map(|(end, _)| end.node);
        assert!(net.step(0));
        turns += usize::from(next == Some(0));
        if turns == crash && !crashed {
            crashed = true;
            let state = &mut net.nodes[0];
            state.number = 1;
            state.successor = Some(SPARE);
            let all = store(&net, 0);
            net.restart(0, all);
            net.link(0, HUB);
        }
    }
    for text in ["after", "at last"] {
        net.append(0, text);
        if net.ends.keys().all(|end| end.node != 0) {
            net.link(0, HUB);
        }
        net.settle();
    }
    net.assert_equal();
    for node in 0..3 {
        assert_eq!(
            net.texts(node),
            texts(3, later, &["second 0", "second 1", "after", "at last"]),
            "crash {crash} node {node}"
        );
        assert_eq!(
            successions(&net, node),
            BTreeMap::from([(node_id(1), node_id(SPARE))]),
            "crash {crash} node {node}"
        );
    }
    assert_eq!(net.replica(0).node(), node_id(SPARE));
    crashed
}

#[test]
fn a_crash_after_any_turn_of_a_succession_changes_nothing() {
    // The other branch comes in one frame, and in several.
    for later in [4, 300] {
        let mut turns = 0;
        while crash_in_succession(later, turns + 1) {
            turns += 1;
        }
        assert!(turns > 3, "{turns} turns");
    }
}

#[test]
fn a_lane_that_was_frozen_before_there_were_successors_gets_one() {
    let mut net = star();
    backup(&mut net, 0);
    let all = store(&net, 0);
    // Without a spare key the fork ends the lane.
    let twin = block(1, 3, net.now, &[net.verified(0)[1].hash()], &[b"\"twin\""]);
    net.inject(1, &twin);
    net.settle();
    net.append(0, "refused");
    assert!(matches!(net.nodes[0].appended.last(), Some(Err(shared::AppendError::Frozen { height: 3 }))));
    let frozen = store(&net, 0);
    for (store, dials) in [(frozen, 1), (all, 0)] {
        let mut net = Net::new(&[true]);
        restore(&mut net, store, dials);
        if dials == 0 {
            net.inject(0, &twin);
            net.now += limits::OWN_LANE;
            net.turn(0, vec![Input::Wake]);
        }
        net.append(0, "goes on");
        assert!(net.nodes[0].appended.iter().all(Result::is_ok));
        assert_eq!(net.replica(0).node(), node_id(SPARE));
        assert_eq!(successions(&net, 0), BTreeMap::from([(node_id(1), node_id(SPARE))]));
        assert!(is_recorded(&net, 0));
    }
}

#[test]
fn a_second_fork_without_a_spare_key_ends_the_lane_until_the_next_start() {
    let mut net = meet(2, 2, true);
    net.link(0, HUB);
    net.settle();
    // The spare key is used a second time too.
    let first =
        net.verified(0).into_iter().find(|b| b.header().author == node_id(SPARE) && b.header().height == 1).unwrap();
    let twin = block(SPARE, 2, net.now, &[first.hash()], &[b"\"stolen\""]);
    net.inject(1, &twin);
    net.settle();
    net.append(0, "refused");
    assert!(matches!(net.nodes[0].appended.last(), Some(Err(shared::AppendError::Frozen { height: 2 }))));
    net.assert_equal();
    let all = store(&net, 0);
    net.nodes[0].successor = Some(60);
    net.nodes[0].dials = 0;
    net.restart(0, all);
    net.link(0, HUB);
    net.append(0, "third lane");
    net.settle();
    net.assert_equal();
    assert_eq!(net.nodes[0].appended.last().unwrap().as_ref().unwrap()[0].author, node_id(60));
    let both = BTreeMap::from([(node_id(1), node_id(SPARE)), (node_id(SPARE), node_id(60))]);
    assert_eq!(successions(&net, 1), both);
    assert!(net.texts(1).contains(&"\"third lane\"".to_owned()));
}

#[test]
fn a_copy_beside_the_living_original_ends_with_two_successors() {
    // Node 1 is the copy of node 0; node 3 is somebody else.
    let mut net = Net::new(&[true, true, false, true]);
    net.link(0, HUB);
    net.link(3, HUB);
    net.settle();
    let copy = backup(&mut net, 2);
    net.nodes[1].number = 1;
    net.nodes[1].successor = Some(60);
    net.restart(1, copy);
    net.nodes[0].successor = Some(SPARE);
    let all = store(&net, 0);
    net.restart(0, all);
    (0..3).for_each(|i| net.append(1, &format!("second {i}")));
    for _ in 0..6 {
        for node in [0, 1] {
            if net.ends.keys().all(|end| end.node != node) {
                net.link(node, HUB);
                net.settle();
            }
        }
    }
    net.append(0, "one");
    net.append(1, "other");
    net.settle();
    net.assert_equal();
    let nodes = [net.replica(0).node(), net.replica(1).node()];
    assert_eq!(nodes, [node_id(SPARE), node_id(60)]);
    assert_eq!(net.texts(3), texts(3, 2, &["second 0", "second 1", "second 2", "one", "other"]));
}

/// A liar whose one half node 0 alone has seen, and whose other half the hub has.
fn liar(net: &mut Net) -> (VerifiedBlock, VerifiedBlock) {
    let (a, b) = (block(9, 1, net.now, &[], &[b"1"]), block(9, 1, net.now, &[], &[b"2"]));
    let end = *net.ends.keys().find(|end| end.node == 0).unwrap();
    net.cut(end);
    net.inject(0, &a);
    net.inject(HUB, &a);
    net.inject(HUB, &b);
    net.settle();
    (a, b)
}

#[test]
fn what_a_node_has_seen_stays_although_it_may_not_write_yet() {
    for dials in [1, 2] {
        let mut net = star();
        net.append(0, "mine");
        net.settle();
        net.cut(*net.ends.keys().find(|end| end.node == 1).unwrap());
        let (a, b) = liar(&mut net);
        let all = store(&net, 0);
        restore(&mut net, all, dials);
        net.link(0, HUB);
        net.settle();
        if dials == 2 {
            assert!(net.nodes[0].forks.is_empty(), "a freeze was recorded before this node could vouch");
            net.turn(0, vec![Input::DialFailed]);
            net.settle();
            assert_eq!(net.nodes[0].forks.len(), 1, "what was left for later was not asked for again");
        }
        net.link(1, HUB);
        net.settle();
        net.assert_equal();
        assert_eq!(net.replica(0).frozen(), BTreeMap::from([(node_id(9), 1)]));
        assert!(net.blocks(1).contains(&a.hash()) && !net.blocks(1).contains(&b.hash()), "{dials} dials");
    }
}

#[test]
fn a_restored_backup_catches_up_past_a_freeze_that_it_recorded_itself() {
    let mut net = star();
    net.append(0, "early 0");
    let seen = block(9, 1, net.now, &[], &[b"1"]);
    net.inject(0, &seen);
    net.settle();
    let copy = store(&net, 0);
    net.inject(1, &block(9, 1, net.now + 1, &[], &[b"2"]));
    net.settle();
    (0..3).for_each(|i| net.append(0, &format!("later {i}")));
    net.settle();
    let height = net.replica(0).height(&node_id(1));
    restore(&mut net, copy, 1);
    net.append(0, "after");
    net.link(0, HUB);
    net.settle();
    assert_eq!(last_height(&net, 0), height + 1);
    net.assert_equal();
    assert_eq!(net.replica(0).frozen(), BTreeMap::from([(node_id(9), 1)]));
    assert!(net.blocks(0).contains(&seen.hash()) && net.nodes[0].succeeded.is_empty());
}

#[test]
fn a_freeze_whose_record_is_lost_is_recorded_again() {
    let mut net = star();
    let copy = backup(&mut net, 1);
    net.cut(*net.ends.keys().find(|end| end.node == 1).unwrap());
    [b"1", b"2"].iter().for_each(|payload| net.inject(HUB, &block(9, 1, net.now, &[], &[*payload])));
    net.settle();
    assert!(is_recorded(&net, HUB));
    // The copy hears of the freeze from the hub, and that it wrote more in its longer life. None of that comes in time.
    let start = net.now;
    restore(&mut net, copy, 1);
    let (near, _) = until_blocks(&mut net);
    net.queues.remove(&near);
    assert_eq!(net.replica(0).frozen(), BTreeMap::from([(node_id(9), 1)]));
    assert!(!is_recorded(&net, 0));
    net.now = start + limits::OWN_LANE;
    net.turn(0, vec![Input::Wake]);
    assert!(is_recorded(&net, 0));
}

#[test]
fn a_file_with_another_life_of_this_node_is_taken_in_whole() {
    let mut net = star();
    let copy = backup(&mut net, 4);
    let others = net.verified(0);
    restore(&mut net, copy, 0);
    net.append(0, "second 0");
    // Batches, as the command line sends them; somebody has frozen the lane already.
    let mine: Vec<&VerifiedBlock> = others.iter().filter(|b| b.header().height > 3).collect();
    let twin = net.verified(0).into_iter().find(|b| b.header().height == 4).unwrap();
    let proof = Evidence::new(mine[0], &twin).unwrap().encode();
    let entry = shared::Entry::new(Kind::EVIDENCE, [5; 16], proof);
    let header = shared::Header {
        ledger: crate::common::ledger(),
        author: node_id(8),
        height: 1,
        timestamp: at(net.now),
        parents: vec![mine[0].hash()],
    };
    let record = VerifiedBlock::sign(header, vec![entry], &crate::common::key(8));
    for block in [mine[0], &record, mine[1], mine[2], mine[3]] {
        net.inject(0, block);
    }
    net.append(0, "held");
    assert_eq!(net.nodes[0].appended.len(), 1);
    net.now += limits::OWN_LANE;
    net.turn(0, vec![Input::Wake]);
    assert_eq!(net.nodes[0].appended.len(), 2);
    assert_eq!(net.replica(0).node(), node_id(SPARE));
    assert!(net.blocks(0).contains(&record.hash()));
    net.link(0, HUB);
    net.settle();
    net.assert_equal();
    assert_eq!(net.texts(1), texts(3, 4, &["second 0", "held"]));
}
