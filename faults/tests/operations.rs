//! Every operation on the disk fails once, in every way: nothing is acknowledged or shown after it, the node says so with
//! its exit code, and the next start has all that was.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use faults::disk::{self, Failure};
use node::{
    cli,
    data::DataDir,
    host::{Event, Host},
    salvage::examine,
    store::SqliteStore,
};
use serde_json::Value;
use shared::{Config, Entry, Header, Input, Key, Kind, Replica, Timestamp, VerifiedBlock, block::open_ledger};
use tokio::runtime;

/// Nothing was said after a failure.
const EX_IOERR: u8 = 74;
const FAILURES: [Failure; 5] = [Failure::Error, Failure::ErrorAfter, Failure::Full, Failure::FullAfter, Failure::Gone];

/// One disk for the whole process.
static ONE: Mutex<()> = Mutex::new(());

/// Entry id → entry hash, of everything that the node acknowledged or showed.
type Seen = BTreeMap<String, String>;

fn note(seen: &mut Seen, entry: &str) {
    let entry: Value = serde_json::from_str(entry).unwrap();
    let [id, hash] = ["id", "hash"].map(|field| entry[field].as_str().unwrap().to_owned());
    let before = seen.insert(id.clone(), hash.clone());
    assert!(before.is_none_or(|before| before == hash), "{id} was signed twice");
}

/// What ended a run.
#[derive(Debug)]
enum Ended {
    /// All of the script was done.
    Well,
    /// A failure: its exit code, and what it says.
    Failed(u8, String),
}

/// Opens the directory, appends, takes in blocks of others, and stops. What is acknowledged or shown is noted.
fn script(directory: &Path, foreign: &[Vec<u8>], seen: &mut Seen) -> Ended {
    let opened = match DataDir::new(directory).lock().and_then(|locked| locked.open(Some("garden"))) {
        Ok(opened) => opened,
        Err(error) => return failed(error.into()),
    };
    let (host, mut thread) = match Host::start(opened) {
        Ok(started) => started,
        Err(error) => return failed(error.into()),
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut events = host.events();
        for turn in 0..3 {
            let payloads = (0..=turn).map(|n| format!("[{turn},{n}]").into_bytes()).collect();
            let before = disk::has_failed();
            let Ok(pending) = host.append(payloads).await else { break };
            let Ok(entries) = pending.await else { break };
            assert!(before || !disk::has_failed(), "an append was acknowledged after a failure");
            entries.unwrap().iter().for_each(|entry| note(seen, entry.json().get()));
            let before = disk::has_failed();
            if turn == 1 && host.import(foreign.to_vec()).await.is_ok() {
                assert!(before || !disk::has_failed(), "an import was acknowledged after a failure");
            }
        }
        host.stop();
        let result = thread.ended().await;
        // What was shown to anyone.
        while let Ok(event) = events.try_recv() {
            if let Event::Added { block, .. } = event {
                block.entries().iter().for_each(|entry| note(seen, entry.get()));
            }
        }
        match result {
            Ok(()) => Ended::Well,
            Err(error) => failed(error.into()),
        }
    })
}

fn failed(failure: cli::Failure) -> Ended {
    Ended::Failed(failure.code(), failure.to_string())
}

/// Two blocks that somebody else wrote.
fn foreign() -> Vec<Vec<u8>> {
    let key = Key::from_secret(&[9; 32]);
    let author = key.node();
    let mut parents = Vec::new();
    let mut block = |height: u64| {
        let timestamp = Timestamp::from_micros(1_000_000 * height).unwrap();
        let header = Header { ledger: open_ledger("garden"), author, height, timestamp, parents: parents.clone() };
        let block = VerifiedBlock::sign(header, vec![Entry::new(Kind::DATA, [1; 16], b"7".to_vec())], &key);
        parents = vec![block.hash()];
        block.bytes().to_vec()
    };
    vec![block(1), block(2)]
}

/// Every entry of the store, as the node shows it.
fn stored(directory: &Path) -> Seen {
    let reader = DataDir::new(directory).reader().unwrap();
    let entries = shared::view::after(&reader, None, 10_000, &shared::Keyring::default()).unwrap();
    entries.into_iter().map(|entry| (entry.id, entry.hash)).collect()
}

#[test]
fn an_operation_that_fails_is_the_last_thing_that_a_node_does() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    disk::install();
    let foreign = foreign();
    for failure in FAILURES {
        let (mut failures, mut acked, mut survived) = (0, 0, 0);
        let mut unnoticed: BTreeMap<&str, usize> = BTreeMap::new();
        for n in 1.. {
            let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let mut seen = Seen::new();
            disk::fail_at(n, failure);
            let ended = script(directory.path(), &foreign, &mut seen);
            let Some(operation) = disk::heal() else {
                assert!(matches!(ended, Ended::Well), "without a failure: {ended:?}");
                break;
            };
            failures += 1;
            acked += seen.len();
            // Closing a file that is not needed any more may fail without a word; all else ends the node.
            match ended {
                Ended::Failed(code, what) => assert_eq!(code, EX_IOERR, "{failure:?} at operation {n}: {what}"),
                // SQLite keeps to itself that it could not remove or look at a log that nobody needs any more.
                Ended::Well => {
                    assert!(["delete", "size"].contains(&operation), "{operation} failed unnoticed");
                    survived += 1;
                    *unnoticed.entry(operation).or_insert(0) += 1;
                    assert!(seen.len() == 8, "{failure:?} at operation {n} passed unnoticed: {seen:?}");
                }
            }
            // The next start has it all, and goes on.
            let mut again = seen.clone();
            let ended = script(directory.path(), &foreign, &mut again);
            assert!(matches!(ended, Ended::Well), "after {failure:?} at operation {n}: {ended:?}");
            let here = stored(directory.path());
            for (id, hash) in &again {
                assert_eq!(here.get(id), Some(hash), "{failure:?} at operation {n}: {id} is lost");
            }
            let examined = examine(&DataDir::new(directory.path()).first().store(), None, |_, _, _| {}).unwrap();
            assert!(examined.is_clean(), "{failure:?} at operation {n}: {examined:?}");
        }
        assert!(failures > 50, "{failure:?}: only {failures} operations");
        println!(
            "operations pass failure={failure:?} operations={failures} acked={acked} survived={survived} {unnoticed:?}"
        );
    }
}

/// A replica over a new store, after `turns` large turns.
fn large(directory: &Path, turns: u64) -> Replica<SqliteStore> {
    let key = Key::from_secret(&[3; 32]);
    let config = Config { writes: true, ..Config::new(open_ledger("garden"), key, [1; 32]) };
    let store = SqliteStore::open(&directory.join("ledger.db"), "garden").unwrap();
    let now = Timestamp::from_micros(1_000_000).unwrap();
    let mut replica = Replica::restore(config, store, &[], now, &mut Vec::new()).unwrap();
    (0..turns).for_each(|_| assert!(large_turn(&mut replica)));
    replica
}

/// Whether a turn with much to write succeeds.
fn large_turn(replica: &mut Replica<SqliteStore>) -> bool {
    let now = Timestamp::from_micros(1_000_000).unwrap();
    let mut effects = Vec::new();
    let payloads = vec![vec![b'x'; 60_000]; 4];
    let result = replica
        .handle(now, Input::Append { token: 1, payloads }, &mut effects)
        .and_then(|()| replica.commit(now, &mut effects));
    result.is_ok()
}

#[test]
fn a_log_that_cannot_be_moved_into_the_file_ends_the_node_too() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    disk::install();
    let directory = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let written = |path: &Path| fs::metadata(path.join("ledger.db")).unwrap().len();
    // The turn that moves the log is the first one after which the file has grown much.
    let guard = directory();
    let mut replica = large(guard.path(), 0);
    let (new, mut turns) = (written(guard.path()), 0);
    while written(guard.path()) < new + 1_000_000 {
        assert!(large_turn(&mut replica));
        turns += 1;
        assert!(turns < 100, "the log is never moved");
    }
    drop(replica);
    let mut failures = 0;
    for n in (1..).step_by(40) {
        let guard = directory();
        let mut replica = large(guard.path(), turns - 1);
        disk::fail_at(n, Failure::Error);
        let well = large_turn(&mut replica);
        let failed = disk::heal();
        assert_eq!(well, failed.is_none(), "operation {n}, {failed:?}: a failure and an acknowledgement");
        if well {
            break;
        }
        failures += 1;
    }
    println!("operations pass of a turn that moves the log: failures={failures}");
    assert!(failures > 20, "{failures}");
}
