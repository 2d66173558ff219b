//! Nodes that meet over a hub: in step at once, and again after the hub was gone.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use node::{control::client::ControlClient, host::Status, link::RelayState, store::SqliteStore};
use tokio::runtime::Runtime;

use crate::{
    hub::Hub,
    support::{Place, eventually},
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn in_step(clients: &[&ControlClient], entries: u64) -> Vec<Status> {
    eventually("equal ledgers", || {
        let statuses: Vec<Status> = clients.iter().map(|client| client.status().unwrap()).collect();
        let equal =
            statuses.iter().all(|status| status.totals.entries == entries && status.digest == statuses[0].digest);
        equal.then_some(statuses)
    })
}

fn logs(places: &[&Place]) {
    let first = places[0].run(&["log", "--json"]).stdout();
    assert!(places.iter().all(|place| place.run(&["log", "--json"]).stdout() == first));
}

#[test]
fn nodes_are_in_step_before_and_after_the_hub_is_gone() {
    let runtime = Runtime::new().unwrap();
    let hub_place = Place::new();
    let hub = runtime.block_on(Hub::start(hub_place.data().path(), ANY));
    let address = hub.address;
    let relay = format!("ws://{address}");
    let (a, b) = (Place::new(), Place::new());
    a.feed(&["append", "-"], b"one\ntwo\nthree\n").lines();
    let (node_a, node_b) = (a.serve(&["--relay", &relay]), b.serve(&["--relay", &relay]));
    let (client_a, client_b) = (node_a.client(), node_b.client());
    b.run(&["append", "four"]).lines();
    let statuses = in_step(&[&client_a, &client_b], 4);
    assert!(statuses.iter().all(|status| status.known_nodes.len() == 3 && status.heads.len() == 2));
    logs(&[&a, &b]);
    eventually("the hub to hold a's head", || (client_a.status().unwrap().held.nodes == 1).then_some(()));

    runtime.block_on(hub.stop());
    waiting(&client_a);
    waiting(&client_b);
    a.run(&["append", "five, apart"]).lines();
    b.run(&["append", "six, apart"]).lines();

    // A hub with an empty store takes its place.
    let fresh = Place::new();
    let hub = runtime.block_on(Hub::start(fresh.data().path(), address));
    in_step(&[&client_a, &client_b], 6);
    logs(&[&a, &b]);
    eventually("the hub to have everything", || {
        (runtime.block_on(hub.host.status()).unwrap().totals.entries == 6).then_some(())
    });
    assert_eq!((node_a.terminate(), node_b.terminate()), (0, 0));
    runtime.block_on(hub.stop());
}

#[test]
fn a_relay_that_is_none_is_dialled_again_and_again() {
    let place = Place::new();
    // Nothing answers WebSockets there: another node's HTTP port.
    let other = Place::new();
    let no_relay = other.serve::<&str>(&[]);
    let served = place.serve(&["--relay", &format!("http://{}", no_relay.address)]);
    let reason = waiting(&served.client());
    assert!(reason.contains("HTTP 404"), "{reason}");
    let secure = Place::new();
    let dialling = secure.serve(&["--relay", &format!("wss://{}", no_relay.address)]);
    let reason = waiting(&dialling.client());
    assert!(reason.contains("InvalidContentType"), "{reason}");
    assert_eq!(dialling.terminate(), 0);
    assert_eq!(place.run(&["append", "still works"]).lines().len(), 1);
    assert_eq!(served.terminate(), 0);
}

/// Why a node waits before it dials its relay again.
fn waiting(client: &ControlClient) -> String {
    eventually("a reason", || match client.status().unwrap().relays.pop()?.state {
        RelayState::Waiting { reason } => Some(reason),
        _ => None,
    })
}

/// Copies a data directory that nobody uses.
fn copy(from: &Place, to: &Place) {
    let (from, to) = (from.data(), to.data());
    if to.path().exists() {
        fs::remove_dir_all(to.path()).unwrap();
    }
    fs::create_dir(to.path()).unwrap();
    for file in fs::read_dir(from.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
}

/// The texts of a place's log, in alphabetical order.
fn texts(place: &Place) -> Vec<String> {
    let entries = place.run(&["log", "--json"]).json();
    let data = entries.iter().filter(|entry| entry["kind"] == "data");
    let mut texts: Vec<String> = data.map(|entry| entry["data"].as_str().unwrap().to_owned()).collect();
    texts.sort();
    texts
}

#[test]
fn a_restored_backup_learns_its_own_lane_before_it_writes() {
    let runtime = Runtime::new().unwrap();
    let hub_place = Place::new();
    let hub = runtime.block_on(Hub::start(hub_place.data().path(), ANY));
    let relay = ["--relay".to_owned(), format!("ws://{}", hub.address)];
    let (place, backup) = (Place::new(), Place::new());
    place.run(&["append", "one"]).lines();
    copy(&place, &backup);
    let served = place.serve(&relay);
    let ids = place.feed(&["append", "-"], b"two\nthree\n").lines();
    eventually("the hub to hold it", || (served.client().status().unwrap().held.nodes == 1).then_some(()));
    assert_eq!(served.terminate(), 0);

    copy(&backup, &place);
    let served = place.serve(&relay);
    // The very first thing that the restored node is asked to do.
    let after = place.run(&["append", "four"]).lines();
    let height = |id: &str| id.split('-').nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(height(&after[0]), height(ids.last().unwrap()) + 1);
    let status = served.client().status().unwrap();
    assert!(status.frozen.is_empty() && status.former_nodes.is_empty());
    assert_eq!(texts(&place), ["four", "one", "three", "two"]);
    assert_eq!(served.terminate(), 0);
    runtime.block_on(hub.stop());
}

#[test]
fn a_backup_that_wrote_apart_goes_on_with_a_new_key_and_nothing_is_lost() {
    let runtime = Runtime::new().unwrap();
    let hub_place = Place::new();
    let hub = runtime.block_on(Hub::start(hub_place.data().path(), ANY));
    let address = hub.address;
    let relay = ["--relay".to_owned(), format!("ws://{address}")];
    let (place, backup) = (Place::new(), Place::new());
    place.run(&["append", "one"]).lines();
    copy(&place, &backup);
    let served = place.serve(&relay);
    let old = served.client().status().unwrap().node;
    place.feed(&["append", "-"], b"two\nthree\n").lines();
    eventually("the hub to hold it", || (served.client().status().unwrap().held.nodes == 1).then_some(()));
    assert_eq!(served.terminate(), 0);
    runtime.block_on(hub.stop());

    copy(&backup, &place);
    let served = place.serve(&relay);
    let apart = place.run(&["append", "apart"]).lines();
    assert!(apart[0].starts_with(&old));
    let hub = runtime.block_on(Hub::start(hub_place.data().path(), address));
    let status =
        eventually("a new key", || Some(served.client().status().unwrap()).filter(|status| status.node != old));
    assert_eq!(status.former_nodes, std::slice::from_ref(&old));
    let after = place.run(&["append", "after"]).lines();
    assert!(after[0].starts_with(&status.node));
    eventually("equal ledgers", || {
        let (here, there) = (served.client().status().unwrap(), runtime.block_on(hub.host.status()).unwrap());
        let known = here.known_nodes.contains(&here.node) && there.known_nodes.contains(&here.node);
        (known && here.held.nodes == 1 && here.digest == there.digest).then_some(())
    });
    assert_eq!(served.terminate(), 0);
    runtime.block_on(hub.stop());
    for place in [&place, &hub_place] {
        assert_eq!(texts(place), ["after", "apart", "one", "three", "two"]);
    }
    let entries = place.run(&["log", "--json"]).json();
    let succession = entries.iter().find(|entry| entry["kind"] == "succession").unwrap();
    assert_eq!(
        (&succession["data"]["node"], &succession["creator_node_id"]),
        (&old.clone().into(), &status.node.clone().into())
    );

    // The new key is the node's key from now on.
    assert_eq!(place.run(&["status", "--json"]).json()[0]["node"], status.node.as_str());
    assert!(place.run(&["append", "later"]).lines()[0].starts_with(&status.node));
    assert_eq!(place.run(&["verify"]).code(), 0);

    // A process that ended when the new lane was durable and the keys were still as before.
    let data = place.data();
    fs::copy(data.first().key(), data.first().successor()).unwrap();
    let mut files = fs::read_dir(data.path()).unwrap().map(|file| file.unwrap().path());
    let kept = files.find(|path| path.to_string_lossy().contains("node.key.")).unwrap();
    fs::rename(kept, data.first().key()).unwrap();
    SqliteStore::open(&data.first().store(), "commons").unwrap().set_node(&old.parse().unwrap()).unwrap();
    assert!(place.run(&["append", "once more"]).lines()[0].starts_with(&status.node));
    assert_eq!(place.run(&["status", "--json"]).json()[0]["node"], status.node.as_str());
    let entries = place.run(&["log", "--json"]).json();
    assert_eq!(entries.iter().filter(|entry| entry["kind"] == "succession").count(), 1);
}
