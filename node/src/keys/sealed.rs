//! Bytes that are sealed with a passphrase, as one line of text.
//!
//! ```text
//! line   = label ‖ "argon2id <KiB> <passes> <lanes> <salt> <nonce> <sealed> <sum>" ‖ line feed      bytes in hexadecimal digits
//! key    = Argon2id(passphrase, salt)                            RFC 9106, 32 bytes
//! sealed = XChaCha20-Poly1305(key, nonce, associated data: the line up to the salt, plaintext)
//! sum    = SHA-256(the line up to the last blank)[..8]           tells a damaged line from a wrong passphrase
//! ```

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::passphrase::Passphrase;

const ALGORITHM: &str = "argon2id";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const SUM_BYTES: usize = 8;

/// The price of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// How often it is gone through.
    pub passes: u32,
    /// In so many lanes.
    pub lanes: u32,
}

impl Cost {
    /// Of what is sealed now: the second recommendation of RFC 9106 §4, on one lane. OWASP asks for less.
    pub const NEW: Self = Self { memory: 64 * 1024, passes: 3, lanes: 1 };
    /// What a line may ask for at the most: it may have been changed by somebody who wants a node to run out of memory.
    pub const MOST: Self = Self { memory: 256 * 1024, passes: 16, lanes: 8 };

    fn is_allowed(self) -> bool {
        let Self { memory, passes, lanes } = Self::MOST;
        self.memory <= memory && self.passes <= passes && self.lanes <= lanes
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} passes, {} lanes", self.memory, self.passes, self.lanes)
    }
}

/// Why something sealed stays closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealedError {
    /// It is something else.
    #[error("it is not one line of {ALGORITHM} parameters, salt, nonce, sealed bytes and checksum")]
    Malformed,
    /// It was changed since it was written.
    #[error("its checksum is wrong: it was damaged")]
    Damaged,
    /// It asks for too much.
    #[error("it asks for {ALGORITHM} with {came}, at most {} are allowed", Cost::MOST)]
    Cost {
        /// What it asks for.
        came: Cost,
    },
    /// The system has not so much memory.
    #[error("there is no memory for {ALGORITHM} with {0}")]
    Memory(Cost),
    /// It does not open.
    #[error("the passphrase is wrong")]
    Passphrase,
}

/// A line that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Everything up to the salt.
    header: String,
    cost: Cost,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    bytes: Vec<u8>,
}

impl Sealed {
    /// Reads a line with this label. Only what a file holds is looked at, nothing is opened.
    pub(super) fn parse(label: &str, line: &str) -> Result<Self, SealedError> {
        let malformed = SealedError::Malformed;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let (summed, sum) = line.rsplit_once(' ').ok_or(malformed.clone())?;
        let fields = summed.strip_prefix(label).ok_or(malformed.clone())?;
        if sum.parse() != Ok(Sum::of(summed)) {
            return Err(SealedError::Damaged);
        }
        let fields: Vec<&str> = fields.split(' ').collect();
        let [ALGORITHM, memory, passes, lanes, salt, nonce, bytes] = fields[..] else { return Err(malformed) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| SealedError::Malformed);
        let cost = Cost { memory: number(memory)?, passes: number(passes)?, lanes: number(lanes)? };
        if !cost.is_allowed() {
            return Err(SealedError::Cost { came: cost });
        }
        let (header, _) = summed.split_at(summed.len() - nonce.len() - bytes.len() - 2);
        let mut sealed =
            Self { header: header.to_owned(), cost, salt: [0; SALT_BYTES], nonce: [0; NONCE_BYTES], bytes: Vec::new() };
        let decoded = hex::decode_to_slice(salt, &mut sealed.salt).and(hex::decode_to_slice(nonce, &mut sealed.nonce));
        sealed.bytes = decoded.and_then(|()| hex::decode(bytes)).map_err(|_| malformed)?;
        Ok(sealed)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Sum([u8; SUM_BYTES]);

impl Sum {
    fn of(text: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        Self(std::array::from_fn(|i| digest[i]))
    }
}

impl std::str::FromStr for Sum {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut sum = [0; SUM_BYTES];
        hex::decode_to_slice(text, &mut sum)?;
        Ok(Self(sum))
    }
}

/// What a passphrase becomes: it opens and seals, at no price any more. It prints as nothing and is overwritten when it is
/// dropped.
pub struct SealingKey {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

impl SealingKey {
    /// For sealing anew, with a salt of its own.
    ///
    /// # Errors
    /// When the system has no memory or no random bytes.
    pub fn new(passphrase: &Passphrase, cost: Cost) -> Result<Self, super::KeyError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        Self::derive(passphrase, cost, salt).map_err(super::KeyError::Sealing)
    }

    /// What a line was sealed with, if the passphrase is right.
    pub(super) fn of(passphrase: &Passphrase, sealed: &Sealed) -> Result<Self, SealedError> {
        Self::derive(passphrase, sealed.cost, sealed.salt)
    }

    fn derive(passphrase: &Passphrase, cost: Cost, salt: [u8; SALT_BYTES]) -> Result<Self, SealedError> {
        let mut key = Zeroizing::new([0; 32]);
        let params = Params::new(cost.memory, cost.passes, cost.lanes, Some(key.len()));
        let params = params.map_err(|_| SealedError::Malformed)?;
        let mut memory: Vec<Block> = Vec::new();
        let blocks = params.block_count();
        memory.try_reserve_exact(blocks).map_err(|_| SealedError::Memory(cost))?;
        memory.resize(blocks, Block::new());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let derived = argon2.hash_password_into_with_memory(passphrase.reveal(), &salt, &mut *key, &mut memory);
        memory.zeroize();
        derived.map_err(|_| SealedError::Malformed)?;
        Ok(Self { cost, salt, key })
    }

    /// Whether a line was sealed with the same price and salt.
    pub(super) fn fits(&self, sealed: &Sealed) -> bool {
        (self.cost, self.salt) == (sealed.cost, sealed.salt)
    }

    /// Seals bytes as a line with this label.
    pub(super) fn seal(&self, label: &str, plaintext: &[u8]) -> Result<String, getrandom::Error> {
        let Cost { memory, passes, lanes } = self.cost;
        let header = format!("{label}{ALGORITHM} {memory} {passes} {lanes} {}", hex::encode(self.salt));
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: plaintext, aad: header.as_bytes() };
        let sealed = match self.cipher().encrypt((&nonce).into(), payload) {
            Ok(sealed) => sealed,
            Err(_) => unreachable!("256 GiB is the most that can be sealed"),
        };
        let summed = format!("{header} {} {}", hex::encode(nonce), hex::encode(sealed));
        let Sum(sum) = Sum::of(&summed);
        Ok(format!("{summed} {}\n", hex::encode(sum)))
    }

    /// Opens a line.
    pub(super) fn open(&self, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let payload = Payload { msg: &sealed.bytes, aad: sealed.header.as_bytes() };
        let opened = self.cipher().decrypt((&sealed.nonce).into(), payload);
        opened.map(Zeroizing::new).map_err(|_| SealedError::Passphrase)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const LABEL: &str = "cairn test 1 ";
    /// Cheap, for tests.
    pub(crate) const CHEAP: Cost = Cost { memory: 8, passes: 1, lanes: 1 };

    pub(crate) fn sealing_key(passphrase: &str) -> SealingKey {
        SealingKey::new(&Passphrase::from(passphrase), CHEAP).unwrap()
    }

    fn open(line: &str, passphrase: &str) -> Result<Vec<u8>, SealedError> {
        let sealed = Sealed::parse(LABEL, line)?;
        Ok(SealingKey::of(&Passphrase::from(passphrase), &sealed)?.open(&sealed)?.to_vec())
    }

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_and_with_no_other() {
        let key = sealing_key("correct horse");
        for plaintext in [&b""[..], b"x", &[7; 1000]] {
            let line = key.seal(LABEL, plaintext).unwrap();
            assert_eq!(open(&line, "correct horse"), Ok(plaintext.to_vec()));
            assert_eq!(open(&line, "correct horsf"), Err(SealedError::Passphrase));
            assert_eq!(Sealed::parse("cairn other 1 ", &line), Err(SealedError::Malformed));
        }
        assert_ne!(key.seal(LABEL, b"x").unwrap(), key.seal(LABEL, b"x").unwrap());
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let line = sealing_key("correct horse").seal(LABEL, b"secret").unwrap();
        for len in 0..line.len() - 1 {
            assert!(open(&line[..len], "correct horse").is_err(), "{len} bytes");
        }
        let bytes = line.trim_end().as_bytes();
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            // Hexadecimal digits are read in both cases.
            let same = changed.eq_ignore_ascii_case(bytes);
            if let Ok(changed) = String::from_utf8(changed) {
                let opened = open(&changed, "correct horse");
                assert!(same || matches!(opened, Err(SealedError::Damaged | SealedError::Malformed)), "bit {bit}");
            }
        }
    }

    #[test]
    fn what_a_passphrase_becomes_overwrites_itself() {
        fn check<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        // Of anything else this does not build.
        check(&sealing_key("correct horse").key);
    }

    /// The line with another checksum, so that only its seal tells that it was changed.
    fn summed_anew(line: &str, from: &str, to: &str) -> String {
        let (summed, _) = line.trim_end().rsplit_once(' ').unwrap();
        let summed = summed.replacen(from, to, 1);
        let Sum(sum) = Sum::of(&summed);
        format!("{summed} {}\n", hex::encode(sum))
    }

    #[test]
    fn a_line_that_asks_for_too_much_is_refused_before_anything_is_derived() {
        let line = sealing_key("correct horse").seal(LABEL, b"secret").unwrap();
        for (asked, came) in [
            ("4294967295 1 1 ", Cost { memory: u32::MAX, passes: 1, lanes: 1 }),
            ("262145 1 1 ", Cost { memory: 262_145, passes: 1, lanes: 1 }),
            ("8 17 1 ", Cost { memory: 8, passes: 17, lanes: 1 }),
            ("8 1 9 ", Cost { memory: 8, passes: 1, lanes: 9 }),
        ] {
            let changed = summed_anew(&line, "8 1 1 ", asked);
            assert_eq!(Sealed::parse(LABEL, &changed), Err(SealedError::Cost { came }));
        }
        for asked in ["0 1 1 ", "8 0 1 ", "8 1 0 ", "7 1 1 ", "8 1 2 "] {
            let changed = summed_anew(&line, "8 1 1 ", asked);
            assert_eq!(open(&changed, "correct horse"), Err(SealedError::Malformed), "{asked}");
        }
        let changed = summed_anew(&line, "8 1 1 ", "9 1 1 ");
        assert_eq!(open(&changed, "correct horse"), Err(SealedError::Passphrase));
    }

    /// Made with the reference implementation of Argon2 and with libsodium.
    #[test]
    fn a_line_of_another_implementation_opens() {
        let line = "cairn test 1 argon2id 64 3 4 02020202020202020202020202020202 \
            030303030303030303030303030303030303030303030303 92bfb0226e12c1e46a3c4546820fa67bfcc72266a157 bcfe1e6880c1b12d\n";
        assert_eq!(open(line, "correct horse"), Ok(b"secret".to_vec()));
        let sealed = Sealed::parse(LABEL, line).unwrap();
        assert_eq!(
            format!("{:?}", SealingKey::of(&Passphrase::from("correct horse"), &sealed).unwrap()),
            "SealingKey(…)"
        );
    }
}
