//! Blocks as a file: what `cairn export` writes and `cairn import` reads.
//!
//! ```text
//! cairn-blocks 1 <ledger id>⏎
//! length (4 bytes, big end first) block … (parents before children)
//! 0 (4 bytes) number of blocks (8 bytes, big end first)
//! ```

use std::io::{self, BufRead, Read, Write};

use shared::{Block, BlockError, BlockHash, LedgerId, VerifiedBlock, limits::ENCODED_BLOCK_BYTES};
use thiserror::Error;

const MAGIC: &str = "cairn-blocks";
const VERSION: &str = "1";
/// Bytes of the first line: its words, the id and room for a longer version.
const LINE_BYTES: u64 = 128;
/// Bytes before each block.
pub const LENGTH_BYTES: usize = 4;

/// What is wrong with a file of blocks.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read or written.
    #[error("the file cannot be used: {0}")]
    Io(#[from] io::Error),
    /// The first line is another one.
    #[error("not a file of blocks: its first line is {0:?}, \"{MAGIC} {VERSION} <ledger id>\" is expected")]
    NotBlocks(String),
    /// The format is of another version.
    #[error("a file of blocks of version {0:?}, version {VERSION} is known")]
    Version(String),
    /// The file is of another ledger.
    #[error("the file holds blocks of ledger {came}, this data directory is for {here}")]
    WrongLedger {
        /// The file's ledger.
        came: LedgerId,
        /// The data directory's.
        here: LedgerId,
    },
    /// The file ends too early.
    #[error("the file ends within or after block {0}, its end mark is missing")]
    Truncated(u64),
    /// A length that no block has.
    #[error("block {number} has {len} bytes, limit is {ENCODED_BLOCK_BYTES}")]
    Length {
        /// Which block, from 1.
        number: u64,
        /// Its length.
        len: usize,
    },
    /// A block is wrong.
    #[error("block {number} is wrong: {error}")]
    Block {
        /// Which block, from 1.
        number: u64,
        /// What is wrong with it.
        error: BlockError,
    },
    /// A block's parent is neither in the file before it nor in the store.
    #[error("block {number} ({hash}) rests on {parent}, which is neither before it nor in the store")]
    Parent {
        /// Which block, from 1.
        number: u64,
        /// Its hash.
        hash: BlockHash,
        /// The parent that is missing.
        parent: BlockHash,
    },
    /// The end mark counts other blocks.
    #[error("the file holds {came} blocks, its end mark says {expected}")]
    Count {
        /// Blocks that came.
        came: u64,
        /// Blocks that the end mark counts.
        expected: u64,
    },
    /// Something follows the end mark.
    #[error("something follows the file's end mark")]
    Trailing,
}

/// Writes a file of blocks.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    blocks: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut to: W, ledger: &LedgerId) -> io::Result<Self> {
        writeln!(to, "{MAGIC} {VERSION} {ledger}")?;
        Ok(Self { to, blocks: 0 })
    }

    /// Adds an encoded block.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn block(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.blocks += 1;
        self.to.write_all(&length(bytes))?;
        self.to.write_all(bytes)
    }

    /// Writes the end mark and gives back what was written to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; LENGTH_BYTES])?;
        self.to.write_all(&self.blocks.to_be_bytes())?;
        self.to.flush()?;
        Ok(self.to)
    }
}

fn length(bytes: &[u8]) -> [u8; LENGTH_BYTES] {
    // A block is never longer than ENCODED_BLOCK_BYTES.
    (bytes.len() as u32).to_be_bytes()
}

/// Reads a file of blocks.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    ledger: LedgerId,
    blocks: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// When it is no such file, or of another ledger than `here`.
    pub fn new(mut from: R, here: &LedgerId) -> Result<Self, FileError> {
        let mut line = Vec::new();
        from.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line);
        let words: Vec<&str> = text.strip_suffix('\n').unwrap_or_default().split(' ').collect();
        let not_blocks = || FileError::NotBlocks(text.chars().take(40).collect());
        let ledger = match words[..] {
            [MAGIC, VERSION, ledger] => ledger.parse().map_err(|_| not_blocks())?,
            [MAGIC, version, ..] => return Err(FileError::Version(version.to_owned())),
            _ => return Err(not_blocks()),
        };
        if ledger != *here {
            return Err(FileError::WrongLedger { came: ledger, here: *here });
        }
        Ok(Self { from, ledger, blocks: 0, ended: false })
    }

    /// The next block, not looked into; `None` after the end mark.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        if self.ended {
            return Ok(None);
        }
        let mut len = [0; LENGTH_BYTES];
        self.fill(&mut len)?;
        let len = u32::from_be_bytes(len) as usize;
        if len == 0 {
            self.end()?;
            self.ended = true;
            return Ok(None);
        }
        self.blocks += 1;
        if len > ENCODED_BLOCK_BYTES {
            return Err(FileError::Length { number: self.blocks, len });
        }
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// The next block with its number, fully checked but for its parents; `None` after the end mark.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn next_block(&mut self) -> Result<Option<(u64, VerifiedBlock)>, FileError> {
        let Some(bytes) = self.next_bytes()? else { return Ok(None) };
        let number = self.blocks;
        check(&bytes, &self.ledger)
            .map(|block| Some((number, block)))
            .map_err(|error| FileError::Block { number, error })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FileError> {
        match self.from.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(FileError::Truncated(self.blocks)),
            result => Ok(result?),
        }
    }

    fn end(&mut self) -> Result<(), FileError> {
        let mut count = [0; 8];
        self.fill(&mut count)?;
        let expected = u64::from_be_bytes(count);
        if expected != self.blocks {
            return Err(FileError::Count { came: self.blocks, expected });
        }
        if self.from.fill_buf()?.is_empty() { Ok(()) } else { Err(FileError::Trailing) }
    }
}

/// Checks all of a block that can be checked without its parents.
///
/// # Errors
/// When it does not decode, is of another ledger, lacks a payload that nobody can erase, or its signature is wrong.
pub fn check(bytes: &[u8], ledger: &LedgerId) -> Result<VerifiedBlock, BlockError> {
    check_unsigned(bytes, ledger)?.verify()
}

/// Checks what [`check`] does, but for the signature.
///
/// # Errors
/// When it does not decode, is of another ledger, or lacks a payload that nobody can erase.
pub fn check_unsigned(bytes: &[u8], ledger: &LedgerId) -> Result<Block, BlockError> {
    let block = Block::decode(bytes)?;
    if block.header().ledger != *ledger {
        return Err(BlockError::WrongLedger { came: block.header().ledger, here: *ledger });
    }
    block.check_payloads()?;
    Ok(block)
}

/// Adds a block to a batch.
pub fn push_batch(batch: &mut Vec<u8>, bytes: &[u8]) {
    batch.extend_from_slice(&length(bytes));
    batch.extend_from_slice(bytes);
}

/// Takes a batch apart.
///
/// # Errors
/// When its lengths do not fit.
pub fn split_batch(mut batch: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
    let mut blocks = Vec::new();
    while !batch.is_empty() {
        let number = blocks.len() as u64 + 1;
        let (len, rest) = batch.split_first_chunk().ok_or(FileError::Truncated(number))?;
        let len = u32::from_be_bytes(*len) as usize;
        if len == 0 || len > ENCODED_BLOCK_BYTES {
            return Err(FileError::Length { number, len });
        }
        let (block, rest) = rest.split_at_checked(len).ok_or(FileError::Truncated(number))?;
        blocks.push(block.to_vec());
        batch = rest;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: LedgerId = LedgerId::from_bytes([7; 32]);

    fn file(blocks: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &HERE).unwrap();
        blocks.iter().for_each(|block| writer.block(block).unwrap());
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
        let mut reader = Reader::new(bytes, &HERE)?;
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_bytes()? {
            blocks.push(block);
        }
        assert!(reader.next_bytes()?.is_none(), "the end is not the end");
        Ok(blocks)
    }

    #[test]
    fn wrong_files_are_named() {
        let good = file(&[vec![1, 2, 3], vec![4]]);
        let line = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let cut = |len: usize| read(&good[..len]).unwrap_err();
        assert!(matches!(cut(0), FileError::NotBlocks(_)));
        assert!(matches!(cut(20), FileError::NotBlocks(_)));
        assert!((line..good.len()).all(|len| matches!(cut(len), FileError::Truncated(_))));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            read(&bytes).unwrap_err()
        };
        assert!(matches!(with(0, b'x'), FileError::NotBlocks(_)));
        assert!(matches!(with(13, b'2'), FileError::Version(version) if version == "2"));
        assert!(matches!(with(20, b'1'), FileError::WrongLedger { .. }));
        assert!(matches!(with(line, 9), FileError::Length { number: 1, .. }));
        assert!(matches!(with(good.len() - 1, 9), FileError::Count { came: 2, expected: 9 }));
        let trailing = [&good[..], b"x"].concat();
        assert!(matches!(read(&trailing), Err(FileError::Trailing)));
    }

    proptest! {
        #[test]
        fn blocks_come_back_as_they_went(blocks in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..50), 0..20,
        )) {
            prop_assert_eq!(&read(&file(&blocks)).unwrap(), &blocks);
            let mut batch = Vec::new();
            blocks.iter().for_each(|block| push_batch(&mut batch, block));
            prop_assert_eq!(&split_batch(&batch).unwrap(), &blocks);
        }

        #[test]
        fn arbitrary_bytes_are_an_error_or_blocks(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
            drop(split_batch(&bytes));
            let mut after_the_line = file(&[]);
            after_the_line.truncate(after_the_line.len() - 12);
            after_the_line.extend(bytes);
            drop(read(&after_the_line));
        }
    }
}
