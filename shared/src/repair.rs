//! What became of a store on its disk: which blocks are damaged or missing, what of that can be put right from the rows
//! themselves, and what has to come from other replicas again.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    block::{Block, BlockError, VerifiedBlock},
    id::{BlockHash, LedgerId},
    ledger::{META_CHECKPOINT, META_REBUILD, forget_checkpoint, summarise},
    limits::REPAIR_BLOCKS,
    replica::OpenError,
    store::{Page, ReadStore, Record, Store, Summary},
};

/// The hashes of the blocks that are still to come, one after the other.
const META_WANTED: &str = "repair";
/// Rows of one read.
const SCAN: Page = Page { blocks: 256, bytes: 1024 * 1024 };

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// Its bytes are no block of this ledger any more.
    Bytes(BlockError),
    /// Its bytes are a block, but the columns beside them say something else. They can be put right from the bytes.
    Columns,
    /// Its block is there a second time.
    Twice,
}

/// A row that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its arrival number.
    pub seq: u64,
    /// The hash that its columns claim, or that its bytes have where only the columns are wrong.
    pub hash: BlockHash,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What [`scan`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Rows that were read.
    pub blocks: u64,
    /// Entries of the blocks that are good.
    pub entries: u64,
    /// Arrival number of the last row.
    pub last_seq: u64,
    /// Rows that are not as they were written, ascending.
    pub wrong: Vec<Finding>,
    /// Blocks that no row holds or claims to hold, though a good block rests on them.
    pub missing: BTreeSet<BlockHash>,
}

impl Scan {
    /// Whether every block is there and as its author signed it.
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty() && self.missing.is_empty()
    }

    /// The blocks that have to come from other replicas.
    pub fn wanted(&self) -> BTreeSet<BlockHash> {
        let nobody = BlockHash::from_bytes([0; 32]);
        let damaged = self.wrong.iter().filter(|finding| matches!(finding.wrong, Wrong::Bytes(_)));
        let claimed = damaged.map(|finding| finding.hash).filter(|hash| *hash != nobody);
        self.missing.iter().copied().chain(claimed).collect()
    }
}

/// Goes through all rows and checks each as if it came from a stranger, signatures included. `good` hears of every block
/// that is as it was signed, with its row, in arrival order. Keeps the hashes of all blocks in memory while it runs.
///
/// # Errors
/// When the rows cannot be gone through.
pub fn scan<S: ReadStore>(
    store: &S,
    ledger: &LedgerId,
    mut good: impl FnMut(&Record, &VerifiedBlock),
) -> Result<Scan, S::Error> {
    let mut scan = Scan::default();
    // Hash → the row that holds it, and every parent that somebody names.
    let (mut found, mut named) = (BTreeSet::new(), BTreeSet::new());
    let mut claimed: BTreeMap<BlockHash, usize> = BTreeMap::new();
    loop {
        let page = store.rows(scan.last_seq, SCAN)?;
        if page.is_empty() {
            break;
        }
        for record in &page {
            scan.blocks += 1;
            scan.last_seq = record.summary.seq;
            let (seq, claim) = (record.summary.seq, record.summary.hash);
            let block = match check(&record.bytes, ledger) {
                Ok(block) => block,
                Err(error) => {
                    claimed.insert(claim, scan.wrong.len());
                    scan.wrong.push(Finding { seq, hash: claim, wrong: Wrong::Bytes(error) });
                    continue;
                }
            };
            let hash = block.hash();
            if !found.insert(hash) {
                scan.wrong.push(Finding { seq, hash, wrong: Wrong::Twice });
                continue;
            }
            named.extend(&block.header().parents);
            scan.entries += block.entries().len() as u64;
            if (Summary { seq, ..summarise(&block) }) == record.summary {
                good(record, &block);
            } else {
                scan.wrong.push(Finding { seq, hash, wrong: Wrong::Columns });
            }
        }
    }
    scan.missing = named.difference(&found).filter(|hash| !claimed.contains_key(hash)).copied().collect();
    // What a damaged row claims to be may be in another, good row.
    for (hash, index) in claimed {
        if found.contains(&hash) {
            scan.wrong[index].wrong = Wrong::Twice;
        }
    }
    Ok(scan)
}

fn check(bytes: &[u8], ledger: &LedgerId) -> Result<VerifiedBlock, BlockError> {
    let block = Block::decode(bytes)?;
    let came = block.header().ledger;
    if came != *ledger {
        return Err(BlockError::WrongLedger { came, here: *ledger });
    }
    block.check_payloads()?;
    block.verify()
}

/// Puts right what can be put right from the rows themselves and takes out what cannot, so that the store opens again and
/// its replica asks its links for the rest by itself. Commits. Returns the blocks that have to come; there may be more
/// than [`REPAIR_BLOCKS`], which a further scan finds once these are there.
///
/// # Errors
/// When the store cannot be read or written.
pub fn mend<S: Store>(store: &mut S, scan: &Scan) -> Result<BTreeSet<BlockHash>, S::Error> {
    for finding in &scan.wrong {
        let mut block = None;
        if finding.wrong == Wrong::Columns {
            let row = store.rows(finding.seq.saturating_sub(1), Page::ONE)?.pop();
            block = row.and_then(|row| Block::decode(&row.bytes).ok());
        }
        let summary = block.as_ref().map(|block| Summary { seq: finding.seq, ..summarise(block) });
        let put = summary.as_ref().zip(block.as_ref().map(Block::bytes));
        store.replace(finding.seq, put)?;
    }
    expect(store, scan)
}

/// The half of [`mend`] for a store into which only what is good was copied: has its replica ask for the rest. Commits.
/// Returns the blocks that have to come.
///
/// # Errors
/// When the store cannot be read or written.
pub fn expect<S: Store>(store: &mut S, scan: &Scan) -> Result<BTreeSet<BlockHash>, S::Error> {
    let wanted: BTreeSet<BlockHash> = scan.wanted().into_iter().take(REPAIR_BLOCKS).collect();
    note_wanted(store, &wanted)?;
    forget_checkpoint(store, scan.last_seq)?;
    store.commit()?;
    Ok(wanted)
}

/// The record of a row with its columns as the block says them, if its bytes are a good block of this ledger.
pub fn righted(record: Record, ledger: &LedgerId) -> Option<Record> {
    let block = check(&record.bytes, ledger).ok()?;
    Some(Record { summary: Summary { seq: record.summary.seq, ..summarise(&block) }, ..record })
}

/// Keys of the values that a start makes anew, or that [`expect`] writes.
pub fn is_remade(key: &str) -> bool {
    [META_WANTED, META_CHECKPOINT, META_REBUILD].contains(&key)
}

/// Remembers which blocks are still to come.
pub(crate) fn note_wanted<S: Store>(store: &mut S, wanted: &BTreeSet<BlockHash>) -> Result<(), S::Error> {
    if mutant!(RepairUnnoted) {
        return Ok(());
    }
    let bytes: Vec<u8> = wanted.iter().flat_map(|hash| *hash.as_bytes()).collect();
    store.set_meta(META_WANTED, &bytes)
}

/// Whether a store notes that blocks are still to come.
pub(crate) fn has_holes<S: ReadStore>(store: &S) -> Result<bool, S::Error> {
    Ok(store.meta(META_WANTED)?.is_some_and(|wanted| !wanted.is_empty()))
}

/// The blocks that a store notes to be still to come.
///
/// # Errors
/// When it cannot be read.
pub fn noted<S: ReadStore>(store: &S) -> Result<BTreeSet<BlockHash>, OpenError<S::Error>> {
    let bytes = store.meta(META_WANTED).map_err(OpenError::Store)?.unwrap_or_default();
    let (hashes, []) = bytes.as_chunks() else {
        return Err(OpenError::Damaged("its list of blocks under repair"));
    };
    Ok(hashes.iter().map(|hash| BlockHash::from_bytes(*hash)).collect())
}
