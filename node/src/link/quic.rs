//! QUIC as a link: an iroh endpoint for each ledger, and frames on one stream of each connection.
//!
//! ```text
//! frame = 0 ‖ length (4 bytes, big endian) ‖ bytes    of the replica, at most FRAME_BYTES
//!       | 1                                           ping
//!       | 2                                           pong
//! ```
//!
//! Who dialled opens the stream. Whoever ends the link finishes its half and closes the connection with code and reason of
//! [`shared::CloseReason`]. The key of an endpoint means nothing to the ledger, whose nodes prove their own on the stream.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use iroh::{
    Endpoint, EndpointAddr, NetReportConfig, RelayMode, RelayUrl, SecretKey, TransportAddr,
    endpoint::{
        BindOpts, Builder, Connection, ConnectionError, Incoming, IncomingAddr, InvalidSocketAddr, PortmapperConfig,
        QuicTransportConfig, ReadError, ReadExactError, RecvStream, SendStream, VarInt, presets,
    },
};
use shared::{Address, NodeId, limits};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use zeroize::Zeroizing;

use super::exchange::{self, CLOSE_TIMEOUT, End, Outgoing, Sending, describe_close};
use crate::host::{LinkCommand, LinkPort};

/// What is spoken.
const ALPN: &[u8] = b"cairn/link/1";
/// How long a dial may take: names, ways, and the handshake.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that a peer may send before they are read, and that may wait to be sent.
const WINDOW: u32 = 512 * 1024;
/// Bytes of a reason that are shown.
const REASON_BYTES: usize = 400;

const FRAME: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;

/// The secret of an endpoint.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// Opens the endpoint of a ledger where HTTP listens: at the UDP port of the same number, or at any if that is taken.
///
/// `relays`: iroh relays, none of them for iroh's own; without a list no server is ever asked for anything.
pub(super) async fn open(secret: &Secret, listen: SocketAddr, relays: Option<&[RelayUrl]>) -> Result<Endpoint, String> {
    let anywhere = SocketAddr::new(listen.ip(), 0);
    match bind(secret, listen, relays).await {
        Ok(endpoint) => Ok(endpoint),
        Err(_) => bind(secret, anywhere, relays).await,
    }
}

async fn bind(secret: &Secret, listen: SocketAddr, relays: Option<&[RelayUrl]>) -> Result<Endpoint, String> {
    let builder = builder(secret, listen, relays).map_err(|error| error.to_string())?;
    // What is behind it says why.
    builder.bind().await.map_err(|error| format!("{error:#}"))
}

fn builder(secret: &Secret, listen: SocketAddr, relays: Option<&[RelayUrl]>) -> Result<Builder, InvalidSocketAddr> {
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into())
        .datagram_receive_buffer_size(None)
        .build();
    let relay_mode = match relays {
        None => RelayMode::Disabled,
        Some([]) => RelayMode::Default,
        Some(relays) => RelayMode::custom(relays.iter().cloned()),
    };
    let report = if relays.is_none() { NetReportConfig::minimal() } else { NetReportConfig::default() };
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(secret))
        .alpns(vec![ALPN.to_vec()])
        .transport_config(transport)
        .relay_mode(relay_mode)
        .net_report_config(report)
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr(listen)?;
    // Where both kinds of addresses are listened on, each has a socket.
    if listen.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return Ok(builder);
    }
    let other = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.port());
    builder.bind_addr_with_opts(other, BindOpts::default().set_is_required(false))
}

/// How others reach an endpoint: by its relay, and by as many of its addresses as there is room for.
pub(super) fn addresses(endpoint: &EndpointAddr, most: usize) -> Vec<Address> {
    let mut sockets: Vec<SocketAddr> = endpoint.ip_addrs().copied().collect();
    sockets.sort_by_key(|socket| (socket.is_ipv6(), *socket));
    let relay = endpoint.relay_urls().next().map(ToString::to_string);
    let mut addresses = Address::of_endpoint(&endpoint.id.to_string(), &sockets, relay.as_deref());
    addresses.truncate(most);
    addresses
}

/// The endpoints that addresses lead to, each with all that they say of it.
pub(super) fn targets(addresses: &[Address]) -> Vec<EndpointAddr> {
    let mut targets: Vec<EndpointAddr> = Vec::new();
    for said in addresses.iter().filter_map(Address::endpoint) {
        // Not every 64 digits are a key.
        let Ok(id) = said.id.parse() else { continue };
        let place = targets.iter().position(|target| target.id == id).unwrap_or_else(|| {
            targets.push(EndpointAddr::new(id));
            targets.len() - 1
        });
        let relay = said.relay.and_then(|relay| relay.parse().ok()).map(TransportAddr::Relay);
        targets[place].addrs.extend(said.sockets.into_iter().map(TransportAddr::Ip).chain(relay));
    }
    targets
}

/// A connection and its stream.
pub(super) struct Stream {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

/// Dials an endpoint.
pub(super) async fn dial(endpoint: &Endpoint, target: EndpointAddr) -> Result<Stream, String> {
    let dialled = async {
        let connection = endpoint.connect(target, ALPN).await.map_err(|error| error.to_string())?;
        let (send, receive) = connection.open_bi().await.map_err(|error| describe(&error))?;
        Ok(Stream { connection, send, receive })
    };
    in_time(dialled).await
}

/// Takes in who dialled.
pub(super) async fn accept(incoming: Incoming) -> Result<Stream, String> {
    let accepted = async {
        let accepting = incoming.accept().map_err(|error| describe(&error))?;
        let connection = accepting.await.map_err(|error| error.to_string())?;
        let (send, receive) = connection.accept_bi().await.map_err(|error| describe(&error))?;
        Ok(Stream { connection, send, receive })
    };
    in_time(accepted).await
}

async fn in_time(opening: impl Future<Output = Result<Stream, String>>) -> Result<Stream, String> {
    match timeout(DIAL_TIMEOUT, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(format!("no answer within {} s", DIAL_TIMEOUT.as_secs())),
    }
}

/// Where somebody dials from. Those who come by an iroh relay, which does not say where they are, count as one.
pub(super) fn remote(incoming: &Incoming) -> IpAddr {
    match incoming.remote_addr() {
        IncomingAddr::Ip(remote) => remote.ip().to_canonical(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Whether it is sure that somebody is where the first packet says. Who only pretended must not use up the tries of whoever is there.
pub(super) fn is_there(incoming: &Incoming) -> bool {
    incoming.remote_addr_validated() || !matches!(incoming.remote_addr(), IncomingAddr::Ip(_))
}

/// Moves frames until the connection ends, whoever ends it. `up` is called when the peer has proved its key.
pub(super) async fn exchange(
    port: &LinkPort,
    commands: mpsc::Receiver<LinkCommand>,
    stream: Stream,
    up: impl FnMut(NodeId) + Send,
    shutdown: &mut watch::Receiver<bool>,
) -> End {
    let Stream { connection, send, receive } = stream;
    let out = Out { connection: connection.clone(), send };
    exchange::exchange(read(port, &connection, receive), out, commands, up, shutdown).await
}

async fn read(port: &LinkPort, connection: &Connection, mut receive: RecvStream) -> End {
    loop {
        let mut kind = [0];
        if let Err(error) = receive.read_exact(&mut kind).await {
            return End::Lost(describe_end(connection, error).await);
        }
        let taken = match kind[0] {
            FRAME => match read_frame(&mut receive).await {
                Ok(bytes) => port.frame(bytes).await,
                Err(Broken::Ended(error)) => return End::Lost(describe_end(connection, error).await),
                Err(Broken::TooLong(len)) => {
                    let reason = format!("frame of {len} bytes, limit is {}", limits::FRAME_BYTES);
                    return refuse(connection, &reason);
                }
            },
            PING => port.ping().await,
            PONG => port.pong().await,
            kind => return refuse(connection, &format!("frame of kind {kind}, 0 to 2 are known")),
        };
        if let Err(stopped) = taken {
            return stopped.into();
        }
    }
}

/// A peer that breaks the protocol is told so.
fn refuse(connection: &Connection, reason: &str) -> End {
    connection.close(VarInt::from_u32(1002), reason.as_bytes());
    End::Lost(reason.to_owned())
}

enum Broken {
    Ended(ReadExactError),
    TooLong(usize),
}

impl From<ReadExactError> for Broken {
    fn from(error: ReadExactError) -> Self {
        Self::Ended(error)
    }
}

/// Memory is taken for what has come, whatever length the peer claims.
async fn read_frame(receive: &mut RecvStream) -> Result<Vec<u8>, Broken> {
    let mut len = [0; 4];
    receive.read_exact(&mut len).await?;
    let len = u32::from_be_bytes(len) as usize;
    if len > limits::FRAME_BYTES {
        return Err(Broken::TooLong(len));
    }
    let mut bytes = Vec::new();
    while bytes.len() < len {
        match receive.read_chunk(len - bytes.len()).await.map_err(ReadExactError::from)? {
            Some(chunk) => bytes.extend_from_slice(&chunk),
            None => return Err(ReadExactError::FinishedEarly(bytes.len()).into()),
        }
    }
    Ok(bytes)
}

/// Who has finished its stream says next why.
async fn describe_end(connection: &Connection, error: ReadExactError) -> String {
    match error {
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => describe(&error),
        ReadExactError::FinishedEarly(_) => match timeout(CLOSE_TIMEOUT, connection.closed()).await {
            Ok(error) => describe(&error),
            Err(_) => "it ended the stream".to_owned(),
        },
        error @ ReadExactError::ReadError(_) => error.to_string(),
    }
}

fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(closed) => {
            let reason = &closed.reason[..closed.reason.len().min(REASON_BYTES)];
            describe_close(closed.error_code.into_inner(), &String::from_utf8_lossy(reason))
        }
        error => error.to_string(),
    }
}

struct Out {
    connection: Connection,
    send: SendStream,
}

impl Sending for Out {
    async fn feed(&mut self, message: Outgoing) -> Result<(), String> {
        let written = match message {
            Outgoing::Frame(bytes) => {
                // A frame of the replica is no longer than one may be.
                let len = bytes.len() as u32;
                let [a, b, c, d] = len.to_be_bytes();
                match self.send.write_all(&[FRAME, a, b, c, d]).await {
                    Ok(()) => self.send.write_all(&bytes).await,
                    failed => failed,
                }
            }
            Outgoing::Ping => self.send.write_all(&[PING]).await,
            Outgoing::Pong => self.send.write_all(&[PONG]).await,
        };
        written.map_err(|error| error.to_string())
    }

    /// QUIC sends what it was given as soon as it can.
    async fn flush(&mut self) -> Result<(), String> {
        Ok(())
    }

    async fn close(&mut self, code: u16, reason: &str) {
        // What was sent before arrives before. Where that cannot be, the connection is lost already.
        if self.send.finish().is_ok() {
            _ = timeout(CLOSE_TIMEOUT / 2, self.send.stopped()).await;
        }
        self.connection.close(VarInt::from_u32(code.into()), reason.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

    const OTHER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn what_is_said_of_an_endpoint_comes_back_from_its_addresses() {
        let sockets: Vec<SocketAddr> = (1..=5).map(|n| format!("192.168.100.{n}:30000").parse().unwrap()).collect();
        let relay: RelayUrl = "https://relay.example/".parse().unwrap();
        let all = EndpointAddr::new(ID.parse().unwrap())
            .with_addrs(sockets.iter().map(|socket| TransportAddr::Ip(*socket)))
            .with_relay_url(relay);
        let said = addresses(&all, 8);
        assert_eq!(targets(&said), std::slice::from_ref(&all));
        assert_eq!(addresses(&all, 1).len(), 1);
        // Another endpoint, what is no key, and a WebSocket.
        let others = [OTHER, &"02".repeat(32)].map(|id| format!("iroh:{id}?ip=10.0.0.1:1").parse().unwrap());
        let mixed = [&others[..], &said[..], &["ws://10.0.0.1:1".parse().unwrap()]].concat();
        let other = EndpointAddr::new(OTHER.parse().unwrap()).with_ip_addr("10.0.0.1:1".parse().unwrap());
        assert_eq!(targets(&mixed), [other, all]);
    }

    /// An endpoint on this machine, and the address of it.
    async fn endpoint(secret: u8) -> (Endpoint, EndpointAddr) {
        let endpoint = open(&Zeroizing::new([secret; 32]), "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let address = endpoint.addr();
        assert!(address.ip_addrs().all(|socket| socket.ip().is_loopback()), "{address:?}");
        (endpoint, address)
    }

    /// A peer that reads nothing is not waited for: frames stay where they are counted, and all come once it reads.
    #[tokio::test]
    async fn a_slow_peer_is_sent_no_more_than_it_takes_and_misses_nothing() {
        const FRAMES: usize = 64;
        const BYTES: usize = 64 * 1024;
        let ((here, _), (there, address)) = (endpoint(1).await, endpoint(2).await);
        let accepting = tokio::spawn(async move {
            let incoming = there.accept().await.unwrap();
            (accept(incoming).await.unwrap(), there)
        });
        let Stream { connection, send, receive: _receive } = dial(&here, address).await.unwrap();
        let (commands, queue) = mpsc::channel(4);
        let (stop, mut stopped) = watch::channel(false);
        let out = Out { connection, send };
        let sending = tokio::spawn(async move {
            let reading = std::future::pending();
            exchange::exchange(reading, out, queue, |_| {}, &mut stopped).await
        });
        let frame = |n: usize| LinkCommand::Frame(vec![n as u8; BYTES]);
        let mut sent = 0;
        // The other side knows of the stream with the first frame, and reads none of them yet.
        commands.send(frame(0)).await.unwrap();
        sent += 1;
        let (Stream { mut receive, .. }, _there) = accepting.await.unwrap();
        while let Ok(place) = timeout(Duration::from_millis(500), commands.reserve()).await {
            place.unwrap().send(frame(sent));
            sent += 1;
            assert!(sent * BYTES <= 2 * WINDOW as usize + 8 * BYTES, "{sent} frames wait in the connection");
        }
        let reading = tokio::spawn(async move {
            for n in 0..FRAMES {
                let mut kind = [9];
                receive.read_exact(&mut kind).await.unwrap();
                assert_eq!(kind, [FRAME]);
                let Ok(bytes) = read_frame(&mut receive).await else { panic!("no frame {n}") };
                assert!(bytes == vec![n as u8; BYTES], "frame {n}");
            }
            receive
        });
        while sent < FRAMES {
            commands.send(frame(sent)).await.unwrap();
            sent += 1;
        }
        let mut receive = timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
        commands.send(LinkCommand::Ping).await.unwrap();
        commands.send(LinkCommand::Close { code: 4006, reason: "too slow".to_owned() }).await.unwrap();
        let mut rest = [9];
        receive.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, [PING]);
        let End::Lost(reason) = sending.await.unwrap() else { panic!("the node is not stopping") };
        assert_eq!(reason, "this node closed the link: too slow");
        drop(stop);
    }
}
