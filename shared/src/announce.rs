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
//!
//! ```text
//! ws://192.168.1.5:3000                                          a WebSocket; wss:// with TLS
//! iroh:<64 digits>?ip=192.168.1.5:3000&ip=[fd00::1]:3000          QUIC to the iroh endpoint of that key, at these sockets
//! iroh:<64 digits>?relay=https://relay.example/                  or by this iroh relay
//! ```
//!
//! What has no room in one address of an endpoint goes into another one.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::net::{IpAddr, SocketAddr};

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use crate::{
    block::infallible,
    effect::LinkPath,
    id::{LedgerId, NodeId},
    key::{self, Key, KeyError},
    limits::{ADDRESS_BYTES, ADDRESSES, ANNOUNCEMENT_BYTES},
    seal,
    time::Timestamp,
};

const VERSION: u64 = 1;
/// In the place of an entry's index: no block has so many entries.
const INDEX: u32 = u32::MAX;

/// The digits of an endpoint's key.
const ENDPOINT_DIGITS: usize = 64;

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

/// What an address of an iroh endpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// Its key, in hexadecimal digits.
    pub id: &'a str,
    /// Where it listens.
    pub sockets: Vec<SocketAddr>,
    /// The iroh relay that it listens at.
    pub relay: Option<&'a str>,
}

/// Where an address leads, as far as that can be seen without asking anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The machine of whoever dials it.
    Here,
    /// A network that is not the internet: private (RFC 1918), link-local (RFC 3927), shared (RFC 6598) or unique local (RFC 4193).
    Near,
    /// Anywhere, or a name.
    Far,
}

impl Place {
    fn of(ip: IpAddr) -> Self {
        let near = match ip.to_canonical() {
            ip if ip.is_loopback() || ip.is_unspecified() => return Self::Here,
            IpAddr::V4(ip) => {
                let [first, second, ..] = ip.octets();
                ip.is_private() || ip.is_link_local() || (first == 100 && second & 0b1100_0000 == 64)
            }
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        if near { Self::Near } else { Self::Far }
    }

    /// Of `ws://<authority>/…`.
    fn of_url(url: &str) -> Self {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
            _ => authority,
        };
        let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match ip.parse() {
            Ok(ip) => Self::of(ip),
            Err(_) if host == "localhost" => Self::Here,
            Err(_) => Self::Far,
        }
    }
}

impl Address {
    /// Which way this goes, if this code knows it.
    pub fn path(&self) -> Option<LinkPath> {
        match self.0.split_once(':')?.0 {
            "iroh" => Some(LinkPath::Quic),
            "ws" | "wss" => Some(LinkPath::WebSocket),
            _ => None,
        }
    }

    /// Whether it leads back to the machine of whoever dials it.
    pub fn is_loopback(&self) -> bool {
        match self.endpoint() {
            Some(Endpoint { sockets, relay, .. }) => {
                relay.is_none() && sockets.iter().all(|socket| Place::of(socket.ip()) == Place::Here)
            }
            None => Place::of_url(&self.0) == Place::Here,
        }
    }

    /// The endpoint that it leads to; nothing where it leads to no endpoint.
    pub fn endpoint(&self) -> Option<Endpoint<'_>> {
        endpoint(self.0.strip_prefix("iroh:")?)
    }

    /// The addresses of an endpoint: as many as it takes for all its sockets, its relay in the first. What does not fit alone is left out.
    pub fn of_endpoint(id: &str, sockets: &[SocketAddr], relay: Option<&str>) -> Vec<Self> {
        let relay = relay.map(|relay| format!("relay={relay}"));
        let parts = relay.into_iter().chain(sockets.iter().map(|socket| format!("ip={socket}")));
        let mut addresses: Vec<Self> = Vec::new();
        for part in parts {
            let longer = addresses.last().and_then(|Self(text)| format!("{text}&{part}").parse().ok());
            match (longer, addresses.last_mut()) {
                (Some(longer), Some(last)) => *last = longer,
                _ => addresses.extend(format!("iroh:{id}?{part}").parse()),
            }
        }
        addresses
    }

    /// What of it leads where this node goes: to its own machine only if it is reached nowhere else, out of the local network only if it may.
    pub(crate) fn within(&self, here: bool, far: bool) -> Option<Self> {
        let goes = |place| match place {
            Place::Here => here,
            Place::Near => true,
            Place::Far => far,
        };
        if self.endpoint().is_none() {
            return goes(Place::of_url(&self.0)).then(|| self.clone());
        }
        let (endpoint, ways) = self.0.split_once('?')?;
        let leads = |way: &&str| match way.split_once('=') {
            Some(("ip", socket)) => socket.parse::<SocketAddr>().is_ok_and(|socket| goes(Place::of(socket.ip()))),
            Some(("relay", _)) => far,
            _ => true,
        };
        let ways: Vec<&str> = ways.split('&').filter(leads).collect();
        // Where nothing is left, this is no address.
        format!("{endpoint}?{}", ways.join("&")).parse().ok()
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
        let no_endpoint = text.strip_prefix("iroh:").is_some_and(|rest| endpoint(rest).is_none());
        if !named || no_endpoint || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AddressError::Malformed(text.to_string()));
        }
        Ok(Self(text.to_string()))
    }
}

/// Reads `<id>?ip=…&relay=…`. What later versions add is passed over.
fn endpoint(text: &str) -> Option<Endpoint<'_>> {
    let (id, ways) = text.split_once('?')?;
    if id.len() != ENDPOINT_DIGITS || !id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let (mut sockets, mut relay) = (Vec::new(), None);
    for way in ways.split('&') {
        match way.split_once('=')? {
            ("ip", socket) => sockets.push(socket.parse().ok()?),
            ("relay", url) => relay = Some(url).filter(|url| !url.is_empty()),
            _ => {}
        }
    }
    (relay.is_some() || !sockets.is_empty()).then_some(Endpoint { id, sockets, relay })
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
    pub fn place(ledger: LedgerId, node: NodeId, at: Timestamp) -> seal::Place {
        seal::Place { ledger, author: node, height: at.micros(), index: INDEX }
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
    use alloc::vec;

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
        let iroh = |ways: &str| alloc::format!("iroh:{ID}?{ways}");
        for text in
            ["ws://127.0.0.1:3000", "wss://localhost:1", "ws://localhost", "ws://[::1]:3000", "ws://127.1.2.3/x"]
        {
            assert!(address(text).is_loopback(), "{text}");
        }
        for ways in ["ip=127.0.0.1:1", "ip=[::1]:1&ip=127.0.0.1:2", "ip=[::ffff:127.0.0.1]:1&later=x"] {
            assert!(address(&iroh(ways)).is_loopback(), "{ways}");
        }
        for text in ["ws://192.168.1.5:3000", "ws://localhost.example:1", "ws://[fe80::1]:3000", "ws://127.example:1"] {
            assert!(!address(text).is_loopback(), "{text}");
        }
        for ways in ["ip=127.0.0.1:1&ip=10.0.0.1:1", "ip=127.0.0.1:1&relay=https://relay.example/"] {
            assert!(!address(&iroh(ways)).is_loopback(), "{ways}");
        }
    }

    /// An endpoint.
    const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn endpoints_are_read_and_what_is_none_is_no_address() {
        let text = alloc::format!("iroh:{ID}?ip=10.0.0.1:7&relay=https://r.example/&later=x");
        let parsed = address(&text);
        let sockets = vec!["10.0.0.1:7".parse().unwrap()];
        assert_eq!(parsed.endpoint(), Some(Endpoint { id: ID, sockets, relay: Some("https://r.example/") }));
        assert_eq!(parsed.path(), Some(LinkPath::Quic));
        assert_eq!(address("ws://10.0.0.1:7").endpoint(), None);
        let upper = ID.to_uppercase();
        for rest in [
            "",
            ID,
            "00?ip=10.0.0.1:7",
            &alloc::format!("{upper}?ip=10.0.0.1:7"),
            &alloc::format!("{ID}0?ip=1.1.1.1:1"),
        ] {
            assert!(alloc::format!("iroh:{rest}").parse::<Address>().is_err(), "{rest}");
        }
        for ways in
            ["", "ip", "ip=", "ip=10.0.0.1", "ip=name:7", "later=x", "relay=", "ip=10.0.0.1:70000", "ip=1.1.1.1:1&"]
        {
            assert!(alloc::format!("iroh:{ID}?{ways}").parse::<Address>().is_err(), "{ways}");
        }
    }

    #[test]
    fn an_endpoint_has_as_many_addresses_as_it_takes() {
        let sockets: Vec<SocketAddr> =
            ["192.168.100.100:65535", "192.168.100.101:65535", "[2001:db8:85a3:1:1:8a2e:370:7334]:65535"]
                .iter()
                .map(|socket| socket.parse().unwrap())
                .collect();
        let addresses = Address::of_endpoint(ID, &sockets, Some("https://relay.example./"));
        let said: Vec<Endpoint> = addresses.iter().map(|address| address.endpoint().unwrap()).collect();
        assert_eq!(said.iter().flat_map(|said| said.sockets.clone()).collect::<Vec<_>>(), sockets);
        assert_eq!(
            said.iter().map(|said| said.relay).collect::<Vec<_>>(),
            [Some("https://relay.example./"), None, None]
        );
        assert_eq!(Address::of_endpoint(ID, &[], None), []);
        assert_eq!(Address::of_endpoint(ID, &[], Some(&"x".repeat(ADDRESS_BYTES))), []);
    }

    #[test]
    fn a_node_goes_where_it_may() {
        let iroh = |ways: &str| alloc::format!("iroh:{ID}?{ways}");
        // An address, and what of it is left: for this machine and local networks, for local networks, for everywhere but this machine.
        let cases = [
            ("ws://127.0.0.1:1", [true, false, false]),
            ("ws://0.0.0.0:1", [true, false, false]),
            ("ws://10.1.2.3:1", [true, true, true]),
            ("ws://172.31.0.1:1", [true, true, true]),
            ("ws://172.32.0.1:1", [false, false, true]),
            ("ws://192.168.1.5", [true, true, true]),
            ("ws://169.254.7.7:1/x", [true, true, true]),
            ("ws://100.64.0.1:1", [true, true, true]),
            ("ws://100.127.255.255:1", [true, true, true]),
            ("ws://100.128.0.1:1", [false, false, true]),
            ("ws://[fd12::1]:1", [true, true, true]),
            ("ws://[fe80::1]:1", [true, true, true]),
            ("ws://[::ffff:10.0.0.1]:1", [true, true, true]),
            ("ws://[2001:db8::1]:1", [false, false, true]),
            ("ws://203.0.113.5:1", [false, false, true]),
            ("wss://node.example", [false, false, true]),
            ("ws://10.0.0.1.example:1", [false, false, true]),
            ("ws://10.0.0.1@node.example:1", [false, false, true]),
            ("ws://10.0.0.1:1@node.example:1", [false, false, true]),
        ];
        for (text, left) in cases {
            let said = address(text);
            let went = [(true, false), (false, false), (false, true)].map(|(here, far)| said.within(here, far));
            assert_eq!(went, left.map(|left| left.then(|| said.clone())), "{text}");
        }
        let mixed = address(&iroh("ip=127.0.0.1:1&ip=10.0.0.1:1&relay=https://r/"));
        assert_eq!(mixed.within(true, false), Some(address(&iroh("ip=127.0.0.1:1&ip=10.0.0.1:1"))));
        assert_eq!(mixed.within(false, false), Some(address(&iroh("ip=10.0.0.1:1"))));
        assert_eq!(mixed.within(false, true), Some(address(&iroh("ip=10.0.0.1:1&relay=https://r/"))));
        assert_eq!(address(&iroh("relay=https://r/")).within(true, false), None);
        assert_eq!(address(&iroh("ip=203.0.113.5:1")).within(true, false), None);
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
