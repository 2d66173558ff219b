//! `cairn export` and `cairn import`: blocks as a file.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;
use shared::{BlockHash, LedgerId, Page, ReadStore, block::open_ledger};

use super::{
    Failure,
    access::{Access, ledger_dir, with_host},
    progress::bar,
};
use crate::{
    blocks::{self, FileError, Reader, Writer, push_batch},
    config::Settings,
    control::{IMPORT_BYTES, Imported},
    data::{DEFAULT_LEDGER, DataError},
    store::SqliteReader,
};

/// Blocks of one read.
const PAGE: Page = Page { blocks: 256, bytes: 4 * 1024 * 1024 };
/// Bytes of one batch of blocks; one more block still fits in what the node takes.
const BATCH_BYTES: usize = IMPORT_BYTES / 2;
/// Blocks of one batch.
const BATCH_BLOCKS: usize = 1024;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Where to write; `-`: standard output
    file: PathBuf,
}

impl Export {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let reader = reader_of(settings)?;
        let written =
            if self.file == Path::new("-") { export(&reader, io::stdout().lock())?.1 } else { self.to_file(&reader)? };
        eprintln!("{written} blocks exported");
        Ok(())
    }

    /// All of it or nothing: under another name until it is whole.
    fn to_file(&self, reader: &SqliteReader) -> Result<u64, Failure> {
        let mut part = self.file.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let failed = Failure::io("the file cannot be written");
        let result = File::create(&part).map_err(&failed).and_then(|file| {
            let (file, written) = export(reader, BufWriter::new(file))?;
            file.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(&failed)?;
            fs::rename(&part, &self.file).map_err(&failed)?;
            Ok(written)
        });
        if result.is_err() {
            // It may not even have been made; the first error is the one to tell.
            _ = fs::remove_file(&part);
        }
        result
    }
}

/// Blocks in ledger order, so parents come before children.
fn export<W: Write>(reader: &SqliteReader, to: W) -> Result<(W, u64), Failure> {
    let failed = Failure::io("the blocks cannot be written");
    let ledger = reader.ledger()?.id();
    let mut writer = Writer::new(to, &ledger).map_err(&failed)?;
    let written = reader.snapshot(|reader| {
        let bar = bar("exporting", reader.size()?.0);
        let (mut key, mut written) = (None, 0);
        loop {
            let records = reader.after(key.as_ref(), PAGE)?;
            let Some(last) = records.last() else { break };
            key = Some(last.summary.key());
            for record in &records {
                let hash = record.summary.hash;
                let wrong = |what: String| Failure::Block { hash, what };
                let block = blocks::check(&record.bytes, &ledger).map_err(|error| wrong(error.to_string()))?;
                if block.hash() != hash {
                    return Err(wrong(format!("its bytes have the hash {}", block.hash())));
                }
                writer.block(&record.bytes).map_err(&failed)?;
            }
            written += records.len() as u64;
            bar.inc(records.len() as u64);
        }
        bar.finish_and_clear();
        Ok(written)
    })??;
    Ok((writer.finish().map_err(&failed)?, written))
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// What to read; `-`: standard input
    file: PathBuf,
    /// Print what became of the blocks as JSON
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let mut file = self.open().map_err(Failure::io("the file cannot be read"))?;
        // All of the file is checked before any of it is stored.
        let total = check_file(&mut file, settings)?;
        let mut file = rewind(&mut file)?;
        let imported = match Access::open(settings)? {
            Access::Through(client) => {
                let ledger = reader_of(settings)?.ledger()?.id();
                let mut batches = Batches::new(&mut file, &ledger, total)?;
                let mut imported = Imported::default();
                while let Some(batch) = batches.next()? {
                    let mut bytes = Vec::new();
                    batch.iter().for_each(|block| push_batch(&mut bytes, block));
                    imported += client.import(&bytes)?;
                }
                imported
            }
            Access::Alone(locked) => with_host(&locked, settings, |host| async move {
                let mut batches = Batches::new(&mut file, &host.ledger(), total)?;
                let mut imported = Imported::default();
                while let Some(batch) = batches.next()? {
                    imported += host.import(batch).await?.into();
                }
                Ok(imported)
            })?,
        };
        self.print(&imported).map_err(Failure::io("the result cannot be printed"))
    }

    /// The file, to be read twice: standard input is copied to a file without a name first.
    fn open(&self) -> io::Result<File> {
        if self.file != Path::new("-") {
            return File::open(&self.file);
        }
        let mut copy = tempfile::tempfile()?;
        io::copy(&mut io::stdin().lock(), &mut copy)?;
        copy.seek(SeekFrom::Start(0))?;
        Ok(copy)
    }

    fn print(&self, imported: &Imported) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            return writeln!(out, "{}", json!(imported));
        }
        write!(out, "{} blocks added, {} were there", imported.added, imported.known)?;
        if imported.parked > 0 {
            write!(out, ", {} wait for their time", imported.parked)?;
        }
        if imported.refused > 0 {
            write!(out, ", {} break a rule and were refused", imported.refused)?;
        }
        writeln!(out)
    }
}

fn reader_of(settings: &Settings) -> Result<SqliteReader, Failure> {
    Ok(settings.data.reader_of(&ledger_dir(settings)?)?)
}

/// The ledger that the blocks are for, and the store if there is one already.
fn target(settings: &Settings) -> Result<(LedgerId, Option<SqliteReader>), Failure> {
    match reader_of(settings) {
        Ok(reader) => Ok((reader.ledger()?.id(), Some(reader))),
        Err(Failure::Data(DataError::Nothing { .. })) => {
            Ok((open_ledger(settings.ledger.as_deref().unwrap_or(DEFAULT_LEDGER)), None))
        }
        Err(error) => Err(error),
    }
}

/// Reads all of the file and checks every block and that its parents come before it. Returns the number of blocks.
fn check_file(file: &mut File, settings: &Settings) -> Result<u64, Failure> {
    let (ledger, store) = target(settings)?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let bar = bar("checking", 0);
    let mut reader = Reader::new(BufReader::new(file), &ledger)?;
    let mut seen: HashSet<BlockHash> = HashSet::new();
    let (mut total, mut read) = (0, 0);
    while let Some((number, block)) = reader.next_block()? {
        for parent in &block.header().parents {
            let known = seen.contains(parent)
                || match &store {
                    Some(store) => store.summary(parent)?.is_some(),
                    None => false,
                };
            if !known {
                return Err(FileError::Parent { number, hash: block.hash(), parent: *parent }.into());
            }
        }
        seen.insert(block.hash());
        total = number;
        read += block.bytes().len() as u64;
        // How many blocks the file has is known at its end only; its length tells about how many.
        bar.set_length((bytes as f64 / read as f64 * number as f64) as u64);
        bar.set_position(number);
    }
    bar.finish_and_clear();
    Ok(total)
}

fn rewind(file: &mut File) -> Result<BufReader<&mut File>, Failure> {
    file.seek(SeekFrom::Start(0)).map_err(Failure::io("the file cannot be read twice"))?;
    Ok(BufReader::new(file))
}

/// The blocks of a checked file, some at a time.
struct Batches<R> {
    reader: Reader<R>,
    bar: indicatif::ProgressBar,
}

impl<R: io::BufRead> Batches<R> {
    fn new(from: R, ledger: &LedgerId, total: u64) -> Result<Self, Failure> {
        Ok(Self { reader: Reader::new(from, ledger)?, bar: bar("importing", total) })
    }

    fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.len() < BATCH_BLOCKS {
            let Some(block) = self.reader.next_bytes()? else { break };
            bytes += block.len() + blocks::LENGTH_BYTES;
            batch.push(block);
        }
        self.bar.inc(batch.len() as u64);
        Ok((!batch.is_empty()).then_some(batch))
    }
}
