//! Who may come in: the token that clients show, how often it may be guessed, and how many may stand at the door.
//!
//! A node that only this machine reaches lets its clients in as they are. One that others reach too wants the token of
//! every client, also of those on this machine: a proxy there makes strangers look like neighbours.

use std::{
    fmt,
    future::pending,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::http::{HeaderMap, header};
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    http::names::{HostName, Origin},
    token::{Token, TokenError},
};

mod limiter;
mod newcomers;

use limiter::{LINKS, Limiter, TOKENS};
pub(crate) use newcomers::Newcomer;
use newcomers::{Crowded, Newcomers};

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) remote: IpAddr,
    pub(crate) local: IpAddr,
}

impl Peer {
    pub(crate) fn new(remote: SocketAddr, local: SocketAddr) -> Self {
        // A socket that takes both kinds of addresses shows the old ones inside the new ones.
        Self { remote: remote.ip().to_canonical(), local: local.ip().to_canonical() }
    }
}

/// Why somebody is not let in. It says what came by its length at most.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// Nothing was shown.
    #[error("no token came")]
    Missing,
    /// Something else was shown.
    #[error("the token that came, of {0} bytes, is not this node's")]
    Wrong(usize),
}

impl Denied {
    /// The stable name of the error, for programs.
    pub(crate) const CODE: &'static str = "unauthorized";
}

/// Why a connection does not become a link.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwelcome {
    #[error(transparent)]
    Crowded(#[from] Crowded),
    #[error("too many links of this address, or of all, came to nothing: try again later")]
    Flood,
}

/// Lets in, or not.
pub struct Admission {
    /// Whether a token is wanted, and which.
    token: Option<watch::Sender<Token>>,
    path: PathBuf,
    renewing: Mutex<()>,
    /// Names that the node goes by, beside those that it has by itself. None: any.
    hosts: Option<Vec<HostName>>,
    /// Pages of elsewhere that may use it.
    origins: Vec<Origin>,
    /// Wrong tokens.
    limiter: Mutex<Limiter>,
    /// Connections that became no link.
    links: Mutex<Limiter>,
    newcomers: Arc<Newcomers>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("token", &self.token.is_some())
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// `token`: what every client has to show, if there is anything. `path`: where a new one goes.
    pub fn new(token: Option<Token>, path: PathBuf, hosts: Vec<HostName>, origins: Vec<Origin>) -> Self {
        let newcomers = Newcomers::new(token.is_some());
        Self {
            token: token.map(watch::Sender::new),
            path,
            renewing: Mutex::default(),
            hosts: Some(hosts),
            origins,
            limiter: Mutex::new(Limiter::new(TOKENS, Instant::now())),
            links: Mutex::new(Limiter::new(LINKS, Instant::now())),
            newcomers: Arc::new(newcomers),
        }
    }

    /// Lets in whoever comes, whatever host they name.
    pub(crate) fn everybody() -> Self {
        Self { hosts: None, ..Self::new(None, PathBuf::new(), Vec::new(), Vec::new()) }
    }

    /// Whether clients have to show the token.
    pub(crate) fn wants_token(&self) -> bool {
        self.token.is_some()
    }

    pub(crate) fn hosts(&self) -> Option<&[HostName]> {
        self.hosts.as_deref()
    }

    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Lets in whoever shows the token, at once. The others learn later that it is none, the later the more of them came
    /// from there and from everywhere. The right token never waits: addresses are shared, by those behind a proxy for
    /// one, and nobody may lock out the others.
    ///
    /// # Errors
    /// When it is not the token.
    pub(crate) async fn admit(&self, from: IpAddr, came: Option<&str>) -> Result<Pass, Denied> {
        let denied = match self.check(came) {
            Ok(pass) => return Ok(pass),
            Err(denied) => denied,
        };
        let wait = self.limiter.lock().unwrap_or_else(PoisonError::into_inner).failed(from, Instant::now());
        tracing::debug!("{from} is not let in after {} ms: {denied}", wait.as_millis());
        tokio::time::sleep(wait).await;
        Err(denied)
    }

    fn check(&self, came: Option<&str>) -> Result<Pass, Denied> {
        let Some(token) = &self.token else { return Ok(Pass(None)) };
        let came = came.ok_or(Denied::Missing)?;
        // A token that is renewed behind this look ends the pass.
        let mut renewed = token.subscribe();
        let right = renewed.borrow_and_update().is(came);
        if right { Ok(Pass(Some(renewed))) } else { Err(Denied::Wrong(came.len())) }
    }

    /// A place at the door, for a connection that begins.
    ///
    /// # Errors
    /// When too many stand there.
    pub(crate) fn newcomer(&self, from: IpAddr) -> Result<Newcomer, Crowded> {
        self.newcomers.enter(from)
    }

    /// A place at the door, for a connection that is to be a link. After many of one address whose peers did not come in, it may try only now
    /// and then: each costs a handshake and a signature to check.
    ///
    /// # Errors
    /// When too many stand there, or came in vain.
    pub(crate) fn link(&self, from: IpAddr) -> Result<Newcomer, Unwelcome> {
        if !self.links.lock().unwrap_or_else(PoisonError::into_inner).is_open(from, Instant::now()) {
            return Err(Unwelcome::Flood);
        }
        Ok(self.newcomer(from)?)
    }

    /// A connection that was to be a link has ended, and its peer had not come in.
    pub(crate) fn link_failed(&self, from: IpAddr) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).failed(from, Instant::now());
    }

    /// Makes another token. The one before lets nobody in any more, and whoever came in by it has to leave. Writes a file.
    ///
    /// # Errors
    /// When it cannot be written; then the old one goes on.
    pub fn renew(&self) -> Result<Token, TokenError> {
        // Two at once must not leave one token in the file and the other in here.
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let token = Token::make(&self.path)?;
        if let Some(current) = &self.token {
            current.send_replace(token.clone());
        }
        Ok(token)
    }
}

/// What somebody was let in by.
#[derive(Debug, Clone)]
pub(crate) struct Pass(Option<watch::Receiver<Token>>);

impl Pass {
    /// Whether it counts no more.
    pub(crate) fn is_revoked(&self) -> bool {
        self.0.as_ref().is_some_and(|renewed| renewed.has_changed().unwrap_or(false))
    }

    /// Waits until it counts no more.
    pub(crate) async fn revoked(&mut self) {
        // Without its admission nothing can revoke it.
        let revoked = match &mut self.0 {
            Some(renewed) => renewed.changed().await.is_ok(),
            None => false,
        };
        if !revoked {
            pending().await
        }
    }
}

/// The token of `Authorization: Bearer <token>` (RFC 6750 §2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
