//! Socket.IO: namespace `/` shows the default ledger to clients and takes their entries, `/ledger/<id>` any ledger, and
//! `/p2p` brokers envelopes.
//!
//! socketioxide calls handlers inline and in order when they implement its traits themselves, as the ones here do.
//! Closures would run in a task of their own for each event, and events of one client could overtake each other.

use std::{
    fmt,
    future::Future,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    limits::{
        CLIENT_FRAME_BYTES, CLIENT_PACKETS, CLIENTS, HANDSHAKE, LEDGER_ANSWERS_ENTRIES, PING_EVERY, PING_TIMEOUT,
        TEXT_ID_BYTES,
    },
    view::Cursor,
};
use socketioxide::{
    ParserConfig, SocketIo,
    adapter::LocalAdapter,
    handler::{ConnectHandler, Value},
    layer::SocketIoLayer,
    socket::{DisconnectReason, Socket},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{
    admission::{Admission, Denied, Newcomer, Pass, Peer},
    host::Host,
    ledgers::Ledgers,
    metrics::Metrics,
};

mod blocks;
mod command;
mod error;
mod feed;
mod history;
mod inbox;
mod lobby;
mod outlet;
mod queries;
mod reads;
mod session;
mod statuses;

pub use error::ClientError;
use inbox::{Inbox, QueueBytes};
use lobby::Lobby;
pub(crate) use outlet::Lines;
use outlet::{Life, Outlet};
use session::Session;

/// Bytes that each client's connection has ready for what it sends. A larger frame gets its own as it comes.
const READ_BUFFER: usize = 1024;

/// The layer that answers `/socket.io/`, and the handle that closes all its clients.
/// `seed`: random bytes, fresh at every start.
pub(crate) fn layer(
    admission: &Arc<Admission>,
    ledgers: &Ledgers,
    metrics: &Arc<Metrics>,
    lines: &Arc<Lines>,
    seed: [u8; 32],
) -> (SocketIoLayer, SocketIo) {
    let (layer, io) = SocketIo::builder()
        .ping_interval(Duration::from_micros(PING_EVERY))
        .ping_timeout(Duration::from_micros(PING_TIMEOUT))
        .connect_timeout(Duration::from_micros(HANDSHAKE))
        .max_buffer_size(CLIENT_PACKETS)
        .max_payload(CLIENT_FRAME_BYTES as u64)
        .ws_max_message_size(CLIENT_FRAME_BYTES)
        .ws_max_frame_size(CLIENT_FRAME_BYTES)
        .ws_read_buffer_size(READ_BUFFER)
        // Binary attachments are refused, but a client that sends some stays.
        .with_parser(ParserConfig::common().max_incoming_binaries(16).max_incoming_binary_buf_size(CLIENT_FRAME_BYTES))
        .build_layer();
    let clients = Clients {
        admission: admission.clone(),
        ledgers: ledgers.clone(),
        host: ledgers.default_host(),
        metrics: metrics.clone(),
        lines: lines.clone(),
        places: Arc::new(Semaphore::new(CLIENTS)),
        queue_bytes: QueueBytes::default(),
        answers: Arc::new(Semaphore::new(LEDGER_ANSWERS_ENTRIES)),
    };
    io.ns("/", clients.clone());
    io.ns("/p2p", Lobby::new(clients.clone(), seed));
    let rooms = io.clone();
    ledgers.at_each(move |host| {
        rooms.ns(format!("/ledger/{}", host.ledger()), Clients { host: host.clone(), ..clients.clone() });
    });
    (layer, io)
}

/// Reads a client's event, `["name", argument …]`, as a session does, and forgets what it wants: for fuzzing.
///
/// # Errors
/// What the client would be told.
#[doc(hidden)]
pub fn check_event(text: &str) -> Result<(), ClientError> {
    let event = command::Event::parse(text)?;
    match event.command() {
        Err(ClientError::UnknownEvent(_)) => event.envelope().map(drop),
        wanted => wanted.map(drop),
    }
}

/// What a client needs of the node.
#[derive(Debug, Clone)]
struct Clients {
    admission: Arc<Admission>,
    ledgers: Ledgers,
    host: Host,
    metrics: Arc<Metrics>,
    lines: Arc<Lines>,
    places: Arc<Semaphore>,
    queue_bytes: QueueBytes,
    /// Entries of answers that are on their way.
    answers: Arc<Semaphore>,
}

/// Why a client may not connect; it reads code and sentence in its `connect_error`.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}; {{token}} in the auth of the connection is expected, and `cairn token` shows it where the node runs")]
    Denied(#[from] Denied),
    #[error("this node serves {CLIENTS} clients already, try another one")]
    Full,
    #[error("the auth of the connection is not JSON")]
    Auth,
    #[error("the auth of this namespace is {{node_id}}, 1 to {TEXT_ID_BYTES} bytes of text")]
    NoNodeId,
}

impl Refused {
    fn code(&self) -> &'static str {
        match self {
            Self::Denied(_) => Denied::CODE,
            Self::Full => "full",
            Self::Auth | Self::NoNodeId => "wrong_arguments",
        }
    }

    /// Code and sentence in one: socketioxide sends a message with a `connect_error` and nothing else.
    fn to_message(&self) -> Box<dyn fmt::Display + Send> {
        Box::new(format!("{}: {self}", self.code()))
    }
}

/// A place among the clients, and the count of it.
#[derive(Debug)]
struct Place {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.client_left();
    }
}

impl Clients {
    fn place(&self) -> Result<Place, Refused> {
        let permit = self.places.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        self.metrics.client_came();
        Ok(Place { metrics: self.metrics.clone(), _permit: permit })
    }

    /// Lets in a client that shows the token, where one is wanted. The others wait for their answer, and until they are let
    /// in nothing begins for them.
    async fn admit(&self, socket: &Socket, auth: Option<&Value>) -> Result<Pass, Refused> {
        #[derive(Deserialize)]
        struct Shown {
            token: String,
        }
        let shown = auth.and_then(Value::as_str).and_then(|text| serde_json::from_str::<Shown>(text.as_str()).ok());
        let extensions = &socket.req_parts().extensions;
        let from = extensions.get::<Peer>().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.remote);
        let admitted = self.admission.admit(from, shown.as_ref().map(|shown| shown.token.as_str())).await;
        let pass = admitted.inspect_err(|_| self.metrics.unauthorized())?;
        if let Some(newcomer) = extensions.get::<Newcomer>() {
            newcomer.admitted();
        }
        Ok(pass)
    }

    /// The place behind the newest block.
    fn position(&self) -> Cursor {
        Cursor { node: self.host.node(), seq: self.host.last_seq(), entries: u32::MAX }
    }

    /// Prepares the session before the client learns that it is connected: what it sends at once, and what is added from
    /// now on, belongs to it.
    fn prepare(&self, socket: &Arc<Socket>, auth: Option<&Value>, pass: Pass) -> Result<Ready, Refused> {
        let place = self.place()?;
        let auth = auth_json(auth)?;
        // An auth of another form wishes nothing.
        let wishes = serde_json::from_str(auth.get()).unwrap_or_default();
        let (life, alive) = watch::channel(Life::Open);
        let (inbox, arrivals) = Inbox::new(self.queue_bytes.clone(), life.clone(), self.metrics.clone());
        socket.on_fallback(inbox);
        on_disconnect(socket, life);
        let events = self.host.events();
        let (clients, position) = (self.clone(), self.position());
        Ok(Box::new(move |socket| {
            let outlet = Outlet::new(socket, alive, clients.lines.clone());
            let session = Session::new(clients, pass, outlet, arrivals, events, position, wishes);
            Box::pin(async move {
                session.run(auth).await;
                drop(place);
            })
        }))
    }
}

/// A session that begins when its client is connected. It gets the socket only then: until then it belongs to the
/// socket, and two that hold each other would never go.
type Ready = Box<dyn FnOnce(Arc<Socket>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;
/// The result of a middleware, as socketioxide has it.
type Admitted<'a> = Pin<Box<dyn Future<Output = Result<(), Box<dyn fmt::Display + Send>>> + Send + 'a>>;

impl ConnectHandler<LocalAdapter, ()> for Clients {
    fn call_middleware<'a>(&'a self, socket: Arc<Socket>, auth: &'a Option<Value>) -> Admitted<'a> {
        Box::pin(async move {
            let admitted = self.admit(&socket, auth.as_ref()).await;
            let prepared = admitted.and_then(|pass| self.prepare(&socket, auth.as_ref(), pass));
            prepared.map(|ready| keep(&socket, ready)).map_err(|refused| refused.to_message())
        })
    }

    fn call(&self, socket: Arc<Socket>, _: Option<Value>) {
        start(&socket);
    }
}

/// Hands a session over from the middleware to the connect handler, or to nobody when the client is gone by then.
#[derive(Clone)]
struct Kept(Arc<Mutex<Option<Ready>>>);

fn keep(socket: &Arc<Socket>, ready: Ready) {
    socket.extensions.insert(Kept(Arc::new(Mutex::new(Some(ready)))));
}

fn start(socket: &Arc<Socket>) {
    let kept = socket.extensions.remove::<Kept>();
    let ready = kept.and_then(|Kept(ready)| ready.lock().unwrap_or_else(PoisonError::into_inner).take());
    if let Some(ready) = ready {
        tokio::spawn(ready(socket.clone()));
    }
}

fn on_disconnect(socket: &Arc<Socket>, life: watch::Sender<Life>) {
    socket.on_disconnect(move |reason: DisconnectReason| async move {
        tracing::debug!("client gone: {reason}");
        life.send_replace(Life::Gone);
    });
}

/// The auth of a connection as JSON, `{}` if there is none.
fn auth_json(auth: Option<&Value>) -> Result<Box<RawValue>, Refused> {
    let text = auth.and_then(Value::as_str).map_or("{}", |text| text.as_str());
    serde_json::from_str(text).map_err(|_| Refused::Auth)
}
