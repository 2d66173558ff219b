//! Links from node to node: dials whom the replica wants dialled, and takes in who dials this node.

use std::{
    future::pending,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use iroh::{Endpoint, Watcher, endpoint::Incoming};
use shared::{Address, DialId, LinkPath, NodeId, Role, limits::ADDRESSES};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tracing::{debug, info, warn};

use super::{
    Network,
    exchange::{CLOSE_TIMEOUT, End, stopping},
    lan, quic, socket,
};
use crate::{
    admission::{Admission, Newcomer},
    host::Host,
    ledgers::Direct,
};

/// How long the dial of one address may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long QUIC alone is tried, where it is one way of several.
const HEAD_START: Duration = Duration::from_secs(1);
/// How often it is looked which addresses this machine has, where the system does not tell.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Of the addresses of a node, so many are of its endpoint; most of these hold two of the machine's.
const ENDPOINT_ADDRESSES: usize = 4;

/// What the replica wants dialled. It wants a bounded number at a time.
#[derive(Debug)]
pub struct Wanted {
    /// Its number.
    pub dial: DialId,
    /// The best first.
    pub addresses: Vec<Address>,
}

/// Where other nodes reach this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What its owner says instead.
    pub announced: Vec<Address>,
}

impl Reached {
    /// The addresses as they are now, the best first: those of its endpoint, and those that its owner gave instead of where it listens. Where it
    /// listens on all, each that this machine has and that means something to other machines.
    fn addresses(&self, endpoint: Option<&Endpoint>) -> Vec<Address> {
        let given = |path| self.announced.iter().any(|address| address.path() == Some(path));
        let mut addresses = self.announced.clone();
        if !given(LinkPath::Quic)
            && let Some(endpoint) = endpoint
        {
            addresses.splice(..0, quic::addresses(&endpoint.addr(), ENDPOINT_ADDRESSES));
        }
        if self.announced.is_empty() {
            addresses.extend(self.sockets());
        }
        addresses.truncate(ADDRESSES);
        addresses
    }

    fn sockets(&self) -> Vec<Address> {
        let (ip, port) = (self.listen.ip(), self.listen.port());
        let mut ips = vec![ip];
        if ip.is_unspecified() {
            let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
                debug!("the addresses of this machine cannot be read: {error}");
                Vec::new()
            });
            let named = interfaces.iter().filter(|interface| !interface.is_loopback() && !interface.is_link_local());
            ips = named.map(if_addrs::Interface::ip).filter(|other| ip.is_ipv6() || other.is_ipv4()).collect();
            ips.sort_by_key(|ip| (ip.is_ipv6(), *ip));
            ips.dedup();
        }
        ips.iter().filter_map(|ip| format!("ws://{}", SocketAddr::new(*ip, port)).parse().ok()).collect()
    }
}

/// Meets the other nodes of one ledger.
pub(crate) struct Meeter {
    pub(crate) host: Host,
    /// Of its endpoint.
    pub(crate) secret: quic::Secret,
    pub(crate) direct: Direct,
    pub(crate) network: Network,
}

impl Meeter {
    /// Says where this node is, looks for others on the local network, dials whom the replica wants dialled, and takes in who dials its
    /// endpoint, until `shutdown` says true.
    pub(crate) async fn meet(self, mut wanted: mpsc::UnboundedReceiver<Wanted>, mut shutdown: watch::Receiver<bool>) {
        let Self { host, secret, direct: Direct { reached, internet, admission, .. }, mut network } = self;
        let endpoint = match quic::open(&secret, reached.listen, internet.as_deref()).await {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                warn!("no links by QUIC: {error}");
                None
            }
        };
        let mut placed = endpoint.as_ref().map(Endpoint::watch_addr);
        let mut links = JoinSet::new();
        if let Some(endpoint) = endpoint.clone() {
            links.spawn(lan::discover(host.clone(), endpoint, shutdown.clone()));
        }
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(Wanted { dial, addresses }) = wanted.recv() => {
                    let dialler = Dialler { host: host.clone(), endpoint: endpoint.clone(), network: network.clone() };
                    links.spawn(dialler.reach(dial, addresses, shutdown.clone()));
                }
                Some(incoming) = next(endpoint.as_ref()) => {
                    take_in(&host, incoming, &admission, &shutdown, &mut links);
                }
                Some(_) = links.join_next() => {}
                () = moved(placed.as_mut()) => host.reachable(reached.addresses(endpoint.as_ref())),
                () = network.changed() => host.reachable(reached.addresses(endpoint.as_ref())),
                _ = look.tick() => host.reachable(reached.addresses(endpoint.as_ref())),
                () = stopping(&mut shutdown) => break,
            }
        }
        while links.join_next().await.is_some() {}
        if let Some(endpoint) = endpoint {
            // What was said last is on its way; it waits for the answers.
            _ = timeout(CLOSE_TIMEOUT, endpoint.close()).await;
        }
    }
}

/// The next who dials this endpoint.
async fn next(endpoint: Option<&Endpoint>) -> Option<Incoming> {
    match endpoint {
        Some(endpoint) => endpoint.accept().await,
        None => pending().await,
    }
}

/// Resolves when an endpoint is somewhere else than before.
async fn moved(placed: Option<&mut impl Watcher>) {
    let watched = match placed {
        Some(placed) => placed.updated().await.is_ok(),
        None => false,
    };
    if !watched {
        pending().await
    }
}

/// Somebody dials this node's endpoint: as at `/link/`, whoever comes in vain too often is not asked in.
fn take_in(
    host: &Host,
    incoming: Incoming,
    admission: &Arc<Admission>,
    shutdown: &watch::Receiver<bool>,
    links: &mut JoinSet<()>,
) {
    if !quic::is_there(&incoming) {
        // It comes again, with a sign that it is. This one had no such sign, so that it can be asked for one.
        _ = incoming.retry();
        return;
    }
    let remote = quic::remote(&incoming);
    let newcomer = match admission.link(remote) {
        Ok(newcomer) => newcomer,
        Err(why) => {
            debug!("{remote} is not asked in: {why}");
            return incoming.refuse();
        }
    };
    let (host, admission, mut shutdown) = (host.clone(), admission.clone(), shutdown.clone());
    links.spawn(async move {
        let opened = tokio::select! {
            opened = quic::accept(incoming) => opened,
            () = stopping(&mut shutdown) => return,
        };
        let came_in = match opened {
            Ok(stream) => accepted(host, remote, Opened::<TcpStream>::Quic(stream), newcomer, shutdown).await,
            Err(reason) => {
                debug!("a connection from {remote} became no link: {reason}");
                false
            }
        };
        if !came_in {
            admission.link_failed(remote);
        }
    });
}

/// A connection on which frames can be exchanged.
pub(super) enum Opened<S> {
    Socket(WebSocketStream<S>),
    Quic(quic::Stream),
}

impl<S> Opened<S> {
    fn path(&self) -> LinkPath {
        match self {
            Self::Socket(_) => LinkPath::WebSocket,
            Self::Quic(_) => LinkPath::Quic,
        }
    }
}

type Dialled = Opened<MaybeTlsStream<TcpStream>>;

/// What it takes to dial.
struct Dialler {
    host: Host,
    endpoint: Option<Endpoint>,
    network: Network,
}

impl Dialler {
    /// Tries the addresses, and follows the link that comes of it to its end.
    async fn reach(mut self, dial: DialId, addresses: Vec<Address>, mut shutdown: watch::Receiver<bool>) {
        let dialled = loop {
            tokio::select! {
                dialled = first(&self.host, self.endpoint.as_ref(), &addresses) => break dialled,
                // What led nowhere may lead somewhere now.
                () = self.network.changed() => {}
                () = stopping(&mut shutdown) => return,
            }
        };
        match dialled {
            Some((place, opened)) => {
                follow(&self.host, Some(dial), &place, opened, || {}, &mut shutdown).await;
            }
            None => self.host.unreachable(dial),
        }
    }
}

/// The first of these addresses that leads to a node: by QUIC if it answers within [`HEAD_START`], or by whatever answers then.
async fn first(host: &Host, endpoint: Option<&Endpoint>, addresses: &[Address]) -> Option<(String, Dialled)> {
    let by_quic = async {
        for target in quic::targets(addresses) {
            let place = format!("at endpoint {}", target.id.fmt_short());
            let Some(endpoint) = endpoint else { break };
            match quic::dial(endpoint, target).await {
                Ok(stream) => return Some((place, Opened::Quic(stream))),
                Err(reason) => debug!("no link to the node {place}: {reason}"),
            }
        }
        None
    };
    let by_socket = async {
        if endpoint.is_some() && addresses.iter().any(|address| address.path() == Some(LinkPath::Quic)) {
            sleep(HEAD_START).await;
        }
        for address in addresses.iter().filter(|address| address.path() == Some(LinkPath::WebSocket)) {
            let url = format!("{}/link/{}", address.as_str().trim_end_matches('/'), host.ledger());
            match socket::dial(&url, None, DIAL_TIMEOUT).await {
                Ok(socket) => return Some((format!("at {address}"), Opened::Socket(socket))),
                Err(reason) => debug!("no link to the node at {address}: {reason}"),
            }
        }
        None
    };
    tokio::pin!(by_quic, by_socket);
    tokio::select! {
        Some(dialled) = &mut by_quic => Some(dialled),
        Some(dialled) = &mut by_socket => Some(dialled),
        else => None,
    }
}

/// A node dialled this one: moves frames until the connection ends. `newcomer`: its place until it has come in. Whether it did, or this node
/// stopped before.
pub(super) async fn accepted<S>(
    host: Host,
    from: IpAddr,
    opened: Opened<S>,
    newcomer: Newcomer,
    mut shutdown: watch::Receiver<bool>,
) -> bool
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let up = move || newcomer.admitted();
    follow(&host, None, &format!("from {from}"), opened, up, &mut shutdown).await
}

/// Follows a link to its end. Whether its peer came in, or this node stopped before.
async fn follow<S>(
    host: &Host,
    dial: Option<DialId>,
    place: &str,
    opened: Opened<S>,
    came_in: impl Fn() + Send + Sync,
    shutdown: &mut watch::Receiver<bool>,
) -> bool
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let role = if dial.is_some() { Role::Dialled } else { Role::Accepted };
    let Ok((port, commands)) = host.open_link(role, opened.path(), dial).await else { return true };
    let mut peer = None;
    let up = |node: NodeId| {
        came_in();
        info!("linked to node {} {place}", node.fmt_short());
        peer = Some(node);
    };
    let end = match opened {
        Opened::Socket(socket) => socket::exchange(&port, commands, socket, up, shutdown).await,
        Opened::Quic(stream) => quic::exchange(&port, commands, stream, up, shutdown).await,
    };
    let came = peer.is_some() || matches!(end, End::Stopped);
    match (end, peer) {
        (End::Lost(reason), Some(node)) => info!("no link any more to node {} {place}: {reason}", node.fmt_short()),
        // Strangers can make many of these.
        (End::Lost(reason), None) => debug!("a connection {place} became no link: {reason}"),
        (End::Stopped, _) => {}
    }
    came
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_where_it_listens_or_where_its_owner_says() {
        let told = |listen: &str, announced: &[&str]| {
            let announced = announced.iter().map(|text| text.parse().unwrap()).collect();
            let addresses = Reached { listen: listen.parse().unwrap(), announced }.addresses(None);
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told("127.0.0.1:3000", &[]), ["ws://127.0.0.1:3000"]);
        assert_eq!(told("[::1]:3000", &[]), ["ws://[::1]:3000"]);
        assert_eq!(told("0.0.0.0:3000", &["wss://node.example"]), ["wss://node.example"]);
        for address in told("0.0.0.0:3000", &[]) {
            assert!(
                address.ends_with(":3000") && !address.contains("0.0.0.0") && !address.contains("127.0."),
                "{address}"
            );
        }
    }
}
