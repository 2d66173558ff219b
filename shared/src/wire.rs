//! Envelopes and messages of links, as bytes.
//!
//! A frame is one or more envelopes, one behind the other (a CBOR sequence, RFC 8742):
//!
//! ```text
//! envelope = [message_type, message_id: bytes16, sender_id: bytes32, recipient_id: bytes0 or bytes32, payload]
//! ```

use alloc::vec::Vec;
use core::convert::Infallible;

use minicbor::{Decoder, Encoder, encode::Write};
use thiserror::Error;

use crate::{
    announce::Announcement,
    block::{EncodeResult, Same, infallible},
    directed::Directed,
    id::{BlockHash, LedgerId, NodeId},
    incoming::Incoming,
    limits::{
        ANNOUNCED_AT_ONCE, ANSWER_BLOCKS, AUTHORS, BLOCK_ENTRIES, FRAME_BYTES, HEADS_PER_FRAME, MEMBERSHIP_BLOCKS,
        WANTED_PER_FRAME,
    },
    parts::{MOST_PARTS, Part, Parts, is_number_of_parts},
    time::Timestamp,
};

/// The version of the link protocol.
pub const PROTOCOL_VERSION: u64 = 1;

/// Most blocks of one message: a frame of the smallest blocks holds fewer.
const MESSAGE_BLOCKS: usize = FRAME_BYTES / 128;
/// Most tips of one lane in a list of heads.
const LANE_TIPS: usize = 64;
const WRONG_PARTS: WireError = WireError::Malformed("heads are divided into 16, 32, 64, 128 or 256 parts");

/// Parts of [`Message::NodeListRequest`]: an id is in that of its first byte modulo this, as the exclusive or of bytes 8 to 15 of all of them.
pub const BUCKETS: usize = 64;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// Wrong CBOR, or CBOR of something else.
    #[error("not an envelope: {0}")]
    Malformed(&'static str),
    /// The bytes say an envelope in another way than the canonical one.
    #[error("not the canonical encoding of its envelope")]
    NotCanonical,
    /// A type that this version does not know.
    #[error("message type {0} is unknown")]
    UnknownType(u64),
    /// A frame that is too large.
    #[error("frame of {len} bytes, limit is {FRAME_BYTES}")]
    TooLarge {
        /// Bytes that came.
        len: usize,
    },
    /// A list that is too long.
    #[error("list of {len} items, limit is {limit}")]
    TooMany {
        /// Items that came.
        len: u64,
        /// Items allowed.
        limit: usize,
    },
}

impl WireError {
    /// The error without its numbers, for the close frame.
    pub fn summary(&self) -> &'static str {
        match self {
            Self::Malformed(what) => what,
            Self::NotCanonical => "an envelope is not in its canonical encoding",
            Self::UnknownType(_) => "a message type is unknown",
            Self::TooLarge { .. } => "a frame is too large",
            Self::TooMany { .. } => "a list is too long",
        }
    }
}

impl From<minicbor::decode::Error> for WireError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed("wrong or truncated CBOR in a frame")
    }
}

/// The tips of one lane, and where it is frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whose lane.
    pub author: NodeId,
    /// Height and hash of every tip, ascending; one, unless the lane is forked; none, if nothing of it counts.
    pub tips: Vec<(u64, BlockHash)>,
    /// The lowest forked height; 0: the lane is not frozen.
    pub frozen: u64,
}

/// Entries of one block whose payloads are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    /// The block.
    pub block: BlockHash,
    /// Bit i % 8 of byte i / 8 stands for entry i.
    entries: [u8; BLOCK_ENTRIES / 8],
}

/// Sets bit i % 8 of byte i / 8, if there is that byte.
pub(crate) fn set_bit(bytes: &mut [u8], i: usize) {
    if let Some(byte) = bytes.get_mut(i / 8) {
        *byte |= 1 << (i % 8);
    }
}

/// Whether bit i % 8 of byte i / 8 is set.
pub(crate) fn has_bit(bytes: &[u8], i: usize) -> bool {
    bytes.get(i / 8).is_some_and(|byte| byte & (1 << (i % 8)) != 0)
}

impl Lack {
    /// These entries of a block.
    pub fn new(block: BlockHash, indexes: impl IntoIterator<Item = usize>) -> Self {
        let mut entries = [0; BLOCK_ENTRIES / 8];
        for index in indexes {
            set_bit(&mut entries, index);
        }
        Self { block, entries }
    }

    /// Whether the payload of this entry is missing.
    pub fn contains(&self, index: usize) -> bool {
        has_bit(&self.entries, index)
    }
}

/// What one replica says to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First words: who speaks, of what, and a challenge.
    Hello {
        /// [`PROTOCOL_VERSION`].
        version: u64,
        /// The ledger this link is for.
        ledger: LedgerId,
        /// The speaker.
        node: NodeId,
        /// The challenge.
        nonce: [u8; 32],
    },
    /// The answer to a challenge: see [`auth_message`].
    Auth {
        /// By the speaker's key.
        signature: [u8; 64],
    },
    /// Nodes that are here, and where nodes can be reached.
    NodeAnnounce {
        /// Who is linked to the speaker.
        nodes: Vec<NodeId>,
        /// What nodes say of themselves.
        announcements: Vec<Announcement>,
    },
    /// Nodes that are not linked to the speaker any more.
    NodeGone {
        /// Who, and the time of the last announcement of its that the speaker knows where it may be gone altogether; else 0.
        nodes: Vec<(NodeId, Timestamp)>,
    },
    /// "Of whom I have not heard, tell me."
    NodeListRequest {
        /// The ids of whom the speaker has heard, in [`BUCKETS`] parts.
        known: Vec<u64>,
    },
    /// "I close this link for another reason than that one of us is gone."
    Bye,
    /// "If your digest is another one, tell me your heads." With parts: "Tell me those of the parts that differ from mine, even if none does."
    LedgerSyncRequest {
        /// Over all heads of the speaker.
        digest: [u8; 32],
        /// Over those of each part (see [`crate::parts`]); none, if the answer is to be all heads.
        parts: Vec<Part>,
    },
    /// A page of the speaker's heads.
    LedgerSyncResponse {
        /// Ascending by author.
        heads: Vec<Head>,
        /// Whether this is the last page.
        last: bool,
        /// The parts of which all heads are told: in the others they are what the peer's were when it asked. `None`: all there are.
        parts: Option<Parts>,
    },
    /// New blocks, parents before children. Needs credit.
    EntryAnnounce {
        /// The blocks.
        blocks: Vec<Incoming>,
        /// How many blocks are still to come in this exchange.
        remaining: u64,
    },
    /// "Send me these blocks, and what of their lanes leads to them."
    EntryRequest {
        /// Hashes of missing blocks.
        blocks: Vec<BlockHash>,
    },
    /// The answer: at most [`ANSWER_BLOCKS`] blocks of a lane, ascending, the wanted one last. Needs credit.
    EntryResponse {
        /// The blocks.
        blocks: Vec<Incoming>,
    },
    /// What is durable at the speaker now: lanes and their heights.
    Have {
        /// Ascending by author.
        lanes: Vec<(NodeId, u64)>,
    },
    /// Permission to send so much more.
    Credit {
        /// Frames with blocks or evidence that were taken.
        frames: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A proof of a fork (see `evidence::Evidence`). Needs credit.
    Evidence {
        /// Its encoding.
        proof: Vec<u8>,
    },
    /// "Send me these blocks, if you have payloads of them that I lack." Answered by [`Message::EntryResponse`] with these
    /// blocks alone, or not at all.
    PayloadRequest {
        /// What is missing.
        lacks: Vec<Lack>,
    },
    /// How the speaker came into a members' ledger: its join, and before it as much of what that rests on as the peer may
    /// lack (see [`crate::members`]). The dialling side says it right after its proof.
    Membership {
        /// Encoded blocks, in ledger order.
        blocks: Vec<Vec<u8>>,
    },
    /// From one node to one other, whom the envelope names, also where they are not at the two ends of a link. Needs credit.
    Directed(Directed),
    /// "Your blocks come to me by another way, too: from now on only say what you have."
    Prune,
    /// "Send me what I lack, and blocks as they come again."
    Graft,
}

impl Message {
    /// New blocks, as they are, of which so many are still to come.
    pub fn announce(blocks: Vec<Vec<u8>>, remaining: u64) -> Self {
        Self::EntryAnnounce { blocks: blocks.into_iter().map(Incoming::Bytes).collect(), remaining }
    }

    /// Blocks that were asked for, as they are.
    pub fn answer(blocks: Vec<Vec<u8>>) -> Self {
        Self::EntryResponse { blocks: blocks.into_iter().map(Incoming::Bytes).collect() }
    }

    fn number(&self) -> u64 {
        match self {
            Self::Hello { .. } => 1,
            Self::Auth { .. } => 2,
            Self::NodeAnnounce { .. } => 3,
            Self::LedgerSyncRequest { .. } => 4,
            Self::LedgerSyncResponse { .. } => 5,
            Self::EntryAnnounce { .. } => 6,
            Self::EntryRequest { .. } => 7,
            Self::EntryResponse { .. } => 8,
            Self::Have { .. } => 9,
            Self::Credit { .. } => 10,
            Self::Evidence { .. } => 11,
            Self::Membership { .. } => 12,
            Self::PayloadRequest { .. } => 13,
            Self::Prune => 14,
            Self::Graft => 15,
            Self::NodeGone { .. } => 16,
            Self::Bye => 17,
            Self::NodeListRequest { .. } => 18,
            Self::Directed(_) => 19,
        }
    }

    /// Whether a frame with this message uses up credit.
    pub fn needs_credit(&self) -> bool {
        use Message::{Directed, EntryAnnounce, EntryResponse, Evidence};
        matches!(self, EntryAnnounce { .. } | EntryResponse { .. } | Evidence { .. } | Directed(_))
    }

    /// How many blocks it brings as such.
    pub(crate) fn blocks(&self) -> usize {
        match self {
            Self::EntryAnnounce { blocks, .. } | Self::EntryResponse { blocks } => blocks.len(),
            _ => 0,
        }
    }

    /// Leaves so many blocks in it, and returns the same with the rest, if there are more.
    pub(crate) fn split_off(&mut self, most: usize) -> Option<Self> {
        match self {
            Self::EntryAnnounce { blocks, remaining } if blocks.len() > most => {
                let rest = Self::EntryAnnounce { blocks: blocks.split_off(most), remaining: *remaining };
                *remaining = remaining.saturating_add(rest.blocks() as u64);
                Some(rest)
            }
            Self::EntryResponse { blocks } if blocks.len() > most => {
                Some(Self::EntryResponse { blocks: blocks.split_off(most) })
            }
            _ => None,
        }
    }
}

/// A message with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// A UUID.
    pub message_id: [u8; 16],
    /// Who speaks.
    pub sender: NodeId,
    /// To whom; `None`: to whoever is at the other end.
    pub recipient: Option<NodeId>,
    /// What is said.
    pub message: Message,
}

/// What [`Message::Auth`] signs: label ‖ ledger ‖ signer ‖ its own nonce ‖ the peer ‖ the peer's nonce.
pub fn auth_message(ledger: &LedgerId, signer: (&NodeId, &[u8; 32]), peer: (&NodeId, &[u8; 32])) -> Vec<u8> {
    let parts: [&[u8]; 6] =
        [b"cairn/auth/1", ledger.as_bytes(), signer.0.as_bytes(), signer.1, peer.0.as_bytes(), peer.1];
    parts.concat()
}

/// Reads the envelopes of a frame.
///
/// # Errors
/// When the frame is empty or too large, or any envelope is malformed, unknown or not canonical.
pub fn decode_frame(bytes: &[u8]) -> Result<Vec<Envelope>, WireError> {
    if bytes.len() > FRAME_BYTES {
        return Err(WireError::TooLarge { len: bytes.len() });
    }
    if bytes.is_empty() {
        return Err(WireError::Malformed("a frame without an envelope"));
    }
    let mut decoder = Decoder::new(bytes);
    let mut envelopes = Vec::new();
    while decoder.position() < bytes.len() {
        let start = decoder.position();
        let envelope = decode_envelope(&mut decoder)?;
        if !envelope.is_encoded_as(&bytes[start..decoder.position()]) {
            return Err(WireError::NotCanonical);
        }
        envelopes.push(envelope);
    }
    Ok(envelopes)
}

impl Envelope {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        self.encode_into(&mut bytes);
        bytes
    }

    /// Appends the canonical encoding to a frame.
    pub fn encode_into(&self, frame: &mut Vec<u8>) {
        infallible(encode_envelope(&mut Encoder::new(frame), self));
    }

    /// Whether these bytes are the canonical encoding.
    fn is_encoded_as(&self, bytes: &[u8]) -> bool {
        Same::holds(bytes, |encoder| encode_envelope(encoder, self))
    }
}

fn encode_envelope<W: Write<Error = Infallible>>(encoder: &mut Encoder<W>, envelope: &Envelope) -> EncodeResult {
    encoder.array(5)?.u64(envelope.message.number())?.bytes(&envelope.message_id)?.bytes(envelope.sender.as_bytes())?;
    encoder.bytes(envelope.recipient.as_ref().map_or(&[], |id| id.as_bytes()))?;
    encode_payload(encoder, &envelope.message)
}

fn encode_payload<W: Write<Error = Infallible>>(encoder: &mut Encoder<W>, message: &Message) -> EncodeResult {
    match message {
        Message::Hello { version, ledger, node, nonce } => {
            encoder.array(4)?.u64(*version)?.bytes(ledger.as_bytes())?.bytes(node.as_bytes())?.bytes(nonce)?.ok()
        }
        Message::Auth { signature } => encoder.array(1)?.bytes(signature)?.ok(),
        Message::NodeAnnounce { nodes, announcements } => {
            encoder.array(2)?.array(nodes.len() as u64)?;
            nodes.iter().try_for_each(|node| encoder.bytes(node.as_bytes())?.ok())?;
            encoder.array(announcements.len() as u64)?;
            announcements.iter().try_for_each(|said| encode_announcement(encoder, said))
        }
        Message::LedgerSyncRequest { digest, parts } => {
            encoder.array(2)?.bytes(digest)?.array(parts.len() as u64)?;
            parts.iter().try_for_each(|Part { digest, heights }| {
                encoder.array(2)?.bytes(digest)?.array(heights.len() as u64)?;
                heights.iter().try_for_each(|height| encoder.u64(*height)?.ok())
            })
        }
        Message::LedgerSyncResponse { heads, last, parts } => {
            encoder.array(3)?.array(heads.len() as u64)?;
            for head in heads {
                encoder.array(3)?.bytes(head.author.as_bytes())?.array(head.tips.len() as u64)?;
                for (height, hash) in &head.tips {
                    encoder.array(2)?.u64(*height)?.bytes(hash.as_bytes())?;
                }
                encoder.u64(head.frozen)?;
            }
            encoder.bool(*last)?.bytes(parts.as_ref().map_or(&[], Parts::bits))?.ok()
        }
        Message::EntryAnnounce { blocks, remaining } => {
            encoder.array(2)?.array(blocks.len() as u64)?;
            blocks.iter().try_for_each(|block| encoder.bytes(block.bytes())?.ok())?;
            encoder.u64(*remaining)?.ok()
        }
        Message::EntryRequest { blocks } => {
            encoder.array(1)?.array(blocks.len() as u64)?;
            blocks.iter().try_for_each(|hash| encoder.bytes(hash.as_bytes())?.ok())
        }
        Message::EntryResponse { blocks } => {
            encoder.array(1)?.array(blocks.len() as u64)?;
            blocks.iter().try_for_each(|block| encoder.bytes(block.bytes())?.ok())
        }
        Message::Have { lanes } => {
            encoder.array(1)?.array(lanes.len() as u64)?;
            lanes.iter().try_for_each(|(node, height)| encoder.array(2)?.bytes(node.as_bytes())?.u64(*height)?.ok())
        }
        Message::Credit { frames, bytes } => encoder.array(2)?.u64(*frames)?.u64(*bytes)?.ok(),
        Message::Evidence { proof } => encoder.array(1)?.bytes(proof)?.ok(),
        Message::PayloadRequest { lacks } => {
            encoder.array(1)?.array(lacks.len() as u64)?;
            lacks.iter().try_for_each(|lack| encoder.array(2)?.bytes(lack.block.as_bytes())?.bytes(&lack.entries)?.ok())
        }
        Message::Membership { blocks } => {
            encoder.array(1)?.array(blocks.len() as u64)?;
            blocks.iter().try_for_each(|block| encoder.bytes(block)?.ok())
        }
        Message::NodeGone { nodes } => {
            encoder.array(1)?.array(nodes.len() as u64)?;
            nodes.iter().try_for_each(|(node, at)| encoder.array(2)?.bytes(node.as_bytes())?.u64(at.micros())?.ok())
        }
        Message::NodeListRequest { known } => {
            encoder.array(1)?.array(known.len() as u64)?;
            known.iter().try_for_each(|part| encoder.u64(*part)?.ok())
        }
        Message::Directed(Directed { at, body, signature }) => {
            encoder.array(3)?.u64(at.micros())?.bytes(body)?.bytes(signature)?.ok()
        }
        Message::Prune | Message::Graft | Message::Bye => encoder.array(0)?.ok(),
    }
}

fn decode_envelope(decoder: &mut Decoder<'_>) -> Result<Envelope, WireError> {
    expect_array(decoder, 5)?;
    let number = decoder.u64()?;
    let message_id = fixed(decoder)?;
    let sender = NodeId::from_bytes(fixed(decoder)?);
    let recipient = match decoder.bytes()? {
        [] => None,
        bytes => {
            let id = bytes.try_into().map_err(|_| WireError::Malformed("a recipient has 0 or 32 bytes"))?;
            Some(NodeId::from_bytes(id))
        }
    };
    let message = decode_payload(decoder, number)?;
    Ok(Envelope { message_id, sender, recipient, message })
}

fn decode_payload(decoder: &mut Decoder<'_>, number: u64) -> Result<Message, WireError> {
    let fields = decoder.array()?.ok_or(WireError::NotCanonical)?;
    let wanted = match number {
        1 => 4,
        2 | 7..=9 | 11..=13 | 16 | 18 => 1,
        3 | 4 | 6 | 10 => 2,
        14 | 15 | 17 => 0,
        5 | 19 => 3,
        other => return Err(WireError::UnknownType(other)),
    };
    if fields != wanted {
        return Err(WireError::Malformed("a payload has the wrong number of fields"));
    }
    Ok(match number {
        1 => Message::Hello {
            version: decoder.u64()?,
            ledger: LedgerId::from_bytes(fixed(decoder)?),
            node: NodeId::from_bytes(fixed(decoder)?),
            nonce: fixed(decoder)?,
        },
        2 => Message::Auth { signature: fixed(decoder)? },
        3 => Message::NodeAnnounce {
            nodes: list(decoder, AUTHORS, |d| Ok(NodeId::from_bytes(fixed(d)?)))?,
            announcements: list(decoder, ANNOUNCED_AT_ONCE, decode_announcement)?,
        },
        4 => Message::LedgerSyncRequest { digest: fixed(decoder)?, parts: decode_parts(decoder)? },
        5 => Message::LedgerSyncResponse {
            heads: list(decoder, HEADS_PER_FRAME, decode_head)?,
            last: decoder.bool()?,
            parts: match decoder.bytes()? {
                [] => None,
                bits => Some(Parts::from_bits(bits).ok_or(WRONG_PARTS)?),
            },
        },
        6 => Message::EntryAnnounce {
            blocks: list(decoder, MESSAGE_BLOCKS, |d| Ok(d.bytes()?.to_vec().into()))?,
            remaining: decoder.u64()?,
        },
        7 => {
            Message::EntryRequest { blocks: list(decoder, WANTED_PER_FRAME, |d| Ok(BlockHash::from_bytes(fixed(d)?)))? }
        }
        8 => Message::EntryResponse { blocks: list(decoder, ANSWER_BLOCKS, |d| Ok(d.bytes()?.to_vec().into()))? },
        9 => Message::Have {
            lanes: list(decoder, AUTHORS, |d| {
                expect_array(d, 2)?;
                Ok((NodeId::from_bytes(fixed(d)?), d.u64()?))
            })?,
        },
        10 => Message::Credit { frames: decoder.u64()?, bytes: decoder.u64()? },
        11 => Message::Evidence { proof: decoder.bytes()?.to_vec() },
        12 => Message::Membership { blocks: list(decoder, MEMBERSHIP_BLOCKS, |d| Ok(d.bytes()?.to_vec()))? },
        14 => Message::Prune,
        15 => Message::Graft,
        16 => Message::NodeGone {
            nodes: list(decoder, ANNOUNCED_AT_ONCE, |d| {
                expect_array(d, 2)?;
                Ok((NodeId::from_bytes(fixed(d)?), time(d)?))
            })?,
        },
        17 => Message::Bye,
        18 => Message::NodeListRequest { known: list(decoder, BUCKETS, |d| Ok(d.u64()?))? },
        19 => {
            let directed = Directed { at: time(decoder)?, body: decoder.bytes()?.to_vec(), signature: fixed(decoder)? };
            if !directed.fits() {
                return Err(WireError::Malformed("a directed message is too long"));
            }
            Message::Directed(directed)
        }
        _ => Message::PayloadRequest {
            lacks: list(decoder, WANTED_PER_FRAME, |d| {
                expect_array(d, 2)?;
                Ok(Lack { block: BlockHash::from_bytes(fixed(d)?), entries: fixed(d)? })
            })?,
        },
    })
}

/// `[node, at, body, signature]`.
pub(crate) fn encode_announcement<W: Write<Error = Infallible>>(
    encoder: &mut Encoder<W>,
    said: &Announcement,
) -> Result<(), minicbor::encode::Error<Infallible>> {
    encoder.array(4)?.bytes(said.node.as_bytes())?.u64(said.at.micros())?;
    encoder.bytes(&said.body)?.bytes(&said.signature)?.ok()
}

/// Reads what [`encode_announcement`] wrote.
pub(crate) fn decode_announcement(decoder: &mut Decoder<'_>) -> Result<Announcement, WireError> {
    expect_array(decoder, 4)?;
    let node = NodeId::from_bytes(fixed(decoder)?);
    let at = time(decoder)?;
    let said = Announcement { node, at, body: decoder.bytes()?.to_vec(), signature: fixed(decoder)? };
    if said.fits() { Ok(said) } else { Err(WireError::Malformed("an announcement is too long")) }
}

fn time(decoder: &mut Decoder<'_>) -> Result<Timestamp, WireError> {
    Timestamp::from_micros(decoder.u64()?).ok_or(WireError::Malformed("a time is too late"))
}

fn decode_parts(decoder: &mut Decoder<'_>) -> Result<Vec<Part>, WireError> {
    let parts = list(decoder, MOST_PARTS, |d| {
        expect_array(d, 2)?;
        Ok(Part { digest: fixed(d)?, heights: list(d, AUTHORS, |d| Ok(d.u64()?))? })
    })?;
    if parts.is_empty() || is_number_of_parts(parts.len()) { Ok(parts) } else { Err(WRONG_PARTS) }
}

fn decode_head(decoder: &mut Decoder<'_>) -> Result<Head, WireError> {
    expect_array(decoder, 3)?;
    let author = NodeId::from_bytes(fixed(decoder)?);
    let tips = list(decoder, LANE_TIPS, |d| {
        expect_array(d, 2)?;
        Ok((d.u64()?, BlockHash::from_bytes(fixed(d)?)))
    })?;
    Ok(Head { author, tips, frozen: decoder.u64()? })
}

/// Reads a list; grows with what is really there, never with what a length claims.
fn list<T>(
    decoder: &mut Decoder<'_>,
    limit: usize,
    mut item: impl FnMut(&mut Decoder<'_>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let len = decoder.array()?.ok_or(WireError::NotCanonical)?;
    if len > limit as u64 {
        return Err(WireError::TooMany { len, limit });
    }
    let mut items = Vec::new();
    for _ in 0..len {
        items.push(item(decoder)?);
    }
    Ok(items)
}

fn expect_array(decoder: &mut Decoder<'_>, len: u64) -> Result<(), WireError> {
    match decoder.array()? {
        Some(found) if found == len => Ok(()),
        _ => Err(WireError::Malformed("an array has the wrong length")),
    }
}

fn fixed<const N: usize>(decoder: &mut Decoder<'_>) -> Result<[u8; N], WireError> {
    decoder.bytes()?.try_into().map_err(|_| WireError::Malformed("a byte string has the wrong length"))
}
