//! Messages from one node to one other.

use shared::{
    Directed, DirectedError, Input, LinkId, MemoryStore, NodeId, Timestamp,
    directed::Route,
    limits::{CLOCK_WINDOW, DIRECTED_AT_ONCE, DIRECTED_BYTES, DIRECTED_EVERY, DIRECTED_WINDOW},
    members::Role,
    wire::{Envelope, Message},
};

use crate::{
    common::{End, Net, Node, group, group::HUB, key, ledger, node_id},
    overlay::{meeting, pass},
};

/// So many nodes in a line, each linked to the one before it and to nobody else.
fn line(nodes: usize) -> Net {
    let mut net = meeting(nodes, false);
    net.unreachable.extend(0..nodes);
    for node in 1..nodes {
        net.link_directly(node, node - 1);
    }
    pass(&mut net, 2_000_000);
    net
}

/// A node says something to another one; what became of that.
fn say(net: &mut Net, from: usize, to: NodeId, body: &[u8]) -> Result<(), DirectedError> {
    net.now += 1_000;
    net.turn(from, vec![Input::Direct { token: 0, recipient: to, body: body.to_vec() }]);
    while net.step(0) {}
    net.nodes[from].directed.pop().unwrap()
}

/// What each node has received since this was asked last.
fn received(net: &mut Net) -> Vec<Vec<(NodeId, Vec<u8>)>> {
    net.settle();
    net.nodes.iter_mut().map(|node| std::mem::take(&mut node.received)).collect()
}

/// The link of `node` whose other end is at `peer`.
fn end(net: &Net, node: usize, peer: usize) -> End {
    *net.ends.keys().find(|end| end.node == node && net.ends[end].node == peer).unwrap()
}

/// A message that a hostile node makes: signed with the key of `signer`, in the name of `sender`.
fn made(net: &Net, signer: u8, sender: NodeId, recipient: NodeId, at: Timestamp) -> Envelope {
    let ledger = net.ledger.unwrap_or_else(ledger);
    let route = Route { message_id: [1; 16], sender, recipient };
    let random = ([1; 32], [2; 16]);
    let directed = Directed::new(&ledger, &key(signer), &route, at, random, b"made").unwrap();
    Envelope { message_id: route.message_id, sender, recipient: Some(recipient), message: Message::Directed(directed) }
}

fn frame(net: &mut Net, link: LinkId, node: usize, envelope: &Envelope) {
    net.turn(node, vec![Input::Frame { link, bytes: envelope.encode() }]);
}

#[test]
fn a_message_goes_over_many_nodes_to_its_recipient_and_to_nobody_else() {
    let mut net = line(5);
    for (from, to) in [(0, 4), (4, 0), (1, 3), (2, 1)] {
        say(&mut net, from, node_id(to as u8 + 1), b"hello").unwrap();
        let mut expected = vec![Vec::new(); 5];
        expected[to] = vec![(node_id(from as u8 + 1), b"hello".to_vec())];
        assert_eq!(received(&mut net), expected, "{from} to {to}");
    }
    assert_eq!(net.hops, 4 + 4 + 2 + 1);
}

#[test]
fn a_message_takes_one_way_and_another_one_when_that_is_cut() {
    let mut net = line(6);
    net.link_directly(5, 0);
    pass(&mut net, 2_000_000);
    say(&mut net, 0, node_id(4), b"hello").unwrap();
    assert_eq!(received(&mut net)[3].len(), 1);
    assert_eq!(net.hops, 3);
    let cut = end(&net, 0, 1);
    net.cut(cut);
    net.settle();
    for to in [2, 1] {
        say(&mut net, 0, node_id(to as u8 + 1), b"around").unwrap();
        let came = received(&mut net);
        assert_eq!((came[to].len(), came.iter().flatten().count()), (1, 1), "to {to}");
    }
}

#[test]
fn who_says_nothing_of_where_it_is_is_reached_by_those_who_are_linked_to_it() {
    let mut net = Net::new(&[true; 4]);
    for (a, b) in [(0, 1), (0, 2), (1, 3)] {
        net.link(a, b);
    }
    net.settle();
    say(&mut net, 0, node_id(4), b"hello").unwrap();
    assert_eq!((received(&mut net)[3].len(), net.hops), (1, 2));
}

#[test]
fn everybody_is_asked_where_nobody_knows_the_way_and_it_arrives_once() {
    let mut net = line(4);
    // All are linked to all.
    for (a, b) in [(0, 2), (0, 3), (1, 3)] {
        net.link_directly(a, b);
    }
    pass(&mut net, 2_000_000);
    // A fifth one, whom only node 3 is linked to, and of whom the others hear by announcements; then those forget by which link.
    net.nodes.push(Node { meets: true, ..Node::new(5, true) });
    net.start(4, MemoryStore::default(), &[]);
    net.unreachable.insert(4);
    net.reachable(4);
    net.link_directly(4, 3);
    pass(&mut net, 2_000_000);
    let store = net.replica(0).store().clone();
    net.restart(0, store);
    for peer in [1, 2] {
        net.link_directly(0, peer);
    }
    net.settle();
    assert_eq!(say(&mut net, 0, node_id(5), b"anybody?"), Ok(()));
    let came = received(&mut net);
    assert_eq!(came[4], [(node_id(1), b"anybody?".to_vec())]);
    assert_eq!(came.iter().flatten().count(), 1);
}

#[test]
fn a_relay_hands_on_what_it_cannot_read() {
    let mut net = group::group();
    for (node, number) in [(1, 1), (2, 2)] {
        group::bring_in(&mut net, 0, number, Role::Member);
        assert_eq!(node, number);
    }
    net.settle();
    say(&mut net, 1, node_id(3), b"between us").unwrap();
    let came = received(&mut net);
    assert_eq!(came[2], [(node_id(2), b"between us".to_vec())]);
    assert_eq!(came.iter().flatten().count(), 1);

    // Whoever was removed is not heard any more, and is told nothing.
    let envelope = |net: &Net, sender: u8, to: u8| {
        made(net, sender, node_id(sender), node_id(to), Timestamp::from_micros(net.now).unwrap())
    };
    let link = end(&net, HUB, 1);
    let good = envelope(&net, 2, 3);
    frame(&mut net, link.link, HUB, &good);
    assert_eq!(received(&mut net)[2].len(), 1);
    let stranger = envelope(&net, 9, 3);
    frame(&mut net, link.link, HUB, &stranger);
    assert_eq!(received(&mut net)[2], []);
    assert_eq!(say(&mut net, 0, node_id(9), b"x"), Err(DirectedError::Unreachable(node_id(9))));
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_reason() {
    let mut net = line(3);
    let long = vec![0; DIRECTED_BYTES + 1];
    let too_large = DirectedError::TooLarge { len: DIRECTED_BYTES + 1, limit: DIRECTED_BYTES };
    assert_eq!(say(&mut net, 0, node_id(3), &long), Err(too_large));
    assert_eq!(say(&mut net, 0, node_id(3), &long[1..]), Ok(()));
    assert_eq!(received(&mut net)[2].len(), 1);
    assert_eq!(say(&mut net, 0, node_id(9), b"x"), Err(DirectedError::Unreachable(node_id(9))));
    net.turn(2, vec![Input::Leave]);
    net.settle();
    assert_eq!(say(&mut net, 0, node_id(3), b"x"), Err(DirectedError::Unreachable(node_id(3))));
}

#[test]
fn who_sends_too_much_is_held_back_and_nobody_else() {
    let mut net = line(3);
    let sent = (0..2 * DIRECTED_AT_ONCE).filter(|_| say(&mut net, 0, node_id(3), b"x").is_ok()).count();
    let refilled = 2 * DIRECTED_AT_ONCE as usize * 2_000 / DIRECTED_EVERY as usize + 1;
    assert!((DIRECTED_AT_ONCE as usize..DIRECTED_AT_ONCE as usize + refilled).contains(&sent), "{sent}");
    assert_eq!(say(&mut net, 0, node_id(2), b"x"), Err(DirectedError::TooFast));
    assert_eq!(received(&mut net)[2].len(), sent);
    // A neighbour who does not hold itself back is held back by the others.
    let link = end(&net, 1, 0).link;
    for more in 1..=4 * u64::from(DIRECTED_AT_ONCE) {
        let at = Timestamp::from_micros(net.now + more).unwrap();
        let envelope = made(&net, 1, node_id(1), node_id(3), at);
        frame(&mut net, link, 1, &envelope);
    }
    assert_eq!(say(&mut net, 1, node_id(3), b"mine"), Ok(()));
    let came = &received(&mut net)[2];
    assert!(came.iter().filter(|(sender, _)| *sender == node_id(1)).count() <= 2 * DIRECTED_AT_ONCE as usize);
    assert!(came.contains(&(node_id(2), b"mine".to_vec())));
    net.now += DIRECTED_EVERY;
    assert_eq!(say(&mut net, 0, node_id(3), b"again"), Ok(()));
}

#[test]
fn what_came_once_does_not_come_again() {
    let mut net = line(3);
    let (link, now) = (end(&net, 2, 1).link, net.now);
    let at = |micros: u64| Timestamp::from_micros(micros).unwrap();
    let first = made(&net, 1, node_id(1), node_id(3), at(now));
    for _ in 0..2 {
        frame(&mut net, link, 2, &first);
    }
    assert_eq!(received(&mut net)[2].len(), 1);
    // Nor when so many came since that it is not remembered.
    for later in 1..=DIRECTED_WINDOW as u64 {
        net.now += DIRECTED_EVERY;
        let next = made(&net, 1, node_id(1), node_id(3), at(now + later));
        frame(&mut net, link, 2, &next);
    }
    assert_eq!(received(&mut net)[2].len(), DIRECTED_WINDOW);
    frame(&mut net, link, 2, &first);
    // Nor what is of another time.
    for wrong in [net.now - 2 * CLOCK_WINDOW, net.now + 2 * CLOCK_WINDOW] {
        let wrong = made(&net, 2, node_id(2), node_id(3), at(wrong));
        frame(&mut net, link, 2, &wrong);
    }
    assert_eq!(received(&mut net)[2], []);
}

#[test]
fn nobody_speaks_in_anothers_name() {
    let mut net = line(3);
    let link = end(&net, 2, 1).link;
    let at = Timestamp::from_micros(net.now).unwrap();
    let forged = made(&net, 2, node_id(1), node_id(3), at);
    frame(&mut net, link, 2, &forged);
    assert_eq!(received(&mut net)[2], []);
    assert!(net.nodes[2].closed.iter().any(|reason| reason.contains("not its sender's")), "{:?}", net.nodes[2].closed);
    // Nor for nobody.
    let mut net = line(2);
    let link = end(&net, 1, 0).link;
    let nobody = Envelope { recipient: None, ..made(&net, 1, node_id(1), node_id(2), at) };
    frame(&mut net, link, 1, &nobody);
    assert!(net.nodes[1].closed.iter().any(|reason| reason.contains("for nobody")), "{:?}", net.nodes[1].closed);
}
