//! One conformance test over both stores, and what only the file can do.

use std::fs;

use proptest::prelude::*;
use shared::{Config, Effect, EntryId, Input, Key, MemoryStore, Replica, Timestamp, effect::Wish};

use super::*;

/// One step of a conformance run. Small ranges, so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    Append { author: u8, height: u64, time: u64, hash: u8, len: usize },
    Remove { hash: u8 },
    SetMeta { key: u8, value: Vec<u8> },
    Replace { seq: u64, hash: Option<u8> },
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8, 1..9u64, 0..6u64, any::<u8>(), 0..40usize)
            .prop_map(|(author, height, time, hash, len)| Step::Append { author, height, time, hash, len }),
        1 => any::<u8>().prop_map(|hash| Step::Remove { hash }),
        1 => (0..3u8, proptest::collection::vec(any::<u8>(), 0..9)).prop_map(|(key, value)| Step::SetMeta { key, value }),
        1 => (1..20u64, proptest::option::of(any::<u8>())).prop_map(|(seq, hash)| Step::Replace { seq, hash }),
        1 => Just(Step::Commit),
    ]
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

fn hash(n: u8) -> BlockHash {
    BlockHash::from_bytes([n; 32])
}

fn time(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn apply<S: Store>(store: &mut S, step: &Step, seq: &mut u64) {
    match step {
        Step::Append { author, height, time: at, hash: n, len } => {
            if store.summary(&hash(*n)).unwrap().is_some() {
                return;
            }
            *seq += 1;
            let summary = Summary {
                seq: *seq,
                hash: hash(*n),
                author: node(*author),
                height: *height,
                timestamp: time(*at),
                entries: u32::from(*n) + 1,
            };
            store.append(&summary, &vec![*n; *len]).unwrap();
        }
        Step::Remove { hash: n } => store.remove(&hash(*n)).unwrap(),
        Step::SetMeta { key, value } => store.set_meta(&format!("key {key}"), value).unwrap(),
        Step::Replace { seq: at, hash: n } => {
            // A number that was never given is not replaced, and no block is put in twice.
            if at > seq || n.is_some_and(|n| store.summary(&hash(n)).unwrap().is_some()) {
                return;
            }
            let summary = n.map(|n| Summary {
                seq: *at,
                hash: hash(n),
                author: node(n % 4),
                height: u64::from(n % 7) + 1,
                timestamp: time(u64::from(n % 6)),
                entries: 1,
            });
            store.replace(*at, summary.as_ref().map(|summary| (summary, &b"replaced"[..]))).unwrap();
        }
        Step::Commit => store.commit().unwrap(),
    }
}

/// Everything that a store can be asked, as text.
fn answers<S: ReadStore>(store: &S, page: Page) -> Vec<String> {
    let mut answers = Vec::new();
    let mut add = |answer: Result<Vec<Record>, S::Error>| answers.push(format!("{:?}", answer.unwrap()));
    for seq in [0, 3, 7, u64::MAX] {
        add(store.arrived(seq, page));
    }
    for author in 0..5 {
        for from in [0, 1, 4, u64::MAX] {
            add(store.lane(&node(author), from, page));
        }
    }
    add(store.after(None, page));
    add(store.before(None, page));
    for at in 0..7 {
        for n in [0, 100, 255] {
            let key = OrderKey { timestamp: time(at), hash: hash(n) };
            add(store.after(Some(&key), page));
            add(store.before(Some(&key), page));
        }
    }
    for n in 0..=255 {
        answers.push(format!("{:?}", store.summary(&hash(n)).unwrap()));
        answers.push(format!("{:?}", store.block(&hash(n)).unwrap()));
    }
    answers.extend((0..4).map(|key| format!("{:?}", store.meta(&format!("key {key}")).unwrap())));
    answers
}

fn opened() -> (tempfile::TempDir, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("ledger.db"), "garden").unwrap();
    (directory, store)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_give_the_same_answers(
        steps in proptest::collection::vec(step(), 0..60),
        blocks in 1..9usize,
        bytes in 0..100usize,
    ) {
        let (_guard, mut sqlite) = opened();
        let mut memory = MemoryStore::default();
        let (mut seq, mut other) = (0, 0);
        for step in &steps {
            apply(&mut sqlite, step, &mut seq);
            apply(&mut memory, step, &mut other);
        }
        for page in [Page { blocks, bytes }, Page::ONE, Page { blocks: 1000, bytes: usize::MAX }] {
            prop_assert_eq!(answers(&sqlite, page), answers(&memory, page));
        }
        sqlite.commit().unwrap();
        sqlite.as_reader().check_answers().unwrap();
        let reader = SqliteReader::open(sqlite.path()).unwrap();
        let page = Page { blocks, bytes };
        prop_assert_eq!(answers(&reader, page), answers(&memory, page));
    }
}

fn filled(store: &mut SqliteStore) {
    let mut seq = 0;
    for n in 0..200 {
        let step = Step::Append { author: n % 3, height: u64::from(n), time: u64::from(n), hash: n, len: 500 };
        apply(store, &step, &mut seq);
    }
    store.commit().unwrap();
}

#[test]
fn what_was_not_committed_is_not_there_afterwards() {
    let (guard, mut store) = opened();
    let mut seq = 0;
    let step = |n| Step::Append { author: 1, height: u64::from(n), time: 1, hash: n, len: 9 };
    apply(&mut store, &step(1), &mut seq);
    store.commit().unwrap();
    apply(&mut store, &step(2), &mut seq);
    apply(&mut store, &Step::SetMeta { key: 1, value: vec![1] }, &mut seq);
    let reader = SqliteReader::open(store.path()).unwrap();
    assert_eq!(reader.last_seq().unwrap(), 1);
    drop(store);
    let store = SqliteStore::open(&guard.path().join("ledger.db"), "garden").unwrap();
    assert!(store.summary(&hash(1)).unwrap().is_some());
    assert!(store.summary(&hash(2)).unwrap().is_none());
    assert!(store.meta("key 1").unwrap().is_none());
}

#[test]
fn a_snapshot_does_not_move() {
    let (_guard, mut store) = opened();
    let reader = SqliteReader::open(store.path()).unwrap();
    let (before, after) = reader
        .snapshot(|reader| {
            let before = reader.last_seq().unwrap();
            filled(&mut store);
            (before, reader.last_seq().unwrap())
        })
        .unwrap();
    assert_eq!((before, after), (0, 0));
    assert_eq!(reader.last_seq().unwrap(), 200);
}

#[test]
fn ledger_order_reads_by_the_index() {
    let (_guard, store) = opened();
    let cases = [
        (
            "SELECT * FROM blocks b WHERE (b.timestamp, b.hash) > (1, x'00') ORDER BY b.timestamp, b.hash",
            "blocks_by_time",
        ),
        ("SELECT * FROM blocks b WHERE b.author = 1 AND b.height >= 2 ORDER BY b.height, b.hash", "blocks_by_lane"),
    ];
    for (sql, index) in cases {
        let mut statement = store.reader.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> = statement.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        let plan = plan.join("; ");
        assert!(plan.contains(index), "{plan}");
        // Only what has one time (or height) is sorted, never the whole answer.
        assert!(!plan.contains("FOR ORDER BY"), "{plan}");
    }
}

#[test]
fn wrong_files_are_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let damaged = |error: &StoreError| error.is_damage();
    let version = |error: &StoreError| matches!(error, StoreError::Version { came: 3 });
    let foreign = |error: &StoreError| matches!(error, StoreError::Foreign { came: 7, .. });
    type Case = (&'static str, fn(&Path), fn(&StoreError) -> bool);
    let cases: [Case; 6] = [
        ("text", |path| fs::write(path, "this is no database, but it is long enough to look at").unwrap(), damaged),
        ("a newer version", |path| execute(path, "PRAGMA user_version = 3"), version),
        ("another program", |path| execute(path, "PRAGMA application_id = 7"), foreign),
        ("a lost table", |path| execute(path, "DROP TABLE meta"), damaged),
        ("a lost column", |path| execute(path, "ALTER TABLE blocks DROP COLUMN entries"), damaged),
        (
            "half of it",
            |path| {
                let file = fs::File::options().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2 / 4096 * 4096).unwrap();
            },
            damaged,
        ),
    ];
    for (name, break_it, expected) in cases {
        drop(fs::remove_file(&path));
        filled(&mut SqliteStore::open(&path, "garden").unwrap());
        break_it(&path);
        let before = fs::read(&path).unwrap();
        let error = SqliteStore::open(&path, "garden").expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
        assert!(fs::read(&path).unwrap() == before, "{name}: the file was changed");
    }
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Blocks of [`filled`] by their number `n`: the arrival number is one more, and `n % 3` says whose lane it is in.
const FIRST: u8 = 0;
const MIDDLE: u8 = 100;
const LAST: u8 = 199;

/// The ways in which a block is read.
const ALL: [&str; 6] = ["arrived", "after", "before", "lane", "summary", "block"];

/// The ways of reading that notice what some SQL did to a store; `n` is the block that is looked for.
fn noticed_by(n: u8, sql: &str) -> Vec<&'static str> {
    let (_guard, mut store) = opened();
    filled(&mut store);
    store.set_meta("key 1", b"value").unwrap();
    store.commit().unwrap();
    let path = store.path().to_owned();
    drop(store);
    execute(&path, sql);
    // Without what is checked once, when a store is opened.
    let reader = SqliteReader::open_damaged(&path).unwrap();
    let page = Page { blocks: 1000, bytes: usize::MAX };
    let answers = [
        ("arrived", reader.arrived(0, page).map(drop)),
        ("after", reader.after(None, page).map(drop)),
        ("before", reader.before(None, page).map(drop)),
        ("lane", reader.lane(&node(n % 3), 0, page).map(drop)),
        ("summary", reader.summary(&hash(n)).map(drop)),
        ("block", reader.block(&hash(n)).map(drop)),
        ("meta", reader.meta("key 1").map(drop)),
    ];
    let noticed = answers.into_iter().filter_map(|(way, answer)| Some((way, answer.err()?)));
    noticed.inspect(|(way, error)| assert!(error.is_damage(), "{sql}: {way}: {error}")).map(|(way, _)| way).collect()
}

#[test]
fn a_changed_row_is_noticed() {
    assert_eq!(noticed_by(MIDDLE, ""), [""; 0], "the test can fail");
    for change in ["entries = entries + 1", "height = height + 1000", "sum = zeroblob(16)", "links = zeroblob(24)"] {
        assert_eq!(noticed_by(MIDDLE, &format!("UPDATE blocks SET {change} WHERE seq = 101")), ALL, "{change}");
    }
    // A block ends with its signature, which its hash does not cover. A summary is read without it.
    let signature = "UPDATE blocks SET bytes = CAST(substr(bytes, 1, 499) || x'ff' AS BLOB) WHERE seq = 101";
    assert_eq!(noticed_by(MIDDLE, signature), ["arrived", "after", "before", "lane", "block"]);
}

#[test]
fn a_row_that_is_gone_is_noticed() {
    for n in [FIRST, MIDDLE, LAST] {
        assert_eq!(noticed_by(n, &format!("DELETE FROM blocks WHERE hash = x'{}'", hash(n))), ALL, "block {n}");
    }
    let author =
        "PRAGMA foreign_keys = OFF; DELETE FROM authors WHERE id = (SELECT author FROM blocks WHERE seq = 101)";
    assert_eq!(noticed_by(MIDDLE, author), ALL);
    // Another one in its place, with a hash that begins like its own: their number is right.
    let other = format!("UPDATE blocks SET hash = x'{}00' WHERE seq = 101", "64".repeat(31));
    assert_eq!(noticed_by(MIDDLE, &other), ALL);
    assert_eq!(noticed_by(MIDDLE, "DELETE FROM meta WHERE key = 'key 1'"), ["meta"]);
    let other = hex::encode(rows::small_sum("meta", b"key 2", b"value"));
    let other = format!("UPDATE meta SET key = 'key 2', sum = x'{other}' WHERE key = 'key 1'");
    assert_eq!(noticed_by(MIDDLE, &other), ["meta"]);
    assert_eq!(noticed_by(MIDDLE, "UPDATE meta SET value = x'00' WHERE key = 'key 1'"), ["meta"]);
}

/// What the store notes of itself has checksums too: here it fits what is missing, number by number.
#[test]
fn a_note_that_was_changed_is_noticed() {
    let gone = |n: u8| format!("DELETE FROM blocks WHERE seq = {}", u64::from(n) + 1);
    let cases = [
        (
            MIDDLE,
            "UPDATE blocks SET links = CAST(x'0000000000000064' || substr(links, 9) AS BLOB) WHERE seq = 102;
             UPDATE blocks SET links = CAST(substr(links, 1, 8) || x'0000000000000062' || substr(links, 17) AS BLOB)
             WHERE seq = 104",
        ),
        (MIDDLE, "UPDATE buckets SET value = CAST(zeroblob(40) || substr(value, 41) AS BLOB) WHERE id = 0x646"),
        (LAST, "UPDATE authors SET last = 197 WHERE last = 200"),
        (LAST, "UPDATE anchor SET value = CAST(x'00000000000000c700000000000000c7' || substr(value, 17) AS BLOB)"),
    ];
    for (n, note) in cases {
        assert_eq!(noticed_by(n, &format!("{}; {note}", gone(n))), ALL, "{note}");
    }
}

#[test]
fn another_ledger_and_no_file_are_named() {
    let (guard, store) = opened();
    drop(store);
    let error = SqliteStore::open(&guard.path().join("ledger.db"), "house").unwrap_err();
    assert!(matches!(error, StoreError::Ledger { .. }), "{error}");
    let error = SqliteReader::open(&guard.path().join("nothing.db")).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
}

/// The tables as version 1 had them.
const VERSION_1: &str = "
    CREATE TABLE authors (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE) STRICT;
    CREATE TABLE blocks (
        seq INTEGER PRIMARY KEY,
        author INTEGER NOT NULL REFERENCES authors (id),
        height INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        hash BLOB NOT NULL,
        entries INTEGER NOT NULL,
        bytes BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX blocks_by_hash ON blocks (hash);
    CREATE INDEX blocks_by_time ON blocks (timestamp);
    CREATE INDEX blocks_by_lane ON blocks (author, height);
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    PRAGMA application_id = 0x43414952; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;
";

#[test]
fn a_file_of_version_1_is_brought_up_to_date_all_of_it_or_nothing() {
    let (guard, mut store) = opened();
    filled(&mut store);
    store.remove(&hash(9)).unwrap();
    store.set_meta("key 1", b"value").unwrap();
    store.commit().unwrap();
    let old = guard.path().join("old.db");
    let connection = Connection::open(&old).unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    connection.execute("ATTACH ?1 AS new", [store.path().to_str().unwrap()]).unwrap();
    let copy = "INSERT INTO authors SELECT id, key FROM new.authors;
        INSERT INTO blocks SELECT seq, author, height, timestamp, hash, entries, bytes FROM new.blocks;
        INSERT INTO meta SELECT key, value FROM new.meta;";
    connection.execute_batch(copy).unwrap();
    drop(connection);
    assert!(matches!(SqliteReader::open(&old), Err(StoreError::Old)));
    let upgraded = SqliteStore::open(&old, "garden").unwrap();
    let page = Page { blocks: 1000, bytes: usize::MAX };
    assert_eq!(answers(&upgraded, page), answers(&store, page));
    upgraded.as_reader().check_answers().unwrap();
    assert_eq!(upgraded.as_reader().check_file().unwrap(), Vec::<String>::new());
    drop(upgraded);
    assert_eq!(SqliteReader::open(&old).unwrap().last_seq().unwrap(), 200);
}

/// Where a text is found in the files of a directory.
fn found(directory: &Path, text: &str) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let has = |path: &PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).contains(text);
    files.filter(has).map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// A replica over a file, with entries of many lengths, and the text that only entry `n` has.
fn marked(directory: &Path, count: u64) -> (Replica<SqliteStore>, impl Fn(u64) -> String + use<>) {
    let text = |n: u64| format!("do not keep word {n:06}");
    let store = SqliteStore::open(&directory.join("ledger.db"), "garden").unwrap();
    let config = Config { writes: true, ..Config::new(open_ledger("garden"), Key::from_secret(&[1; 32]), [2; 32]) };
    let mut replica = Replica::restore(config, store, &[], time(1), &mut Vec::new()).unwrap();
    for n in 0..count {
        // From a part of a page to many.
        let filling = "x".repeat((n as usize * 7919) % 9000);
        let payloads = vec![format!("\"{} {filling}\"", text(n)).into_bytes()];
        turn(&mut replica, 1_000 * (n + 1), Input::Append { token: 0, payloads });
    }
    (replica, text)
}

fn turn(replica: &mut Replica<SqliteStore>, micros: u64, input: Input) {
    let mut effects = Vec::new();
    replica.handle(time(micros), input, &mut effects).unwrap();
    replica.commit(time(micros), &mut effects).unwrap();
    let refused = |effect: &Effect| {
        matches!(effect, Effect::Granted { result: Err(_), .. } | Effect::Appended { result: Err(_), .. })
    };
    assert!(!effects.iter().any(refused), "{effects:?}");
}

fn erase(replica: &mut Replica<SqliteStore>, n: u64) {
    let entry = EntryId { author: replica.node(), height: n + 1, index: 0 };
    turn(replica, 1_000_000_000 + n, Input::Control { token: 0, wish: Wish::Erase { entry } });
}

#[test]
fn what_is_erased_is_in_no_file_any_more() {
    const COUNT: u64 = 80;
    let directory = tempfile::tempdir().unwrap();
    let (mut replica, text) = marked(directory.path(), COUNT);
    for n in 0..COUNT {
        assert!(!found(directory.path(), &text(n)).is_empty(), "the test can fail");
    }
    // One that waits in the log, one that is in the file, then all of them in no order.
    for n in [COUNT - 1, 0] {
        erase(&mut replica, n);
        assert_eq!(found(directory.path(), &text(n)), Vec::<String>::new());
    }
    for n in (1..COUNT - 1).map(|n| n * 97 % (COUNT - 1)).filter(|n| *n > 0) {
        assert!(!found(directory.path(), &text(n)).is_empty());
        erase(&mut replica, n);
        assert_eq!(found(directory.path(), &text(n)), Vec::<String>::new(), "{n}");
    }
    assert_eq!(found(directory.path(), "do not keep"), Vec::<String>::new());
    let reader = SqliteReader::open(&directory.path().join("ledger.db")).unwrap();
    reader.check_answers().unwrap();
    assert_eq!(reader.check_file().unwrap(), Vec::<String>::new());
    let scan = shared::repair::scan(&reader, &open_ledger("garden"), |_, _| {}).unwrap();
    assert!(scan.is_clean());
    assert_eq!(scan.blocks, 2 * COUNT);
    let entry = EntryId { author: replica.node(), height: 7, index: 0 };
    assert!(shared::view::entry(&reader, &entry, &shared::Keyring::default()).unwrap().erased.is_some());
}

#[test]
fn a_reader_in_the_way_only_puts_it_off() {
    let directory = tempfile::tempdir().unwrap();
    let (mut replica, text) = marked(directory.path(), 3);
    let reader = SqliteReader::open(&directory.path().join("ledger.db")).unwrap();
    reader.begin().unwrap();
    let began = std::time::Instant::now();
    erase(&mut replica, 1);
    assert!(began.elapsed() < BUSY, "nobody waits for a reader");
    assert!(!found(directory.path(), &text(1)).is_empty(), "what it reads is still there");
    drop(reader);
    // A turn with nothing to write.
    turn(&mut replica, 2_000_000_000, Input::Wake);
    assert_eq!(found(directory.path(), &text(1)), Vec::<String>::new());
}

#[test]
fn a_process_that_ends_right_after_the_commit_leaves_nothing_for_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let (mut replica, text) = marked(directory.path(), 3);
    let reader = SqliteReader::open(&directory.path().join("ledger.db")).unwrap();
    reader.begin().unwrap();
    erase(&mut replica, 2);
    // The files as they are when the process is killed.
    let killed = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-mark"] {
        fs::copy(directory.path().join(name), killed.path().join(name)).unwrap();
    }
    assert!(!found(killed.path(), &text(2)).is_empty());
    let store = SqliteStore::open(&killed.path().join("ledger.db"), "garden").unwrap();
    assert_eq!(found(killed.path(), &text(2)), Vec::<String>::new());
    assert_eq!(store.as_reader().last_seq().unwrap(), 4);
}
