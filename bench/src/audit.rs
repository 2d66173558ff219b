//! What the check of a history from outside costs natively; `bench/clients/wasm.ts` holds the same in wasm against it.

use std::{
    fs::File,
    io::BufWriter,
    path::PathBuf,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use clap::Args;
use node::blocks::Writer;
use shared::{Timestamp, audit};

use crate::{
    history::{self, History, Size},
    meter::Cost,
    report::figure,
};

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Where the blocks are left, as `cairn export` writes them
    file: PathBuf,
    #[command(flatten)]
    size: Size,
}

impl Audit {
    pub(crate) fn run(&self) -> Result<()> {
        let Size { entries, per_block } = self.size;
        let blocks: Vec<Vec<u8>> = History::new(1).blocks(self.size).collect();
        let mut writer = Writer::new(BufWriter::new(File::create(&self.file)?), &history::ledger())?;
        blocks.iter().try_for_each(|block| writer.block(block))?;
        writer.finish()?;

        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
        let now = Timestamp::from_micros(now).unwrap_or(Timestamp::MAX);
        let mut audit = audit::Audit::new(history::ledger());
        let began = Instant::now();
        for block in &blocks {
            audit.add(block, now)?.check()?;
        }
        let took = began.elapsed().as_secs_f64() * 1e6;
        ensure!(audit.totals().entries == entries, "{} of {entries} entries were checked", audit.totals().entries);
        Ok(figure(&format!("audit/{per_block}"), took / entries as f64, Cost::default())?)
    }
}
