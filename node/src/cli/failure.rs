//! Why a command failed, and the exit code that says so. Codes above 63 are those of BSD's sysexits.h.

use std::{io, net::SocketAddr};

use shared::{AppendError, BlockHash, effect::WishError, view::ViewError};
use thiserror::Error;
use tokio::task::JoinError;

use crate::{
    blocks::FileError,
    config::ConfigError,
    control::client::ControlError,
    data::DataError,
    host::{HostError, InviteError, Stopped},
    keys::{KeyError, PassphraseError, SealedError, backup::BackupError},
    ledgers::{LedgerError, MakeError},
    store::StoreError,
    token::TokenError,
};

/// Shown below the help.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   `verify` found something wrong that it did not or could not repair, or the ledger, or the group, refused what was given
  2   the command line, the environment or the configuration file is wrong
  65  a file or the store is damaged (`verify --repair` mends it), of another ledger, or of a newer version
  66  there is no ledger, not this one, or no client token, in the data directory
  69  the node that serves the data directory does not answer
  70  a bug
  71  the address to listen on cannot be had
  73  another process uses the data directory
  74  reading or writing failed; nothing was said that is not durable
  77  the key file or the token file cannot be used as it is
  78  the keys, or a backup of them, are sealed, and no passphrase or a wrong one was given";

/// Why a command failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// `verify` has said what is wrong.
    #[error("the store has {0} wrong blocks or pages")]
    Verify(u64),
    /// What the command line asks for makes no sense.
    #[error("{0}; see --help")]
    Usage(String),
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A backup of the keys cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The clients' token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody can be served at the address.
    #[error("cannot listen on {address}: {error}; --listen IP:PORT names another address, port 0 any free one")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What failed.
        error: io::Error,
    },
    /// The replica's thread failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A part of the node ended that never should.
    #[error("{what} ended by a bug: {error}")]
    Bug {
        /// Which part.
        what: &'static str,
        /// How.
        error: JoinError,
    },
    /// The running node did not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The ledger refuses an entry.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// What somebody wants of a group cannot be done.
    #[error("{0}")]
    Refused(String),
    /// The ledger does not allow it.
    #[error(transparent)]
    Wish(#[from] WishError),
    /// There is no invite.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// A link is no invite.
    #[error(transparent)]
    Link(#[from] shared::TokenError),
    /// A ledger is not served.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file of blocks is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// A block that was exported is wrong.
    #[error("block {hash} of the store is wrong: {what}; `cairn verify` says more")]
    Block {
        /// Which block.
        hash: BlockHash,
        /// What is wrong with it.
        what: String,
    },
    /// What stands on standard input is no entry.
    #[error("line {line} of the input: {what}")]
    Input {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Reading or writing failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What failed.
        error: io::Error,
    },
    /// Entries cannot be shown.
    #[error(transparent)]
    View(#[from] ViewError<StoreError>),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl Failure {
    pub(super) fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io { what, error }
    }

    /// What a person should read. A reader that went away (`cairn log | head`) is no failure to speak of.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Self::Io { error, .. } if error.kind() == io::ErrorKind::BrokenPipe => None,
            other => Some(other.to_string()),
        }
    }

    /// The exit code; `cairn --help` lists them.
    pub fn code(&self) -> u8 {
        match self {
            Self::Verify(_) | Self::Append(_) | Self::Refused(_) | Self::Wish(_) => 1,
            Self::Usage(_) | Self::Config(_) | Self::Link(_) => 2,
            Self::Invite(InviteError::Random(_)) => 74,
            Self::Invite(_) => 1,
            Self::Ledger(LedgerError::Data(error)) => data_code(error),
            Self::Ledger(LedgerError::Host(error)) => host_code(error),
            Self::Ledger(LedgerError::Bug { .. }) => 70,
            Self::Listen { .. } => 71,
            Self::Input { .. } | Self::Block { .. } | Self::View(ViewError::Damaged { .. }) => 65,
            Self::View(ViewError::Unknown(_)) => 1,
            Self::File(FileError::Io(_)) | Self::Io { .. } | Self::Random(_) => 74,
            Self::File(_) => 65,
            Self::View(ViewError::Store(error)) => store_code(error),
            Self::View(_) | Self::Bug { .. } => 70,
            Self::Data(error) => data_code(error),
            Self::Backup(BackupError::Io { .. }) => 74,
            Self::Backup(BackupError::Sealed { error: SealedError::Passphrase, .. }) => 78,
            Self::Backup(BackupError::Key(error)) => key_code(error),
            Self::Backup(BackupError::Data(error)) => data_code(error),
            Self::Backup(_) => 65,
            Self::Token(TokenError::Missing { .. }) => 66,
            Self::Token(_) => 77,
            Self::Host(error) => host_code(error),
            Self::Control(ControlError::Refused(refusal)) if refusal.code != "stopping" => 1,
            Self::Control(_) => 69,
        }
    }
}

fn data_code(error: &DataError) -> u8 {
    match error {
        DataError::InUse { .. } => 73,
        DataError::Nothing { .. } | DataError::NoSuchLedger { .. } => 66,
        DataError::Ambiguous { .. } => 2,
        DataError::Exists(_) | DataError::Full => 1,
        DataError::Io { .. } => 74,
        DataError::Store(error) => store_code(error),
        DataError::Key(error) => key_code(error),
        DataError::KeyWithoutStore { .. } => 77,
    }
}

fn key_code(error: &KeyError) -> u8 {
    match error {
        KeyError::NoPassphrase { .. } | KeyError::Passphrase(_) => 78,
        KeyError::Sealed { error: SealedError::Passphrase, .. } => 78,
        _ => 77,
    }
}

fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::Missing { .. } => 66,
        StoreError::Ledger { .. } | StoreError::Old => 65,
        error if error.is_damage() => 65,
        _ => 74,
    }
}

fn host_code(error: &HostError) -> u8 {
    use shared::replica::{OpenError, ReplicaError};
    match error {
        HostError::Open(OpenError::Store(error)) => store_code(error),
        HostError::Open(_) | HostError::Incomplete(_) | HostError::Damaged(_) => 65,
        HostError::Failed(ReplicaError::Damaged(_)) => 65,
        HostError::Failed(ReplicaError::Store(error)) if error.is_damage() => 65,
        HostError::Panicked => 70,
        _ => 74,
    }
}

impl From<MakeError> for Failure {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Data(error) => error.into(),
            MakeError::Host(error) => error.into(),
            MakeError::Wish(error) => error.into(),
            MakeError::Token(error) => error.into(),
            MakeError::Ledger(error) => error.into(),
            MakeError::Random(error) => error.into(),
            MakeError::Runtime(error) => Self::Io { what: "the runtime cannot start", error },
            MakeError::Stopped(stopped) => stopped.into(),
            error @ (MakeError::Enough(_) | MakeError::Removed) => Self::Refused(error.to_string()),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Data(error.into())
    }
}

impl From<PassphraseError> for Failure {
    fn from(error: PassphraseError) -> Self {
        KeyError::from(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Data(error.into())
    }
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        // The turn thread says itself why it ended; whoever waits for it reports that instead.
        Self::Host(HostError::Panicked)
    }
}
