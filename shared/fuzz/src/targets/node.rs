//! What the native node reads: events of clients, settings, files, and the rows of its database.

use std::{cell::OnceCell, fs, path::PathBuf, sync::OnceLock};

use node::{
    blocks::{FileError, Reader, split_batch},
    config::{Layer, RelayUrl, Settings},
    control::ControlFile,
    keys::{NodeKey, Opener},
    socketio,
    store::SqliteStore,
};
use rusqlite::{Connection, types::Value};
use shared::{Input, LedgerId, Replica, limits::ENCODED_BLOCK_BYTES};

use super::rows::{live, read};
use crate::{
    allocation::at_most,
    choices::Choices,
    made::{self, START, at, config as replica_config, data, ledger},
};

thread_local! {
    /// A directory for this thread's files.
    static DIRECTORY: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

fn file(name: &str) -> PathBuf {
    DIRECTORY.with(|directory| {
        directory.get_or_init(|| tempfile::tempdir().expect("a directory for files")).path().join(name)
    })
}

/// Writes a file as its owner would; returns its place.
fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = file(name);
    fs::write(&path, bytes).expect("a file can be written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file has a mode");
    }
    path
}

pub(super) const EVENT_WORDS: &[&[u8]] = &[
    b"[\"message\",",
    b"[\"ping\"]",
    b"[\"message-with-ack\",1]",
    b"[\"add_ledger_entry\",",
    b"[\"append_many\",[",
    b"[\"get_ledger\",{",
    b"[\"get_entry\",{\"id\":\"",
    b"[\"subscribe\",{\"cursor\":",
    b"[\"get_status\"]",
    b"[\"get_blocks\",{\"places\":[[\"",
    b"[\"get_history\",{\"from\":",
    b"[\"search\",{\"query\":\"",
    b"[\"create_ledger\",{\"name\":\"",
    b"[\"join_ledger\",{\"token\":\"",
    b"[\"backup_key\",{\"passphrase\":\"",
    b"\"limit\":",
    b"\"after\":",
    b"\"keep_live\":true",
    b"null",
    b"[[[[[[[[[[[[[[[[[[[[[[[[",
    b"\\ud83d",
    b"1e400",
    b"p2p_message",
    b"\xff",
];

/// An event of a Socket.IO client as text.
pub(super) fn event(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // A client's event of "1,1,1…" makes a pointer and a length of every two bytes.
    let result = at_most(64 * 1024 + 32 * text.len(), "an event", || socketio::check_event(&text));
    if let Err(error) = result {
        let said = error.to_string();
        assert!(said.len() < 1_000, "an error of {} bytes", said.len());
        assert!(!error.code().is_empty());
    }
}

pub(super) const CONFIG_WORDS: &[&[u8]] = &[
    b"relay = ",
    b"listen = \"",
    b"ledger = \"",
    b"data = \"",
    b"[\"",
    b"wss://",
    b"http://",
    b"@",
    b"?",
    b":99999",
    b"[::1]:0",
    b"\"\"\"",
    b"'''",
    b"[[[[[[[[",
    b"{a=",
    b"\\u0000",
    b"1979-05-27",
    b"0x",
    b"inf",
    b"\xff",
    b"#",
    b"\n",
];

/// A configuration file, the environment, and addresses of relays.
pub(super) fn config(bytes: &[u8]) {
    let path = written("cairn.toml", bytes);
    if let Ok(settings) = Settings::resolve(Layer::default(), Layer::default(), Some(&path)) {
        check(&settings);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let mut values = ["CAIRN_RELAY", "CAIRN_LEDGER", "CAIRN_DATA", "CAIRN_LISTEN"].map(|name| (name, lines.next()));
    // The data directory must not be one of this machine's.
    values[2].1 = values[2].1.map(|_| "no/such/directory");
    let variable = |name: &str| values.iter().find(|(n, _)| *n == name).and_then(|(_, value)| value.map(str::to_owned));
    if let Ok(settings) =
        Settings::resolve(Layer::default(), Layer::from_environment(variable), Some(&written("empty.toml", b"")))
    {
        check(&settings);
    }
    for line in text.lines() {
        match line.parse::<RelayUrl>() {
            Ok(relay) => {
                assert_eq!(relay.to_string().parse::<RelayUrl>().ok().as_ref(), Some(&relay), "{relay}");
                assert!(relay.room(&ledger()).starts_with("ws"));
            }
            Err(error) => assert!(error.to_string().len() < 2_000, "an error of {} bytes", error.to_string().len()),
        }
    }
}

fn check(settings: &Settings) {
    assert!(settings.relays.len() <= 16);
    assert!(settings.ledger.as_ref().is_none_or(|name| (1..=200).contains(&name.len())));
}

/// A file of blocks, and a batch of them.
pub(super) fn blocks_file(bytes: &[u8]) {
    // The buffer for a block is as long as a block may be, or as the file says, if that is less.
    let allowed = ENCODED_BLOCK_BYTES.max(64 * 1024 + 64 * bytes.len());
    at_most(allowed, "a file of blocks", || {
        let here: LedgerId = ledger();
        let Ok(mut reader) = Reader::new(bytes, &here) else { return };
        let mut count = 0;
        loop {
            match reader.next_block() {
                Ok(Some((number, block))) => {
                    count += 1;
                    assert_eq!((number, block.header().ledger), (count, here));
                }
                Ok(None) => break,
                Err(FileError::Block { number, .. }) => count = number,
                Err(_) => return,
            }
        }
        assert!(matches!(reader.next_bytes(), Ok(None)), "the end is not the end");
    });
    if let Ok(blocks) = split_batch(bytes) {
        let len: usize = blocks.iter().map(|block| block.len() + 4).sum();
        assert_eq!(len, bytes.len());
    }
}

pub(super) const CONTROL_WORDS: &[&[u8]] = &[
    b"{\"address\":\"",
    b"127.0.0.1:1",
    b"[::1]:65535",
    b"\",\"token\":\"",
    b"cairn node key 1 ",
    b"\n",
    b"\xff",
    b"null",
    b"{\"seq\":",
    b"\"entries\":[",
];

/// The file by which commands find a node, and the file of a key.
pub(super) fn control(bytes: &[u8]) {
    let path = written("control.json", bytes);
    if let Ok(Some(control)) = ControlFile::load(&path) {
        control.save(&path).expect("a file can be written");
        let again = ControlFile::load(&path).expect("what was written reads back");
        assert_eq!(again.map(|again| again.address), Some(control.address));
        assert!(!format!("{control:?}").contains("\"token\""));
    }
    if let Ok(Some(key)) = NodeKey::load(&written("node.key", bytes), &Opener::default()) {
        assert_eq!(format!("{key:?}"), "NodeKey(…)");
    }
}

/// A database as a node leaves it.
fn database() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory for files");
        let path = directory.path().join("ledger.db");
        let store = SqliteStore::open(&path, "fuzz").expect("a new store opens");
        let mut effects = Vec::new();
        let opened = Replica::restore(replica_config(0, true, 1), store, &[], at(START), &mut effects);
        let Ok(mut replica) = opened else { panic!("an empty store opens") };
        let lie = |payload: &[u8]| made::block(4, 1, START, Vec::new(), data(payload)).bytes().to_vec();
        let inputs = [
            Input::Append { token: 1, payloads: vec![b"1".to_vec(), b"2".to_vec()] },
            Input::import(0, vec![lie(b"\"one\"")]),
            Input::Append { token: 1, payloads: vec![b"3".to_vec()] },
            Input::import(0, vec![lie(b"\"other\"")]),
        ];
        for input in inputs {
            replica.handle(at(START), input, &mut effects).expect("a new store works");
            replica.commit(at(START), &mut effects).expect("a new store works");
        }
        replica.checkpoint().expect("a new store works");
        replica.store().checkpoint().expect("a new store works");
        drop(replica);
        fs::read(&path).expect("a file can be read")
    })
}

/// Rows that no node wrote, in the node's database.
pub(super) fn sqlite_rows(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let path = file("ledger.db");
    for suffix in ["db-wal", "db-shm"] {
        // They are there only after a run that ended early.
        drop(fs::remove_file(path.with_extension(suffix)));
    }
    fs::write(&path, database()).expect("a file can be written");
    {
        let connection = Connection::open(&path).expect("SQLite opens what it wrote");
        connection.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;").expect("SQLite takes its settings");
        for _ in 0..=choices.below(5) {
            spoil(&connection, &mut choices);
        }
        drop(connection.execute_batch("PRAGMA journal_mode = WAL;"));
    }
    let Ok(store) = SqliteStore::open(&path, "fuzz") else { return };
    read(store.as_reader(), &mut choices);
    drop((store.as_reader().size(), store.as_reader().last_seq(), store.as_reader().node()));
    live(store, &mut choices);
}

fn value(choices: &mut Choices<'_>) -> Value {
    match choices.below(4) {
        0 => Value::Integer(choices.number() as i64),
        1 => Value::Blob(choices.bytes(64).to_vec()),
        2 => Value::Text(String::from_utf8_lossy(choices.bytes(20)).into_owned()),
        _ => Value::Blob(choices.array::<32>().to_vec()),
    }
}

/// One statement; those that the schema does not allow do nothing.
fn spoil(connection: &Connection, choices: &mut Choices<'_>) {
    const COLUMNS: &[&str] = &["seq", "author", "height", "timestamp", "hash", "entries", "bytes"];
    const KEYS: &[&str] = &["ledger", "checkpoint", "frozen", "rebuild", "repair", "node.ledger", "node.key"];
    let row = choices.below(6) as i64;
    let done = match choices.below(6) {
        0 | 1 => {
            let column = COLUMNS[choices.below(COLUMNS.len())];
            connection.execute(&format!("UPDATE blocks SET {column} = ?1 WHERE seq = ?2"), (value(choices), row))
        }
        2 => {
            let key = KEYS[choices.below(KEYS.len())];
            connection.execute("UPDATE meta SET value = ?1 WHERE key = ?2", (value(choices), key))
        }
        3 => connection.execute("UPDATE authors SET key = ?1 WHERE id = ?2", (value(choices), row)),
        4 => connection.execute("DELETE FROM blocks WHERE seq = ?1", [row]),
        _ => {
            let values: [Value; 7] = std::array::from_fn(|_| value(choices));
            connection
                .execute("INSERT INTO blocks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", rusqlite::params_from_iter(values))
        }
    };
    drop(done);
}
