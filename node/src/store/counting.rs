//! What is only counted or looked over: without the checks of an answer, because nothing rests on it, and reading every row
//! as it would be read for an answer takes many times as long.

use std::collections::BTreeMap;

use rusqlite::params;
use shared::{BlockHash, NodeId, OrderKey, Timestamp};

use super::{
    Result, SqliteReader,
    rows::{self, number},
};

impl SqliteReader {
    /// The times of the first and the last block in ledger order, in µs.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ends(&self) -> Result<Option<(u64, u64)>> {
        // One at a time, each is a look at an end of the index.
        let end = |sql| -> Result<Option<u64>> {
            let time: Option<i64> = self.prepare(sql)?.query_row([], |row| row.get(0))?;
            Ok(time.map(i64::unsigned_abs))
        };
        let first = end("SELECT min(timestamp) FROM blocks")?;
        Ok(first.zip(end("SELECT max(timestamp) FROM blocks")?))
    }

    /// Tells the author's number, the time in µs and the number of entries of every block whose time is within these bounds.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn count(&self, from: u64, to: u64, mut each: impl FnMut(i64, u64, u64)) -> Result<()> {
        let bounds = [from, to].map(|micros| i64::try_from(micros).unwrap_or(i64::MAX));
        let sql = "SELECT author, timestamp, entries FROM blocks WHERE timestamp BETWEEN ?1 AND ?2";
        let mut statement = self.prepare(sql)?;
        let mut found = statement.query(bounds)?;
        while let Some(row) = found.next()? {
            each(row.get(0)?, number(row, 1)?, number(row, 2)?);
        }
        Ok(())
    }

    /// The authors by the numbers that they have in this store.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn author_keys(&self) -> Result<BTreeMap<i64, NodeId>> {
        Ok(self.authors()?.into_iter().map(|author| (author.id, author.key)).collect())
    }

    /// The place of the first of the last blocks in ledger order that have so many entries together; nothing where there are
    /// not more.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn newest_from(&self, entries: usize) -> Result<Option<OrderKey>> {
        let sql = "SELECT timestamp, hash, entries FROM blocks ORDER BY timestamp DESC, hash DESC";
        let mut statement = self.prepare(sql)?;
        let mut found = statement.query([])?;
        let (mut count, mut key) = (0_u64, None);
        while let Some(row) = found.next()? {
            count += number(row, 2)?;
            if count > entries as u64 {
                return Ok(key);
            }
            let timestamp = Timestamp::from_micros(number(row, 0)?).unwrap_or_default();
            key = Some(OrderKey { timestamp, hash: BlockHash::from_bytes(rows::array(row, 1, "a block's hash")?) });
        }
        Ok(None)
    }

    /// The arrival numbers up to one whose blocks are gone.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn gone(&self, seq: u64) -> Result<Vec<u64>> {
        let mut statement = self.prepare("SELECT seq FROM removed WHERE seq <= ?1")?;
        let mut found = statement.query(params![rows::integer(seq)?])?;
        let mut gone = Vec::new();
        while let Some(row) = found.next()? {
            gone.push(number(row, 0)?);
        }
        Ok(gone)
    }
}
