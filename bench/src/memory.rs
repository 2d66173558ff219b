//! Memory of a node with a large ledger, after a client has read all of it.

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{
    history::{History, Size},
    meter::Cost,
    place::Place,
    process::Node,
    report::figure,
};

#[derive(Debug, Args)]
pub(crate) struct Memory {
    #[command(flatten)]
    size: Size,
}

impl Memory {
    pub(crate) fn run(&self) -> Result<()> {
        let entries = self.size.entries;
        let place = Place::new()?;
        place.fill(History::new(1).blocks(self.size))?;
        let node = Node::alone(&place)?;
        let mut read = 0;
        for followed in node.client().follow(0)? {
            read += followed.entries.len() as u64;
            if read >= entries {
                break;
            }
        }
        ensure!(read == entries, "{read} of {entries} entries were read");
        let resident = node.meter().resident().context("this system does not tell the memory of a process")?;
        let cost = Cost { cpu: node.meter().cpu(), memory: node.meter().peak() };
        node.stop()?;
        Ok(figure("memory/1m", resident as f64, cost)?)
    }
}
