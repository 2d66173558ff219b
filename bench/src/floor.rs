//! What the parts cost alone: signing blocks, checking them, and bringing a page to the disk. No node is faster than these.

use std::{fs::File, io::Write, time::Instant};

use anyhow::{Context, Result};
use clap::Args;
use shared::{Block, Entry};

use crate::{
    history::History,
    meter::{Cost, Meter},
    place::Place,
    report::{figure, percentile},
};

/// Blocks of each size that are made and checked.
const BLOCKS: u64 = 4096;
/// Pages that are brought to the disk one after the other.
const PAGES: usize = 500;
const PAGE_BYTES: usize = 4096;

#[derive(Debug, Args)]
pub(crate) struct Floor {}

impl Floor {
    pub(crate) fn run(&self) -> Result<()> {
        for per_block in [256, 1] {
            blocks(per_block)?;
        }
        sync()
    }
}

/// Entries per second of one thread.
fn blocks(per_block: u64) -> Result<()> {
    let entries = BLOCKS * per_block;
    let meter = Meter::own();
    let cost =
        |before: Option<f64>| Cost { cpu: meter.cpu().zip(before).map(|(now, before)| now - before), memory: None };

    let mut history = History::new(1);
    let contents: Vec<Vec<Entry>> = (0..BLOCKS).map(|_| history.entries(per_block)).collect();
    let (began, cpu) = (Instant::now(), meter.cpu());
    let made: Vec<Vec<u8>> =
        contents.into_iter().map(|entries| history.sign(entries).into_inner().into_bytes()).collect();
    figure(&format!("make/{per_block}"), entries as f64 / began.elapsed().as_secs_f64(), cost(cpu))?;

    let (began, cpu) = (Instant::now(), meter.cpu());
    for bytes in &made {
        Block::decode(bytes)?.verify().context("a block that was signed here")?;
    }
    Ok(figure(&format!("check/{per_block}"), entries as f64 / began.elapsed().as_secs_f64(), cost(cpu))?)
}

/// µs for a page at the end of a file, in the median.
fn sync() -> Result<()> {
    let place = Place::new()?;
    let mut file = File::create(place.path().join("pages"))?;
    let mut times = Vec::new();
    for _ in 0..PAGES {
        let began = Instant::now();
        file.write_all(&[1; PAGE_BYTES])?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(figure("fdatasync", percentile(&mut times, 50.0), Cost::default())?)
}
