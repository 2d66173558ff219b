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
    group::members,
    words::Names,
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
        let members = if self.json || reader.ledger()?.name().is_some() { Vec::new() } else { members(settings)? };
        let mut out = Out { json: self.json, names: Names::of(&members), to: io::stdout().lock() };
        out.print(&newest?)?;
        if !self.follow {
            return Ok(());
        }
        follow(settings, &reader, &keys, seq, &mut out)
    }
}

/// Where entries are printed, and how.
struct Out<W> {
    json: bool,
    names: Names,
    to: W,
}

impl<W: Write> Out<W> {
    fn print(&mut self, entries: &[EntryView]) -> Result<(), Failure> {
        let failed = Failure::io("entries cannot be printed");
        for entry in entries {
            let line = if self.json {
                view::to_line(entry).map(|line| line.to_string()).map_err(io::Error::from)
            } else {
                Ok(self.names.line(entry))
            };
            line.and_then(|line| writeln!(self.to, "{line}")).map_err(&failed)?;
        }
        self.to.flush().map_err(failed)
    }
}

/// Follows in arrival order, the only one in which nothing can come before what was printed already.
fn follow(
    settings: &Settings,
    reader: &SqliteReader,
    keys: &Keyring,
    mut seq: u64,
    out: &mut Out<impl Write>,
) -> Result<(), Failure> {
    let ledger = reader.ledger()?.id().to_string();
    loop {
        if let Ok(Some(file)) = ControlFile::load(&settings.data.control()) {
            seq = follow_node(&ControlClient::new(file).of(ledger.clone()), seq, out)?;
        }
        // There is no node, or there is none any more: the store says what was missed.
        seq = follow_store(reader, keys, seq, out)?;
        sleep(LOOK_EVERY);
    }
}

fn follow_node(client: &ControlClient, mut seq: u64, out: &mut Out<impl Write>) -> Result<u64, Failure> {
    let Ok(answer) = client.follow(seq) else { return Ok(seq) };
    for followed in answer {
        out.print(&followed.entries)?;
        seq = followed.seq;
    }
    Ok(seq)
}

fn follow_store(
    reader: &SqliteReader,
    keys: &Keyring,
    mut seq: u64,
    out: &mut Out<impl Write>,
) -> Result<u64, Failure> {
    let node = reader.node()?.unwrap_or(shared::NodeId::from_bytes([0; 32]));
    loop {
        let cursor = Cursor { node, seq, entries: u32::MAX };
        let (entries, reached) = view::arrived(reader, cursor, PAGE_ENTRIES, PAGE_BYTES, keys)?;
        if entries.is_empty() {
            return Ok(seq);
        }
        out.print(&entries)?;
        seq = reached.seq;
    }
}
