//! Two nodes that wrote apart are linked: how long until both have all, in the same order.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use shared::{BlockHash, Page, ReadStore};

use crate::{
    history::{History, Size},
    meter::Cost,
    place::Place,
    process::{Node, verify},
    report::figure,
};

/// Blocks of one read.
const PAGE: Page = Page { blocks: 1024, bytes: 4 * 1024 * 1024 };

#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// Entries that both write together, one half each
    #[arg(long, default_value_t = 100_000)]
    entries: u64,
    /// Entries of each block. By default every entry is signed for itself, as of somebody who writes now and then
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    per_block: u64,
}

impl Merge {
    pub(crate) fn run(&self) -> Result<()> {
        let (first, second) =
            (self.writer([1; 32], self.entries / 2)?, self.writer([2; 32], self.entries.div_ceil(2))?);
        let one = Node::linked(&first, &[])?;
        let before = one.meter().cpu();
        // The second one's start and its dial count: it is not linked before.
        let began = Instant::now();
        let two = Node::linked(&second, &[&one])?;
        let digests = [two.holds(self.entries)?.digest, one.holds(self.entries)?.digest];
        let took = began.elapsed().as_secs_f64();
        let cpus = one.meter().cpu().zip(before).zip(two.meter().cpu());
        let cost = Cost { cpu: cpus.map(|((now, before), two)| now - before + two), memory: two.meter().peak() };

        ensure!(digests[0] == digests[1], "both have all entries, and not the same");
        two.stop()?;
        one.stop()?;
        ensure!(order(&first)? == order(&second)?, "both have the same entries, in another order");
        verify(&first, self.entries)?;
        verify(&second, self.entries)?;
        Ok(figure(&format!("merge/{}", self.per_block), took, cost)?)
    }

    /// A closed store with a lane that its own node has written.
    fn writer(&self, secret: [u8; 32], entries: u64) -> Result<Place> {
        let place = Place::new()?;
        place.fill_as(&secret, History::of([secret]).blocks(Size { entries, per_block: self.per_block }))?;
        Ok(place)
    }
}

/// All blocks as they are read.
fn order(place: &Place) -> Result<Vec<BlockHash>> {
    let reader = place.data().reader()?;
    let (mut hashes, mut last) = (Vec::new(), None);
    loop {
        let records = reader.after(last.as_ref(), PAGE)?;
        let Some(end) = records.last() else { return Ok(hashes) };
        last = Some(end.summary.key());
        hashes.extend(records.iter().map(|record| record.summary.hash));
    }
}
