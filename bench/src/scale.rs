//! Whether what an entry costs depends on how many there are, and of how many authors: taking in a ledger, and then one more entry.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    time::Instant,
};

use anyhow::{Result, bail, ensure};
use clap::Args;
use node::{
    blocks::{Reader, Writer},
    host::{Event, Host},
};
use shared::VerifiedBlock;
use tokio::{
    runtime::Runtime,
    sync::broadcast::{self, error::RecvError},
};

use crate::{
    history::{self, History, Size},
    meter::{Cost, Meter},
    place::{Place, import, stop},
    report::{figure, percentile},
};

/// Entries that come one after the other when the ledger is there.
const LIVE: usize = 500;

#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Entries of the ledger
    #[arg(long)]
    entries: u64,
    /// Its authors, who write in turn
    #[arg(long)]
    authors: u32,
    /// Entries of each block
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    per_block: u64,
}

impl Scale {
    pub(crate) fn run(&self) -> Result<()> {
        let place = Place::new()?;
        let file = place.path().join("blocks");
        let mut history = History::new(self.authors);
        let mut writer = Writer::new(BufWriter::new(File::create(&file)?), &history::ledger())?;
        let size = Size { entries: self.entries, per_block: self.per_block };
        history.blocks(size).try_for_each(|block| writer.block(&block))?;
        writer.finish()?;
        Runtime::new()?.block_on(self.measure(&place, File::open(&file)?, &mut history))
    }

    async fn measure(&self, place: &Place, file: File, history: &mut History) -> Result<()> {
        let mut blocks = Reader::new(BufReader::new(file), &history::ledger())?;
        let (host, thread) = place.host()?;
        let meter = Meter::own();
        meter.forget_peak();
        let (began, cpu) = (Instant::now(), meter.cpu());
        // A file that ends early is noticed by what is missing then.
        import(&host, std::iter::from_fn(|| blocks.next_bytes().ok().flatten())).await?;
        let took = began.elapsed().as_secs_f64();
        let cost = Cost { cpu: meter.cpu().zip(cpu).map(|(now, before)| now - before), memory: meter.peak() };
        let held = host.status().await?.totals.entries;
        ensure!(held == self.entries, "the store has {held} of {} entries", self.entries);

        let mut events = host.events();
        let mut times = Vec::new();
        for _ in 0..LIVE {
            let block = history.block(1);
            let began = Instant::now();
            let seq = until_visible(&host, &mut events, block).await?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            ensure!(
                seq == host.last_seq(),
                "an entry is visible under number {seq}, the last one is {}",
                host.last_seq()
            );
        }
        stop(host, thread).await?;
        let of = format!("scale/{}/{}", self.entries, self.authors);
        figure(&format!("{of}/ingest"), took * 1e6 / self.entries as f64, cost)?;
        Ok(figure(&format!("{of}/live"), percentile(&mut times, 50.0), Cost::default())?)
    }
}

/// Hands a block to the host, as a link does, and waits for what a client is told of it. Returns its arrival number.
async fn until_visible(host: &Host, events: &mut broadcast::Receiver<Event>, block: VerifiedBlock) -> Result<u64> {
    let id = block.entry_id(0);
    let report = host.import(vec![block.into_inner().into_bytes()]).await?;
    ensure!(report.added == 1, "a block was not taken: {report:?}");
    loop {
        match events.recv().await {
            Ok(Event::Added { seq, block }) if block.contains(&id) => return Ok(seq),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => bail!("the host stopped"),
        }
    }
}
