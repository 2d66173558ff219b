//! `cairn verify`: reads the store again and checks every block, as if it had just come from a stranger.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;
use shared::{Block, BlockHash, LedgerId, Page, ReadStore, Record};

use super::{Failure, access::check_ledger, progress::bar};
use crate::{
    blocks::check_unsigned,
    config::Settings,
    store::{SqliteReader, StoreError},
};

/// Blocks of one read.
const PAGE: Page = Page { blocks: 256, bytes: 4 * 1024 * 1024 };
/// Wrong blocks that are listed; the rest is counted.
const LISTED: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is wrong with one block, or with the file (then without a block).
struct Problem {
    block: Option<(u64, BlockHash)>,
    what: String,
}

#[derive(Default)]
struct Findings {
    blocks: u64,
    entries: u64,
    wrong: u64,
    listed: Vec<Problem>,
}

impl Findings {
    fn add(&mut self, block: Option<(u64, BlockHash)>, what: String) {
        self.wrong += 1;
        if self.listed.len() < LISTED {
            self.listed.push(Problem { block, what });
        }
    }
}

impl Verify {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        check_ledger(settings)?;
        let reader = settings.data.reader()?;
        let (name, ledger) = reader.ledger()?;
        // One view of the store from beginning to end, whatever a running node adds meanwhile.
        let findings = reader.snapshot(|reader| verify(reader, &ledger))??;
        self.print(&findings, &name).map_err(Failure::io("the findings cannot be printed"))?;
        if findings.wrong > 0 { Err(Failure::Verify(findings.wrong)) } else { Ok(()) }
    }

    fn print(&self, findings: &Findings, name: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            let problem = |problem: &Problem| match problem.block {
                Some((seq, hash)) => json!({ "seq": seq, "hash": hash.to_string(), "what": problem.what }),
                None => json!({ "what": problem.what }),
            };
            let problems: Vec<_> = findings.listed.iter().map(problem).collect();
            return writeln!(
                out,
                "{}",
                json!({
                    "ok": findings.wrong == 0,
                    "blocks": findings.blocks,
                    "entries": findings.entries,
                    "wrong": findings.wrong,
                    "problems": problems,
                })
            );
        }
        for problem in &findings.listed {
            match problem.block {
                Some((seq, hash)) => writeln!(out, "block {hash} (arrival number {seq}): {}", problem.what)?,
                None => writeln!(out, "the file: {}", problem.what)?,
            }
        }
        let (entries, blocks) = (findings.entries, findings.blocks);
        match findings.wrong {
            0 => writeln!(out, "all {entries} entries in {blocks} blocks of {name:?} are as they were signed"),
            wrong => writeln!(out, "{wrong} things are wrong among {blocks} blocks of {name:?}"),
        }
    }
}

fn verify(reader: &SqliteReader, ledger: &LedgerId) -> Result<Findings, StoreError> {
    let mut findings = Findings::default();
    match reader.check_file() {
        Ok(problems) => problems.into_iter().for_each(|what| findings.add(None, what)),
        Err(error) => findings.add(None, error.to_string()),
    }
    let bar = bar("verifying", reader.size().map_or(0, |(blocks, _)| blocks));
    let mut seq = 0;
    loop {
        let records = match reader.arrived(seq, PAGE) {
            Ok(records) => records,
            // Pages that cannot be read end the search; whether that is all that is wrong cannot be known.
            Err(error) if error.is_damage() => {
                findings.add(None, format!("after arrival number {seq} it cannot be read: {error}"));
                break;
            }
            Err(error) => return Err(error),
        };
        let Some(last) = records.last() else { break };
        seq = last.summary.seq;
        for record in &records {
            findings.blocks += 1;
            findings.entries += u64::from(record.summary.entries);
            if let Some(what) = wrong(reader, record, ledger)? {
                findings.add(Some((record.summary.seq, record.summary.hash)), what);
            }
        }
        bar.inc(records.len() as u64);
    }
    bar.finish_and_clear();
    Ok(findings)
}

/// What is wrong with a stored block, if anything is.
fn wrong(reader: &SqliteReader, record: &Record, ledger: &LedgerId) -> Result<Option<String>, StoreError> {
    let block = match check_unsigned(&record.bytes, ledger) {
        Ok(block) => block,
        Err(error) => return Ok(Some(error.to_string())),
    };
    if let Some(what) = wrong_row(record, &block) {
        return Ok(Some(what));
    }
    let block = match block.verify() {
        Ok(block) => block,
        Err(error) => return Ok(Some(error.to_string())),
    };
    match reader.summary(&record.summary.hash) {
        Ok(Some(summary)) if summary == record.summary => {}
        Err(error) if !error.is_damage() => return Err(error),
        _ => return Ok(Some("the index by hash leads elsewhere".to_owned())),
    }
    match wrong_parents(reader, &block) {
        Err(error) if error.is_damage() => Ok(Some(format!("its parents cannot be read: {error}"))),
        result => result,
    }
}

/// The row says of the block what the block says of itself.
fn wrong_row(record: &Record, block: &Block) -> Option<String> {
    let (summary, header) = (&record.summary, block.header());
    if summary.hash != block.hash() {
        return Some(format!("its bytes have the hash {}", block.hash()));
    }
    if summary.author != header.author {
        return Some(format!("its row names the author {}, its bytes {}", summary.author, header.author));
    }
    let row = (summary.height, summary.timestamp, summary.entries as usize);
    let bytes = (header.height, header.timestamp, block.entries().len());
    (row != bytes).then(|| format!("its row says (height, time, entries) {row:?}, its bytes {bytes:?}"))
}

/// All parents are there, end before the block begins, and the first one is the author's block below.
fn wrong_parents(reader: &SqliteReader, block: &Block) -> Result<Option<String>, StoreError> {
    let header = block.header();
    for (index, parent) in header.parents.iter().enumerate() {
        let Some(summary) = reader.summary(parent)? else {
            return Ok(Some(format!("its parent {parent} is not there")));
        };
        if header.timestamp < summary.end() {
            return Ok(Some(format!("it begins at {}, before its parent {parent} ends", header.timestamp)));
        }
        if index == 0 && header.height > 1 && (summary.author, summary.height + 1) != (header.author, header.height) {
            return Ok(Some(format!("its first parent {parent} is not its author's block below")));
        }
    }
    Ok(None)
}
