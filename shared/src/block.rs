//! Blocks and entries: bytes, hash chain and signature.
//!
//! ```text
//! block   = [header, [entry …], signature: bytes64]
//! header  = [version=1, ledger: bytes32, author: bytes32, height, timestamp, [parents: bytes32 …]]
//! entry   = [kind, nonce: bytes16, payload: bytes]   or, without its payload, [kind, commitment: bytes32, payload length]
//! ```
//!
//! The encoding is canonical CBOR (RFC 8949 §4.2.1: definite lengths, shortest integers). What does not re-encode to
//! itself is refused.

use alloc::vec::Vec;
use core::{convert::Infallible, ops::Deref};

use minicbor::{Decoder, Encoder, encode::Write};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    id::{BlockHash, EntryId, LedgerId, NodeId},
    key::{Key, KeyError, Signers},
    limits::{BLOCK_BYTES, BLOCK_ENTRIES, BLOCK_PARENTS, ENCODED_BLOCK_BYTES, PAYLOAD_BYTES},
    order::OrderKey,
    time::Timestamp,
};

const VERSION: u64 = 1;
/// An entry with a payload of so many bytes is as long as without it: commitment and length take the place of nonce and payload.
const EVEN_BYTES: usize = 17;
const LABEL_BLOCK: &[u8] = b"cairn/block/1";
const LABEL_PAYLOAD: &[u8] = b"cairn/payload/1";
const LABEL_SIGNATURE: &[u8] = b"cairn/signature/1";

/// Why bytes are not a valid block.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The bytes are not the CBOR of a block.
    #[error("not a block: {0}")]
    Malformed(&'static str),
    /// The bytes say a block in another way than the canonical one.
    #[error("not the canonical encoding of its block")]
    NotCanonical,
    /// A version that this code does not know.
    #[error("block of version {0}, version 1 is known")]
    Version(u64),
    /// A block that is too large.
    #[error("block of {len} bytes, limit is {BLOCK_BYTES}")]
    TooLarge {
        /// Bytes that came.
        len: usize,
    },
    /// No entry, or too many.
    #[error("block of {len} entries, 1 to {BLOCK_ENTRIES} are allowed")]
    Entries {
        /// Entries that came.
        len: u64,
    },
    /// A payload that is too large.
    #[error("payload of {len} bytes, limit is {PAYLOAD_BYTES}")]
    Payload {
        /// Bytes that came.
        len: u64,
    },
    /// Too many parents.
    #[error("block of {len} parents, limit is {BLOCK_PARENTS}")]
    Parents {
        /// Parents that came.
        len: u64,
    },
    /// Parents after the author's own previous block are not ascending, or one is there twice.
    #[error("the parents are not in ascending order, each once")]
    ParentOrder,
    /// Heights start at 1, and from 2 on the first parent is the author's previous block.
    #[error("block of height {0} without the parent that it needs")]
    Height(u64),
    /// A time that JavaScript cannot hold.
    #[error("timestamp of {0} µs, limit is 2^53 - 1")]
    Time(u64),
    /// The block belongs elsewhere.
    #[error("block of ledger {came}, this is {here}")]
    WrongLedger {
        /// The block's ledger.
        came: LedgerId,
        /// The replica's ledger.
        here: LedgerId,
    },
    /// A payload is missing that nobody can erase.
    #[error("entry {index} has no payload, and one of its kind always has")]
    NoPayload {
        /// Index of the entry.
        index: usize,
    },
    /// The author's signature does not count.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<minicbor::decode::Error> for BlockError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed("wrong or truncated CBOR")
    }
}

/// What a record is for. Numbers without a name here are kept and passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(pub u16);

impl Kind {
    /// A payload of a client: UTF-8 JSON exactly as its author serialised it.
    pub const DATA: Kind = Kind(0);
    /// A proof that an author forked its lane.
    pub const EVIDENCE: Kind = Kind(1);
    /// What a genesis block holds.
    pub const GENESIS: Kind = Kind(2);
    /// Says nothing but "I have seen my parents": written before a freeze is recorded, so that what was seen stays.
    pub const VOUCHER: Kind = Kind(3);
    /// The word of a key whose lane is forked for the key that its holder goes on with.
    pub const SUCCESSION: Kind = Kind(4);
    /// Lets others in who hold its secret (see [`crate::members`]).
    pub const INVITE: Kind = Kind(5);
    /// Brings a newcomer in.
    pub const JOIN: Kind = Kind(6);
    /// Removes a member, or closes an invite.
    pub const REMOVE: Kind = Kind(7);
    /// Hands the key of an epoch to members (see [`crate::seal`]).
    pub const REKEY: Kind = Kind(8);
    /// What its author wants to be called (see [`crate::names`]).
    pub const NICKNAME: Kind = Kind(9);
    /// What the ledger is called.
    pub const LEDGER_NAME: Kind = Kind(10);
    /// Lets everybody drop the payload of an entry (see [`crate::erase`]).
    pub const ERASE: Kind = Kind(11);

    /// Whether entries of this kind can be erased: what people say, and not what the rules go by.
    pub fn is_erasable(self) -> bool {
        matches!(self, Self::DATA | Self::NICKNAME)
    }

    /// The kind's name, if it has one.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::DATA => Some("data"),
            Self::EVIDENCE => Some("evidence"),
            Self::GENESIS => Some("genesis"),
            Self::VOUCHER => Some("voucher"),
            Self::SUCCESSION => Some("succession"),
            Self::INVITE => Some("invite"),
            Self::JOIN => Some("join"),
            Self::REMOVE => Some("remove"),
            Self::REKEY => Some("rekey"),
            Self::NICKNAME => Some("nickname"),
            Self::LEDGER_NAME => Some("ledger_name"),
            Self::ERASE => Some("erase"),
            _ => None,
        }
    }
}

/// The first part of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The ledger it belongs to.
    pub ledger: LedgerId,
    /// Who signs it.
    pub author: NodeId,
    /// Its height in the author's lane, from 1.
    pub height: u64,
    /// Time of its first entry.
    pub timestamp: Timestamp,
    /// The author's previous block (from height 2 on), then other tips, ascending.
    pub parents: Vec<BlockHash>,
}

/// What is kept of an entry besides its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Full {
        /// Hides the payload behind its commitment.
        nonce: [u8; 16],
        /// Opaque to the rules.
        payload: Vec<u8>,
    },
    /// What the hash needs.
    Erased {
        /// SHA-256 over label, nonce and payload.
        commitment: [u8; 32],
        /// Bytes of the payload that was.
        len: u32,
    },
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is for.
    pub kind: Kind,
    /// What it says.
    pub body: Body,
}

impl Entry {
    /// An entry with its payload.
    pub fn new(kind: Kind, nonce: [u8; 16], payload: Vec<u8>) -> Self {
        Self { kind, body: Body::Full { nonce, payload } }
    }

    /// The payload, unless it was erased.
    pub fn payload(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Full { payload, .. } => Some(payload),
            Body::Erased { .. } => None,
        }
    }

    /// The commitment to the payload, and the payload's length in bytes.
    pub fn commitment(&self) -> ([u8; 32], u32) {
        match &self.body {
            Body::Full { nonce, payload } => {
                let digest = Sha256::new().chain_update(LABEL_PAYLOAD).chain_update(nonce).chain_update(payload);
                (digest.finalize().into(), payload.len() as u32)
            }
            Body::Erased { commitment, len } => (*commitment, *len),
        }
    }

    /// The same entry without its payload; its hash stays.
    pub fn strip(&self) -> Entry {
        let (commitment, len) = self.commitment();
        Entry { kind: self.kind, body: Body::Erased { commitment, len } }
    }
}

/// A block whose bytes are canonical and keep every limit, and whose hash chain is computed. Its signature may be wrong:
/// see [`Block::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    header: Header,
    entries: Vec<Entry>,
    signature: [u8; 64],
    hashes: Vec<BlockHash>,
    bytes: Vec<u8>,
}

impl Block {
    /// Reads a block from its bytes.
    ///
    /// # Errors
    /// When the bytes are not canonical, break a limit, or name parents out of order.
    pub fn decode(bytes: &[u8]) -> Result<Block, BlockError> {
        if bytes.len() > ENCODED_BLOCK_BYTES {
            return Err(BlockError::TooLarge { len: bytes.len() });
        }
        Self::decode_owned(bytes.to_vec())
    }

    /// The same of bytes that it may keep.
    pub(crate) fn decode_owned(bytes: Vec<u8>) -> Result<Block, BlockError> {
        if bytes.len() > ENCODED_BLOCK_BYTES {
            return Err(BlockError::TooLarge { len: bytes.len() });
        }
        let mut decoder = Decoder::new(&bytes);
        expect_array(&mut decoder, 3)?;
        let header = decode_header(&mut decoder)?;
        let entries = decode_entries(&mut decoder)?;
        let signature = decode_bytes(&mut decoder)?;
        if !Same::holds(&bytes, |encoder| encode_block(encoder, &header, &entries, &signature)) {
            return Err(BlockError::NotCanonical);
        }
        let hashes = hash_chain(&header, &entries);
        let block = Block { header, entries, signature, hashes, bytes };
        // What a block may be must not depend on how many of its payloads are there.
        if block.full_len() > BLOCK_BYTES {
            return Err(BlockError::TooLarge { len: block.full_len() });
        }
        if block.header.timestamp.micros() + block.entries.len() as u64 > Timestamp::MAX.micros() {
            return Err(BlockError::Time(block.header.timestamp.micros()));
        }
        Ok(block)
    }

    /// Reads only the header of a block that was verified before.
    ///
    /// # Errors
    /// When the bytes do not begin like a block.
    pub fn decode_header(bytes: &[u8]) -> Result<Header, BlockError> {
        let mut decoder = Decoder::new(bytes);
        expect_array(&mut decoder, 3)?;
        decode_header(&mut decoder)
    }

    fn assemble(header: Header, entries: Vec<Entry>, signature: [u8; 64]) -> Block {
        let hashes = hash_chain(&header, &entries);
        let payloads: usize = entries.iter().map(|entry| 40 + entry.payload().map_or(0, <[u8]>::len)).sum();
        let mut bytes = Vec::with_capacity(180 + 34 * header.parents.len() + payloads);
        infallible(encode_block(&mut Encoder::new(&mut bytes), &header, &entries, &signature));
        Block { header, entries, signature, hashes, bytes }
    }

    /// The genesis of an open ledger. It follows from the name alone and is never sent: it has no signature.
    pub fn open_genesis(name: &str) -> Block {
        let header = Header {
            ledger: LedgerId::from_bytes([0; 32]),
            author: NodeId::from_bytes([0; 32]),
            height: 0,
            timestamp: Timestamp::default(),
            parents: Vec::new(),
        };
        let entry = Entry::new(Kind::GENESIS, [0; 16], name.as_bytes().to_vec());
        Self::assemble(header, alloc::vec![entry], [0; 64])
    }

    /// Checks key and signature, see [`key::verify`].
    ///
    /// # Errors
    /// When the key is weak or the signature is not the author's.
    pub fn verify(self) -> Result<VerifiedBlock, BlockError> {
        self.verify_with(&mut Signers::default())
    }

    /// The same, with the keys of those who have signed before.
    ///
    /// # Errors
    /// When the key is weak or the signature is not the author's.
    pub fn verify_with(self, signers: &mut Signers) -> Result<VerifiedBlock, BlockError> {
        if !mutant!(SignatureUnchecked) {
            signers.verify(&self.header.author, &signed_message(&self.hash()), &self.signature)?;
        }
        Ok(VerifiedBlock(self))
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The entries, at least one.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The author's signature.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The hash of each entry. The last one is the block's.
    pub fn entry_hashes(&self) -> &[BlockHash] {
        &self.hashes
    }

    /// The block's hash.
    pub fn hash(&self) -> BlockHash {
        self.hashes[self.hashes.len() - 1]
    }

    /// The canonical encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The canonical encoding, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The block's place in ledger order.
    pub fn key(&self) -> OrderKey {
        OrderKey { timestamp: self.header.timestamp, hash: self.hash() }
    }

    /// The time after the last entry.
    pub fn end(&self) -> Timestamp {
        self.header.timestamp.plus(self.entries.len() as u64)
    }

    /// The id of an entry.
    pub fn entry_id(&self, index: usize) -> EntryId {
        EntryId { author: self.header.author, height: self.header.height, index: index as u32 }
    }

    /// Its bytes with all payloads, whether they are there or not.
    pub fn full_len(&self) -> usize {
        let lacking = self.lacking().map(|index| self.entries[index].commitment().1 as usize);
        let (count, payloads) = lacking.fold((0, 0), |(count, sum), len| (count + 1, sum + len));
        self.bytes.len() + payloads - count * EVEN_BYTES
    }

    /// Indexes of the entries without their payloads.
    pub fn lacking(&self) -> impl Iterator<Item = usize> {
        let lacks = |(index, entry): (usize, &Entry)| entry.payload().is_none().then_some(index);
        self.entries.iter().enumerate().filter_map(lacks)
    }

    /// Checks that every payload is there that nobody can erase.
    ///
    /// # Errors
    /// When one is not.
    pub fn check_payloads(&self) -> Result<(), BlockError> {
        match self.lacking().find(|index| !self.entries[*index].kind.is_erasable()) {
            Some(index) => Err(BlockError::NoPayload { index }),
            None => Ok(()),
        }
    }

    /// The same block without its payloads; hash and signature stay.
    pub fn strip(&self) -> Block {
        self.strip_at(|_| true)
    }

    /// The same block without the payloads of the entries that are chosen by their indexes.
    pub fn strip_at(&self, chosen: impl Fn(usize) -> bool) -> Block {
        let strip = |(index, entry): (usize, &Entry)| if chosen(index) { entry.strip() } else { entry.clone() };
        let entries = self.entries.iter().enumerate().map(strip).collect();
        Self::assemble(self.header.clone(), entries, self.signature)
    }

    /// The same block with the payloads that another form of it has, for the entries that are chosen by their indexes.
    pub(crate) fn fill_from(&self, other: &Block, chosen: impl Fn(usize) -> bool) -> Block {
        assert!(self.hash() == other.hash(), "payloads of another block");
        let pairs = self.entries.iter().zip(&other.entries).enumerate();
        let fill = |(index, (own, other)): (usize, (&Entry, &Entry))| if chosen(index) { other } else { own }.clone();
        Self::assemble(self.header.clone(), pairs.map(fill).collect(), self.signature)
    }
}

/// A block whose signature was checked: only checking and signing make one, and an audit that has it checked beside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBlock(Block);

impl VerifiedBlock {
    /// Makes a block. Limits are the caller's duty; `decode` of the result checks them.
    pub fn sign(header: Header, entries: Vec<Entry>, key: &Key) -> VerifiedBlock {
        assert!(!entries.is_empty() && entries.len() <= BLOCK_ENTRIES && header.parents.len() <= BLOCK_PARENTS);
        let mut block = Block::assemble(header, entries, [0; 64]);
        block.signature = key.sign(&signed_message(&block.hash()));
        let start = block.bytes.len() - 64;
        block.bytes[start..].copy_from_slice(&block.signature);
        VerifiedBlock(block)
    }

    /// A block whose signature is checked elsewhere, for an [`audit`](crate::audit), which promises nothing of it before that.
    pub(crate) fn claimed(block: Block) -> VerifiedBlock {
        VerifiedBlock(block)
    }

    /// The block without the promise.
    pub fn into_inner(self) -> Block {
        self.0
    }
}

impl Deref for VerifiedBlock {
    type Target = Block;

    fn deref(&self) -> &Block {
        &self.0
    }
}

/// Bytes of what an author signs.
pub(crate) const SIGNED_BYTES: usize = LABEL_SIGNATURE.len() + 32;

pub(crate) fn signed_message(hash: &BlockHash) -> [u8; SIGNED_BYTES] {
    let mut message = [0; SIGNED_BYTES];
    message[..LABEL_SIGNATURE.len()].copy_from_slice(LABEL_SIGNATURE);
    message[LABEL_SIGNATURE.len()..].copy_from_slice(hash.as_bytes());
    message
}

/// hash 0 = SHA-256(label ‖ header); hash i = SHA-256(hash i-1 ‖ hashed entry i). Returns hash 1 … hash n.
fn hash_chain(header: &Header, entries: &[Entry]) -> Vec<BlockHash> {
    let mut bytes = Vec::with_capacity(160 + 34 * header.parents.len());
    infallible(encode_header(&mut Encoder::new(&mut bytes), header));
    let mut previous: [u8; 32] = Sha256::new().chain_update(LABEL_BLOCK).chain_update(&bytes).finalize().into();
    let mut hashes = Vec::with_capacity(entries.len());
    for entry in entries {
        bytes.clear();
        // What stays of it when its payload goes.
        infallible(encode_entry(&mut Encoder::new(&mut bytes), &entry.strip()));
        previous = Sha256::new().chain_update(previous).chain_update(&bytes).finalize().into();
        hashes.push(BlockHash::from_bytes(previous));
    }
    hashes
}

/// The id of the open ledger with this name: anyone who knows the name may write in it.
pub fn open_ledger(name: &str) -> LedgerId {
    LedgerId::of_all(*Block::open_genesis(name).hash().as_bytes())
}

pub(crate) type EncodeResult = Result<(), minicbor::encode::Error<Infallible>>;

/// Encoding into memory cannot fail; the loop says so to the compiler.
pub(crate) fn infallible(result: EncodeResult) {
    if let Err(error) = result {
        unreachable!("encoding into memory failed: {error}");
    }
}

/// Takes what is encoded only as long as it is what these bytes say: whether bytes are canonical shows without a copy of them.
pub(crate) struct Same<'a> {
    rest: &'a [u8],
    same: bool,
}

impl<'a> Same<'a> {
    /// Whether `encode` writes these bytes.
    pub(crate) fn holds(bytes: &'a [u8], encode: impl FnOnce(&mut Encoder<&mut Self>) -> EncodeResult) -> bool {
        let mut same = Self { rest: bytes, same: true };
        infallible(encode(&mut Encoder::new(&mut same)));
        same.same && same.rest.is_empty()
    }
}

impl Write for Same<'_> {
    type Error = Infallible;

    fn write_all(&mut self, written: &[u8]) -> Result<(), Infallible> {
        match self.rest.strip_prefix(written) {
            Some(rest) => self.rest = rest,
            None => self.same = false,
        }
        Ok(())
    }
}

fn encode_block<W: Write<Error = Infallible>>(
    encoder: &mut Encoder<W>,
    header: &Header,
    entries: &[Entry],
    signature: &[u8; 64],
) -> EncodeResult {
    encoder.array(3)?;
    encode_header(encoder, header)?;
    encoder.array(entries.len() as u64)?;
    entries.iter().try_for_each(|entry| encode_entry(encoder, entry))?;
    encoder.bytes(signature)?.ok()
}

fn encode_header<W: Write<Error = Infallible>>(encoder: &mut Encoder<W>, header: &Header) -> EncodeResult {
    encoder.array(6)?.u64(VERSION)?.bytes(header.ledger.as_bytes())?.bytes(header.author.as_bytes())?;
    encoder.u64(header.height)?.u64(header.timestamp.micros())?.array(header.parents.len() as u64)?;
    header.parents.iter().try_for_each(|parent| encoder.bytes(parent.as_bytes())?.ok())
}

fn encode_entry<W: Write<Error = Infallible>>(encoder: &mut Encoder<W>, entry: &Entry) -> EncodeResult {
    encoder.array(3)?.u16(entry.kind.0)?;
    match &entry.body {
        Body::Full { nonce, payload } => encoder.bytes(nonce)?.bytes(payload)?.ok(),
        Body::Erased { commitment, len } => encoder.bytes(commitment)?.u32(*len)?.ok(),
    }
}

fn decode_header(decoder: &mut Decoder<'_>) -> Result<Header, BlockError> {
    expect_array(decoder, 6)?;
    match decoder.u64()? {
        VERSION => {}
        other => return Err(BlockError::Version(other)),
    }
    let ledger = LedgerId::from_bytes(decode_bytes(decoder)?);
    let author = NodeId::from_bytes(decode_bytes(decoder)?);
    let height = decoder.u64()?;
    let micros = decoder.u64()?;
    let timestamp = Timestamp::from_micros(micros).ok_or(BlockError::Time(micros))?;
    let len = array_len(decoder)?;
    if len > BLOCK_PARENTS as u64 {
        return Err(BlockError::Parents { len });
    }
    let mut parents = Vec::with_capacity(len as usize);
    for _ in 0..len {
        parents.push(BlockHash::from_bytes(decode_bytes(decoder)?));
    }
    if height == 0 || (height > 1 && parents.is_empty()) {
        return Err(BlockError::Height(height));
    }
    let others = if height > 1 { &parents[1..] } else { &parents[..] };
    if !others.is_sorted_by(|a, b| a < b) || (height > 1 && others.contains(&parents[0])) {
        return Err(BlockError::ParentOrder);
    }
    Ok(Header { ledger, author, height, timestamp, parents })
}

fn decode_entries(decoder: &mut Decoder<'_>) -> Result<Vec<Entry>, BlockError> {
    let len = array_len(decoder)?;
    if len == 0 || len > BLOCK_ENTRIES as u64 {
        return Err(BlockError::Entries { len });
    }
    let mut entries = Vec::with_capacity(len as usize);
    for _ in 0..len {
        expect_array(decoder, 3)?;
        let kind = Kind(decoder.u16()?);
        let second = decoder.bytes()?;
        let body = if let Ok(nonce) = <[u8; 16]>::try_from(second) {
            let payload = decoder.bytes()?;
            check_payload(payload.len() as u64)?;
            Body::Full { nonce, payload: payload.to_vec() }
        } else if let Ok(commitment) = <[u8; 32]>::try_from(second) {
            let len = decoder.u32()?;
            check_payload(u64::from(len))?;
            Body::Erased { commitment, len }
        } else {
            return Err(BlockError::Malformed("an entry's second field has 16 bytes (nonce) or 32 (commitment)"));
        };
        entries.push(Entry { kind, body });
    }
    Ok(entries)
}

fn check_payload(len: u64) -> Result<(), BlockError> {
    if len > PAYLOAD_BYTES as u64 { Err(BlockError::Payload { len }) } else { Ok(()) }
}

fn expect_array(decoder: &mut Decoder<'_>, len: u64) -> Result<(), BlockError> {
    if array_len(decoder)? == len { Ok(()) } else { Err(BlockError::Malformed("an array has the wrong length")) }
}

fn array_len(decoder: &mut Decoder<'_>) -> Result<u64, BlockError> {
    decoder.array()?.ok_or(BlockError::NotCanonical)
}

fn decode_bytes<const N: usize>(decoder: &mut Decoder<'_>) -> Result<[u8; N], BlockError> {
    decoder.bytes()?.try_into().map_err(|_| BlockError::Malformed("a byte string has the wrong length"))
}
