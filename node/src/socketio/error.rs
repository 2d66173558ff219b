//! What a Socket.IO client can do wrong, and what can fail behind it: one typed list with a stable code for each.

use serde::Serialize;
use shared::{AppendError, IdError, TokenError, effect::WishError, view::ViewError};
use thiserror::Error;

use crate::{
    admission::Denied,
    data::DataError,
    host::{InviteError, ReadError, Stopped},
    keys::{KeyError, PassphraseError, backup::BackupError},
    ledgers::MakeError,
    search::SearchError,
    store::StoreError,
};

/// Why a client's event was not done. Nothing of it was stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no such event.
    #[error("there is no event {0:?}")]
    UnknownEvent(String),
    /// The arguments are not those of the event.
    #[error("{event} takes {expected}, {came} came")]
    WrongArguments {
        /// The event.
        event: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What came.
        came: String,
    },
    /// An id or a cursor is none.
    #[error(transparent)]
    WrongId(#[from] IdError),
    /// Binary attachments, where JSON is expected.
    #[error("{0} binary attachments, JSON is expected")]
    Binary(usize),
    /// The message is too large.
    #[error("message of {len} bytes, limit is {limit}")]
    TooLarge {
        /// Bytes that came.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Too many commands wait already.
    #[error("too many commands wait already ({limit} or {bytes} bytes), try again")]
    Busy {
        /// Commands that may wait.
        limit: usize,
        /// Bytes that may wait.
        bytes: usize,
    },
    /// The append was refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The group does not allow it.
    #[error(transparent)]
    Wish(#[from] WishError),
    /// There is no invite.
    #[error("{0}")]
    Invite(InviteError),
    /// It is no invite.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The node was put out of the ledger that it is to come into.
    #[error("{0}")]
    Removed(String),
    /// There is no place for another ledger.
    #[error("{0}")]
    TooManyLedgers(String),
    /// Nothing is sealed with that.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The keys are sealed with another one.
    #[error("the keys of this node have a passphrase, and this is another one")]
    OtherPassphrase,
    /// There is no such entry.
    #[error("{0}")]
    UnknownEntry(String),
    /// The cursor leads nowhere in this store.
    #[error("cursor {0:?} is no place in this node's order of arrival")]
    UnknownCursor(String),
    /// The store holds something that it should not. The details are in the node's log.
    #[error("the store is damaged, see the node's log")]
    Damaged,
    /// The store cannot be read. The details are in the node's log.
    #[error("the store cannot be read, see the node's log")]
    Store,
    /// The token by which the client came in counts no more.
    #[error("this node has another token now: `cairn token` shows it where the node runs")]
    Revoked,
    /// The node is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ClientError {
    /// The stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownEvent(_) => "unknown_event",
            Self::WrongArguments { .. } | Self::WrongId(_) => "wrong_arguments",
            Self::Binary(_) => "binary_not_supported",
            Self::TooLarge { .. } => "message_too_large",
            Self::Busy { .. } => "busy",
            Self::Append(error) => error.code(),
            Self::Wish(error) => error.code(),
            Self::Invite(_) => "no_invite",
            Self::Token(_) => "wrong_token",
            Self::Removed(_) => "removed",
            Self::TooManyLedgers(_) => "too_many_ledgers",
            Self::Passphrase(_) | Self::OtherPassphrase => "wrong_passphrase",
            Self::UnknownEntry(_) => "unknown_entry",
            Self::UnknownCursor(_) => "unknown_cursor",
            Self::Damaged => "damaged",
            Self::Store => "store",
            Self::Revoked => Denied::CODE,
            Self::Stopped(_) => "stopping",
        }
    }

    /// As the `error` of a refusing ack.
    pub(super) fn answer(&self) -> Refusal {
        Refusal { ok: false, error: Reason { code: self.code(), message: self.to_string() } }
    }

    /// As the argument of an `error` event; `event`: what it answers.
    pub(super) fn event(&self, event: Option<&str>) -> ErrorEvent {
        ErrorEvent { error: self.to_string(), code: self.code(), event: event.map(str::to_owned) }
    }
}

impl From<ViewError<StoreError>> for ClientError {
    fn from(error: ViewError<StoreError>) -> Self {
        match error {
            ViewError::Unknown(_) => Self::UnknownEntry(error.to_string()),
            ViewError::Damaged { .. } => {
                tracing::error!("{error}");
                Self::Damaged
            }
            _ => {
                tracing::error!("{error}");
                Self::Store
            }
        }
    }
}

impl From<InviteError> for ClientError {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::Wish(error) => Self::Wish(error),
            error => Self::Invite(error),
        }
    }
}

impl From<MakeError> for ClientError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Stopped(stopped) => Self::Stopped(stopped),
            MakeError::Wish(error) => Self::Wish(error),
            MakeError::Token(error) => Self::Token(error),
            error @ MakeError::Removed => Self::Removed(error.to_string()),
            error @ (MakeError::Enough(_) | MakeError::Data(DataError::Full)) => {
                Self::TooManyLedgers(error.to_string())
            }
            error => {
                tracing::error!("a ledger that a client wants cannot be had: {error}");
                Self::Store
            }
        }
    }
}

impl From<BackupError> for ClientError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Stopped(stopped) => Self::Stopped(stopped),
            BackupError::Key(KeyError::Passphrase(error)) => Self::Passphrase(error),
            error if error.is_other_passphrase() => Self::OtherPassphrase,
            error => {
                tracing::error!("a backup that a client wants cannot be made: {error}");
                Self::Store
            }
        }
    }
}

impl From<ReadError> for ClientError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Stopped(stopped) => Self::Stopped(stopped),
            error => {
                tracing::error!("{error}");
                Self::Store
            }
        }
    }
}

impl From<SearchError> for ClientError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::View(error) => error.into(),
            SearchError::Read(error) => error.into(),
            error => {
                tracing::error!("{error}");
                Self::Store
            }
        }
    }
}

/// `{ok: false, error: {code, message}}`.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    ok: bool,
    error: Reason,
}

#[derive(Debug, Serialize)]
struct Reason {
    code: &'static str,
    message: String,
}

/// `{error, code, event}`.
#[derive(Debug, Serialize)]
pub(super) struct ErrorEvent {
    error: String,
    code: &'static str,
    event: Option<String>,
}
