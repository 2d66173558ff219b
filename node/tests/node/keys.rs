//! Keys with a passphrase, backups of keys, and what is for nobody but the owner.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::runtime::Runtime;

use crate::{
    hub::Hub,
    support::{Place, Ran, Served, eventually},
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A file with a passphrase, as an argument.
fn passphrase(place: &Place, text: &str) -> String {
    let path = place.file(&format!("passphrase-{}", text.len()));
    fs::write(&path, format!("{text}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs a command that gets a passphrase.
fn with(place: &Place, passphrase: &str, arguments: &[&str]) -> Ran {
    place.run(&[&["--passphrase-file", passphrase], arguments].concat())
}

#[track_caller]
fn refused(ran: &Ran, code: i32, what: &str) {
    assert_eq!(ran.code(), code, "{}", ran.stderr());
    assert!(ran.stderr().contains(what), "{}", ran.stderr());
}

fn node(place: &Place) -> String {
    place.run(&["status", "--json"]).json()[0]["node"].as_str().unwrap().to_owned()
}

/// Every key file of a place.
fn key_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name().into_string().unwrap());
        if path.is_dir() {
            files.extend(key_files(&path));
        } else if name.contains(".key") {
            files.push(path);
        }
    }
    files
}

fn is_sealed(path: &PathBuf) -> bool {
    fs::read_to_string(path).unwrap().starts_with("cairn node key 2 ")
}

#[test]
fn keys_get_a_passphrase_another_one_and_none() {
    let place = Place::new();
    refused(&place.run(&["key", "lock"]), 66, "there is no ledger in");
    place.run(&["append", "before"]).lines();
    place.run(&["init", "--open", "further"]).lines();
    let (old, new, short) =
        (passphrase(&place, "correct horse"), passphrase(&place, "battery staple"), passphrase(&place, "horse"));
    let node_id = node(&place);

    refused(&place.run(&["key", "lock"]), 78, "there is no terminal to ask for it");
    refused(&with(&place, &short, &["key", "lock"]), 78, "at least 8 are expected");
    refused(&with(&place, &old, &["key", "unlock"]), 2, "the keys have no passphrase");
    with(&place, &old, &["key", "lock"]).lines();
    let files = key_files(place.data().path());
    assert!(files.len() == 4 && files.iter().all(is_sealed), "{files:?}");
    refused(&with(&place, &old, &["key", "lock"]), 2, "have a passphrase already");

    // Nothing is needed for reading what is open.
    assert_eq!(place.run(&["log"]).lines().len(), 1);
    assert_eq!(place.run(&["verify"]).code(), 0);
    refused(&place.run(&["append", "x"]), 78, "is sealed: a passphrase is needed");
    refused(&with(&place, &new, &["append", "x"]), 78, "the passphrase is wrong");
    refused(&place.run(&["serve", "--listen", "127.0.0.1:0"]), 78, "is sealed: a passphrase is needed");
    assert!(with(&place, &old, &["append", "x"]).lines()[0].starts_with(&node_id));
    let mut command = place.command(&["append", "y"]);
    assert!(command.env("CAIRN_PASSPHRASE", "correct horse").output().unwrap().status.success());

    // A node that runs has opened them, and what it makes is sealed too.
    let served = place.serve(&["--passphrase-file", &old]);
    assert!(place.run(&["append", "through it"]).lines()[0].starts_with(&node_id));
    refused(&with(&place, &old, &["key", "unlock"]), 73, "is in use by another cairn process");
    assert_eq!(served.terminate(), 0);
    with(&place, &old, &["init", "--open", "third"]).lines();
    let files = key_files(place.data().path());
    assert!(files.len() == 6 && files.iter().all(is_sealed), "{files:?}");

    refused(&with(&place, &new, &["key", "passphrase", "--new-passphrase-file", &old]), 78, "the passphrase is wrong");
    with(&place, &old, &["key", "passphrase", "--new-passphrase-file", &new]).lines();
    refused(&with(&place, &old, &["append", "x"]), 78, "the passphrase is wrong");
    with(&place, &new, &["append", "x"]).lines();
    with(&place, &new, &["key", "unlock"]).lines();
    assert!(!key_files(place.data().path()).iter().any(is_sealed));
    assert!(place.run(&["append", "open again"]).lines()[0].starts_with(&node_id));
}

/// A restored place whose node was asked to write at once.
fn restored(backup: &str, passphrase_of: &str) -> Place {
    let place = Place::new();
    let given = passphrase(&place, passphrase_of);
    let wrong = passphrase(&place, "another passphrase");
    refused(&with(&place, &wrong, &["key", "restore", backup]), 78, "the passphrase is wrong");
    let lines = with(&place, &given, &["key", "restore", backup]).lines();
    assert!(lines[0].contains("restored as node"), "{lines:?}");
    refused(&place.run(&["append", "too early"]), 1, "this node's key was restored from a backup");
    assert_eq!(place.run(&["status", "--json"]).json()[0]["restoring"], true);
    // What is there is left alone.
    let before = key_files(place.data().path()).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    assert!(with(&place, &given, &["key", "restore", backup]).lines()[0].contains("is here already"));
    assert_eq!(key_files(place.data().path()).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), before);
    place
}

fn height(id: &str) -> u64 {
    id.split('-').nth(1).unwrap().parse().unwrap()
}

fn texts(place: &Place) -> Vec<String> {
    let entries = place.run(&["log", "--json"]).json();
    let data = entries.iter().filter(|entry| entry["kind"] == "data");
    let mut texts: Vec<String> = data.map(|entry| entry["data"].as_str().unwrap_or("?").to_owned()).collect();
    texts.sort();
    texts
}

/// Waits until a restored node writes, and returns the id of what it wrote.
fn write(place: &Place, text: &str) -> String {
    eventually("the lane to come", || {
        let ran = place.run(&["append", text]);
        (ran.code() == 0).then(|| ran.lines().swap_remove(0))
    })
}

fn held(served: &Served) {
    eventually("the hub to hold it", || (served.client().status().unwrap().held.nodes == 1).then_some(()));
}

#[test]
fn a_node_of_an_open_ledger_comes_back_from_a_backup_of_its_key() {
    let runtime = Runtime::new().unwrap();
    let hub_place = Place::new();
    let hub = runtime.block_on(Hub::start(hub_place.data().path(), ANY));
    let relay = ["--relay".to_owned(), format!("ws://{}", hub.address)];
    let place = Place::new();
    let given = passphrase(&place, "correct horse");
    place.run(&["append", "one"]).lines();
    let node_id = node(&place);
    let backup = place.file("backup");
    let backup = backup.to_str().unwrap();
    with(&place, &given, &["key", "backup", backup]).lines();
    refused(&with(&place, &given, &["key", "backup", backup]), 74, "exists");
    // The backup knows nothing of what comes after it.
    let served = place.serve(&relay);
    let last = place.feed(&["append", "-"], b"two\nthree\n").lines();
    held(&served);
    assert_eq!(served.terminate(), 0);

    let again = restored(backup, "correct horse");
    let served = again.serve(&relay);
    let after = write(&again, "four");
    assert_eq!((height(&after), after.starts_with(&node_id)), (height(last.last().unwrap()) + 1, true));
    let status = served.client().status().unwrap();
    assert!(!status.restoring && status.frozen.is_empty() && status.former_nodes.is_empty());
    assert_eq!(texts(&again), ["four", "one", "three", "two"]);
    assert_eq!(served.terminate(), 0);
    runtime.block_on(hub.stop());
}

#[test]
fn a_member_comes_back_from_a_backup_of_its_key_and_reads_what_was_sealed() {
    let runtime = Runtime::new().unwrap();
    let founder = Place::new();
    founder.run(&["init", "garden", "--nickname", "Ann"]).lines();
    founder.run(&["append", "of the founder"]).lines();
    let link = founder.run(&["invite", "--json", "--page", "http://127.0.0.1:3000/"]).json()[0]["link"].clone();
    // The founder's node takes links here.
    let hub = runtime.block_on(Hub::start(founder.data().path(), ANY));
    let relay = format!("ws://{}", hub.address);
    let place = Place::new();
    let given = passphrase(&place, "correct horse");
    place.run(&["join", link.as_str().unwrap(), "--relay", &relay]).lines();
    with(&place, &given, &["key", "lock"]).lines();
    let served = place.serve(&["--passphrase-file", &given]);
    place.run(&["append", "of the member"]).lines();
    let backup = place.file("backup");
    let backup = backup.to_str().unwrap();
    with(&place, &given, &["key", "backup", backup]).lines();
    let last = place.run(&["append", "later"]).lines();
    held(&served);
    let node_id = served.client().status().unwrap().node;
    assert_eq!(served.terminate(), 0);

    // The relay comes with the backup, and sealed keys come back sealed.
    let again = Place::new();
    let given = passphrase(&again, "correct horse");
    with(&again, &given, &["key", "restore", backup]).lines();
    assert!(key_files(again.data().path()).iter().all(is_sealed));
    refused(&with(&again, &given, &["append", "too early"]), 1, "this node's key was restored from a backup");
    let served = again.serve(&["--passphrase-file", &given]);
    let after = write(&again, "after");
    assert_eq!((height(&after), after.starts_with(&node_id)), (height(&last[0]) + 1, true));
    assert_eq!(texts(&again), ["after", "later", "of the founder", "of the member"]);
    assert!(served.client().status().unwrap().heads.iter().filter(|tip| tip.author == node_id).count() == 1);
    assert_eq!(served.terminate(), 0);
    runtime.block_on(hub.stop());
}

#[test]
fn a_backup_that_is_none_is_named() {
    let place = Place::new();
    let given = passphrase(&place, "correct horse");
    place.run(&["append", "x"]).lines();
    let backup = place.file("backup");
    with(&place, &given, &["key", "backup", backup.to_str().unwrap()]).lines();
    let good = fs::read_to_string(&backup).unwrap();
    let other = Place::new();
    for (text, code, what) in [
        (String::new(), 65, "it is not one line of"),
        (good.replace(" argon2id 65536", " argon2id 65537"), 65, "its checksum is wrong"),
        (good[..good.len() / 2].to_owned(), 65, "its checksum is wrong"),
    ] {
        let path = other.file("backup");
        fs::write(&path, text).unwrap();
        refused(&with(&other, &given, &["key", "restore", path.to_str().unwrap()]), code, what);
    }
    refused(&with(&other, &given, &["key", "restore", "nowhere"]), 74, "the backup nowhere cannot be used");
    refused(&other.run(&["key", "restore", backup.to_str().unwrap()]), 78, "there is no terminal");
    assert!(key_files(other.data().path()).is_empty());
}

/// The permission bits of a file or directory and of all that is in it.
#[cfg(unix)]
fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mut modes = vec![(path.to_owned(), fs::metadata(path).unwrap().permissions().mode() & 0o777)];
    if path.is_dir() {
        modes.extend(fs::read_dir(path).unwrap().flat_map(|entry| self::modes(&entry.unwrap().path())));
    }
    modes
}

#[cfg(unix)]
#[test]
fn nothing_in_a_data_directory_is_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let assert_shut = || {
        for (path, mode) in modes(place.data().path()) {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{}", path.display());
        }
    };
    let served = place.serve_elsewhere();
    place.run(&["append", "x"]).lines();
    place.run(&["init", "--open", "further"]).lines();
    let names: Vec<PathBuf> = modes(place.data().path()).into_iter().map(|(path, _)| path).collect();
    for name in
        ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-mark", "lock", "control.json", "client.token"]
    {
        assert!(names.contains(&place.data().path().join(name)), "{name} of {names:?}");
    }
    assert_shut();
    assert_eq!(served.terminate(), 0);

    // Earlier versions made files that everybody may read.
    for (path, _) in modes(place.data().path()) {
        let secret = path.extension().is_some_and(|end| end == "key" || end == "token");
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        if !secret {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "warn").stderr(Stdio::piped());
    let (_, told) = Served::start(command, place.data()).stop();
    assert!(told.contains("others could look into") && told.contains("ledger.db: from now on"), "{told}");
    assert_shut();
}

#[cfg(target_os = "linux")]
#[test]
fn a_node_that_serves_leaves_no_core_dump_and_lets_nobody_look_in() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let serve = |traceable: bool| {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stderr(Stdio::null());
        if traceable {
            command.env("CAIRN_TRACEABLE", "1");
        }
        let served = Served::start(command, place.data());
        let process = PathBuf::from(format!("/proc/{}", served.id()));
        let limits = fs::read_to_string(process.join("limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{line}");
        let owner = fs::metadata(process.join("status")).unwrap().uid();
        assert_eq!(served.terminate(), 0);
        owner
    };
    // What cannot be dumped belongs to root, and nobody else looks in. (For root itself there is no difference.)
    let me = fs::metadata(place.path()).unwrap().uid();
    assert_eq!([true, false].map(serve), [me, 0]);
}
