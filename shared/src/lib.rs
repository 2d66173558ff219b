//! The protocol and the ledger rules of Cairn: decides, and does nothing.
//!
//! No sockets, clocks, files, threads, randomness or async: time, seeds and keys come in as values, and what is to be
//! done comes out as [`Effect`]s. The node, the relay and the browser all run this code.
#![no_std]

extern crate alloc;

#[macro_use]
pub mod mutants;

pub mod announce;
pub mod audit;
pub mod block;
pub mod directed;
pub mod effect;
pub mod erase;
pub mod evidence;
mod freeze;
pub mod id;
pub mod incoming;
pub mod key;
pub mod lan;
pub mod ledger;
pub mod limits;
pub mod members;
pub mod names;
pub mod order;
mod pace;
mod park;
pub mod parts;
mod proofs;
mod random;
pub mod repair;
pub mod replica;
pub mod room;
pub mod seal;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod succession;
mod sync;
pub mod time;
pub mod token;
pub mod view;
pub mod wire;

pub use announce::{Address, Announcement};
pub use block::{Block, BlockError, Entry, Header, Kind, VerifiedBlock};
pub use directed::Directed;
pub use effect::{AppendError, CloseReason, DialId, DirectedError, Effect, Input, LinkId, LinkPath, Role};
pub use evidence::Evidence;
pub use id::{BlockHash, EntryId, IdError, LedgerId, NodeId};
pub use incoming::{Frame, Incoming};
pub use key::Key;
pub use lan::{Beacon, BeaconError};
pub use order::OrderKey;
pub use proofs::Proof;
pub use replica::{Config, Replica, ReplicaError};
pub use seal::{EpochId, EpochKey, Keyring, Place, Rekey, SealError};
pub use store::{MemoryStore, Page, ReadStore, Record, Store, Summary};
pub use succession::Succession;
pub use time::Timestamp;
pub use token::{Token, TokenError};
