//! What two replicas with many lanes have to tell each other before they know what is missing.

use shared::{
    BlockHash, Input, VerifiedBlock,
    parts::Parts,
    wire::{Envelope, Message},
};

use crate::common::{Net, block, key, node_id};

/// Of every author one block.
fn lanes(net: &Net, authors: u8) -> Vec<VerifiedBlock> {
    (1..=authors).map(|author| block(author + 50, 1, net.now, &[], &[b"first"])).collect()
}

/// Two nodes that have a block of each of so many authors, and are not linked.
fn apart(authors: u8) -> (Net, Vec<VerifiedBlock>) {
    let mut net = Net::new(&[true, false]);
    let blocks = lanes(&net, authors);
    for node in 0..2 {
        blocks.iter().for_each(|block| net.inject(node, block));
    }
    net.now += 1_000;
    (net, blocks)
}

fn next(net: &Net, author: u8, parent: BlockHash, text: &[u8]) -> VerifiedBlock {
    block(author, 2, net.now, &[parent], &[text])
}

/// Delivers everything, without waiting for anything.
fn deliver(net: &mut Net) {
    while net.step(0) {}
}

#[test]
fn of_many_heads_those_are_told_that_share_a_part_with_one_that_differs() {
    let (mut net, blocks) = apart(200);
    let missed = next(&net, 51, blocks[0].hash(), b"missed by one");
    let other = next(&net, 52, blocks[1].hash(), b"missed by the other");
    net.inject(0, &missed);
    net.inject(1, &other);
    net.link(0, 1);
    deliver(&mut net);
    net.assert_equal();
    // 200 lanes are in 64 parts, of which two differ, and both sides tell them.
    assert!((4..40).contains(&net.heads), "{} heads were told", net.heads);
}

/// Whether a node gets all that another one has before that one has heard more than its first words, its proof and its question.
fn comes_with_the_answer(missed: &dyn Fn(&Net, &[VerifiedBlock]) -> Vec<VerifiedBlock>) -> bool {
    let (mut net, blocks) = apart(100);
    missed(&net, &blocks).iter().for_each(|block| net.inject(0, block));
    let (lacks, has) = net.link(1, 0);
    let mut heard = 0;
    loop {
        // Ends are in the order of their nodes.
        let waits = |net: &Net, end| usize::from(net.queues.get(end).is_some_and(|queue| !queue.is_empty()));
        match (waits(&net, &has), waits(&net, &lacks)) {
            (before, 1) => _ = net.step(before),
            (1, 0) if heard < 3 => {
                heard += 1;
                net.step(0);
            }
            _ => break,
        }
    }
    let came = net.blocks(1) == net.blocks(0);
    deliver(&mut net);
    net.assert_equal();
    came
}

#[test]
fn who_lacks_the_last_blocks_of_some_lanes_gets_them_with_the_answer() {
    assert!(comes_with_the_answer(&|net, blocks| {
        let first = next(net, 51, blocks[0].hash(), b"missed");
        let second = block(51, 3, net.now + 10, &[first.hash()], &[b"missed"]);
        vec![first, second, next(net, 60, blocks[9].hash(), b"missed")]
    }));
}

#[test]
fn who_has_not_heard_of_an_author_is_asked_for_its_heads_first() {
    assert!(!comes_with_the_answer(&|net, _| vec![block(40, 1, net.now, &[], &[b"somebody new"])]));
}

#[test]
fn equal_ledgers_tell_no_heads() {
    let (mut net, _) = apart(200);
    net.link(0, 1);
    deliver(&mut net);
    assert_eq!(net.heads, 0);
    net.append(0, "later");
    deliver(&mut net);
    net.assert_equal();
}

#[test]
fn few_heads_go_out_unasked() {
    let (mut net, blocks) = apart(10);
    net.inject(0, &next(&net, 51, blocks[0].hash(), b"missed"));
    net.link(0, 1);
    deliver(&mut net);
    net.assert_equal();
    assert_eq!(net.heads, 20);
}

#[test]
fn a_side_with_few_lanes_gets_all_of_one_with_many() {
    let mut net = Net::new(&[true, false]);
    let blocks = lanes(&net, 200);
    blocks.iter().for_each(|block| net.inject(1, block));
    net.append(0, "written before");
    net.link(0, 1);
    deliver(&mut net);
    net.assert_equal();
    assert_eq!(net.replica(0).totals().blocks, 201);
}

/// Links two nodes with many lanes that differ in one, and lets something happen at one of them before this frame.
fn meeting(frame: usize, node: usize, happens: &dyn Fn(&mut Net, &[VerifiedBlock])) -> bool {
    let (mut net, blocks) = apart(100);
    net.inject(0, &next(&net, 51, blocks[0].hash(), b"missed"));
    net.link(0, 1);
    let mut more = true;
    for _ in 0..frame {
        more &= net.step(0);
    }
    happens(&mut net, &blocks);
    deliver(&mut net);
    net.assert_equal();
    assert!(net.nodes.iter().all(|node| node.closed.is_empty()), "at node {node}, frame {frame}");
    more
}

#[test]
fn what_comes_between_question_and_answer_is_sent_all_the_same() {
    for node in 0..2 {
        let new = |net: &mut Net, blocks: &[VerifiedBlock]| {
            // In the part that differs, in others, and of somebody new.
            let more = [53, 54, 55].map(|author| next(net, author, blocks[usize::from(author) - 51].hash(), b"new"));
            more.iter().for_each(|block| net.inject(node, block));
            net.inject(node, &block(40, 1, net.now, &[], &[b"somebody new"]));
        };
        let frames = (0..).take_while(|frame| meeting(*frame, node, &new)).count();
        assert!(frames > 6);
    }
}

#[test]
fn a_fork_that_comes_between_question_and_answer_is_told_all_the_same() {
    for node in 0..2 {
        let fork = |net: &mut Net, blocks: &[VerifiedBlock]| {
            let halves = [b"one", b"two"].map(|text| next(net, 60, blocks[9].hash(), text));
            halves.iter().for_each(|half| net.inject(node, half));
        };
        let frames = (0..).take_while(|frame| meeting(*frame, node, &fork)).count();
        assert!(frames > 6);
    }
}

#[test]
fn heads_of_parts_that_nobody_asked_for_end_the_link() {
    let (mut net, blocks) = apart(100);
    net.inject(0, &next(&net, 51, blocks[0].hash(), b"missed"));
    let (end, _) = net.link(1, 0);
    // Hello and Auth each way: the dialling side has asked.
    (0..4).for_each(|_| _ = net.step(0));
    let parts = Parts::from_bits(&[0; 32]);
    let message = Message::LedgerSyncResponse { heads: Vec::new(), last: true, parts };
    let envelope = Envelope { message_id: [0; 16], sender: node_id(1), recipient: None, message };
    assert_eq!(key(1).node(), envelope.sender);
    net.turn(1, vec![Input::Frame { link: end.link, bytes: envelope.encode() }]);
    assert_eq!(net.nodes[1].closed, ["heads are of parts that nobody asked for"]);
}
