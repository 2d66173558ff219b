//! Members who send as much as they can over direct links: they are held back, and nobody else is.

use shared::{
    Announcement, BlockHash, Effect, Input, MemoryStore, VerifiedBlock,
    announce::encode_addresses,
    limits,
    wire::{Envelope, Message, decode_frame},
};

use crate::{
    common::{self, End, Net, Packet, address, at, key, ledger, node_id},
    overlay::{meeting, pass},
};

/// Frames for which a node has given back credit to the other end of a link, and not yet delivered there.
fn given_back(net: &Net, end: End) -> u64 {
    let frames = net.queues.get(&net.ends[&end]).into_iter().flatten();
    let frames = frames.filter_map(|packet| if let Packet::Frame(bytes) = packet { Some(bytes) } else { None });
    let credit = frames.flat_map(|bytes| decode_frame(bytes).unwrap()).map(|envelope| match envelope.message {
        Message::Credit { frames, .. } => frames,
        _ => 0,
    });
    credit.sum()
}

/// What comes from node 1, whatever it thinks itself.
fn says(end: End, message: Message) -> Input {
    let envelope = Envelope { message_id: [1; 16], sender: node_id(2), recipient: None, message };
    Input::Frame { link: end.link, bytes: envelope.encode() }
}

/// Three nodes that are linked directly; the link of the first one to the second.
fn neighbours(slices: bool) -> (Net, End) {
    let mut net = meeting(3, false);
    net.nodes[0].slices = slices;
    net.restart(0, MemoryStore::default());
    net.reachable(0);
    for (a, b) in [(1, 0), (2, 0), (2, 1)] {
        net.link_directly(a, b);
    }
    pass(&mut net, 2_000_000);
    let end = *net.ends.keys().find(|end| end.node == 0 && net.ends[end].node == 1).unwrap();
    (net, end)
}

#[test]
fn a_member_who_floods_waits_for_credit_while_others_write() {
    let (mut net, end) = neighbours(false);
    let most = limits::MEMBER_BLOCKS as usize;
    let mut lane: Vec<VerifiedBlock> = Vec::new();
    for height in 1..=3 * most as u64 {
        let parents: Vec<BlockHash> = lane.last().map(|block| block.hash()).into_iter().collect();
        lane.push(common::block(2, height, net.now + 10 * height, &parents, &[b"x"]));
    }
    let blocks = |part: &[VerifiedBlock]| Message::EntryAnnounce {
        blocks: part.iter().map(|block| block.bytes().to_vec().into()).collect(),
        remaining: 0,
    };
    let flood = |net: &mut Net, lane: &[VerifiedBlock]| {
        let frames = lane.chunks(64).map(|part| says(end, blocks(part)));
        let (sent, before) = (frames.len() as u64, given_back(net, end));
        frames.for_each(|frame| net.turn(0, vec![frame]));
        (sent, given_back(net, end) - before)
    };
    net.append(2, "others write");
    while net.step(0) {}
    let (sent, back) = flood(&mut net, &lane[..most]);
    assert_eq!(sent, back, "so much at once");
    assert_eq!(net.replica(0).takes_next(end.link), Some(at(net.now)));
    let (sent, back) = flood(&mut net, &lane[most..=most]);
    assert_eq!((sent, back), (1, 0));
    let waits = net.replica(0).takes_next(end.link).unwrap();
    assert!(waits > at(net.now), "nor is more of it to be handed in");
    // What it says beside that is heard, and in its time it may go on.
    net.now += limits::MEMBER_CREDIT_EVERY;
    net.turn(0, vec![Input::Wake]);
    assert_eq!(given_back(&net, end), limits::MEMBER_BLOCKS / 64 + 1);
    // Where nobody else writes, nobody waits for it.
    net.now += limits::MEMBERS_WRITE;
    let (sent, back) = flood(&mut net, &lane[most + 1..most + 2]);
    assert_eq!(sent, back);

    // Another link brings no other credit, until what was taken is paid for.
    net.append(2, "others write again");
    while net.step(0) {}
    flood(&mut net, &lane[most + 2..]);
    for paid in [false, true] {
        net.now += if paid { most as u64 * limits::MEMBER_BLOCK_EVERY } else { 0 };
        let ends: Vec<End> = net.ends.keys().filter(|end| end.node == 1 && net.ends[end].node == 0).copied().collect();
        ends.into_iter().for_each(|end| net.cut(end));
        net.link_directly(1, 0);
        while net.step(0) {}
        let linked = net.replica(0).links().iter().any(|link| link.node == Some(node_id(2)));
        assert_eq!(linked, paid, "{:?}", net.nodes[0].closed);
    }
}

#[test]
fn who_brings_much_is_not_taken_for_dead_because_nothing_of_it_is_read() {
    let (mut net, end) = neighbours(false);
    net.append(2, "others write");
    while net.step(0) {}
    let paid = limits::SILENCE + limits::SUSPECT_TIMEOUT + 100_000;
    let mut lane: Vec<VerifiedBlock> = Vec::new();
    for height in 1..=limits::MEMBER_BLOCKS + paid / limits::MEMBER_BLOCK_EVERY {
        let parents: Vec<BlockHash> = lane.last().map(|block| block.hash()).into_iter().collect();
        lane.push(common::block(2, height, net.now + height, &parents, &[b"x"]));
    }
    for part in lane.chunks(64) {
        let blocks = part.iter().map(|block| block.bytes().to_vec()).collect();
        net.turn(0, vec![says(end, Message::announce(blocks, 0))]);
    }
    // Something is sent to it, and its answer lies where nobody reads it yet.
    net.append(0, "said");
    let after = |net: &mut Net, micros: u64| {
        net.now += micros;
        net.turn(0, vec![Input::Wake]);
        net.replica(0).links().iter().any(|link| link.node == Some(node_id(2)))
    };
    assert!(after(&mut net, limits::SILENCE) && after(&mut net, limits::SUSPECT_TIMEOUT), "it may have answered");
    assert!(!after(&mut net, paid + limits::SUSPECT_TIMEOUT), "all is read, and it has not");
}

#[test]
fn a_full_frame_leaves_others_their_turn() {
    let (mut net, end) = neighbours(true);
    let mut lane: Vec<VerifiedBlock> = Vec::new();
    for height in 1..=3 * limits::SLICE as u64 {
        let parents: Vec<BlockHash> = lane.last().map(|block| block.hash()).into_iter().collect();
        lane.push(common::block(2, height, net.now + height, &parents, &[b"x"]));
    }
    let (last, first) = lane.split_last().unwrap();
    let frame = |blocks: &[VerifiedBlock]| {
        let blocks = blocks.iter().map(|block| block.bytes().to_vec()).collect();
        says(end, Message::announce(blocks, 0))
    };
    let mut take = |micros: u64, input: Input| {
        let (mut effects, now) = (Vec::new(), at(net.now + micros));
        let replica = net.nodes[0].replica.as_mut().unwrap();
        replica.handle(now, input, &mut effects).unwrap();
        replica.commit(now, &mut effects).unwrap();
        let credits = |bytes: &[u8]| {
            let envelopes = decode_frame(bytes).unwrap();
            envelopes.iter().any(|envelope| matches!(envelope.message, Message::Credit { .. }))
        };
        let is_credit =
            |e: &Effect| matches!(e, Effect::Send { link, bytes } if *link == end.link && credits(bytes.as_slice()));
        (replica.height(&node_id(2)), effects.iter().any(is_credit), replica.takes_next(end.link))
    };
    let slice = limits::SLICE as u64;
    assert_eq!(take(100, frame(first)), (slice, false, None));
    assert_eq!(take(101, Input::Wake), (2 * slice, false, None));
    // Who hands in the next one all the same loses nothing.
    let (height, paid, next) = take(101, frame(core::slice::from_ref(last)));
    assert!(height == 3 * slice && paid && next.is_some());
}

#[test]
fn a_neighbour_who_only_talks_is_sent_away_however_it_packs_what_it_says() {
    for packed in [1, 64] {
        let (mut net, end) = neighbours(false);
        let message = Message::Have { lanes: vec![(node_id(2), 1)] };
        let envelope = Envelope { message_id: [1; 16], sender: node_id(2), recipient: None, message };
        let bytes = envelope.encode().repeat(packed);
        for _ in 0..2 * limits::PEER_FRAMES as usize / packed {
            if net.ends.contains_key(&end) {
                net.turn(0, vec![Input::Frame { link: end.link, bytes: bytes.clone() }]);
            }
        }
        let closed = &net.nodes[0].closed;
        assert!(closed.iter().any(|reason| reason.contains("more frames")), "{packed}: {closed:?}");
        assert!(net.replica(0).links().iter().any(|link| link.node == Some(node_id(3))), "nobody else is");
    }
}

#[test]
fn of_announcements_without_end_a_few_are_handed_on() {
    let (mut net, end) = neighbours(false);
    let other = *net.ends.keys().find(|end| end.node == 0 && net.ends[end].node == 2).unwrap();
    let handed_on = |net: &Net| {
        let frames = net.queues.get(&net.ends[&other]).into_iter().flatten();
        let frames = frames.filter_map(|packet| if let Packet::Frame(bytes) = packet { Some(bytes) } else { None });
        let said = frames.flat_map(|bytes| decode_frame(bytes).unwrap()).map(|envelope| match envelope.message {
            Message::NodeAnnounce { announcements, .. } => announcements.len(),
            _ => 0,
        });
        said.sum::<usize>()
    };
    let mut said = 0;
    let mut announce = |net: &mut Net, times: u32| {
        for _ in 0..times {
            said += 1;
            let body = encode_addresses(&[address(2 + (said % 2) as u8)]);
            let announcement = Announcement::sign(&ledger(), &key(2), common::at(net.now + said), body);
            let message = Message::NodeAnnounce { nodes: Vec::new(), announcements: vec![announcement] };
            net.turn(0, vec![says(end, message)]);
        }
    };
    announce(&mut net, 4 * limits::ANNOUNCEMENTS);
    let first = handed_on(&net);
    assert!((limits::ANNOUNCEMENTS as usize - 2..=limits::ANNOUNCEMENTS as usize).contains(&first), "{first}");
    net.now += limits::ANNOUNCEMENT_EVERY;
    announce(&mut net, 10);
    assert_eq!(handed_on(&net), first + 1);
}
