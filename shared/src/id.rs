//! Names of things: ledgers, nodes, blocks and entries.

use alloc::string::String;
use core::{
    fmt,
    str::{self, FromStr},
};

use thiserror::Error;

/// What is wrong with the text of an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not 64 hexadecimal digits.
    #[error("an id of {0:?}, expected 64 hexadecimal digits")]
    NotHex(String),
    /// Not `<node id>-<height>-<index>`.
    #[error("an entry id of {0:?}, expected <node id>-<height>-<index>")]
    NotEntry(String),
    /// Not `<node id>@<arrival number>+<entries>`.
    #[error("a cursor of {0:?}, expected an entry id or a cursor that this node gave")]
    NotCursor(String),
}

macro_rules! id32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first ten hexadecimal digits, for logs and for people.
            pub fn fmt_short(&self) -> String {
                hex::encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Every entry that is shown has five ids: formatted byte by byte they would be most of what that costs.
                let mut digits = [0; 64];
                hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
                f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.fmt_short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; 32];
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_) => Err(IdError::NotHex(excerpt(text))),
                }
            }
        }
    };
}

id32!(
    /// The hash of a ledger's genesis block.
    LedgerId
);
id32!(
    /// The Ed25519 public key of a node.
    NodeId
);
id32!(
    /// The hash of a block, which is the hash of its last entry.
    BlockHash
);

/// First byte of the ids of members' ledgers, and of no other.
const MEMBERS: u8 = 0xca;

impl LedgerId {
    /// The id of a members' ledger, from the hash of its genesis.
    pub(crate) const fn of_members(mut hash: [u8; 32]) -> Self {
        hash[0] = MEMBERS;
        Self(hash)
    }

    /// The id of an open ledger, from the hash of its genesis.
    pub(crate) const fn of_all(mut hash: [u8; 32]) -> Self {
        if hash[0] == MEMBERS {
            hash[0] = !MEMBERS;
        }
        Self(hash)
    }

    /// Whether only members write in this ledger. Its id alone says so, so that nobody takes it for another kind before its
    /// first block is here.
    pub const fn has_members(&self) -> bool {
        self.0[0] == MEMBERS
    }
}

/// Where an entry stands: its author's lane, the block's height in it, and the entry's index in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Whose lane.
    pub author: NodeId,
    /// Height of the block in its lane, from 1.
    pub height: u64,
    /// Index of the entry in its block, from 0.
    pub index: u32,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.author, self.height, self.index)
    }
}

impl FromStr for EntryId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let mut parts = text.split('-');
            let id = EntryId {
                author: parts.next()?.parse().ok()?,
                height: parts.next()?.parse().ok()?,
                index: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(id)
        };
        parse().ok_or_else(|| IdError::NotEntry(excerpt(text)))
    }
}

/// At most 80 characters of text that came from outside, so that an error stays short.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn ids_read_back_from_their_text() {
        let author = NodeId::from_bytes([0xab; 32]);
        let id = EntryId { author, height: 7, index: 255 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(author.to_string().parse(), Ok(author));
    }

    #[test]
    fn wrong_ids_are_named() {
        assert!(matches!("xyz".parse::<NodeId>(), Err(IdError::NotHex(_))));
        let author = NodeId::from_bytes([1; 32]);
        for text in
            [String::new(), author.to_string(), alloc::format!("{author}-1-2-3"), alloc::format!("{author}-x-0")]
        {
            assert!(matches!(text.parse::<EntryId>(), Err(IdError::NotEntry(_))), "{text}");
        }
    }
}
