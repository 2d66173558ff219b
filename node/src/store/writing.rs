//! Writing: rows with their checksums, and what the store notes of itself as a whole, which is written at the end of a turn
//! or before something is read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use rusqlite::{OptionalExtension, params};
use shared::{BlockHash, NodeId, OrderKey, Store, Summary};

use super::{
    BUSY, Result, SqliteStore,
    rows::{self, Anchor, Author, Bucket, Place, damaged, integer, select, small_sum},
};

/// Bytes of the write-ahead log after which it is moved into the file.
const LOG_BYTES: u64 = 4 * 1024 * 1024;
/// About what a row and a commit add to the log beside a block's bytes: the pages that they change.
const ROW_BYTES: u64 = 512;
const COMMIT_BYTES: u64 = 6 * 4096;

/// A lane's author and its last block.
#[derive(Debug, Clone, Copy)]
struct Lane {
    author: Author,
    end: Option<(u64, BlockHash)>,
}

/// What is to be written, and what is known of what was.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) anchor: Anchor,
    newest: Option<OrderKey>,
    lanes: HashMap<NodeId, Lane>,
    buckets: BTreeMap<u64, Bucket>,
    changed: bool,
    changed_lanes: BTreeSet<NodeId>,
    changed_buckets: BTreeSet<u64>,
}

impl SqliteStore {
    /// Reads what the store notes of itself.
    pub(super) fn load_notes(&mut self) -> Result<()> {
        let reader = &self.reader;
        let mut notes = Notes { anchor: reader.anchor()?, ..Notes::default() };
        let end = |seq: u64| -> Result<Option<Summary>> {
            match seq {
                0 => Ok(None),
                seq => Ok(Some(reader.place_of(seq)?.ok_or_else(|| damaged("the last block is missing"))?.summary)),
            }
        };
        notes.newest = end(notes.anchor.newest)?.map(|summary| summary.key());
        for author in reader.authors()? {
            let end = end(author.last)?.map(|summary| (summary.height, summary.hash));
            notes.lanes.insert(author.key, Lane { author, end });
        }
        *self.notes.get_mut() = notes;
        Ok(())
    }

    /// The first write of a turn begins its transaction.
    pub(super) fn begin(&mut self) -> Result<()> {
        if !self.writing {
            self.reader.prepare("BEGIN IMMEDIATE")?.execute([])?;
            self.writing = true;
        }
        Ok(())
    }

    /// Writes down what has changed.
    pub(super) fn flush(&self) -> Result<()> {
        let mut notes = self.notes.borrow_mut();
        if !std::mem::take(&mut notes.changed) {
            return Ok(());
        }
        for id in std::mem::take(&mut notes.changed_buckets) {
            let value = notes.buckets.get(&id).copied().unwrap_or_default().encode(id);
            let sql = "INSERT INTO buckets (id, value) VALUES (?1, ?2) \
                       ON CONFLICT (id) DO UPDATE SET value = excluded.value";
            self.reader.prepare(sql)?.execute(params![integer(id)?, value])?;
        }
        for key in std::mem::take(&mut notes.changed_lanes) {
            if let Some(Lane { author, .. }) = notes.lanes.get(&key) {
                let sql = "UPDATE authors SET last = ?2, sum = ?3 WHERE id = ?1";
                self.reader.prepare(sql)?.execute(params![author.id, integer(author.last)?, author.sum()])?;
            }
        }
        let sql = "UPDATE anchor SET value = ?1 WHERE id = 1";
        self.reader.prepare(sql)?.execute([notes.anchor.encode()])?;
        Ok(())
    }

    fn lane(&mut self, key: &NodeId) -> Result<Lane> {
        let notes = self.notes.get_mut();
        if let Some(lane) = notes.lanes.get(key) {
            return Ok(*lane);
        }
        let sql = "INSERT INTO authors (key, last, sum) VALUES (?1, 0, x'')";
        let id = self.reader.prepare(sql)?.insert([key.as_bytes()])?;
        let lane = Lane { author: Author { id, key: *key, last: 0 }, end: None };
        notes.anchor.authors += 1;
        notes.lanes.insert(*key, lane);
        notes.changed_lanes.insert(*key);
        notes.changed = true;
        Ok(lane)
    }

    /// Finds a block's place in ledger order, and tells the one behind it. Returns the arrival number of the one before.
    fn link_time(&mut self, summary: &Summary) -> Result<u64> {
        let (key, notes) = (summary.key(), self.notes.get_mut());
        let before = notes.anchor.newest;
        if notes.newest.is_none_or(|newest| newest < key) {
            notes.newest = Some(key);
            notes.anchor.newest = summary.seq;
            return Ok(before);
        }
        let behind = self.reader.at_or_after(&key)?.ok_or_else(|| damaged("the newest block is missing"))?;
        self.relink(&Place { time_before: summary.seq, ..behind })?;
        Ok(behind.time_before)
    }

    /// The same in its lane.
    fn link_lane(&mut self, summary: &Summary, lane: Lane) -> Result<u64> {
        let at = (summary.height, summary.hash);
        if lane.end.is_none_or(|end| end < at) {
            let author = Author { last: summary.seq, ..lane.author };
            self.set_lane(Lane { author, end: Some(at) });
            return Ok(lane.author.last);
        }
        let behind = self.reader.after_in_lane(&lane.author, summary.height, &summary.hash)?;
        let behind = behind.ok_or_else(|| damaged("the last block of a lane is missing"))?;
        self.relink(&Place { lane_before: summary.seq, ..behind })?;
        Ok(behind.lane_before)
    }

    fn set_lane(&mut self, lane: Lane) {
        let notes = self.notes.get_mut();
        notes.lanes.insert(lane.author.key, lane);
        notes.changed_lanes.insert(lane.author.key);
        notes.changed = true;
    }

    /// Writes what stands before a row. The length stays, so SQLite changes it in its place.
    fn relink(&self, place: &Place) -> Result<()> {
        let Place { summary, time_before, lane_before } = *place;
        let links = rows::links(summary.seq, time_before, lane_before);
        self.reader
            .prepare("UPDATE blocks SET links = ?2 WHERE seq = ?1")?
            .execute(params![integer(summary.seq)?, links])?;
        Ok(())
    }

    fn toggle(&mut self, hash: &BlockHash, there: bool) -> Result<()> {
        let id = Bucket::id(hash);
        let notes = self.notes.get_mut();
        let mut bucket = match notes.buckets.get(&id) {
            Some(bucket) => *bucket,
            None => self.reader.bucket(id)?,
        };
        bucket.toggle(hash);
        bucket.count = if there { bucket.count + 1 } else { bucket.count.saturating_sub(1) };
        notes.buckets.insert(id, bucket);
        notes.changed_buckets.insert(id);
        notes.changed = true;
        Ok(())
    }

    /// Takes note of an arrival number; those that are left out will never be used.
    fn arrive(&mut self, seq: u64) -> Result<()> {
        let last = self.notes.get_mut().anchor.last_seq;
        if seq <= last {
            self.reader.prepare("DELETE FROM removed WHERE seq = ?1")?.execute([integer(seq)?])?;
            return Ok(());
        }
        for skipped in last + 1..seq {
            self.reader.prepare("INSERT INTO removed (seq) VALUES (?1)")?.execute([integer(skipped)?])?;
        }
        self.notes.get_mut().anchor.last_seq = seq;
        Ok(())
    }

    pub(super) fn insert(&mut self, summary: &Summary, bytes: &[u8]) -> Result<()> {
        self.begin()?;
        let lane = self.lane(&summary.author)?;
        self.arrive(summary.seq)?;
        let time_before = self.link_time(summary)?;
        let lane_before = self.link_lane(summary, lane)?;
        let sql = "INSERT INTO blocks (seq, author, height, timestamp, hash, entries, sum, links, bytes) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        self.reader.prepare(sql)?.execute(params![
            integer(summary.seq)?,
            lane.author.id,
            integer(summary.height)?,
            integer(summary.timestamp.micros())?,
            summary.hash.as_bytes(),
            summary.entries,
            rows::sum(summary, bytes),
            rows::links(summary.seq, time_before, lane_before),
            bytes
        ])?;
        self.log_bytes += ROW_BYTES + bytes.len() as u64;
        self.toggle(&summary.hash, true)
    }

    pub(super) fn delete(&mut self, place: &Place) -> Result<()> {
        self.begin()?;
        let summary = &place.summary;
        let seq = integer(summary.seq)?;
        self.unlink(place)?;
        self.reader.prepare("DELETE FROM blocks WHERE seq = ?1")?.execute([seq])?;
        self.reader.prepare("INSERT INTO removed (seq) VALUES (?1)")?.execute([seq])?;
        self.toggle(&summary.hash, false)
    }

    /// Leads what stands behind a row past it, in ledger order and in its lane.
    fn unlink(&mut self, place: &Place) -> Result<()> {
        let Place { summary, time_before, lane_before } = *place;
        match self.reader.at_or_after(&successor(&summary.key()))? {
            Some(behind) => self.relink(&Place { time_before, ..behind })?,
            None => {
                let newest = self.reader.place_of(time_before)?.map(|place| place.summary.key());
                let notes = self.notes.get_mut();
                (notes.newest, notes.anchor.newest, notes.changed) = (newest, time_before, true);
            }
        }
        let lane = self.lane(&summary.author)?;
        match self.reader.after_in_lane(&lane.author, summary.height, &summary.hash)? {
            Some(behind) => self.relink(&Place { lane_before, ..behind }),
            None => {
                let end = self.reader.place_of(lane_before)?.map(|place| (place.summary.height, place.summary.hash));
                self.set_lane(Lane { author: Author { last: lane_before, ..lane.author }, end });
                Ok(())
            }
        }
    }

    pub(super) fn put_meta(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.begin()?;
        let sum = small_sum("meta", key.as_bytes(), value);
        let before: Option<Vec<u8>> = self
            .reader
            .prepare("SELECT sum FROM meta WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        let sql = "INSERT INTO meta (key, value, sum) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum";
        self.reader.prepare(sql)?.execute(params![key, value, sum])?;
        let notes = self.notes.get_mut();
        match before.as_deref().map(<[u8; 8]>::try_from) {
            Some(Ok(before)) => notes.anchor.meta_sum ^= u64::from_be_bytes(before),
            Some(Err(_)) => return Err(damaged("a checksum of meta has not 8 bytes")),
            None => notes.anchor.metas += 1,
        }
        notes.anchor.meta_sum ^= u64::from_be_bytes(sum);
        notes.changed = true;
        Ok(())
    }

    pub(super) fn end_turn(&mut self) -> Result<()> {
        if !self.writing {
            return if self.scrub { self.scrub_log() } else { Ok(()) };
        }
        let notes = self.notes.get_mut();
        notes.anchor.commits += 1;
        notes.changed = true;
        let commits = notes.anchor.commits;
        self.flush()?;
        self.log_bytes += COMMIT_BYTES;
        self.reader.prepare("COMMIT")?.execute([])?;
        self.writing = false;
        if let Some(mark) = &mut self.mark {
            mark.set(commits)?;
        }
        if self.scrub { self.scrub_log() } else { self.shorten_log() }
    }

    /// Moves the log into the file and cuts it to nothing, so that what was replaced is in neither. With `secure_delete` the
    /// file's own pages keep nothing of it. Readers in the way are not waited for: the next turn tries again.
    fn scrub_log(&mut self) -> Result<()> {
        let connection = &self.reader.connection;
        connection.busy_timeout(Duration::ZERO)?;
        let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        connection.busy_timeout(BUSY)?;
        self.scrub = busy;
        if !busy {
            self.log_bytes = 0;
        }
        Ok(())
    }

    /// Moves a long log into the file. SQLite would do so by itself, but keep a failure to itself too, and after a failed
    /// write nothing may be acknowledged.
    fn shorten_log(&mut self) -> Result<()> {
        let log = self.log_bytes;
        if log < LOG_BYTES {
            return Ok(());
        }
        self.log_bytes = 0;
        // Readers in the way are no failure: what they still need is moved the next time.
        Ok(self.reader.prepare("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))?)
    }

    /// The row of an arrival number is to hold this block, or nothing.
    pub(super) fn put(&mut self, seq: u64, block: Option<(&Summary, &[u8])>) -> Result<()> {
        self.begin()?;
        if let Some(place) = self.reader.place(select!("", "WHERE b.seq = ?1"), [integer(seq)?])? {
            self.delete(&place)?;
        }
        match block {
            Some((summary, bytes)) => self.append(summary, bytes),
            None => Ok(()),
        }
    }
}

/// The next place in ledger order, whether a block is there or not.
fn successor(key: &OrderKey) -> OrderKey {
    let mut bytes = *key.hash.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (next, carry) = byte.overflowing_add(1);
        *byte = next;
        if !carry {
            return OrderKey { timestamp: key.timestamp, hash: BlockHash::from_bytes(bytes) };
        }
    }
    OrderKey { timestamp: key.timestamp.plus(1), hash: BlockHash::from_bytes(bytes) }
}
