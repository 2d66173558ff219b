//! Who may open a WebSocket here, and who may make a ledger that this relay then keeps: all that is decided without the
//! room's state, before its object wakes.

use subtle::ConstantTimeEq;
use thiserror::Error;
use worker::{Env, Request, Response, Result};

use crate::{RoomId, answer};

/// The secret of whoever deployed this relay: `npx wrangler secret put CREATION_SECRET`.
const SECRET: &str = "CREATION_SECRET";
/// The variable that says who may make ledgers, and its value for everybody.
const CREATION: &str = "CREATION";
const FREE: &str = "free";
/// Bytes of the header `Authorization`; a secret made here has 43.
const AUTHORIZATION_BYTES: usize = 512;
/// Bytes of all headers together, names and values.
const HEADERS_BYTES: usize = 16 * 1024;

/// Who asks, and may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Whether this relay's secret was shown.
    pub(crate) is_owner: bool,
    /// Whether the room is made if it is new.
    pub(crate) creates: bool,
}

/// Who asks, and may not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("headers of {came} bytes, limit is {HEADERS_BYTES}")]
    Headers { came: usize },
    #[error("a header Authorization of {came} bytes, limit is {AUTHORIZATION_BYTES}")]
    Oversized { came: usize },
    #[error("a header Authorization that is not `Bearer` and this relay's secret")]
    Authorization,
    #[error("a WebSocket of version {came:?}, this relay speaks 13")]
    Version { came: String },
    #[error(
        "the secret is not this relay's: `relay_secret` in cairn.toml or CAIRN_RELAY_SECRET, as whoever deployed it says"
    )]
    WrongSecret,
    #[error(
        "this relay keeps no such ledger, and makes one only for who shows its secret: put it into cairn.toml as \
         `relay_secret`, or into CAIRN_RELAY_SECRET"
    )]
    NoSuchLedger,
    #[error("the lobby of this relay is for who shows its secret")]
    LobbyClosed,
    #[error("too many came from this address to this relay at once: try again later")]
    Flood,
    #[error(
        "this relay makes no ledgers yet: whoever deployed it sets a secret with `npm run deploy` (or `npx wrangler secret \
         put CREATION_SECRET`), or lets everybody make them with the variable CREATION = \"free\""
    )]
    CreationClosed,
}

impl Refusal {
    fn status_and_code(&self) -> (u16, &'static str) {
        match self {
            Self::Headers { .. } | Self::Oversized { .. } => (431, "headers_too_large"),
            Self::Authorization => (400, "wrong_authorization"),
            Self::Version { .. } => (426, "wrong_websocket_version"),
            Self::WrongSecret => (403, "wrong_secret"),
            Self::NoSuchLedger => (403, "no_such_ledger"),
            Self::LobbyClosed => (403, "lobby_closed"),
            Self::Flood => (429, "too_many"),
            Self::CreationClosed => (403, "creation_closed"),
        }
    }

    pub(crate) fn response(&self) -> Result<Response> {
        let (status, code) = self.status_and_code();
        let response = answer::error(status, code, &self.to_string())?;
        if let Self::Version { .. } = self {
            response.headers().set("Sec-WebSocket-Version", "13")?;
        }
        Ok(response)
    }

    /// Why a ledger that is not here is not made.
    pub(crate) fn not_made(env: &Env) -> Self {
        if secret(env).is_some() { Self::NoSuchLedger } else { Self::CreationClosed }
    }
}

/// Decides about an upgrade. The lobby keeps nothing, but its work is the deployer's as well: it is open to whoever may make a ledger.
pub(crate) fn check(request: &Request, env: &Env, room: RoomId) -> std::result::Result<Admission, Refusal> {
    let header = |name: &str| request.headers().get(name).ok().flatten();
    let bytes = request.headers().entries().map(|(name, value)| name.len().saturating_add(value.len()));
    let came = bytes.fold(0, usize::saturating_add);
    if came > HEADERS_BYTES {
        return Err(Refusal::Headers { came });
    }
    // The platform may speak a version of HTTP to the client that has no such header; what is there is right.
    if let Some(came) = header("Sec-WebSocket-Version").filter(|came| came != "13") {
        return Err(Refusal::Version { came: came.chars().take(20).collect() });
    }
    let shown = header("Authorization").map(|value| bearer(&value).map(str::to_owned)).transpose()?;
    let is_owner = match (secret(env), shown) {
        (Some(secret), Some(shown)) if !is_same(&secret, &shown) => return Err(Refusal::WrongSecret),
        (Some(_), Some(_)) => true,
        // A secret that this relay does not have says nothing.
        _ => false,
    };
    let creates = is_owner || is_free(env);
    match room {
        RoomId::Lobby if !creates && secret(env).is_some() => Err(Refusal::LobbyClosed),
        RoomId::Lobby if !creates => Err(Refusal::CreationClosed),
        RoomId::Lobby | RoomId::Ledger(_) => Ok(Admission { is_owner, creates }),
    }
}

fn secret(env: &Env) -> Option<String> {
    env.secret(SECRET).ok().map(|secret| secret.to_string()).filter(|secret| !secret.is_empty())
}

fn is_free(env: &Env) -> bool {
    env.var(CREATION).is_ok_and(|creation| creation.to_string() == FREE)
}

/// The time this takes tells the length at most, and that is no secret.
fn is_same(secret: &str, shown: &str) -> bool {
    secret.as_bytes().ct_eq(shown.as_bytes()).into()
}

/// The token of `Bearer <token>` (RFC 6750 §2.1).
fn bearer(value: &str) -> std::result::Result<&str, Refusal> {
    if value.len() > AUTHORIZATION_BYTES {
        return Err(Refusal::Oversized { came: value.len() });
    }
    let (scheme, token) = value.split_once(' ').ok_or(Refusal::Authorization)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let right = scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && token.bytes().all(is_token);
    if right { Ok(token) } else { Err(Refusal::Authorization) }
}
