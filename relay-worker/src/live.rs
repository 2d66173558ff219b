//! A room that is awake: its sockets, its text side, and the replica of its ledger.

use std::{collections::BTreeMap, sync::Arc};

use shared::{
    CloseReason, Config, Effect, Input, Key, LedgerId, LinkId, ReadStore, Replica, ReplicaError, Role, Store,
    Timestamp,
    replica::OpenError,
    room::{Room, RoomEffect},
};
use worker::{State, WebSocket, console_debug, console_log};

use crate::{
    RoomId,
    socket::{self, Socket},
    store::{DurableObjectStore, StoreError},
};

/// The row of `meta` with the relay's secret key for this room.
const KEY: &str = "relay/key";
/// The row of `meta` with the room's ledger.
const LEDGER: &str = "relay/ledger";

/// Why a room cannot go on. It is rebuilt from its rows at its next event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Turn(#[from] ReplicaError<StoreError>),
    #[error(transparent)]
    Open(#[from] OpenError<StoreError>),
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("this object is {here}, and was asked for {came}")]
    WrongRoom { here: RoomId, came: RoomId },
    #[error("the turn's transaction failed: {0}")]
    Transaction(String),
    #[error("a turn began within a turn")]
    Busy,
    #[error("this object has no room yet")]
    NoRoom,
}

impl Failure {
    /// What a client may read of it: the words of the platform stay in the log.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Store(newer @ StoreError::Newer { .. }) => newer.to_string(),
            _ => "this room cannot be opened now, the relay's log says why".into(),
        }
    }
}

/// Something that happened to the room.
pub(crate) enum Event {
    Opened { link: LinkId, websocket: WebSocket },
    Frame { link: LinkId, bytes: Vec<u8> },
    Text { link: LinkId, text: String },
    Closed { link: LinkId },
    Wake,
}

/// Something to do to a socket, after the turn.
pub(crate) enum Action {
    Frame(WebSocket, Vec<u8>),
    Text(WebSocket, Arc<str>),
    Close(WebSocket, CloseReason),
    Keep(Socket),
}

/// A room in memory.
pub(crate) struct Live {
    room: Room,
    replica: Option<Replica<DurableObjectStore>>,
    sockets: BTreeMap<LinkId, Socket>,
    newest: LinkId,
    /// Links that the text side closed: the replica has yet to hear of it.
    gone: Vec<LinkId>,
}

impl Live {
    /// Takes up what rows and sockets hold. `asked`: the room of the request that woke the object, which makes the room
    /// if it is new. `pace`: whether writers are held to one.
    pub(crate) fn restore(
        state: &State,
        asked: Option<RoomId>,
        pace: bool,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> Result<Self, Failure> {
        let mut store = DurableObjectStore::open(state.storage().sql());
        let (id, key) = identity(state, &mut store, asked)?;
        let sockets: BTreeMap<LinkId, Socket> = socket::all(state)
            .into_iter()
            .filter_map(|websocket| Some((socket::link_of(state, &websocket)?, Socket::restore(websocket)?)))
            .collect();
        let links: Vec<(LinkId, Vec<u8>)> = sockets
            .iter()
            .filter(|(_, socket)| socket.linked)
            .map(|(link, socket)| (*link, socket.replica.clone()))
            .collect();
        let mut effects = Vec::new();
        let me = key.node();
        let replica = match id {
            RoomId::Lobby => None,
            RoomId::Ledger(ledger) => {
                let config = Config { pace, ..Config::new(ledger, key, random()?) };
                Some(Replica::restore(config, store, &links, now, &mut effects)?)
            }
        };
        let mut room = Room::new(me, random()?, replica.as_ref().map(Replica::ledger).as_ref());
        for (link, socket) in sockets.iter().filter(|(_, socket)| socket.text) {
            room.restore(*link, &socket.room);
        }
        let newest = sockets.keys().next_back().copied().unwrap_or(LinkId(0));
        console_log!("{id}: awake as {} with {} sockets, {} of them links", me.fmt_short(), sockets.len(), links.len());
        let mut live = Self { room, replica, sockets, newest, gone: Vec::new() };
        live.on_effects(effects, actions);
        Ok(live)
    }

    /// Connections of all kinds.
    pub(crate) fn connections(&self) -> usize {
        self.sockets.len()
    }

    /// A number for a new connection: the time, so that it needs no row, and above every number that is in use.
    pub(crate) fn new_link(&mut self, now: Timestamp) -> LinkId {
        self.newest = LinkId(self.newest.0.saturating_add(1).max(now.micros()));
        self.newest
    }

    /// When [`Event::Wake`] is due at the latest.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.replica.as_ref().and_then(Replica::next_wake)
    }

    /// One turn.
    pub(crate) fn handle(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) -> Result<(), Failure> {
        self.on_event(now, event, actions)?;
        let gone = std::mem::take(&mut self.gone);
        if gone.is_empty() {
            return Ok(());
        }
        self.turn(now, gone.into_iter().map(|link| Input::LinkClosed { link }).collect(), actions)
    }

    fn on_event(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) -> Result<(), Failure> {
        match event {
            Event::Opened { link, websocket } => self.on_opened(now, link, websocket, actions),
            Event::Frame { link, bytes } => self.on_frame(now, link, bytes, actions),
            Event::Text { link, text } => self.on_text(now, link, &text, actions),
            Event::Closed { link } => {
                self.room.on_closed(link);
                match self.sockets.remove(&link) {
                    Some(socket) if socket.linked => self.turn(now, vec![Input::LinkClosed { link }], actions),
                    _ => Ok(()),
                }
            }
            Event::Wake => self.turn(now, vec![Input::Wake], actions),
        }
    }

    fn on_opened(
        &mut self,
        now: Timestamp,
        link: LinkId,
        websocket: WebSocket,
        actions: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        let mut socket = Socket::new(websocket);
        // Where nobody but members has a part there are no text clients: whoever comes is at the door, and has no time to be silent.
        if self.replica.as_ref().is_some_and(|replica| replica.ledger().has_members()) {
            (socket.linked, socket.text) = (true, false);
            actions.push(Action::Keep(socket.clone()));
            self.sockets.insert(link, socket);
            return self.turn(now, vec![Input::relay_opened(link, Role::Accepted)], actions);
        }
        self.sockets.insert(link, socket);
        let mut effects = Vec::new();
        self.room.on_opened(link, &mut effects);
        self.on_room_effects(effects, actions);
        Ok(())
    }

    fn on_frame(
        &mut self,
        now: Timestamp,
        link: LinkId,
        bytes: Vec<u8>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        let Some(socket) = self.sockets.get_mut(&link) else { return Ok(()) };
        if self.replica.is_none() {
            self.close(link, CloseReason::Protocol("a binary frame came, the lobby takes text frames only"), actions);
            return Ok(());
        }
        let frame = Input::Frame { link, bytes };
        if socket.linked {
            return self.turn(now, vec![frame], actions);
        }
        (socket.linked, socket.text) = (true, false);
        actions.push(Action::Keep(socket.clone()));
        self.room.on_closed(link);
        self.turn(now, vec![Input::relay_opened(link, Role::Accepted), frame], actions)
    }

    fn on_text(&mut self, now: Timestamp, link: LinkId, text: &str, actions: &mut Vec<Action>) -> Result<(), Failure> {
        let Some(socket) = self.sockets.get_mut(&link) else { return Ok(()) };
        match text {
            // The platform answers `ping` without waking the room, unless it failed to note that it should.
            "ping" if socket.linked => return self.turn(now, vec![Input::Ping { link }], actions),
            "pong" if socket.linked => return self.turn(now, vec![Input::Pong { link }], actions),
            "ping" => {
                actions.push(Action::Text(socket.websocket.clone(), "pong".into()));
                return Ok(());
            }
            "pong" => return Ok(()),
            _ => {}
        }
        if !socket.text {
            socket.text = true;
            actions.push(Action::Keep(socket.clone()));
        }
        let mut effects = Vec::new();
        self.room.on_text(link, text, self.replica.as_ref(), &mut effects)?;
        self.on_room_effects(effects, actions);
        Ok(())
    }

    fn turn(&mut self, now: Timestamp, inputs: Vec<Input>, actions: &mut Vec<Action>) -> Result<(), Failure> {
        let Some(replica) = &mut self.replica else { return Ok(()) };
        let mut effects = Vec::new();
        for input in inputs {
            replica.handle(now, input, &mut effects)?;
        }
        replica.commit(now, &mut effects)?;
        self.on_effects(effects, actions);
        Ok(())
    }

    fn on_effects(&mut self, effects: Vec<Effect>, actions: &mut Vec<Action>) {
        for effect in effects {
            match effect {
                Effect::Send { link, bytes } => self.on_socket(link, actions, |ws| Action::Frame(ws, bytes)),
                Effect::Ping { link } => self.on_socket(link, actions, |ws| Action::Text(ws, "ping".into())),
                Effect::Pong { link } => self.on_socket(link, actions, |ws| Action::Text(ws, "pong".into())),
                Effect::Close { link, reason } => self.close(link, reason, actions),
                Effect::Remember { link, state } => {
                    if let Some(socket) = self.sockets.get_mut(&link) {
                        socket.replica = state;
                        actions.push(Action::Keep(socket.clone()));
                    }
                }
                Effect::Added(added) => {
                    let mut effects = Vec::new();
                    self.room.on_added(&added, &mut effects);
                    self.on_room_effects(effects, actions);
                }
                Effect::ForkDetected(evidence) => {
                    let (author, height) = evidence.lane();
                    console_log!(
                        "{} signed two blocks of height {height}: its lane is frozen there",
                        author.fmt_short()
                    );
                }
                Effect::Removed(removal) => {
                    let (lane, height) = removal.lane();
                    match removal.closes() {
                        Some(invite) => console_log!("invite {invite} was closed"),
                        None => console_log!("{} was removed: its lane is frozen at {height}", lane.fmt_short()),
                    }
                }
                Effect::Erased { entry, by, .. } => console_log!("{} erased the payload of {entry}", by.fmt_short()),
                Effect::Repaired { hash } => console_log!("block {hash} is in its place again"),
                Effect::PeerUp { link, node } => console_log!("link {}: {} is up", link.0, node.fmt_short()),
                Effect::PeerDown { link, node } => console_log!("link {}: {} is gone", link.0, node.fmt_short()),
                // A relay dials nobody. It appends and imports nothing, has no lane of its own and nobody to show progress to; its text
                // clients read the ledger's order when they ask for it.
                Effect::Appended { .. }
                | Effect::Imported { .. }
                | Effect::Granted { .. }
                | Effect::MembersChanged { .. }
                | Effect::OrderChanged { .. }
                | Effect::Held { .. }
                | Effect::Presence { .. }
                | Effect::Directed { .. }
                | Effect::Received { .. }
                | Effect::Succeeded { .. }
                | Effect::Dial { .. }
                | Effect::Progress { .. } => {}
            }
        }
    }

    fn on_room_effects(&mut self, effects: Vec<RoomEffect>, actions: &mut Vec<Action>) {
        for effect in effects {
            match effect {
                RoomEffect::Send { link, text } => self.on_socket(link, actions, |ws| Action::Text(ws, text)),
                // The room of a relay reaches its own clients.
                RoomEffect::Forward { .. } => {}
                RoomEffect::Close { link, reason } => {
                    self.gone.extend(self.sockets.get(&link).filter(|socket| socket.linked).map(|_| link));
                    self.close(link, reason, actions);
                }
                RoomEffect::Remember { link, state } => {
                    if let Some(socket) = self.sockets.get_mut(&link) {
                        socket.room = state;
                        actions.push(Action::Keep(socket.clone()));
                    }
                }
            }
        }
    }

    fn on_socket(&self, link: LinkId, actions: &mut Vec<Action>, action: impl FnOnce(WebSocket) -> Action) {
        if let Some(socket) = self.sockets.get(&link) {
            actions.push(action(socket.websocket.clone()));
        }
    }

    /// Closes a connection and forgets it at once: what it sends on its way out is nobody's.
    fn close(&mut self, link: LinkId, reason: CloseReason, actions: &mut Vec<Action>) {
        self.room.on_closed(link);
        if let Some(socket) = self.sockets.remove(&link) {
            // Of these a stranger can make thousands a second.
            console_debug!("link {}: closed, {reason}", link.0);
            actions.push(Action::Close(socket.websocket, reason));
        }
    }
}

/// Which room this is and the relay's key in it; a ledger's is made and stored when the room is new. The lobby stores nothing:
/// its key follows from the object's name, which is no secret, and nobody there believes a key.
fn identity(state: &State, store: &mut DurableObjectStore, asked: Option<RoomId>) -> Result<(RoomId, Key), Failure> {
    if store.exists()? {
        let damaged = || StoreError::Damaged("meta");
        let key: [u8; 32] = store.meta(KEY)?.and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
        let here = match store.meta(LEDGER)?.as_deref() {
            // A lobby of the first relays, which wrote this down.
            Some([]) => RoomId::Lobby,
            Some(bytes) => RoomId::Ledger(LedgerId::from_bytes(bytes.try_into().map_err(|_| damaged())?)),
            None => return Err(damaged().into()),
        };
        return match asked {
            Some(came) if came != here => Err(Failure::WrongRoom { here, came }),
            _ => Ok((here, Key::from_secret(&key))),
        };
    }
    match asked {
        Some(RoomId::Ledger(ledger)) => {
            let key = random()?;
            store.create()?;
            store.set_meta(KEY, &key)?;
            store.set_meta(LEDGER, ledger.as_bytes())?;
            Ok((RoomId::Ledger(ledger), Key::from_secret(&key)))
        }
        // A ledger's room that wakes up has its tables.
        Some(RoomId::Lobby) | None => {
            let name: LedgerId = state.id().to_string().parse().map_err(|_| Failure::NoRoom)?;
            Ok((RoomId::Lobby, Key::from_secret(name.as_bytes())))
        }
    }
}

fn random() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
