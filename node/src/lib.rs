//! The native Cairn node: keeps a ledger in SQLite, serves Socket.IO, and links to relays.

pub mod admission;
pub mod blocks;
pub mod cli;
pub mod config;
pub mod control;
pub mod data;
pub mod host;
pub mod http;
pub mod keys;
pub mod ledgers;
pub mod link;
pub mod metrics;
pub mod salvage;
pub mod search;
#[cfg(test)]
mod shelf;
pub mod socketio;
pub mod store;
pub mod token;

/// Built together with the simulator, it would let in whoever calls itself simulated.
const _: () = assert!(!shared::key::SIMULATED, "a node must be built without the feature `sim` of `shared`");
