//! `bench <name>`: measures one thing once, from nothing, and prints a JSON object for each figure. `bench/run.mjs` repeats it and makes
//! the tables of `docs/BENCHMARKS.md`.

use clap::{Parser, Subcommand};

mod audit;
mod floor;
mod history;
mod ingest;
mod memory;
mod merge;
mod meter;
mod open;
mod place;
mod process;
mod rejoin;
mod report;
mod scale;
mod stored;
mod sync;
mod verify;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures one thing once; a JSON object for each figure goes to standard output")]
struct Cli {
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Debug, Subcommand)]
enum Figure {
    /// Blocks of others into a store: checked and durable
    Ingest(ingest::Ingest),
    /// An empty node fetches the whole ledger from another one, over a WebSocket
    Sync(sync::Sync),
    /// Two nodes that wrote apart have both halves, in one order
    Merge(merge::Merge),
    /// Bytes on the disk for each entry
    Stored(stored::Stored),
    /// Start of a node with a large ledger, to its first answer
    Open(open::Open),
    /// Memory of a node with a large ledger, after all of it was read
    Memory(memory::Memory),
    /// `cairn verify` over a large ledger
    Verify(verify::Verify),
    /// Bytes and round trips of a node that comes back and lacks little
    Rejoin(rejoin::Rejoin),
    /// What an entry costs in ledgers of other sizes and numbers of authors
    Scale(scale::Scale),
    /// What signing, checking and a disk cost alone
    Floor(floor::Floor),
    /// The check of a history from outside, µs an entry; leaves its blocks in a file
    Audit(audit::Audit),
    /// The version of SQLite that is measured
    Sqlite,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().figure {
        Figure::Ingest(ingest) => ingest.run(),
        Figure::Sync(sync) => sync.run(),
        Figure::Merge(merge) => merge.run(),
        Figure::Stored(stored) => stored.run(),
        Figure::Open(open) => open.run(),
        Figure::Memory(memory) => memory.run(),
        Figure::Verify(verify) => verify.run(),
        Figure::Rejoin(rejoin) => rejoin.run(),
        Figure::Scale(scale) => scale.run(),
        Figure::Floor(floor) => floor.run(),
        Figure::Audit(audit) => audit.run(),
        Figure::Sqlite => {
            println!("{}", rusqlite::version());
            Ok(())
        }
    }
}
