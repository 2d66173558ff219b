//! Direct links by QUIC: who is let in, what breaks the protocol, and where an endpoint is.

use std::time::{Duration, Instant};

use iroh::{
    Endpoint, EndpointAddr,
    endpoint::{Connection, ConnectionError, ReadError, ReadToEndError, RecvStream, SendStream, presets},
};
use node::host::Status;
use shared::{Address, limits::FRAME_BYTES};
use tokio::{runtime::Runtime, time::timeout};

use crate::support::{PATIENCE, Place, Served, eventually};

const ALPN: &[u8] = b"cairn/link/1";

/// A node that others on this machine link to.
fn serve(place: &Place, arguments: &[&str]) -> Served {
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.args(arguments).env("CAIRN_DIRECT", "lan").stderr(std::process::Stdio::null());
    Served::start(command, place.data())
}

/// Where the node's endpoint is.
fn endpoint(status: &Status) -> Option<Address> {
    status.addresses.iter().map(|text| text.parse::<Address>().unwrap()).find(|address| address.endpoint().is_some())
}

fn reached(served: &Served) -> Address {
    eventually("an endpoint", || endpoint(&served.client().status().unwrap()))
}

/// The paths of a node's links.
fn paths(served: &Served) -> Vec<String> {
    let links = served.client().status().unwrap().links;
    links.into_iter().filter(|link| link.node.is_some()).map(|link| link.path).collect()
}

/// Dials as nobody in particular.
async fn stranger(address: &Address) -> Result<(Endpoint, Connection, SendStream, RecvStream), String> {
    let said = address.endpoint().unwrap();
    let target = said.sockets.iter().fold(EndpointAddr::new(said.id.parse().unwrap()), |t, ip| t.with_ip_addr(*ip));
    let builder = Endpoint::builder(presets::Minimal).clear_ip_transports().bind_addr("127.0.0.1:0").unwrap();
    let endpoint = builder.bind().await.unwrap();
    let connection = endpoint.connect(target, ALPN).await.map_err(|error| error.to_string())?;
    let (send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    Ok((endpoint, connection, send, receive))
}

/// What a node says to who sends these bytes: code and reason with which it closes the connection.
async fn answer(address: &Address, bytes: &[u8]) -> (u64, String) {
    let (_endpoint, _connection, mut send, mut receive) = stranger(address).await.unwrap();
    send.write_all(bytes).await.unwrap();
    let read = timeout(PATIENCE, receive.read_to_end(1 << 20)).await.expect("the node answers");
    let error = match read {
        Err(ReadToEndError::Read(ReadError::ConnectionLost(error))) => error,
        // It has ended its stream, and closes the connection next.
        other => timeout(PATIENCE, _connection.closed()).await.unwrap_or_else(|_| panic!("still open: {other:?}")),
    };
    match error {
        ConnectionError::ApplicationClosed(closed) => {
            (closed.error_code.into_inner(), String::from_utf8(closed.reason.to_vec()).unwrap())
        }
        other => panic!("the connection ended otherwise: {other}"),
    }
}

#[test]
fn two_link_by_quic_and_an_endpoint_is_where_it_was_after_a_restart() {
    let (one, two) = (Place::new(), Place::new());
    let first = serve(&one, &[]);
    let before = reached(&first);
    let second = serve(&two, &["--peer", before.as_str()]);
    eventually("a link by QUIC", || (paths(&second) == ["quic"]).then_some(()));
    two.run(&["append", "hello"]).lines();
    eventually("the entry", || (first.client().status().unwrap().totals.entries == 1).then_some(()));
    let listen = first.address.to_string();
    let ended = Instant::now();
    assert_eq!(first.terminate(), 0);
    eventually("the goodbye", || paths(&second).is_empty().then_some(()));
    assert!(ended.elapsed() < Duration::from_secs(3), "a node that stops says nothing");

    // Its port may be somebody else's by now, so only the key is compared.
    let mut command = one.command(&["serve", "--listen", &listen]);
    command.env("CAIRN_DIRECT", "lan").stderr(std::process::Stdio::null());
    let first = Served::start(command, one.data());
    assert_eq!(reached(&first).endpoint().unwrap().id, before.endpoint().unwrap().id);
    assert_ne!(reached(&second).endpoint().unwrap().id, before.endpoint().unwrap().id);
    assert!(reached(&first).is_loopback(), "it is reached from elsewhere");
    eventually("the link again", || (paths(&second) == ["quic"]).then_some(()));
    assert_eq!((first.terminate(), second.terminate()), (0, 0));
}

#[test]
fn who_is_linked_by_websocket_moves_to_quic() {
    let (one, two) = (Place::new(), Place::new());
    let first = serve(&one, &[]);
    reached(&first);
    let second = serve(&two, &["--peer", &format!("ws://{}", first.address)]);
    eventually("a link by QUIC", || (paths(&second) == ["quic"]).then_some(()));
    assert_eq!((first.terminate(), second.terminate()), (0, 0));
}

#[test]
fn a_stranger_by_quic_hears_nothing_and_is_told_what_it_did_wrong() {
    let place = Place::new();
    let served = serve(&place, &[]);
    let address = reached(&served);
    Runtime::new().unwrap().block_on(async {
        // Four gigabytes are announced and never come.
        let (code, reason) = answer(&address, &[0, 0xff, 0xff, 0xff, 0xff]).await;
        assert_eq!((code, reason), (1002, format!("frame of {} bytes, limit is {FRAME_BYTES}", u32::MAX)));
        let (code, reason) = answer(&address, &[7]).await;
        assert_eq!((code, reason.as_str()), (1002, "frame of kind 7, 0 to 2 are known"));
        // What is no envelope is refused by the replica.
        let (code, reason) = answer(&address, &[0, 0, 0, 0, 3, b'x', b'y', b'z']).await;
        assert!(code == 1002 && !reason.is_empty(), "{code} {reason}");
        // Who says nothing is asked to leave.
        let (code, _) = answer(&address, &[1]).await;
        assert_eq!(code, 4000);
    });
    assert_eq!(served.terminate(), 0);
}

#[test]
fn who_comes_by_quic_in_vain_too_often_is_not_asked_in() {
    let place = Place::new();
    let served = serve(&place, &[]);
    let address = reached(&served);
    Runtime::new().unwrap().block_on(async {
        let tries = async {
            loop {
                match stranger(&address).await {
                    // Kind 9 is none.
                    Ok((_endpoint, connection, mut send, _)) => {
                        if send.write_all(&[9]).await.is_ok() {
                            drop(timeout(Duration::from_secs(5), connection.closed()).await);
                        }
                    }
                    Err(reason) => break reason,
                }
            }
        };
        let reason = timeout(PATIENCE, tries).await.expect("strangers are refused");
        assert!(reason.contains("refused"), "{reason}");
    });
    // The rest of the node serves everybody, from that address too.
    assert_eq!(place.run(&["append", "still works"]).lines().len(), 1);
    assert_eq!(served.terminate(), 0);
}
