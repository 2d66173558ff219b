//! Operation sequences on three real replicas, two that write and a hub, with liars, faults and clocks that step.

use shared::{Block, BlockHash, Input, LinkId};

use crate::{
    choices::Choices,
    made::{HONEST, KEYS, block, data, signed_block},
    net::{End, Net, Packet},
};

/// Operations of one run.
const MOST: usize = 40;
/// µs in a year.
const YEAR: u64 = 365 * 86_400_000_000;

/// Whatever happens in between, healed replicas are equal and hold what was acknowledged.
pub(super) fn session(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut net = Net::new(&[true, true, false]);
    let mut lies = Vec::new();
    for _ in 0..MOST {
        if choices.is_empty() {
            break;
        }
        operate(&mut net, &mut choices, &mut lies);
    }
    net.heal();
    net.check_equal();
}

fn operate(net: &mut Net, choices: &mut Choices<'_>, lies: &mut Vec<Block>) {
    let node = choices.below(3);
    match choices.below(16) {
        0..=2 => append(net, node, choices),
        3 | 4 => net.link(node, (node + 1 + choices.below(2)) % 3),
        5 => {
            let ends = net.ends();
            if let Some(end) = choices.pick(&ends) {
                net.cut(*end);
            }
        }
        6..=8 => {
            let queue = choices.below(8);
            for _ in 0..=choices.below(24) {
                net.step(queue);
            }
        }
        9 => spoil(net, choices),
        10 => net.restart(node, choices.below(2) == 0),
        11 | 12 => {
            let known = net.known();
            let lie = lie(choices, lies, &known);
            give(net, node, &lie, lies, &known);
            lies.push(lie);
        }
        13 => {
            let known: Vec<BlockHash> = net.known().iter().map(|block| block.hash()).collect();
            let mut bytes = signed_block(choices, &known).bytes().to_vec();
            if choices.below(2) == 0 {
                let at = choices.number() as usize % bytes.len();
                bytes[at] ^= choices.byte();
            }
            net.import(node, vec![bytes, choices.bytes(40).to_vec()]);
        }
        14 => {
            let clock = &mut net.nodes[node].clock;
            *clock = match choices.below(4) {
                0 => *clock + choices.number() % 60_000_000,
                1 => *clock + choices.number() % YEAR,
                2 => clock.saturating_sub(choices.number() % YEAR),
                _ => *clock + 1_000_000,
            };
            net.turn(node, vec![Input::Wake]);
        }
        _ => {
            let ends: Vec<End> = net.ends().into_iter().filter(|end| end.node == node).collect();
            let link = choices.pick(&ends).map_or(LinkId(u64::MAX), |end| end.link);
            let input = match choices.below(4) {
                0 => Input::Ping { link },
                1 => Input::Pong { link },
                2 => Input::LinkClosed { link: LinkId(u64::MAX) },
                _ => Input::Frame { link, bytes: choices.bytes(200).to_vec() },
            };
            net.turn(node, vec![input]);
        }
    }
}

fn append(net: &mut Net, node: usize, choices: &mut Choices<'_>) {
    let payloads = match choices.below(8) {
        0 => Vec::new(),
        1 => vec![vec![b'1'; 64 * 1024 + choices.below(2)]; 1 + choices.below(2)],
        2 => vec![vec![b'2']; 1 + choices.below(300)],
        _ => vec![choices.bytes(100).to_vec()],
    };
    net.turn(node, vec![Input::Append { token: 0, payloads }]);
}

/// Something happens to the first packet of a queue, or to a later one.
fn spoil(net: &mut Net, choices: &mut Choices<'_>) {
    let Some((_, queue)) = net.queue(choices.below(8)) else { return };
    let at = choices.below(queue.len());
    let what = choices.below(5);
    let Some(Packet::Frame(frame)) = queue.get_mut(at) else { return };
    match what {
        0 => drop(queue.remove(at)),
        1 => {
            let copy = frame.clone();
            queue.insert(at, Packet::Frame(copy));
        }
        2 if !frame.is_empty() => {
            let byte = choices.number() as usize % frame.len();
            frame[byte] ^= 1 << choices.below(8);
        }
        3 => frame.truncate(choices.number() as usize % (frame.len() + 1)),
        _ => frame.extend_from_slice(choices.bytes(40)),
    }
}

/// A block of a liar on any branch of its own, resting on anything it can know.
fn lie(choices: &mut Choices<'_>, lies: &[Block], known: &[Block]) -> Block {
    let author = HONEST + choices.below(usize::from(KEYS - HONEST)) as u8 % 2;
    let id = crate::made::node_id(author);
    let branch: Vec<&Block> = lies.iter().filter(|block| block.header().author == id).collect();
    let own = if choices.below(5) == 0 { None } else { choices.pick(&branch).copied() };
    let all: Vec<&Block> = known.iter().chain(lies).collect();
    let mut others: Vec<BlockHash> =
        (0..choices.below(4)).filter_map(|_| choices.pick(&all).map(|b| b.hash())).collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|hash| own.is_none_or(|own| own.hash() != *hash));
    let parents: Vec<BlockHash> = own.map(|own| own.hash()).into_iter().chain(others).collect();
    let ends = all.iter().filter(|block| parents.contains(&block.hash())).map(|block| block.end().micros());
    let time = ends.max().unwrap_or(crate::made::START) + choices.below(256) as u64;
    block(author, own.map_or(0, |own| own.header().height) + 1, time, parents, data(choices.bytes(20))).into_inner()
}

/// Gives a node a lie and all of its past.
fn give(net: &mut Net, node: usize, lie: &Block, lies: &[Block], known: &[Block]) {
    let mut past: Vec<&Block> = Vec::new();
    let mut next = lie.header().parents.clone();
    while let Some(hash) = next.pop() {
        if past.iter().any(|block| block.hash() == hash) {
            continue;
        }
        if let Some(block) = known.iter().chain(lies).find(|block| block.hash() == hash) {
            next.extend(&block.header().parents);
            past.push(block);
        }
    }
    past.sort_by_key(|block| block.key());
    let blocks = past.into_iter().chain([lie]).map(|block| block.bytes().to_vec()).collect();
    net.import(node, blocks);
}
