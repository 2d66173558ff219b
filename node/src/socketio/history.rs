//! The past as it is drawn: how much each lane has in each part of a span of time, and block for block where there are few.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::{
    BlockHash, Keyring, OrderKey, Page, ReadStore, Timestamp,
    limits::{HISTORY_BYTES, HISTORY_CELLS, PAGE_BYTES},
    view::{ViewError, decode_record},
};

use super::queries::Span;
use crate::store::{SqliteReader, StoreError};

/// Blocks read at once.
const READ: Page = Page { blocks: 256, bytes: PAGE_BYTES };
/// About what a block without parents takes in an answer, and each parent.
const BLOCK_TEXT: usize = 320;
const PARENT_TEXT: usize = 67;

/// The answer to `get_history`. Times in µs.
#[derive(Debug, Serialize)]
pub(super) struct History {
    from: u64,
    to: u64,
    first: Option<u64>,
    last: Option<u64>,
    lanes: Vec<Lane>,
    blocks: Option<Vec<Shown>>,
}

#[derive(Debug, Serialize)]
struct Lane {
    author: String,
    /// Part, blocks, entries.
    buckets: Vec<(u64, u64, u64)>,
}

#[derive(Debug, Serialize)]
struct Shown {
    hash: String,
    author: String,
    height: u64,
    timestamp: u64,
    parents: Vec<String>,
    entries: u32,
    kinds: Vec<String>,
}

/// A lane while it is counted: blocks and entries by part.
type Parts = BTreeMap<u64, (u64, u64)>;

/// Reads a part of the past.
pub(super) fn history(store: &SqliteReader, _: &Keyring, span: &Span) -> Result<History, ViewError<StoreError>> {
    let ends = store.ends().map_err(ViewError::Store)?;
    let (first, last) = ends.unzip();
    let from = span.from.unwrap_or_else(|| first.unwrap_or(0).min(span.to.unwrap_or(u64::MAX)));
    let to = span.to.unwrap_or_else(|| last.unwrap_or(from)).max(from);
    let (mut lanes, mut total) = (BTreeMap::<i64, Parts>::new(), 0);
    let part = |time: u64| {
        // Both factors may be large, and the quotient is below the number of parts.
        let (at, len) = (u128::from(time - from), u128::from(to - from) + 1);
        (at * u128::from(span.parts) / len) as u64
    };
    let count = |author, time, entries| {
        let (blocks, sum) = lanes.entry(author).or_default().entry(part(time)).or_default();
        (*blocks, *sum, total) = (*blocks + 1, *sum + entries, total + 1);
    };
    store.count(from, to, count).map_err(ViewError::Store)?;
    let blocks = if total <= span.detail { blocks(store, from, to)? } else { None };
    let keys = store.author_keys().map_err(ViewError::Store)?;
    let mut lanes: Vec<(String, Parts)> =
        lanes.into_iter().filter_map(|(id, parts)| Some((keys.get(&id)?.to_string(), parts))).collect();
    if lanes.iter().map(|(_, parts)| parts.len()).sum::<usize>() > HISTORY_CELLS {
        // Those who wrote most are what is seen.
        lanes.sort_by_key(|(_, parts)| std::cmp::Reverse(parts.values().map(|(blocks, _)| blocks).sum::<u64>()));
        let mut room = HISTORY_CELLS;
        lanes.retain(|(_, parts)| {
            let fits = parts.len() <= room;
            room -= if fits { parts.len() } else { room };
            fits
        });
    }
    lanes.sort();
    let lane = |(author, parts): (String, Parts)| Lane {
        author,
        buckets: parts.into_iter().map(|(part, (blocks, entries))| (part, blocks, entries)).collect(),
    };
    Ok(History { from, to, first, last, lanes: lanes.into_iter().map(lane).collect(), blocks })
}

/// The blocks of a span in ledger order, unless they are too large or their headers too long.
fn blocks(store: &SqliteReader, from: u64, to: u64) -> Result<Option<Vec<Shown>>, ViewError<StoreError>> {
    let (mut shown, mut bytes, mut text) = (Vec::new(), 0, 0);
    // No block has this hash, so the first one of the span is behind the place.
    let Some(timestamp) = Timestamp::from_micros(from) else { return Ok(Some(shown)) };
    let mut key = OrderKey { timestamp, hash: BlockHash::from_bytes([0; 32]) };
    loop {
        let page = store.after(Some(&key), READ).map_err(ViewError::Store)?;
        let Some(end) = page.last() else { return Ok(Some(shown)) };
        key = end.summary.key();
        for record in page {
            if record.summary.timestamp.micros() > to {
                return Ok(Some(shown));
            }
            let block = decode_record(&record)?;
            bytes += record.bytes.len();
            text += BLOCK_TEXT + PARENT_TEXT * block.header().parents.len();
            if bytes > HISTORY_BYTES || text > PAGE_BYTES {
                return Ok(None);
            }
            let mut kinds: Vec<String> = Vec::new();
            for entry in block.entries() {
                let kind = entry.kind.name().map_or_else(|| entry.kind.0.to_string(), str::to_owned);
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            shown.push(Shown {
                hash: record.summary.hash.to_string(),
                author: record.summary.author.to_string(),
                height: record.summary.height,
                timestamp: record.summary.timestamp.micros(),
                parents: block.header().parents.iter().map(ToString::to_string).collect(),
                entries: record.summary.entries,
                kinds,
            });
        }
    }
}
