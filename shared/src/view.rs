//! The JSON view of entries, and pages of them. JSON is only ever a view: what is hashed and signed is CBOR.

mod data;

use alloc::{
    borrow::{Cow, ToOwned},
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use thiserror::Error;

use self::data::Data;
use crate::{
    block::{Block, BlockError, Kind},
    erase::Erasures,
    id::{BlockHash, EntryId, IdError, NodeId, excerpt},
    ledger::summarise,
    limits::PAGE_BYTES,
    names,
    order::OrderKey,
    seal::{Keyring, Place, SealError},
    store::{Page, ReadStore, Record, Summary},
};

/// One entry as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryView {
    /// `<node id>-<height>-<index>`.
    pub id: String,
    /// Block time + index, RFC 3339 with six digits.
    pub timestamp: String,
    /// The payload, where it is JSON; in a members' ledger what was sealed in it; for entries of the protocol what they say;
    /// otherwise `null`.
    pub data: Box<RawValue>,
    /// The entry before it in its block; for a first entry the latest parent in ledger order, or the genesis.
    pub previous_hash: String,
    /// The entry's hash.
    pub hash: String,
    /// Its author.
    pub creator_node_id: String,
    /// Author → signature, on the last entry of a block.
    pub signatures: BTreeMap<String, String>,
    /// Height of its block.
    pub height: u64,
    /// Index in its block.
    pub index: u32,
    /// The name of its kind (see [`crate::Kind::name`]), or the number of one without a name.
    pub kind: String,
    /// Hashes of the block's parents.
    pub parents: Vec<String>,
    /// The payload in hexadecimal digits, where `data` does not say all of it: as it is stored, or what was sealed in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload_hex: Option<String>,
    /// The payload stays closed here, and `payload_hex` is its sealed bytes.
    #[serde(skip_serializing_if = "core::ops::Not::not", default)]
    pub sealed: bool,
    /// Who erased the payload, and when.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub erased: Option<ErasedView>,
    /// The payload is missing, and nobody is known to have erased it.
    #[serde(skip_serializing_if = "core::ops::Not::not", default)]
    pub withheld: bool,
}

/// An erase as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErasedView {
    /// Who erased.
    pub by: String,
    /// When, RFC 3339 with six digits.
    pub at: String,
    /// Id of the erase entry.
    pub entry: String,
}

impl EntryView {
    /// The view of entry `index` of a block; `previous` is the block's latest parent.
    fn new(block: &Block, index: usize, previous: &BlockHash, keys: &Keyring) -> Self {
        let (header, entry, hashes) = (block.header(), &block.entries()[index], block.entry_hashes());
        let last = index + 1 == hashes.len();
        let Data { data, payload_hex, sealed } = Data::new(block, index, keys);
        Self {
            id: block.entry_id(index).to_string(),
            timestamp: header.timestamp.plus(index as u64).to_string(),
            data,
            previous_hash: if index == 0 { *previous } else { hashes[index - 1] }.to_string(),
            hash: hashes[index].to_string(),
            creator_node_id: header.author.to_string(),
            signatures: last.then(|| (header.author.to_string(), hex::encode(block.signature()))).into_iter().collect(),
            height: header.height,
            index: index as u32,
            kind: entry.kind.name().map_or_else(|| entry.kind.0.to_string(), ToOwned::to_owned),
            parents: header.parents.iter().map(ToString::to_string).collect(),
            payload_hex,
            sealed,
            erased: None,
            withheld: entry.payload().is_none(),
        }
    }
}

/// The views of all entries of a block; `previous` is its latest parent (see [`latest_parent`]). What is sealed with one of
/// the keys is shown as it was before. Who erased a payload that is missing only a store can tell.
pub fn views(block: &Block, previous: &BlockHash, keys: &Keyring) -> Vec<EntryView> {
    (0..block.entries().len()).map(|index| EntryView::new(block, index, previous, keys)).collect()
}

/// The latest parent of a block in ledger order; the genesis where it has no parent.
///
/// # Errors
/// When the store cannot be read, or lacks a parent of this block, which came before it.
pub fn latest_parent<S: ReadStore>(store: &S, block: &Block) -> Result<BlockHash, ViewError<S::Error>> {
    let parents = &block.header().parents;
    if let [only] = parents[..] {
        return Ok(only);
    }
    let mut latest: Option<OrderKey> = None;
    for parent in parents {
        let error = BlockError::Malformed("it is not in the store, but a block that rests on it is");
        let summary = store.summary(parent).map_err(ViewError::Store)?;
        latest = latest.max(Some(summary.ok_or(ViewError::Damaged { hash: *parent, error })?.key()));
    }
    Ok(latest.map_or(BlockHash::from_bytes(*block.header().ledger.as_bytes()), |key| key.hash))
}

/// Why entries cannot be shown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ViewError<E> {
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(E),
    /// A stored block is damaged.
    #[error("stored block {hash} is damaged: {error}")]
    Damaged {
        /// Which block.
        hash: BlockHash,
        /// What is wrong with it.
        error: BlockError,
    },
    /// There is no such entry here.
    #[error("no entry {0} in this ledger")]
    Unknown(EntryId),
}

impl<E> ViewError<E> {
    /// The stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Damaged { .. } => "damaged",
            Self::Unknown(_) => "unknown_entry",
        }
    }
}

/// Reads a stored block.
///
/// # Errors
/// When its bytes are no block any more, or another one.
pub fn decode_record<E>(record: &Record) -> Result<Block, ViewError<E>> {
    let hash = record.summary.hash;
    let block = Block::decode(&record.bytes).map_err(|error| ViewError::Damaged { hash, error })?;
    if block.hash() != hash {
        return Err(ViewError::Damaged { hash, error: BlockError::Malformed("its hash is another one") });
    }
    if (Summary { seq: record.summary.seq, ..summarise(&block) }) != record.summary {
        return Err(ViewError::Damaged { hash, error: BlockError::Malformed("its row says something else of it") });
    }
    Ok(block)
}

/// What the author of a `data` entry wrote, opened where it is sealed. `None`: it is of another kind, or its payload is gone.
pub fn words<'a>(block: &'a Block, index: usize, keys: &Keyring) -> Option<Result<Cow<'a, [u8]>, SealError>> {
    let entry = block.entries().get(index).filter(|entry| entry.kind == Kind::DATA)?;
    let payload = entry.payload()?;
    if names::is_sealed(&block.header().ledger, entry.kind) {
        return Some(keys.open(&Place::of(block, index), payload).map(Cow::Owned));
    }
    Some(Ok(Cow::Borrowed(payload)))
}

/// The views of all entries of a stored block.
///
/// # Errors
/// When the block is damaged, or the store fails.
pub fn record_views<S: ReadStore>(
    store: &S,
    record: &Record,
    keys: &Keyring,
) -> Result<Vec<EntryView>, ViewError<S::Error>> {
    let block = decode_record(record)?;
    let previous = latest_parent(store, &block)?;
    let mut views = views(&block, &previous, keys);
    if block.lacking().next().is_some() {
        let hash = record.summary.hash;
        let error = BlockError::Malformed("what is noted of its erased entries makes no sense");
        let erasures = Erasures::of(store, &hash).map_err(ViewError::Store)?;
        let erasures = erasures.ok_or(ViewError::Damaged { hash, error })?;
        for (index, view) in views.iter_mut().enumerate().filter(|(_, view)| view.withheld) {
            view.erased = erasures.first(index).map(|erasure| ErasedView {
                by: erasure.by.to_string(),
                at: erasure.key.timestamp.to_string(),
                entry: erasure.entry().to_string(),
            });
            view.withheld = view.erased.is_none();
        }
    }
    Ok(views)
}

/// The record of the block that holds an entry; of a forked lane the first in ledger order.
///
/// # Errors
/// When the entry is not here, or the store fails.
pub fn find<S: ReadStore>(store: &S, id: &EntryId) -> Result<Record, ViewError<S::Error>> {
    let page = Page { blocks: 16, bytes: PAGE_BYTES };
    let records = store.lane(&id.author, id.height, page).map_err(ViewError::Store)?;
    records
        .into_iter()
        .filter(|record| record.summary.height == id.height && id.index < record.summary.entries)
        .min_by_key(|record| record.summary.key())
        .ok_or(ViewError::Unknown(*id))
}

/// One entry.
///
/// # Errors
/// When it is not here, or the store fails.
pub fn entry<S: ReadStore>(store: &S, id: &EntryId, keys: &Keyring) -> Result<EntryView, ViewError<S::Error>> {
    let record = find(store, id)?;
    record_views(store, &record, keys)?.into_iter().nth(id.index as usize).ok_or(ViewError::Unknown(*id))
}

/// One entry as its block has it, whoever may have erased it since.
pub(crate) fn signed_entry<S: ReadStore>(
    store: &S,
    id: &EntryId,
    keys: &Keyring,
) -> Result<EntryView, ViewError<S::Error>> {
    let block = decode_record(&find(store, id)?)?;
    let previous = latest_parent(store, &block)?;
    Ok(EntryView::new(&block, id.index as usize, &previous, keys))
}

/// Entries in ledger order that follow `after` (`None`: from the beginning), at most `limit`, and at most about
/// [`PAGE_BYTES`] of blocks (at least one entry if there is one).
///
/// # Errors
/// When `after` is not here, or the store fails.
pub fn after<S: ReadStore>(
    store: &S,
    after: Option<&EntryId>,
    limit: usize,
    keys: &Keyring,
) -> Result<Vec<EntryView>, ViewError<S::Error>> {
    let mut entries = Vec::new();
    let mut key = None;
    let mut bytes = 0;
    if let Some(id) = after {
        let record = find(store, id)?;
        key = Some(record.summary.key());
        bytes = record.bytes.len();
        entries.extend(record_views(store, &record, keys)?.into_iter().skip(id.index as usize + 1).take(limit));
    }
    while entries.len() < limit && (bytes < PAGE_BYTES || entries.is_empty()) {
        let page = Page { blocks: (limit - entries.len()).min(256), bytes: PAGE_BYTES.saturating_sub(bytes) };
        let records = store.after(key.as_ref(), page).map_err(ViewError::Store)?;
        let Some(last) = records.last() else { break };
        key = Some(last.summary.key());
        for record in &records {
            bytes += record.bytes.len();
            let room = limit - entries.len();
            entries.extend(record_views(store, record, keys)?.into_iter().take(room));
        }
    }
    Ok(entries)
}

/// The newest entries in ledger order, at most `limit`, and at most `bytes` of blocks.
///
/// # Errors
/// When the store fails.
pub fn newest<S: ReadStore>(
    store: &S,
    limit: usize,
    bytes: usize,
    keys: &Keyring,
) -> Result<Vec<EntryView>, ViewError<S::Error>> {
    before(store, None, limit, bytes, keys)
}

/// The entries that come right before an entry (`None`: the newest ones), in ledger order, at most `limit`, and at most about
/// `bytes` of blocks (at least one entry if there is one).
///
/// # Errors
/// When `before` is not here, or the store fails.
pub fn before<S: ReadStore>(
    store: &S,
    before: Option<&EntryId>,
    limit: usize,
    bytes: usize,
    keys: &Keyring,
) -> Result<Vec<EntryView>, ViewError<S::Error>> {
    let mut blocks: Vec<Vec<EntryView>> = Vec::new();
    let (mut count, mut size, mut key) = (0, 0, None);
    if let Some(id) = before {
        let record = find(store, id)?;
        let mut views = record_views(store, &record, keys)?;
        views.truncate(id.index as usize);
        (count, size, key) = (views.len(), record.bytes.len(), Some(record.summary.key()));
        blocks.push(views);
    }
    while count < limit && (size < bytes || count == 0) {
        let page = Page { blocks: (limit - count).min(256), bytes: bytes.saturating_sub(size) };
        let records = store.before(key.as_ref(), page).map_err(ViewError::Store)?;
        let Some(last) = records.last() else { break };
        key = Some(last.summary.key());
        for record in &records {
            let views = record_views(store, record, keys)?;
            count += views.len();
            size += record.bytes.len();
            blocks.push(views);
        }
    }
    Ok(blocks.into_iter().rev().flatten().skip(count.saturating_sub(limit)).collect())
}

/// A place in the order in which entries arrived at one node: the only order in which a follower misses nothing, because
/// in ledger order a late block may land behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The node whose arrival order it is.
    pub node: NodeId,
    /// Arrival number of the block that was read last; 0: none.
    pub seq: u64,
    /// How many entries of that block were read.
    pub entries: u32,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}+{}", self.node, self.seq, self.entries)
    }
}

impl FromStr for Cursor {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (node, place) = text.split_once('@')?;
            let (seq, entries) = place.split_once('+')?;
            Some(Self { node: node.parse().ok()?, seq: seq.parse().ok()?, entries: entries.parse().ok()? })
        };
        parse().ok_or_else(|| IdError::NotCursor(excerpt(text)))
    }
}

/// The cursor behind an entry, in the arrival order of `node`, whose store this is.
///
/// # Errors
/// When the entry is not here, or the store fails.
pub fn cursor_behind<S: ReadStore>(store: &S, node: NodeId, id: &EntryId) -> Result<Cursor, ViewError<S::Error>> {
    let record = find(store, id)?;
    Ok(Cursor { node, seq: record.summary.seq, entries: id.index + 1 })
}

/// Entries in arrival order behind a cursor, whole blocks of at most about `limit` entries in all (one block at least),
/// and the cursor behind them. An empty answer is the end.
///
/// # Errors
/// When the store fails.
pub fn arrived<S: ReadStore>(
    store: &S,
    cursor: Cursor,
    limit: usize,
    bytes: usize,
    keys: &Keyring,
) -> Result<(Vec<EntryView>, Cursor), ViewError<S::Error>> {
    let mut entries = Vec::new();
    let mut reached = cursor;
    let mut take = |entries: &mut Vec<EntryView>, record: &Record, skip: usize| {
        entries.extend(record_views(store, record, keys)?.into_iter().skip(skip));
        reached = Cursor { seq: record.summary.seq, entries: record.summary.entries, ..cursor };
        Ok(entries.len() >= limit)
    };
    if cursor.seq > 0 {
        let at = store.arrived(cursor.seq - 1, Page::ONE).map_err(ViewError::Store)?;
        let unread =
            at.iter().find(|record| record.summary.seq == cursor.seq && record.summary.entries > cursor.entries);
        if let Some(record) = unread {
            take(&mut entries, record, cursor.entries as usize)?;
        }
    }
    let page = Page { blocks: limit.clamp(1, 256), bytes };
    for record in store.arrived(cursor.seq, page).map_err(ViewError::Store)? {
        if take(&mut entries, &record, 0)? {
            break;
        }
    }
    Ok((entries, reached))
}

/// One line of JSON: line breaks between tokens of a payload become spaces.
///
/// # Errors
/// Never, for an [`EntryView`]; the error is serde's.
pub fn to_line(view: &EntryView) -> Result<Box<RawValue>, serde_json::Error> {
    let json = to_raw_value(view)?;
    // Nearly every payload is one line already.
    let breaks = json.get().bytes().fold(false, |found, byte| found | (byte == b'\n') | (byte == b'\r'));
    if breaks { RawValue::from_string(json.get().replace(['\n', '\r'], " ")) } else { Ok(json) }
}
