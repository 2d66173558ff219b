//! Where a node can be reached, in its own words.
//!
//! ```text
//! announcement = [node: bytes32, at, body: bytes, signature: bytes64]
//! signed       = "cairn/announce/1" ‖ ledger ‖ node ‖ at ‖ body                     at as 8 bytes, big endian
//! body         = [version=1, [address: text …]], in a members' ledger sealed with an epoch key
//! ```
//!
//! An announcement with an empty body says that the node is gone. Of two announcements of one node the one with the later time holds. An address is text whose scheme says which way it goes; one
//! with a scheme that this code does not know is for somebody who does. In a members' ledger only members read addresses: relays
//! hand on what they cannot open.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use crate::{
    block::infallible,
    effect::LinkPath,
    id::{LedgerId, NodeId},
    key::{self, Key, KeyError},
    limits::{ADDRESS_BYTES, ADDRESSES, ANNOUNCEMENT_BYTES},
    seal::Place,
    time::Timestamp,
};

const VERSION: u64 = 1;
/// In the place of an entry's index: no block has so many entries.
const INDEX: u32 = u32::MAX;

/// Why an address is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No text, or too much of it.
    #[error("address of {len} bytes, 1 to {ADDRESS_BYTES} are allowed")]
    Length {
        /// Bytes that came.
        len: usize,
    },
    /// No scheme, spaces, or characters that are not of an address.
    #[error("{0:?} is no address, one such as ws://192.168.1.5:3000 is expected")]
    Malformed(String),
}

/// One way to a node, such as `ws://192.168.1.5:3000`: a scheme, and printable ASCII behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(String);

impl Address {
    /// Which way this goes, if this code knows it.
    pub fn path(&self) -> Option<LinkPath> {
        match self.0.split_once(':')?.0 {
            "ws" | "wss" => Some(LinkPath::WebSocket),
            _ => None,
        }
    }

    /// Whether it leads back to the machine of whoever dials it.
    pub fn is_loopback(&self) -> bool {
        let host = self.0.split_once("://").map_or("", |(_, rest)| rest);
        ["127.", "localhost:", "localhost/", "[::1]"].iter().any(|prefix| host.starts_with(prefix))
            || host == "localhost"
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() || text.len() > ADDRESS_BYTES {
            return Err(AddressError::Length { len: text.len() });
        }
        let named = text.split_once(':').is_some_and(|(scheme, rest)| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase()) && !rest.is_empty()
        });
        if !named || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AddressError::Malformed(text.to_string()));
        }
        Ok(Self(text.to_string()))
    }
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node says of where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Who says it.
    pub node: NodeId,
    /// When. Later ones replace earlier ones.
    pub at: Timestamp,
    /// Its addresses, encoded ([`encode_addresses`]) and in a members' ledger sealed for [`Announcement::place`].
    pub body: Vec<u8>,
    /// By the node's key.
    pub signature: [u8; 64],
}

impl Announcement {
    /// Signs a body.
    pub fn sign(ledger: &LedgerId, key: &Key, at: Timestamp, body: Vec<u8>) -> Self {
        let node = key.node();
        let signature = key.sign(&message(ledger, &node, at, &body));
        Self { node, at, body, signature }
    }

    /// Whether the node itself says this, and for this ledger.
    ///
    /// # Errors
    /// When the signature is not the node's.
    pub fn verify(&self, ledger: &LedgerId) -> Result<(), KeyError> {
        key::verify(&self.node, &message(ledger, &self.node, self.at, &self.body), &self.signature)
    }

    /// Where the body is sealed.
    pub fn place(ledger: LedgerId, node: NodeId, at: Timestamp) -> Place {
        Place { ledger, author: node, height: at.micros(), index: INDEX }
    }

    /// Says that the node is gone from now on.
    pub fn is_goodbye(&self) -> bool {
        self.body.is_empty()
    }

    /// Whether the body is of a length that is taken in.
    pub(crate) fn fits(&self) -> bool {
        self.body.len() <= ANNOUNCEMENT_BYTES
    }
}

fn message(ledger: &LedgerId, node: &NodeId, at: Timestamp, body: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 5] = [b"cairn/announce/1", ledger.as_bytes(), node.as_bytes(), &at.micros().to_be_bytes(), body];
    parts.concat()
}

/// The body of an announcement; of too many addresses the first [`ADDRESSES`].
pub fn encode_addresses(addresses: &[Address]) -> Vec<u8> {
    let addresses = &addresses[..addresses.len().min(ADDRESSES)];
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    infallible((|| {
        encoder.array(2)?.u64(VERSION)?.array(addresses.len() as u64)?;
        addresses.iter().try_for_each(|address| encoder.str(&address.0)?.ok())
    })());
    bytes
}

/// The addresses of a body. What is no address is left out, so that later versions may say more.
pub fn decode_addresses(body: &[u8]) -> Vec<Address> {
    let mut decoder = Decoder::new(body);
    let mut addresses = Vec::new();
    let mut read = || -> Result<(), minicbor::decode::Error> {
        if decoder.array()? != Some(2) || decoder.u64()? != VERSION {
            return Ok(());
        }
        for _ in 0..decoder.array()?.unwrap_or(0).min(ADDRESSES as u64) {
            addresses.extend(decoder.str()?.parse());
        }
        Ok(())
    };
    // What came before a fault stands.
    _ = read();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::open_ledger;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_a_scheme_and_printable_text() {
        for (text, path) in [("ws://192.168.1.5:3000", Some(LinkPath::WebSocket)), ("carrier:pigeon", None)] {
            assert_eq!(address(text).path(), path);
        }
        for text in ["", "ws", "ws:", ":3000", "WS://a:1", "ws://a b:1", "ws://ä:1", "ws://a\n:1"] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        assert!(alloc::format!("ws://{}", "a".repeat(ADDRESS_BYTES)).parse::<Address>().is_err());
    }

    #[test]
    fn what_leads_back_to_the_same_machine_is_known() {
        for text in ["ws://127.0.0.1:3000", "wss://localhost:1", "ws://localhost", "ws://[::1]:3000"] {
            assert!(address(text).is_loopback(), "{text}");
        }
        for text in ["ws://192.168.1.5:3000", "ws://localhost.example:1", "ws://[fe80::1]:3000"] {
            assert!(!address(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn bodies_come_back_and_what_is_unknown_is_left_out() {
        let addresses = [address("ws://10.0.0.1:3000"), address("later:whatever")];
        assert_eq!(decode_addresses(&encode_addresses(&addresses)), addresses);
        let many: Vec<Address> = (0..20).map(|n| address(&alloc::format!("ws://10.0.0.{n}:1"))).collect();
        assert_eq!(decode_addresses(&encode_addresses(&many)), many[..ADDRESSES]);
        // [1, ["no address", "ws://a:1"]], [2, […]], and rubbish
        let mut body = Vec::new();
        infallible((|| Encoder::new(&mut body).array(2)?.u64(1)?.array(2)?.str("no address")?.str("ws://a:1")?.ok())());
        assert_eq!(decode_addresses(&body), [address("ws://a:1")]);
        body[1] = 2;
        assert_eq!(decode_addresses(&body), []);
        assert_eq!(decode_addresses(b"rubbish"), []);
    }

    #[test]
    fn an_announcement_is_its_nodes_own_and_of_one_ledger() {
        let (ledger, key) = (open_ledger("a"), Key::from_secret(&[1; 32]));
        let at = Timestamp::from_micros(7).unwrap();
        let said = Announcement::sign(&ledger, &key, at, b"body".to_vec());
        assert!(said.verify(&ledger).is_ok());
        assert!(said.verify(&open_ledger("b")).is_err());
        let other = Key::from_secret(&[2; 32]).node();
        for changed in [
            Announcement { node: other, ..said.clone() },
            Announcement { at: at.plus(1), ..said.clone() },
            Announcement { body: b"other".to_vec(), ..said.clone() },
        ] {
            assert!(changed.verify(&ledger).is_err());
        }
    }
}
