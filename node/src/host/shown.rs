//! Blocks as JSON: made once, by whoever shows a block first, so that the turn thread makes none.

use std::sync::{Arc, OnceLock};

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use shared::{EntryId, Keyring, effect::Added, view};

/// A block that was added, and its entries as JSON.
#[derive(Debug)]
pub struct Shown {
    added: Added,
    keys: Arc<Keyring>,
    entries: OnceLock<Vec<Box<RawValue>>>,
    array: OnceLock<Box<RawValue>>,
}

impl Shown {
    pub(super) fn new(added: Added, keys: Arc<Keyring>) -> Self {
        Self { added, keys, entries: OnceLock::new(), array: OnceLock::new() }
    }

    /// Whether an entry is of this block.
    pub fn contains(&self, id: &EntryId) -> bool {
        let header = self.added.block.header();
        header.author == id.author && header.height == id.height && (id.index as usize) < self.count()
    }

    /// How many entries it has.
    pub fn count(&self) -> usize {
        self.added.block.entries().len()
    }

    /// Each entry, on one line.
    pub fn entries(&self) -> &[Box<RawValue>] {
        self.entries.get_or_init(|| {
            let views = view::views(&self.added.block, &self.added.previous, &self.keys);
            // A view is made of strings, numbers and JSON that was parsed before: serialising it cannot fail, and if it ever did, the entry
            // would still be there, so listeners are told of it without its content.
            views.iter().map(|view| view::to_line(view).unwrap_or_else(|_| RawValue::NULL.to_owned())).collect()
        })
    }

    /// All of them, as one array.
    pub fn array(&self) -> &RawValue {
        self.array.get_or_init(|| to_raw_value(self.entries()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

/// An entry that was appended, in its block. Serialises as the entry itself.
#[derive(Debug, Clone)]
pub struct Appended {
    block: Arc<Shown>,
    index: u32,
}

impl Appended {
    pub(super) fn new(block: Arc<Shown>, index: u32) -> Self {
        Self { block, index }
    }

    /// Its id.
    pub fn id(&self) -> EntryId {
        self.block.added.block.entry_id(self.index as usize)
    }

    /// Its JSON view, one line.
    pub fn json(&self) -> &RawValue {
        self.block.entries().get(self.index as usize).map_or(RawValue::NULL, Box::as_ref)
    }
}

impl Serialize for Appended {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}
