//! Links to other replicas: how they are, and the ways to open one.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub mod relay;
mod secret;

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
