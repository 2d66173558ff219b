//! Who is on line.

use std::collections::BTreeSet;

use shared::{
    Input, MemoryStore, NodeId, Timestamp,
    announce::{Announcement, encode_addresses},
    limits,
    replica::Via,
    wire::{Envelope, Message},
};

use crate::{
    common::{End, Net, Node, address, key, ledger, node_id},
    overlay::{meeting, pass},
};

fn numbers(net: &Net, node: usize) -> BTreeSet<u8> {
    let online = |number: &u8| net.nodes[node].online.contains(&node_id(*number));
    (1..=100).filter(online).collect()
}

/// A chain of three: the ends know each other through the one between them.
fn three() -> Net {
    let mut net = meeting(3, false);
    // The ends cannot link to each other.
    net.unreachable.extend([0, 2]);
    for node in [0, 2] {
        net.nodes[node].peers = vec![address(2)];
        net.restart(node, MemoryStore::default());
        net.reachable(node);
    }
    pass(&mut net, 2_000_000);
    net
}

/// Lets a second pass, and no more.
fn second(net: &mut Net) {
    while net.step(0) {}
    net.now += 1_000_000;
    for node in 0..net.nodes.len() {
        net.turn(node, vec![Input::Wake]);
    }
}

/// A node says this to node 0, whatever it thinks itself.
fn tell(net: &mut Net, from: usize, message: Message) {
    let end = *net.ends.keys().find(|end| end.node == 0 && net.ends[end].node == from).unwrap();
    let envelope = Envelope { message_id: [1; 16], sender: node_id(from as u8 + 1), recipient: None, message };
    net.turn(0, vec![Input::Frame { link: end.link, bytes: envelope.encode() }]);
}

#[test]
fn everybody_knows_who_is_there_over_links_a_relay_and_others() {
    let mut net = three();
    net.nodes.push(Node::new(9, true));
    net.nodes.push(Node::new(100, false));
    net.start(3, MemoryStore::default(), &[]);
    net.start(4, MemoryStore::default(), &[]);
    for node in [0, 3] {
        net.link(node, 4);
    }
    pass(&mut net, 2_000_000);
    assert_eq!(numbers(&net, 0), BTreeSet::from([2, 3, 9, 100]));
    assert_eq!(numbers(&net, 3), BTreeSet::from([1, 2, 3, 100]));
    let via = |node: usize, of: u8| {
        let peers = net.replica(node).peers();
        peers.iter().find(|peer| peer.node == node_id(of)).and_then(|peer| peer.via)
    };
    assert_eq!(via(0, 2).map(Via::name), Some("websocket"));
    assert_eq!(via(0, 9).map(Via::name), Some("relay"));
    assert_eq!(via(0, 3).map(Via::name), Some("mesh"));
    assert_eq!(via(3, 2).map(Via::name), Some("mesh"));
}

#[test]
fn who_is_linked_to_a_relay_alone_is_known_to_those_who_are_not() {
    let mut net = three();
    net.nodes.push(Node::new(9, true));
    net.nodes.push(Node::new(100, false));
    for node in [3, 4] {
        net.start(node, MemoryStore::default(), &[]);
    }
    net.turn(3, vec![Input::Reachable { addresses: Vec::new() }]);
    net.link(1, 4);
    net.link(3, 4);
    pass(&mut net, 2_000_000);
    assert_eq!(numbers(&net, 0), BTreeSet::from([2, 3, 9, 100]));
    assert!(net.nodes[3].dialled.is_empty() && numbers(&net, 3).contains(&1));
    net.turn(3, vec![Input::Leave]);
    pass(&mut net, 1_000_000);
    assert_eq!(numbers(&net, 0), BTreeSet::from([2, 3, 100]));
}

#[test]
fn who_says_goodbye_is_gone_at_once_and_comes_back() {
    let mut net = three();
    net.turn(2, vec![Input::Leave]);
    pass(&mut net, limits::PRESENCE_EVERY);
    for node in [0, 1] {
        assert!(!numbers(&net, node).contains(&3), "node {node}");
    }
    let store = net.replica(2).store().clone();
    net.restart(2, store);
    net.reachable(2);
    pass(&mut net, 2_000_000);
    for node in [0, 1] {
        assert!(numbers(&net, node).contains(&3), "node {node}");
    }
    let peers = net.replica(0).peers();
    let seen = peers.iter().find(|peer| peer.node == node_id(3)).unwrap().seen.unwrap();
    assert!(net.now - seen.micros() < 10_000_000, "{seen}");
}

#[test]
fn who_said_goodbye_is_not_named_to_a_new_neighbour_and_does_not_answer_for_itself() {
    let mut net = meeting(3, false);
    for (a, b) in [(1, 0), (2, 0), (2, 1)] {
        net.link_directly(a, b);
    }
    pass(&mut net, 2_000_000);
    assert_eq!(numbers(&net, 0), BTreeSet::from([2, 3]));
    net.turn(2, vec![Input::Leave]);
    // Somebody's link to it breaks before its goodbye is there, and says so; its other link is there still.
    let end = *net.ends.keys().find(|end| end.node == 2 && net.ends[end].node == 1).unwrap();
    let gone = Message::NodeGone { nodes: vec![(node_id(3), Timestamp::from_micros(net.now).unwrap())] };
    let envelope = Envelope { message_id: [1; 16], sender: node_id(2), recipient: None, message: gone };
    net.turn(2, vec![Input::Frame { link: end.link, bytes: envelope.encode() }]);
    while net.step(0) {}
    net.turn(0, vec![Input::Wake]);
    pass(&mut net, 1_000_000);
    assert_eq!(numbers(&net, 0), BTreeSet::from([2]));
    net.link_directly(1, 0);
    pass(&mut net, 1_000_000);
    assert_eq!(numbers(&net, 0), BTreeSet::from([2]));
}

#[test]
fn a_goodbye_holds_whatever_others_said_of_a_link_before_they_heard_it() {
    let mut net = three();
    net.turn(2, vec![Input::Leave]);
    pass(&mut net, 1_000_000);
    tell(&mut net, 1, Message::NodeAnnounce { nodes: vec![node_id(3)], announcements: Vec::new() });
    tell(&mut net, 1, Message::NodeGone { nodes: vec![(node_id(3), Timestamp::default())] });
    pass(&mut net, 1_000_000);
    assert_eq!(numbers(&net, 0), BTreeSet::from([2]));
}

#[test]
fn who_said_goodbye_and_says_nothing_when_it_comes_back_is_on_line_while_it_is_linked() {
    let mut net = three();
    net.turn(2, vec![Input::Leave]);
    pass(&mut net, 1_000_000);
    net.nodes[2].peers.clear();
    net.unreachable.insert(1);
    net.restart(2, MemoryStore::default());
    let (end, _) = net.link(2, 1);
    pass(&mut net, 1_000_000);
    assert_eq!(numbers(&net, 0), BTreeSet::from([2, 3]));
    net.cut(end);
    pass(&mut net, 1_000_000);
    // It may be back at once, as far as its neighbour knows.
    assert!(numbers(&net, 1).contains(&3));
    pass(&mut net, limits::GONE_AFTER);
    for node in 0..2 {
        assert!(!numbers(&net, node).contains(&3), "node {node}");
    }
}

#[test]
fn who_dies_without_a_word_is_missed_and_not_before_it_could_have_said_that_it_lives() {
    let mut net = three();
    let ends: Vec<_> = net.ends.keys().filter(|end| end.node == 2).copied().collect();
    ends.into_iter().for_each(|end| net.mute(end));
    net.unreachable.insert(1);
    let died = net.now;
    let mut missed = None;
    while net.now < died + 40_000_000 && missed.is_none() {
        second(&mut net);
        missed = (!numbers(&net, 0).contains(&3)).then_some(net.now - died);
    }
    let missed = missed.expect("it is missed");
    assert!(missed > limits::GONE_AFTER && missed < 30_000_000, "after {missed} µs");
    let peers = net.replica(0).peers();
    assert!(peers.iter().find(|peer| peer.node == node_id(3)).unwrap().seen.is_some());
}

#[test]
fn who_loses_one_link_of_several_is_not_missed() {
    let mut net = meeting(4, false);
    for node in 1..4 {
        net.nodes[node].peers = vec![address(1)];
        net.restart(node, MemoryStore::default());
        net.reachable(node);
    }
    pass(&mut net, 5_000_000);
    // Nobody dials meanwhile.
    net.unreachable.extend(0..4);
    let between = |end: &End| end.node == 3 && net.ends[end].node == 0;
    let end = *net.ends.keys().find(|end| between(end)).unwrap();
    net.cut(end);
    for _ in 0..20 {
        pass(&mut net, 500_000);
        for node in 0..3 {
            assert!(numbers(&net, node).contains(&4), "node {node}");
        }
    }
}

#[test]
fn a_liar_puts_nobody_off_line_who_can_answer() {
    let mut net = three();
    let liar = net.nodes.len();
    net.nodes.push(Node::new(4, true));
    net.nodes[liar].meets = true;
    net.nodes[liar].peers = vec![address(2)];
    net.start(liar, MemoryStore::default(), &[]);
    net.reachable(liar);
    pass(&mut net, 5_000_000);
    let said = Timestamp::from_micros(net.now + 60_000_000).unwrap();
    for _ in 0..20 {
        let nodes: Vec<(NodeId, Timestamp)> = vec![(node_id(3), said)];
        tell(&mut net, 3, Message::NodeGone { nodes });
        pass(&mut net, 500_000);
        for node in 0..2 {
            assert!(numbers(&net, node).contains(&3), "node {node}");
        }
    }
}

#[test]
fn what_a_node_said_of_itself_ends_and_it_says_it_again_in_time() {
    let mut net = three();
    for _ in 0..4 * limits::ANNOUNCED_FOR / limits::ANNOUNCE_EVERY {
        pass(&mut net, limits::ANNOUNCE_EVERY);
        assert!(numbers(&net, 0).contains(&3));
    }
    // Of this one nobody hears again.
    let said = Timestamp::from_micros(net.now).unwrap();
    let body = encode_addresses(&[address(50)]);
    let announcements = vec![Announcement::sign(&ledger(), &key(50), said, body)];
    tell(&mut net, 1, Message::NodeAnnounce { nodes: Vec::new(), announcements });
    pass(&mut net, limits::ANNOUNCED_FOR - 30_000_000);
    assert!(numbers(&net, 0).contains(&50));
    pass(&mut net, 60_000_000);
    assert!(!numbers(&net, 0).contains(&50));
}

#[test]
fn nobody_is_listed_who_was_only_said_to_be_gone() {
    let mut net = three();
    let before = net.replica(0).peers().len();
    let said = Timestamp::from_micros(net.now).unwrap();
    for number in 50..60 {
        tell(&mut net, 1, Message::NodeGone { nodes: vec![(node_id(number), said)] });
        let goodbye = Announcement::sign(&ledger(), &key(number + 50), said, Vec::new());
        tell(&mut net, 1, Message::NodeAnnounce { nodes: Vec::new(), announcements: vec![goodbye] });
    }
    pass(&mut net, 2 * limits::GONE_AFTER);
    assert_eq!(net.replica(0).peers().len(), before);
}
