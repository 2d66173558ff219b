//! How long `cairn verify` takes for a large ledger: every block is read and checked as if it came from a stranger.

use anyhow::Result;
use clap::Args;

use crate::{
    history::{History, Size},
    place::Place,
    process::verify,
    report::figure,
};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    size: Size,
}

impl Verify {
    pub(crate) fn run(&self) -> Result<()> {
        let place = Place::new()?;
        place.fill(History::new(1).blocks(self.size))?;
        let (seconds, cost) = verify(&place, self.size.entries)?;
        Ok(figure("verify", seconds, cost)?)
    }
}
