//! A data directory that ends with its value.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream};
use node::{
    data::{DEFAULT_LEDGER, DataDir, Opened},
    host::{Host, HostThread},
    keys::NodeKey,
    store::Beginning,
};
use shared::effect::ImportReport;
use tokio::runtime::Runtime;

/// Bytes and blocks of one import, as of `cairn import`.
const BATCH_BYTES: usize = 1024 * 1024;
const BATCH_BLOCKS: usize = 1024;
/// Imports that wait while one is done.
const IMPORTS: usize = 4;

/// An empty directory on the disk of `TMPDIR`.
#[derive(Debug)]
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("bench-").tempdir()?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn data(&self) -> DataDir {
        DataDir::new(self.path().join("data"))
    }

    /// A host in this process.
    pub(crate) fn host(&self) -> Result<(Host, HostThread)> {
        Ok(Host::start(self.data().lock()?.open(None)?)?)
    }

    /// Puts blocks of others into the store, and closes it.
    pub(crate) fn fill(&self, blocks: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        fill(self.data().lock()?.open(None)?, blocks)
    }

    /// The same for a node with this key, which may have signed them itself.
    pub(crate) fn fill_as(&self, secret: &[u8; 32], blocks: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        let beginning = Beginning::Open(DEFAULT_LEDGER.to_owned());
        self.data().make(&beginning, NodeKey::from_secret(secret), |opened| fill(opened, blocks))
    }
}

fn fill(opened: Opened, blocks: impl Iterator<Item = Vec<u8>>) -> Result<()> {
    Runtime::new()?.block_on(async {
        let (host, thread) = Host::start(opened)?;
        import(&host, blocks).await?;
        stop(host, thread).await
    })
}

/// Hands blocks to a host, some batches ahead, and waits until all are durable. Returns how many there were.
pub(crate) async fn import(host: &Host, mut blocks: impl Iterator<Item = Vec<u8>>) -> Result<u64> {
    let batches = std::iter::from_fn(|| {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_BLOCKS && bytes < BATCH_BYTES {
            let Some(block) = blocks.next() else { break };
            bytes += block.len();
            batch.push(block);
        }
        (!batch.is_empty()).then_some(batch)
    });
    let mut reports = stream::iter(batches)
        .map(|batch| async {
            let len = batch.len() as u64;
            (len, host.import(batch).await)
        })
        .buffered(IMPORTS);
    let mut sum = 0;
    while let Some((len, report)) = reports.next().await {
        let ImportReport { added, .. } = report?;
        ensure!(added == len, "of {len} blocks only {added} were taken");
        sum += len;
    }
    Ok(sum)
}

/// Closes the store of a host.
pub(crate) async fn stop(host: Host, mut thread: HostThread) -> Result<()> {
    host.stop();
    thread.ended().await.context("a host failed")
}
