//! Damage to a store that is closed: one bit, a cut, exchanged, emptied or stale pages. Whatever is read of it then is what
//! was there before, or an error.

use std::{collections::BTreeMap, fs, path::Path};

use node::{
    salvage::{examine, salvage},
    store::{SqliteReader, SqliteStore},
};
use shared::{
    BlockHash, Config, Effect, Entry, EntryId, Header, Input, Key, Keyring, Kind, LinkId, MemoryStore, NodeId,
    OrderKey, Page, ReadStore, Record, Replica, Role, Store, Timestamp, VerifiedBlock,
    block::open_ledger,
    ledger::stored_evidence,
    view::{self, Cursor},
};

use crate::{disk, rng::Rng};

const LEDGER: &str = "flips";
const NAMES: [&str; 3] = ["ledger.db", "ledger.db-wal", "ledger.db-mark"];
const ALL: Page = Page { blocks: usize::MAX, bytes: usize::MAX };
/// Turns of the node whose store it is.
const ROUNDS: usize = 20;
const ME: u8 = 1;
const LIAR: u8 = 4;
const MEMORY: &str = "a store in memory does not fail";

type Answer = Result<String, String>;

/// What became of damaged stores.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Damaged stores that were read.
    pub damaged: usize,
    /// Nothing was different.
    pub harmless: usize,
    /// It was opened, and an error was given instead of some answers.
    pub detected: usize,
    /// It was not opened.
    pub refused: usize,
    /// Of these last two, how many were repaired from a peer for a trial.
    pub repaired: usize,
    /// An answer was given that is not the truth.
    pub wrong: Vec<String>,
}

/// Files of one moment.
type Files = BTreeMap<&'static str, Vec<u8>>;

/// A store, whole, and all that can be read of it.
#[derive(Debug)]
pub struct World {
    /// After a clean stop, and after `kill -9` with much in the write-ahead log.
    states: [(Files, Vec<(String, Answer)>); 2],
    /// The database as it was earlier.
    earlier: Vec<u8>,
    blocks: Vec<Vec<u8>>,
}

fn key(n: u8) -> Key {
    Key::from_secret(&[n; 32])
}

fn id(n: u8) -> NodeId {
    key(n).node()
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap_or_default()
}

fn restore<S: Store>(n: u8, store: S, writes: bool, now: u64) -> Result<Replica<S>, String> {
    let config = Config { writes, ..Config::new(open_ledger(LEDGER), key(n), [n; 32]) };
    Replica::restore(config, store, &[], at(now), &mut Vec::new()).map_err(|error| error.to_string())
}

fn turn<S: Store>(replica: &mut Replica<S>, now: u64, inputs: Vec<Input>) -> Result<Vec<Effect>, String> {
    let mut effects = Vec::new();
    for input in inputs {
        replica.handle(at(now), input, &mut effects).map_err(|error| error.to_string())?;
    }
    replica.commit(at(now), &mut effects).map_err(|error| error.to_string())?;
    Ok(effects)
}

/// A block of somebody else.
fn block(author: u8, height: u64, micros: u64, parents: &[BlockHash], payload: &str) -> VerifiedBlock {
    let header = Header {
        ledger: open_ledger(LEDGER),
        author: id(author),
        height,
        timestamp: at(micros),
        parents: parents.to_vec(),
    };
    VerifiedBlock::sign(
        header,
        vec![Entry::new(Kind::DATA, [height as u8; 16], payload.as_bytes().to_vec())],
        &key(author),
    )
}

fn lane(author: u8, blocks: u64, start: u64) -> Vec<VerifiedBlock> {
    let mut lane: Vec<VerifiedBlock> = Vec::new();
    for height in 1..=blocks {
        let parents: Vec<BlockHash> = lane.last().map(|block| block.hash()).into_iter().collect();
        lane.push(block(author, height, start + height * 1000, &parents, &format!("\"{author} says {height}\"")));
    }
    lane
}

fn import<'a>(blocks: impl IntoIterator<Item = &'a VerifiedBlock>) -> Input {
    Input::import(0, blocks.into_iter().map(|block| block.bytes().to_vec()).collect())
}

fn files(directory: &Path) -> Files {
    NAMES.iter().filter_map(|name| Some((*name, fs::read(directory.join(name)).ok()?))).collect()
}

fn lay(directory: &Path, files: &Files) {
    fs::create_dir_all(directory).expect("the directory can be made");
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).expect("the file can be written");
    }
}

impl World {
    /// Makes a store with several lanes, bursts, large entries, blocks that came late, a fork, a void block, a checkpoint
    /// and blocks behind it.
    pub fn new(directory: &Path) -> World {
        disk::install();
        let path = directory.join("ledger.db");
        fs::create_dir_all(directory).expect("the directory can be made");
        let open = || SqliteStore::open(&path, LEDGER).expect("the store opens");
        // As a relay first, which vouches for nothing: the liar's blocks are void then.
        let mut store = open();
        store.set_node(&id(ME)).expect("the disk works");
        let mut relay = restore(ME, store, false, 1_000).expect("it starts");
        let lies = lane(LIAR, 6, 100_000);
        let other = block(LIAR, 5, 999_000, &[lies[3].hash()], "\"the other\"");
        turn(&mut relay, 2_000_000, vec![import(&lies)]).expect("it works");
        turn(&mut relay, 2_000_000, vec![import([&other])]).expect("it works");
        drop(relay);
        let mut me = restore(ME, open(), true, 2_000_000).expect("it starts");
        let (early, late) = (lane(2, ROUNDS as u64, 500_000), lane(3, ROUNDS as u64, 500_400));
        let mut now = 3_000_000;
        for round in 0..ROUNDS {
            now += 10_000;
            let payloads = match round % 10 {
                3 => (0..256).map(|n| format!("[{round},{n}]").into_bytes()).collect(),
                6 => vec![format!("\"{}\"", "long ".repeat(1500)).into_bytes()],
                _ => vec![format!("{{\"round\":{round}}}").into_bytes()],
            };
            // One lane in order, of the other the second half first, so that much comes late.
            let foreign = import([&early[round], &late[(round + ROUNDS / 2) % ROUNDS]]);
            turn(&mut me, now, vec![foreign, Input::Append { token: 1, payloads }]).expect("it works");
            if round == ROUNDS / 2 {
                me.checkpoint().expect("the disk works");
                me.store().checkpoint().expect("the disk works");
            }
        }
        turn(&mut me, now, vec![import(&late)]).expect("it works");
        let earlier = fs::read(&path).expect("the file is there");
        let killed = files(directory);
        drop(me);
        let clean = files(directory);
        let scratch = directory.join("truth");
        let mut blocks = Vec::new();
        let states = [clean, killed].map(|files| {
            lay(&scratch, &files);
            let truth = Truth::new(&scratch.join("ledger.db"));
            blocks.clone_from(&truth.blocks);
            let answers = truth.ask(&scratch.join("ledger.db")).expect("a whole store opens");
            assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "a whole store answers: {answers:?}");
            fs::remove_dir_all(&scratch).expect("the files can be removed");
            (files, answers)
        });
        World { states, earlier, blocks }
    }

    /// Bytes of the database and of the log.
    pub fn size(&self) -> (usize, usize) {
        let (files, _) = &self.states[1];
        (files[NAMES[0]].len(), files.get(NAMES[1]).map_or(0, Vec::len))
    }
}

/// What to ask a store, known from when it was whole.
#[derive(Debug, Clone)]
struct Truth {
    records: Vec<Record>,
    entries: Vec<EntryId>,
    blocks: Vec<Vec<u8>>,
}

/// What a record says, if it is what it claims to be: this is looked at before a record is shown or sent.
fn sound(record: &Record) -> Answer {
    view::decode_record::<String>(record).map_err(|error| error.to_string())?;
    Ok(format!("{:?} {:x?}", record.summary, record.bytes))
}

fn all(records: Result<Vec<Record>, impl ToString>) -> Answer {
    let records = records.map_err(|error| error.to_string())?;
    records.iter().map(sound).collect::<Result<Vec<_>, _>>().map(|answers| answers.join("\n"))
}

fn shown<T: std::fmt::Debug>(result: Result<T, impl ToString>) -> Answer {
    result.map(|value| format!("{value:?}")).map_err(|error| error.to_string())
}

impl Truth {
    fn new(path: &Path) -> Self {
        let reader = SqliteReader::open(path).expect("a whole store opens");
        let records = reader.arrived(0, ALL).expect("a whole store can be read");
        let ids = |record: &Record| {
            let (author, height) = (record.summary.author, record.summary.height);
            (0..record.summary.entries).map(move |index| EntryId { author, height, index }).collect::<Vec<_>>()
        };
        let entries = records.iter().flat_map(ids).collect();
        let blocks = records.iter().map(|record| record.bytes.clone()).collect();
        Self { records, entries, blocks }
    }

    /// Reads everything in all ways in which a node does. `Err`: the store is refused.
    fn ask(&self, path: &Path) -> Result<Vec<(String, Answer)>, String> {
        let reader = SqliteReader::open(path).map_err(|error| error.to_string())?;
        let mut answers = Vec::new();
        let mut add = |name: String, answer: Answer| answers.push((name, answer));
        add("ledger".into(), shown(reader.ledger()));
        add("node".into(), shown(reader.node()));
        add("last_seq".into(), shown(reader.last_seq()));
        add("newest".into(), shown(view::newest(&reader, 10_000, usize::MAX / 2, &Keyring::default())));
        add("from the beginning".into(), shown(view::after(&reader, None, 300, &Keyring::default())));
        for id in self.entries.iter().step_by(97) {
            add(format!("after {id}"), shown(view::after(&reader, Some(id), 40, &Keyring::default())));
            add(format!("entry {id}"), shown(view::entry(&reader, id, &Keyring::default())));
            add(format!("cursor {id}"), shown(view::cursor_behind(&reader, id.author, id)));
        }
        for seq in (0..self.records.len() as u64 + 3).step_by(11) {
            let cursor = Cursor { node: id(ME), seq, entries: u32::MAX };
            add(
                format!("arrived {seq}"),
                shown(view::arrived(&reader, cursor, 30, shared::limits::PAGE_BYTES, &Keyring::default())),
            );
        }
        add("rows".into(), all(reader.arrived(0, ALL)));
        for author in 0..6 {
            for from in [0, 1, 5, 20, 21] {
                add(format!("lane {author} {from}"), all(reader.lane(&id(author + 1), from, ALL)));
            }
            add(format!("evidence {author}"), shown(stored_evidence(&reader, &id(author + 1))));
        }
        for (n, record) in self.records.iter().enumerate() {
            let hash = record.summary.hash;
            add(format!("summary {n}"), shown(reader.summary(&hash)));
            add(
                format!("block {n}"),
                reader
                    .block(&hash)
                    .map_err(|e| e.to_string())
                    .and_then(|b| b.as_ref().map_or(Ok("none".into()), sound)),
            );
            if n % 9 == 0 {
                let key: OrderKey = record.summary.key();
                let page = Page { blocks: 7, bytes: usize::MAX };
                add(format!("behind {n}"), all(reader.after(Some(&key), page)));
                add(format!("before {n}"), all(reader.before(Some(&key), page)));
            }
            let absent = BlockHash::from_bytes(hash.as_bytes().map(|byte| byte ^ 1));
            add(format!("absent {n}"), shown(reader.summary(&absent)));
        }
        drop(reader);
        self.restart(path, &mut answers);
        Ok(answers)
    }

    /// Starts a replica over the store and gives all of it to a peer that has nothing.
    fn restart(&self, path: &Path, answers: &mut Vec<(String, Answer)>) {
        let store = SqliteStore::open(path, LEDGER).map_err(|error| error.to_string());
        let replica = store.and_then(|store| restore(ME, store, true, 9_000_000));
        let mut replica = match replica {
            Ok(replica) => replica,
            Err(error) => return answers.push(("restart".into(), Err(error))),
        };
        let memory = (replica.heads(), replica.digest(), replica.totals(), replica.frozen(), replica.last_seq());
        answers.push(("restart".into(), Ok(format!("{memory:?}"))));
        let mut peer = restore(9, MemoryStore::default(), false, 9_000_000).expect(MEMORY);
        let result = exchange(&mut replica, &mut peer);
        let got = peer.store().after(None, ALL).expect(MEMORY);
        let answer = match result {
            Ok(()) => Ok(format!("{:?}", got.iter().map(|record| record.summary.hash).collect::<Vec<_>>())),
            Err(error) => {
                // Up to the error, only what is true was sent.
                let known = |bytes: &Vec<u8>| self.blocks.contains(bytes);
                if got.iter().all(|record| known(&record.bytes)) { Err(error) } else { Ok("lies".into()) }
            }
        };
        answers.push(("peer".into(), answer));
    }
}

/// Links two replicas until nothing is to be said any more, or the first one fails.
fn exchange(a: &mut Replica<SqliteStore>, b: &mut Replica<MemoryStore>) -> Result<(), String> {
    let link = LinkId(1);
    let now = 9_000_000;
    let mut to_a = vec![Input::relay_opened(link, Role::Dialled)];
    let mut to_b = vec![Input::relay_opened(link, Role::Accepted)];
    loop {
        to_b.extend(frames(turn(a, now, std::mem::take(&mut to_a))?)?);
        to_a.extend(frames(turn(b, now, std::mem::take(&mut to_b)).expect(MEMORY))?);
        if to_a.is_empty() {
            return Ok(());
        }
    }
}

fn frames(effects: Vec<Effect>) -> Result<Vec<Input>, String> {
    let mut inputs = Vec::new();
    for effect in effects {
        match effect {
            Effect::Send { link, bytes } => inputs.push(Input::Frame { link, bytes }),
            Effect::Close { reason, .. } => return Err(format!("closed: {reason}")),
            _ => {}
        }
    }
    Ok(inputs)
}

/// Damages one file of a state in one way. Says how.
fn damage(world: &World, files: &mut Files, kind: Kinds, rng: &mut Rng) -> String {
    // The log is where a store that was killed has its newest blocks.
    let log = files.get(NAMES[1]).is_some_and(|log| !log.is_empty());
    let mark = kind == Kinds::Bits && rng.one_in(500);
    let name = if mark {
        NAMES[2]
    } else if log && rng.one_in(2) {
        NAMES[1]
    } else {
        NAMES[0]
    };
    let Some(file) = files.get_mut(name) else { return "nothing".to_owned() };
    let page = if name == NAMES[1] { 4096 + 24 } else { 4096 };
    let start = if name == NAMES[1] { 32 } else { 0 };
    let pages = (file.len() - start.min(file.len())) / page;
    let what = if kind == Kinds::Bits { 0 } else { 1 + rng.below(4) };
    match what {
        1 => {
            let len = if rng.one_in(2) { rng.below(file.len()) } else { rng.below(pages.max(1)) * page };
            file.truncate(len);
            format!("{name} cut to {len} bytes")
        }
        2 if pages > 1 => {
            let (a, b) = (rng.below(pages), rng.below(pages));
            for n in 0..page {
                file.swap(start + a * page + n, start + b * page + n);
            }
            format!("{name}: pages {a} and {b} exchanged")
        }
        3 if pages > 0 => {
            let a = rng.below(pages);
            file[start + a * page..start + (a + 1) * page].fill(0);
            format!("{name}: page {a} emptied")
        }
        4 if name == NAMES[0] && !log => {
            let a = rng.below(pages.min(world.earlier.len() / page).max(1));
            let range = a * page..(a + 1) * page;
            file[range.clone()].copy_from_slice(&world.earlier[range]);
            format!("{name}: page {a} as it was earlier")
        }
        _ => {
            let bit = rng.below(file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
            format!("{name}: bit {} of byte {} flipped", bit % 8, bit / 8)
        }
    }
}

impl Counts {
    /// The sum of two runs.
    pub fn and(mut self, other: Counts) -> Counts {
        self.damaged += other.damaged;
        self.harmless += other.harmless;
        self.detected += other.detected;
        self.refused += other.refused;
        self.repaired += other.repaired;
        self.wrong.extend(other.wrong);
        self
    }
}

/// Shares the work among as many threads as there are processors.
pub fn run_on_all(
    world: &World,
    directory: &Path,
    seed: u64,
    (count, kinds, trial): (usize, Kinds, usize),
    done: impl Fn() + Sync,
) -> Counts {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let done = &done;
    std::thread::scope(|scope| {
        let start = |n: usize| {
            let share = (count + n) / threads;
            // Far enough from each other that no two threads damage the same.
            let seed = seed + n as u64 * 1_000_000_000;
            scope.spawn(move || run(world, directory, seed, (share, kinds, trial), done))
        };
        let running: Vec<_> = (0..threads).map(start).collect();
        let counts = running.into_iter().map(|thread| thread.join().expect("no thread panics"));
        counts.fold(Counts::default(), Counts::and)
    })
}

/// How stores are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// One bit.
    Bits,
    /// Cuts and whole pages.
    Pages,
}

/// Damages the store `count` times, each time one thing, and compares all answers with the truth. Every `trial`-th store
/// that is not harmless is repaired from a peer.
pub fn run(
    world: &World,
    directory: &Path,
    seed: u64,
    (count, kinds, trial): (usize, Kinds, usize),
    mut done: impl FnMut(),
) -> Counts {
    let mut counts = Counts::default();
    let at = directory.join(format!("damaged-{seed}"));
    let path = at.join("ledger.db");
    let scratch = directory.join(format!("whole-{seed}"));
    lay(&scratch, &world.states[0].0);
    let whole = Truth::new(&scratch.join("ledger.db"));
    let mut bad = 0;
    for n in 0..count {
        let mut rng = Rng::new(seed.wrapping_add(n as u64).wrapping_mul(0x9e37_79b9));
        let (files, truth) = &world.states[rng.below(2)];
        let mut files = files.clone();
        let what = damage(world, &mut files, kinds, &mut rng);
        lay(&at, &files);
        counts.damaged += 1;
        let mut harmed = true;
        match whole.ask(&path) {
            Err(_) => counts.refused += 1,
            Ok(answers) => {
                let wrong = answers.iter().zip(truth).find(|((_, came), (_, truth))| came.is_ok() && came != truth);
                if let Some(((name, came), (_, truth))) = wrong {
                    let cut = |answer: &Answer| format!("{answer:?}").chars().take(200).collect::<String>();
                    let what = format!("seed {seed}, number {n}: {what}: {name}: {} for {}", cut(came), cut(truth));
                    counts.wrong.push(what);
                } else if answers.iter().all(|(_, answer)| answer.is_ok()) {
                    counts.harmless += 1;
                    harmed = false;
                } else {
                    counts.detected += 1;
                }
            }
        }
        if harmed {
            bad += 1;
            if bad % trial == 0 {
                lay(&at, &files);
                match repair(world, &path, truth) {
                    Ok(()) => counts.repaired += 1,
                    Err(error) => counts.wrong.push(format!("seed {seed}, number {n}: {what}: repair: {error}")),
                }
            }
        }
        fs::remove_dir_all(&at).expect("the files can be removed");
        done();
    }
    fs::remove_dir_all(&scratch).expect("the files can be removed");
    counts
}

/// Mends a damaged store and fetches from a peer that has all blocks what is missing; then it answers as before.
fn repair(world: &World, path: &Path, truth: &[(String, Answer)]) -> Result<(), String> {
    let examined = examine(path, Some(LEDGER), |_, _, _| {}).map_err(|error| error.to_string());
    // Of a newer version, as far as anyone can tell: nothing is done to such a file.
    let Ok(examined) = examined else { return Ok(()) };
    salvage(path, &examined, Some(&id(ME)), || {}).map_err(|error| error.to_string())?;
    let store = SqliteStore::open(path, LEDGER).map_err(|error| error.to_string())?;
    let mut replica = restore(ME, store, true, 9_000_000)?;
    let mut peer = restore(8, MemoryStore::default(), false, 9_000_000)?;
    let blocks = world.blocks.clone();
    turn(&mut peer, 9_000_000, vec![Input::import(0, blocks)]).expect(MEMORY);
    exchange(&mut replica, &mut peer)?;
    if replica.repairing() > 0 {
        return Err(format!("{} blocks did not come", replica.repairing()));
    }
    let hashes = |store: &dyn Fn() -> Result<Vec<Record>, String>| -> Result<Vec<BlockHash>, String> {
        Ok(store()?.iter().map(|record| record.summary.hash).collect())
    };
    let here = hashes(&|| replica.store().after(None, ALL).map_err(|error| error.to_string()))?;
    let there = hashes(&|| peer.store().after(None, ALL).map_err(|error| error.to_string()))?;
    if here != there {
        return Err(format!("{} blocks, the peer has {}", here.len(), there.len()));
    }
    drop(replica);
    let examined = examine(path, None, |_, _, _| {}).map_err(|error| error.to_string())?;
    if !examined.is_clean() {
        return Err(format!("not clean: {:?} {:?}", examined.problems, examined.scan));
    }
    // What does not hang on arrival is as it was.
    let reader = SqliteReader::open(path).map_err(|error| error.to_string())?;
    let newest = shown(view::newest(&reader, 10_000, usize::MAX / 2, &Keyring::default()));
    let before = truth.iter().find(|(name, _)| name == "newest").map(|(_, answer)| answer.clone());
    if Some(newest) == before { Ok(()) } else { Err("the ledger reads differently".to_owned()) }
}
