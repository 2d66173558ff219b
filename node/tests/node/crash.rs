//! `kill -9` in the middle of appends, and a disk that is full: what was acknowledged stays, and no height is signed twice.

use std::{
    collections::BTreeMap,
    sync::{Mutex, mpsc},
    thread,
};

use serde_json::Value;

use crate::support::{Place, Served};

const ROUNDS: usize = 50;
const WRITERS: usize = 3;

/// Entry id → entry hash, of everything that a node ever showed to anyone.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<String, String>>);

impl Seen {
    fn note(&self, entry: &Value) {
        let [id, hash] = ["id", "hash"].map(|field| entry[field].as_str().unwrap().to_owned());
        let before = self.0.lock().unwrap().insert(id.clone(), hash.clone());
        assert!(before.is_none_or(|before| before == hash), "{id} was signed twice");
    }

    fn all_in(&self, log: &[Value]) {
        let kept: BTreeMap<&str, &str> =
            log.iter().map(|entry| (entry["id"].as_str().unwrap(), entry["hash"].as_str().unwrap())).collect();
        assert_eq!(kept.len(), log.len(), "a height is there twice");
        for (id, hash) in self.0.lock().unwrap().iter() {
            assert_eq!(kept.get(id.as_str()), Some(&hash.as_str()), "{id} is lost");
        }
    }
}

/// Appends until the node is gone. Every acknowledged append is noted before `acked` hears of it.
fn write(served: &Served, writer: usize, seen: &Seen, acked: &mpsc::Sender<()>) {
    let client = served.client();
    for n in 0.. {
        let data: Vec<String> = (0..=n % 3).map(|part| format!("[{writer},{n},{part}]")).collect();
        let Ok(entries) = client.append(&data) else { return };
        assert_eq!(entries.len(), data.len());
        entries.iter().for_each(|entry| seen.note(&serde_json::from_str(entry.get()).unwrap()));
        _ = acked.send(());
    }
}

fn follow(served: &Served, seen: &Seen) {
    let Ok(blocks) = served.client().follow(0) else { return };
    for entry in blocks.flat_map(|followed| followed.entries) {
        seen.note(&serde_json::to_value(&entry).unwrap());
    }
}

#[test]
fn what_was_acknowledged_survives_fifty_kills() {
    let place = Place::new();
    let (acknowledged, shown) = (Seen::default(), Seen::default());
    for round in 0..ROUNDS {
        let served = place.serve::<&str>(&[]);
        let (acked, acks) = mpsc::channel();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (served, acknowledged, acked) = (&served, &acknowledged, acked.clone());
                scope.spawn(move || write(served, writer, acknowledged, &acked));
            }
            let (node, shown) = (&served, &shown);
            scope.spawn(move || follow(node, shown));
            // The kill comes after a few acks, in the middle of the appends that are under way then.
            acks.iter().take(1 + round % 7).for_each(drop);
            served.kill_now();
        });
        drop(served);
        let log = place.run(&["log", "--json"]).json();
        log.iter().for_each(|entry| shown.note(entry));
        acknowledged.all_in(&log);
        // What was shown and is gone now would be as bad: somebody may rest on it.
        shown.all_in(&log);
    }
    assert_eq!(place.run(&["verify"]).code(), 0);
}

/// A file that may not grow any more is a disk that is full.
#[cfg(unix)]
#[test]
fn a_node_whose_disk_is_full_stops_and_says_so() {
    let place = Place::new();
    // Blocks of 512 or 1024 bytes, as the shell counts them; without the trap the signal would end the node.
    let script = "trap '' XFSZ; ulimit -f 1200; exec \"$0\" \"$@\"";
    let served = place.serve_by(&["sh", "-c", script]);
    let acknowledged = Seen::default();
    let (acked, acks) = mpsc::channel();
    write(&served, 0, &acknowledged, &acked);
    assert!(acks.try_iter().count() > 10);
    let (code, stderr) = served.wait();
    assert_eq!(code, Some(74), "{stderr}");
    assert!(stderr.contains("this node stops before it says anything that may not be durable"), "{stderr}");
    let log = place.run(&["log", "--json"]).json();
    acknowledged.all_in(&log);
    // With room again, the same node goes on where it was.
    let next = place.run(&["append", "room again"]).lines();
    assert!(next[0].starts_with(log[0]["creator_node_id"].as_str().unwrap()));
    assert_eq!(place.run(&["verify"]).code(), 0);
}
