//! Nodes that meet over a hub: in step at once, and again after the hub was gone.

use std::net::{Ipv4Addr, SocketAddr};

use node::{control::client::ControlClient, host::Status, link::RelayState};
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
