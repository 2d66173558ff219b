//! Ledgers to measure with: blocks that others have signed.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use shared::{BlockHash, Entry, Header, Key, Kind, LedgerId, Timestamp, VerifiedBlock, block::open_ledger};

/// Bytes of every payload: a chat line with its number, as JSON.
const PAYLOAD_BYTES: usize = 120;
const WORDS: [&str; 24] = [
    "we", "met", "at", "the", "old", "bridge", "and", "nobody", "had", "seen", "the", "map", "before", "so", "she",
    "drew", "one", "on", "paper", "while", "he", "wrote", "down", "every",
];
/// µs that the first entry lies back. Each one after it is 1 µs later, so all are in the past.
const BACK: u64 = 3_600_000_000;

/// How large a ledger is.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Size {
    /// Entries of the ledger
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) entries: u64,
    /// Entries of each block
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) per_block: u64,
}

/// The ledger that a node begins with.
pub(crate) fn ledger() -> LedgerId {
    open_ledger(node::data::DEFAULT_LEDGER)
}

/// The text of an entry: the same in every run, and no two alike, so that nothing becomes small because it repeats itself. As in
/// `bench/peers/harness.mjs`.
fn payload(number: u64) -> Vec<u8> {
    let mut text = format!("{{\"n\":{number},\"text\":\"");
    let mut state = (number as u32).wrapping_mul(2_654_435_761).wrapping_add(1);
    while text.len() < PAYLOAD_BYTES {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(WORDS[state as usize % WORDS.len()]);
        text.push(' ');
    }
    text.truncate(PAYLOAD_BYTES - 2);
    text.push_str("\"}");
    text.into_bytes()
}

/// Blocks of authors who write in turn, each after the one before. Goes on for as long as it is asked.
#[derive(Debug)]
pub(crate) struct History {
    authors: Vec<Author>,
    /// Of the next block, µs.
    time: u64,
    /// Of the next entry.
    number: u64,
    blocks: usize,
    last: Option<BlockHash>,
}

#[derive(Debug)]
struct Author {
    key: Key,
    height: u64,
    head: Option<BlockHash>,
}

impl History {
    pub(crate) fn new(authors: u32) -> Self {
        Self::of((0..authors).map(|number| {
            let mut secret = [7; 32];
            secret[..4].copy_from_slice(&number.to_be_bytes());
            secret
        }))
    }

    /// By the secrets of its authors.
    pub(crate) fn of(secrets: impl IntoIterator<Item = [u8; 32]>) -> Self {
        let author = |secret| Author { key: Key::from_secret(&secret), height: 0, head: None };
        // A clock before 1970 is none.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let authors = secrets.into_iter().map(author).collect();
        Self { authors, time: now.saturating_sub(BACK), number: 0, blocks: 0, last: None }
    }

    /// The next entries.
    pub(crate) fn entries(&mut self, count: u64) -> Vec<Entry> {
        let numbers = self.number..self.number + count;
        self.number = numbers.end;
        numbers.map(|number| Entry::new(Kind::DATA, u128::from(number).to_be_bytes(), payload(number))).collect()
    }

    /// The next block, of such entries.
    pub(crate) fn sign(&mut self, entries: Vec<Entry>) -> VerifiedBlock {
        let turn = self.blocks % self.authors.len();
        let author = &mut self.authors[turn];
        let mut parents: Vec<_> = author.head.into_iter().collect();
        parents.extend(self.last.filter(|last| author.head != Some(*last)));
        author.height += 1;
        let timestamp = Timestamp::from_micros(self.time).unwrap_or(Timestamp::MAX);
        self.time += entries.len() as u64;
        let header = Header { ledger: ledger(), author: author.key.node(), height: author.height, timestamp, parents };
        let block = VerifiedBlock::sign(header, entries, &author.key);
        author.head = Some(block.hash());
        self.last = author.head;
        self.blocks += 1;
        block
    }

    /// The next block, with so many entries.
    pub(crate) fn block(&mut self, entries: u64) -> VerifiedBlock {
        let entries = self.entries(entries);
        self.sign(entries)
    }

    /// The next blocks, with so many entries in all.
    pub(crate) fn blocks(&mut self, Size { entries, per_block }: Size) -> impl Iterator<Item = Vec<u8>> {
        let end = self.number + entries;
        std::iter::from_fn(move || {
            let left = end.saturating_sub(self.number).min(per_block);
            (left > 0).then(|| self.block(left).into_inner().into_bytes())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_of_one_length_and_no_two_alike() {
        let numbers = [0, 1, 999, 1_000, 999_999, 1_000_000];
        let payloads = numbers.map(payload);
        for (number, payload) in numbers.into_iter().zip(&payloads) {
            assert_eq!(payload.len(), PAYLOAD_BYTES);
            let json: serde_json::Value = serde_json::from_slice(payload).unwrap();
            assert_eq!(json["n"], number);
        }
        let texts = payloads.map(|payload| payload[PAYLOAD_BYTES / 2..].to_vec());
        assert!((0..texts.len()).all(|n| !texts[n + 1..].contains(&texts[n])));
    }

    #[test]
    fn authors_write_in_turn_and_rest_on_what_was_before() {
        let mut history = History::new(3);
        let blocks: Vec<VerifiedBlock> = (0..7).map(|_| history.block(2)).collect();
        for (n, block) in blocks.iter().enumerate() {
            let header = block.header();
            assert_eq!(header.height, n as u64 / 3 + 1);
            let before = n.checked_sub(1).map(|before| blocks[before].hash());
            let own = n.checked_sub(3).map(|own| blocks[own].hash());
            assert_eq!(header.parents, own.into_iter().chain(before).collect::<Vec<_>>());
            assert!(n == 0 || header.timestamp >= blocks[n - 1].end());
        }
    }
}
