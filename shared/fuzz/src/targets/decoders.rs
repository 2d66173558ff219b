//! What parses bytes and text from outside.

use shared::{
    Block, BlockHash, EntryId, Evidence, Keyring, LedgerId, NodeId, Timestamp,
    limits::BLOCK_BYTES,
    view::{self, Cursor, EntryView},
    wire::{Envelope, decode_frame},
};

use crate::allocation::at_most;

/// Bytes of the largest allocation for a peer that has not proved its key.
pub(super) const BEFORE_PROOF: usize = 64 * 1024;
/// Bytes of the largest frame of such a peer.
pub(super) const GREETING: usize = 1024;

/// What decoding may allocate at once: 64 KiB for whatever fits a stranger's frame, and for more a multiple of what is
/// really there, whatever lengths are claimed.
pub(super) fn allowed(bytes: &[u8]) -> usize {
    if bytes.len() <= GREETING { BEFORE_PROOF } else { BEFORE_PROOF + 8 * bytes.len() }
}

/// One block, its views, and its header.
pub(super) fn block(bytes: &[u8]) {
    let header = at_most(allowed(bytes), "a header", || Block::decode_header(bytes));
    let Ok(block) = at_most(allowed(bytes), "a block", || Block::decode(bytes)) else { return };
    assert_eq!(block.bytes(), bytes, "a block that does not re-encode to itself");
    assert_eq!(Ok(block.header()), header.as_ref());
    assert!(block.entry_hashes().len() == block.entries().len() && !block.entries().is_empty());
    let stripped = block.strip();
    assert_eq!((stripped.hash(), stripped.signature()), (block.hash(), block.signature()));
    assert_eq!(Block::decode(stripped.bytes()).as_ref(), Ok(&stripped));
    assert_eq!((stripped.full_len(), stripped.lacking().count()), (block.full_len(), block.entries().len()));
    assert!(block.full_len() <= BLOCK_BYTES);
    for view in view::views(&block, &BlockHash::from_bytes([0; 32]), &Keyring::default()) {
        let line = view::to_line(&view).expect("a view is JSON").to_string();
        assert!(!line.contains('\n'));
        let again: EntryView = serde_json::from_str(&line).expect("a view reads back");
        assert_eq!((again.id.parse::<EntryId>().is_ok(), again.hash), (true, view.hash));
    }
    if let Ok(verified) = block.clone().verify() {
        assert_eq!(verified.into_inner(), block);
    }
}

/// One proof of a fork.
pub(super) fn evidence(bytes: &[u8]) {
    let Ok(evidence) = at_most(allowed(bytes), "evidence", || Evidence::decode(bytes)) else { return };
    assert_eq!(evidence.encode(), bytes, "evidence that does not re-encode to itself");
    let [a, b] = evidence.blocks();
    assert!(a.hash() < b.hash() && (a.header().author, a.header().height) == evidence.lane());
}

/// One frame.
pub(super) fn frame(bytes: &[u8]) {
    let Ok(envelopes) = at_most(allowed(bytes), "a frame", || decode_frame(bytes)) else { return };
    assert!(!envelopes.is_empty());
    let again: Vec<u8> = envelopes.iter().flat_map(Envelope::encode).collect();
    assert_eq!(again, bytes, "a frame that does not re-encode to itself");
}

pub(super) const WORDS: &[&[u8]] = &[
    b"-",
    b"@",
    b"+",
    b"-1-0",
    b"@1+1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"4294967296",
    b"+1",
    b"-0",
    b"\"id\":\"",
    b"\"data\":",
    b"\"height\":",
    b"\"index\":",
    b"\"signatures\":{",
    b"\"parents\":[",
    b"\\ud83d",
    b"\xff",
];

/// Ids, cursors and the JSON view of an entry, each on its own line.
pub(super) fn text(bytes: &[u8]) {
    if let Some(micros) = bytes.first_chunk() {
        let time = Timestamp::from_micros(u64::from_be_bytes(*micros)).unwrap_or(Timestamp::MAX);
        assert!(time.to_string().ends_with('Z'));
    }
    for line in String::from_utf8_lossy(bytes).lines() {
        at_most(BEFORE_PROOF, "an id", || ids(line));
        if let Ok(view) = serde_json::from_str::<EntryView>(line) {
            let line = view::to_line(&view).expect("a view is JSON").to_string();
            assert!(!line.contains(['\n', '\r']));
            let again: EntryView = serde_json::from_str(&line).expect("a view reads back");
            assert_eq!((again.id, again.hash, again.index), (view.id, view.hash, view.index));
        }
    }
}

fn ids(line: &str) {
    fn check<T: std::str::FromStr<Err = shared::IdError> + ToString + PartialEq + std::fmt::Debug>(line: &str) {
        match line.parse::<T>() {
            Ok(id) => assert_eq!(id.to_string().parse::<T>(), Ok(id)),
            Err(error) => assert!(error.to_string().len() < 1_000, "an error of {} bytes", error.to_string().len()),
        }
    }
    check::<NodeId>(line);
    check::<LedgerId>(line);
    check::<BlockHash>(line);
    check::<EntryId>(line);
    check::<Cursor>(line);
}
