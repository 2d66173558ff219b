//! Laws that hold for all inputs: encoding, order of delivery, restoring, liars.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Net, at, block, key, ledger, node_id};
use proptest::{collection::vec, prelude::*};
use shared::{
    Announcement, Block, BlockHash, Entry, Evidence, Header, Input, Kind, NodeId, VerifiedBlock,
    parts::{Part, Parts},
    wire::{Envelope, Head, Message, decode_frame},
};

/// A small deterministic stream of choices, so that a failing case is one printed number.
struct Choices(u64);

impl Choices {
    fn below(&mut self, n: usize) -> usize {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

fn any_hash() -> impl Strategy<Value = BlockHash> {
    any::<[u8; 32]>().prop_map(BlockHash::from_bytes)
}

fn any_node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId::from_bytes)
}

fn any_block() -> impl Strategy<Value = VerifiedBlock> {
    let entry = (any::<u16>(), any::<[u8; 16]>(), vec(any::<u8>(), 0..80));
    let parents = proptest::collection::btree_set(any_hash(), 0..=16);
    (1_u8..9, any::<u64>(), 0_u64..1 << 50, parents, vec(entry, 1..20)).prop_map(
        |(author, height, time, parents, entries)| {
            let height = if parents.is_empty() { 1 } else { height.max(1) };
            let header = Header {
                ledger: ledger(),
                author: node_id(author),
                height,
                timestamp: at(time),
                parents: parents.into_iter().collect(),
            };
            let entries =
                entries.into_iter().map(|(kind, nonce, payload)| Entry::new(Kind(kind), nonce, payload)).collect();
            VerifiedBlock::sign(header, entries, &key(author))
        },
    )
}

fn any_announcement() -> impl Strategy<Value = Announcement> {
    (any_node(), 0_u64..1 << 53, vec(any::<u8>(), 0..200), any::<[u8; 32]>()).prop_map(|(node, time, body, half)| {
        Announcement { node, at: at(time), body, signature: core::array::from_fn(|i| half[i / 2]) }
    })
}

fn any_message() -> impl Strategy<Value = Message> {
    let blobs = || vec(vec(any::<u8>(), 0..50), 0..5);
    let head = (any_node(), vec((any::<u64>(), any_hash()), 0..4), any::<u64>());
    let heads = vec(head.prop_map(|(author, tips, frozen)| Head { author, tips, frozen }), 0..5);
    prop_oneof![
        (any::<u64>(), any_node(), any::<[u8; 32]>()).prop_map(|(version, node, nonce)| Message::Hello {
            version,
            ledger: ledger(),
            node,
            nonce
        }),
        Just(Message::Prune),
        Just(Message::Graft),
        any::<[u8; 32]>().prop_map(|half| Message::Auth { signature: core::array::from_fn(|i| half[i / 2]) }),
        (vec(any_node(), 0..5), vec(any_announcement(), 0..3))
            .prop_map(|(nodes, announcements)| Message::NodeAnnounce { nodes, announcements }),
        (any::<[u8; 32]>(), vec((any::<[u8; 16]>(), vec(any::<u64>(), 0..3)), 16), any::<bool>()).prop_map(
            |(digest, parts, some)| {
                let parts = parts.into_iter().map(|(digest, heights)| Part { digest, heights });
                Message::LedgerSyncRequest { digest, parts: parts.take(if some { 16 } else { 0 }).collect() }
            }
        ),
        (heads, any::<bool>(), vec(any::<u8>(), 0..5)).prop_map(|(heads, last, bits)| {
            Message::LedgerSyncResponse { heads, last, parts: Parts::from_bits(&bits) }
        }),
        (blobs(), any::<u64>()).prop_map(|(blocks, remaining)| Message::announce(blocks, remaining)),
        vec(any_hash(), 0..5).prop_map(|blocks| Message::EntryRequest { blocks }),
        blobs().prop_map(Message::answer),
        vec((any_node(), any::<u64>()), 0..5).prop_map(|lanes| Message::Have { lanes }),
        (any::<u64>(), any::<u64>()).prop_map(|(frames, bytes)| Message::Credit { frames, bytes }),
        vec(any::<u8>(), 0..50).prop_map(|proof| Message::Evidence { proof }),
    ]
}

fn any_envelope() -> impl Strategy<Value = Envelope> {
    (any::<[u8; 16]>(), any_node(), any::<Option<[u8; 32]>>(), any_message()).prop_map(
        |(message_id, sender, recipient, message)| Envelope {
            message_id,
            sender,
            recipient: recipient.map(NodeId::from_bytes),
            message,
        },
    )
}

proptest! {
    #[test]
    fn a_block_reads_back_from_its_bytes(block in any_block()) {
        let decoded = Block::decode(block.bytes()).unwrap();
        prop_assert_eq!(&decoded, &*block);
        prop_assert_eq!(decoded.strip().hash(), block.hash());
        prop_assert_eq!(Block::decode_header(block.bytes()).unwrap(), block.header().clone());
        prop_assert!(decoded.strip().verify().is_ok());
        prop_assert!(decoded.verify().is_ok());
    }

    #[test]
    fn a_changed_bit_never_passes_for_the_block(block in any_block(), bit in any::<usize>()) {
        let mut bytes = block.bytes().to_vec();
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Block::decode(&bytes).and_then(Block::verify).is_err());
    }

    #[test]
    fn envelopes_read_back_from_their_frame(envelopes in vec(any_envelope(), 1..6)) {
        let frame: Vec<u8> = envelopes.iter().flat_map(Envelope::encode).collect();
        prop_assert_eq!(decode_frame(&frame).unwrap(), envelopes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Block::decode(&bytes);
        let _ = Evidence::decode(&bytes);
        let _ = decode_frame(&bytes);
        let mut net = Net::new(&[true, false]);
        let (end, _) = net.link(0, 1);
        net.settle();
        net.turn(0, vec![Input::Frame { link: end.link, bytes: bytes.clone() }]);
        net.turn(1, vec![Input::import(0, vec![bytes])]);
        prop_assert_eq!(net.replica(0).totals().blocks + net.replica(1).totals().blocks, 0);
    }

    #[test]
    fn a_damaged_frame_never_panics(envelope in any_envelope(), at in any::<usize>(), with in any::<u8>(), cut in any::<usize>()) {
        let mut bytes = envelope.encode();
        let at = at % bytes.len();
        bytes[at] = with;
        if let Ok(envelopes) = decode_frame(&bytes) {
            prop_assert_eq!(envelopes.iter().flat_map(Envelope::encode).collect::<Vec<_>>(), bytes.clone());
        }
        bytes.truncate(cut % bytes.len());
        let _ = decode_frame(&bytes);
    }

    #[test]
    fn any_delivery_order_and_grouping_gives_the_same_ledger(seed in any::<u64>()) {
        check_delivery(seed);
    }

    #[test]
    fn restoring_equals_never_having_stopped(seed in any::<u64>()) {
        let run = |restarts: bool| {
            let mut choices = Choices(seed);
            let mut net = Net::new(&[true, true, false]);
            net.link(0, 2);
            net.link(1, 2);
            for i in 0..20 {
                net.append(choices.below(2), &format!("note {i}"));
                for _ in 0..choices.below(6) {
                    net.step(choices.below(8));
                }
                if choices.chance(40) && restarts {
                    net.hibernate(2);
                }
            }
            net.settle();
            net.assert_equal();
            assert!(net.nodes.iter().all(|node| node.closed.is_empty()));
            net
        };
        let (slept, awake) = (run(true), run(false));
        prop_assert_eq!(slept.replica(2).totals().entries, awake.replica(2).totals().entries);
    }
}

fn check_delivery(seed: u64) {
    let mut choices = Choices(seed);
    let blocks = random_history(&mut choices);
    let mut net = Net::new(&[false, false, false]);
    for node in 0..3 {
        let mut delivery: Vec<&VerifiedBlock> = blocks.iter().collect();
        if node > 0 {
            choices.shuffle(&mut delivery);
        }
        while !delivery.is_empty() {
            let group: Vec<_> = delivery.drain(..(1 + choices.below(5)).min(delivery.len())).collect();
            let inputs = group.iter().map(|b| Input::import(0, vec![b.bytes().to_vec()]));
            net.turn(node, inputs.collect());
            if choices.chance(10) {
                // Once more is once.
                net.inject(node, group[0]);
            }
        }
    }
    net.assert_equal();
}

#[test]
fn a_zone_block_that_waited_before_the_freeze_finds_its_voucher() {
    check_delivery(13_272_132_519_314_531_670);
}

/// Blocks of honest authors and liars, with forks, in an order in which they could have been made.
fn random_history(choices: &mut Choices) -> Vec<VerifiedBlock> {
    let mut blocks: Vec<VerifiedBlock> = Vec::new();
    let mut lanes: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for step in 0..choices.below(40) + 2 {
        let author = 11 + choices.below(5) as u8;
        let liar = author >= 14;
        let lane = lanes.entry(author).or_default();
        let own = match lane.last() {
            Some(_) if liar && choices.chance(15) => None,
            Some(_) if liar => Some(lane[choices.below(lane.len())]),
            last => last.copied(),
        };
        let mut others = BTreeSet::new();
        for _ in 0..choices.below(4).min(blocks.len()) {
            let other = &blocks[choices.below(blocks.len())];
            if own.is_none_or(|own| blocks[own].hash() != other.hash()) {
                others.insert(other.hash());
            }
        }
        let parents: Vec<BlockHash> = own.map(|own| blocks[own].hash()).into_iter().chain(others).collect();
        let height = own.map_or(0, |own| blocks[own].header().height) + 1;
        let ends = blocks.iter().filter(|b| parents.contains(&b.hash())).map(|b| b.end().micros());
        let time = ends.max().unwrap_or(1_000_000) + choices.below(50) as u64;
        lane.push(blocks.len());
        blocks.push(block(author, height, time, &parents, &[format!("{step}").as_bytes()]));
    }
    blocks
}

/// What an honest node has seen and built on stays, all honest nodes end equal, and no honest block is ever void: whatever
/// liars write, on whatever they know, and give to whomever. The real replicas, in a random network.
fn liars(seed: u64) {
    let mut choices = Choices(seed);
    let honest = 2 + choices.below(4);
    let mut net = Net::new(&[vec![true; honest], vec![false]].concat());
    let mut seen: Vec<BTreeSet<BlockHash>> = vec![BTreeSet::new(); honest];
    let mut lies: Vec<VerifiedBlock> = Vec::new();
    let mut known: BTreeMap<BlockHash, VerifiedBlock> = BTreeMap::new();
    for step in 0..choices.below(60) + 10 {
        let node = choices.below(honest);
        match choices.below(10) {
            0..3 => {
                let before = net.blocks(node);
                let appended = net.nodes[node].appended.len();
                net.append(node, &format!("{step}"));
                if net.nodes[node].appended[appended].is_ok() {
                    seen[node].extend(before);
                }
            }
            3..6 => {
                let linked = net.ends.keys().find(|end| end.node == node).copied();
                match linked {
                    Some(end) => net.cut(end),
                    None => _ = net.link(node, honest),
                }
                for _ in 0..choices.below(40) {
                    net.step(choices.below(8));
                }
            }
            6 => net.hibernate(honest),
            _ => {
                (0..=honest).flat_map(|i| net.verified(i)).for_each(|b| _ = known.insert(b.hash(), b));
                let lie = lie(&mut choices, &lies, &known, net.now);
                give(&mut net, &lie, &known, node);
                known.insert(lie.hash(), lie.clone());
                lies.push(lie);
            }
        }
    }
    let links: Vec<_> = net.ends.keys().filter(|end| end.node < honest).copied().collect();
    links.into_iter().for_each(|end| net.cut(end));
    net.now += 700_000_000;
    // Healing: each node meets the hub twice, because what the last one brings must reach the first.
    for _ in 0..2 {
        for node in 0..honest {
            if !net.ends.keys().any(|end| end.node == node) {
                net.link(node, honest);
            }
        }
        net.settle();
    }
    net.assert_equal();
    for (node, seen) in seen.iter().enumerate() {
        let counts = net.blocks(node);
        assert!(seen.is_subset(&counts), "seed {seed}: node {node} lost what it had built on");
        assert!(
            net.nodes[node].closed.iter().all(|reason| reason.contains("newer link")),
            "{:?}",
            net.nodes[node].closed
        );
    }
    for node in 0..honest {
        let lane = net.replica(node).heads().remove(&node_id(node as u8 + 1)).unwrap_or_default();
        let written = net.nodes[node].written;
        assert_eq!(
            lane.first().map_or(0, |(height, _)| *height),
            written,
            "seed {seed}: an own block of {node} is void"
        );
    }
}

/// A block of a liar: on any branch of its own, with any parents it can know.
fn lie(
    choices: &mut Choices,
    lies: &[VerifiedBlock],
    known: &BTreeMap<BlockHash, VerifiedBlock>,
    now: u64,
) -> VerifiedBlock {
    let author = 100 + choices.below(2) as u8;
    let branch: Vec<&VerifiedBlock> = lies.iter().filter(|b| b.header().author == node_id(author)).collect();
    let own = if branch.is_empty() || choices.chance(20) { None } else { Some(branch[choices.below(branch.len())]) };
    let all: Vec<&VerifiedBlock> = known.values().collect();
    let mut others = BTreeSet::new();
    for _ in 0..choices.below(4).min(all.len()) {
        let other = all[choices.below(all.len())].hash();
        if own.is_none_or(|own| own.hash() != other) {
            others.insert(other);
        }
    }
    let parents: Vec<BlockHash> = own.map(|own| own.hash()).into_iter().chain(others).collect();
    let end = parents.iter().map(|hash| known[hash].end().micros()).max().unwrap_or(0);
    let time = end.max(now - 500_000 + choices.below(1_000_000) as u64);
    block(author, own.map_or(0, |own| own.header().height) + 1, time, &parents, &[&[choices.below(256) as u8]])
}

/// Gives a node a block with all of its past.
fn give(net: &mut Net, lie: &VerifiedBlock, known: &BTreeMap<BlockHash, VerifiedBlock>, node: usize) {
    let mut past = BTreeSet::new();
    let mut next = lie.header().parents.clone();
    while let Some(hash) = next.pop() {
        if past.insert(hash) {
            next.extend(&known[&hash].header().parents);
        }
    }
    let mut blocks: Vec<&VerifiedBlock> = past.iter().map(|hash| &known[hash]).collect();
    blocks.sort_by_key(|b| b.key());
    for b in blocks.into_iter().chain([lie]) {
        net.inject(node, b);
    }
}

#[test]
fn liars_divide_nobody() {
    let first: u64 = std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("CAIRN_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(150);
    for seed in first..first + count {
        println!("seed {seed}");
        liars(seed);
    }
}
