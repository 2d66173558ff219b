//! Links from node to node: dials whom the replica wants dialled, and takes in who dials this node.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use shared::{Address, DialId, LinkPath, Role};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_tungstenite::WebSocketStream;
use tracing::{debug, info};

use super::socket::{Dialled, End, dial, exchange, stopping};
use crate::{admission::Newcomer, host::Host};

/// How long the dial of one address may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked which addresses this machine has.
const LOOK_EVERY: Duration = Duration::from_secs(10);

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
    /// The addresses as they are now: those that its owner gave, or those that it listens on. Where it listens on all, each that this machine has and
    /// that means something to other machines.
    pub fn addresses(&self) -> Vec<Address> {
        if !self.announced.is_empty() {
            return self.announced.clone();
        }
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

/// Says where this node is, and dials whom the replica wants dialled, until `shutdown` says true.
pub async fn meet(
    host: Host,
    mut wanted: mpsc::UnboundedReceiver<Wanted>,
    reached: Reached,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut links = JoinSet::new();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(Wanted { dial, addresses }) = wanted.recv() => {
                links.spawn(reach(host.clone(), dial, addresses, shutdown.clone()));
            }
            Some(_) = links.join_next() => {}
            _ = look.tick() => host.reachable(reached.addresses()),
            () = stopping(&mut shutdown) => break,
        }
    }
    while links.join_next().await.is_some() {}
}

/// Tries one address after the other, and follows the link that comes of it to its end.
async fn reach(host: Host, dial: DialId, addresses: Vec<Address>, mut shutdown: watch::Receiver<bool>) {
    for address in addresses {
        let dialled = tokio::select! {
            dialled = dial_node(&host, &address) => dialled,
            () = stopping(&mut shutdown) => return,
        };
        match dialled {
            Ok(socket) => {
                follow(&host, Some(dial), &format!("at {address}"), socket, || {}, &mut shutdown).await;
                return;
            }
            Err(reason) => debug!("no link to the node at {address}: {reason}"),
        }
    }
    host.unreachable(dial);
}

async fn dial_node(host: &Host, address: &Address) -> Result<Dialled, String> {
    match address.path() {
        Some(LinkPath::WebSocket) => {
            let base = address.as_str().trim_end_matches('/');
            dial(&format!("{base}/link/{}", host.ledger()), None, DIAL_TIMEOUT).await
        }
        Some(LinkPath::Relay) | None => Err("this node knows no such way".to_owned()),
    }
}

/// A node dialled this one: moves frames until the connection ends. `newcomer`: its place until it has come in. Whether it did, or this node
/// stopped before.
pub(super) async fn accepted<S>(
    host: Host,
    from: IpAddr,
    socket: WebSocketStream<S>,
    newcomer: Newcomer,
    mut shutdown: watch::Receiver<bool>,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let up = move || newcomer.admitted();
    follow(&host, None, &format!("from {from}"), socket, up, &mut shutdown).await
}

/// Follows a link to its end. Whether its peer came in, or this node stopped before.
async fn follow<S>(
    host: &Host,
    dial: Option<DialId>,
    place: &str,
    socket: WebSocketStream<S>,
    came_in: impl Fn(),
    shutdown: &mut watch::Receiver<bool>,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let role = if dial.is_some() { Role::Dialled } else { Role::Accepted };
    let Ok((port, commands)) = host.open_link(role, LinkPath::WebSocket, dial).await else { return true };
    let mut peer = None;
    let up = |node: shared::NodeId| {
        came_in();
        info!("linked to node {} {place}", node.fmt_short());
        peer = Some(node);
    };
    let end = exchange(&port, commands, socket, up, shutdown).await;
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
            let addresses = Reached { listen: listen.parse().unwrap(), announced }.addresses();
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
