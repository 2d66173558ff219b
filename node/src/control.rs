//! The control endpoint: how the commands of one data directory work through the node that serves it.
//!
//! Under `/control/` on the node's HTTP port, for whoever can read `control.json` in the data directory.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use shared::{
    AppendError, Keyring,
    effect::ImportReport,
    limits,
    view::{self, Cursor},
};
use tokio::{
    sync::{broadcast, watch},
    task::spawn_blocking,
};

pub use crate::token::Token;
use crate::{
    admission::{Admission, bearer},
    blocks::split_batch,
    host::{Event, Host, ReadError, Stopped},
    keys::write_private,
    token::TokenError,
};

pub mod client;

/// Bytes of one batch of blocks; a block and its length fit in many times.
pub const IMPORT_BYTES: usize = 2 * 1024 * 1024;
/// Entries of one page that a follower reads from the store.
const FOLLOW_ENTRIES: usize = 256;
/// Bytes of a control file.
const FILE_BYTES: u64 = 4096;

/// What a running node writes down for the commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ControlFile {
    /// Where the commands reach the node.
    pub address: SocketAddr,
    /// Where it listens.
    pub listens: SocketAddr,
    /// What to show it.
    pub token: Token,
}

impl ControlFile {
    /// A node that listens everywhere is reached on this machine.
    pub fn new(listens: SocketAddr, token: Token) -> Self {
        let ip = match listens.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self { address: SocketAddr::new(ip, listens.port()), listens, token }
    }

    /// Writes the file, which only its owner may read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        write_private(path, &serde_json::to_vec(self)?)
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not such a file.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() > FILE_BYTES => Err(io::ErrorKind::InvalidData.into()),
            Ok(_) => Ok(Some(serde_json::from_slice(&fs::read(path)?)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the file, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What became of imported blocks, as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Imported {
    /// Now in the ledger.
    pub added: u64,
    /// Were there already.
    pub known: u64,
    /// Wait for a parent that has not come, or for their time.
    pub parked: u64,
    /// Broke a rule.
    pub refused: u64,
}

impl From<ImportReport> for Imported {
    fn from(report: ImportReport) -> Self {
        Self { added: report.added, known: report.known, parked: report.parked, refused: report.refused }
    }
}

impl std::ops::AddAssign for Imported {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.known += other.known;
        self.parked += other.parked;
        self.refused += other.refused;
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: String,
    /// For people.
    pub message: String,
}

struct Refused(StatusCode, Refusal);

impl Refused {
    fn new(status: StatusCode, code: &str, message: impl fmt::Display) -> Self {
        Self(status, Refusal { code: code.to_owned(), message: message.to_string() })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<Stopped> for Refused {
    fn from(stopped: Stopped) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", stopped)
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "token", error)
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error)
    }
}

#[derive(Clone)]
struct Control {
    host: Host,
    shutdown: watch::Receiver<bool>,
}

/// The routes, all behind the token. Followers are let go when `shutdown` says true.
pub fn router(host: Host, token: Token, shutdown: watch::Receiver<bool>) -> Router {
    let limit = |bytes: usize| DefaultBodyLimit::max(bytes);
    Router::new()
        .route("/control/status", get(status))
        .route("/control/append", post(append).layer(limit(limits::CLIENT_MESSAGE_BYTES)))
        .route("/control/import", post(import).layer(limit(IMPORT_BYTES)))
        .route("/control/follow", get(follow))
        .layer(middleware::from_fn_with_state(token, authorise))
        .with_state(Control { host, shutdown })
}

/// The route by which `cairn token --renew` has a node that serves make another token for its clients.
pub fn renewal(admission: Arc<Admission>, token: Token) -> Router {
    Router::new()
        .route("/control/renew-token", post(renew_token))
        .layer(middleware::from_fn_with_state(token, authorise))
        .with_state(admission)
}

async fn renew_token(State(admission): State<Arc<Admission>>) -> Result<Response, Refused> {
    let renewed = spawn_blocking(move || admission.renew()).await.map_err(|_| Stopped)?;
    Ok(Json(renewed?).into_response())
}

async fn authorise(State(token): State<Token>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        Some(came) if token.is(came) => next.run(request).await,
        _ => {
            let message = "the token of control.json in the node's data directory is expected";
            Refused::new(StatusCode::UNAUTHORIZED, "unauthorised", message).into_response()
        }
    }
}

async fn status(State(control): State<Control>) -> Result<Response, Refused> {
    Ok(Json(control.host.status().await?).into_response())
}

/// `[data, …]` → `[entry, …]`, when they are durable.
async fn append(State(control): State<Control>, body: Bytes) -> Result<Response, Refused> {
    let wrong = |error| Refused::new(StatusCode::BAD_REQUEST, "malformed", format!("not a JSON array: {error}"));
    let data: Vec<&RawValue> = serde_json::from_slice(&body).map_err(wrong)?;
    let payloads = data.iter().map(|data| data.get().as_bytes().to_vec()).collect();
    let entries = control.host.append(payloads).await?.await??;
    Ok(Json(entries).into_response())
}

/// Blocks, each after its length → what became of them, when they are durable.
async fn import(State(control): State<Control>, body: Bytes) -> Result<Response, Refused> {
    let wrong = |error| Refused::new(StatusCode::BAD_REQUEST, "malformed", error);
    let blocks = split_batch(&body).map_err(wrong)?;
    Ok(Json(Imported::from(control.host.import(blocks).await?)).into_response())
}

#[derive(Deserialize)]
struct FollowFrom {
    after: u64,
}

/// Whole blocks, up to and including the one with this arrival number: one line of an answer to `follow`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Followed<E> {
    /// Arrival number of the last block.
    pub seq: u64,
    /// The entries.
    pub entries: E,
}

/// [`Followed`] by lines: what lies behind an arrival number, and what comes, until either side ends it.
async fn follow(State(control): State<Control>, Query(from): Query<FollowFrom>) -> Response {
    let events = control.host.events();
    let seq = from.after.min(control.host.last_seq());
    let follower = Follower { control, events, seq, target: u64::MAX };
    let lines = stream::unfold(follower, |mut follower| async {
        let line = follower.next().await?;
        Some((Ok::<_, io::Error>(line), follower))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

struct Follower {
    control: Control,
    events: broadcast::Receiver<Event>,
    /// What was told already.
    seq: u64,
    /// Up to where the store is read before events are waited for. Events below it are in the store.
    target: u64,
}

impl Follower {
    /// One more line; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.seq < self.target.min(self.control.host.last_seq()) {
                let entries = self.stored().await.ok()?;
                if !entries.is_empty() {
                    return self.line(&entries);
                }
            }
            self.target = self.seq;
            let event = tokio::select! {
                event = self.events.recv() => event,
                _ = self.control.shutdown.wait_for(|stop| *stop) => return None,
            };
            match event {
                Ok(Event::Added { seq, entries }) if seq > self.seq => {
                    (self.seq, self.target) = (seq, seq);
                    return self.line(&*entries);
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.target = u64::MAX,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    async fn stored(&mut self) -> Result<Vec<view::EntryView>, ReadError> {
        // All entries of the block with number `seq` were told.
        let cursor = Cursor { node: self.control.host.node(), seq: self.seq, entries: u32::MAX };
        let page = self
            .control
            .host
            .view(move |store| view::arrived(store, cursor, FOLLOW_ENTRIES, limits::PAGE_BYTES, &Keyring::default()))
            .await?;
        let Ok((entries, reached)) = page else { return Err(Stopped.into()) };
        self.seq = reached.seq;
        Ok(entries)
    }

    fn line<E: Serialize + ?Sized>(&self, entries: &E) -> Option<Bytes> {
        let line = serde_json::to_string(&Followed { seq: self.seq, entries }).ok()?;
        // A payload may have line breaks between its tokens.
        Some(format!("{}\n", line.replace(['\n', '\r'], " ")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data::DataDir, host::HostConfig};

    #[tokio::test]
    async fn a_follower_that_lags_misses_nothing_and_repeats_nothing() {
        const BLOCKS: u64 = 300;
        let directory = tempfile::tempdir().unwrap();
        let opened = DataDir::new(directory.path()).lock().unwrap().open(None).unwrap();
        let config = HostConfig { ledger: opened.ledger, name: opened.name, key: opened.key };
        let (host, mut thread) = Host::start(opened.store, config).unwrap();
        let append = |n: u64| {
            let host = host.clone();
            async move { host.append(vec![n.to_string().into_bytes()]).await.unwrap().await.unwrap().unwrap() }
        };
        append(0).await;
        let (stop, shutdown) = watch::channel(false);
        let control = Control { host: host.clone(), shutdown };
        let mut follower = Follower { events: host.events(), control, seq: 0, target: u64::MAX };
        let mut seen = Vec::new();
        // Each append is a turn and a block of its own, so the ring of events overflows while nobody reads it.
        for round in 0..3 {
            for n in 1 + round * BLOCKS..=(round + 1) * BLOCKS {
                append(n).await;
            }
            while follower.seq < host.last_seq() {
                let line = follower.next().await.unwrap();
                let followed: Followed<Vec<view::EntryView>> = serde_json::from_slice(&line).unwrap();
                seen.extend(followed.entries.iter().map(|entry| entry.data.get().parse::<u64>().unwrap()));
            }
        }
        assert!(seen.iter().copied().eq(0..=3 * BLOCKS), "{seen:?}");
        stop.send_replace(true);
        assert_eq!(follower.next().await, None);
        host.stop();
        thread.ended().await.unwrap();
    }

    #[test]
    fn a_node_that_listens_everywhere_is_reached_here() {
        for (listens, reached) in [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("10.0.0.1:7", "10.0.0.1:7")] {
            let file = ControlFile::new(listens.parse().unwrap(), Token::generate().unwrap());
            assert_eq!(file.address, reached.parse().unwrap());
        }
    }
}
