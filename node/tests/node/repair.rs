//! A store that was damaged on its disk, mended from another node over a real link.

use std::{fs, net::SocketAddr};

use node::{host::Status, store::SqliteReader};
use rusqlite::Connection;
use serde_json::Value;
use shared::{Page, ReadStore};
use tokio::runtime::Runtime;

use crate::{
    hub::Hub,
    support::{Place, Ran, Served, eventually},
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A hub, and a node that it is in step with.
struct World {
    runtime: Runtime,
    hub: Hub,
    _hub_place: Place,
    place: Place,
    relay: String,
}

impl World {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let hub_place = Place::new();
        let hub = runtime.block_on(Hub::start(hub_place.data().path(), ANY));
        let relay = format!("ws://{}", hub.address);
        let world = World { runtime, hub, _hub_place: hub_place, place: Place::new(), relay };
        let served = world.serve();
        for n in 0..12 {
            let lines: Vec<String> = (0..40).map(|line| format!("note {n} {line}")).collect();
            world.place.feed(&["append", "-"], lines.join("\n").as_bytes()).lines();
        }
        world.in_step(&served);
        assert_eq!(served.terminate(), 0);
        world
    }

    fn serve(&self) -> Served {
        self.place.serve(&["--relay", &self.relay])
    }

    fn in_step(&self, served: &Served) {
        let client = served.client();
        eventually("the hub to be in step", || {
            let here: Status = client.status().unwrap();
            let there = self.runtime.block_on(self.hub.host.status()).unwrap();
            (here.digest == there.digest && here.totals.entries > 0).then_some(())
        });
    }

    fn log(&self) -> String {
        let ran = self.place.run(&["log", "--json"]);
        assert_eq!(ran.code(), 0, "{}", ran.stderr());
        ran.stdout()
    }

    fn repair(&self) -> Ran {
        self.place.run(&["verify", "--repair", "--json", "--relay", &self.relay])
    }

    /// Everything is as it was, and the node goes on in its lane.
    fn goes_on(&self, before: &str) {
        assert_eq!(self.log(), before);
        let verify = self.place.run(&["verify"]);
        assert_eq!(verify.code(), 0, "{}{}", verify.stdout(), verify.stderr());
        let served = self.serve();
        self.place.run(&["append", "and on"]).lines();
        self.in_step(&served);
        assert!(served.client().status().unwrap().frozen.is_empty(), "a height was signed twice");
        assert_eq!(served.terminate(), 0);
    }
}

fn found(ran: &Ran, code: i32) -> Value {
    assert_eq!(ran.code(), code, "{}{}", ran.stdout(), ran.stderr());
    serde_json::from_str(&ran.stdout()).unwrap()
}

fn change(place: &Place, sql: &str) {
    Connection::open(place.data().first().store()).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn damaged_blocks_come_again_from_the_hub() {
    let world = World::new();
    let before = world.log();
    change(
        &world.place,
        "UPDATE blocks SET bytes = zeroblob(length(bytes)) WHERE seq = 3;
         UPDATE blocks SET height = height + 1 WHERE seq = 5;
         DELETE FROM blocks WHERE seq IN (7, 8);
         UPDATE blocks SET bytes = substr(bytes, 1, 50) WHERE seq = (SELECT max(seq) FROM blocks);",
    );
    let log = world.place.run(&["log"]);
    assert_eq!(log.code(), 65, "{}", log.stderr());
    assert!(log.stderr().contains("damaged"), "{}", log.stderr());
    let verify = found(&world.place.run(&["verify", "--json"]), 1);
    assert!(verify["wrong"].as_u64().unwrap() >= 5, "{verify}");
    let repaired = found(&world.repair(), 0);
    assert_eq!(repaired["ok"], true, "{repaired}");
    assert_eq!(repaired["repair"]["fetched"], 4, "{repaired}");
    let kept = repaired["repair"]["kept"][0].as_str().unwrap();
    assert!(fs::metadata(kept).unwrap().len() > 0, "the damaged file is kept");
    world.goes_on(&before);
    let again = found(&world.repair(), 0);
    assert_eq!(again["repair"]["kept"], serde_json::json!([]), "there was nothing to repair");
}

#[test]
fn what_nobody_can_give_is_named_and_the_node_does_not_serve_without_it() {
    let world = World::new();
    let before = world.log();
    change(&world.place, "UPDATE blocks SET bytes = zeroblob(length(bytes)) WHERE seq = 4");
    let alone = found(&world.place.run(&["verify", "--repair", "--json"]), 1);
    assert_eq!(alone["repair"]["missing"].as_array().unwrap().len(), 1, "{alone}");
    for arguments in [&["append", "x"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let ran = world.place.run(arguments);
        assert_eq!(ran.code(), 65, "{arguments:?}: {}", ran.stderr());
        assert!(ran.stderr().contains("`cairn verify --repair`"), "{}", ran.stderr());
    }
    assert_eq!(found(&world.repair(), 0)["repair"]["fetched"], 1);
    world.goes_on(&before);
}

#[test]
fn a_node_that_meets_a_damaged_block_ends() {
    let world = World::new();
    let before = world.log();
    change(&world.place, "UPDATE blocks SET bytes = zeroblob(length(bytes)) WHERE seq = 4");
    let served = world.place.serve_by(&[]);
    let busy = world.repair();
    assert_eq!(busy.code(), 73, "{}", busy.stderr());
    // Whoever asks for everything meets the block.
    let client = served.client();
    if let Ok(answer) = client.follow(0) {
        answer.for_each(drop);
    }
    let (code, said) = served.wait();
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("`cairn verify --repair`"), "{said}");
    assert_eq!(found(&world.repair(), 0)["repair"]["fetched"], 1);
    world.goes_on(&before);
}

#[test]
fn commits_that_the_log_lost_are_missed_and_come_again() {
    let world = World::new();
    let served = world.serve();
    for n in 0..6 {
        world.place.run(&["append", &format!("in the log {n}")]).lines();
    }
    world.in_step(&served);
    let before = world.log();
    served.kill();
    let log = world.place.data().path().join("ledger.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    assert!(bytes.len() > 20_000, "the log is empty");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    fs::write(&log, &bytes).unwrap();
    for arguments in [&["log"][..], &["append", "x"]] {
        let ran = world.place.run(arguments);
        assert_eq!(ran.code(), 65, "{arguments:?}: {}", ran.stderr());
        assert!(ran.stderr().contains("the write-ahead log lost its end"), "{}", ran.stderr());
    }
    found(&world.repair(), 0);
    world.goes_on(&before);
}

#[test]
fn a_file_of_which_pages_cannot_be_read_is_copied_as_far_as_it_is_good() {
    let world = World::new();
    let before = world.log();
    let path = world.place.data().first().store();
    let good = fs::read(&path).unwrap();
    let blocks = SqliteReader::open(&path).unwrap().arrived(0, Page { blocks: 99, bytes: usize::MAX }).unwrap().len();
    for page in [1, 3, good.len() / 4096 - 2] {
        let mut bytes = good.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0xa5);
        fs::write(&path, &bytes).unwrap();
        let verify = world.place.run(&["verify"]);
        assert_eq!(verify.code(), 1, "page {page}: {}{}", verify.stdout(), verify.stderr());
        let repaired = found(&world.repair(), 0);
        assert_eq!(repaired["ok"], true, "page {page}: {repaired}");
        assert!(repaired["repair"]["fetched"].as_u64().unwrap() <= blocks as u64);
        assert_eq!(world.log(), before, "page {page}");
    }
    world.goes_on(&before);
}
