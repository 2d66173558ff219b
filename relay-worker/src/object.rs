//! The Durable Object: callbacks of the platform become events of the room, its actions become calls.

use std::cell::{Cell, RefCell, RefMut};

use shared::{LinkId, Timestamp, limits};
use worker::{
    Date, DurableObject, Env, Error, Request, Response, Result, Socket, State, WebSocket, WebSocketIncomingMessage,
    WebSocketPair, WebSocketRequestResponsePair, console_debug, console_error, durable_object,
    wasm_bindgen::{self, JsCast, JsValue, prelude::wasm_bindgen},
};

use crate::{
    RoomId, Route,
    admission::{self, Admission, Refusal},
    answer,
    live::{Action, Event, Failure, Live},
    socket,
    store::DurableObjectStore,
};

/// The close code of RFC 6455 for a server that cannot go on, and that of an ordinary end.
const INTERNAL_ERROR: u16 = 1011;
const NORMAL: u16 = 1000;

/// Connections of one room: the members', and those at its door.
const CONNECTIONS: usize = limits::LINKS.saturating_add(limits::DOOR_LINKS);
/// The variable that says whether writers are held to a pace, and its value where they are not.
const PACE: &str = "PACE";
const OFF: &str = "off";

/// One room.
#[durable_object]
pub struct RoomObject {
    state: State,
    env: Env,
    /// `None` before the first event and after a failure: the next event takes up what rows and sockets hold.
    live: RefCell<Option<Live>>,
    /// The alarm that is set, as far as this object knows since it woke up.
    alarm: Cell<Option<Timestamp>>,
}

impl DurableObject for RoomObject {
    fn new(state: State, env: Env) -> Self {
        // The platform answers keepalives itself, without waking the object.
        let set = WebSocketRequestResponsePair::new("ping", "pong")
            .and_then(|pair| state.as_raw().set_websocket_auto_response(&pair));
        if let Err(error) = set {
            console_error!("no automatic answer to `ping`: {error:?}");
        }
        Self { state, env, live: RefCell::new(None), alarm: Cell::new(None) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let Route::Room(room) = Route::of(&request.path()) else {
            return answer::error(404, "not_found", "this object has rooms only");
        };
        match admission::check(&request, &self.env, room) {
            Err(refusal) => return refusal.response(),
            // Nothing is written for somebody who only asks.
            Ok(Admission { creates: false, .. }) => match self.has(room) {
                Ok(true) => {}
                Ok(false) => return Refusal::not_made(&self.env).response(),
                Err(failure) => return answer::error(500, "store", &failure.told()),
            },
            Ok(Admission { creates: true, .. }) => {}
        }
        let pair = WebSocketPair::new()?;
        let mut refused = None;
        let done = self.turn(Some(room), |live, now, actions| {
            if live.connections() >= CONNECTIONS {
                refused = Some("full");
                return Ok(());
            }
            let link = live.new_link(now);
            if let Err(error) = socket::accept(&self.state, &pair.server, link) {
                console_error!("a socket was not accepted: {error:?}");
                refused = Some("not_accepted");
                return Ok(());
            }
            live.handle(now, Event::Opened { link, websocket: pair.server.clone() }, actions)
        });
        if let Err(failure) = done {
            return answer::error(500, "store", &failure.told());
        }
        self.set_alarm().await;
        match refused {
            Some(code) => answer::error(503, code, &format!("no place here, {CONNECTIONS} connections are the limit")),
            None => Response::from_websocket(pair.client),
        }
    }

    async fn websocket_message(&self, websocket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        self.on_socket(&websocket, |link| match message {
            WebSocketIncomingMessage::Binary(bytes) => Event::Frame { link, bytes },
            WebSocketIncomingMessage::String(text) => Event::Text { link, text },
        })
        .await
    }

    async fn websocket_close(&self, websocket: WebSocket, code: usize, _reason: String, _clean: bool) -> Result<()> {
        self.on_socket(&websocket, |link| Event::Closed { link }).await?;
        // The handshake of closing wants an answer; 1004 to 1006 and 1015 may not be sent. An error means it is over.
        let code = u16::try_from(code).ok().filter(|code| !matches!(code, 1004..=1006 | 1015)).unwrap_or(NORMAL);
        websocket.close(Some(code), Some("")).or(Ok(()))
    }

    async fn websocket_error(&self, websocket: WebSocket, _error: Error) -> Result<()> {
        self.on_socket(&websocket, |link| Event::Closed { link }).await
    }

    async fn connect(&self, socket: Socket) -> Result<()> {
        // Nothing of the relay dials an object by TCP; dropping the socket ends it.
        drop(socket);
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm.set(None);
        self.on_event(Event::Wake).await;
        Response::empty()
    }
}

impl RoomObject {
    /// Whether this room is here already.
    fn has(&self, room: RoomId) -> std::result::Result<bool, Failure> {
        if self.live.try_borrow().is_ok_and(|live| live.is_some()) || room == RoomId::Lobby {
            return Ok(true);
        }
        Ok(DurableObjectStore::open(self.state.storage().sql()).exists()?)
    }

    async fn on_socket(&self, websocket: &WebSocket, event: impl FnOnce(LinkId) -> Event) -> Result<()> {
        match socket::link_of(&self.state, websocket) {
            Some(link) => self.on_event(event(link)).await,
            None => console_error!("an event of a socket without a number"),
        }
        Ok(())
    }

    async fn on_event(&self, event: Event) {
        // A room that sleeps need not hear who left: when it wakes up, it takes up who is there.
        if matches!(event, Event::Closed { .. }) && self.live.try_borrow().is_ok_and(|live| live.is_none()) {
            return;
        }
        let mut event = Some(event);
        let done = self.turn(None, |live, now, actions| match event.take() {
            Some(event) => live.handle(now, event, actions),
            None => Ok(()),
        });
        // A failure was logged, and all sockets are closed: there is nobody left to tell.
        if done.is_ok() {
            self.set_alarm().await;
        }
    }

    /// Runs one turn of the room in one transaction and acts on it. After a failure nothing of the turn is kept or sent.
    fn turn(
        &self,
        asked: Option<RoomId>,
        mut handle: impl FnMut(&mut Live, Timestamp, &mut Vec<Action>) -> std::result::Result<(), Failure>,
    ) -> std::result::Result<(), Failure> {
        let now = now();
        let mut actions = Vec::new();
        let mut result = Ok(());
        let transaction =
            self.state.storage().as_raw().unchecked_ref::<TransactionalStorage>().transaction_sync(&mut || {
                result = self.awake(asked, now, &mut actions).and_then(|mut live| match live.as_mut() {
                    Some(room) => handle(room, now, &mut actions),
                    None => Err(Failure::NoRoom),
                });
                match &result {
                    Ok(()) => Ok(()),
                    Err(failure) => Err(JsValue::from(failure.to_string())),
                }
            });
        if let (Err(error), Ok(())) = (transaction, &result) {
            result = Err(Failure::Transaction(format!("{error:?}")));
        }
        match &result {
            Ok(()) => actions.into_iter().for_each(perform),
            Err(failure) => self.give_up(failure),
        }
        result
    }

    /// The room, taken up from its rows and sockets if the object slept.
    fn awake(
        &self,
        asked: Option<RoomId>,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> std::result::Result<RefMut<'_, Option<Live>>, Failure> {
        let mut live = self.live.try_borrow_mut().map_err(|_| Failure::Busy)?;
        if live.is_none() {
            let pace = self.env.var(PACE).map_or(true, |pace| pace.to_string() != OFF);
            *live = Some(Live::restore(&self.state, asked, pace, now, actions)?);
        }
        Ok(live)
    }

    /// Drops the room and every socket; whoever dials again finds what the rows hold.
    fn give_up(&self, failure: &Failure) {
        console_error!("the room stops: {failure}");
        if let Ok(mut live) = self.live.try_borrow_mut() {
            *live = None;
        }
        for websocket in socket::all(&self.state) {
            if let Err(error) = websocket.close(Some(INTERNAL_ERROR), Some("the relay's storage failed, dial again")) {
                console_debug!("a socket was closed already: {error}");
            }
        }
    }

    /// Moves the alarm to an earlier deadline. A later one needs no write: an early wake does nothing but this again.
    async fn set_alarm(&self) {
        let due = self.live.try_borrow().ok().and_then(|live| live.as_ref().and_then(Live::next_wake));
        let Some(due) = due.filter(|due| self.alarm.get().is_none_or(|set| *due < set)) else { return };
        self.alarm.set(Some(due));
        let wait = i64::try_from(due.since(now()).div_ceil(1000)).unwrap_or(i64::MAX);
        if let Err(error) = self.state.storage().set_alarm(wait).await {
            console_error!("no alarm: {error}");
            self.alarm.set(None);
        }
    }
}

fn perform(action: Action) {
    let done = match &action {
        Action::Frame(websocket, bytes) => websocket.send_with_bytes(bytes),
        Action::Text(websocket, text) => websocket.send_with_str(text),
        Action::Close(websocket, reason) => websocket.close(Some(reason.code()), Some(reason.to_string())),
        Action::Keep(socket) => socket.keep().map_err(Error::from),
    };
    // The other side may be gone already; the platform will say so in an event of its own.
    if let Err(error) = done {
        console_debug!("a socket did not take an action: {error}");
    }
}

/// The platform's clock, which stands still during an event.
fn now() -> Timestamp {
    Timestamp::from_micros(Date::now().as_millis().saturating_mul(1000)).unwrap_or(Timestamp::MAX)
}

#[wasm_bindgen]
extern "C" {
    /// The part of a Durable Object's storage that the `worker` crate does not bind.
    type TransactionalStorage;

    /// Runs the closure in a transaction, which is undone when it returns an error.
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &TransactionalStorage,
        turn: &mut dyn FnMut() -> std::result::Result<(), JsValue>,
    ) -> std::result::Result<(), JsValue>;
}
