//! What hot paths allocate on fixed inputs. Counts are the same on every machine, so one more copy of each entry shows here long before
//! anybody could measure it. `counts.txt` has what they are: a tenth more fails, and `CAIRN_RECORD=1 cargo test -p bench --test counts`
//! writes down what is wanted.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use node::store::SqliteStore;
use shared::{
    Config, Effect, Entry, Frame, Header, Incoming, Input, Key, Keyring, Kind, LinkId, MemoryStore, Replica, Role,
    Store, Timestamp, VerifiedBlock,
    block::open_ledger,
    key::Signers,
    view,
    wire::{Envelope, Message},
};

const LEDGER: &str = "counts";
const START: u64 = 1_800_000_000_000_000;
/// More than this, of what was recorded, is dearer.
const DEARER: f64 = 1.1;
/// What is lost where a record is written down.
const ROUNDED: f64 = 0.001;

/// Allocations and allocated bytes for each entry.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    allocations: f64,
    bytes: f64,
}

fn cost(entries: usize, path: impl FnOnce()) -> Cost {
    let counted = allocation_counter::measure(path);
    let each = |total: u64| total as f64 / entries as f64;
    Cost { allocations: each(counted.count_total), bytes: each(counted.bytes_total) }
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(START + micros).expect("a time")
}

fn payload(n: usize) -> Vec<u8> {
    let head = format!("{{\"n\":{n},\"text\":\"");
    format!("{head}{}\"}}", "x".repeat(118 - head.len())).into_bytes()
}

/// Lanes of blocks, each of which rests on the one before it in its lane.
fn blocks(count: usize, entries: usize, authors: u8) -> Vec<VerifiedBlock> {
    let keys: Vec<Key> = (1..=authors).map(|n| Key::from_secret(&[n; 32])).collect();
    let mut heads = vec![Vec::new(); keys.len()];
    (0..count)
        .map(|n| {
            let author = n % keys.len();
            let header = Header {
                ledger: open_ledger(LEDGER),
                author: keys[author].node(),
                height: (n / keys.len() + 1) as u64,
                timestamp: at(n as u64 * 1000),
                parents: heads[author].clone(),
            };
            let entries = (0..entries).map(|i| Entry::new(Kind::DATA, [i as u8; 16], payload(n * 256 + i))).collect();
            let block = VerifiedBlock::sign(header, entries, &keys[author]);
            heads[author] = vec![block.hash()];
            block
        })
        .collect()
}

fn bytes(blocks: &[VerifiedBlock]) -> Vec<Vec<u8>> {
    blocks.iter().map(|block| block.bytes().to_vec()).collect()
}

/// A replica, and its clock.
struct Machine<S: Store>(Replica<S>, u64);

impl<S: Store<Error: std::fmt::Debug>> Machine<S> {
    fn new(author: u8, store: S) -> Self {
        let config =
            Config { writes: true, ..Config::new(open_ledger(LEDGER), Key::from_secret(&[author; 32]), [9; 32]) };
        let clock = 1_000_000_000;
        let mut effects = Vec::new();
        let mut machine =
            Self(Replica::restore(config, store, &[], at(clock), &mut effects).expect("an empty store"), clock);
        machine.turn(Vec::new());
        machine
    }

    fn turn(&mut self, inputs: Vec<Input>) -> Vec<Effect> {
        self.1 += 1000;
        let mut effects = Vec::new();
        for input in inputs {
            self.0.handle(at(self.1), input, &mut effects).expect("the store works");
        }
        self.0.commit(at(self.1), &mut effects).expect("the store works");
        effects
    }
}

/// All frames from one replica to another, and back, until nothing more is said.
fn exchange(a: &mut Machine<MemoryStore>, b: &mut Machine<MemoryStore>) {
    const LINK: LinkId = LinkId(1);
    let mut for_b = frames(a.turn(vec![Input::relay_opened(LINK, Role::Dialled)]));
    let mut for_a = frames(b.turn(vec![Input::relay_opened(LINK, Role::Accepted)]));
    let input = |bytes| Input::Frame { link: LINK, bytes };
    while !for_a.is_empty() || !for_b.is_empty() {
        let from_a = frames(a.turn(for_a.into_iter().map(input).collect()));
        let from_b = frames(b.turn(for_b.into_iter().map(input).collect()));
        (for_a, for_b) = (from_b, from_a);
    }
}

fn frames(effects: Vec<Effect>) -> Vec<Vec<u8>> {
    let frame = |effect| if let Effect::Send { bytes, .. } = effect { Some(bytes) } else { None };
    effects.into_iter().filter_map(frame).collect()
}

/// A live entry at a node that holds so many blocks by so many authors.
fn live_entry(history: usize, authors: u8) -> Cost {
    let mut machine = Machine::new(200, MemoryStore::default());
    let mut all = blocks(history + 1, 1, authors);
    let news = all.split_off(history);
    machine.turn(vec![Input::import(0, bytes(&all))]);
    let inputs = vec![Input::import(1, bytes(&news))];
    cost(1, || drop(machine.turn(inputs)))
}

fn paths() -> BTreeMap<&'static str, Cost> {
    let mut paths = BTreeMap::new();
    let (large, small) = (blocks(8, 256, 1), blocks(256, 1, 4));
    let all = |blocks: &[VerifiedBlock]| blocks.iter().map(|block| block.entries().len()).sum::<usize>();

    for (name, blocks) in [("check a block, of 256 entries", &large), ("check a block, of 1 entry", &small)] {
        let mut incoming: Vec<Incoming> = bytes(blocks).into_iter().map(Incoming::Bytes).collect();
        let mut signers = Signers::default();
        paths.insert(name, cost(all(blocks), || incoming.iter_mut().for_each(|block| block.check(&mut signers))));
        assert!(incoming.iter().all(|block| matches!(block, Incoming::Verified(_))));
    }
    for (name, blocks) in [("read a frame, blocks of 256", &large[..1]), ("read a frame, blocks of 1", &small)] {
        let message = Message::announce(bytes(blocks), 0);
        let sender = blocks[0].header().author;
        let frame = Envelope { message_id: [0; 16], sender, recipient: None, message }.encode();
        paths.insert(name, cost(all(blocks), || drop(Frame::read(frame).expect("a frame"))));
    }
    for (name, blocks) in
        [("take in and store in SQLite, blocks of 256", &large), ("take in and store in SQLite, blocks of 1", &small)]
    {
        let place = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&place.path().join("ledger.db"), LEDGER).expect("a store");
        let mut machine = Machine::new(200, store);
        let inputs = vec![Input::import(0, bytes(blocks))];
        paths.insert(name, cost(all(blocks), || drop(machine.turn(inputs))));
        assert_eq!(machine.0.totals().entries, all(blocks) as u64);
    }
    {
        let mut machine = Machine::new(200, MemoryStore::default());
        let inputs = (0..1024).map(|n| Input::Append { token: n as u64, payloads: vec![payload(n)] }).collect();
        paths.insert("append, 1,024 at once", cost(1024, || drop(machine.turn(inputs))));
        assert_eq!(machine.0.totals().entries, 1024);
        let inputs = vec![Input::Append { token: 0, payloads: vec![payload(0)] }];
        paths.insert("append one", cost(1, || drop(machine.turn(inputs))));
    }
    for (name, blocks) in
        [("sync from one to the other, blocks of 256", &large), ("sync from one to the other, blocks of 1", &small)]
    {
        let mut a = Machine::new(200, MemoryStore::default());
        a.turn(vec![Input::import(0, bytes(blocks))]);
        let mut b = Machine::new(201, MemoryStore::default());
        paths.insert(name, cost(all(blocks), || exchange(&mut a, &mut b)));
        assert_eq!(b.0.totals().entries, all(blocks) as u64);
    }
    paths.insert(
        "show as JSON, blocks of 256",
        cost(256, || {
            let views = view::views(
                &large[0],
                &large[0].header().parents.first().copied().unwrap_or(large[0].hash()),
                &Keyring::default(),
            );
            views.iter().for_each(|view| drop(view::to_line(view).expect("a view is JSON")));
        }),
    );
    paths.insert("a live entry, after 200 by 2 authors", live_entry(200, 2));
    paths.insert("a live entry, after 20,000 by 100 authors", live_entry(20_000, 100));
    paths
}

fn recorded(text: &str) -> BTreeMap<String, Cost> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ' ').filter(|part| !part.is_empty());
        let cost = Cost { allocations: parts.next()?.parse().ok()?, bytes: parts.next()?.parse().ok()? };
        Some((parts.next()?.trim().to_owned(), cost))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn no_hot_path_allocates_more_than_it_did() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/counts.txt");
    let now = paths();
    if env::var_os("CAIRN_RECORD").is_some() {
        let mut text = String::from("# allocations and allocated bytes for each entry, by path\n");
        for (name, Cost { allocations, bytes }) in &now {
            writeln!(text, "{allocations:.3} {bytes:.1} {name}").expect("a string takes text");
        }
        fs::write(&file, text).expect("the record can be written");
    }
    let before = recorded(&fs::read_to_string(&file).expect("there is a record"));
    let mut dearer = String::new();
    for (name, cost) in &now {
        let Some(before) = before.get(*name) else {
            writeln!(dearer, "{name} has no record").expect("a string takes text");
            continue;
        };
        println!(
            "{name}: {:.2} allocations, {:.0} bytes (recorded: {:.2}, {:.0})",
            cost.allocations, cost.bytes, before.allocations, before.bytes
        );
        for (what, cost, before) in
            [("allocations", cost.allocations, before.allocations), ("bytes", cost.bytes, before.bytes)]
        {
            if cost > before * DEARER + ROUNDED {
                writeln!(dearer, "{name}: {cost:.2} {what} for each entry, {before:.2} were recorded")
                    .expect("a string takes text");
            }
        }
    }
    assert!(dearer.is_empty(), "what costs more than it did:\n{dearer}");
}

#[test]
fn a_live_entry_costs_the_same_after_any_history() {
    let (short, long) = (live_entry(200, 2), live_entry(20_000, 100));
    assert!(
        long.allocations <= short.allocations + 8.0,
        "{} allocations after 200 entries, {} after 20,000",
        short.allocations,
        long.allocations
    );
}
