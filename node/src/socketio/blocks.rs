//! Blocks as they are stored and were signed, in base64. They are not decoded here: a row's checksums say whether it is as it
//! was written, and whoever asks for blocks checks them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use shared::{
    BlockHash, NodeId, Page, ReadStore, Record,
    limits::PAGE_BYTES,
    view::{Cursor, ViewError},
};

use super::error::ClientError;
use crate::{
    host::Host,
    store::{SqliteReader, StoreError},
};

/// Bytes of blocks that make about [`PAGE_BYTES`] of base64.
const BYTES: usize = PAGE_BYTES / 4 * 3;
const READ: Page = Page { blocks: 8192, bytes: BYTES };
/// Blocks of one place. A lane forks that often only by its author's will.
const SIBLINGS: usize = 256;
/// Blocks of one place that are read at once: mostly there is one, and the one behind it shows that.
const NEXT: Page = Page { blocks: 2, bytes: usize::MAX };

/// The answer to `get_blocks`.
#[derive(Debug, Serialize)]
pub(super) struct BlockPage {
    blocks: Vec<String>,
    cursor: String,
    done: bool,
}

type Read<T> = Result<T, ViewError<StoreError>>;

/// The place that a cursor means: one that this node gave.
pub(super) fn place(host: &Host, cursor: Option<String>) -> Result<Cursor, ClientError> {
    let Some(text) = cursor else { return Ok(Cursor { node: host.node(), seq: 0, entries: 0 }) };
    let place = text.parse::<Cursor>().ok();
    place
        .filter(|place| host.is_or_was(&place.node) && place.seq <= host.last_seq())
        .ok_or_else(|| ClientError::UnknownCursor(text.chars().take(160).collect()))
}

/// Blocks that arrived behind a place.
pub(super) fn behind(store: &SqliteReader, from: Cursor) -> Read<BlockPage> {
    let records = store.arrived(from.seq, READ).map_err(ViewError::Store)?;
    let last = store.last_seq().map_err(ViewError::Store)?;
    let end = records.last().map(|record| record.summary);
    let cursor = end.map_or(from, |end| Cursor { seq: end.seq, entries: end.entries, ..from });
    let done = end.is_none_or(|end| end.seq == last);
    Ok(BlockPage { blocks: records.iter().map(encode).collect(), cursor: cursor.to_string(), done })
}

/// All blocks that stand in these places, the cursor being how many of them are answered.
pub(super) fn at(store: &SqliteReader, places: &[(NodeId, u64)]) -> Read<BlockPage> {
    named(places, |(author, height)| siblings(store, author, *height))
}

/// The blocks with these hashes.
pub(super) fn of(store: &SqliteReader, hashes: &[BlockHash]) -> Read<BlockPage> {
    named(hashes, |hash| Ok(store.block(hash).map_err(ViewError::Store)?.into_iter().collect()))
}

fn named<N>(names: &[N], read: impl Fn(&N) -> Read<Vec<Record>>) -> Read<BlockPage> {
    let (mut blocks, mut bytes, mut answered) = (Vec::new(), 0, 0);
    for name in names {
        let records = read(name)?;
        bytes += records.iter().map(|record| record.bytes.len()).sum::<usize>();
        if bytes > BYTES && !blocks.is_empty() {
            break;
        }
        blocks.extend(records.iter().map(encode));
        answered += 1;
    }
    Ok(BlockPage { blocks, cursor: answered.to_string(), done: answered == names.len() })
}

fn siblings(store: &SqliteReader, author: &NodeId, height: u64) -> Read<Vec<Record>> {
    let mut siblings: Vec<Record> = Vec::new();
    while siblings.len() < SIBLINGS {
        // The last one found is read again, because a page begins with the place that it is asked for.
        let from = siblings.pop().map_or(BlockHash::from_bytes([0; 32]), |last| last.summary.hash);
        let page = store.lane_from(author, height, &from, NEXT).map_err(ViewError::Store)?;
        let full = page.len() == NEXT.blocks && page.iter().all(|record| record.summary.height == height);
        siblings.extend(page.into_iter().filter(|record| record.summary.height == height));
        if !full {
            break;
        }
    }
    Ok(siblings)
}

fn encode(record: &Record) -> String {
    STANDARD.encode(&record.bytes)
}
