//! A table of bad input at every edge of the command line: each gets its error and its exit code, and changes nothing.

use std::{fs, io::Write, path::Path};

use rusqlite::Connection;
use serde_json::Value;
use shared::{Entry, Header, Kind, Timestamp, VerifiedBlock, block::open_ledger, limits};

use crate::support::Place;

#[test]
fn wrong_command_lines_and_settings() {
    let place = Place::new();
    fs::write(place.file("key.toml"), "relais = \"ws://a\"\n").unwrap();
    fs::write(place.file("syntax.toml"), "ledger = \n").unwrap();
    fs::write(place.file("huge.toml"), " ".repeat(70_000)).unwrap();
    let long = "x".repeat(300);
    let cases: &[(&[&str], &str)] = &[
        (&["frobnicate"], "unrecognized subcommand"),
        (&["--nonsense"], "unexpected argument"),
        (&["--relay", "ftp://a", "serve"], "its scheme is none of"),
        (&["serve", "--relay", "relay.example"], "it has no scheme"),
        (&["--listen", "3000"], "expected IP:PORT"),
        (&["--listen", "127.0.0.1:99999"], "expected IP:PORT"),
        (&["--ledger", "", "serve"], "expected 1 to 200 bytes"),
        (&["--ledger", &long, "append", "x"], "expected 1 to 200 bytes"),
        (&["--relay", "ws://a:1", "log"], "are for `cairn serve`"),
        (&["--allow-host", "a", "token"], "are for `cairn serve`"),
        (&["--allow-host", "https://a"], "expected a name or an address without a port"),
        (&["--allow-origin", "a.example"], "expected scheme, host and port of pages"),
        (&["--config", "none.toml"], "none.toml cannot be read"),
        (&["--config", "key.toml"], "unknown field `relais`"),
        (&["--config", "syntax.toml"], "TOML parse error"),
        (&["--config", "huge.toml"], "has 70000 bytes, limit is 65536"),
        (&["append", "--json", "{no json"], "not JSON"),
        (&["log", "--limit", "many"], "invalid value"),
    ];
    for (arguments, what) in cases {
        let ran = place.run(arguments);
        assert_eq!(ran.code(), 2, "{arguments:?}: {}", ran.stderr());
        assert!(ran.stderr().contains(what), "{arguments:?}: {}", ran.stderr());
    }
    assert!(!place.data().path().exists(), "something was made");
}

#[test]
fn commands_that_need_a_ledger_make_none() {
    let place = Place::new();
    for arguments in [&["log"][..], &["status"], &["verify"], &["export", "-"], &["log", "--follow"]] {
        let ran = place.run(arguments);
        assert_eq!(ran.code(), 66, "{arguments:?}: {}", ran.stderr());
        assert!(ran.stderr().contains("there is no ledger in"), "{}", ran.stderr());
    }
    assert!(!place.data().first().store().exists());
}

#[test]
fn entries_over_a_limit_leave_no_trace() {
    let place = Place::new();
    place.run(&["append", "x"]).lines();
    let large = "x".repeat(70_000);
    for served in [false, true] {
        let node = served.then(|| place.serve::<&str>(&[]));
        let before = place.run(&["log", "--json"]).stdout();
        let cases: &[(&[&str], &[u8], i32, &str)] = &[
            (&["append", &large], b"", 1, "payload of 70002 bytes, limit is 65536"),
            (&["append", "-"], large.as_bytes(), 65, "line 1 of the input: more than 65536 bytes"),
            (&["append", "--json"], b"\n{no json\n", 65, "line 2 of the input: not JSON"),
            (&["append", "-"], b"\xff\xfe\n", 65, "line 1 of the input: not UTF-8"),
        ];
        for (arguments, input, code, what) in cases {
            let ran = place.feed(arguments, input);
            assert_eq!(ran.code(), *code, "{}", ran.stderr());
            assert!(ran.stderr().contains(what), "{what}: {}", ran.stderr());
        }
        assert_eq!(place.run(&["log", "--json"]).stdout(), before);
        if let Some(node) = node {
            assert_eq!(node.terminate(), 0);
        }
    }
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn filled() -> Place {
    let place = Place::new();
    let lines: Vec<String> = (0..600).map(|n| format!("line {n}")).collect();
    place.feed(&["append", "-"], lines.join("\n").as_bytes()).lines();
    place
}

#[test]
fn wrong_store_files_are_left_alone() {
    type Case = (&'static str, fn(&Path), &'static str);
    let cases: [Case; 5] = [
        ("future", |path| execute(path, "PRAGMA user_version = 9"), "schema version 9, this program knows up to 2"),
        ("foreign", |path| execute(path, "PRAGMA application_id = 7"), "a database of another program"),
        ("text", |path| fs::write(path, "not a database at all, whatever its name").unwrap(), "not a database"),
        ("lost table", |path| execute(path, "DROP TABLE meta"), "the store is damaged"),
        (
            "truncated",
            |path| {
                let file = fs::File::options().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            },
            "",
        ),
    ];
    for (name, break_it, what) in cases {
        let place = filled();
        let path = place.data().first().store();
        break_it(&path);
        let before = fs::read(&path).unwrap();
        for arguments in [&["append", "x"][..], &["serve", "--listen", "127.0.0.1:0"], &["status"]] {
            let ran = place.run(arguments);
            assert_eq!(ran.code(), 65, "{name} {arguments:?}: {}", ran.stderr());
            assert!(ran.stderr().contains(what), "{name}: {}", ran.stderr());
        }
        let verify = place.run(&["verify"]);
        assert!([1, 65].contains(&verify.code()), "{name}: {}", verify.stderr());
        assert!(fs::read(&path).unwrap() == before, "{name}: the file was changed");
    }
}

#[test]
fn verify_names_the_block_that_was_changed() {
    type Case = (&'static str, &'static str, &'static str);
    // substr counts from 1; the signature is at the end, the payloads before it.
    let cases: [Case; 6] = [
        ("signature", "bytes = CAST(substr(bytes, 1, length(bytes) - 1) || x'ff' AS BLOB)", "signature"),
        (
            "payload",
            "bytes = CAST(replace(bytes, CAST('line 300' AS BLOB), CAST('line 3oo' AS BLOB)) AS BLOB)",
            "signature",
        ),
        ("truncated", "bytes = substr(bytes, 1, length(bytes) / 2)", "truncated"),
        ("height", "height = height + 1", "its row says"),
        ("time", "timestamp = timestamp - 1", "its row says"),
        ("hash", "hash = zeroblob(32)", "its row says"),
    ];
    for (name, change, what) in cases {
        let place = filled();
        let sql = format!("UPDATE blocks SET {change} WHERE seq = 2");
        let connection = Connection::open(place.data().first().store()).unwrap();
        let hash: Vec<u8> =
            connection.query_row("SELECT hash FROM blocks WHERE seq = 2", [], |row| row.get(0)).unwrap();
        assert_eq!(connection.execute(&sql, []).unwrap(), 1);
        drop(connection);
        let ran = place.run(&["verify", "--json"]);
        assert_eq!(ran.code(), 1, "{name}: {}", ran.stderr());
        let found: Value = serde_json::from_str(&ran.stdout()).unwrap();
        let named = found["problems"].as_array().unwrap().iter().find(|problem| problem["seq"] == 2).unwrap();
        assert_eq!(named["hash"], hex::encode(&hash), "{name}: {found}");
        assert!(named["what"].as_str().unwrap().contains(what), "{name}: {found}");
        assert!(place.run(&["verify"]).stdout().contains(&hex::encode(&hash)), "{name}");
    }
}

#[test]
fn verify_sees_a_bit_that_was_turned_in_a_payload_or_in_the_head_of_a_page() {
    let place = filled();
    let path = place.data().first().store();
    let good = fs::read(&path).unwrap();
    let blob = good.windows(8).position(|window| window == b"line 300").unwrap();
    let other = good.windows(8).rposition(|window| window == b"line 500").unwrap();
    for at in [blob, 4096 + 5, other] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let ran = place.run(&["verify"]);
        assert!([1, 65].contains(&ran.code()), "byte {at}: {} {}", ran.stdout(), ran.stderr());
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(place.run(&["verify"]).code(), 0);
}

#[test]
fn wrong_files_of_blocks_store_nothing() {
    let place = filled();
    place.run(&["export", "good"]).lines();
    let good = fs::read(place.file("good")).unwrap();
    let payload = good.windows(8).position(|window| window == b"line 300").unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let line = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // The first block alone is missing: the second one hangs in the air.
    let first = u32::from_be_bytes(good[line..line + 4].try_into().unwrap()) as usize + 4;
    let orphan = [&good[..line], &good[line + first..]].concat();
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty", Vec::new(), "not a file of blocks"),
        ("text", b"hello\nworld\n".to_vec(), "not a file of blocks"),
        ("version", [b"cairn-blocks 2 ".as_slice(), &good[15..]].concat(), "of version \"2\", version 1 is known"),
        ("ledger", flipped(line - 2), "the file holds blocks of ledger"),
        ("cut", good[..good.len() - 100].to_vec(), "its end mark is missing"),
        ("cut at the end", good[..good.len() - 1].to_vec(), "its end mark is missing"),
        ("payload", flipped(payload), "block 2 is wrong: the signature is wrong"),
        ("length", flipped(line), "limit is 266496"),
        ("count", flipped(good.len() - 1), "its end mark says"),
        ("trailing", [&good[..], b"!"].concat(), "something follows"),
        ("orphan", orphan, "which is neither before it nor in the store"),
    ];
    let other = Place::new();
    let mut node = None;
    for served in [false, true] {
        if served {
            node = Some(other.serve::<&str>(&[]));
        }
        for (name, bytes, what) in cases {
            fs::write(other.file("bad"), bytes).unwrap();
            let ran = other.run(&["import", "bad"]);
            assert_eq!(ran.code(), 65, "{name}: {}", ran.stderr());
            assert!(ran.stderr().contains(what), "{name}: {}", ran.stderr());
            assert_eq!(other.feed(&["import", "-"], bytes).code(), 65, "{name}");
            assert_eq!(other.data().first().store().exists(), served, "{name}: something was made");
        }
        assert_eq!(other.run(&["import", "nothing"]).code(), 74);
    }
    let node = node.unwrap();
    assert_eq!(node.client().status().unwrap().totals.blocks, 0);
    assert_eq!(node.terminate(), 0);
}

#[test]
fn a_block_that_breaks_a_rule_is_refused_by_the_ledger() {
    // The signature is right, but the block begins before its parent ends: only the rules see that.
    let key = shared::Key::from_secret(&[3; 32]);
    let ledger = open_ledger("commons");
    let block = |height, micros, parents| {
        let header =
            Header { ledger, author: key.node(), height, timestamp: Timestamp::from_micros(micros).unwrap(), parents };
        VerifiedBlock::sign(header, vec![Entry::new(Kind::DATA, [0; 16], b"1".to_vec())], &key)
    };
    let first = block(1, 1000, vec![]);
    let second = block(2, 999, vec![first.hash()]);
    let mut writer = node::blocks::Writer::new(Vec::new(), &ledger).unwrap();
    writer.block(first.bytes()).unwrap();
    writer.block(second.bytes()).unwrap();
    let place = Place::new();
    fs::File::create(place.file("file")).unwrap().write_all(&writer.finish().unwrap()).unwrap();
    let ran = place.run(&["import", "file", "--json"]);
    assert_eq!(ran.json()[0]["refused"], 1, "{}", ran.stderr());
    assert_eq!(place.run(&["verify", "--json"]).json()[0]["blocks"], 1);
}

#[test]
fn the_control_endpoint_wants_its_token() {
    let place = Place::new();
    let served = place.serve::<&str>(&[]);
    let ledger = open_ledger("commons");
    let url = |path: &str| format!("http://{}/control/{path}", served.address);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let control = fs::read_to_string(place.data().control()).unwrap();
    let token = serde_json::from_str::<Value>(&control).unwrap()["token"].as_str().unwrap().to_owned();
    let wrong = format!("Bearer {}", "0".repeat(64));
    for header in [None, Some(""), Some("Bearer "), Some(wrong.as_str()), Some(token.as_str())] {
        for path in ["ledgers", "status", "follow?after=0", "members", "keys"] {
            let path = if path == "ledgers" { path.to_owned() } else { format!("{ledger}/{path}") };
            let mut request = agent.get(url(&path));
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            assert_eq!(request.call().unwrap().status(), 401, "{path} {header:?}");
        }
    }
    let right = format!("Bearer {token}");
    let post_to = |path: &str, body: &[u8]| {
        agent.post(url(path)).header("authorization", &right).send(body).unwrap().status().as_u16()
    };
    let post = |path: &str, body: &[u8]| post_to(&format!("{ledger}/{path}"), body);
    assert_eq!(post("append", b"[1]"), 200);
    assert_eq!(post("append", b"[]"), 422);
    assert_eq!(post("append", b"{}"), 400);
    assert_eq!(post("append", b"[1, tru]"), 400);
    // One byte more than is allowed: of a longer one the node would not take the rest, and the answer may not be read.
    assert_eq!(post("append", &vec![b' '; limits::CLIENT_MESSAGE_BYTES + 1]), 413);
    assert_eq!(post("import", b"\0\0\0\x09abc"), 400);
    assert_eq!(post("import", b"\xff\xff\xff\xff"), 400);
    assert_eq!(post("nothing", b""), 404);
    assert_eq!(post("wish", b"{\"wish\":\"rekey\"}"), 415);
    assert_eq!(post_to("wrong/append", b"[1]"), 404);
    assert_eq!(post_to(&format!("{}/append", open_ledger("other")), b"[1]"), 404);
    assert_eq!(served.client().status().unwrap().totals.entries, 1);
    assert_eq!(served.terminate(), 0);
}
