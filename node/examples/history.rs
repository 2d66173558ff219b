//! Makes a history to try things with: `history <blocks> <entries in each> <authors> > file` writes blocks of the open ledger `commons`, as
//! `cairn export` does. Each author writes in turn, a minute after the one before.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use node::blocks::Writer;
use shared::{Entry, Header, Key, Kind, Timestamp, VerifiedBlock, block::open_ledger};

/// 2026-01-01, in µs.
const BEGINNING: u64 = 1_767_225_600_000_000;
const MINUTE: u64 = 60_000_000;

fn main() -> ExitCode {
    let arguments: Result<Vec<u64>, _> = env::args().skip(1).map(|argument| argument.parse()).collect();
    let Ok([blocks, entries @ 1..=256, authors @ 1..=250]) = arguments.as_deref() else {
        eprintln!("usage: history <blocks> <entries in each, 1 to 256> <authors, 1 to 250>");
        return ExitCode::from(2);
    };
    match write(io::stdout().lock(), *blocks, *entries, *authors) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the blocks cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(out: impl Write, blocks: u64, entries: u64, authors: u64) -> io::Result<()> {
    let ledger = open_ledger("commons");
    let mut writer = Writer::new(out, &ledger)?;
    let keys: Vec<Key> = (1..=authors).map(|author| Key::from_secret(&[author as u8; 32])).collect();
    let mut heads = vec![None; keys.len()];
    let mut last = None;
    for number in 0..blocks {
        let author = (number % authors) as usize;
        let mut parents: Vec<_> = heads[author].into_iter().collect();
        // After its author's last block that of whoever wrote before.
        parents.extend(last.filter(|last| heads[author] != Some(*last)));
        let timestamp = Timestamp::from_micros(BEGINNING + number * MINUTE).unwrap_or(Timestamp::MAX);
        let header = Header { ledger, author: keys[author].node(), height: number / authors + 1, timestamp, parents };
        let entry = |index: u64| {
            let text = format!(
                "{{\"type\":\"note\",\"text\":\"note {} of a long conversation about nothing\"}}",
                number * entries + index
            );
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            nonce[8..].copy_from_slice(&index.to_be_bytes());
            Entry::new(Kind::DATA, nonce, text.into_bytes())
        };
        let block = VerifiedBlock::sign(header, (0..entries).map(entry).collect(), &keys[author]);
        writer.block(block.bytes())?;
        heads[author] = Some(block.hash());
        last = heads[author];
    }
    writer.finish()?;
    Ok(())
}
