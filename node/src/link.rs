//! Links to other replicas: how they are, and the ways to open one.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    config::RelayUrl,
    host::Host,
    store::{SqliteReader, StoreError},
};

pub mod accept;
mod exchange;
mod lan;
mod network;
pub mod peer;
mod quic;
pub mod relay;
mod secret;
mod socket;

pub use self::network::Network;
pub use self::secret::{RelaySecret, UnusableSecret};

/// How the link to a relay is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RelayState {
    /// A connection is being opened.
    Dialling,
    /// The connection is open.
    Connected {
        /// The link's number.
        link: u64,
    },
    /// There is no connection; the next try comes by itself.
    Waiting {
        /// Why the last try or connection ended.
        reason: String,
    },
}

/// A relay and how its link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Where it is.
    pub url: String,
    /// How its link is.
    #[serde(flatten)]
    pub state: RelayState,
}

/// How all relays of a node are, shared between their tasks and whoever asks.
#[derive(Debug, Clone, Default)]
pub struct RelayBoard(Arc<Mutex<Vec<RelayStatus>>>);

impl RelayBoard {
    /// Notes how a relay is now.
    pub fn set(&self, url: &str, state: RelayState) {
        let mut relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match relays.iter_mut().find(|relay| relay.url == url) {
            Some(relay) => relay.state = state,
            None => relays.push(RelayStatus { url: url.to_owned(), state }),
        }
    }

    /// All relays as they are now.
    pub fn snapshot(&self) -> Vec<RelayStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The relays that were given, and those that came with the ledger, each once.
pub fn relays(given: &[RelayUrl], own: &[String]) -> Vec<RelayUrl> {
    let mut relays = given.to_vec();
    // What is no address any more is not worth the others.
    for relay in own.iter().filter_map(|relay| relay.parse().ok()) {
        if !relays.contains(&relay) {
            relays.push(relay);
        }
    }
    relays
}

/// A relay to dial, and the secret to show it.
#[derive(Debug, Clone)]
pub struct Dialled {
    /// Where it is.
    pub url: RelayUrl,
    /// What makes a ledger there.
    pub secret: Option<RelaySecret>,
}

/// The relays of a ledger: those that were given, and those that came with it. The secret is for those that this node's owner
/// chose; what a link brought along is somebody else's choice.
///
/// # Errors
/// When the store cannot be read.
pub fn to_dial(
    given: &[RelayUrl],
    secret: Option<&RelaySecret>,
    store: &SqliteReader,
) -> Result<Vec<Dialled>, StoreError> {
    let came_by_link = store.join()?.is_some();
    let shown = |url: &RelayUrl| secret.filter(|_| !came_by_link || given.contains(url)).cloned();
    let relays = relays(given, &store.relays()?);
    Ok(relays.into_iter().map(|url| Dialled { secret: shown(&url), url }).collect())
}

/// Keeps a link to each of these relays until `stopped` says true.
pub fn dial(
    host: &Host,
    relays: &[Dialled],
    network: &Network,
    stopped: &watch::Receiver<bool>,
    links: &mut JoinSet<()>,
) {
    for Dialled { url, secret } in relays {
        host.relays().set(&url.to_string(), RelayState::Dialling);
        links.spawn(relay::run(host.clone(), url.clone(), secret.clone(), network.clone(), stopped.clone()));
    }
}
