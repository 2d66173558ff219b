//! How long a node with a large ledger takes from the start of its process to its first answer.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    history::{History, Size},
    meter::Cost,
    place::Place,
    process::Node,
    report::{figure, percentile},
};

/// Starts of one run; the figure is their median.
const STARTS: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Open {
    #[command(flatten)]
    size: Size,
}

impl Open {
    pub(crate) fn run(&self) -> Result<()> {
        let place = Place::new()?;
        place.fill(History::new(1).blocks(self.size))?;
        let mut times = Vec::new();
        let mut cost = Cost::default();
        for _ in 0..STARTS {
            let began = Instant::now();
            let node = Node::alone(&place)?;
            let held = node.client().status()?.totals.entries;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            ensure!(held == self.size.entries, "the node has {held} of {} entries", self.size.entries);
            cost = Cost { cpu: node.meter().cpu(), memory: node.meter().peak() };
            node.stop()?;
        }
        Ok(figure("open", percentile(&mut times, 50.0), cost)?)
    }
}
