//! The control endpoint: how the commands of one data directory work through the node that serves it.
//!
//! Under `/control/` on the node's HTTP port, for whoever can read `control.json` in the data directory. What concerns a
//! ledger is below `/control/<ledger id>/`.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path,
    sync::Arc,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequestParts, Path, Query, Request, State},
    http::{StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use shared::{
    AppendError, IdError, Timestamp,
    effect::{ImportReport, Wish, WishError},
    limits, members,
    view::{self, Cursor},
};
use tokio::{
    sync::{broadcast, watch},
    task::spawn_blocking,
};
use zeroize::Zeroizing;

pub use crate::token::Token;
use crate::{
    admission::{Admission, bearer},
    blocks::split_batch,
    host::{Event, Host, InviteError, Offer, ReadError, Stopped},
    keys::write_private,
    ledgers::Ledgers,
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
    pub fn save(&self, path: &path::Path) -> io::Result<()> {
        write_private(path, &Zeroizing::new(serde_json::to_vec(self)?))
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not such a file.
    pub fn load(path: &path::Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() > FILE_BYTES => Err(io::ErrorKind::InvalidData.into()),
            Ok(_) => Ok(Some(serde_json::from_slice(&Zeroizing::new(fs::read(path)?))?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the file, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(path: &path::Path) -> io::Result<()> {
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

impl From<WishError> for Refused {
    fn from(error: WishError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error)
    }
}

impl From<InviteError> for Refused {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::Wish(error) => error.into(),
            error => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invite", error),
        }
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error)
    }
}

#[derive(Clone)]
struct Control {
    ledgers: Ledgers,
    shutdown: watch::Receiver<bool>,
}

/// The routes, all behind the token. Followers are let go when `shutdown` says true.
pub fn router(ledgers: Ledgers, token: Token, shutdown: watch::Receiver<bool>) -> Router {
    let limit = |bytes: usize| DefaultBodyLimit::max(bytes);
    Router::new()
        .route("/control/ledgers", get(list).post(serve))
        .route("/control/{ledger}/status", get(status))
        .route("/control/{ledger}/append", post(append).layer(limit(limits::CLIENT_MESSAGE_BYTES)))
        .route("/control/{ledger}/import", post(import).layer(limit(IMPORT_BYTES)))
        .route("/control/{ledger}/follow", get(follow))
        .route("/control/{ledger}/keys", get(keys))
        .route("/control/{ledger}/members", get(member_list))
        .route("/control/{ledger}/wish", post(wish))
        .route("/control/{ledger}/invite", get(invites).post(invite))
        .layer(middleware::from_fn_with_state(token, authorise))
        .with_state(Control { ledgers, shutdown })
}

/// The ledger that a path names.
struct Named {
    host: Host,
    shutdown: watch::Receiver<bool>,
}

impl FromRequestParts<Control> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Refused> {
        let unknown = |what: String| Refused::new(StatusCode::NOT_FOUND, "no_such_ledger", what);
        let Path(text) =
            Path::<String>::from_request_parts(parts, control).await.map_err(|error| unknown(error.body_text()))?;
        let ledger = text.parse().map_err(|error: IdError| unknown(error.to_string()))?;
        let host = control.ledgers.get(&ledger);
        let host = host.ok_or_else(|| unknown(format!("the running node does not serve ledger {ledger}")))?;
        Ok(Self { host, shutdown: control.shutdown.clone() })
    }
}

async fn list(State(control): State<Control>) -> Result<Response, Refused> {
    let hosts = control.ledgers.all();
    let mut infos = Vec::new();
    for (n, host) in hosts.iter().enumerate() {
        infos.push(host.info(n == 0).await?);
    }
    Ok(Json(infos).into_response())
}

/// `{ledger}`: serve this one too, which is in the data directory now.
async fn serve(State(control): State<Control>, Json(Served { ledger }): Json<Served>) -> Result<Response, Refused> {
    let ledger = ledger.parse().map_err(|error: IdError| Refused::new(StatusCode::BAD_REQUEST, "malformed", error))?;
    match control.ledgers.serve(ledger).await {
        Ok(Some(host)) => Ok(Json(host.info(false).await?).into_response()),
        Ok(None) => Err(Stopped.into()),
        Err(error) => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "ledger", error)),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Served {
    ledger: String,
}

async fn member_list(ledger: Named) -> Result<Response, Refused> {
    Ok(Json(ledger.host.members().await?).into_response())
}

/// What somebody wants of a ledger, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub enum WishFor {
    /// To remove a member; its own id: to leave.
    Remove {
        /// Whom.
        member: String,
    },
    /// To let nobody in any more by an invite.
    Close {
        /// Its block.
        invite: String,
    },
    /// Another name for this node.
    Nickname {
        /// Which.
        name: String,
    },
    /// Another name for the ledger.
    LedgerName {
        /// Which.
        name: String,
    },
    /// Another key to seal with.
    Rekey,
    /// To have everybody drop an entry's payload.
    Erase {
        /// Its id.
        entry: String,
    },
}

impl TryFrom<WishFor> for Wish {
    type Error = IdError;

    fn try_from(wish: WishFor) -> Result<Self, IdError> {
        Ok(match wish {
            WishFor::Remove { member } => Wish::Remove { member: member.parse()? },
            WishFor::Close { invite } => Wish::Close { invite: invite.parse()? },
            WishFor::Nickname { name } => Wish::Nickname { name },
            WishFor::LedgerName { name } => Wish::LedgerName { name },
            WishFor::Rekey => Wish::Rekey,
            WishFor::Erase { entry } => Wish::Erase { entry: entry.parse()? },
        })
    }
}

/// `{wish, …}` → `{block}`, when it is durable.
async fn wish(ledger: Named, Json(wish): Json<WishFor>) -> Result<Response, Refused> {
    let wish = Wish::try_from(wish).map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "malformed", error))?;
    let block = ledger.host.control(wish).await??;
    Ok(Json(json!({ "block": block.to_string() })).into_response())
}

/// An invite that is wanted, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteFor {
    /// `owner`, `admin`, `member` or `reader`.
    pub role: String,
    /// How many may come in.
    pub uses: u32,
    /// Until when, in µs since 1970; for ever without it.
    pub expires: Option<u64>,
    /// Where newcomers find the ledger.
    pub relays: Vec<String>,
}

impl InviteFor {
    /// What a host makes of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn offer(&self) -> Result<Offer, String> {
        let roles = [members::Role::Owner, members::Role::Admin, members::Role::Member, members::Role::Reader];
        let role = roles.into_iter().find(|role| role.name() == self.role);
        let role = role.ok_or_else(|| format!("a role of {:?}, expected owner, admin, member or reader", self.role))?;
        let expires = match self.expires {
            None => Timestamp::MAX,
            Some(micros) => Timestamp::from_micros(micros).ok_or_else(|| format!("{micros} µs is no time"))?,
        };
        Ok(Offer { role, uses: self.uses, expires })
    }
}

async fn invites(ledger: Named) -> Result<Response, Refused> {
    Ok(Json(ledger.host.invites().await?).into_response())
}

/// [`InviteFor`] → the token.
async fn invite(ledger: Named, Json(invite): Json<InviteFor>) -> Result<Response, Refused> {
    let malformed = |what: String| Refused::new(StatusCode::BAD_REQUEST, "malformed", what);
    let offer = invite.offer().map_err(malformed)?;
    let token = ledger.host.invite(offer, invite.relays).await??;
    Ok(Json(&*token.encode().map_err(InviteError::from)?).into_response())
}

/// The keys that open what is sealed, for whoever may read the node's directory anyway.
async fn keys(ledger: Named) -> Response {
    ledger.host.keys().encode().to_vec().into_response()
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

async fn status(ledger: Named) -> Result<Response, Refused> {
    Ok(Json(ledger.host.status().await?).into_response())
}

/// `[data, …]` → `[entry, …]`, when they are durable.
async fn append(ledger: Named, body: Bytes) -> Result<Response, Refused> {
    let wrong = |error| Refused::new(StatusCode::BAD_REQUEST, "malformed", format!("not a JSON array: {error}"));
    let data: Vec<&RawValue> = serde_json::from_slice(&body).map_err(wrong)?;
    let payloads = data.iter().map(|data| data.get().as_bytes().to_vec()).collect();
    let entries = ledger.host.append(payloads).await?.await??;
    Ok(Json(entries).into_response())
}

/// Blocks, each after its length → what became of them, when they are durable.
async fn import(ledger: Named, body: Bytes) -> Result<Response, Refused> {
    let wrong = |error| Refused::new(StatusCode::BAD_REQUEST, "malformed", error);
    let blocks = split_batch(&body).map_err(wrong)?;
    Ok(Json(Imported::from(ledger.host.import(blocks).await?)).into_response())
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
async fn follow(ledger: Named, Query(from): Query<FollowFrom>) -> Response {
    let events = ledger.host.events();
    let seq = from.after.min(ledger.host.last_seq());
    let follower = Follower { ledger, events, seq, target: u64::MAX };
    let lines = stream::unfold(follower, |mut follower| async {
        let line = follower.next().await?;
        Some((Ok::<_, io::Error>(line), follower))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

struct Follower {
    ledger: Named,
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
            if self.seq < self.target.min(self.ledger.host.last_seq()) {
                let entries = self.stored().await.ok()?;
                if !entries.is_empty() {
                    return self.line(&entries);
                }
            }
            self.target = self.seq;
            let event = tokio::select! {
                event = self.events.recv() => event,
                _ = self.ledger.shutdown.wait_for(|stop| *stop) => return None,
            };
            match event {
                Ok(Event::Added { seq, block }) if seq > self.seq => {
                    (self.seq, self.target) = (seq, seq);
                    return self.line(block.array());
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.target = u64::MAX,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    async fn stored(&mut self) -> Result<Vec<view::EntryView>, ReadError> {
        // All entries of the block with number `seq` were told.
        let cursor = Cursor { node: self.ledger.host.node(), seq: self.seq, entries: u32::MAX };
        let page = self
            .ledger
            .host
            .view(move |store, keys| view::arrived(store, cursor, FOLLOW_ENTRIES, limits::PAGE_BYTES, keys))
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
    use crate::data::DataDir;

    #[tokio::test]
    async fn a_follower_that_lags_misses_nothing_and_repeats_nothing() {
        const BLOCKS: u64 = 300;
        let directory = tempfile::tempdir().unwrap();
        let opened = DataDir::new(directory.path()).lock().unwrap().open(None).unwrap();
        let (host, mut thread) = Host::start(opened).unwrap();
        let append = |n: u64| {
            let host = host.clone();
            async move { host.append(vec![n.to_string().into_bytes()]).await.unwrap().await.unwrap().unwrap() }
        };
        append(0).await;
        let (stop, shutdown) = watch::channel(false);
        let ledger = Named { host: host.clone(), shutdown };
        let mut follower = Follower { events: host.events(), ledger, seq: 0, target: u64::MAX };
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
