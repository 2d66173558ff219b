//! What rows hold, and the checks by which a row that is not as it was written is known.

use rusqlite::{Row as SqlRow, ffi};
use sha2::{Digest, Sha256};
use shared::{BlockHash, NodeId, Record, Summary, Timestamp, store::checksum};

use super::{Result, StoreError};

/// Bits of a hash that name its bucket. A hash that is not there costs a look at all hashes of its bucket.
const BUCKET_BITS: u32 = 12;

/// A column list and where its rows come from; `a` is the author's row. The bytes are last, so that what is before them
/// is read without them.
macro_rules! select {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT b.seq, a.key, b.height, b.timestamp, b.hash, b.entries, b.sum, b.links",
            $columns,
            " FROM blocks b CROSS JOIN authors a ON a.id = b.author ",
            $rest
        )
    };
}
pub(super) use select;

const SUM: usize = 6;
const LINKS: usize = 7;
pub(super) const BYTES: usize = 8;

/// A block's row without its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) summary: Summary,
    /// Arrival number of the row before it in ledger order, 0: none.
    pub(super) time_before: u64,
    /// The same in its lane.
    pub(super) lane_before: u64,
}

/// Reads a row, and checks that its columns belong together.
pub(super) fn read_place(row: &SqlRow<'_>) -> Result<Place> {
    let summary = read_summary(row)?;
    let sum = blob(row, SUM)?;
    if sum.first_chunk() != Some(&checksum(&summary, &[]).to_be_bytes()) {
        return Err(changed("a block's row", summary.seq));
    }
    let [time_before, lane_before] = read_links(summary.seq, blob(row, LINKS)?)?;
    Ok(Place { summary, time_before, lane_before })
}

/// The block of a row; whether its hash is right is for those who decode it.
pub(super) fn read_record(row: &SqlRow<'_>, place: &Place) -> Result<Record> {
    let record = Record { summary: place.summary, bytes: blob(row, BYTES)?.to_vec() };
    if blob(row, SUM)? != sum(&record.summary, &record.bytes) {
        return Err(changed("a block's signature", record.summary.seq));
    }
    Ok(record)
}

/// What can be read of a row, the rest zero or empty: a summary's columns, then the bytes.
pub(super) fn read_raw(row: &SqlRow<'_>) -> Result<Record> {
    let array = |column| array(row, column, "").unwrap_or_default();
    let number = |column| number(row, column).unwrap_or_default();
    let summary = Summary {
        seq: self::number(row, 0)?,
        author: NodeId::from_bytes(array(1)),
        height: number(2),
        timestamp: Timestamp::from_micros(number(3)).unwrap_or_default(),
        hash: BlockHash::from_bytes(array(4)),
        entries: u32::try_from(number(5)).unwrap_or_default(),
    };
    Ok(Record { summary, bytes: blob(row, SUM).map(<[u8]>::to_vec).unwrap_or_default() })
}

fn read_summary(row: &SqlRow<'_>) -> Result<Summary> {
    let micros = number(row, 3)?;
    let entries = number(row, 5)?;
    Ok(Summary {
        seq: number(row, 0)?,
        author: NodeId::from_bytes(array(row, 1, "an author's key")?),
        height: number(row, 2)?,
        timestamp: Timestamp::from_micros(micros).ok_or_else(|| damaged(&format!("a time of {micros} µs")))?,
        hash: BlockHash::from_bytes(array(row, 4, "a block's hash")?),
        entries: u32::try_from(entries).map_err(|_| damaged(&format!("a block of {entries} entries")))?,
    })
}

/// The two checksums of a row: of its columns, and of them with the signature.
pub(super) fn sum(summary: &Summary, bytes: &[u8]) -> [u8; 16] {
    let signature = bytes.last_chunk::<64>().map_or(bytes, |signature| &signature[..]);
    let mut sum = [0; 16];
    sum[..8].copy_from_slice(&checksum(summary, &[]).to_be_bytes());
    sum[8..].copy_from_slice(&checksum(summary, signature).to_be_bytes());
    sum
}

/// Numbers and a checksum over them and over what they are for: always of one length, so that a change stays in place.
pub(super) fn seal(what: &str, key: &[u8], numbers: &[u64]) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    let check = small_sum(what, key, &bytes);
    bytes.extend(check);
    bytes
}

/// The numbers of [`seal`], if nothing of them has changed.
pub(super) fn unseal<const N: usize>(what: &'static str, key: &[u8], bytes: &[u8]) -> Result<[u64; N]> {
    let wrong = || damaged(&format!("{what} is not what was written"));
    let (numbers, check) = bytes.split_last_chunk::<8>().ok_or_else(wrong)?;
    let (chunks, []) = numbers.as_chunks::<8>() else { return Err(wrong()) };
    if *check != small_sum(what, key, numbers) || chunks.len() != N {
        return Err(wrong());
    }
    let mut unsealed = [0; N];
    unsealed.iter_mut().zip(chunks).for_each(|(number, bytes)| *number = u64::from_be_bytes(*bytes));
    Ok(unsealed)
}

pub(super) fn small_sum(what: &str, key: &[u8], value: &[u8]) -> [u8; 8] {
    let digest = Sha256::new()
        .chain_update(what)
        .chain_update((key.len() as u64).to_be_bytes())
        .chain_update(key)
        .chain_update(value)
        .finalize();
    let mut sum = [0; 8];
    sum.copy_from_slice(&digest[..8]);
    sum
}

const LINKS_OF: &str = "a block's place";

pub(super) fn links(seq: u64, time_before: u64, lane_before: u64) -> Vec<u8> {
    seal(LINKS_OF, &seq.to_be_bytes(), &[time_before, lane_before])
}

fn read_links(seq: u64, bytes: &[u8]) -> Result<[u64; 2]> {
    unseal(LINKS_OF, &seq.to_be_bytes(), bytes)
}

/// What the store knows of itself as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Anchor {
    /// The highest arrival number ever given.
    pub(super) last_seq: u64,
    /// Arrival number of the last block in ledger order, 0: there is none.
    pub(super) newest: u64,
    pub(super) authors: u64,
    /// Commits since the store was made.
    pub(super) commits: u64,
    /// How many values there are in `meta`, and all their checksums by exclusive or.
    pub(super) metas: u64,
    pub(super) meta_sum: u64,
}

impl Anchor {
    const OF: &str = "the anchor";

    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { last_seq, newest, authors, commits, metas, meta_sum } = *self;
        seal(Self::OF, &[], &[last_seq, newest, authors, commits, metas, meta_sum])
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let [last_seq, newest, authors, commits, metas, meta_sum] = unseal(Self::OF, &[], bytes)?;
        Ok(Self { last_seq, newest, authors, commits, metas, meta_sum })
    }
}

/// All hashes that begin alike: how many they are, and their exclusive or.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bucket {
    pub(super) count: u64,
    hashes: [u64; 4],
}

impl Bucket {
    const OF: &str = "a bucket of hashes";

    /// The bucket of a hash.
    pub(super) fn id(hash: &BlockHash) -> u64 {
        let [a, b, c, d, ..] = *hash.as_bytes();
        u64::from(u32::from_be_bytes([a, b, c, d]) >> (32 - BUCKET_BITS))
    }

    /// The lowest and the highest hash of a bucket.
    pub(super) fn range(id: u64) -> [BlockHash; 2] {
        let low = (id as u32) << (32 - BUCKET_BITS);
        let high = low | (u32::MAX >> BUCKET_BITS);
        [(low, 0), (high, 255)].map(|(start, rest)| {
            let mut bytes = [rest; 32];
            bytes[..4].copy_from_slice(&start.to_be_bytes());
            BlockHash::from_bytes(bytes)
        })
    }

    /// Puts a hash in or takes it out.
    pub(super) fn toggle(&mut self, hash: &BlockHash) {
        let (chunks, _) = hash.as_bytes().as_chunks::<8>();
        self.hashes.iter_mut().zip(chunks).for_each(|(sum, bytes)| *sum ^= u64::from_be_bytes(*bytes));
    }

    pub(super) fn encode(&self, id: u64) -> Vec<u8> {
        let [a, b, c, d] = self.hashes;
        seal(Self::OF, &id.to_be_bytes(), &[self.count, a, b, c, d])
    }

    pub(super) fn decode(id: u64, bytes: &[u8]) -> Result<Self> {
        let [count, a, b, c, d] = unseal(Self::OF, &id.to_be_bytes(), bytes)?;
        Ok(Self { count, hashes: [a, b, c, d] })
    }
}

/// An author's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Author {
    pub(super) id: i64,
    pub(super) key: NodeId,
    /// Arrival number of the last block of its lane, 0: there is none.
    pub(super) last: u64,
}

impl Author {
    pub(super) fn sum(&self) -> [u8; 8] {
        let value = [self.id.to_be_bytes(), self.last.to_be_bytes()].concat();
        small_sum("an author", self.key.as_bytes(), &value)
    }

    /// Reads id, key, last, sum.
    pub(super) fn read(row: &SqlRow<'_>) -> Result<Self> {
        let key = NodeId::from_bytes(array(row, 1, "an author's key")?);
        let author = Self { id: row.get(0)?, key, last: number(row, 2)? };
        if blob(row, 3)? == author.sum() { Ok(author) } else { Err(damaged("an author's row is not what was written")) }
    }
}

pub(super) fn blob<'a>(row: &'a SqlRow<'_>, column: usize) -> Result<&'a [u8]> {
    let wrong = |_| damaged("a text or number where bytes are expected");
    row.get_ref(column)?.as_blob().map_err(wrong)
}

pub(super) fn array(row: &SqlRow<'_>, column: usize, what: &str) -> Result<[u8; 32]> {
    let bytes = blob(row, column)?;
    bytes.try_into().map_err(|_| damaged(&format!("{what} of {} bytes, 32 are expected", bytes.len())))
}

pub(super) fn number(row: &SqlRow<'_>, column: usize) -> Result<u64> {
    let came = row.get_ref(column)?.as_i64().map_err(|_| damaged("a text or bytes where a number is expected"))?;
    u64::try_from(came).map_err(|_| damaged(&format!("a number of {came}, 0 or more is expected")))
}

/// SQLite's integers have 63 bits for what is not negative.
pub(super) fn integer(value: u64) -> Result<i64> {
    let out_of_range = || rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_RANGE), None);
    i64::try_from(value).map_err(|_| out_of_range().into())
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

fn changed(what: &str, seq: u64) -> StoreError {
    StoreError::Damaged(format!("{what} with arrival number {seq} is not what was written"))
}
