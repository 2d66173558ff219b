//! The node's HTTP port: what people and machines read of it, Socket.IO, and the routes that other parts bring along.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{OriginalUri, State},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Serialize;
use serde_json::json;
use shared::{
    limits,
    view::{self, EntryView},
};
use socketioxide::{SocketIo, socket::Sid};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    admission::{Admission, Denied, Peer, bearer},
    host::{Host, ReadError, Stopped},
    ledgers::Ledgers,
    metrics::Metrics,
    socketio::{self, Lines},
};

mod frames;
pub(crate) mod line;
pub mod names;
mod origin;
mod page;

use line::{Connection, Line};
use page::Page;

/// TCP connections at once. A client that polls uses two, and some are left for people and machines.
const CONNECTIONS: usize = 2 * limits::CLIENTS + 1_000;
/// Bytes of the head of a request.
const HEAD_BYTES: usize = 16 * 1024;
/// Fields in the head of a request.
const HEAD_FIELDS: usize = 64;
/// How long the head of a request may take, and how long a connection without a request stays.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long what a polling client posts may take to be there.
const BODY_TIME: Duration = Duration::from_secs(20);
/// How long the node may take to say how it is.
const STATUS_TIME: Duration = Duration::from_secs(5);
/// How long open requests may take to end when the node stops.
const GRACE: Duration = Duration::from_secs(5);
/// The pause after an error of the operating system that concerns all connections, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Entries that `/status.json` shows.
const NEWEST_ENTRIES: usize = 20;
/// Bytes of blocks behind them.
const NEWEST_BYTES: usize = 256 * 1024;

/// As [`serve_admitting`], but whoever comes is let in, whatever host they name: for fuzzing.
///
/// # Errors
/// When the operating system gives no random bytes.
#[doc(hidden)]
pub async fn serve(
    listener: TcpListener,
    host: Host,
    control: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_admitting(Arc::new(Admission::everybody()), listener, Ledgers::only(host), control, shutdown).await
}

/// Serves whom `admission` lets in until `shutdown` resolves, then closes all clients and ends when open requests have
/// ended. `control`: further routes.
///
/// # Errors
/// When the operating system gives no random bytes.
pub async fn serve_admitting(
    admission: Arc<Admission>,
    listener: TcpListener,
    ledgers: Ledgers,
    control: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let lines = Arc::new(Lines::default());
    let (router, io) = router(admission, &ledgers, control, &lines, seed);
    let stop = watch::Sender::new(false);
    accept(listener, router, &stop, shutdown).await;
    stop.send_replace(true);
    let end = async {
        io.close().await;
        // Every connection holds a receiver.
        stop.closed().await;
    };
    if timeout(GRACE, end).await.is_err() {
        tracing::debug!("some connections did not end in {} s", GRACE.as_secs());
    }
    Ok(())
}

/// Takes connections until `shutdown` resolves.
async fn accept(listener: TcpListener, router: Router, stop: &watch::Sender<bool>, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => return,
        };
        let (Ok(place), Ok((stream, remote))) = (place, accepted) else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // An error means that it is gone already.
        let Ok(peer) = stream.local_addr().map(|local| Peer::new(remote, local)) else { continue };
        if let Ok(connection) = Connection::new(stream, place) {
            tokio::spawn(converse(connection, peer, router.clone(), stop.subscribe()));
        }
    }
}

/// Serves one connection. When the node stops, the request that is being answered is the last one.
async fn converse(connection: Connection, peer: Peer, router: Router, mut stop: watch::Receiver<bool>) {
    let (line, router) = (connection.line(), TowerToHyperService::new(router));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(line.clone());
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_headers(HEAD_FIELDS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopping(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection ended: {error}");
    }
}

async fn stopping(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can stop this any more, which is an end too.
    drop(stop.wait_for(|stop| *stop).await);
}

fn router(
    admission: Arc<Admission>,
    ledgers: &Ledgers,
    control: Router,
    lines: &Arc<Lines>,
    seed: [u8; 32],
) -> (Router, SocketIo) {
    let metrics = Arc::new(Metrics::default());
    let (layer, io) = socketio::layer(&admission, ledgers, &metrics, lines, seed);
    let page = Page::new();
    let node = Node { admission: admission.clone(), host: ledgers.default_host(), metrics, page: page.clone() };
    let router = Router::new()
        .route("/status.json", get(status))
        .route("/metrics", get(prometheus))
        .route_layer(middleware::from_fn_with_state(node.clone(), admit))
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .with_state(node)
        .merge(control)
        .fallback(move |method, uri, headers| elsewhere(page.clone(), method, uri, headers))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(layer)
        .layer(middleware::from_fn_with_state(lines.clone(), note_upgrade))
        .layer(middleware::from_fn_with_state(admission.clone(), note_newcomer))
        .layer(middleware::from_fn_with_state(admission.clone(), origin::check))
        .layer(middleware::from_fn_with_state(admission, origin::check_host))
        // Everything becomes a service now, once. Left to axum, the fallback would be layered again for every request, and
        // each would have Socket.IO sessions of its own.
        .with_state(());
    (router, io)
}

/// What the routes need of the node.
#[derive(Clone)]
struct Node {
    admission: Arc<Admission>,
    host: Host,
    metrics: Arc<Metrics>,
    page: Page,
}

/// What went wrong with a request, as status and JSON.
struct HttpError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl HttpError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message, "code": self.code }))).into_response()
    }
}

impl From<Stopped> for HttpError {
    fn from(stopped: Stopped) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", stopped.to_string())
    }
}

impl From<ReadError> for HttpError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Stopped(stopped) => stopped.into(),
            error => {
                tracing::error!("{error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store", "the store cannot be read, see the node's log")
            }
        }
    }
}

impl Node {
    /// Lets in a request that shows the token, where one is wanted.
    async fn admit(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Response> {
        match self.admission.admit(peer.remote, bearer(headers)).await {
            Ok(_) => Ok(()),
            Err(denied) => {
                self.metrics.unauthorized();
                let message = format!(
                    "{denied}; the header `Authorization: Bearer <token>` is expected, and `cairn token` shows it where \
                     the node runs"
                );
                let error = HttpError::new(StatusCode::UNAUTHORIZED, Denied::CODE, message);
                Err(([(header::WWW_AUTHENTICATE, "Bearer realm=\"cairn\"")], error).into_response())
            }
        }
    }

    async fn status(&self) -> Result<crate::host::Status, HttpError> {
        match timeout(STATUS_TIME, self.host.status()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                let message = format!("no answer from the ledger within {} s", STATUS_TIME.as_secs());
                Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message))
            }
        }
    }
}

async fn admit(
    State(node): State<Node>,
    Extension(peer): Extension<Peer>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    match node.admit(peer, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal,
    }
}

/// People get the page, and everything else the line that says what this is.
async fn index(State(node): State<Node>, headers: HeaderMap) -> Response {
    let accepts_html = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")));
    if accepts_html { node.page.index(&headers).await } else { "Cairn node".into_response() }
}

/// Whether the node is well; what else it says is for those who may know.
async fn healthz(
    State(node): State<Node>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let status = node.status().await.map_err(IntoResponse::into_response)?;
    if node.admission.wants_token() && bearer(&headers).is_none() {
        return Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({ "ok": true }))).into_response());
    }
    node.admit(peer, &headers).await?;
    let health = json!({
        "ok": true,
        "version": status.version,
        "node": status.node,
        "ledger": status.ledger,
        "name": status.name,
        "entries": status.totals.entries,
        "uptime_seconds": status.uptime_seconds,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(health)).into_response())
}

/// How the node is, and its newest entries.
async fn status(State(node): State<Node>) -> Result<Response, HttpError> {
    #[derive(Serialize)]
    struct Answer {
        status: crate::host::Status,
        newest: Vec<EntryView>,
    }
    let status = node.status().await?;
    let newest = node.host.view(|store, keys| view::newest(store, NEWEST_ENTRIES, NEWEST_BYTES, keys)).await?.map_err(
        |error| {
            tracing::error!("{error}");
            HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error.code(), "the store is damaged, see the node's log")
        },
    )?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(Answer { status, newest })).into_response())
}

async fn prometheus(State(node): State<Node>) -> Result<Response, HttpError> {
    let text = node.metrics.render(&node.status().await?);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// A file of the page, or nothing.
async fn elsewhere(page: Page, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if matches!(method, Method::GET | Method::HEAD)
        && let Some(name) = uri.path().strip_prefix('/')
        && let Some(file) = page.named(name, &headers).await
    {
        return file;
    }
    let path: String = uri.path().chars().take(80).collect();
    HttpError::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}")).into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> HttpError {
    let path: String = uri.path().chars().take(80).collect();
    let message = format!("{path} takes no {method}");
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// Has a Socket.IO session that begins stand at the door until it is in a namespace.
async fn note_newcomer(
    State(admission): State<Arc<Admission>>,
    mut request: axum::extract::Request,
    next: Next,
) -> Response {
    if is_socketio(request.uri())
        && query_value(request.uri(), "sid").is_none()
        && let Some(peer) = request.extensions().get::<Peer>()
    {
        match admission.newcomer(peer.remote) {
            Ok(newcomer) => drop(request.extensions_mut().insert(newcomer)),
            Err(crowded) => {
                let error = HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", crowded.to_string());
                return ([(header::RETRY_AFTER, "1")], error).into_response();
            }
        }
    }
    next.run(request).await
}

/// Remembers the connection to which a polling session upgrades, for the session to find.
async fn note_upgrade(State(lines): State<Arc<Lines>>, mut request: axum::extract::Request, next: Next) -> Response {
    if let (Some(sid), Some(line)) = (upgrading(request.uri()), request.extensions().get::<Line>()) {
        lines.put(sid, line.clone());
    }
    if is_socketio(request.uri()) {
        slim(&mut request);
    }
    let line = request.extensions().get::<Line>().cloned();
    let sends = request.method() == Method::POST;
    let mut running = pin!(next.run(request));
    let response = match timeout(BODY_TIME, running.as_mut()).await {
        Ok(response) => response,
        // Socket.IO waits for the end of what a client posts for as long as it takes.
        Err(_) if sends => {
            let message = format!("the request was not all there within {} s", BODY_TIME.as_secs());
            return HttpError::new(StatusCode::REQUEST_TIMEOUT, "slow_request", message).into_response();
        }
        Err(_) => running.await,
    };
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(line)) = (response.status(), line) {
        line.upgrades();
    }
    response
}

/// Leaves of a request what Socket.IO reads. A session keeps its request for as long as it lives, and every header would
/// keep the whole buffer that it was read into: 8 KiB for each client.
fn slim(request: &mut axum::extract::Request) {
    let mut headers = HeaderMap::new();
    for name in [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE] {
        let copy = request.headers().get(&name).and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        if let Some(value) = copy {
            headers.insert(name, value);
        }
    }
    *request.headers_mut() = headers;
    request.extensions_mut().remove::<OriginalUri>();
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
}

fn is_socketio(uri: &Uri) -> bool {
    uri.path().starts_with("/socket.io")
}

/// The Socket.IO session that asks for a WebSocket.
fn upgrading(uri: &Uri) -> Option<Sid> {
    query_value(uri, "transport").filter(|transport| is_socketio(uri) && *transport == "websocket")?;
    query_value(uri, "sid")?.parse().ok()
}

fn query_value<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}
