//! Reading: every answer is checked against what the rows say of each other, so that a row that an index or a page does not
//! lead to any more is an error and never an answer without it.

use rusqlite::{CachedStatement, OptionalExtension, Params, params};
use shared::{BlockHash, NodeId, OrderKey, Page, ReadStore, Record, Summary};

use super::{
    Result, SqliteReader, StoreError,
    rows::{
        self, Anchor, Author, BYTES, Bucket, Place, damaged, integer, read_place, read_raw, read_record, select,
        small_sum,
    },
};

const OUT_OF_PLACE: &str = "a block is missing, twice there or out of place";

impl SqliteReader {
    pub(super) fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// All statements of one answer see one state of the store. The turn thread's connection needs nothing for that: it
    /// is the only one that writes.
    fn consistent<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.owner || !self.connection.is_autocommit() {
            return f();
        }
        let transaction = self.connection.unchecked_transaction()?;
        let result = f();
        transaction.finish()?;
        result
    }

    pub(super) fn anchor(&self) -> Result<Anchor> {
        let mut statement = self.prepare("SELECT value FROM anchor WHERE id = 1")?;
        let mut found = statement.query([])?;
        let row = found.next()?.ok_or_else(|| damaged("the anchor is missing"))?;
        Anchor::decode(rows::blob(row, 0)?)
    }

    pub(super) fn place(&self, sql: &str, params: impl Params) -> Result<Option<Place>> {
        let mut statement = self.prepare(sql)?;
        let mut found = statement.query(params)?;
        found.next()?.map(read_place).transpose()
    }

    pub(super) fn place_of(&self, seq: u64) -> Result<Option<Place>> {
        self.place(select!("", "WHERE b.seq = ?1"), [integer(seq)?])
    }

    /// The last block before a place in ledger order, or at it.
    pub(super) fn at_or_before(&self, key: &OrderKey) -> Result<Option<Place>> {
        let sql = select!("", "WHERE (b.timestamp, b.hash) <= (?1, ?2) ORDER BY b.timestamp DESC, b.hash DESC LIMIT 1");
        let place = self.place(sql, key_params(key)?)?;
        expect(place.is_none_or(|place| place.summary.key() <= *key))?;
        Ok(place)
    }

    /// The first block at a place in ledger order, or behind it.
    pub(super) fn at_or_after(&self, key: &OrderKey) -> Result<Option<Place>> {
        let sql = select!("", "WHERE (b.timestamp, b.hash) >= (?1, ?2) ORDER BY b.timestamp, b.hash LIMIT 1");
        let place = self.place(sql, key_params(key)?)?;
        expect(place.is_none_or(|place| place.summary.key() >= *key))?;
        Ok(place)
    }

    /// The last block of a lane before a place in it.
    pub(super) fn before_in_lane(&self, author: &Author, height: u64, hash: &BlockHash) -> Result<Option<Place>> {
        let sql = select!(
            "",
            "WHERE b.author = ?1 AND (b.height, b.hash) < (?2, ?3) ORDER BY b.height DESC, b.hash DESC LIMIT 1"
        );
        let place = self.place(sql, params![author.id, integer(height)?, hash.as_bytes()])?;
        let fits = |s: &Summary| s.author == author.key && (s.height, s.hash) < (height, *hash);
        expect(place.is_none_or(|place| fits(&place.summary)))?;
        Ok(place)
    }

    /// The first block of a lane behind a place in it.
    pub(super) fn after_in_lane(&self, author: &Author, height: u64, hash: &BlockHash) -> Result<Option<Place>> {
        let sql =
            select!("", "WHERE b.author = ?1 AND (b.height, b.hash) > (?2, ?3) ORDER BY b.height, b.hash LIMIT 1");
        let place = self.place(sql, params![author.id, integer(height)?, hash.as_bytes()])?;
        let fits = |s: &Summary| s.author == author.key && (s.height, s.hash) > (height, *hash);
        expect(place.is_none_or(|place| fits(&place.summary)))?;
        Ok(place)
    }

    /// Every author's row, as many as were ever written.
    pub(super) fn authors(&self) -> Result<Vec<Author>> {
        let mut statement = self.prepare("SELECT id, key, last, sum FROM authors")?;
        let mut found = statement.query([])?;
        let mut authors = Vec::new();
        while let Some(row) = found.next()? {
            authors.push(Author::read(row)?);
        }
        if authors.len() as u64 == self.anchor()?.authors { Ok(authors) } else { Err(damaged("an author is missing")) }
    }

    fn author(&self, key: &NodeId) -> Result<Option<Author>> {
        let mut statement = self.prepare("SELECT id, key, last, sum FROM authors WHERE key = ?1")?;
        let mut found = statement.query([key.as_bytes()])?;
        let author = match found.next()? {
            Some(row) => Some(Author::read(row)?),
            None => self.authors()?.into_iter().find(|author| author.key == *key),
        };
        expect(author.is_none_or(|author| author.key == *key))?;
        Ok(author)
    }

    pub(super) fn bucket(&self, id: u64) -> Result<Bucket> {
        let mut statement = self.prepare("SELECT value FROM buckets WHERE id = ?1")?;
        let mut found = statement.query([integer(id)?])?;
        found.next()?.map_or(Ok(Bucket::default()), |row| Bucket::decode(id, rows::blob(row, 0)?))
    }

    /// A hash that no index entry leads to is not there only if all others that begin alike are.
    fn expect_missing(&self, hash: &BlockHash) -> Result<()> {
        let id = Bucket::id(hash);
        let [low, high] = Bucket::range(id);
        let mut statement = self.prepare("SELECT hash FROM blocks WHERE hash >= ?1 AND hash <= ?2")?;
        let mut found = statement.query([low.as_bytes(), high.as_bytes()])?;
        let mut bucket = Bucket::default();
        while let Some(row) = found.next()? {
            let other = BlockHash::from_bytes(rows::array(row, 0, "a block's hash")?);
            expect(other != *hash)?;
            bucket.toggle(&other);
            bucket.count += 1;
        }
        expect(bucket == self.bucket(id)?)
    }

    /// Whether all arrival numbers from one to before another are of blocks that were removed.
    fn expect_removed(&self, from: u64, to: u64) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let sql = "SELECT count(*) FROM removed WHERE seq >= ?1 AND seq < ?2";
        let count: i64 = self.prepare(sql)?.query_row([integer(from)?, integer(to)?], |row| row.get(0))?;
        expect(count.unsigned_abs() == to - from)
    }

    /// Reads rows until the page is full, each checked by `check`. SQLite computes them one by one, so no more is loaded.
    /// Tells whether there are no further ones.
    fn walk(
        &self,
        sql: &str,
        params: impl Params,
        page: Page,
        mut check: impl FnMut(&Place) -> Result<()>,
    ) -> Result<(Vec<Record>, bool)> {
        let mut statement = self.prepare(sql)?;
        let mut found = statement.query(params)?;
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0_usize;
        while records.len() < page.blocks {
            let Some(row) = found.next()? else { return Ok((records, true)) };
            let place = read_place(row)?;
            // Also of the row at which the page ends: it may be too long only because it is not the next one.
            check(&place)?;
            bytes = bytes.saturating_add(rows::blob(row, BYTES)?.len());
            if bytes > page.bytes && !records.is_empty() {
                break;
            }
            records.push(read_record(row, &place)?);
        }
        Ok((records, false))
    }

    /// Goes through the whole store in every way in which it is read.
    ///
    /// # Errors
    /// When one of them leads astray.
    pub fn check_answers(&self) -> Result<()> {
        const PAGE: Page = Page { blocks: 256, bytes: 1024 * 1024 };
        self.consistent(|| {
            let (mut seq, mut key) = (0, None);
            loop {
                let page = self.arrived(seq, PAGE)?;
                let Some(last) = page.last() else { break };
                seq = last.summary.seq;
                for record in &page {
                    expect(self.summary(&record.summary.hash)? == Some(record.summary))?;
                }
            }
            loop {
                let page = self.after(key.as_ref(), PAGE)?;
                let Some(last) = page.last() else { break };
                key = Some(last.summary.key());
            }
            for author in self.authors()? {
                let mut from = 0;
                loop {
                    let page = self.lane(&author.key, from, PAGE)?;
                    let Some(last) = page.last() else { break };
                    from = last.summary.height + 1;
                }
            }
            (0..=Bucket::id(&BlockHash::from_bytes([255; 32]))).try_for_each(|id| self.bucket(id).map(drop))?;
            self.check_meta().map(drop)
        })
    }

    /// Checks that every value of `meta` is there, and returns their keys.
    pub(super) fn check_meta(&self) -> Result<Vec<String>> {
        let mut statement = self.prepare("SELECT key, value, sum FROM meta")?;
        let mut found = statement.query([])?;
        let (mut keys, mut sum) = (Vec::new(), 0);
        while let Some(row) = found.next()? {
            let key: String = row.get(0)?;
            let check = small_sum("meta", key.as_bytes(), rows::blob(row, 1)?);
            if rows::blob(row, 2)? != check {
                return Err(StoreError::Damaged(format!("the value {key:?} is not what was written")));
            }
            sum ^= u64::from_be_bytes(check);
            keys.push(key);
        }
        let anchor = self.anchor()?;
        if (keys.len() as u64, sum) == (anchor.metas, anchor.meta_sum) {
            Ok(keys)
        } else {
            Err(damaged("a value of meta is missing"))
        }
    }
}

impl ReadStore for SqliteReader {
    type Error = StoreError;

    fn summary(&self, hash: &BlockHash) -> Result<Option<Summary>> {
        self.consistent(|| {
            let place = self.place(select!("", "WHERE b.hash = ?1"), [hash.as_bytes()])?;
            match place {
                Some(place) => expect(place.summary.hash == *hash)?,
                None => self.expect_missing(hash)?,
            }
            Ok(place.map(|place| place.summary))
        })
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<Record>> {
        self.consistent(|| {
            let sql = select!(", b.bytes", "WHERE b.hash = ?1");
            let check = |place: &Place| expect(place.summary.hash == *hash);
            let record = self.walk(sql, [hash.as_bytes()], Page::ONE, check)?.0.pop();
            if record.is_none() {
                self.expect_missing(hash)?;
            }
            Ok(record)
        })
    }

    fn lane_from(&self, author: &NodeId, height: u64, hash: &BlockHash, page: Page) -> Result<Vec<Record>> {
        let Ok(first) = integer(height) else { return Ok(Vec::new()) };
        self.consistent(|| {
            let Some(author) = self.author(author)? else { return Ok(Vec::new()) };
            let before = self.before_in_lane(&author, height, hash)?.map_or(0, |place| place.summary.seq);
            let read = |sql| {
                let (mut before, mut last) = (before, None);
                let (records, ended) = self.walk(sql, params![author.id, first, hash.as_bytes()], page, |place| {
                    let at = (place.summary.height, place.summary.hash);
                    let ascends = at >= (height, *hash) && Some(at) > last;
                    expect(place.summary.author == author.key && place.lane_before == before && ascends)?;
                    (before, last) = (place.summary.seq, Some(at));
                    Ok(())
                })?;
                expect(!ended || before == author.last)?;
                Ok(records)
            };
            sorted_if_needed(
                || {
                    read(select!(
                        ", b.bytes",
                        "WHERE b.author = ?1 AND (b.height, b.hash) >= (?2, ?3) ORDER BY b.height"
                    ))
                },
                || {
                    read(select!(
                        ", b.bytes",
                        "WHERE b.author = ?1 AND (b.height, b.hash) >= (?2, ?3) ORDER BY b.height, b.hash"
                    ))
                },
            )
        })
    }

    fn after(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        self.consistent(|| {
            let before = key.map_or(Ok(None), |key| self.at_or_before(key))?.map_or(0, |place| place.summary.seq);
            let read = |from_key, from_start| {
                let (mut before, mut last) = (before, key.copied());
                let check = |place: &Place| {
                    let at = Some(place.summary.key());
                    expect(place.time_before == before && at > last)?;
                    (before, last) = (place.summary.seq, at);
                    Ok(())
                };
                let (records, ended) = match key {
                    Some(key) => self.walk(from_key, key_params(key)?, page, check)?,
                    None => self.walk(from_start, [], page, check)?,
                };
                expect(!ended || before == self.anchor()?.newest)?;
                Ok(records)
            };
            sorted_if_needed(
                || {
                    read(
                        select!(", b.bytes", "WHERE (b.timestamp, b.hash) > (?1, ?2) ORDER BY b.timestamp"),
                        select!(", b.bytes", "ORDER BY b.timestamp"),
                    )
                },
                || {
                    read(
                        select!(", b.bytes", "WHERE (b.timestamp, b.hash) > (?1, ?2) ORDER BY b.timestamp, b.hash"),
                        select!(", b.bytes", "ORDER BY b.timestamp, b.hash"),
                    )
                },
            )
        })
    }

    fn before(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        self.consistent(|| {
            let behind = key.map_or(Ok(None), |key| self.at_or_after(key))?;
            let next = match behind {
                Some(place) => place.time_before,
                None => self.anchor()?.newest,
            };
            let read = |from_key, from_end| {
                let (mut next, mut last) = (next, key.copied());
                let check = |place: &Place| {
                    let at = place.summary.key();
                    expect(place.summary.seq == next && last.is_none_or(|last| at < last))?;
                    (next, last) = (place.time_before, Some(at));
                    Ok(())
                };
                let (records, ended) = match key {
                    Some(key) => self.walk(from_key, key_params(key)?, page, check)?,
                    None => self.walk(from_end, [], page, check)?,
                };
                expect(!ended || next == 0)?;
                Ok(records)
            };
            sorted_if_needed(
                || {
                    read(
                        select!(", b.bytes", "WHERE (b.timestamp, b.hash) < (?1, ?2) ORDER BY b.timestamp DESC"),
                        select!(", b.bytes", "ORDER BY b.timestamp DESC"),
                    )
                },
                || {
                    read(
                        select!(
                            ", b.bytes",
                            "WHERE (b.timestamp, b.hash) < (?1, ?2) ORDER BY b.timestamp DESC, b.hash DESC"
                        ),
                        select!(", b.bytes", "ORDER BY b.timestamp DESC, b.hash DESC"),
                    )
                },
            )
        })
    }

    fn arrived(&self, seq: u64, page: Page) -> Result<Vec<Record>> {
        let Ok(behind) = integer(seq) else { return Ok(Vec::new()) };
        self.consistent(|| {
            let mut next = seq.saturating_add(1);
            let sql = select!(", b.bytes", "WHERE b.seq > ?1 ORDER BY b.seq");
            let (records, ended) = self.walk(sql, [behind], page, |place| {
                expect(place.summary.seq >= next)?;
                self.expect_removed(next, place.summary.seq)?;
                next = place.summary.seq + 1;
                Ok(())
            })?;
            if ended {
                let end = self.anchor()?.last_seq + 1;
                expect(records.is_empty() || next <= end)?;
                self.expect_removed(next, end)?;
            }
            Ok(records)
        })
    }

    /// A page that cannot be read at once is read row by row, as far as there are any.
    fn rows(&self, seq: u64, page: Page) -> Result<Vec<Record>> {
        let Ok(behind) = integer(seq) else { return Ok(Vec::new()) };
        match self.raw(behind, page) {
            Err(error) if error.is_damage() => self.raw_one_by_one(seq, page),
            result => result,
        }
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.consistent(|| {
            let mut statement = self.prepare("SELECT value, sum FROM meta WHERE key = ?1")?;
            let found = statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((value, sum)): Option<(Vec<u8>, Vec<u8>)> = found else {
                return if self.check_meta()?.iter().any(|other| other == key) {
                    Err(damaged("the index of meta leads astray"))
                } else {
                    Ok(None)
                };
            };
            if sum == small_sum("meta", key.as_bytes(), &value) {
                Ok(Some(value))
            } else {
                Err(StoreError::Damaged(format!("the value {key:?} is not what was written")))
            }
        })
    }
}

/// Rows as they are, for a search for damage.
impl SqliteReader {
    fn raw(&self, behind: i64, page: Page) -> Result<Vec<Record>> {
        // A row whose author is gone is still a row.
        let mut statement = self.prepare(
            "SELECT b.seq, a.key, b.height, b.timestamp, b.hash, b.entries, b.bytes \
             FROM blocks b LEFT JOIN authors a ON a.id = b.author WHERE b.seq > ?1 ORDER BY b.seq LIMIT ?2",
        )?;
        let limit = i64::try_from(page.blocks).unwrap_or(i64::MAX);
        let mut found = statement.query([behind, limit])?;
        let mut records = Vec::new();
        let mut bytes = 0_usize;
        while let Some(row) = found.next()? {
            let record = read_raw(row)?;
            bytes = bytes.saturating_add(record.bytes.len());
            if bytes > page.bytes && !records.is_empty() {
                break;
            }
            records.push(record);
        }
        Ok(records)
    }

    /// One row after the other. Those that cannot be read are reported without bytes, with the hash that the index still
    /// knows of them.
    fn raw_one_by_one(&self, seq: u64, page: Page) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let last = self.highest_seq();
        for seq in seq.saturating_add(1)..=last {
            if records.len() >= page.blocks {
                break;
            }
            let one = self.raw(integer(seq - 1)?, Page::ONE);
            match one {
                Ok(found) => records.extend(found.into_iter().filter(|record| record.summary.seq == seq)),
                Err(error) if error.is_damage() => {
                    records.push(Record { summary: unreadable(seq, self.hash_of(seq)), bytes: Vec::new() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// The highest arrival number that anything in the file knows of.
    fn highest_seq(&self) -> u64 {
        let anchor = self.anchor().map_or(0, |anchor| anchor.last_seq);
        let from = |sql| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap_or(0).unsigned_abs();
        let table = from("SELECT coalesce(max(seq), 0) FROM blocks");
        // A lost bit can make a number of any size; nobody has appended more rows than there are bytes in the file.
        let pages = from("SELECT page_count FROM pragma_page_count()");
        anchor.max(table).min(pages.saturating_mul(4096))
    }

    fn hash_of(&self, seq: u64) -> BlockHash {
        let sql = "SELECT hash FROM blocks INDEXED BY blocks_by_hash WHERE +seq = ?1";
        let seq = integer(seq).unwrap_or_default();
        let hash = self.prepare(sql).and_then(|mut statement| {
            let mut found = statement.query([seq])?;
            let row = found.next()?.ok_or_else(|| damaged("no index entry"))?;
            rows::array(row, 0, "a block's hash")
        });
        BlockHash::from_bytes(hash.unwrap_or_default())
    }
}

impl SqliteReader {
    /// Rows of `meta` whose checksum is right; one by one, because one that cannot be read hides those behind it.
    pub(super) fn sound_metas(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let with_sums = self.connection.prepare("SELECT sum FROM meta LIMIT 0").is_ok();
        let sql = if with_sums { "SELECT key, value, sum FROM meta" } else { "SELECT key, value, NULL FROM meta" };
        let mut statement = self.connection.prepare(sql)?;
        let mut found = statement.query([])?;
        let mut metas = Vec::new();
        while let Ok(Some(row)) = found.next() {
            let (Ok(key), Ok(value)) = (row.get::<_, String>(0), row.get::<_, Vec<u8>>(1)) else { continue };
            let sum = rows::blob(row, 2).ok();
            if !with_sums || sum == Some(&small_sum("meta", key.as_bytes(), &value)[..]) {
                metas.push((key, value));
            }
        }
        Ok(metas)
    }
}

fn unreadable(seq: u64, hash: BlockHash) -> Summary {
    Summary {
        seq,
        hash,
        author: NodeId::from_bytes([0; 32]),
        height: 0,
        timestamp: shared::Timestamp::default(),
        entries: 0,
    }
}

fn key_params(key: &OrderKey) -> Result<(i64, &[u8; 32])> {
    Ok((integer(key.timestamp.micros())?, key.hash.as_bytes()))
}

/// Reads in the order of an index, and sorts only where that turns out to be another order: where blocks share a time or a height. The links
/// between rows show it, as they show any other wrong row. To sort, SQLite copies every row, with its bytes.
fn sorted_if_needed<T>(by_index: impl FnOnce() -> Result<T>, sorted: impl FnOnce() -> Result<T>) -> Result<T> {
    match by_index() {
        Err(StoreError::Damaged(_)) => sorted(),
        result => result,
    }
}

fn expect(holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(damaged(OUT_OF_PLACE)) }
}
