//! Every command, with and without a node that serves the directory.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Stdio,
};

use node::blocks::Writer;
use serde_json::{Value, json};
use shared::{Block, Entry, Header, Key, Kind, Timestamp, VerifiedBlock, block::open_ledger, erase::Erase};

use crate::support::{Place, Served, eventually};

fn data(entries: &[Value]) -> Vec<Value> {
    entries.iter().map(|entry| entry["data"].clone()).collect()
}

/// The same story, alone or through a node.
fn commands_work(serve: impl Fn(&Place) -> Option<Served>) {
    let place = Place::new();
    let served = serve(&place);
    let ids = [
        place.run(&["append", "a \"text\""]).lines(),
        place.run(&["append", "--json", r#"{"b": [1, 2]}"#]).lines(),
        place.feed(&["append", "-"], b"one\n\ntwo\r\n").lines(),
        place.feed(&["append", "--json"], b"3\n\"four\"").lines(),
    ]
    .concat();
    let log = place.run(&["log", "--json"]).json();
    let expected = [json!("a \"text\""), json!({ "b": [1, 2] }), json!("one"), json!("two"), json!(3), json!("four")];
    assert_eq!(data(&log), expected);
    assert_eq!(log.iter().map(|entry| entry["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    assert_eq!(data(&place.run(&["log", "--json", "--limit", "2"]).json()), expected[4..]);
    assert_eq!(place.run(&["log"]).lines().len(), 6);

    let status = &place.run(&["status", "--json"]).json()[0];
    assert_eq!(status["totals"]["entries"], 6);
    assert_eq!(status["name"], "commons");
    assert_eq!(status["node"], log[0]["creator_node_id"]);
    assert!(place.run(&["status"]).stdout().contains("6 entries in 4 blocks"));
    assert_eq!(
        place.run(&["verify", "--json"]).json()[0],
        json!({
            "ok": true, "blocks": 4, "entries": 6, "erased": 0, "withheld": 0, "wrong": 0, "problems": [],
        })
    );

    place.run(&["export", "blocks"]).lines();
    let stdout = place.run(&["export", "-"]);
    assert_eq!(stdout.code(), 0);
    let other = Place::new();
    let served_there = serve(&other);
    let file = place.file("blocks");
    let import = other.run(&["import".as_ref(), file.as_os_str(), "--json".as_ref()]).json();
    assert_eq!(import[0], json!({ "added": 4, "known": 0, "parked": 0, "refused": 0 }));
    let import = other.feed(&["import", "-"], &fs::read(&file).unwrap());
    assert!(import.stdout().contains("0 blocks added, 4 were there"), "{}{}", import.stdout(), import.stderr());
    assert_eq!(other.run(&["log", "--json"]).json(), log);
    let there = &other.run(&["status", "--json"]).json()[0];
    assert_eq!((&there["digest"], &there["totals"]), (&status["digest"], &status["totals"]));
    for served in [served, served_there].into_iter().flatten() {
        assert_eq!(served.terminate(), 0);
    }
}

/// A file of blocks.
fn file(place: &Place, name: &str, blocks: &[&Block]) -> PathBuf {
    let mut writer = Writer::new(Vec::new(), &open_ledger("commons")).unwrap();
    blocks.iter().for_each(|block| writer.block(block.bytes()).unwrap());
    fs::write(place.file(name), writer.finish().unwrap()).unwrap();
    place.file(name)
}

#[test]
fn a_ledger_with_erased_entries_verifies_and_moves_as_any_other() {
    const SECRET: &str = "\"not to be kept\"";
    let key = Key::from_secret(&[9; 32]);
    let signed = |height, parents, entries| {
        let timestamp = Timestamp::from_micros(1_000 * height).unwrap();
        let header = Header { ledger: open_ledger("commons"), author: key.node(), height, timestamp, parents };
        VerifiedBlock::sign(header, entries, &key)
    };
    let entry = |kind, payload: &[u8]| Entry::new(kind, [1; 16], payload.to_vec());
    let said = signed(1, vec![], vec![entry(Kind::DATA, SECRET.as_bytes()), entry(Kind::DATA, b"2")]);
    let erase = Erase { block: said.hash(), entry: said.entry_id(0), power: None }.encode();
    let erase = signed(2, vec![said.hash()], vec![entry(Kind::ERASE, &erase)]);
    let place = Place::new();
    place.run(&["import".as_ref(), file(&place, "in", &[&said, &erase]).as_os_str()]).lines();
    let verified = |place: &Place| place.run(&["verify", "--json"]).json()[0].clone();
    let counts = |erased: u64, withheld: u64, entries: u64| {
        json!({
            "ok": true, "blocks": entries - 1, "entries": entries, "erased": erased, "withheld": withheld, "wrong": 0,
            "problems": [],
        })
    };
    assert_eq!(verified(&place), counts(1, 0, 3));
    assert!(place.run(&["verify"]).stdout().contains("1 of them have no payload any more"));
    let log = place.run(&["log", "--json"]).json();
    assert_eq!((&log[0]["data"], &log[0]["erased"]["by"]), (&Value::Null, &json!(key.node().to_string())));
    place.run(&["export", "out"]).lines();
    let exported = fs::read(place.file("out")).unwrap();
    assert!(!String::from_utf8_lossy(&exported).contains(SECRET));
    let other = Place::new();
    other.feed(&["import", "-"], &exported).lines();
    assert_eq!(other.run(&["log", "--json"]).json(), log);
    assert_eq!(verified(&other), counts(1, 0, 3));
    // Without its payload, and without an erase: another file fills it in.
    let third = Place::new();
    third.run(&["import".as_ref(), file(&third, "in", &[&said.strip()]).as_os_str()]).lines();
    assert_eq!(verified(&third), counts(0, 2, 2));
    assert_eq!(third.run(&["log", "--json"]).json()[0]["withheld"], true);
    third.run(&["import".as_ref(), file(&third, "in", &[&said]).as_os_str()]).lines();
    assert_eq!(verified(&third), counts(0, 0, 2));
    assert_eq!(third.run(&["log", "--json"]).json()[0]["data"], "not to be kept");
}

#[test]
fn commands_work_without_a_node() {
    commands_work(|_| None);
}

#[test]
fn commands_work_through_a_node() {
    commands_work(|place| Some(place.serve(&["--ledger", "commons"])));
}

#[test]
fn a_follower_sees_every_entry_once_across_the_life_of_nodes() {
    let place = Place::new();
    place.run(&["append", "before"]).lines();
    let mut command = place.command(&["log", "--follow", "--json", "--limit", "1"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["data"].clone();
    assert_eq!(next(), "before");
    place.run(&["append", "alone"]).lines();
    assert_eq!(next(), "alone");
    let served = place.serve::<&str>(&[]);
    place.run(&["append", "served"]).lines();
    assert_eq!(next(), "served");
    served.kill();
    let served = place.serve::<&str>(&[]);
    let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    place.feed(&["append", "--json", "-"], many.join("\n").as_bytes()).lines();
    for n in 0..1000 {
        assert_eq!(next(), n);
    }
    assert_eq!(served.terminate(), 0);
    place.run(&["append", "after"]).lines();
    assert_eq!(next(), "after");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_directory_is_served_once() {
    let place = Place::new();
    let served = place.serve::<&str>(&[]);
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code(), 73);
    assert!(second.stderr().contains("is in use by another cairn process"), "{}", second.stderr());
    // Without a command it is the same command, and what was refused did no harm.
    assert_eq!(place.run(&["--listen", "127.0.0.1:0"]).code(), 73);
    assert_eq!(place.run(&["append", "still here"]).lines().len(), 1);
    assert_eq!(served.terminate(), 0);
}

#[test]
fn a_node_that_stops_leaves_everything_in_one_file() {
    let place = Place::new();
    let served = place.serve::<&str>(&[]);
    assert!(place.data().control().exists());
    place.run(&["append", "x"]).lines();
    assert_eq!(served.terminate(), 0);
    let names = |name: &str| fs::exists(place.data().path().join(name)).unwrap();
    assert_eq!(["control.json", "ledger.db-wal", "ledger.db"].map(names), [false, false, true]);
    assert_eq!(place.run(&["log"]).lines().len(), 1);
}

#[test]
fn a_node_that_was_killed_leaves_nothing_in_the_way() {
    let place = Place::new();
    place.serve::<&str>(&[]).kill();
    assert!(place.data().control().exists());
    assert_eq!(place.run(&["append", "alone"]).lines().len(), 1);
    assert!(!place.data().control().exists());
    let served = place.serve::<&str>(&[]);
    assert_eq!(place.run(&["log"]).lines().len(), 1);
    assert_eq!(served.terminate(), 0);
}

#[test]
fn settings_come_from_everywhere() {
    let place = Place::new();
    fs::write(place.file("c.toml"), "ledger = \"garden\"\nlisten = \"127.0.0.1:0\"\n").unwrap();
    place.run(&["--config", "c.toml", "append", "x"]).lines();
    let status = |arguments: &[&str]| place.run(arguments).json()[0]["name"].clone();
    assert_eq!(status(&["status", "--json"]), "garden");
    let mut command = place.command(&["status"]);
    let refused = command.env("CAIRN_LEDGER", "house").output().unwrap();
    assert_eq!(refused.status.code(), Some(66));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no ledger \"house\" here, but \"garden\""));
    fs::write(place.data().path().join("cairn.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    let served = place.serve::<&str>(&[]);
    eventually("a status", || served.client().status().ok());
    assert_eq!(status(&["status", "--json"]), "garden");
}

#[test]
fn limits_are_printed() {
    let place = Place::new();
    let table = place.run(&["--limits"]).stdout();
    assert!(table.contains("payload") && table.contains("65536 bytes"), "{table}");
    assert_eq!(place.run(&["limits"]).stdout(), table);
    let json = &place.run(&["limits", "--json"]).json()[0];
    assert_eq!(json[0], json!({ "name": "payload", "value": 65536, "unit": "bytes" }));
    assert!(!place.data().path().exists());
}

#[cfg(unix)]
#[test]
fn secrets_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let served = place.serve::<&str>(&[]);
    for path in [place.data().first().key(), place.data().control()] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(place.data().path()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(served.terminate(), 0);
    fs::set_permissions(place.data().first().key(), fs::Permissions::from_mode(0o644)).unwrap();
    let refused = place.run(&["append", "x"]);
    assert_eq!(refused.code(), 77);
    assert!(refused.stderr().contains("has mode 644, 600 is expected"), "{}", refused.stderr());
}

#[test]
fn no_secret_is_ever_logged() {
    let place = Place::new();
    let mut command = place.command(&["append", "the payload"]);
    let output = command.env("RUST_LOG", "trace").output().unwrap();
    assert!(output.status.success());
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.env("RUST_LOG", "trace").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let client = eventually("a control file", || {
        let file = node::control::ControlFile::load(&place.data().control()).ok()??;
        Some(node::control::client::ControlClient::new(file))
    });
    let client = client.of(shared::block::open_ledger("commons").to_string());
    let control = fs::read_to_string(place.data().control()).unwrap();
    let token = serde_json::from_str::<Value>(&control).unwrap()["token"].as_str().unwrap().to_owned();
    client.append(&["\"the payload\"".to_owned()]).unwrap();
    child.kill().unwrap();
    let log = String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned();
    let key = fs::read_to_string(place.data().first().key()).unwrap();
    let key = key.split_whitespace().last().unwrap();
    assert!(log.contains("append 1: 1 entries of 13 bytes"), "{log}");
    for secret in [key, &token, "the payload"] {
        assert!(!log.contains(secret));
    }
}
