//! How ledgers come into a data directory: a group's new one, or one that somebody is invited to. For the commands, and for
//! the clients of a node that serves.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use shared::{
    Key, LedgerId, NodeId, Timestamp, Token, TokenError,
    effect::{Wish, WishError},
    members::{Genesis, Join},
};
use thiserror::Error;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Mutex, watch},
    task::spawn_blocking,
};

use super::{LedgerError, LedgerInfo, Ledgers};
use crate::{
    config::RelayUrl,
    data::{DataDir, DataError, Opened},
    host::{Host, HostError, Start, Stopped},
    keys::{
        Passphrase, Source,
        backup::{Backup, BackupError},
    },
    link::{Network, relay},
    store::{Beginning, SqliteStore, StoreError},
};

/// Ledgers in the data directory up to which clients may add more; the commands go on up to [`crate::data::LEDGERS`].
pub const LEDGERS_OF_CLIENTS: usize = 64;

/// Why no ledger was made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The data directory cannot be used, or has it already.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Its host cannot start, or failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It does not begin so.
    #[error(transparent)]
    Wish(#[from] WishError),
    /// The invite is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is there, but cannot be served.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The operating system gave no runtime.
    #[error("the runtime cannot start: {0}")]
    Runtime(#[from] io::Error),
    /// Clients have added enough.
    #[error(
        "{0} ledgers are in the node's data directory, clients make no more than {LEDGERS_OF_CLIENTS}: `cairn init` and \
         `cairn join` do, where the node runs"
    )]
    Enough(usize),
    /// Whoever was put out comes in with another key only.
    #[error("this node was removed from the ledger, or left it: it comes in anew only as another node")]
    Removed,
    /// The node is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<StoreError> for MakeError {
    fn from(error: StoreError) -> Self {
        Self::Data(error.into())
    }
}

/// Begins a ledger of a group, with this node as its founder.
///
/// # Errors
/// When a name is none, or it cannot be written; then nothing of it is there.
pub fn found(
    data: &DataDir,
    name: &str,
    nickname: Option<&str>,
    relays: &[String],
) -> Result<(Beginning, NodeId), MakeError> {
    let key = data.new_key()?;
    let node = key.node();
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let beginning = Beginning::Members(Genesis { founder: node, salt });
    data.make(&beginning, key, |mut opened| {
        opened.store.set_relays(relays)?;
        let wishes = [
            Some(Wish::Found { salt }),
            Some(Wish::LedgerName { name: name.to_owned() }),
            nickname.map(|name| Wish::Nickname { name: name.to_owned() }),
        ];
        let runtime = runtime()?;
        let (host, mut thread) = Host::start(opened)?;
        let begun = runtime.block_on(async {
            for wish in wishes.into_iter().flatten() {
                host.control(wish).await??;
            }
            Ok::<_, MakeError>(())
        });
        host.stop();
        runtime.block_on(thread.ended())?;
        begun
    })?;
    Ok((beginning, node))
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// An invite that was read.
#[derive(Debug, Clone)]
pub struct Joining {
    token: Token,
    beginning: Beginning,
    /// Where the ledger is found.
    relays: Vec<String>,
    nickname: Option<String>,
}

impl Joining {
    /// Reads a link, or what follows `#join=` in it.
    ///
    /// # Errors
    /// When it is no invite.
    pub fn read(link: &str, nickname: Option<String>) -> Result<Self, TokenError> {
        let token = Token::parse(link)?;
        let genesis = Genesis::decode(&token.genesis).ok_or(TokenError::Malformed("its genesis"))?;
        Ok(Self { relays: token.relays.clone(), beginning: Beginning::Members(genesis), token, nickname })
    }

    /// The same with relays beside those that came with it.
    #[must_use]
    pub fn with_relays(mut self, relays: &[RelayUrl]) -> Self {
        for relay in relays.iter().map(ToString::to_string) {
            if !self.relays.contains(&relay) {
                self.relays.push(relay);
            }
        }
        self
    }

    /// Which ledger.
    pub fn ledger(&self) -> LedgerId {
        self.beginning.id()
    }

    /// Makes the ledger, in which this node will be once it has found the others.
    ///
    /// # Errors
    /// When it is there already, or cannot be written.
    pub fn make(&self, data: &DataDir) -> Result<(), MakeError> {
        data.make(&self.beginning, data.new_key()?, |opened| self.fill(opened))
    }

    /// Notes how this node comes in, over whatever was noted before. The first start keeps the key that came with the link.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn fill(&self, mut opened: Opened) -> Result<(), MakeError> {
        let (key, _) = opened.key.keys();
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let start = self.note(&mut opened.store, &key, nonce)?;
        let (host, mut thread) = Host::start_with(opened, start)?;
        host.stop();
        Ok(runtime()?.block_on(thread.ended())?)
    }

    /// The same in an open store. The key that came with the link is for the next start.
    pub(crate) fn note(&self, store: &mut SqliteStore, key: &Key, nonce: [u8; 16]) -> Result<Start, StoreError> {
        let Self { token, relays, nickname, .. } = self;
        let ledger = self.ledger();
        let join = Join::sign(&Key::from_secret(&token.secret), &ledger, token.invite, &key.node());
        store.set_relays(relays)?;
        store.set_wanted_name(nickname.as_deref())?;
        store.set_join(join.block(ledger, key, token.end, now(), nonce).bytes())?;
        Ok(Start { epoch: token.key.clone(), ..Start::default() })
    }
}

fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    u64::try_from(micros).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::MAX)
}

/// What it takes to make ledgers while the node serves others.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) data: DataDir,
    pub(super) relays: Vec<RelayUrl>,
    pub(super) network: Network,
    pub(super) stopped: watch::Receiver<bool>,
    /// Held by whoever makes one: one at a time.
    pub(super) turn: Mutex<()>,
}

impl Maker {
    fn has_room(data: &DataDir) -> Result<(), MakeError> {
        match data.ledgers()?.len() {
            here if here >= LEDGERS_OF_CLIENTS => Err(MakeError::Enough(here)),
            _ => Ok(()),
        }
    }
}

/// Runs what works on files where it may take its time.
async fn aside<T: Send + 'static, E: From<LedgerError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(LedgerError::Bug { what: "the making of a ledger", error }.into()),
    }
}

impl Ledgers {
    /// Makes a ledger of a group and serves it.
    ///
    /// # Errors
    /// As [`found`], and when clients have made enough.
    pub async fn create(&self, name: String, nickname: Option<String>) -> Result<LedgerInfo, MakeError> {
        let maker = self.maker.as_ref().ok_or(Stopped)?;
        let _turn = maker.turn.lock().await;
        let (data, relays) = (maker.data.clone(), maker.relays.iter().map(ToString::to_string).collect::<Vec<_>>());
        let beginning = aside(move || {
            Maker::has_room(&data)?;
            found(&data, &name, nickname.as_deref(), &relays)
        });
        self.served(beginning.await?.0.id()).await
    }

    /// Takes part in a ledger by an invite, and serves it. Where it is here already and this node is not in it yet, the new
    /// invite takes the place of the one before. That others let the node in is not waited for.
    ///
    /// # Errors
    /// When it cannot be made, clients have made enough, or the node was removed from it.
    pub async fn join(&self, joining: Joining) -> Result<LedgerInfo, MakeError> {
        let maker = self.maker.as_ref().ok_or(Stopped)?;
        let _turn = maker.turn.lock().await;
        let joining = joining.with_relays(&maker.relays);
        let ledger = joining.ledger();
        if self.get(&ledger).is_none() {
            let (data, new) = (maker.data.clone(), joining.clone());
            let made = aside(move || {
                Maker::has_room(&data)?;
                new.make(&data)
            });
            match made.await {
                Ok(()) => return self.served(ledger).await,
                // A command made it, and has not said so yet.
                Err(MakeError::Data(DataError::Exists(_))) => {}
                Err(error) => return Err(error),
            }
        }
        let info = self.served(ledger).await?;
        let host = self.get(&ledger).ok_or(Stopped)?;
        let status = host.status().await?;
        if status.removed {
            return Err(MakeError::Removed);
        }
        if status.role.is_none() {
            let relays = joining.relays.clone();
            host.rejoin(joining).await?;
            self.dial(maker, &host, &relays);
        }
        Ok(info)
    }

    /// Links to those of the relays that are not linked to yet. Whoever wrote the invite chose them, so they are shown no secret.
    fn dial(&self, maker: &Maker, host: &Host, relays: &[String]) {
        let known: Vec<String> = host.relays().snapshot().into_iter().map(|relay| relay.url).collect();
        for relay in relays.iter().filter_map(|relay| relay.parse::<RelayUrl>().ok()) {
            if !known.contains(&relay.to_string()) {
                let link = relay::run(host.clone(), relay, None, maker.network.clone(), maker.stopped.clone());
                // One that finds no place is linked to by the next start.
                _ = self.follow(Box::pin(link));
            }
        }
    }

    async fn served(&self, ledger: LedgerId) -> Result<LedgerInfo, MakeError> {
        let host = self.serve(ledger).await?.ok_or(Stopped)?;
        Ok(host.info(self.default_host().ledger() == ledger).await?)
    }

    /// The key of this node in a ledger, and what else it takes to be itself again there, sealed with a passphrase: that of the
    /// keys, where they have one.
    ///
    /// # Errors
    /// When the passphrase is another one than that of the keys, too short for a new one, or something cannot be read.
    pub async fn backup(&self, ledger: LedgerId, passphrase: Passphrase) -> Result<String, BackupError> {
        let maker = self.maker.as_ref().ok_or(Stopped)?;
        // What a passphrase becomes takes much memory for a moment.
        let _turn = maker.turn.lock().await;
        let (data, relays) = (maker.data.clone(), maker.relays.clone());
        aside(move || {
            let further = data.further(&ledger);
            let dir = if further.store().exists() { further } else { data.first() };
            let relays: Vec<String> = relays.iter().map(ToString::to_string).collect();
            let (backup, passphrase) = Backup::of(&data, &[dir], &relays, &Source::Given(passphrase))?;
            backup.seal(&passphrase)
        })
        .await
    }
}
