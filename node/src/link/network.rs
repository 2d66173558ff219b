//! The machine's own network: says when its addresses or routes change, or the machine wakes up.

use std::future::pending;

use iroh::Watcher;
use netwatch::netmon::Monitor;
use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, warn};

use super::exchange::stopping;
use crate::host::Host;

/// Hears of changes. Without a source nothing ever changes.
#[derive(Debug, Clone, Default)]
pub struct Network(Option<watch::Receiver<()>>);

impl Network {
    /// Begins to look, until nobody wants to know any more. Where the system does not tell, nothing changes.
    pub async fn watch() -> Self {
        let monitor = match Monitor::new().await {
            Ok(monitor) => monitor,
            Err(error) => {
                warn!("changes of this machine's network are not seen: {error}");
                return Self::default();
            }
        };
        let (changed, changes) = watch::channel(());
        tokio::spawn(async move {
            let mut state = monitor.interface_state();
            loop {
                tokio::select! {
                    Ok(state) = state.updated() => {
                        debug!("the network of this machine has changed: {state}");
                        changed.send_replace(());
                    }
                    () = changed.closed() => break,
                    else => break,
                }
            }
        });
        Self(Some(changes))
    }

    /// Resolves after the next change.
    pub async fn changed(&mut self) {
        let changed = match &mut self.0 {
            Some(changes) => changes.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            pending().await
        }
    }

    /// Tells a host of every change until `stopped` says true.
    pub fn tell(&self, host: &Host, stopped: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        let (host, mut network, mut stopped) = (host.clone(), self.clone(), stopped.clone());
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = network.changed() => host.network_changed(),
                    () = stopping(&mut stopped) => break,
                }
            }
        });
    }
}
