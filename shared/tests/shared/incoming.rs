//! What is read and checked before its turn is taken as what is not.

use shared::{
    Frame, Incoming, Input, VerifiedBlock,
    key::Signers,
    wire::{Envelope, Message},
};

use crate::common::{Net, block, node_id};

/// A lane of a stranger.
fn lane(blocks: u64) -> Vec<VerifiedBlock> {
    let mut lane: Vec<VerifiedBlock> = Vec::new();
    for height in 1..=blocks {
        let parents: Vec<_> = lane.last().map(|block| block.hash()).into_iter().collect();
        lane.push(block(9, height, 1_000_000 + 10 * height, &parents, &[b"1", b"2"]));
    }
    lane
}

/// The same block with another signature.
fn unsigned(block: &VerifiedBlock) -> Vec<u8> {
    let mut bytes = block.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

#[test]
fn only_what_is_well_formed_and_signed_is_called_so() {
    let blocks = lane(3);
    let mut signers = Signers::default();
    for block in &blocks {
        let mut good = Incoming::from(block.bytes().to_vec());
        good.check(&mut signers);
        assert_eq!(good, Incoming::Verified(block.clone().into()));
        assert_eq!(good.bytes(), block.bytes());
        for bytes in [unsigned(block), block.bytes()[1..].to_vec(), Vec::new()] {
            let mut wrong = Incoming::from(bytes.clone());
            wrong.check(&mut signers);
            assert_eq!(wrong, Incoming::Bytes(bytes));
        }
    }
}

/// What two nodes come to that wrote apart, one of which gets these blocks in one frame of a stranger's; and why its links were closed.
fn outcome(ahead: bool, blocks: &[Vec<u8>]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut net = Net::new(&[true, true]);
    net.ahead = ahead;
    for n in 0..40 {
        net.append(n % 2, &format!("note {n}"));
    }
    let (end, _) = net.link(0, 1);
    net.settle();
    let message = Message::announce(blocks.to_vec(), 0);
    let bytes = Envelope { message_id: [0; 16], sender: node_id(2), recipient: None, message }.encode();
    let input = net.frame(end.link, bytes);
    net.turn(0, vec![input]);
    net.settle();
    let digests =
        (0..2).map(|node| format!("{:?} {:?}", net.replica(node).digest(), net.replica(node).totals())).collect();
    (digests, net.nodes.iter().map(|node| node.closed.clone()).collect())
}

#[test]
fn a_frame_that_was_read_ahead_comes_to_the_same_whatever_is_in_it() {
    let good: Vec<Vec<u8>> = lane(20).iter().map(|block| block.bytes().to_vec()).collect();
    let mut forged = good.clone();
    forged[7] = unsigned(&lane(20)[7]);
    let mut broken = good.clone();
    broken[7].pop();
    let apart: Vec<Vec<u8>> = good.iter().step_by(2).cloned().collect();
    for (blocks, closes) in [(&good, false), (&forged, true), (&broken, true), (&apart, false)] {
        let (turn, ahead) = (outcome(false, blocks), outcome(true, blocks));
        assert_eq!(ahead, turn);
        assert_eq!(turn.1.concat().is_empty(), !closes, "{:?}", turn.1);
    }
    assert_ne!(outcome(true, &good).0, outcome(true, &apart).0, "blocks were left out and nothing came of it");
}

#[test]
fn a_frame_that_is_no_frame_is_left_to_its_turn() {
    let bytes = b"no frame".to_vec();
    assert_eq!(Frame::read(bytes.clone()), Err(bytes));
}

#[test]
fn who_has_not_proved_its_key_gains_nothing_by_what_was_read_ahead() {
    let mut net = Net::new(&[true, true]);
    net.ahead = true;
    let (end, _) = net.link(0, 1);
    let good: Vec<Vec<u8>> = lane(20).iter().map(|block| block.bytes().to_vec()).collect();
    let message = Message::announce(good, 0);
    let bytes = Envelope { message_id: [0; 16], sender: node_id(2), recipient: None, message }.encode();
    let before = net.replica(0).digest();
    let input = net.frame(end.link, bytes);
    assert!(matches!(input, Input::ReadFrame { .. }));
    net.turn(0, vec![input]);
    assert_eq!(net.replica(0).digest(), before);
    assert_eq!(net.nodes[0].closed.len(), 1);
}
