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
            threads.spawn(|| check(share));
        }
        own.into_iter().for_each(check);
    });
}
