//! The JSON text side of a hub: announcements, lists, brokered envelopes, and entries for people who look in.
//!
//! Every frame is an envelope of exactly five fields. Nothing here is signed, so nothing here is believed: ids are what
//! clients say they are, and entries go out but never in.
//!
//! - `NodeAnnounce` `{node_id}` is remembered for the client and sent on; whoever comes later gets it too.
//! - `NodeListRequest` is answered with all announced ids and, in a ledger, the nodes that the replica knows.
//! - `EntryRequest` `{entry_id}` is answered with `EntryResponse` and the entry, or with the error `unknown_entry`.
//! - `LedgerSyncRequest` `{after?, limit?}` is answered with one `LedgerSyncResponse`: an array of the entries that follow
//!   `after` in ledger order. To page, ask again with the id of the last one; an empty array is the end.
//! - `EntryAnnounce` goes to every client for each new entry, and is refused from a client.
//! - In a members' ledger a text client is closed at its first frame.
//! - Everything else is brokered: an empty `recipient_id` means every other client, otherwise those that announced the
//!   id. So is a request that names another recipient than the hub, and in a room without a ledger one for entries.
//!   Where a node has such a room, an id that nobody announced and that is a node's is that node's, wherever it is.

use alloc::{
    borrow::Cow,
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use minicbor::{Decoder, Encoder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    block::infallible,
    effect::{Added, CloseReason, DirectedError, LinkId},
    id::{EntryId, IdError, LedgerId, NodeId},
    limits::{
        AUTHORS, TEXT_FANOUT_BYTES, TEXT_FAULTS, TEXT_FRAME_BYTES, TEXT_ID_BYTES, TEXT_IDS, TEXT_PAGE_ENTRIES,
        TEXT_UNREAD_BYTES,
    },
    replica::Replica,
    seal::Keyring,
    store::Store,
    view::{self, ViewError},
};

const LABEL_MESSAGE: &[u8] = b"cairn/message/1";

/// Something to do for a text client.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomEffect {
    /// Send a text frame.
    Send {
        /// To this client.
        link: LinkId,
        /// One envelope; shared, because it may go to thousands.
        text: Arc<str>,
    },
    /// Close the connection after what was to be sent. The room has forgotten the client already.
    Close {
        /// This client.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// Say this to another node; [`Room::not_forwarded`] if that cannot be. Only in a room that reaches nodes.
    Forward {
        /// Who wants it.
        link: LinkId,
        /// To whom.
        recipient: NodeId,
        /// The envelope.
        text: Arc<str>,
    },
    /// Keep these bytes with the connection; [`Room::restore`] wants them back after hibernation.
    Remember {
        /// With this client.
        link: LinkId,
        /// At most 2,000 bytes.
        state: Vec<u8>,
    },
}

/// Why a text frame was not handled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
enum TextError {
    #[error("frame of {len} bytes, limit is {TEXT_FRAME_BYTES}")]
    TooLarge { len: usize },
    #[error("not an envelope: {0}")]
    Malformed(String),
    #[error("{field} of {len} bytes, {least} to {TEXT_ID_BYTES} are allowed")]
    Field { field: &'static str, len: usize, least: usize },
    #[error("the payload of {kind} is wrong: {error}")]
    Payload { kind: &'static str, error: String },
    #[error("a client may announce {TEXT_IDS} ids, this would be one more")]
    TooManyIds,
    #[error("entries are not taken from text frames: an unsigned entry proves nothing, append it through a node")]
    Unsigned,
    #[error("nobody here announced {0:?}")]
    UnknownRecipient(String),
    #[error("{came:?} is nothing that this room answers, {answered}")]
    Unsupported { came: String, answered: &'static str },
    #[error("frame of {len} bytes for {recipients} clients, limit is {TEXT_FANOUT_BYTES} bytes in all")]
    Fanout { len: usize, recipients: usize },
    #[error(transparent)]
    NotForwarded(#[from] DirectedError),
    #[error("{message}")]
    Ledger { code: &'static str, message: String },
}

impl TextError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) | Self::Field { .. } => "malformed",
            Self::Payload { .. } => "bad_payload",
            Self::TooManyIds => "too_many_ids",
            Self::Unsigned => "entry_refused",
            Self::UnknownRecipient(_) => "unknown_recipient",
            Self::Unsupported { .. } => "unsupported",
            Self::Fanout { .. } => "too_many_recipients",
            Self::NotForwarded(error) => error.code(),
            Self::Ledger { code, .. } => code,
        }
    }

    /// Whether the frame did not parse, which a client may do only so often.
    fn is_fault(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Malformed(_) | Self::Field { .. } | Self::Payload { .. })
    }
}

/// What ends the handling of one frame early.
enum Stop<E> {
    Refused(TextError),
    Store(E),
}

impl<E> From<TextError> for Stop<E> {
    fn from(error: TextError) -> Self {
        Self::Refused(error)
    }
}

impl<E> From<ViewError<E>> for Stop<E> {
    fn from(error: ViewError<E>) -> Self {
        let code = error.code();
        let message = match error {
            ViewError::Store(error) => return Self::Store(error),
            ViewError::Damaged { hash, .. } => format!("stored block {hash} is damaged"),
            ViewError::Unknown(id) => format!("no entry {id} in this ledger"),
        };
        Self::Refused(TextError::Ledger { code, message })
    }
}

/// One text frame. The order of the fields is the order in which they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    #[serde(borrow)]
    message_id: Cow<'a, str>,
    #[serde(borrow)]
    sender_id: Cow<'a, str>,
    #[serde(borrow)]
    recipient_id: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl<'a> Envelope<'a> {
    fn parse(text: &'a str) -> Result<Self, TextError> {
        if text.len() > TEXT_FRAME_BYTES {
            return Err(TextError::TooLarge { len: text.len() });
        }
        let envelope: Self = object(text).map_err(TextError::Malformed)?;
        for (field, value, least) in [
            ("message_type", &envelope.message_type, 1),
            ("message_id", &envelope.message_id, 1),
            ("sender_id", &envelope.sender_id, 0),
            ("recipient_id", &envelope.recipient_id, 0),
        ] {
            if value.len() < least || value.len() > TEXT_ID_BYTES {
                return Err(TextError::Field { field, len: value.len(), least });
            }
        }
        Ok(envelope)
    }

    fn payload<T: DeserializeOwned>(&self, kind: &'static str) -> Result<T, TextError> {
        object(self.payload.get()).map_err(|error| TextError::Payload { kind, error })
    }
}

/// Reads a JSON object. An array of the fields' values, which serde takes as well, is none.
fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    if !json.trim_start().starts_with('{') {
        return Err("a JSON object is expected".into());
    }
    // A client can make the error's text as long as its frame.
    serde_json::from_str(json).map_err(|error| error.to_string().chars().take(200).collect())
}

#[derive(Deserialize)]
struct Announcement {
    node_id: String,
}

#[derive(Deserialize)]
struct EntryQuery {
    entry_id: String,
}

#[derive(Deserialize)]
struct SyncQuery {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// What the room knows of one client.
#[derive(Default)]
struct Client {
    /// What it announced, in the order of the announcements; at most [`TEXT_IDS`].
    ids: Vec<String>,
    faults: u32,
    /// Bytes sent since its last frame, the only sign that it reads.
    unread: usize,
}

impl Client {
    /// `[faults, [id …]]` as CBOR, at most 1,100 bytes.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        infallible((|| {
            encoder.array(2)?.u32(self.faults)?.array(self.ids.len() as u64)?;
            self.ids.iter().try_for_each(|id| encoder.str(id)?.ok())
        })());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        let mut decoder = Decoder::new(bytes);
        decoder.array()?;
        let faults = decoder.u32()?.min(TEXT_FAULTS);
        let mut ids = Vec::new();
        for id in decoder.array_iter::<&str>()?.take(TEXT_IDS) {
            ids.extend(Some(id?).filter(|id| id.len() <= TEXT_ID_BYTES).map(String::from));
        }
        Ok(Self { ids, faults, unread: 0 })
    }
}

/// The text clients of one room (a ledger, or the lobby, which has none).
pub struct Room {
    me: NodeId,
    seed: [u8; 32],
    messages: u64,
    clients: BTreeMap<LinkId, Client>,
    /// Sum of what all clients have unread.
    unread: usize,
    /// Nobody is let in: text clients prove nothing, and the ledger is its members' own.
    closed: bool,
    /// What is for a node that is no client is for other nodes.
    reaches_nodes: bool,
}

impl Room {
    /// An empty room of this hub, for a ledger or the lobby (`None`). `seed`: random bytes, fresh at every start, from which
    /// message ids follow.
    pub fn new(me: NodeId, seed: [u8; 32], ledger: Option<&LedgerId>) -> Self {
        let closed = ledger.is_some_and(LedgerId::has_members);
        Self { me, seed, messages: 0, clients: BTreeMap::new(), unread: 0, closed, reaches_nodes: false }
    }

    /// The same room, whose clients also reach other nodes, by their ids.
    #[must_use]
    pub fn reaching_nodes(self) -> Self {
        Self { reaches_nodes: true, ..self }
    }

    /// Takes back a client after hibernation: `state` is what [`RoomEffect::Remember`] gave last, empty if nothing.
    pub fn restore(&mut self, link: LinkId, state: &[u8]) {
        if self.closed {
            return;
        }
        self.clients.insert(link, Client::decode(state).unwrap_or_default());
    }

    /// The node goes on with another key.
    pub fn rename(&mut self, me: NodeId) {
        self.me = me;
    }

    /// A client came: it gets the announcements of those present (at most [`TEXT_PAGE_ENTRIES`], more by
    /// `NodeListRequest`), and from now on what goes to all.
    pub fn on_opened(&mut self, link: LinkId, effects: &mut Vec<RoomEffect>) {
        // It may be a replica's link; what it is shows with its first frame.
        if self.closed {
            return;
        }
        let present: Vec<String> =
            self.clients.values().flat_map(|client| &client.ids).take(TEXT_PAGE_ENTRIES).cloned().collect();
        self.clients.entry(link).or_default();
        for id in present {
            let payload = json!({ "node_id": id });
            let text = self.envelope("NodeAnnounce", &id, "", &payload);
            self.send(link, text, effects);
        }
    }

    /// Handles one text frame; opens the client if [`Room::on_opened`] did not. `ledger` is `None` in the lobby.
    ///
    /// # Errors
    /// When the store fails.
    pub fn on_text<S: Store>(
        &mut self,
        link: LinkId,
        text: &str,
        ledger: Option<&Replica<S>>,
        effects: &mut Vec<RoomEffect>,
    ) -> Result<(), S::Error> {
        if self.closed {
            self.close(link, CloseReason::NotAMember, effects);
            return Ok(());
        }
        if !self.clients.contains_key(&link) {
            self.on_opened(link, effects);
        }
        self.on_read(link);
        let envelope = match Envelope::parse(text) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.refuse(link, "", &error, effects);
                return Ok(());
            }
        };
        match self.on_envelope(link, &envelope, ledger, effects) {
            Ok(()) => Ok(()),
            Err(Stop::Store(error)) => Err(error),
            Err(Stop::Refused(error)) => {
                self.refuse(link, &envelope.sender_id, &error, effects);
                Ok(())
            }
        }
    }

    /// Tells the text clients of a block that was added.
    pub fn on_added(&mut self, added: &Added, effects: &mut Vec<RoomEffect>) {
        if self.clients.is_empty() {
            return;
        }
        let me = self.me.to_string();
        for entry in view::views(&added.block, &added.previous, &Keyring::default()) {
            let text = self.envelope("EntryAnnounce", &me, "", &entry);
            let clients: Vec<LinkId> = self.clients.keys().copied().collect();
            clients.into_iter().for_each(|link| self.send(link, text.clone(), effects));
        }
    }

    /// Another node says something to this one: it goes to the clients that announced this node's id, or to all where none did. Whoever
    /// its envelope says that it is from, it is from that node.
    pub fn on_message(&mut self, sender: &NodeId, text: &str, effects: &mut Vec<RoomEffect>) {
        let Ok(envelope) = Envelope::parse(text) else { return };
        let me = self.me.to_string();
        let named = self.announced(&me, None);
        let clients = if named.is_empty() { self.clients.keys().copied().collect() } else { named };
        let text: Arc<str> =
            to_json(&Envelope { sender_id: sender.to_string().into(), recipient_id: me.into(), ..envelope }).into();
        let most = TEXT_FANOUT_BYTES / text.len();
        clients.into_iter().take(most).for_each(|link| self.send(link, text.clone(), effects));
    }

    /// What was to be forwarded went nowhere.
    pub fn not_forwarded(&mut self, link: LinkId, text: &str, error: DirectedError, effects: &mut Vec<RoomEffect>) {
        if let Ok(envelope) = Envelope::parse(text) {
            self.refuse(link, &envelope.sender_id, &error.into(), effects);
        }
    }

    /// A client is gone.
    pub fn on_closed(&mut self, link: LinkId) {
        if let Some(client) = self.clients.remove(&link) {
            self.unread -= client.unread;
        }
    }

    fn on_read(&mut self, link: LinkId) {
        if let Some(client) = self.clients.get_mut(&link) {
            self.unread -= core::mem::take(&mut client.unread);
        }
    }

    fn on_envelope<S: Store>(
        &mut self,
        link: LinkId,
        envelope: &Envelope<'_>,
        ledger: Option<&Replica<S>>,
        effects: &mut Vec<RoomEffect>,
    ) -> Result<(), Stop<S::Error>> {
        let me = self.me.to_string();
        let recipient = &*envelope.recipient_id;
        let mine = recipient.is_empty() || recipient == me;
        let (kind, payload) = match (&*envelope.message_type, ledger) {
            ("EntryAnnounce", _) => return Err(TextError::Unsigned.into()),
            ("NodeAnnounce", _) => return Ok(self.on_announce(link, envelope, effects)?),
            ("NodeListRequest", _) if mine => ("NodeListResponse", self.nodes(ledger)),
            ("EntryRequest", Some(replica)) if mine => ("EntryResponse", entry(envelope, replica)?),
            ("LedgerSyncRequest", Some(replica)) if mine => ("LedgerSyncResponse", page(envelope, replica)?),
            (came, _) if recipient == me => {
                let answered = match ledger {
                    Some(_) => "NodeListRequest, EntryRequest and LedgerSyncRequest are",
                    None => "NodeListRequest is",
                };
                return Err(TextError::Unsupported { came: came.to_string(), answered }.into());
            }
            _ => return Ok(self.broker(link, envelope, effects)?),
        };
        let text = self.envelope(kind, &me, &envelope.sender_id, &payload);
        self.send(link, text, effects);
        Ok(())
    }

    fn on_announce(
        &mut self,
        link: LinkId,
        envelope: &Envelope<'_>,
        effects: &mut Vec<RoomEffect>,
    ) -> Result<(), TextError> {
        let kind = "NodeAnnounce";
        let Announcement { node_id } = envelope.payload(kind)?;
        if node_id.is_empty() || node_id.len() > TEXT_ID_BYTES {
            let error = format!("node_id of {} bytes, 1 to {TEXT_ID_BYTES} are allowed", node_id.len());
            return Err(TextError::Payload { kind, error });
        }
        if let Some(client) = self.clients.get_mut(&link)
            && !client.ids.contains(&node_id)
        {
            if client.ids.len() == TEXT_IDS {
                return Err(TextError::TooManyIds);
            }
            client.ids.push(node_id);
            effects.push(RoomEffect::Remember { link, state: client.encode() });
        }
        self.broker(link, envelope, effects)
    }

    /// Sends an envelope on to every other client, or to those that announced its recipient.
    fn broker(
        &mut self,
        link: LinkId,
        envelope: &Envelope<'_>,
        effects: &mut Vec<RoomEffect>,
    ) -> Result<(), TextError> {
        let to = &*envelope.recipient_id;
        let recipients = match to {
            "" => self.clients.keys().filter(|other| **other != link).copied().collect(),
            id => self.announced(id, Some(link)),
        };
        if recipients.is_empty() && to.is_empty() {
            return Ok(());
        }
        if recipients.is_empty() {
            let node = to.parse().ok().filter(|_| self.reaches_nodes);
            let recipient = node.ok_or_else(|| TextError::UnknownRecipient(to.to_string()))?;
            effects.push(RoomEffect::Forward { link, recipient, text: to_json(envelope).into() });
            return Ok(());
        }
        let text: Arc<str> = to_json(envelope).into();
        let (len, recipients_len) = (text.len(), recipients.len());
        if len.saturating_mul(recipients_len) > TEXT_FANOUT_BYTES {
            return Err(TextError::Fanout { len, recipients: recipients_len });
        }
        recipients.into_iter().for_each(|link| self.send(link, text.clone(), effects));
        Ok(())
    }

    /// The clients that announced an id, one of them left out.
    fn announced(&self, id: &str, but: Option<LinkId>) -> Vec<LinkId> {
        let named = |client: &Client| client.ids.iter().any(|announced| announced == id);
        let clients = self.clients.iter().filter(|(link, client)| Some(**link) != but && named(client));
        clients.map(|(link, _)| *link).collect()
    }

    /// Every id that a client announced and every node that the replica knows, ascending, each once.
    fn nodes<S: Store>(&self, ledger: Option<&Replica<S>>) -> Box<RawValue> {
        let known = ledger.map(Replica::known_nodes).unwrap_or_default();
        let announced = self.clients.values().flat_map(|client| client.ids.iter().cloned());
        let nodes: BTreeSet<String> = known.iter().map(ToString::to_string).chain(announced).take(AUTHORS).collect();
        raw(&json!({ "nodes": nodes }))
    }

    /// Answers with an error; a client with too many faults is closed.
    fn refuse(&mut self, link: LinkId, sender: &str, error: &TextError, effects: &mut Vec<RoomEffect>) {
        let payload = json!({ "code": error.code(), "message": error.to_string() });
        let text = self.envelope("Error", &self.me.to_string(), sender, &payload);
        self.send(link, text, effects);
        let Some(client) = self.clients.get_mut(&link) else { return };
        if !error.is_fault() {
            return;
        }
        client.faults += 1;
        if client.faults < TEXT_FAULTS {
            effects.push(RoomEffect::Remember { link, state: client.encode() });
        } else {
            self.close(link, CloseReason::TooManyFaults, effects);
        }
    }

    /// Sends to one client. Nothing tells whether a client reads, so what all have unread is bounded by closing the one
    /// that was sent most since its last frame.
    fn send(&mut self, link: LinkId, text: Arc<str>, effects: &mut Vec<RoomEffect>) {
        let Some(client) = self.clients.get_mut(&link) else { return };
        client.unread += text.len();
        self.unread += text.len();
        effects.push(RoomEffect::Send { link, text });
        if self.unread > TEXT_UNREAD_BYTES
            && let Some((most, _)) = self.clients.iter().max_by_key(|(_, client)| client.unread)
        {
            self.close(*most, CloseReason::Unread, effects);
        }
    }

    fn close(&mut self, link: LinkId, reason: CloseReason, effects: &mut Vec<RoomEffect>) {
        self.on_closed(link);
        effects.push(RoomEffect::Close { link, reason });
    }

    /// An envelope with a fresh message id.
    fn envelope(&mut self, kind: &str, sender: &str, recipient: &str, payload: &impl Serialize) -> Arc<str> {
        let message_id = self.message_id();
        to_json(&Envelope {
            message_type: kind.into(),
            message_id: message_id.into(),
            sender_id: sender.into(),
            recipient_id: recipient.into(),
            payload: &raw(payload),
        })
        .into()
    }

    fn message_id(&mut self) -> String {
        self.messages += 1;
        let count = self.messages.to_be_bytes();
        let digest = Sha256::new().chain_update(LABEL_MESSAGE).chain_update(self.seed).chain_update(count).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

/// The entry that an `EntryRequest` asks for.
fn entry<S: Store>(envelope: &Envelope<'_>, replica: &Replica<S>) -> Result<Box<RawValue>, Stop<S::Error>> {
    let kind = "EntryRequest";
    let EntryQuery { entry_id } = envelope.payload(kind)?;
    let id = entry_id.parse().map_err(|error| wrong_id(kind, &error))?;
    Ok(raw(&view::entry(replica.store(), &id, &Keyring::default())?))
}

/// The page that a `LedgerSyncRequest` asks for.
fn page<S: Store>(envelope: &Envelope<'_>, replica: &Replica<S>) -> Result<Box<RawValue>, Stop<S::Error>> {
    let kind = "LedgerSyncRequest";
    let SyncQuery { after, limit } = envelope.payload(kind)?;
    let after: Option<EntryId> = after.map(|id| id.parse()).transpose().map_err(|error| wrong_id(kind, &error))?;
    let limit = limit.unwrap_or(TEXT_PAGE_ENTRIES).clamp(1, TEXT_PAGE_ENTRIES);
    Ok(raw(&view::after(replica.store(), after.as_ref(), limit, &Keyring::default())?))
}

fn wrong_id(kind: &'static str, error: &IdError) -> TextError {
    TextError::Payload { kind, error: error.to_string() }
}

/// JSON of plain values with string keys, which cannot fail; the matches say so to the compiler.
fn raw(value: &impl Serialize) -> Box<RawValue> {
    match to_raw_value(value) {
        Ok(json) => json,
        Err(error) => unreachable!("plain values are JSON: {error}"),
    }
}

fn to_json(envelope: &Envelope<'_>) -> String {
    match serde_json::to_string(envelope) {
        Ok(json) => json,
        Err(error) => unreachable!("plain values are JSON: {error}"),
    }
}

#[cfg(test)]
mod tests;
