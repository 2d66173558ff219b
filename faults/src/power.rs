//! Loss of power at any moment: what was acknowledged is there afterwards, and the store is whole.

use std::{collections::BTreeMap, fs, path::Path};

use node::{
    salvage::examine,
    store::{SqliteReader, SqliteStore},
};
use shared::{
    BlockHash, Config, Effect, EntryId, Input, Key, NodeId, Page, ReadStore, Replica, Timestamp, block::open_ledger,
};

use crate::{disk, rng::Rng};

const LEDGER: &str = "power";
const START: u64 = 1_000_000_000_000;

/// How a run of a replica over a store came out.
#[derive(Debug, Default)]
struct Written {
    /// What was done while the store was made.
    creation: disk::Log,
    /// The new store.
    base: Vec<u8>,
    /// Operations that were recorded when an append was acknowledged, and its entries.
    acked: Vec<(usize, Vec<EntryId>)>,
    /// Operations that were recorded when the mark beside the store changed, and what it was then.
    marks: Vec<(usize, Vec<u8>)>,
}

/// What [`run`] did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Files that were laid as a loss of power leaves them.
    pub images: usize,
    /// Acknowledged entries that were looked for, over all images.
    pub acked: usize,
    /// Entries that were there without an acknowledgement, which is allowed.
    pub unacked: usize,
    /// Operations of the scripts.
    pub operations: usize,
}

fn replica(store: SqliteStore, seed: u8, now: u64) -> Replica<SqliteStore> {
    let key = Key::from_secret(&[5; 32]);
    let config = Config { writes: true, ..Config::new(open_ledger(LEDGER), key, [seed; 32]) };
    let now = Timestamp::from_micros(now).unwrap_or_default();
    Replica::restore(config, store, &[], now, &mut Vec::new()).expect("the store opens")
}

/// One turn with one append. Returns its entries.
fn append(replica: &mut Replica<SqliteStore>, now: u64, payloads: Vec<Vec<u8>>) -> Vec<EntryId> {
    let now = Timestamp::from_micros(now).unwrap_or_default();
    let mut effects = Vec::new();
    replica.handle(now, Input::Append { token: 1, payloads }, &mut effects).expect("the disk works");
    replica.commit(now, &mut effects).expect("the disk works");
    let appended = effects.into_iter().find_map(|effect| match effect {
        Effect::Appended { result: Ok(ids), .. } => Some(ids),
        _ => None,
    });
    appended.expect("the append is acknowledged")
}

/// Appends, moves the log into the file and starts again, as chance has it, and writes down what reaches the disk.
fn script(path: &Path, rng: &mut Rng) -> (disk::Log, Written) {
    let mut written = Written::default();
    let mut now = START;
    disk::record();
    drop(SqliteStore::open(path, LEDGER).expect("opens"));
    written.creation = disk::stop_recording();
    written.base = fs::read(path).expect("the file is there");
    disk::record();
    let mut open = None;
    for turn in 0..20 {
        now += 1_000;
        let mut running =
            open.take().unwrap_or_else(|| replica(SqliteStore::open(path, LEDGER).expect("opens"), turn, now));
        let payloads = (0..1 + rng.below(6)).map(|n| vec![b'a' + n as u8; 1 + rng.below(3000)]).collect();
        let ids = append(&mut running, now, payloads);
        written.acked.push((disk::recorded(), ids));
        let mark = fs::read(path.with_extension("db-mark")).expect("the mark is there");
        written.marks.push((disk::recorded(), mark));
        if rng.one_in(4) {
            running.store().checkpoint().expect("the disk works");
        }
        if rng.one_in(6) {
            running.checkpoint().expect("the disk works");
        }
        if !rng.one_in(5) {
            open = Some(running);
        }
    }
    // The last moments of a store that is still open matter too, so its end is not waited for.
    let log = disk::stop_recording();
    (log, written)
}

/// Lays `images` files as a loss of power may leave them, from `seed` on, and opens each.
///
/// # Panics
/// When something acknowledged is lost or a store is not whole: the message has the seed.
pub fn run(directory: &Path, seed: u64, images: usize, mut done: impl FnMut()) -> Counts {
    const IMAGES_OF_ONE_SCRIPT: usize = 100;
    disk::install();
    let mut counts = Counts::default();
    let mut script_seed = seed;
    while counts.images < images {
        let mut rng = Rng::new(script_seed);
        let path = directory.join(format!("script-{script_seed}")).join("ledger.db");
        let parent = path.parent().expect("it has one");
        fs::create_dir_all(parent).expect("the directory can be made");
        let (log, written) = script(&path, &mut rng);
        counts.operations += log.len();
        for image in 0..IMAGES_OF_ONE_SCRIPT.min(images - counts.images) {
            // Now and then power is lost while the store is made.
            if rng.one_in(10) {
                let at = directory.join("image");
                lay_new(&written.creation, &at, &mut rng);
                check(&at.join("ledger.db"), &written, 0, &format!("seed {script_seed}, while made"), &mut counts);
                fs::remove_dir_all(&at).expect("the image can be removed");
            }
            // Just before a sync the most is at stake.
            let syncs = log.syncs();
            let cut = if rng.one_in(3) { syncs[rng.below(syncs.len())] } else { rng.below(log.len() + 1) };
            let at = directory.join("image");
            lay(&log, &written, cut, &path, &at, &mut rng);
            let what = format!("seed {script_seed}, image {image}, after {cut} of {} operations", log.len());
            check(&at.join("ledger.db"), &written, cut, &what, &mut counts);
            counts.images += 1;
            fs::remove_dir_all(&at).expect("the image can be removed");
            done();
        }
        fs::remove_dir_all(parent).expect("the files can be removed");
        script_seed += 1;
    }
    counts
}

/// A store under its first name, before it is renamed.
fn lay_new(log: &disk::Log, at: &Path, rng: &mut Rng) {
    fs::create_dir_all(at).expect("the directory can be made");
    for (name, bytes) in log.after_power_loss(rng.below(log.len() + 1), &BTreeMap::new(), rng) {
        let name = name.file_name().expect("it has a name");
        if name.to_string_lossy().starts_with("ledger.db.new") && !name.to_string_lossy().ends_with("-shm") {
            fs::write(at.join(name), bytes).expect("the image can be written");
        }
    }
}

fn lay(log: &disk::Log, written: &Written, cut: usize, path: &Path, at: &Path, rng: &mut Rng) {
    fs::create_dir_all(at).expect("the directory can be made");
    let base = BTreeMap::from([(path.to_owned(), written.base.clone())]);
    for (name, bytes) in log.after_power_loss(cut, &base, rng) {
        // The index of the log in shared memory is no file that has to outlive anything.
        if name.extension().is_some_and(|extension| extension == "db-shm") {
            continue;
        }
        assert_eq!(name.parent(), path.parent(), "a file elsewhere");
        fs::write(at.join(name.file_name().expect("it has a name")), bytes).expect("the image can be written");
    }
    // The mark is never synced: it may be missing, or any that there was.
    let marks = written.marks.iter().filter(|(index, _)| *index <= cut).count();
    if marks > 0 && !rng.one_in(5) {
        let mark = if rng.one_in(2) { marks - 1 } else { rng.below(marks) };
        fs::write(at.join("ledger.db-mark"), &written.marks[mark].1).expect("the mark can be written");
    }
}

fn check(path: &Path, written: &Written, cut: usize, what: &str, counts: &mut Counts) {
    let store = SqliteStore::open(path, LEDGER).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut running = replica(store, 99, START + 1_000_000);
    let here = entries(running.store().as_reader());
    let mut acked = 0;
    for (_, ids) in written.acked.iter().filter(|(index, _)| *index <= cut) {
        for id in ids {
            assert!(here.contains_key(id), "{what}: {id} was acknowledged and is lost");
            acked += 1;
        }
    }
    counts.acked += acked;
    counts.unacked += here.len() - acked;
    // And on it goes.
    let next = append(&mut running, START + 1_000_001, vec![b"1".to_vec()]);
    assert!(!here.contains_key(&next[0]), "{what}: {} was signed twice", next[0]);
    drop(running);
    let examined = examine(path, None, |_, _, _| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(examined.is_clean(), "{what}: {examined:?}");
}

/// Every entry and its block.
fn entries(reader: &SqliteReader) -> BTreeMap<EntryId, BlockHash> {
    let page = Page { blocks: usize::MAX, bytes: usize::MAX };
    let records = reader.arrived(0, page).expect("the store can be read");
    let ids = |summary: &shared::Summary| {
        let (author, height, hash): (NodeId, u64, BlockHash) = (summary.author, summary.height, summary.hash);
        (0..summary.entries).map(move |index| (EntryId { author, height, index }, hash)).collect::<Vec<_>>()
    };
    records.iter().flat_map(|record| ids(&record.summary)).collect()
}
