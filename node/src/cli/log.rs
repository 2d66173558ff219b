//! `cairn log`: prints entries, and those that come.

use std::{
    io::{self, Write},
    thread::sleep,
    time::Duration,
};

use clap::Args;
use shared::{
    Keyring,
    limits::{LEDGER_ENTRIES, PAGE_BYTES},
    view::{self, Cursor, EntryView},
};

use super::{
    Failure,
    access::{keys, ledger_dir},
};
use crate::{
    config::Settings,
    control::{ControlFile, client::ControlClient},
    store::SqliteReader,
};

/// Bytes of blocks that are read for the newest entries.
const NEWEST_BYTES: usize = 64 * 1024 * 1024;
/// Entries of one read while following.
const PAGE_ENTRIES: usize = 256;
/// How often the store is looked at while no node serves it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Log {
    /// Go on with entries, in the order in which they arrive here
    #[arg(long, short)]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// How many of the newest entries to begin with
    #[arg(long, value_name = "N", default_value_t = LEDGER_ENTRIES)]
    limit: usize,
}

impl Log {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let reader = settings.data.reader_of(&ledger_dir(settings)?)?;
        let keys = keys(&reader, settings)?;
        let (seq, newest) = reader.snapshot(|reader| {
            let none = self.limit == 0;
            let newest = if none { Ok(Vec::new()) } else { view::newest(reader, self.limit, NEWEST_BYTES, &keys) };
            reader.last_seq().map(|seq| (seq, newest))
        })??;
        let mut out = io::stdout().lock();
        self.print(&mut out, &newest?)?;
        if !self.follow {
            return Ok(());
        }
        self.follow(settings, &reader, &keys, seq, &mut out)
    }

    /// Follows in arrival order, the only one in which nothing can come before what was printed already.
    fn follow(
        &self,
        settings: &Settings,
        reader: &SqliteReader,
        keys: &Keyring,
        mut seq: u64,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let ledger = reader.ledger()?.id().to_string();
        loop {
            if let Ok(Some(file)) = ControlFile::load(&settings.data.control()) {
                seq = self.follow_node(&ControlClient::new(file).of(ledger.clone()), seq, out)?;
            }
            // There is no node, or there is none any more: the store says what was missed.
            seq = self.follow_store(reader, keys, seq, out)?;
            sleep(LOOK_EVERY);
        }
    }

    fn follow_node(&self, client: &ControlClient, mut seq: u64, out: &mut impl Write) -> Result<u64, Failure> {
        let Ok(answer) = client.follow(seq) else { return Ok(seq) };
        for followed in answer {
            self.print(out, &followed.entries)?;
            seq = followed.seq;
        }
        Ok(seq)
    }

    fn follow_store(
        &self,
        reader: &SqliteReader,
        keys: &Keyring,
        mut seq: u64,
        out: &mut impl Write,
    ) -> Result<u64, Failure> {
        let node = reader.node()?.unwrap_or(shared::NodeId::from_bytes([0; 32]));
        loop {
            let cursor = Cursor { node, seq, entries: u32::MAX };
            let (entries, reached) = view::arrived(reader, cursor, PAGE_ENTRIES, PAGE_BYTES, keys)?;
            if entries.is_empty() {
                return Ok(seq);
            }
            self.print(out, &entries)?;
            seq = reached.seq;
        }
    }

    fn print(&self, out: &mut impl Write, entries: &[EntryView]) -> Result<(), Failure> {
        let print = |out: &mut dyn Write, entry: &EntryView| {
            if self.json {
                return writeln!(out, "{}", view::to_line(entry)?);
            }
            let author: String = entry.creator_node_id.chars().take(10).collect();
            let data = entry.data.get().replace(['\n', '\r'], " ");
            writeln!(out, "{} {author} {:>6}-{:<3} {data}", entry.timestamp, entry.height, entry.index)
        };
        let failed = Failure::io("entries cannot be printed");
        entries.iter().try_for_each(|entry| print(out, entry)).map_err(&failed)?;
        out.flush().map_err(failed)
    }
}
