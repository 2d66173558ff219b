//! Discovery on the local network, by mDNS (RFC 6762, RFC 6763): shows this node's endpoint, and tells the replica of others of its ledger.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use iroh::Endpoint;
use mdns_sd::{IfKind, IfPredicate, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo, TxtProperty};
use shared::{Address, Beacon, BeaconError, LedgerId};
use tokio::{
    sync::watch,
    time::{interval, timeout},
};
use tracing::{debug, warn};

use super::exchange::{CLOSE_TIMEOUT, stopping};
use crate::host::Host;

/// What nodes show themselves as.
const SERVICE: &str = "_cairn._udp.local.";
/// How often it is looked how much the daemon remembers, and the time between two daemons.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Records of others: with so many the daemon begins anew. A node has four or five.
const REMEMBERED: i64 = 8_192;
/// The names of the two parts of a [`Beacon`].
const TAG: &str = "tag";
const ID: &str = "id";

/// Why nobody is looked for.
#[derive(Debug, thiserror::Error)]
enum LanError {
    #[error(transparent)]
    Mdns(#[from] mdns_sd::Error),
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Shows an endpoint and looks for others until `shutdown` says true. One that no other machine reaches does neither.
pub(super) async fn discover(host: Host, endpoint: Endpoint, mut shutdown: watch::Receiver<bool>) {
    let sockets = reached(endpoint.bound_sockets());
    let Some(port) = sockets.first().map(SocketAddr::port) else { return };
    let ledger = host.ledger();
    loop {
        let (daemon, events) = match begin(&ledger, endpoint.id().as_bytes(), port, sockets.clone()) {
            Ok(begun) => begun,
            Err(error) => return warn!("nodes on the local network are not looked for: {error}"),
        };
        let stopped = tokio::select! {
            () = follow(&host, &daemon, &events) => false,
            () = stopping(&mut shutdown) => true,
        };
        // Whoever looks is told that it is gone.
        if let Ok(over) = daemon.shutdown() {
            _ = timeout(CLOSE_TIMEOUT, over.recv_async()).await;
        }
        if stopped || timeout(LOOK_EVERY, stopping(&mut shutdown)).await.is_ok() {
            return;
        }
    }
}

/// Tells the replica who is found, until so many show themselves that it is better to begin anew.
async fn follow(host: &Host, daemon: &ServiceDaemon, events: &Receiver<ServiceEvent>) {
    let mut look = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            event = events.recv_async() => match event {
                Ok(ServiceEvent::ServiceResolved(service)) => match read(&host.ledger(), &service) {
                    // Where the node has stopped, `shutdown` says so.
                    Ok(addresses) => _ = host.found(addresses).await,
                    Err(error) => debug!("{} on the local network is left alone: {error}", service.get_fullname()),
                },
                Ok(_) => {}
                // There was no place for all.
                Err(_) => return,
            },
            _ = look.tick() => {
                let remembered = remembered(daemon).await;
                if remembered > REMEMBERED {
                    return warn!("{remembered} records on the local network are more than Cairn nodes have: looking anew");
                }
            }
        }
    }
}

/// Records of others that the daemon keeps. It has no bound itself.
async fn remembered(daemon: &ServiceDaemon) -> i64 {
    let Ok(metrics) = daemon.get_metrics() else { return 0 };
    let metrics = metrics.recv_async().await.unwrap_or_default();
    metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| count).sum()
}

/// Where other machines reach an endpoint: all at one port, because one is all that can be said.
fn reached(mut sockets: Vec<SocketAddr>) -> Vec<SocketAddr> {
    sockets.retain(|socket| !socket.ip().is_loopback());
    let port = sockets.first().map(SocketAddr::port);
    sockets.retain(|socket| Some(socket.port()) == port);
    sockets
}

/// Names and salt are drawn anew, so that nothing of what is shown leads to another start, another ledger or the machine's name.
fn begin(
    ledger: &LedgerId,
    endpoint: &[u8; 32],
    port: u16,
    sockets: Vec<SocketAddr>,
) -> Result<(ServiceDaemon, Receiver<ServiceEvent>), LanError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let name = format!("{:016x}", getrandom::u64()?);
    let Beacon { tag, id } = Beacon::new(ledger, endpoint, salt);
    let parts = vec![TxtProperty::from((TAG, tag)), TxtProperty::from((ID, id))];
    let shown = ServiceInfo::new(SERVICE, &name, &format!("{name}.local."), (), port, parts)?;
    let mut shown = shown.enable_addr_auto();
    let interfaces = IfKind::Predicate(IfPredicate::new(move |interface| listens_at(&sockets, interface.ip())));
    shown.set_interfaces(vec![interfaces.clone()]);
    let daemon = ServiceDaemon::new()?;
    daemon.disable_interface(IfKind::All)?;
    daemon.enable_interface(interfaces)?;
    daemon.register(shown)?;
    let events = daemon.browse(SERVICE)?;
    Ok((daemon, events))
}

/// Whether other machines reach these sockets at an address of this machine. A link-local one of IPv6 means nothing without its interface.
fn listens_at(sockets: &[SocketAddr], ip: IpAddr) -> bool {
    let bound = |socket: &SocketAddr| match socket.ip() {
        all if all.is_unspecified() => all.is_ipv4() == ip.is_ipv4(),
        one => one == ip,
    };
    let scoped = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !scoped && !ip.is_loopback() && sockets.iter().any(bound)
}

/// The addresses of somebody else's endpoint.
fn read(ledger: &LedgerId, service: &ResolvedService) -> Result<Vec<Address>, BeaconError> {
    let part = |name| service.get_property_val(name).flatten().unwrap_or_default();
    let endpoint = Beacon::read(part(TAG), part(ID))?.open(ledger)?;
    let ips = service.get_addresses().iter();
    let mut sockets: Vec<SocketAddr> = ips.map(|ip| SocketAddr::new(ip.to_ip_addr(), service.get_port())).collect();
    sockets.sort_by_key(|socket| (socket.is_ipv6(), *socket));
    Ok(Address::of_endpoint(&hex::encode(endpoint), &sockets, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_other_machines_do_not_reach_is_not_shown() {
        assert_eq!(reached(sockets(&["127.0.0.1:3000", "[::1]:3000"])), []);
        let both = sockets(&["0.0.0.0:3000", "[::]:3000"]);
        assert_eq!(reached(both.clone()), both);
        assert_eq!(reached(sockets(&["0.0.0.0:3000", "[::]:3001"])), sockets(&["0.0.0.0:3000"]));
    }

    #[test]
    fn an_endpoint_is_shown_where_it_listens() {
        let cases = [
            ("0.0.0.0:1", ["192.168.1.5", "10.0.0.1"].as_slice(), ["fd00::1", "127.0.0.1"].as_slice()),
            ("[::]:1", &["fd00::1"], &["192.168.1.5", "fe80::1", "::1"]),
            ("192.168.1.5:1", &["192.168.1.5"], &["192.168.1.6", "fd00::1"]),
        ];
        for (socket, at, not_at) in cases {
            let listens = |ip: &&str| listens_at(&sockets(&[socket]), ip.parse().unwrap());
            assert!(at.iter().all(listens) && !not_at.iter().any(listens), "{socket}");
        }
    }
}
