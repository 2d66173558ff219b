//! Bytes on the disk for each entry, of a closed store.

use std::fs;

use anyhow::Result;
use clap::Args;

use crate::{
    history::{History, Size},
    meter::Cost,
    place::Place,
    report::figure,
};

#[derive(Debug, Args)]
pub(crate) struct Stored {
    #[command(flatten)]
    size: Size,
}

impl Stored {
    pub(crate) fn run(&self) -> Result<()> {
        let place = Place::new()?;
        place.fill(History::new(1).blocks(self.size))?;
        // The key, the lock and all that SQLite keeps beside its file count, too.
        let mut bytes = 0;
        for file in fs::read_dir(place.data().first().path())? {
            let metadata = file?.metadata()?;
            bytes += if metadata.is_file() { metadata.len() } else { 0 };
        }
        let Size { entries, per_block } = self.size;
        Ok(figure(&format!("stored/{per_block}"), bytes as f64 / entries as f64, Cost::default())?)
    }
}
