//! `cairn verify`: reads the store again and checks every block, as if it had just come from a stranger; with `--repair`
//! it fetches again what is damaged.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;
use shared::{Block, BlockHash, ReadStore};

use super::{
    Failure,
    access::ledger_dir,
    progress::bar,
    repair::{Repaired, repair},
};
use crate::{
    config::Settings,
    data::{DataError, LedgerDir},
    salvage::{Examined, describe, examine},
    store::{SqliteReader, StoreError},
};

/// Wrong blocks that are listed; the rest is counted.
const LISTED: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Mend the store: what is damaged or missing is fetched again from the relays. No node may run
    #[arg(long)]
    repair: bool,
    /// A relay to fetch from, may be given several times [default: those of the configuration]
    #[arg(long, value_name = "URL", requires = "repair")]
    relay: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is wrong with one block, or with the file (then without a block).
#[derive(Debug)]
struct Problem {
    block: Option<(u64, BlockHash)>,
    what: String,
}

#[derive(Debug, Default)]
struct Findings {
    name: String,
    blocks: u64,
    entries: u64,
    /// Payloads that were erased, and that are missing without that.
    erased: u64,
    withheld: u64,
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
        let (findings, repaired) = if self.repair {
            let (findings, repaired) = self.mend(settings)?;
            (findings, Some(repaired))
        } else {
            (look(settings, &ledger_dir(settings)?)?.0, None)
        };
        self.print(&findings, repaired.as_ref()).map_err(Failure::io("the findings cannot be printed"))?;
        let left = repaired.as_ref().map_or(findings.wrong, Repaired::left);
        if left > 0 { Err(Failure::Verify(left)) } else { Ok(()) }
    }

    /// Looks, mends, and looks again.
    fn mend(&self, settings: &Settings) -> Result<(Findings, Repaired), Failure> {
        let settings = settings.with_relays(&self.relay)?;
        let locked = settings.data.lock()?;
        let dir = locked.dir().select(settings.ledger.as_deref())?;
        let (findings, examined) = look(&settings, &dir)?;
        let look = || look(&settings, &dir).map(|(_, examined)| examined);
        let repaired = repair(&locked, &dir, &settings, examined, look)?;
        Ok((findings, repaired))
    }

    fn print(&self, findings: &Findings, repaired: Option<&Repaired>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            let problem = |problem: &Problem| match problem.block {
                Some((seq, hash)) => json!({ "seq": seq, "hash": hash.to_string(), "what": problem.what }),
                None => json!({ "what": problem.what }),
            };
            let problems: Vec<_> = findings.listed.iter().map(problem).collect();
            let left = repaired.map_or(findings.wrong, Repaired::left);
            let mut findings = json!({
                "ok": left == 0,
                "blocks": findings.blocks,
                "entries": findings.entries,
                "erased": findings.erased,
                "withheld": findings.withheld,
                "wrong": findings.wrong,
                "problems": problems,
            });
            if let (Some(repaired), Some(findings)) = (repaired, findings.as_object_mut()) {
                findings.insert("repair".to_owned(), repaired.to_json());
            }
            return writeln!(out, "{findings}");
        }
        for problem in &findings.listed {
            match problem.block {
                Some((0, hash)) => writeln!(out, "block {hash}: {}", problem.what)?,
                Some((seq, hash)) => writeln!(out, "block {hash} (arrival number {seq}): {}", problem.what)?,
                None => writeln!(out, "the file: {}", problem.what)?,
            }
        }
        let Findings { entries, blocks, name, wrong, .. } = findings;
        match wrong {
            0 => writeln!(out, "all {entries} entries in {blocks} blocks of {name} are as they were signed")?,
            wrong => writeln!(out, "{wrong} things are wrong among {blocks} blocks of {name}")?,
        }
        if findings.erased > 0 {
            writeln!(out, "{} of them have no payload any more: it was erased", findings.erased)?;
        }
        if findings.withheld > 0 {
            writeln!(out, "{} of them came without their payload, which a running node asks for", findings.withheld)?;
        }
        match repaired {
            Some(repaired) => repaired.print(&mut out),
            None if *wrong > 0 => {
                writeln!(out, "`cairn verify --repair` fetches what is damaged again from the relays")
            }
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with the store.
fn look(settings: &Settings, dir: &LedgerDir) -> Result<(Findings, Examined), Failure> {
    let blocks = match settings.data.reader_of(dir) {
        Ok(reader) => reader.size().map_or(0, |(blocks, _)| blocks),
        // What is wrong with it is looked at below.
        Err(DataError::Store(error)) if error.is_damage() => 0,
        Err(error) => return Err(error.into()),
    };
    let bar = bar("verifying", blocks);
    let mut findings = Findings::default();
    let mut broken = Vec::new();
    let examined = examine(&dir.store(), settings.ledger.as_deref(), |reader, record, block| {
        bar.inc(1);
        let (erased, withheld) = shared::erase::missing(reader, block).unwrap_or_default();
        (findings.erased, findings.withheld) = (findings.erased + erased, findings.withheld + withheld);
        if let Ok(Some(what)) = wrong_parents(reader, block) {
            broken.push(((record.summary.seq, record.summary.hash), what));
        }
    })?;
    bar.finish_and_clear();
    (findings.blocks, findings.entries) = (examined.scan.blocks, examined.scan.entries);
    findings.name = examined.beginning.to_string();
    examined.problems.iter().for_each(|what| findings.add(None, what.clone()));
    for finding in &examined.scan.wrong {
        findings.add(Some((finding.seq, finding.hash)), describe(&finding.wrong));
    }
    let lost = "it is missing, though others rest on it";
    examined.scan.missing.iter().for_each(|hash| findings.add(Some((0, *hash)), lost.to_owned()));
    broken.into_iter().for_each(|(block, what)| findings.add(Some(block), what));
    Ok((findings, examined))
}

/// All parents end before the block begins, and the first one is the author's block below. That they are there is looked
/// at elsewhere.
fn wrong_parents(reader: &SqliteReader, block: &Block) -> Result<Option<String>, StoreError> {
    let header = block.header();
    for (index, parent) in header.parents.iter().enumerate() {
        let Some(summary) = reader.summary(parent)? else { continue };
        if header.timestamp < summary.end() {
            return Ok(Some(format!("it begins at {}, before its parent {parent} ends", header.timestamp)));
        }
        if index == 0 && header.height > 1 && (summary.author, summary.height + 1) != (header.author, header.height) {
            return Ok(Some(format!("its first parent {parent} is not its author's block below")));
        }
    }
    Ok(None)
}
