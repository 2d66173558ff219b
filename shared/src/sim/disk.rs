//! A disk that fails: what the process wrote, what a crash would keep, and when the next operation is refused.

use alloc::{
    collections::BTreeSet,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::cell::{Ref, RefCell};

use thiserror::Error;

use super::{random::Random, secrets::has_mark};
use crate::{
    id::{BlockHash, NodeId},
    order::OrderKey,
    store::{MemoryStore, Page, ReadStore, Record, Store, Summary},
};

/// The operating system refuses an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum DiskError {
    #[error("input/output error")]
    Io,
    #[error("no space left on device")]
    Full,
    /// What the replica cannot notice by a hash, a store notices by its checksums.
    #[error("a checksum is wrong")]
    Checksum,
}

/// Bytes at the end of a block.
const SIGNATURE: usize = 64;

/// When the disk fails next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// So many operations from now, or so many commits.
    pub(super) after: u64,
    pub(super) error: DiskError,
    /// A commit fails, and has written everything all the same.
    pub(super) written: bool,
}

#[derive(Debug, Clone)]
enum Op {
    Append(Summary, Vec<u8>),
    Remove(BlockHash),
    Replace(u64, Option<(Summary, Vec<u8>)>),
    Meta(String, Vec<u8>),
}

/// What one turn did to the disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// Calls that read, and the rows they gave.
    pub(super) reads: u64,
    /// Blocks of others that were stored.
    pub(super) foreign: u64,
    /// Blocks that were taken out.
    pub(super) removed: u64,
}

#[derive(Debug, Default)]
struct Inner {
    owners: BTreeSet<NodeId>,
    /// What the process sees.
    seen: MemoryStore,
    /// What a crash keeps.
    durable: MemoryStore,
    pending: Vec<Op>,
    failure: Option<Failure>,
    work: Work,
    removed: Vec<(BlockHash, NodeId)>,
    /// Writes of what can be read by anybody.
    leaks: u64,
    /// Blocks whose signature is not what it was. No hash covers it.
    forged: BTreeSet<BlockHash>,
}

/// A handle to one machine's disk; the replica has another one.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Rc<RefCell<Inner>>);

impl Disk {
    pub(super) fn new(durable: MemoryStore) -> Self {
        let inner = Inner { seen: durable.clone(), durable, ..Inner::default() };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Whose blocks do not count as foreign.
    pub(super) fn add_owner(&self, owner: NodeId) {
        self.0.borrow_mut().owners.insert(owner);
    }

    /// A bit of a durable block turns over. Returns which block, if there is any.
    pub(super) fn flip_bit(&self, random: &mut Random) -> Option<BlockHash> {
        let inner = &mut *self.0.borrow_mut();
        let mut record = random.pick(&all(&inner.durable)).cloned()?;
        let bit = random.index(record.bytes.len() * 8);
        record.bytes[bit / 8] ^= 1 << (bit % 8);
        if bit / 8 + SIGNATURE >= record.bytes.len() {
            inner.forged.insert(record.summary.hash);
        }
        let op = Op::Replace(record.summary.seq, Some((record.summary, record.bytes)));
        infallible(apply(&mut inner.durable, &op));
        infallible(apply(&mut inner.seen, &op));
        Some(record.summary.hash)
    }

    pub(super) fn fail(&self, failure: Option<Failure>) {
        self.0.borrow_mut().failure = failure;
    }

    /// The process is gone: what was not durable is lost.
    pub(super) fn crash(&self) {
        let inner = &mut *self.0.borrow_mut();
        inner.failure = None;
        inner.work = Work::default();
        inner.removed.clear();
        if !inner.pending.is_empty() {
            inner.pending.clear();
            inner.seen = inner.durable.clone();
        }
    }

    pub(super) fn durable(&self) -> Ref<'_, MemoryStore> {
        Ref::map(self.0.borrow(), |inner| &inner.durable)
    }

    /// What the turn did, and the blocks that it took out, with their authors.
    pub(super) fn take_work(&self) -> (Work, Vec<(BlockHash, NodeId)>) {
        let inner = &mut *self.0.borrow_mut();
        (core::mem::take(&mut inner.work), core::mem::take(&mut inner.removed))
    }

    /// Writes, since the last call, of bytes that hold a marked plaintext.
    pub(super) fn take_leaks(&self) -> u64 {
        core::mem::take(&mut self.0.borrow_mut().leaks)
    }

    /// Hashes of all durable blocks.
    pub(super) fn hashes(&self) -> BTreeSet<BlockHash> {
        all(&*self.durable()).iter().map(|record| record.summary.hash).collect()
    }
}

/// Everything in a store, in ledger order.
pub(super) fn all(store: &impl ReadStore) -> Vec<Record> {
    store.after(None, Page { blocks: usize::MAX, bytes: usize::MAX }).unwrap_or_default()
}

impl Inner {
    fn operation(&mut self, commit: bool) -> Result<(), DiskError> {
        match &mut self.failure {
            Some(failure) if failure.written && !commit => Ok(()),
            Some(failure) if failure.after == 0 => Err(failure.error),
            Some(failure) => {
                failure.after -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn apply(&mut self) {
        for op in self.pending.drain(..) {
            infallible(apply(&mut self.durable, &op));
        }
    }

    fn write(&mut self, op: Op) -> Result<(), DiskError> {
        self.operation(false)?;
        if let Op::Append(_, bytes) | Op::Meta(_, bytes) | Op::Replace(_, Some((_, bytes))) = &op {
            self.leaks += u64::from(has_mark(bytes));
        }
        infallible(apply(&mut self.seen, &op));
        self.pending.push(op);
        Ok(())
    }
}

fn apply(store: &mut MemoryStore, op: &Op) -> Result<(), core::convert::Infallible> {
    match op {
        Op::Append(summary, bytes) => store.append(summary, bytes),
        Op::Remove(hash) => store.remove(hash),
        Op::Replace(seq, block) => store.replace(*seq, block.as_ref().map(|(summary, bytes)| (summary, &bytes[..]))),
        Op::Meta(key, value) => store.set_meta(key, value),
    }
}

fn infallible<T>(result: Result<T, core::convert::Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

impl Disk {
    fn one<T>(
        &self,
        read: impl FnOnce(&MemoryStore) -> Result<Option<T>, core::convert::Infallible>,
    ) -> Result<Option<T>, DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.operation(false)?;
        inner.work.reads += 1;
        Ok(infallible(read(&inner.seen)))
    }

    fn many(
        &self,
        read: impl FnOnce(&MemoryStore) -> Result<Vec<Record>, core::convert::Infallible>,
    ) -> Result<Vec<Record>, DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.operation(false)?;
        let records = infallible(read(&inner.seen));
        if records.iter().any(|record| inner.forged.contains(&record.summary.hash)) {
            return Err(DiskError::Checksum);
        }
        inner.work.reads += 1 + records.len() as u64;
        Ok(records)
    }
}

impl ReadStore for Disk {
    type Error = DiskError;

    fn summary(&self, hash: &BlockHash) -> Result<Option<Summary>, DiskError> {
        self.one(|store| store.summary(hash))
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<Record>, DiskError> {
        if self.0.borrow().forged.contains(hash) {
            return Err(DiskError::Checksum);
        }
        self.one(|store| store.block(hash))
    }

    fn lane_from(&self, author: &NodeId, height: u64, hash: &BlockHash, page: Page) -> Result<Vec<Record>, DiskError> {
        self.many(|store| store.lane_from(author, height, hash, page))
    }

    fn after(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>, DiskError> {
        self.many(|store| store.after(key, page))
    }

    fn before(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>, DiskError> {
        self.many(|store| store.before(key, page))
    }

    fn arrived(&self, seq: u64, page: Page) -> Result<Vec<Record>, DiskError> {
        self.many(|store| store.arrived(seq, page))
    }

    fn rows(&self, seq: u64, page: Page) -> Result<Vec<Record>, DiskError> {
        Ok(infallible(self.0.borrow().seen.rows(seq, page)))
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.one(|store| store.meta(key))
    }
}

impl Store for Disk {
    fn append(&mut self, summary: &Summary, bytes: &[u8]) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.work.foreign += u64::from(!inner.owners.contains(&summary.author));
        inner.write(Op::Append(*summary, bytes.to_vec()))
    }

    fn remove(&mut self, hash: &BlockHash) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.work.removed += 1;
        let author = infallible(inner.seen.summary(hash)).map(|summary| summary.author);
        inner.removed.extend(author.map(|author| (*hash, author)));
        inner.write(Op::Remove(*hash))
    }

    fn replace(&mut self, seq: u64, block: Option<(&Summary, &[u8])>) -> Result<(), DiskError> {
        let block = block.map(|(summary, bytes)| (*summary, bytes.to_vec()));
        let inner = &mut *self.0.borrow_mut();
        let row = infallible(inner.seen.rows(seq.saturating_sub(1), Page::ONE));
        row.iter().for_each(|record| _ = inner.forged.remove(&record.summary.hash));
        inner.write(Op::Replace(seq, block))
    }

    fn set_meta(&mut self, key: &str, value: &[u8]) -> Result<(), DiskError> {
        self.0.borrow_mut().write(Op::Meta(key.to_string(), value.to_vec()))
    }

    fn commit(&mut self) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        if let Err(error) = inner.operation(true) {
            if inner.failure.is_some_and(|failure| failure.written) {
                inner.apply();
            }
            return Err(error);
        }
        inner.apply();
        Ok(())
    }
}
