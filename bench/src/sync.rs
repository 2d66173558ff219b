//! How fast an empty node has all that another one has, and what that takes on the wire. Two processes, a WebSocket on loopback.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    history::{History, Size},
    meter::Cost,
    place::Place,
    process::{Node, verify},
    report::figure,
};

#[derive(Debug, Args)]
pub(crate) struct Sync {
    #[command(flatten)]
    size: Size,
}

impl Sync {
    pub(crate) fn run(&self) -> Result<()> {
        let Size { entries, per_block } = self.size;
        let (full, empty) = (Place::new()?, Place::new()?);
        full.fill(History::new(1).blocks(self.size))?;
        let one = Node::linked(&full, &[])?;
        let before = one.meter().cpu();
        // All that somebody waits for who comes anew: start, dial and handshake too.
        let began = Instant::now();
        let two = Node::linked(&empty, &[&one])?;
        let status = two.holds(entries)?;
        let took = began.elapsed().as_secs_f64();
        let cpus = one.meter().cpu().zip(before).zip(two.meter().cpu());
        let cost = Cost { cpu: cpus.map(|((now, before), two)| now - before + two), memory: two.meter().peak() };

        ensure!(status.digest == one.client().status()?.digest, "both have all entries, and not the same");
        let [link] = &status.links[..] else { anyhow::bail!("{} links where one was meant", status.links.len()) };
        ensure!(link.path == "websocket", "the link goes by {}", link.path);
        let bytes = (link.received + link.sent) as f64 / entries as f64;
        two.stop()?;
        one.stop()?;
        verify(&empty, entries)?;
        figure(&format!("sync/{per_block}"), entries as f64 / took, cost)?;
        Ok(figure(&format!("sync/{per_block}/bytes"), bytes, Cost::default())?)
    }
}
