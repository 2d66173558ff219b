//! The link to a relay: dials, moves frames between socket and host, and dials again, for ever.

use std::time::Duration;

use shared::{LinkPath, Role, time::Backoff};
use tokio::{sync::watch, time::sleep};
use tracing::{debug, info, warn};

use super::{
    Network, RelaySecret, RelayState,
    exchange::{End, stopping},
    socket::{Dialled, dial, exchange},
};
use crate::{
    config::RelayUrl,
    host::{Host, Stopped},
};

/// How long a dial may take: name, TCP, TLS and the upgrade.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps a link to the relay until `shutdown` says true.
///
/// `secret` is shown to the relay, which may then make the ledger's room: only to one that this node's owner has
/// configured, never to one that came with an invite.
pub async fn run(
    host: Host,
    relay: RelayUrl,
    secret: Option<RelaySecret>,
    mut network: Network,
    mut shutdown: watch::Receiver<bool>,
) {
    let url = relay.to_string();
    let room = relay.room(&host.ledger());
    if secret.is_some() && relay.is_in_the_clear() {
        warn!("the relay secret travels to {url} unencrypted, and everybody on the way can read it: use wss://");
    }
    let mut backoff = Backoff::default();
    let mut before = None;
    let mut first = true;
    loop {
        host.relays().set(&url, RelayState::Dialling);
        let dialled = tokio::select! {
            dialled = dial_room(&room, secret.as_ref()) => dialled,
            () = stopping(&mut shutdown) => return,
        };
        let end = match dialled {
            Ok(socket) => {
                before = None;
                follow(&host, &url, socket, &mut backoff, &mut shutdown).await
            }
            Err(reason) => {
                if first {
                    host.dial_failed();
                }
                End::Lost(reason)
            }
        };
        first = false;
        let End::Lost(reason) = end else { return };
        let wait = Duration::from_micros(backoff.wait(random()));
        // That a relay cannot be reached is told once, not with every try.
        let told = format!("no link to the relay {url}: {reason}; next try in {:.1} s", wait.as_secs_f64());
        if before.as_ref() == Some(&reason) {
            debug!("{told}");
        } else {
            info!("{told}");
        }
        before = Some(reason.clone());
        host.relays().set(&url, RelayState::Waiting { reason });
        tokio::select! {
            () = sleep(wait) => {}
            () = network.changed() => backoff.reset(),
            () = stopping(&mut shutdown) => return,
        }
    }
}

/// Spreads the dials of many nodes; where the system has no random bytes all wait the longest.
fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

async fn dial_room(room: &str, secret: Option<&RelaySecret>) -> Result<Dialled, String> {
    let secret = secret.map(RelaySecret::authorization).transpose().map_err(|error| error.to_string())?;
    dial(room, secret, DIAL_TIMEOUT).await
}

/// Moves frames until the connection ends, whoever ends it.
async fn follow(
    host: &Host,
    url: &str,
    socket: Dialled,
    backoff: &mut Backoff,
    shutdown: &mut watch::Receiver<bool>,
) -> End {
    let (port, commands) = match host.open_link(Role::Dialled, LinkPath::Relay, None).await {
        Ok(link) => link,
        Err(Stopped) => return End::Stopped,
    };
    host.relays().set(url, RelayState::Connected { link: port.id().0 });
    let up = |node: shared::NodeId| {
        info!("connected to the relay {url} (node {})", node.fmt_short());
        // Only now: a relay that takes connections and drops them must not be dialled without a pause.
        backoff.reset();
    };
    exchange(&port, commands, socket, up, shutdown).await
}
