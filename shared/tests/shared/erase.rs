//! Erasing: the payload goes wherever the erase comes to, the history stays what it was; and nobody hides what was said by
//! handing it on without its payload.

use crate::common::{Net, at, config, key, ledger, node_id};
use shared::{
    Block, BlockHash, Entry, EntryId, Header, Input, Kind, MemoryStore, Page, ReadStore, Replica, Store, VerifiedBlock,
    block::BlockError,
    effect::{Wish, WishError},
    erase::Erase,
    limits::{BLOCK_BYTES, BLOCK_ENTRIES, PAYLOAD_BYTES},
    members::MemberError,
    repair::{self, Wrong},
    view::{self, EntryView},
};

const ALL: Page = Page { blocks: usize::MAX, bytes: usize::MAX };
const SECRET: &str = "\"a word that should not stay\"";
/// A hub between 0 and 1.
const HUB: usize = 2;

fn linked() -> Net {
    let mut net = Net::new(&[true, true, false]);
    net.link(0, HUB);
    net.link(1, HUB);
    net.settle();
    net
}

fn wish(net: &mut Net, node: usize, entry: EntryId) -> Result<BlockHash, WishError> {
    net.now += 1_000;
    net.turn(node, vec![Input::Control { token: 0, wish: Wish::Erase { entry } }]);
    net.nodes[node].granted.pop().unwrap()
}

fn append(net: &mut Net, node: usize, payloads: &[&str]) -> Vec<EntryId> {
    net.now += 1_000;
    let payloads = payloads.iter().map(|text| text.as_bytes().to_vec()).collect();
    net.turn(node, vec![Input::Append { token: 0, payloads }]);
    net.nodes[node].appended.pop().unwrap().unwrap()
}

fn rows(store: &MemoryStore) -> Vec<(u64, Vec<u8>)> {
    store.arrived(0, ALL).unwrap().into_iter().map(|record| (record.summary.seq, record.bytes)).collect()
}

fn holds(net: &Net, node: usize, text: &str) -> bool {
    let contains = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    rows(net.replica(node).store()).iter().any(|(_, bytes)| contains(bytes))
}

fn shown(net: &Net, node: usize, entry: &EntryId) -> EntryView {
    view::entry(net.replica(node).store(), entry, net.replica(node).keys()).unwrap()
}

fn block_of(net: &Net, node: usize, entry: &EntryId) -> Block {
    let records = net.replica(node).store().lane(&entry.author, entry.height, Page::ONE).unwrap();
    Block::decode(&records[0].bytes).unwrap()
}

fn hand(net: &mut Net, node: usize, block: &Block) {
    net.turn(node, vec![Input::import(0, vec![block.bytes().to_vec()])]);
}

/// A block made outside any replica that erases an entry of another one.
fn erase(author: u8, height: u64, parents: &[&Block], target: &Block, index: u32) -> VerifiedBlock {
    let (block, header) = (target.hash(), target.header());
    let entry = EntryId { author: header.author, height: header.height, index };
    let timestamp = parents.iter().map(|parent| parent.end()).chain([target.end()]).max().unwrap();
    let parents = parents.iter().map(|parent| parent.hash()).collect();
    let header = Header { ledger: ledger(), author: node_id(author), height, timestamp, parents };
    let payload = Erase { block, entry, power: None }.encode();
    VerifiedBlock::sign(header, vec![Entry::new(Kind::ERASE, [3; 16], payload)], &key(author))
}

fn written(author: u8, height: u64, micros: u64, parents: &[BlockHash], payloads: &[&[u8]]) -> VerifiedBlock {
    crate::common::block(author, height, micros, parents, payloads)
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for n in 0..count {
        let insert = |order: &Vec<usize>| {
            (0..=n).map(|at| [&order[..at], &[n], &order[at..]].concat()).collect::<Vec<Vec<usize>>>()
        };
        all = all.iter().flat_map(insert).collect();
    }
    all
}

#[test]
fn an_erased_payload_goes_everywhere_and_the_history_stays() {
    let mut net = linked();
    let ids = append(&mut net, 0, &["1", SECRET, "3"]);
    append(&mut net, 1, &["\"after\""]);
    net.settle();
    let before: Vec<BlockHash> = net.order(0);
    assert!((0..3).all(|node| holds(&net, node, SECRET)), "the test can fail");
    let hash = wish(&mut net, 0, ids[1]).unwrap();
    net.settle();
    net.assert_equal();
    assert_eq!(net.order(1)[..before.len()], before[..]);
    let erased_at = block_of(&net, 0, &EntryId { height: 2, index: 0, ..ids[0] });
    assert_eq!(erased_at.hash(), hash);
    for node in 0..3 {
        assert!(!holds(&net, node, SECRET));
        // Every hash and signature still verifies.
        assert!(net.verified(node).iter().any(|block| block.hash() == hash));
        assert_eq!(net.nodes[node].erased, [(ids[1], node_id(1), erased_at.header().timestamp)]);
        let view = shown(&net, node, &ids[1]);
        assert_eq!((view.data.get(), view.withheld, &*view.kind), ("null", false, "data"));
        let erased = view.erased.unwrap();
        assert_eq!((erased.by, erased.at), (node_id(1).to_string(), erased_at.header().timestamp.to_string()));
        let entry = erased.entry.parse().unwrap();
        assert_eq!(shown(&net, node, &entry).data.get(), format!("{{\"entry\":\"{}\"}}", ids[1]));
        assert_eq!(shown(&net, node, &entry).kind, "erase");
        // Its neighbours are as they were.
        assert_eq!([0, 2].map(|i| shown(&net, node, &ids[i]).data.get().to_owned()), ["1", "3"]);
        assert_eq!(net.replica(node).withheld(), 0);
    }
    assert_eq!(wish(&mut net, 0, ids[1]), Err(WishError::Done));
}

#[test]
fn a_newcomer_gets_the_history_without_it() {
    let mut net = Net::new(&[true, true, false]);
    net.link(0, HUB);
    let ids = append(&mut net, 0, &[SECRET]);
    append(&mut net, 0, &["2"]);
    wish(&mut net, 0, ids[0]).unwrap();
    append(&mut net, 0, &["3"]);
    net.settle();
    let totals = net.replica(0).totals();
    net.link(1, HUB);
    net.settle();
    net.assert_equal();
    assert_eq!(net.replica(1).totals(), totals);
    assert!(shown(&net, 1, &ids[0]).erased.is_some());
    assert_eq!(net.replica(1).withheld(), 0);
    assert_eq!(
        net.replica(1).next_wake(),
        net.replica(1).next_wake().filter(|wake| wake.micros() > net.now + 3_000_000)
    );
    // Whoever starts from such a store knows the same.
    for node in 0..3 {
        let store = net.replica(node).store().clone();
        net.restart(node, store);
        assert_eq!(net.replica(node).totals(), totals);
        assert!(shown(&net, node, &ids[0]).erased.is_some());
    }
    assert!(net.nodes.iter().all(|node| node.closed.is_empty()));
}

#[test]
fn block_and_erase_in_any_order_come_to_the_same() {
    let first = written(5, 1, 10_000, &[], &[SECRET.as_bytes(), b"2"]);
    let second = written(5, 2, 20_000, &[first.hash()], &[b"3"]);
    let early = erase(5, 3, &[&second], &first, 0);
    let late = erase(5, 4, &[&early], &first, 0);
    let other = written(6, 1, 30_000, &[early.hash()], &[b"4"]);
    let without = first.strip_at(|index| index == 0);
    let blocks: [&Block; 6] = [&first, &second, &early, &late, &other, &without];
    let mut expected = None;
    for order in permutations(blocks.len()) {
        // With the whole block, without it, and with both.
        for left_out in [usize::MAX, 0, 5] {
            let mut net = Net::new(&[false]);
            let given = order.iter().filter(|i| **i != left_out);
            let bytes = given.map(|i| blocks[*i].bytes().to_vec()).collect();
            net.turn(0, vec![Input::import(0, bytes)]);
            assert_eq!(net.replica(0).parked(), (0, 0));
            let records = net.replica(0).store().after(None, ALL).unwrap();
            let bytes: Vec<Vec<u8>> = records.into_iter().map(|record| record.bytes).collect();
            let id = EntryId { author: node_id(5), height: 1, index: 0 };
            let view = view::to_line(&shown(&net, 0, &id)).unwrap().to_string();
            let state = (bytes, view, net.replica(0).digest(), net.replica(0).totals(), net.replica(0).withheld());
            assert_eq!(expected.get_or_insert_with(|| state.clone()), &state, "order {order:?} without {left_out}");
        }
    }
    let (bytes, view, ..) = expected.unwrap();
    assert_eq!(bytes[0], without.bytes());
    assert!(view.contains(&format!("\"at\":\"{}\"", early.header().timestamp)), "{view}");
}

#[test]
fn a_payload_that_comes_after_its_erase_is_not_kept() {
    let mut net = linked();
    let ids = append(&mut net, 0, &[SECRET]);
    net.settle();
    let whole = block_of(&net, HUB, &ids[0]);
    wish(&mut net, 0, ids[0]).unwrap();
    net.settle();
    for node in 0..3 {
        hand(&mut net, node, &whole);
        net.settle();
        assert!(!holds(&net, node, SECRET));
        assert_eq!(net.replica(node).withheld(), 0);
    }
}

#[test]
fn only_its_author_erases_in_an_open_ledger() {
    let mut net = linked();
    let ids = append(&mut net, 0, &[SECRET]);
    net.settle();
    let (digest, rows_before) = (net.replica(1).digest(), rows(net.replica(1).store()));
    assert_eq!(wish(&mut net, 1, ids[0]), Err(WishError::Rule(MemberError::NotTheirs)));
    let nothing = EntryId { index: 1, ..ids[0] };
    assert_eq!(wish(&mut net, 1, nothing), Err(WishError::NoEntry(nothing)));
    assert_eq!(wish(&mut net, HUB, ids[0]), Err(WishError::NotYet), "a hub does not write");
    assert_eq!((net.replica(1).digest(), rows(net.replica(1).store())), (digest, rows_before));
    // What a liar signs all the same is refused everywhere, whatever is wrong with it.
    let target = block_of(&net, 0, &ids[0]);
    let own = written(9, 1, net.now, &[], &[b"1"]);
    hand(&mut net, HUB, &own);
    let digest = net.replica(HUB).digest();
    let entry = EntryId { author: node_id(9), height: 1, index: 0 };
    let signed = |payload: Vec<u8>, more: Option<Entry>| {
        let (timestamp, parents) = (at(own.end().micros() + 5_000_000), vec![own.hash()]);
        let header = Header { ledger: ledger(), author: node_id(9), height: 2, timestamp, parents };
        let entries = [Entry::new(Kind::ERASE, [3; 16], payload)].into_iter().chain(more).collect();
        VerifiedBlock::sign(header, entries, &key(9))
    };
    let right = Erase { block: own.hash(), entry, power: None };
    let power = Some(shared::erase::Power { join: own.hash(), rests: own.hash() });
    let lies = [
        erase(9, 2, &[&own], &target, 0),
        signed(b"erase it".to_vec(), None),
        signed(right.encode(), Some(Entry::new(Kind::DATA, [3; 16], b"1".to_vec()))),
        signed(Erase { power, ..right.clone() }.encode(), None),
        signed(Erase { entry: EntryId { index: 1, ..entry }, ..right.clone() }.encode(), None),
        signed(Erase { entry: EntryId { height: 2, ..entry }, ..right.clone() }.encode(), None),
        signed(Erase { block: target.hash(), ..right.clone() }.encode(), None),
    ];
    for (number, lie) in lies.iter().enumerate() {
        hand(&mut net, HUB, lie);
        assert_eq!(net.nodes[HUB].imported.last().unwrap().refused, 1, "lie {number}");
        assert_eq!(net.replica(HUB).digest(), digest);
    }
    assert!(holds(&net, HUB, SECRET));
    assert!(net.nodes.iter().all(|node| node.erased.is_empty()));
    hand(&mut net, HUB, &signed(right.encode(), None));
    assert_eq!(net.nodes[HUB].imported.last().unwrap().added, 1);
}

#[test]
fn what_the_rules_go_by_is_never_erased() {
    let mut net = Net::new(&[true]);
    append(&mut net, 0, &["1"]);
    let id = EntryId { author: node_id(1), height: 1, index: 0 };
    wish(&mut net, 0, id).unwrap();
    let erased_by = EntryId { height: 2, ..id };
    assert_eq!(wish(&mut net, 0, erased_by), Err(WishError::Rule(MemberError::NotErasable(Kind::ERASE))));
    assert_eq!(net.replica(0).height(&node_id(1)), 2);
    // And what lacks such a payload is no block.
    for kind in (0..14).map(Kind).filter(|kind| !kind.is_erasable()) {
        let header =
            Header { ledger: ledger(), author: node_id(9), height: 1, timestamp: at(net.now), parents: vec![] };
        let block = VerifiedBlock::sign(header, vec![Entry::new(kind, [1; 16], b"1".to_vec())], &key(9)).strip();
        assert_eq!(block.check_payloads(), Err(BlockError::NoPayload { index: 0 }), "{kind:?}");
        hand(&mut net, 0, &block);
        assert_eq!(net.nodes[0].imported.last().unwrap().refused, 1);
    }
}

/// A store that a liar filled, who leaves every payload out.
fn lied_to(net: &mut Net, node: usize, from: usize) {
    let blocks = net.verified(from).iter().map(|block| block.strip().bytes().to_vec()).collect();
    net.turn(node, vec![Input::import(0, blocks)]);
}

#[test]
fn what_a_liar_leaves_out_comes_from_somebody_else() {
    for restarts in [false, true] {
        let mut net = Net::new(&[true, true, false]);
        let ids = append(&mut net, 0, &["1", "2"]);
        append(&mut net, 0, &["3"]);
        lied_to(&mut net, 1, 0);
        assert_eq!(net.replica(1).digest(), net.replica(0).digest());
        assert_eq!(net.replica(1).totals(), net.replica(0).totals());
        assert_eq!(net.replica(1).withheld(), 2);
        let view = shown(&net, 1, &ids[1]);
        assert_eq!((view.data.get(), view.withheld, view.erased.is_none()), ("null", true, true));
        if restarts {
            let store = net.replica(1).store().clone();
            net.restart(1, store);
        }
        let changes = net.nodes[1].reordered;
        net.link(0, 1);
        net.settle();
        assert_eq!(net.replica(1).withheld(), 0);
        assert_eq!([0, 1].map(|i| shown(&net, 1, &ids[i]).data.get().to_owned()), ["1", "2"]);
        assert!(!shown(&net, 1, &ids[1]).withheld);
        assert!(net.nodes[1].reordered > changes, "clients hear that there is more to read");
        let records = |node: usize| net.replica(node).store().after(None, ALL).unwrap();
        let bytes = |node| records(node).into_iter().map(|record| record.bytes).collect::<Vec<_>>();
        assert_eq!(bytes(0), bytes(1));
        assert!(net.nodes.iter().all(|node| node.closed.is_empty()));
    }
}

#[test]
fn a_liar_between_two_honest_nodes_hides_nothing() {
    // The hub was lied to, and hands on what it has: 1 learns of the blocks without their payloads, before 0 comes.
    for hibernates in [false, true] {
        let mut net = Net::new(&[true, true, false]);
        let ids = append(&mut net, 0, &[SECRET]);
        append(&mut net, 0, &["2"]);
        lied_to(&mut net, HUB, 0);
        net.link(1, HUB);
        net.settle();
        assert_eq!([1, HUB].map(|node| net.replica(node).withheld()), [2, 2]);
        if hibernates {
            net.hibernate(HUB);
        }
        net.link(0, HUB);
        net.settle();
        assert_eq!([1, HUB].map(|node| net.replica(node).withheld()), [0, 0]);
        assert_eq!(shown(&net, 1, &ids[0]).data.get(), SECRET);
        // A liar that goes on lying over a link of its own changes nothing.
        lied_to(&mut net, 1, 0);
        net.settle();
        assert_eq!(shown(&net, 1, &ids[0]).data.get(), SECRET);
        net.assert_equal();
    }
}

#[test]
fn two_who_were_told_different_halves_make_it_whole() {
    let mut net = Net::new(&[true, true, false, true]);
    let ids = append(&mut net, 3, &["1", "2"]);
    let whole = block_of(&net, 3, &ids[0]);
    hand(&mut net, 0, &whole.strip_at(|index| index == 0));
    hand(&mut net, 1, &whole.strip_at(|index| index == 1));
    net.link(0, 1);
    net.settle();
    for node in 0..2 {
        assert_eq!(block_of(&net, node, &ids[0]), whole);
        assert_eq!(net.replica(node).withheld(), 0);
    }
    // Of what nobody has, a part is better than nothing.
    let ids = append(&mut net, 3, &["3", "4"]);
    let whole = block_of(&net, 3, &ids[0]);
    net.cut(*net.ends.keys().next().unwrap());
    hand(&mut net, 0, &whole.strip());
    hand(&mut net, 1, &whole.strip_at(|index| index == 0));
    net.link(0, 1);
    net.settle();
    assert_eq!(shown(&net, 0, &ids[1]).data.get(), "4");
    assert!(shown(&net, 0, &ids[0]).withheld);
}

#[test]
fn what_nobody_has_is_asked_for_when_there_is_a_reason_and_not_for_ever() {
    let mut net = linked();
    append(&mut net, 0, &["1"]);
    net.settle();
    // Its author never shows it to anybody.
    let hidden: Vec<VerifiedBlock> = (1..=200).fold(Vec::new(), |mut lane, height| {
        let parents: Vec<BlockHash> = lane.last().map(|block: &VerifiedBlock| block.hash()).into_iter().collect();
        lane.push(written(9, height, 1_000_000 * height, &parents, &[b"1"]));
        lane
    });
    let blocks = hidden.iter().map(|block| block.strip().bytes().to_vec()).collect();
    net.turn(HUB, vec![Input::import(0, blocks)]);
    net.settle();
    net.assert_equal();
    assert_eq!((0..3).map(|node| net.replica(node).withheld()).collect::<Vec<_>>(), [200; 3]);
    let frames = net.frames;
    for _ in 0..20 {
        net.now += 3_000_000;
        net.settle();
    }
    assert!(net.frames < frames + 40, "{} frames about nothing", net.frames - frames);
    // A new link is a reason.
    let mut other = Net::new(&[false]);
    hidden.iter().for_each(|block| hand(&mut other, 0, block));
    net.nodes.push(crate::common::Node::new(4, false));
    net.start(3, other.replica(0).store().clone(), &[]);
    net.link(3, HUB);
    net.settle();
    for node in 0..3 {
        assert_eq!(net.replica(node).withheld(), 0, "{node}");
    }
}

#[test]
fn what_found_no_room_in_the_list_is_found_again() {
    let mut net = Net::new(&[true, false]);
    for text in ["1", "2", "3"] {
        append(&mut net, 0, &[text]);
    }
    lied_to(&mut net, 1, 0);
    let mut store = net.replica(1).store().clone();
    // The list had no room from the second block on.
    let list: Vec<u8> = [2_u64, 1].iter().flat_map(|number| number.to_be_bytes()).collect();
    store.set_meta("withheld", &list).unwrap();
    net.restart(1, store);
    assert_eq!(net.replica(1).withheld(), 1);
    net.link(0, 1);
    net.settle();
    assert_eq!(net.replica(1).withheld(), 0);
    assert_eq!(net.texts(1), net.texts(0));
    // What makes no sense is not taken for an empty list.
    let mut store = net.replica(1).store().clone();
    store.set_meta("withheld", &[1, 2, 3]).unwrap();
    assert!(Replica::restore(config(2, false, 9), store, &[], at(net.now), &mut Vec::new()).is_err());
}

/// A fork of lane 9: two blocks of height 2, and on the first of them an erase of what 9 said first.
fn forked() -> (VerifiedBlock, VerifiedBlock, VerifiedBlock, VerifiedBlock) {
    let first = written(9, 1, 10_000, &[], &[SECRET.as_bytes()]);
    let one = written(9, 2, 20_000, &[first.hash()], &[b"2"]);
    let two = written(9, 2, 20_000, &[first.hash()], &[b"3"]);
    let erased = erase(9, 3, &[&one], &first, 0);
    (first, one, two, erased)
}

#[test]
fn an_erase_that_is_void_leaves_the_payload_to_those_who_have_it() {
    let (first, one, two, erased) = forked();
    let mut net = Net::new(&[true, false, false]);
    let id = EntryId { author: node_id(9), height: 1, index: 0 };
    // A hub that heard of the erase in time drops the payload, and the fork comes later.
    [&first, &one, &erased].into_iter().for_each(|block| net.inject(HUB, block));
    assert!(shown(&net, HUB, &id).erased.is_some());
    net.inject(HUB, &two);
    assert_eq!(net.replica(HUB).heads()[&node_id(9)], [(1, first.hash())], "nobody vouches for the rest");
    assert!(!holds(&net, HUB, SECRET), "it does not come back by itself");
    assert!(shown(&net, HUB, &id).withheld);
    // Another one heard of the fork first.
    [&first, &one, &two, &erased].into_iter().for_each(|block| net.inject(0, block));
    assert!(holds(&net, 0, SECRET));
    assert!(net.nodes[0].erased.is_empty());
    let store = net.replica(HUB).store().clone();
    net.restart(HUB, store);
    net.link(0, HUB);
    net.settle();
    assert_eq!(shown(&net, HUB, &id).data.get(), SECRET);
    assert!(shown(&net, HUB, &id).erased.is_none());
    net.assert_same(&[0, HUB]);
}

#[test]
fn an_erase_that_finds_a_voucher_is_in_force_again() {
    let (first, one, two, erased) = forked();
    let voucher = written(8, 1, erased.end().micros(), &[erased.hash()], &[b"4"]);
    let blocks = [&first, &one, &two, &erased, &voucher];
    let mut states = Vec::new();
    for order in permutations(blocks.len()) {
        let mut net = Net::new(&[false]);
        order.iter().for_each(|i| net.inject(0, blocks[*i]));
        assert!(!holds(&net, 0, SECRET), "order {order:?}");
        assert!(shown(&net, 0, &EntryId { author: node_id(9), height: 1, index: 0 }).erased.is_some());
        states.push((net.replica(0).digest(), net.replica(0).withheld(), net.order(0)));
    }
    assert!(states.iter().all(|state| *state == states[0]));
}

#[test]
fn a_limit_is_for_the_block_with_its_payloads() {
    let of = |sizes: &[usize]| {
        let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'1'; *size]).collect();
        written(9, 1, 10_000, &[], &payloads.iter().map(|payload| &payload[..]).collect::<Vec<_>>())
    };
    // Many short payloads: without them the block is longer than the limit.
    let mut sizes = vec![1; BLOCK_ENTRIES];
    let room = BLOCK_BYTES - of(&sizes).bytes().len();
    sizes[..3].fill(PAYLOAD_BYTES);
    sizes[3] = room - 3 * (PAYLOAD_BYTES - 1) - 20;
    let block = of(&sizes);
    assert!(block.bytes().len() <= BLOCK_BYTES && block.bytes().len() > BLOCK_BYTES - 20);
    let short = block.strip_at(|index| sizes[index] == 1);
    assert!(short.bytes().len() > BLOCK_BYTES);
    assert_eq!(short.full_len(), block.bytes().len());
    assert_eq!(Block::decode(short.bytes()).as_ref(), Ok(&short));
    assert_eq!(Block::decode(block.strip().bytes()).unwrap().full_len(), block.bytes().len());
    // And one that would be too long with them is not taken without.
    let long = of(&[PAYLOAD_BYTES; 5]).strip();
    assert!(matches!(Block::decode(long.bytes()), Err(BlockError::TooLarge { len }) if len == long.full_len()));
}

#[test]
fn a_repair_does_not_bring_back_what_was_erased() {
    // A peer that has not heard of the erase has the payload.
    for loses_notes in [false, true] {
        let mut net = Net::new(&[true, true]);
        let ids = append(&mut net, 0, &[SECRET, "2"]);
        append(&mut net, 0, &["3"]);
        net.link(0, 1);
        net.settle();
        net.cut(*net.ends.keys().next().unwrap());
        wish(&mut net, 0, ids[0]).unwrap();
        let mut store = net.replica(0).store().clone();
        assert!(repair::scan(&store, &ledger(), |_, _| {}).unwrap().is_clean());
        let record = store.arrived(0, Page::ONE).unwrap().remove(0);
        let mut bytes = record.bytes.clone();
        bytes[60] ^= 1;
        store.replace(record.summary.seq, Some((&record.summary, &bytes))).unwrap();
        if loses_notes {
            store.set_meta(&format!("erased/{}", record.summary.hash), &[0x80]).unwrap();
        }
        let scan = repair::scan(&store, &ledger(), |_, _| {}).unwrap();
        assert!(matches!(&scan.wrong[..], [finding] if matches!(finding.wrong, Wrong::Bytes(_))));
        repair::mend(&mut store, &scan).unwrap();
        net.restart(0, store);
        assert_eq!(net.replica(0).repairing(), 1);
        net.link(0, 1);
        net.settle();
        assert_eq!(net.replica(0).repairing(), 0);
        for node in 0..2 {
            assert!(!holds(&net, node, SECRET));
            assert!(shown(&net, node, &ids[0]).erased.is_some());
            assert_eq!(shown(&net, node, &ids[1]).data.get(), "2");
        }
        net.assert_equal();
    }
}

#[test]
fn a_payload_that_was_erased_is_not_kept_while_a_repair_goes_on() {
    let mut net = Net::new(&[true, true]);
    let ids = append(&mut net, 0, &[SECRET]);
    net.link(0, 1);
    net.settle();
    net.cut(*net.ends.keys().next().unwrap());
    wish(&mut net, 0, ids[0]).unwrap();
    append(&mut net, 0, &["only here"]);
    let mut store = net.replica(0).store().clone();
    let records = store.arrived(0, ALL).unwrap();
    for record in [&records[0], &records[2]] {
        store.replace(record.summary.seq, Some((&record.summary, &record.bytes[..40]))).unwrap();
    }
    let scan = repair::scan(&store, &ledger(), |_, _| {}).unwrap();
    assert_eq!(repair::mend(&mut store, &scan).unwrap().len(), 2);
    net.restart(0, store);
    net.link(0, 1);
    net.settle();
    assert_eq!((net.replica(0).repairing(), net.nodes[0].repaired.len()), (1, 1));
    assert!(!holds(&net, 0, SECRET));
}

#[test]
fn a_slow_peer_that_asks_for_much_is_served_within_its_credit() {
    let mut net = Net::new(&[true, false]);
    let large = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..40 {
        append(&mut net, 0, &[&large]);
    }
    lied_to(&mut net, 1, 0);
    net.link(0, 1);
    net.settle();
    assert_eq!(net.replica(1).withheld(), 0);
    assert_eq!(net.texts(1), net.texts(0));
}
