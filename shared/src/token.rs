//! Invite tokens: what travels in the link that a newcomer gets, `https://<where>/#join=<token>`.
//!
//! ```text
//! token    = base64url without padding (RFC 4648 §5) of  content ‖ checksum
//! content  = [version=1, genesis: bytes, invite: bytes32, end, secret: bytes32, epoch key: bytes0 or bytes32, [relay: text …]]
//! checksum = SHA-256("cairn/token/1" ‖ content)[..4]
//! ```
//!
//! Every later version keeps the checksum, an array, and its version as the first field, so that this one can tell a newer
//! token from a damaged one. The token is in the fragment of the link: browsers send that to no server.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    block::infallible,
    id::{BlockHash, excerpt},
    limits::{TOKEN_CHARS, TOKEN_GENESIS_BYTES, TOKEN_RELAY_BYTES, TOKEN_RELAYS},
    seal::EpochKey,
    time::Timestamp,
};

/// What is before the token in a link.
pub const FRAGMENT: &str = "#join=";

const VERSION: u64 = 1;
const CHECKSUM_BYTES: usize = 4;
/// How a token of version 1 begins: an array of 7.
const START: &str = "hw";

/// Why a text is no invite. It never says what is in a token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is something else.
    #[error("not an invite: expected a link with {FRAGMENT} in it, or what follows that")]
    NotToken,
    /// An invite whose checksum is wrong.
    #[error("the invite is cut off or mistyped: copy the whole link once more")]
    Damaged,
    /// Made by a later version.
    #[error("an invite of version {0}, version {VERSION} is known: a newer version of this program can read it")]
    Version(u64),
    /// Longer than any token.
    #[error("an invite of {len} characters, limit is {TOKEN_CHARS}")]
    TooLong {
        /// Characters that came.
        len: usize,
    },
    /// The checksum is right, and the content is not what it should be.
    #[error("not a valid invite: {0}")]
    Malformed(&'static str),
    /// The content is not in its canonical encoding.
    #[error("an invite that is not in its canonical encoding")]
    NotCanonical,
    /// A genesis that is too large.
    #[error("genesis of {len} bytes, limit is {TOKEN_GENESIS_BYTES}")]
    Genesis {
        /// Bytes that came.
        len: usize,
    },
    /// A time that JavaScript cannot hold.
    #[error("end of {0} µs, limit is 2^53 - 1")]
    Time(u64),
    /// Too many relays.
    #[error("{len} relays, limit is {TOKEN_RELAYS}")]
    Relays {
        /// Relays that came.
        len: u64,
    },
    /// Not the address of a relay.
    #[error(
        "a relay of {0:?}, expected at most {TOKEN_RELAY_BYTES} bytes that begin with wss:// or ws://, without spaces"
    )]
    Relay(String),
}

impl From<minicbor::decode::Error> for TokenError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed("wrong or truncated CBOR")
    }
}

/// What a newcomer needs to join a ledger. Whoever has it can join and read, so it prints neither of its secrets.
#[derive(Clone)]
pub struct Token {
    /// The payload of the ledger's genesis, as it came.
    pub genesis: Vec<u8>,
    /// The block that holds the invite.
    pub invite: BlockHash,
    /// The end of that block: no join is earlier.
    pub end: Timestamp,
    /// The secret half of the invite's key.
    pub secret: Zeroizing<[u8; 32]>,
    /// The key that payloads are sealed with, if they are.
    pub key: Option<EpochKey>,
    /// Addresses of relays, `wss://…` or `ws://…`.
    pub relays: Vec<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut token = f.debug_struct("Token");
        token.field("genesis", &self.genesis.len()).field("invite", &self.invite).field("end", &self.end);
        token.field("key", &self.key).field("relays", &self.relays).finish_non_exhaustive()
    }
}

impl Token {
    /// The token as text. A link is the page's address, [`FRAGMENT`] and this.
    ///
    /// # Errors
    /// When the genesis or the relays break a limit.
    pub fn encode(&self) -> Result<Zeroizing<String>, TokenError> {
        self.check()?;
        let mut bytes = self.content();
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        Ok(Zeroizing::new(Base64UrlUnpadded::encode_string(&bytes)))
    }

    /// Reads a token, alone or in a link, with whatever is around it when somebody pastes it.
    ///
    /// # Errors
    /// When the text is something else, damaged, newer than this code, or breaks a limit.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let (text, damaged) = match text.split_once(FRAGMENT) {
            Some((_, rest)) => (rest.split(is_foreign).next().unwrap_or_default(), TokenError::Damaged),
            None if text.trim().starts_with(START) => (text.trim(), TokenError::Damaged),
            None => (text.trim(), TokenError::NotToken),
        };
        if text.len() > TOKEN_CHARS {
            return Err(TokenError::TooLong { len: text.len() });
        }
        let Ok(bytes) = Base64UrlUnpadded::decode_vec(text).map(Zeroizing::new) else { return Err(damaged) };
        match bytes.split_last_chunk::<CHECKSUM_BYTES>() {
            Some((content, sum)) if *sum == checksum(content) => Self::decode(content),
            _ => Err(damaged),
        }
    }

    fn content(&self) -> Zeroizing<Vec<u8>> {
        let relays: usize = self.relays.iter().map(|relay| 3 + relay.len()).sum();
        // With room for all of it: bytes that a growing vector leaves behind would not be overwritten.
        let mut bytes = Zeroizing::new(Vec::with_capacity(128 + self.genesis.len() + relays));
        let mut encoder = Encoder::new(&mut *bytes);
        infallible((|| {
            encoder.array(7)?.u64(VERSION)?.bytes(&self.genesis)?.bytes(self.invite.as_bytes())?;
            encoder.u64(self.end.micros())?.bytes(&*self.secret)?;
            encoder.bytes(self.key.as_ref().map_or(&[], |key| key.secret()))?.array(self.relays.len() as u64)?;
            self.relays.iter().try_for_each(|relay| encoder.str(relay)?.ok())
        })());
        bytes
    }

    fn decode(content: &[u8]) -> Result<Self, TokenError> {
        let mut decoder = Decoder::new(content);
        let fields = decoder.array()?;
        match decoder.u64()? {
            VERSION => {}
            other => return Err(TokenError::Version(other)),
        }
        if fields != Some(7) {
            return Err(TokenError::Malformed("an invite has 7 fields"));
        }
        let genesis = decoder.bytes()?.to_vec();
        let invite = BlockHash::from_bytes(exact(decoder.bytes()?)?);
        let micros = decoder.u64()?;
        let end = Timestamp::from_micros(micros).ok_or(TokenError::Time(micros))?;
        let secret = Zeroizing::new(exact(decoder.bytes()?)?);
        let key = match decoder.bytes()? {
            [] => None,
            key => Some(EpochKey::from_secret(Zeroizing::new(exact(key)?))),
        };
        let len = decoder.array()?.ok_or(TokenError::NotCanonical)?;
        check_relays(len)?;
        let relays = (0..len).map(|_| Ok(decoder.str()?.to_string())).collect::<Result<_, TokenError>>()?;
        let token = Self { genesis, invite, end, secret, key, relays };
        token.check()?;
        if *token.content() == content { Ok(token) } else { Err(TokenError::NotCanonical) }
    }

    fn check(&self) -> Result<(), TokenError> {
        if self.genesis.len() > TOKEN_GENESIS_BYTES {
            return Err(TokenError::Genesis { len: self.genesis.len() });
        }
        check_relays(self.relays.len() as u64)?;
        match self.relays.iter().find(|relay| !is_relay(relay)) {
            Some(relay) => Err(TokenError::Relay(excerpt(relay))),
            None => Ok(()),
        }
    }
}

fn check_relays(len: u64) -> Result<(), TokenError> {
    if len > TOKEN_RELAYS as u64 { Err(TokenError::Relays { len }) } else { Ok(()) }
}

/// Whether it may be a relay's address; whoever dials it reads it as a URL. It is shown to people, so nothing that moves a
/// cursor is let through.
fn is_relay(relay: &str) -> bool {
    let host = relay.strip_prefix("wss://").or_else(|| relay.strip_prefix("ws://"));
    relay.len() <= TOKEN_RELAY_BYTES
        && host.is_some_and(|host| !host.is_empty() && !host.contains(|c: char| c.is_control() || c.is_whitespace()))
}

/// Whether a character ends a token that stands in other text.
fn is_foreign(character: char) -> bool {
    !(character.is_ascii_alphanumeric() || character == '-' || character == '_')
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::new().chain_update(b"cairn/token/1").chain_update(content).finalize().into();
    core::array::from_fn(|i| digest[i])
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], TokenError> {
    bytes.try_into().map_err(|_| TokenError::Malformed("a byte string has the wrong length"))
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token {
            genesis: vec![0xa1, 0xa2, 0xa3],
            invite: BlockHash::from_bytes([1; 32]),
            end: Timestamp::from_micros(1_795_180_740_123_456).unwrap(),
            secret: Zeroizing::new([0xab; 32]),
            key: Some(EpochKey::from_secret(Zeroizing::new([0xcd; 32]))),
            relays: vec!["wss://relay.example".into(), "ws://127.0.0.1:8787".into()],
        }
    }

    /// Text with the right checksum.
    fn text(content: &[u8]) -> String {
        Base64UrlUnpadded::encode_string(&[content, &checksum(content)].concat())
    }

    fn check(read: &Token, token: &Token) {
        assert_eq!(format!("{read:?}"), format!("{token:?}"));
        assert_eq!((&read.genesis, &read.secret), (&token.genesis, &token.secret));
    }

    fn refused(text: &str) -> TokenError {
        Token::parse(text).map(|token| format!("{token:?}")).unwrap_err()
    }

    #[test]
    fn a_token_is_read_however_it_is_pasted() {
        let text = token().encode().unwrap();
        let ways = [
            text.to_string(),
            format!(" \n{}\t\n", *text),
            format!("https://cairn.example/#join={}", *text),
            format!("  http://127.0.0.1:3000/a?b=c#join={} \r\n", *text),
            format!("Join us: <https://cairn.example/#join={}>.\n-- \nAda", *text),
            format!("#join={}", *text),
            format!("https://cairn.example/#join={}&from=mail", *text),
        ];
        for way in ways {
            check(&Token::parse(&way).unwrap(), &token());
        }
    }

    #[test]
    fn the_least_and_the_most_that_a_token_holds_come_back() {
        let least = Token { genesis: vec![], key: None, relays: vec![], ..token() };
        let relay = format!("wss://{}", "x".repeat(TOKEN_RELAY_BYTES - 6));
        let most = Token {
            genesis: vec![7; TOKEN_GENESIS_BYTES],
            end: Timestamp::MAX,
            relays: vec![relay; TOKEN_RELAYS],
            ..token()
        };
        for token in [least, most] {
            check(&Token::parse(&token.encode().unwrap()).unwrap(), &token);
        }
    }

    #[test]
    fn what_is_over_a_limit_is_refused_when_it_is_made_and_when_it_is_read() {
        let cases = [
            (Token { genesis: vec![7; 257], ..token() }, TokenError::Genesis { len: 257 }),
            (Token { relays: vec!["ws://a".into(); 9], ..token() }, TokenError::Relays { len: 9 }),
        ];
        let long = format!("ws://{}", "x".repeat(252));
        let wrong =
            ["", "relay.example", "https://a", "ws:/a", "ws://", "wss://", "ws://a b", "ws://a\u{1b}[2J", &long];
        let relays = wrong.map(|relay| {
            (Token { relays: vec!["ws://a".into(), relay.into()], ..token() }, TokenError::Relay(excerpt(relay)))
        });
        for (token, error) in cases.into_iter().chain(relays) {
            assert_eq!(token.encode().map(|_| ()), Err(error.clone()));
            assert_eq!(refused(&text(&token.content())), error);
        }
    }

    #[test]
    fn a_token_that_is_cut_off_says_so() {
        let text = token().encode().unwrap();
        for len in START.len()..text.len() {
            assert_eq!(refused(&text[..len]), TokenError::Damaged, "{len} characters");
        }
        for len in 0..text.len() {
            assert_eq!(refused(&format!("https://a/#join={}", &text[..len])), TokenError::Damaged, "{len} characters");
        }
        let (head, tail) = text.split_at(70);
        assert_eq!(refused(&format!("https://a/#join={head}\n{tail}")), TokenError::Damaged);
    }

    #[test]
    fn a_token_with_a_wrong_character_says_so() {
        let text = token().encode().unwrap();
        for place in 0..text.len() {
            for other in ["A", "B", "h", "w", "_", "-", "+", "%", "=", "ä", ""] {
                if text[place..].starts_with(other) && !other.is_empty() {
                    continue;
                }
                let typed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
                let expected = if place < START.len() { TokenError::NotToken } else { TokenError::Damaged };
                assert_eq!(refused(&typed), expected, "{other:?} at {place}");
                assert_eq!(refused(&format!("{FRAGMENT}{typed}")), TokenError::Damaged, "{other:?} at {place}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = Base64UrlUnpadded::decode_vec(&token().encode().unwrap()).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let text = format!("{FRAGMENT}{}", Base64UrlUnpadded::encode_string(&changed));
            assert_eq!(refused(&text), TokenError::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn other_text_is_no_token() {
        for text in ["", " ", "hello", "https://cairn.example/", "wss://relay.example", "join=abc", "ä€𝄞", "\u{0}"]
        {
            assert_eq!(refused(text), TokenError::NotToken, "{text:?}");
        }
        let long = "a".repeat(TOKEN_CHARS + 1);
        assert_eq!(refused(&long), TokenError::TooLong { len: TOKEN_CHARS + 1 });
    }

    #[test]
    fn a_newer_version_is_told_from_a_damaged_token() {
        // Other fields than these, as a newer version may have them.
        assert_eq!(refused(&text(&[0x82, 0x02, 0xf6])), TokenError::Version(2));
        assert_eq!(refused(&text(&[0x82, 0x18, 0x63, 0xf6])), TokenError::Version(99));
    }

    #[test]
    fn content_that_is_no_token_is_refused_though_its_checksum_is_right() {
        let content = token().content();
        let longer = [&content[..], &[0]].concat();
        let wordy = [&[0x98, 7], &content[1..]].concat();
        let wordy_version = [&[0x87, 0x18, 1], &content[2..]].concat();
        for content in [longer, wordy, wordy_version] {
            assert_eq!(refused(&text(&content)), TokenError::NotCanonical);
        }
        for len in 0..content.len() {
            let error = refused(&text(&content[..len]));
            assert!(matches!(error, TokenError::Malformed(_)), "{len} bytes: {error}");
        }
        assert!(matches!(refused(&text(&[0x82, 1, 0])), TokenError::Malformed(_)));
        let late = [&content[..40], &[0x1b, 0, 0x20, 0, 0, 0, 0, 0, 0], &content[49..]].concat();
        assert_eq!(refused(&text(&late)), TokenError::Time(1 << 53));
    }

    #[test]
    fn no_secret_is_printed() {
        let token = token();
        let printed = format!("{token:?} {:?}", Err::<(), _>(refused(&token.encode().unwrap()[..100])));
        for secret in ["abab", "cdcd", "171, 171", "205, 205"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }

    proptest! {
        #[test]
        fn any_token_comes_back(
            genesis in proptest::collection::vec(any::<u8>(), 0..=TOKEN_GENESIS_BYTES),
            end in 0..=Timestamp::MAX.micros(),
            secrets in any::<([u8; 32], [u8; 32])>(),
            sealed in any::<bool>(),
            relays in proptest::collection::vec("wss?://[a-z0-9.:]{1,250}", 0..=TOKEN_RELAYS),
        ) {
            let token = Token {
                genesis,
                invite: BlockHash::from_bytes(secrets.1),
                end: Timestamp::from_micros(end).unwrap(),
                secret: Zeroizing::new(secrets.0),
                key: sealed.then(|| EpochKey::from_secret(Zeroizing::new(secrets.1))),
                relays,
            };
            check(&Token::parse(&token.encode().unwrap()).unwrap(), &token);
        }

        #[test]
        fn arbitrary_text_is_refused(text in ".*", joined in any::<bool>()) {
            let text = if joined { format!("{FRAGMENT}{text}") } else { text };
            prop_assert!(Token::parse(&text).is_err());
        }

        #[test]
        fn arbitrary_content_is_refused_or_a_token(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(token) = Token::parse(&text(&content)) {
                prop_assert_eq!(&token.content()[..], &content[..]);
            }
        }
    }
}
