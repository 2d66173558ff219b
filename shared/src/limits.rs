//! Every limit of the protocol, in one place. Each names its unit; `cairn limits` prints them.

use core::net::{IpAddr, Ipv6Addr};

use crate::time::{MINUTE, SECOND};

/// Bytes of one payload.
pub const PAYLOAD_BYTES: usize = 64 * 1024;
/// Entries of one block.
pub const BLOCK_ENTRIES: usize = 256;
/// Bytes of one encoded block.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// Bytes of one encoded block that lacks payloads: a short one is shorter than its commitment.
pub const ENCODED_BLOCK_BYTES: usize = BLOCK_BYTES + 17 * BLOCK_ENTRIES;
/// Parents of one block.
pub const BLOCK_PARENTS: usize = 16;
/// Bytes of one frame of a link.
pub const FRAME_BYTES: usize = 512 * 1024;
/// Bytes of blocks that one frame aims for when many wait (a single larger block still goes alone).
pub const FRAME_TARGET_BYTES: usize = 64 * 1024;
/// The same between two nodes.
pub const DIRECT_FRAME_TARGET_BYTES: usize = 256 * 1024;
/// Bytes of blocks on their way to a peer that has not given credit back for them.
pub const LINK_WINDOW_BYTES: u64 = 256 * 1024;
/// The same between two nodes: what a turn takes in has one commit, and one of a few blocks costs as much as one of many.
pub const DIRECT_WINDOW_BYTES: u64 = 1024 * 1024;
/// Frames with blocks on their way to a peer that has not given credit back for them.
pub const LINK_WINDOW_FRAMES: u64 = 512;
/// With so few lanes, all heads go out unasked when a link comes up, which saves a round trip.
pub const HEADS_UNASKED: usize = 64;
/// Heads of a peer that are looked up in lanes here, by their heights, before it is asked for them.
pub const HEADS_LOOKED_UP: usize = 64;
/// Heads in one frame; more go in further pages.
pub const HEADS_PER_FRAME: usize = 2048;
/// Bytes of parked blocks that one link may hold.
pub const PARKED_LINK_BYTES: usize = 1024 * 1024;
/// Bytes of parked blocks in all.
pub const PARKED_BYTES: usize = 64 * 1024 * 1024;
/// Missing blocks asked for in one frame.
pub const WANTED_PER_FRAME: usize = 64;
/// Missing blocks that one link may owe an answer for.
pub const WANTED_PER_LINK: usize = 1024;
/// Damaged or missing blocks that a replica asks its links for until they come.
pub const REPAIR_BLOCKS: usize = 16_384;
/// Blocks with payloads that are missing though nobody erased them, of which a replica knows by heart; further ones it finds
/// again in its store.
pub const WITHHELD_BLOCKS: usize = 16_384;
/// Links that are asked for missing payloads at once.
pub const WITHHELD_LINKS: usize = 8;
/// Lanes of which an erase of one and the same entry is remembered.
pub const ERASES_PER_ENTRY: usize = 16;
/// Bytes of zone blocks without a voucher, kept in case one comes.
pub const ZONE_BYTES: usize = 16 * 1024 * 1024;
/// Blocks, or entries / 16, between two checkpoints of what a replica keeps in memory.
pub const CHECKPOINT_BLOCKS: u64 = 4096;
/// Blocks of one lane that answer one request for a missing block.
pub const ANSWER_BLOCKS: usize = 256;
/// Proofs of forks of which a replica remembers whether they are true.
pub const KNOWN_PROOFS: usize = 16_384;
/// Blocks of which a replica remembers the freezes in their past.
pub const KNOWN_PASTS: usize = 16_384;
/// Waiting blocks that are gone through at every chance to find a voucher; where more wait, once in [`ZONE_EVERY`].
pub const ZONE_AT_ONCE: usize = 64;
/// µs between two looks through many blocks that wait for a voucher.
pub const ZONE_EVERY: u64 = SECOND;
/// Authors that a replica knows.
pub const AUTHORS: usize = 10_000;
/// Proofs of forks that a replica keeps, one for each forked lane.
pub const FORKED_LANES: usize = AUTHORS;
/// Members between a member and the founder: each invited the next.
pub const INVITE_DEPTH: u16 = 32;
/// Blocks that show how somebody came in: the founder's first, and an invite and a join for each step.
pub const MEMBERSHIP_BLOCKS: usize = 2 * INVITE_DEPTH as usize + 1;
/// Blocks of the proof of a removal: how both came in, an invite, and the removal.
pub const REMOVAL_BLOCKS: usize = 2 * MEMBERSHIP_BLOCKS + 2;
/// Bytes of the genesis in a token.
pub const TOKEN_GENESIS_BYTES: usize = 256;
/// Relays in a token.
pub const TOKEN_RELAYS: usize = 8;
/// Bytes of a relay's address in a token.
pub const TOKEN_RELAY_BYTES: usize = 256;
/// Characters of a token: what all its parts at their limits need, and some room.
pub const TOKEN_CHARS: usize = 4096;
/// Epoch keys that a node holds for one ledger: each of the 10,000 authors may be removed once, and some epochs begin side
/// by side.
pub const EPOCHS: usize = 16_384;
/// Previous keys that one rekey hands on: as many as a block has parents.
pub const PREVIOUS_EPOCHS: usize = 16;
/// Epoch keys that a node holds when it begins no further epoch just because somebody wants one: the rest is for removals.
pub const REKEYS: usize = EPOCHS - AUTHORS;
/// Bytes of the name of a member or of a ledger.
pub const NAME_BYTES: usize = 64;
/// Bytes of the JSON string of a name, each of whose characters may be written as `\u0061`.
pub const NAME_JSON_BYTES: usize = 6 * NAME_BYTES + 2;
/// Invites that a replica can list; of more the oldest are left out, those first that are closed.
pub const INVITES: usize = 1024;
/// Keys that are kept unpacked, to check signatures with.
pub const SIGNERS: usize = 1024;
/// Bytes from which on the blocks of a frame are worth being checked on another core.
pub const CHECK_AHEAD_BYTES: usize = 8 * 1024;
/// Links of one relay object or hub whose peers belong.
pub const LINKS: usize = 5_000;
/// Links of one hub whose peers have yet to show that they belong; one more closes one of them. With so many, a newcomer
/// whose proof takes 100 ms comes in through 5,000 strangers a second three times out of five, and in ten tries surely.
pub const DOOR_LINKS: usize = 1_024;
/// Bytes of a frame of a peer that has not proved its key. A greeting has under 200.
pub const GREETING_BYTES: usize = 1024;
/// Bytes with blocks that a hub with a pace takes from one peer at once: half of a million short entries.
pub const PEER_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes with blocks that it takes from one peer in a second after that: a window, because credit goes out once a second.
pub const PEER_BYTES_PER_SECOND: u64 = LINK_WINDOW_BYTES;
/// Frames with blocks, and messages that need no credit, that a hub, or a node over a direct link, takes from one peer at once.
pub const PEER_FRAMES: u64 = 4_096;
/// Messages without need of credit that may come for each frame that was sent to the peer.
pub const ANSWERS: u64 = 16;
/// Frames and messages that it takes from one peer in a second after that. A Durable Object takes about 3,500 from all.
pub const PEER_FRAMES_PER_SECOND: u64 = 100;
/// Blocks of one author that it takes at once: what a first sync brings.
pub const AUTHOR_BLOCKS: u64 = 16_384;
/// Blocks of its own lane that a node takes at once from a member over a direct link, while others write too.
pub const MEMBER_BLOCKS: u64 = 64;
/// µs for each further one after that.
pub const MEMBER_BLOCK_EVERY: u64 = 2_000;
/// µs since others wrote last in which that is so.
pub const MEMBERS_WRITE: u64 = SECOND;
/// Blocks, or other messages, of a frame that a node reads before others have their turn.
pub const SLICE: usize = 16;
/// Announcements of one node that others take at once.
pub const ANNOUNCEMENTS: u32 = 64;
/// µs for each further one after that.
pub const ANNOUNCEMENT_EVERY: u64 = 250_000;
/// Authors whose debt outlives a sleep: the deepest.
pub const AUTHORS_IN_DEBT: usize = 256;
/// Blocks between two notes of who is in debt. Each note is a row, and so many blocks of one author a sleep may forget.
pub const DEBT_BLOCKS: u64 = 16;
/// Faults (frames that do not parse) that a text client may make before it is closed.
pub const TEXT_FAULTS: u32 = 16;
/// Bytes of one text frame.
pub const TEXT_FRAME_BYTES: usize = 128 * 1024;
/// Bytes of an id in a text frame.
pub const TEXT_ID_BYTES: usize = 128;
/// Ids that one text client may announce.
pub const TEXT_IDS: usize = 8;
/// Bytes of one brokered text frame times its recipients.
pub const TEXT_FANOUT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes sent to all text clients of a room, each since its last frame.
pub const TEXT_UNREAD_BYTES: usize = 64 * 1024 * 1024;
/// Entries of one page of a text answer.
pub const TEXT_PAGE_ENTRIES: usize = 500;
/// Bytes of one page of entries.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// Entries of one answer to `get_ledger`.
pub const LEDGER_ENTRIES: usize = 10_000;
/// Entries of one `append_many`.
pub const APPEND_ENTRIES: usize = 10_000;
/// Entries waiting for the end of a turn to become blocks.
pub const TURN_ENTRIES: usize = 16_384;
/// Bytes of payloads waiting for the end of a turn.
pub const TURN_BYTES: usize = 8 * 1024 * 1024;
/// Wishes of a node's owner waiting until it is known what the node has written; one more is refused.
pub const WISHES: usize = 64;
/// Socket.IO clients of one node.
pub const CLIENTS: usize = 18_000;
/// Bytes of one Socket.IO message. A larger one is answered with an error.
pub const CLIENT_MESSAGE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of one Socket.IO frame. A larger one ends the connection before it is read.
pub const CLIENT_FRAME_BYTES: usize = 2 * CLIENT_MESSAGE_BYTES;
/// Commands of one Socket.IO client that wait for their turn.
pub const CLIENT_QUEUE: usize = 4096;
/// Entries of one Socket.IO client on their way to the disk; what it sends meanwhile waits in its own queue, so that
/// nobody else waits behind it. One larger append still goes alone.
pub const CLIENT_APPENDS: usize = 1024;
/// Errors of commands that found no place, waiting to be told to one Socket.IO client; one more closes its connection.
pub const CLIENT_REFUSALS: usize = 65_536;
/// Bytes of commands of one Socket.IO client that wait for their turn.
pub const CLIENT_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of commands of all Socket.IO clients that wait for their turn.
pub const CLIENTS_QUEUE_BYTES: usize = 256 * 1024 * 1024;
/// Packets on their way to one Socket.IO client.
pub const CLIENT_PACKETS: usize = 128;
/// Bytes on their way to one Socket.IO client inside the node; what is more waits until the client has taken some.
pub const CLIENT_UNSENT_BYTES: usize = 64 * 1024;
/// Bytes that the operating system may keep for one Socket.IO client, not counting what it needs to keep them.
pub const CLIENT_SEND_BUFFER: usize = 128 * 1024;
/// Bytes of blocks read at once for one Socket.IO client that is behind. A single larger block still goes alone.
pub const CLIENT_PAGE_BYTES: usize = 64 * 1024;
/// Entries read at once for one Socket.IO client that is behind. A single larger block still goes alone.
pub const CLIENT_PAGE_ENTRIES: usize = 200;
/// Entries that answers to `get_ledger`, to all Socket.IO clients, may have at once while they are read or on their way.
pub const LEDGER_ANSWERS_ENTRIES: usize = 256 * 1024;
/// Bytes of blocks of one answer to `get_ledger` for the newest entries.
pub const LEDGER_BYTES: usize = 8 * 1024 * 1024;
/// Blocks that a client may name at once to read them.
pub const NAMED_BLOCKS: usize = 256;
/// Entries that one search gives at most.
pub const FOUND_ENTRIES: usize = 100;
/// Bytes of what is searched for.
pub const QUERY_BYTES: usize = 1024;
/// Words of what is searched for.
pub const QUERY_WORDS: usize = 32;
/// Entries of one ledger that a search looks through: the newest ones.
pub const SEARCHED_ENTRIES: usize = 1_000_000;
/// Bytes of text in them.
pub const SEARCHED_BYTES: usize = 256 * 1024 * 1024;
/// Parts into which a drawn past is divided at most.
pub const HISTORY_PARTS: u64 = 2_000;
/// Blocks of it that are each told of at most.
pub const HISTORY_BLOCKS: u64 = 2_000;
/// Parts in which somebody wrote, over all lanes.
pub const HISTORY_CELLS: usize = 64 * 1024;
/// Bytes of blocks that are read to tell of each.
pub const HISTORY_BYTES: usize = 32 * 1024 * 1024;

/// µs until both sides of a link must have proved their keys.
pub const HANDSHAKE: u64 = 5 * SECOND;
/// µs of silence after which the dialling side pings.
pub const PING_EVERY: u64 = 25 * SECOND;
/// µs after a ping until a silent link counts as dead.
pub const PING_TIMEOUT: u64 = 20 * SECOND;
/// µs of silence after which either side of a direct link pings: who was killed says nothing by QUIC.
pub const DIRECT_PING_EVERY: u64 = 4 * SECOND;
/// µs after such a ping until the link counts as dead. A node may stand still for some seconds.
pub const DIRECT_PING_TIMEOUT: u64 = 6 * SECOND;
/// µs that a node has to say that it is there after all, once somebody has lost its link to it.
pub const GONE_AFTER: u64 = 7 * SECOND;
/// Nodes that one peer may say to be gone at once.
pub const GONE_AT_ONCE: u32 = 1_024;
/// µs for each further one after that.
pub const GONE_EVERY: u64 = 250_000;
/// µs that what a node says of itself holds; and after which one with direct links says it again.
pub const ANNOUNCED_FOR: u64 = 45 * MINUTE;
/// See [`ANNOUNCED_FOR`].
pub const ANNOUNCE_EVERY: u64 = 15 * MINUTE;
/// µs between two looks at who is on line.
pub const PRESENCE_EVERY: u64 = 500_000;
/// µs that a link may owe credit before it is closed.
pub const STALL_TIMEOUT: u64 = 20 * SECOND;
/// µs that a Socket.IO client may take no data before its connection is closed.
pub const CLIENT_STALL: u64 = 8 * SECOND;
/// µs between two looks at whether a Socket.IO client has room again.
pub const CLIENT_RETRY: u64 = 5_000;
/// µs that a block's time may be ahead of the local clock before it waits.
pub const CLOCK_WINDOW: u64 = 10 * MINUTE;
/// µs after its start that a node waits for its own lane to come in before it signs anything, and that it waits for each
/// further block of it.
pub const OWN_LANE: u64 = 5 * SECOND;
/// µs that this may take in all while blocks of the own lane keep coming.
pub const OWN_LANE_MOST: u64 = MINUTE;
/// Tips of its own lane that a node waits for on one link.
pub const OWN_TIPS: usize = 16;
/// Times that a node which has not signed anything yet waits anew because a peer says that it has more of the node's lane.
pub const OWN_WAITS: u32 = 8;
/// µs in which a member begins an epoch, or gives its key to who came in, if the one who removed or invited does not.
pub const REKEY_WITHIN: u64 = 20 * SECOND;
/// µs between two requests for missing payloads.
pub const WITHHELD_EVERY: u64 = 2 * SECOND;
/// µs for each block of one author that a hub with a pace takes after [`AUTHOR_BLOCKS`]. Rows written are what a free account
/// has least of, 100,000 a day: a block costs four and its credit one, so in the long run one author takes less than half.
pub const AUTHOR_BLOCK_EVERY: u64 = 10 * SECOND;
/// µs between two times that a hub gives back credit late, at least.
pub const CREDIT_EVERY: u64 = SECOND;
/// The same of a node: in small parts, so that nobody waits behind what comes of it.
pub const MEMBER_CREDIT_EVERY: u64 = 20_000;
/// µs between two signs to a peer that its credit is late and not forgotten. It gives up after [`STALL_TIMEOUT`].
pub const CREDIT_SIGN: u64 = 15 * SECOND;
/// µs between two comparisons of heads that a full parking place made necessary.
pub const RESYNC_EVERY: u64 = SECOND;
/// µs of the first wait before a link is dialled again.
pub const RECONNECT_FIRST: u64 = 200_000;
/// µs of the longest wait before a link is dialled again.
pub const RECONNECT_MOST: u64 = 20 * SECOND;

/// Addresses of one node.
pub const ADDRESSES: usize = 8;
/// Bytes of one address.
pub const ADDRESS_BYTES: usize = 128;
/// Bytes of all addresses in an announcement, encoded and sealed.
pub const ANNOUNCEMENT_BYTES: usize = ADDRESSES * (ADDRESS_BYTES + 2) + 64;
/// Nodes whose announcements a node keeps.
pub const KNOWN_PEERS: usize = 1_024;
/// Announcements of others that a new link is told at once.
pub const ANNOUNCED_AT_ONCE: usize = 64;
/// Others to all of whom a node looks for direct links.
pub const DIRECT_LINKS_TO_ALL: usize = 8;
/// Direct links that a node looks for where there are more others. If everybody dials so many, [`DIRECT_LINKS`] leave room at a third of them.
pub const DIRECT_LINKS_WANTED: usize = 4;
/// Direct links of a node in one ledger.
pub const DIRECT_LINKS: usize = 12;
/// Addresses that a node is given by hand.
pub const GIVEN_PEERS: usize = 64;
/// Endpoints found on the local network that a node remembers.
pub const FOUND_NODES: usize = 64;
/// µs that the node with the greater id waits for the other one to dial it.
pub const DIAL_SECOND: u64 = 1_500_000;
/// µs between two messages that say what is here, over a link that carries no new blocks.
pub const HAVE_EVERY: u64 = 50_000;
/// µs until a block that a peer says to have is asked for, where it should come by another way.
pub const GRAFT_AFTER: u64 = 300_000;
/// The same while many blocks come in.
pub const GRAFT_AFTER_SYNC: u64 = 10 * SECOND;
/// The same over a link that carries new blocks.
pub const GRAFT_AGAIN: u64 = 2 * SECOND;
/// µs of silence on a direct link after something was sent that the peer answers at once, until it is asked whether it lives.
pub const SILENCE: u64 = 500_000;
/// µs that a direct link may take to answer when what it should have brought came by another one, or what was sent over it was not answered.
pub const SUSPECT_TIMEOUT: u64 = 1_500_000;
/// µs between two further neighbours that a node tries which draws its neighbours.
pub const PROBE_EVERY: u64 = MINUTE;
/// µs until it is decided which neighbour goes for it; and between two that are tried while something does not come.
pub const PROBE_FOR: u64 = 5 * SECOND;
/// Bytes of a message from one node to one other, before it is sealed.
pub const DIRECTED_BYTES: usize = 32 * 1024;
/// Messages to one other node that a node may send at once; of others it takes twice as many.
pub const DIRECTED_AT_ONCE: u32 = 64;
/// µs for each further one after that, of others half.
pub const DIRECTED_EVERY: u64 = 50_000;
/// Messages of one sender that are known again when they come by another way; what is older than all of them is dropped.
pub const DIRECTED_WINDOW: usize = 64;
/// Bytes of messages to one other node that wait for credit on one link.
pub const DIRECTED_WAITING: usize = 256 * 1024;
/// Dials without success, one after the other, until a node is forgotten that did not announce itself again.
pub const DIALS_IN_VAIN: u32 = 30;
/// µs until a better path to a node that is linked directly is tried again.
pub const UPGRADE_EVERY: u64 = MINUTE;
/// µs between two notes of known peers.
pub const PEERS_EVERY: u64 = 5 * SECOND;

/// Name, value and unit of every limit that a user can meet.
pub const TABLE: &[(&str, u64, &str)] = &[
    ("payload", PAYLOAD_BYTES as u64, "bytes"),
    ("entries per block", BLOCK_ENTRIES as u64, "entries"),
    ("block", BLOCK_BYTES as u64, "bytes"),
    ("parents per block", BLOCK_PARENTS as u64, "blocks"),
    ("link frame", FRAME_BYTES as u64, "bytes"),
    ("link window", LINK_WINDOW_BYTES, "bytes"),
    ("direct link window", DIRECT_WINDOW_BYTES, "bytes"),
    ("link window", LINK_WINDOW_FRAMES, "frames"),
    ("parked blocks per link", PARKED_LINK_BYTES as u64, "bytes"),
    ("parked blocks in all", PARKED_BYTES as u64, "bytes"),
    ("blocks under repair", REPAIR_BLOCKS as u64, "blocks"),
    ("blocks with withheld payloads", WITHHELD_BLOCKS as u64, "blocks"),
    ("void blocks in case of a voucher", ZONE_BYTES as u64, "bytes"),
    ("known authors", AUTHORS as u64, "authors"),
    ("members between one and the founder", INVITE_DEPTH as u64, "members"),
    ("epoch keys of one ledger", EPOCHS as u64, "keys"),
    ("invite token", TOKEN_CHARS as u64, "characters"),
    ("relays in an invite token", TOKEN_RELAYS as u64, "relays"),
    ("name of a member or a ledger", NAME_BYTES as u64, "bytes"),
    ("invites in the list", INVITES as u64, "invites"),
    ("links per hub", LINKS as u64, "links"),
    ("others to all of whom a node links directly", DIRECT_LINKS_TO_ALL as u64, "nodes"),
    ("direct links that a node looks for among more", DIRECT_LINKS_WANTED as u64, "links"),
    ("direct links of a node", DIRECT_LINKS as u64, "links"),
    ("known peers", KNOWN_PEERS as u64, "nodes"),
    ("peers given by hand", GIVEN_PEERS as u64, "addresses"),
    ("endpoints found on the local network", FOUND_NODES as u64, "endpoints"),
    ("addresses of a node", ADDRESSES as u64, "addresses"),
    ("address", ADDRESS_BYTES as u64, "bytes"),
    ("message to one node", DIRECTED_BYTES as u64, "bytes"),
    ("messages to one node, at once", DIRECTED_AT_ONCE as u64, "messages"),
    ("links at a hub's door", DOOR_LINKS as u64, "links"),
    ("frame before a proof", GREETING_BYTES as u64, "bytes"),
    ("of one peer at a relay, at once", PEER_BYTES, "bytes"),
    ("of one peer at a relay, then", PEER_BYTES_PER_SECOND, "bytes/s"),
    ("of one peer at a relay, at once", PEER_FRAMES, "frames"),
    ("of one peer at a relay, then", PEER_FRAMES_PER_SECOND, "frames/s"),
    ("of one author at a relay, at once", AUTHOR_BLOCKS, "blocks"),
    ("of a member's own blocks over a direct link beside others, at once", MEMBER_BLOCKS, "blocks"),
    ("announcements of one node, at once", ANNOUNCEMENTS as u64, "announcements"),
    ("text frame", TEXT_FRAME_BYTES as u64, "bytes"),
    ("ids of a text client", TEXT_IDS as u64, "ids"),
    ("id in a text frame", TEXT_ID_BYTES as u64, "bytes"),
    ("text frame times recipients", TEXT_FANOUT_BYTES as u64, "bytes"),
    ("unread by text clients", TEXT_UNREAD_BYTES as u64, "bytes"),
    ("faults of a text client", TEXT_FAULTS as u64, "frames"),
    ("entries of one answer", LEDGER_ENTRIES as u64, "entries"),
    ("entries of one append_many", APPEND_ENTRIES as u64, "entries"),
    ("Socket.IO clients", CLIENTS as u64, "clients"),
    ("Socket.IO message", CLIENT_MESSAGE_BYTES as u64, "bytes"),
    ("Socket.IO frame", CLIENT_FRAME_BYTES as u64, "bytes"),
    ("commands waiting per client", CLIENT_QUEUE as u64, "commands"),
    ("commands waiting per client", CLIENT_QUEUE_BYTES as u64, "bytes"),
    ("entries being appended per client", CLIENT_APPENDS as u64, "entries"),
    ("errors waiting per client", CLIENT_REFUSALS as u64, "errors"),
    ("commands waiting in all", CLIENTS_QUEUE_BYTES as u64, "bytes"),
    ("unsent per client", CLIENT_UNSENT_BYTES as u64, "bytes"),
    ("unsent per client in the system", CLIENT_SEND_BUFFER as u64, "bytes"),
    ("entries on their way in answers", LEDGER_ANSWERS_ENTRIES as u64, "entries"),
    ("newest entries in one answer", LEDGER_BYTES as u64, "bytes"),
    ("blocks named at once", NAMED_BLOCKS as u64, "blocks"),
    ("entries of one search", FOUND_ENTRIES as u64, "entries"),
    ("what is searched for", QUERY_BYTES as u64, "bytes"),
    ("what is searched for", QUERY_WORDS as u64, "words"),
    ("newest entries that are searched", SEARCHED_ENTRIES as u64, "entries"),
    ("text that is searched", SEARCHED_BYTES as u64, "bytes"),
    ("parts of a drawn past", HISTORY_PARTS, "parts"),
    ("blocks of a drawn past", HISTORY_BLOCKS, "blocks"),
    ("handshake", HANDSHAKE, "µs"),
    ("ping", PING_EVERY, "µs"),
    ("dead after a ping", PING_TIMEOUT, "µs"),
    ("ping of a direct link", DIRECT_PING_EVERY, "µs"),
    ("dead after such a ping", DIRECT_PING_TIMEOUT, "µs"),
    ("ping of a direct link that does not answer", SILENCE, "µs"),
    ("dead after such a ping", SUSPECT_TIMEOUT, "µs"),
    ("off line after its link broke", GONE_AFTER, "µs"),
    ("each further message to one node", DIRECTED_EVERY, "µs"),
    ("stalled link", STALL_TIMEOUT, "µs"),
    ("stalled client", CLIENT_STALL, "µs"),
    ("each further block of an author at a relay", AUTHOR_BLOCK_EVERY, "µs"),
    ("each further block of such a member", MEMBER_BLOCK_EVERY, "µs"),
    ("each further announcement", ANNOUNCEMENT_EVERY, "µs"),
    ("own lane first", OWN_LANE, "µs"),
    ("own lane first, while it comes in", OWN_LANE_MOST, "µs"),
    ("clock window", CLOCK_WINDOW, "µs"),
    ("first reconnect", RECONNECT_FIRST, "µs"),
    ("longest reconnect", RECONNECT_MOST, "µs"),
];

/// Whom a limit for each address counts as one: whoever has one address of IPv6 has the other 2^64 of its network.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let same = |a: &str, b: &str| neighbourhood(a.parse().unwrap()) == neighbourhood(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1") && !same("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    }
}
