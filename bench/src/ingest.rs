//! How fast a node takes in what others have signed: decoded, checked, in the store, durable.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    time::Instant,
};

use anyhow::{Result, ensure};
use clap::Args;
use node::blocks::{Reader, Writer};
use tokio::runtime::Runtime;

use crate::{
    history::{self, History, Size},
    meter::{Cost, Meter},
    place::{Place, import, stop},
    report::figure,
};

#[derive(Debug, Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    size: Size,
}

impl Ingest {
    pub(crate) fn run(&self) -> Result<()> {
        let place = Place::new()?;
        // What makes the blocks is not to be measured, nor the memory in which they would wait.
        let file = place.path().join("blocks");
        let mut writer = Writer::new(BufWriter::new(File::create(&file)?), &history::ledger())?;
        History::new(1).blocks(self.size).try_for_each(|block| writer.block(&block))?;
        writer.finish()?;
        Runtime::new()?
            .block_on(self.measure(&place, Reader::new(BufReader::new(File::open(&file)?), &history::ledger())?))
    }

    async fn measure(&self, place: &Place, mut blocks: Reader<BufReader<File>>) -> Result<()> {
        let Size { entries, per_block } = self.size;
        let (host, thread) = place.host()?;
        let meter = Meter::own();
        meter.forget_peak();
        let (began, cpu) = (Instant::now(), meter.cpu());
        // A file that ends early is noticed by what is missing then.
        import(&host, std::iter::from_fn(|| blocks.next_bytes().ok().flatten())).await?;
        let took = began.elapsed().as_secs_f64();
        let cost = Cost { cpu: meter.cpu().zip(cpu).map(|(now, before)| now - before), memory: meter.peak() };
        let held = host.status().await?.totals.entries;
        ensure!(held == entries, "the store has {held} of {entries} entries");
        stop(host, thread).await?;
        Ok(figure(&format!("ingest/{per_block}"), entries as f64 / took, cost)?)
    }
}
