//! How a node is: what `get_status`, `/metrics`, `cairn status` and the tests read.

use serde::{Deserialize, Serialize};

use crate::link::RelayStatus;

/// Counts of what is in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Blocks that count.
    pub blocks: u64,
    /// Their entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The last block of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Whose lane.
    pub author: String,
    /// Its height.
    pub height: u64,
    /// The block's hash.
    pub hash: String,
}

/// A height in a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Whose lane.
    pub author: String,
    /// Where in it.
    pub height: u64,
}

/// How many linked nodes hold this node's own blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// The height of this node's own head, 0 before its first block.
    pub height: u64,
    /// The linked nodes that have all up to it durable.
    pub nodes: u32,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Its number at this node.
    pub link: u64,
    /// The peer, once it proved its key.
    pub node: Option<String>,
    /// `relay`, or `quic` or `websocket` for a direct link.
    pub path: String,
    /// Whether this node opened it.
    pub dialled: bool,
    /// Since when the peer is known, RFC 3339; nothing before it proved its key.
    pub since: Option<String>,
    /// µs from the last ping to its answer, once there was one.
    pub round_trip: Option<u64>,
    /// Bytes of frames received.
    pub received: u64,
    /// Bytes of frames sent.
    pub sent: u64,
    /// Blocks received of those that the peer had when the heads were compared.
    pub done: u64,
    /// The number of those.
    pub total: u64,
    /// Blocks still to be sent to the peer.
    pub remaining: u64,
}

/// Another node, where it can be reached directly, and whether it is on line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Who.
    pub node: String,
    /// Where it says that it is.
    pub addresses: Vec<String>,
    /// Whether it is on line, as far as this node knows.
    #[serde(default)]
    pub online: bool,
    /// Which way: the path of a direct link, `relay`, or `mesh` for over other nodes; nothing where it is off line.
    #[serde(default)]
    pub path: Option<String>,
    /// When it was on line last, RFC 3339.
    pub seen: Option<String>,
}

/// Blocks that wait for a parent or for their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Parked {
    /// How many.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One who came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Who.
    pub node: String,
    /// What it calls itself.
    pub name: Option<String>,
    /// `owner`, `admin`, `member` or `reader`.
    pub role: String,
    /// Since when, RFC 3339.
    pub joined: String,
    /// Who invited it; nobody the founder.
    pub by: Option<String>,
    /// Whether it was removed, or has left.
    pub removed: bool,
    /// Whether it is this node.
    pub me: bool,
}

/// An invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteInfo {
    /// Its block.
    pub block: String,
    /// Who wrote it.
    pub by: String,
    /// What newcomers may do.
    pub role: String,
    /// How many may come in.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// Until when, RFC 3339; for ever without it.
    pub expires: Option<String>,
    /// Whether anybody can still come in by it.
    pub open: bool,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// This node's id.
    pub node: String,
    /// Whom this node was before, the latest first: each lane is frozen, and the node went on with another key.
    #[serde(default)]
    pub former_nodes: Vec<String>,
    /// The ledger's id.
    pub ledger: String,
    /// The ledger's name; empty where nobody has given it one, or it cannot be read yet.
    pub name: String,
    /// Whether whoever knows the name may write.
    #[serde(default)]
    pub open: bool,
    /// What this node may do in a members' ledger: `owner`, `admin`, `member` or `reader`; nothing before it is in.
    #[serde(default)]
    pub role: Option<String>,
    /// Whether this node was removed, or has left.
    #[serde(default)]
    pub removed: bool,
    /// Members who were not removed; 0 in an open ledger.
    #[serde(default)]
    pub members: u64,
    /// Seconds since the host started.
    pub uptime_seconds: u64,
    /// Turns since the host started.
    pub turns: u64,
    /// What is in the ledger.
    pub totals: Totals,
    /// SHA-256 over all heads: equal digests, equal ledgers.
    pub digest: String,
    /// Arrival number of the newest block.
    pub last_seq: u64,
    /// The last block of every lane; a forked lane has several.
    pub heads: Vec<Tip>,
    /// The frozen lanes, each with the height from which it is frozen.
    pub frozen: Vec<Lane>,
    /// Who holds this node's own blocks.
    pub held: Held,
    /// Damaged or missing blocks that are still to come.
    pub repairing: u64,
    /// The key was restored from a backup, and this node writes nothing until another one has told what it has signed.
    #[serde(default)]
    pub restoring: bool,
    /// Blocks that wait.
    pub parked: Parked,
    /// Open links.
    pub links: Vec<LinkInfo>,
    /// Where this node says that it can be reached directly.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Other nodes that announced themselves or are linked, here or to a relay or node that is linked here.
    #[serde(default)]
    pub peers: Vec<PeerInfo>,
    /// The relays and how their links are.
    pub relays: Vec<RelayStatus>,
    /// Every node that is known, this one included.
    pub known_nodes: Vec<String>,
}
