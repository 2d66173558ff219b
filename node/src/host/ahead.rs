//! Reads and checks blocks before their turn, on all cores: that needs nothing of the ledger, and is most of what a block costs.

use std::{
    num::NonZero,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, available_parallelism},
};

use shared::{Frame, Incoming, LinkId, key::Signers, limits::CHECK_AHEAD_BYTES};
use tokio::task::spawn_blocking;

use super::{Stopped, turn::Command};

/// Blocks for which another thread is worth its start.
const LEAST: usize = 8;

/// Whether a link's peer has proved who it is. Nothing is done ahead for strangers.
#[derive(Debug, Default)]
pub(super) struct Proved(AtomicBool);

impl Proved {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The command for a frame of the link, checked ahead where it is worth it.
    pub(super) async fn frame(&self, link: LinkId, bytes: Vec<u8>) -> Result<Command, Stopped> {
        if bytes.len() < CHECK_AHEAD_BYTES || !self.0.load(Ordering::Relaxed) {
            return Ok(Command::Frame { link, bytes });
        }
        let read = spawn_blocking(move || {
            Frame::read(bytes).map(|mut frame| {
                check_all(frame.blocks_mut().collect());
                frame
            })
        });
        Ok(match read.await.map_err(|_| Stopped)? {
            Ok(frame) => Command::ReadFrame { link, frame },
            Err(bytes) => Command::Frame { link, bytes },
        })
    }
}

/// The same for blocks of a file.
pub(super) async fn blocks(blocks: Vec<Vec<u8>>) -> Result<Vec<Incoming>, Stopped> {
    let checked = spawn_blocking(move || {
        let mut blocks: Vec<Incoming> = blocks.into_iter().map(Incoming::Bytes).collect();
        check_all(blocks.iter_mut().collect());
        blocks
    });
    checked.await.map_err(|_| Stopped)
}

fn check_all(mut blocks: Vec<&mut Incoming>) {
    let cores = available_parallelism().map_or(1, NonZero::get);
    let share = blocks.len().div_ceil(cores).max(LEAST);
    let check = |blocks: &mut [&mut Incoming]| {
        let mut signers = Signers::default();
        blocks.iter_mut().for_each(|block| block.check(&mut signers));
    };
    thread::scope(|threads| {
        let mut shares = blocks.chunks_mut(share);
        let own = shares.next();
        for share in shares {
            // Where there is no further thread, what was its share is left to the turn.
            drop(thread::Builder::new().spawn_scoped(threads, || check(share)));
        }
        own.into_iter().for_each(check);
    });
}

#[cfg(test)]
mod tests {
    use shared::{
        Entry, Header, Key, Kind, Timestamp, VerifiedBlock,
        block::open_ledger,
        wire::{Envelope, Message},
    };

    use super::*;

    /// A frame with one block of so many entries.
    fn frame(entries: u8) -> Vec<u8> {
        let (ledger, key) = (open_ledger("ahead"), Key::from_secret(&[5; 32]));
        let timestamp = Timestamp::from_micros(1_700_000_000_000_000).unwrap();
        let header = Header { ledger, author: key.node(), height: 1, timestamp, parents: Vec::new() };
        let entries = (0..entries).map(|n| Entry::new(Kind::DATA, [n; 16], vec![b'1'; 100])).collect();
        let message = Message::announce(vec![VerifiedBlock::sign(header, entries, &key).bytes().to_vec()], 0);
        Envelope { message_id: [0; 16], sender: key.node(), recipient: None, message }.encode()
    }

    #[tokio::test]
    async fn only_large_frames_of_peers_that_have_proved_themselves_are_checked_ahead() {
        let (stranger, peer) = (Proved::default(), Proved::default());
        peer.set();
        let (small, large, link) = (frame(2), frame(200), LinkId(1));
        for (proved, bytes, ahead) in [(&stranger, &large, false), (&peer, &small, false), (&peer, &large, true)] {
            match proved.frame(link, bytes.clone()).await.unwrap() {
                Command::ReadFrame { frame, .. } => {
                    assert!(ahead, "{} bytes", frame.size());
                    let mut frame = frame;
                    assert!(frame.blocks_mut().all(|block| matches!(block, Incoming::Verified(_))));
                }
                Command::Frame { bytes: left, .. } => assert_eq!((ahead, &left), (false, bytes)),
                other => panic!("{other:?}"),
            }
        }
        // What is no frame is left to the turn, which closes the link.
        let nonsense = vec![0xff; CHECK_AHEAD_BYTES];
        let left = peer.frame(link, nonsense.clone()).await.unwrap();
        assert!(matches!(left, Command::Frame { bytes, .. } if bytes == nonsense));
    }
}
