//! Nodes that find each other and link directly.

use std::collections::BTreeSet;

use shared::{
    Address, Input, LinkPath, MemoryStore, NodeId, Timestamp, limits,
    wire::{Envelope, Message},
};

use crate::common::{
    End, Net, address, endpoint,
    group::{self, HUB, bring_in},
    node_id,
};
use shared::members::Role;

/// So many nodes that meet each other, not yet linked; the last one is a relay, if one is wanted.
pub(crate) fn meeting(nodes: usize, relay: bool) -> Net {
    let mut net = Net::new(&vec![true; nodes]);
    for node in 0..nodes {
        net.nodes[node].meets = true;
        net.restart(node, MemoryStore::default());
        net.reachable(node);
    }
    if relay {
        net.nodes.push(crate::common::Node::new(100, false));
        net.start(nodes, MemoryStore::default(), &[]);
    }
    net
}

/// So many nodes of which each was told of the one before.
fn chain(nodes: usize) -> Net {
    let mut net = meeting(nodes, false);
    for node in 1..nodes {
        net.nodes[node].peers = vec![address(node as u8)];
        net.restart(node, MemoryStore::default());
        net.reachable(node);
    }
    net
}

/// Whom a node is linked to directly.
fn direct(net: &Net, node: usize) -> BTreeSet<NodeId> {
    let links = net.replica(node).links();
    let peers: Vec<NodeId> =
        links.iter().filter(|link| link.path != LinkPath::Relay).filter_map(|link| link.node).collect();
    let set: BTreeSet<NodeId> = peers.iter().copied().collect();
    assert_eq!(peers.len(), set.len(), "two direct links to one peer");
    set
}

fn others(nodes: usize, of: usize) -> BTreeSet<NodeId> {
    (0..nodes).filter(|node| *node != of).map(|node| node_id(node as u8 + 1)).collect()
}

/// Lets so many µs pass.
pub(crate) fn pass(net: &mut Net, micros: u64) {
    let end = net.now + micros;
    while net.now < end {
        net.settle();
        net.now = net.now.max((net.now + 500_000).min(end));
        for node in 0..net.nodes.len() {
            if net.nodes[node].replica.is_some() {
                net.turn(node, vec![Input::Wake]);
            }
        }
    }
    net.settle();
}

#[test]
fn two_who_share_a_relay_link_directly_by_one_link() {
    let mut net = meeting(2, true);
    net.link(0, 2);
    net.link(1, 2);
    net.settle();
    assert_eq!([direct(&net, 0), direct(&net, 1)], [others(2, 0), others(2, 1)]);
    // The relay has no part in it.
    assert!(direct(&net, 2).is_empty() && net.nodes[2].dialled.is_empty());
    net.append(0, "hello");
    net.settle();
    net.assert_same(&[0, 1, 2]);
}

#[test]
fn a_chain_becomes_a_mesh() {
    const NODES: usize = 9;
    let mut net = chain(NODES);
    let began = net.now;
    net.settle();
    for node in 0..NODES {
        assert_eq!(direct(&net, node), others(NODES, node), "node {node}");
    }
    assert!(net.now - began < 2_000_000, "{} µs", net.now - began);
}

#[test]
fn of_many_nobody_has_more_links_than_allowed_and_all_hang_together() {
    const NODES: usize = 40;
    let mut net = chain(NODES);
    pass(&mut net, 20_000_000);
    for node in 0..NODES {
        let links = direct(&net, node).len();
        assert!((3..=limits::DIRECT_LINKS).contains(&links), "node {node} has {links}");
        assert_eq!(net.replica(node).peers().len(), NODES - 1, "node {node} does not know all");
    }
    net.append(7, "to all");
    net.settle();
    for node in 0..NODES {
        assert_eq!(net.texts(node), ["\"to all\""], "node {node}");
    }
}

#[test]
fn who_starts_again_finds_the_others_without_help() {
    let mut net = meeting(4, false);
    net.nodes[1].peers = vec![address(1)];
    net.nodes[2].peers = vec![address(1)];
    net.nodes[3].peers = vec![address(1)];
    for node in 1..4 {
        net.restart(node, MemoryStore::default());
        net.reachable(node);
    }
    pass(&mut net, limits::PEERS_EVERY + 1_000_000);
    // The one whom all were told of is gone for good, and nobody is told of anybody any more.
    let store = net.replica(2).store().clone();
    net.nodes[0].replica = None;
    let ends: Vec<End> = net.ends.keys().filter(|end| end.node == 0).copied().collect();
    ends.into_iter().for_each(|end| net.cut(end));
    net.nodes[2].peers.clear();
    net.restart(2, store);
    pass(&mut net, 5_000_000);
    assert_eq!(direct(&net, 2), [node_id(2), node_id(4)].into());
}

#[test]
fn who_is_killed_as_soon_as_it_knows_the_others_finds_them_without_help() {
    const NODES: usize = 4;
    let mut net = chain(NODES);
    let began = net.now;
    net.settle();
    assert!(net.now - began < limits::PEERS_EVERY, "{} µs", net.now - began);
    let store = net.replica(2).store().clone();
    // It is told of nobody any more, and nobody gets at it.
    net.nodes[2].peers.clear();
    net.unreachable.insert(2);
    net.restart(2, store);
    net.settle();
    assert_eq!(direct(&net, 2), others(NODES, 2));
}

#[test]
fn two_who_dial_each_other_at_once_keep_the_same_link() {
    for settled_first in [0, 1] {
        let mut net = meeting(2, false);
        for (node, other) in [(0, 2), (1, 1)] {
            net.nodes[node].peers = vec![address(other)];
            net.restart(node, MemoryStore::default());
        }
        // Frames cross in one order and in the other.
        for choice in 0.. {
            if !net.step(choice * 2 + settled_first) {
                break;
            }
        }
        net.settle();
        assert_eq!([direct(&net, 0), direct(&net, 1)], [others(2, 0), others(2, 1)]);
        let ends: Vec<&End> = net.ends.keys().collect();
        assert_eq!(ends.len(), 2, "one link stays: {ends:?}");
    }
}

#[test]
fn an_address_that_leads_nowhere_stops_nobody_and_is_forgotten() {
    let mut net = meeting(3, true);
    net.unreachable.insert(0);
    (0..3).for_each(|node| _ = net.link(node, 3));
    net.settle();
    assert_eq!(direct(&net, 1), others(3, 1), "node 0 reaches it");
    let ends: Vec<End> = net.ends.keys().filter(|end| end.node == 0).copied().collect();
    ends.into_iter().for_each(|end| net.cut(end));
    net.nodes[0].replica = None;
    pass(&mut net, u64::from(limits::DIALS_IN_VAIN) * limits::RECONNECT_MOST);
    for node in [1, 2] {
        let dialled = |peer: &shared::replica::PeerStatus| peer.node == node_id(1) && !peer.addresses.is_empty();
        assert!(!net.replica(node).peers().iter().any(dialled), "it is still dialled");
    }
    assert_eq!(direct(&net, 1), [node_id(3)].into());
}

#[test]
fn addresses_of_this_machine_are_dialled_by_who_is_reached_there_only() {
    let local: Address = "ws://127.0.0.1:4000".parse().unwrap();
    let far: Address = "later:somewhere".parse().unwrap();
    // The other one has no way to the first and does not dial in its place.
    for (own, dials) in [("later:elsewhere".parse().unwrap(), false), ("ws://127.0.0.1:4001".parse().unwrap(), true)] {
        let mut net = meeting(2, true);
        net.turn(0, vec![shared::Input::Reachable { addresses: vec![own] }]);
        net.turn(1, vec![shared::Input::Reachable { addresses: vec![far.clone(), local.clone()] }]);
        (0..2).for_each(|node| _ = net.link(node, 2));
        net.settle();
        let dialled = net.nodes[0].dialled.first();
        assert_eq!(dialled, dials.then(|| vec![local.clone()]).as_ref());
    }
}

/// The paths of a node's links to others than the relay.
fn paths(net: &Net, node: usize) -> Vec<LinkPath> {
    let links = net.replica(node).links();
    links.iter().filter(|link| link.path != LinkPath::Relay && link.node.is_some()).map(|link| link.path).collect()
}

#[test]
fn addresses_out_of_the_local_network_are_dialled_by_who_may() {
    let [near, far]: [Address; 2] = ["ws://10.9.9.9:1", "ws://203.0.113.5:1"].map(|text| text.parse().unwrap());
    for (may, dialled) in [(false, vec![near.clone()]), (true, vec![near.clone(), far.clone()])] {
        let mut net = meeting(2, true);
        net.unreachable.extend([0, 1]);
        net.nodes[0].far = may;
        net.restart(0, MemoryStore::default());
        net.reachable(0);
        net.turn(1, vec![shared::Input::Reachable { addresses: vec![near.clone(), far.clone()] }]);
        (0..2).for_each(|node| _ = net.link(node, 2));
        pass(&mut net, 3_000_000);
        assert_eq!(net.nodes[0].dialled.first(), Some(&dialled));
    }
}

#[test]
fn who_is_linked_by_a_worse_path_is_dialled_by_the_better_one_until_that_leads_there() {
    let mut net = meeting(2, true);
    for node in 0..2 {
        let number = node as u8 + 1;
        net.turn(node, vec![shared::Input::Reachable { addresses: vec![endpoint(number), address(number)] }]);
        net.link(node, 2);
    }
    net.settle();
    pass(&mut net, 5_000_000);
    assert_eq!([0, 1].map(|node| paths(&net, node)), [[LinkPath::WebSocket], [LinkPath::WebSocket]]);
    let tried = |net: &Net| net.nodes.iter().map(|node| node.dialled.len()).sum::<usize>();
    let before = tried(&net);
    pass(&mut net, 40 * limits::UPGRADE_EVERY);
    let tries = tried(&net) - before;
    assert!((35..=45).contains(&tries), "{tries} tries in 40 min");
    let known = |node: usize| net.replica(node).peers().iter().filter(|peer| !peer.addresses.is_empty()).count();
    assert_eq!([0, 1].map(known), [1, 1], "who is linked is forgotten");
    net.quic.extend([0, 1]);
    pass(&mut net, limits::UPGRADE_EVERY + 1_000_000);
    assert_eq!([0, 1].map(|node| paths(&net, node)), [[LinkPath::Quic], [LinkPath::Quic]]);
    let before = tried(&net);
    pass(&mut net, 10 * limits::UPGRADE_EVERY);
    assert_eq!(tried(&net), before, "there is nothing better");
}

/// Two at a relay that do not reach each other, and have tried for long.
fn apart() -> Net {
    let mut net = meeting(2, true);
    net.unreachable.extend([0, 1]);
    (0..2).for_each(|node| _ = net.link(node, 2));
    net.settle();
    pass(&mut net, 100_000_000);
    assert!(direct(&net, 0).is_empty());
    net
}

#[test]
fn a_change_of_the_network_cuts_waits_short() {
    let mut net = apart();
    net.unreachable.clear();
    net.turn(0, vec![shared::Input::NetworkChanged]);
    net.now += limits::RECONNECT_FIRST;
    net.turn(0, vec![shared::Input::Wake]);
    net.settle();
    assert_eq!([direct(&net, 0), direct(&net, 1)], [others(2, 0), others(2, 1)]);
}

/// Lets time pass until a node's direct links are all gone; µs.
fn gone_after(net: &mut Net, node: usize) -> u64 {
    let began = net.now;
    while !direct(net, node).is_empty() {
        assert!(net.now - began < 60_000_000, "the link is still there");
        if net.step(0) {
            continue;
        }
        let wakes =
            net.nodes.iter().enumerate().filter_map(|(i, n)| Some((n.replica.as_ref()?.next_wake()?.micros(), i)));
        let (time, next) = wakes.min().unwrap();
        net.now = net.now.max(time);
        net.turn(next, vec![shared::Input::Wake]);
    }
    net.now - began
}

#[test]
fn a_direct_link_that_is_cut_silently_is_gone_soon() {
    for (sends, changes, most) in [
        (true, false, limits::SILENCE + limits::SUSPECT_TIMEOUT),
        (false, true, limits::SUSPECT_TIMEOUT),
        (false, false, limits::DIRECT_PING_EVERY + limits::DIRECT_PING_TIMEOUT),
    ] {
        let mut net = meeting(2, true);
        (0..2).for_each(|node| _ = net.link(node, 2));
        net.settle();
        net.unreachable.extend([0, 1]);
        let links = net.replica(0).links();
        let link = links.iter().find(|link| link.path != LinkPath::Relay).unwrap().link;
        net.mute(End { node: 0, link });
        if sends {
            net.append(0, "into the void");
        }
        if changes {
            net.turn(0, vec![shared::Input::NetworkChanged]);
        }
        let after = gone_after(&mut net, 0).max(gone_after(&mut net, 1));
        assert!(after <= most + 100_000, "{after} µs");
    }
}

#[test]
fn who_holds_a_dead_link_lets_its_peer_in_again() {
    let mut net = meeting(2, true);
    (0..2).for_each(|node| _ = net.link(node, 2));
    net.settle();
    // The one with the smaller id dialled, and its link stays where both dial at once; only the other one knows that it is dead.
    let (first, second) = if node_id(1) < node_id(2) { (0, 1) } else { (1, 0) };
    let links = net.replica(second).links();
    let link = links.iter().find(|link| link.path != LinkPath::Relay).unwrap().link;
    net.mute(End { node: second, link });
    net.unreachable.extend([first, second]);
    net.turn(second, vec![shared::Input::NetworkChanged]);
    gone_after(&mut net, second);
    net.unreachable.clear();
    pass(&mut net, limits::SUSPECT_TIMEOUT + 4_000_000);
    assert_eq!([direct(&net, 0), direct(&net, 1)], [others(2, 0), others(2, 1)]);
    net.append(first, "heard again");
    net.settle();
    net.assert_same(&[0, 1, 2]);
}

#[test]
fn only_members_are_dialled_and_only_members_read_where_others_are() {
    let mut net = group::group();
    bring_in(&mut net, 0, 1, Role::Member);
    for node in [0, 1] {
        net.nodes[node].meets = true;
        let store = net.replica(node).store().clone();
        net.restart(node, store);
        net.reachable(node);
        net.link(node, HUB);
    }
    net.settle();
    assert_eq!(direct(&net, 0), [node_id(2)].into());
    let known = net.replica(HUB).peers();
    assert_eq!(known.len(), 2);
    assert!(known.iter().all(|peer| peer.addresses.is_empty()), "a relay reads {known:?}");

    // Somebody who does not belong but has the key, as one who was removed has it; and another one in the name of a member that
    // nobody is linked to.
    bring_in(&mut net, 0, 2, Role::Member);
    let at = Timestamp::from_micros(net.now).unwrap();
    let addresses = shared::announce::encode_addresses(&[address(9)]);
    let said = |signer: u8, name: NodeId| {
        let place = shared::Announcement::place(group::ledger(), name, at);
        let body = shared::seal::seal(net.replica(0).keys().current().unwrap(), &place, [9; 16], &addresses);
        let said = shared::Announcement::sign(&group::ledger(), &crate::common::key(signer), at, body);
        shared::Announcement { node: name, ..said }
    };
    let announcements = [(9, node_id(9)), (9, node_id(3)), (3, node_id(3))].map(|(signer, name)| said(signer, name));
    let end = *net.ends.keys().find(|end| end.node == 0).unwrap();
    let sender = net.replica(net.ends[&end].node).node();
    for (said, dialled) in announcements.into_iter().zip([false, false, true]) {
        let before = net.nodes[0].dialled.len();
        let message = shared::wire::Message::NodeAnnounce { nodes: Vec::new(), announcements: vec![said] };
        let envelope = shared::wire::Envelope { message_id: [1; 16], sender, recipient: None, message };
        net.turn(0, vec![shared::Input::Frame { link: end.link, bytes: envelope.encode() }]);
        pass(&mut net, 3_000_000);
        assert_eq!(net.nodes[0].dialled.len() > before, dialled, "only what the member says of itself");
    }
}

/// Blocks that came to nodes in all, since the last time.
fn copies(net: &mut Net) -> usize {
    net.carried.replace(Default::default()).unwrap_or_default().values().sum()
}

#[test]
fn what_two_write_who_are_linked_directly_comes_to_each_other_and_to_the_relay_once() {
    let mut net = meeting(2, true);
    (0..2).for_each(|node| _ = net.link(node, 2));
    net.settle();
    net.append(0, "the first one shows which links are too many");
    net.settle();
    for round in 0..10 {
        net.carried = Some(Default::default());
        net.append(round % 2, "hello");
        net.settle();
        let carried = net.carried.take().unwrap();
        assert_eq!(carried.values().sum::<usize>(), 2, "round {round}: {carried:?}");
        assert!(
            !carried.contains_key(&(2, 0)) && !carried.contains_key(&(2, 1)),
            "the relay sends blocks: {carried:?}"
        );
        let everybody = net.replica(round % 2).totals().blocks;
        assert!((0..3).all(|node| net.replica(node).totals().blocks == everybody));
    }
    // The one who wrote hears of all who hold it, also of those to whom it did not send it.
    pass(&mut net, 1_000_000);
    assert_eq!([0, 1].map(|node| net.nodes[node].held.unwrap().1), [2, 2]);
}

#[test]
fn a_relay_that_is_quicker_than_a_direct_link_carries_nothing_between_the_two_all_the_same() {
    let mut net = meeting(3, true);
    net.nodes[2].meets = false;
    net.restart(2, MemoryStore::default());
    (0..3).for_each(|node| _ = net.link(node, 3));
    net.settle();
    let [a, b] = [0, 1].map(|node| {
        let mut links = net.replica(node).links().into_iter();
        let direct = links.find(|link| link.path != LinkPath::Relay).expect("they are linked");
        End { node, link: direct.link }
    });
    assert_eq!(net.ends[&a], b);
    net.slow = [a, b].into();
    for round in 0..20 {
        net.append(round % 2, "it takes some to show which links are too many");
        net.settle();
    }
    for round in 0..20 {
        net.carried = Some(Default::default());
        net.append(round % 3, "hello");
        net.settle();
        let carried = net.carried.take().unwrap();
        assert_eq!(carried.values().sum::<usize>(), 3, "round {round}, each gets it once: {carried:?}");
        // What the third one writes has to come by the relay to one of the two.
        let of_relay: usize =
            carried.iter().filter(|((from, to), _)| *from == 3 && *to < 2).map(|(_, sent)| sent).sum();
        assert_eq!(of_relay, usize::from(round % 3 == 2), "round {round}: {carried:?}");
    }
}

#[test]
fn a_block_comes_to_each_of_many_about_once() {
    const NODES: usize = 40;
    let mut net = chain(NODES);
    pass(&mut net, 20_000_000);
    for round in 0..5 {
        net.append(3, &format!("warm {round}"));
        net.settle();
    }
    copies(&mut net);
    for round in 0..20 {
        net.append(3, &format!("{round}"));
        net.settle();
    }
    let copies = copies(&mut net) as f64 / (20 * (NODES - 1)) as f64;
    assert!(copies < 1.2, "{copies} copies for each node");
    for node in 0..NODES {
        assert_eq!(net.replica(node).totals().blocks, 25);
    }
}

#[test]
fn those_who_take_and_never_forward_keep_nothing_from_the_others() {
    const NODES: usize = 30;
    let mut net = chain(NODES);
    pass(&mut net, 20_000_000);
    net.append(0, "before");
    net.settle();
    net.selfish = (0..NODES).filter(|node| node % 3 == 1).collect();
    for round in 0..10 {
        net.append(round * 3, &format!("{round}"));
        pass(&mut net, 2_000_000);
        for node in 0..NODES {
            assert_eq!(net.replica(node).totals().blocks, 2 + round as u64, "round {round}, node {node}");
        }
    }
}

#[test]
fn who_has_only_neighbours_that_hand_on_nothing_finds_another() {
    const NODES: usize = 30;
    let mut net = chain(NODES);
    pass(&mut net, 20_000_000);
    let neighbours = direct(&net, 0);
    net.selfish = (1..NODES).filter(|node| neighbours.contains(&node_id(*node as u8 + 1))).collect();
    let writer = (1..NODES).find(|node| !net.selfish.contains(node)).unwrap();
    net.append(writer, "past them");
    pass(&mut net, limits::PROBE_EVERY);
    assert_eq!(net.replica(0).totals().blocks, 1, "all of {neighbours:?} keep it back");
    assert!(direct(&net, 0).len() <= limits::DIRECT_LINKS);
}

#[test]
fn when_the_tree_breaks_a_lazy_link_brings_what_is_missing() {
    let mut net = meeting(3, false);
    for (node, other) in [(1, 1), (2, 1)] {
        net.nodes[node].peers = vec![address(other)];
        net.restart(node, MemoryStore::default());
        net.reachable(node);
    }
    net.settle();
    net.append(0, "a triangle");
    net.settle();
    // Nothing comes through any more between two of them, and neither knows it.
    let cut: Vec<End> = net.ends.keys().filter(|end| end.node == 0).copied().collect();
    let [first, ..] = cut[..] else { panic!("node 0 has two links") };
    let other = net.ends[&first].node;
    net.mute(first);
    net.append(0, "in spite of that");
    pass(&mut net, 1_000_000);
    for node in 0..3 {
        assert_eq!(net.replica(node).totals().blocks, 2, "node {node}, without the link to {other}");
    }
    // And it is found dead, long before it would have been asked.
    pass(&mut net, limits::SUSPECT_TIMEOUT);
    assert!(!net.ends.contains_key(&first));
}

/// One side takes a link out of the tree while the other one puts it back: both say so, and what they said crosses on its way.
#[test]
fn what_comes_over_a_link_of_which_its_sides_think_differently_is_asked_for() {
    let mut net = Net::new(&[true, true]);
    let (end, _) = net.link(0, 1);
    net.settle();
    let message_id = [7; 16];
    let prune = Envelope { message_id, sender: node_id(2), recipient: None, message: Message::Prune };
    net.turn(0, vec![Input::Frame { link: end.link, bytes: prune.encode() }]);
    net.append(0, "only said to be there");
    pass(&mut net, 2 * limits::GRAFT_AGAIN);
    assert_eq!(net.replica(1).totals().blocks, 1);
}

#[test]
fn who_goes_on_with_another_key_says_again_where_it_is() {
    let mut net = meeting(2, true);
    net.nodes[0].successor = Some(9);
    net.restart(0, MemoryStore::default());
    net.reachable(0);
    (0..2).for_each(|node| _ = net.link(node, 2));
    net.append(0, "one life");
    net.settle();
    // Its other life signed another block of that height.
    let other = crate::common::block(1, 1, net.now, &[], &[b"\"another\""]);
    net.inject(1, &other);
    pass(&mut net, 70_000_000);
    assert_eq!(net.nodes[0].succeeded, [(node_id(1), node_id(9))]);
    net.link(0, 2);
    pass(&mut net, 3_000_000);
    assert!(net.replica(1).peers().iter().any(|peer| peer.node == node_id(9)));
}

#[test]
fn who_announces_itself_again_and_again_is_not_dialled_the_more_for_it() {
    let mut net = meeting(2, true);
    net.unreachable.extend([0, 1]);
    (0..2).for_each(|node| _ = net.link(node, 2));
    net.settle();
    let (began, at) = (net.nodes[0].dialled.len(), net.now);
    for n in 0..200 {
        net.turn(1, vec![shared::Input::Reachable { addresses: vec![address(2 + n % 2)] }]);
        pass(&mut net, 10_000);
    }
    let dials = net.nodes[0].dialled.len() - began;
    // After some quick ones, one in half of the longest wait.
    let most = 12 + 2 * (net.now - at) / limits::RECONNECT_MOST;
    assert!((dials as u64) < most, "{dials} dials, {most} are the most");
}

/// An endpoint shows itself to a node on the local network.
fn find(net: &mut Net, node: usize, address: Address) {
    net.turn(node, vec![Input::Found { addresses: vec![address] }, Input::Wake]);
}

#[test]
fn two_of_whom_one_finds_the_other_link() {
    let mut net = meeting(2, false);
    net.quic.insert(1);
    find(&mut net, 0, endpoint(2));
    net.settle();
    assert_eq!([direct(&net, 0), direct(&net, 1)], [others(2, 0), others(2, 1)]);
    net.append(1, "hello");
    net.settle();
    net.assert_equal();
}

#[test]
fn two_who_find_each_other_keep_one_link() {
    let mut net = meeting(2, false);
    net.quic.extend([0, 1]);
    for node in 0..2 {
        find(&mut net, node, endpoint(2 - node as u8));
    }
    pass(&mut net, 10_000_000);
    assert_eq!([direct(&net, 0), direct(&net, 1)], [others(2, 0), others(2, 1)]);
    let dials = |net: &Net| net.nodes.iter().map(|node| node.dialled.len()).sum::<usize>();
    let before = dials(&net);
    pass(&mut net, 10 * limits::RECONNECT_MOST);
    assert_eq!(dials(&net), before);
}

#[test]
fn who_finds_itself_or_somebody_linked_dials_nobody() {
    let mut net = meeting(2, true);
    net.quic.extend([0, 1]);
    for node in 0..2 {
        net.turn(node, vec![Input::Reachable { addresses: vec![endpoint(node as u8 + 1)] }]);
    }
    find(&mut net, 0, endpoint(1));
    net.settle();
    assert!(net.nodes[0].dialled.is_empty(), "it dials itself");
    (0..2).for_each(|node| _ = net.link(node, 2));
    net.settle();
    assert_eq!(direct(&net, 0), others(2, 0));
    let dials = |net: &Net| net.nodes[0].dialled.len();
    let before = dials(&net);
    find(&mut net, 0, endpoint(2));
    pass(&mut net, 5_000_000);
    assert_eq!(dials(&net), before, "it is linked");
    // Nor when that link is gone: it is known, and dialled as such.
    net.quic.clear();
    let ends: Vec<End> = net.ends.keys().filter(|end| end.node == 0).copied().collect();
    ends.into_iter().for_each(|end| net.cut(end));
    find(&mut net, 0, endpoint(2));
    let both = |addresses: &Vec<Address>| addresses.iter().filter(|way| **way == endpoint(2)).count();
    pass(&mut net, 60_000_000);
    assert!(dials(&net) > before && net.nodes[0].dialled[before..].iter().all(|dialled| both(dialled) == 2));
}

#[test]
fn who_was_elsewhere_is_dialled_where_it_is_found() {
    let mut net = meeting(2, true);
    net.unreachable.extend([0, 1]);
    net.quic.insert(1);
    let former: Address = endpoint(2).as_str().replace("10.0.0.2", "10.9.9.9").parse().unwrap();
    net.turn(1, vec![Input::Reachable { addresses: vec![former.clone()] }]);
    (0..2).for_each(|node| _ = net.link(node, 2));
    pass(&mut net, 60_000_000);
    assert!(direct(&net, 0).is_empty());
    assert_eq!(net.nodes[0].dialled.last(), Some(&vec![former.clone()]));
    find(&mut net, 0, endpoint(2));
    pass(&mut net, limits::RECONNECT_MOST);
    assert_eq!(direct(&net, 0), others(2, 0));
    assert_eq!(net.nodes[0].dialled.last(), Some(&vec![former, endpoint(2)]));
}

#[test]
fn who_says_later_that_it_is_what_was_found_is_dialled_as_a_known_node() {
    let mut net = meeting(2, true);
    net.unreachable.extend([0, 1]);
    net.turn(1, vec![Input::Reachable { addresses: vec![endpoint(2)] }]);
    find(&mut net, 0, endpoint(2));
    net.settle();
    let before = net.nodes[0].dialled.len();
    assert!(before > 0);
    (0..2).for_each(|node| _ = net.link(node, 2));
    pass(&mut net, 3 * limits::RECONNECT_MOST);
    let dialled = &net.nodes[0].dialled[before..];
    assert!(!dialled.is_empty() && dialled.iter().all(|dialled| *dialled == [endpoint(2), endpoint(2)]));
}

#[test]
fn what_is_found_and_leads_nowhere_is_given_up_until_it_is_found_again() {
    let mut net = meeting(1, false);
    let dials = |net: &Net| net.nodes[0].dialled.len();
    for round in 1..=2 {
        find(&mut net, 0, endpoint(9));
        find(&mut net, 0, endpoint(9));
        pass(&mut net, 2 * u64::from(limits::DIALS_IN_VAIN) * limits::RECONNECT_MOST);
        assert_eq!(dials(&net), round * limits::DIALS_IN_VAIN as usize);
    }
    find(&mut net, 0, endpoint(9));
    pass(&mut net, 10 * limits::RECONNECT_MOST);
    let before = dials(&net);
    net.turn(0, vec![Input::NetworkChanged]);
    net.now += limits::RECONNECT_FIRST;
    net.turn(0, vec![Input::Wake]);
    assert_eq!(dials(&net), before + 1, "a change of the network cuts the wait short");
}

#[test]
fn of_many_that_are_found_a_bounded_number_is_dialled_and_a_better_one_has_a_place() {
    let mut net = meeting(2, false);
    net.quic.insert(1);
    let all = (3..=200).map(|n| Input::Found { addresses: vec![endpoint(n)] });
    net.turn(0, all.chain([Input::Wake]).collect());
    assert_eq!(net.nodes[0].dialled.len(), limits::DIRECT_LINKS_TO_ALL, "at once");
    pass(&mut net, 20_000_000);
    let dialled: BTreeSet<&Vec<Address>> = net.nodes[0].dialled.iter().collect();
    assert_eq!(dialled.len(), limits::FOUND_NODES);
    find(&mut net, 0, endpoint(2));
    pass(&mut net, 5_000_000);
    assert_eq!(direct(&net, 0), others(2, 0));
}

#[test]
fn what_is_found_is_dialled_in_local_networks_only() {
    let mut net = meeting(1, false);
    net.nodes[0].far = true;
    net.restart(0, MemoryStore::default());
    let [far, here] = ["203.0.113.5", "127.0.0.1"].map(|ip| endpoint(9).as_str().replace("10.0.0.9", ip));
    for address in [far, here, "ws://10.0.0.9:1".to_owned()] {
        find(&mut net, 0, address.parse().unwrap());
        net.settle();
        assert!(net.nodes[0].dialled.is_empty(), "{address}");
    }
    let both = vec![endpoint(9), endpoint(8)];
    net.turn(0, vec![Input::Found { addresses: both }, Input::Wake]);
    assert_eq!(net.nodes[0].dialled, [[endpoint(9)]], "one endpoint at a time");
}

#[test]
fn who_is_found_must_belong() {
    let mut net = group::group();
    let hub = endpoint(net.nodes[HUB].number);
    net.quic.insert(HUB);
    for (peers, linked) in [(vec![], false), (vec![hub.clone()], true)] {
        net.nodes[0].meets = true;
        net.nodes[0].peers = peers;
        let store = net.replica(0).store().clone();
        net.restart(0, store);
        find(&mut net, 0, hub.clone());
        pass(&mut net, 3_000_000);
        assert!(!net.nodes[0].dialled.is_empty());
        assert_eq!(!direct(&net, 0).is_empty(), linked, "only whom its owner names is trusted");
    }
}

#[test]
fn a_member_shows_nothing_to_who_only_shows_itself() {
    let mut net = group::group();
    bring_in(&mut net, 0, 1, Role::Member);
    net.nodes[1].meets = true;
    let store = net.replica(1).store().clone();
    net.restart(1, store);
    net.quic.insert(2);
    net.carried = Some(Default::default());
    find(&mut net, 1, endpoint(3));
    pass(&mut net, 10_000_000);
    assert!(!net.nodes[1].dialled.is_empty() && direct(&net, 1).is_empty());
    let carried = net.carried.unwrap();
    assert!(!carried.contains_key(&(1, 2)), "{carried:?}");
}

#[test]
fn who_is_invited_comes_in_where_it_finds_a_member_or_is_found() {
    for finder in [0, 1] {
        let mut net = group::group();
        let invite = group::invite(&mut net, 0, 100, Role::Member, 1);
        net.settle();
        net.nodes[1].join = Some(group::join(2, 100, invite, net.now).bytes().to_vec());
        net.nodes[1].epoch = net.replica(0).keys().current().cloned();
        let store = net.replica(0).store().clone();
        for (node, store) in [(0, store), (1, MemoryStore::default())] {
            net.nodes[node].meets = true;
            net.restart(node, store);
        }
        net.quic.insert(1 - finder);
        find(&mut net, finder, endpoint(2 - finder as u8));
        net.settle();
        assert_eq!([direct(&net, 0), direct(&net, 1)], [[node_id(2)].into(), [node_id(1)].into()]);
        net.append(1, "in");
        net.settle();
        net.assert_same(&[0, 1]);
        assert!(net.nodes[1].appended.iter().all(Result::is_ok) && !net.nodes[1].appended.is_empty());
    }
}
