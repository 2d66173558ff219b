//! The targets by name, and what the runners have to know of each.

mod decoders;
mod group;
#[cfg(feature = "node")]
mod node;
mod peers;
mod room;
mod rows;
mod session;
#[cfg(feature = "node")]
mod socket;

pub(crate) use group::SECRETS;

/// One function over bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on command lines and in folders.
    pub name: &'static str,
    /// Panics when something is wrong.
    pub run: fn(&[u8]),
    /// Bytes of its longest input.
    pub longest: usize,
    /// Words of its format, for mutations without coverage.
    pub words: &'static [&'static [u8]],
}

const TEXT: &[&[u8]] = &[
    b"NodeAnnounce",
    b"NodeListRequest",
    b"EntryRequest",
    b"EntryAnnounce",
    b"LedgerSyncRequest",
    b"{\"message_type\":\"",
    b"\",\"message_id\":\"",
    b"\",\"sender_id\":\"",
    b"\",\"recipient_id\":\"",
    b"\",\"payload\":{",
    b"\"node_id\":\"",
    b"\"entry_id\":\"",
    b"\"after\":",
    b"\"limit\":18446744073709551615",
    b"\\ud800",
    b"\\u0000",
    b"null",
    b"-0",
    b"1e999",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"\xff",
];

macro_rules! targets {
    ($($(#[$when:meta])* $name:literal, $run:path, $longest:expr, $words:expr;)*) => {
        /// Every target.
        pub const TARGETS: &[Target] =
            &[$($(#[$when])* Target { name: $name, run: $run, longest: $longest, words: $words },)*];
    };
}

targets! {
    "block", decoders::block, 8 * 1024, &[];
    "evidence", decoders::evidence, 8 * 1024, &[];
    "frame", decoders::frame, 16 * 1024, &[];
    "text", decoders::text, 4 * 1024, decoders::WORDS;
    "stranger", peers::stranger, 4 * 1024, &[];
    "peer", peers::peer, 8 * 1024, &[];
    "session", session::session, 2 * 1024, &[];
    "group", group::group, 4 * 1024, &[];
    "secrets", group::secrets, 8 * 1024, &[];
    "room", room::room, 8 * 1024, TEXT;
    "rows", rows::rows, 8 * 1024, &[];
    "link_state", rows::link_state, 2 * 1024, &[];
    #[cfg(feature = "node")]
    "event", node::event, 8 * 1024, node::EVENT_WORDS;
    #[cfg(feature = "node")]
    "config", node::config, 4 * 1024, node::CONFIG_WORDS;
    #[cfg(feature = "node")]
    "blocks_file", node::blocks_file, 8 * 1024, &[];
    #[cfg(feature = "node")]
    "control", node::control, 4 * 1024, node::CONTROL_WORDS;
    #[cfg(feature = "node")]
    "sqlite_rows", node::sqlite_rows, 8 * 1024, &[];
    #[cfg(feature = "node")]
    "socket", socket::socket, 8 * 1024, socket::WORDS;
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
