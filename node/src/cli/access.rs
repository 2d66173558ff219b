//! Through the running node where there is one, and with the data directory to oneself where there is none.

use std::{
    future::Future,
    thread::sleep,
    time::{Duration, Instant},
};

use shared::Keyring;
use tokio::{runtime, sync::watch, task::JoinSet};

use super::Failure;
use crate::{
    config::Settings,
    control::{ControlFile, client::ControlClient},
    data::{DataError, LedgerDir, LockedDir},
    host::{Host, HostThread, Start},
    ledgers::LedgerInfo,
    link::{self, Dialled},
    store::{Beginning, SqliteReader},
};

/// How long another short command, or a node that starts or stops, may hold the data directory.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Who works for a command.
pub(super) enum Access {
    /// This process.
    Alone(LockedDir),
    /// The node that serves the data directory.
    Through(ControlClient),
}

impl Access {
    pub(super) fn open(settings: &Settings) -> Result<Self, Failure> {
        let began = Instant::now();
        loop {
            let in_use = match settings.data.lock() {
                Ok(locked) => return Ok(Self::Alone(locked)),
                Err(error @ DataError::InUse { .. }) => error,
                Err(error) => return Err(error.into()),
            };
            // The lock tells whether someone is there, the file how to reach a node; both change while it starts.
            if let Ok(Some(file)) = ControlFile::load(&settings.data.control()) {
                return Ok(Self::Through(through(settings, file)?));
            }
            if began.elapsed() > PATIENCE {
                return Err(in_use.into());
            }
            sleep(BETWEEN_LOOKS);
        }
    }
}

/// The running node, and of its ledgers the one that is meant.
fn through(settings: &Settings, file: ControlFile) -> Result<ControlClient, Failure> {
    let client = ControlClient::new(file);
    let ledgers = client.ledgers()?;
    let is_meant = |info: &&LedgerInfo| match &settings.ledger {
        None => info.default,
        Some(wanted) => info.name == *wanted,
    };
    let id = match only(ledgers.iter().filter(is_meant).map(|info| info.id.clone()).collect(), settings)? {
        Some(id) => id,
        // Not by its name: by its id, or not at all.
        None => settings.data.select(settings.ledger.as_deref())?.reader()?.ledger()?.id().to_string(),
    };
    Ok(client.of(id))
}

/// The one of that name. Groups may be called alike, and a command must not change another one than was meant.
fn only(mut ids: Vec<String>, settings: &Settings) -> Result<Option<String>, DataError> {
    match (ids.len(), &settings.ledger) {
        (0 | 1, _) | (_, None) => Ok(ids.pop()),
        (_, Some(wanted)) => Err(DataError::Ambiguous { wanted: wanted.clone(), here: ids }),
    }
}

/// Where the ledger lies that is meant, by name or id.
pub(super) fn ledger_dir(settings: &Settings) -> Result<LedgerDir, Failure> {
    match settings.data.select(settings.ledger.as_deref()) {
        Err(error @ DataError::NoSuchLedger { .. }) => match Access::open(settings) {
            Ok(Access::Through(client)) => Ok(settings.data.select(Some(client.ledger()))?),
            Ok(Access::Alone(locked)) => by_name(&locked, settings)?.ok_or_else(|| error.into()),
            Err(ambiguous @ Failure::Data(DataError::Ambiguous { .. })) => Err(ambiguous),
            Err(_) => Err(error.into()),
        },
        result => Ok(result?),
    }
}

/// For what must not make a ledger where there is none.
pub(super) fn must_exist(settings: &Settings) -> Result<(), Failure> {
    drop(settings.data.reader_of(&ledger_dir(settings)?)?);
    Ok(())
}

/// The name of a members' ledger is sealed in it, so each is opened to look.
fn by_name(locked: &LockedDir, settings: &Settings) -> Result<Option<LedgerDir>, Failure> {
    let mut ids = Vec::new();
    for dir in locked.dir().ledgers()? {
        let status = with_host_of(locked, &dir, None, |host| async move { Ok(host.status().await?) })?;
        ids.extend((settings.ledger.as_ref() == Some(&status.name)).then_some(status.ledger));
    }
    only(ids, settings)?.map(|id| Ok(locked.dir().select(Some(&id))?)).transpose()
}

/// Where the ledger lies that is meant, for whoever has the data directory.
pub(super) fn meant(locked: &LockedDir, settings: &Settings) -> Result<LedgerDir, Failure> {
    match locked.dir().select(settings.ledger.as_deref()) {
        Err(error @ DataError::NoSuchLedger { .. }) => by_name(locked, settings)?.ok_or_else(|| error.into()),
        result => Ok(result?),
    }
}

/// Runs `work` with a host over the locked directory, and ends the host cleanly. When the host fails, that is what is
/// reported, not what it did to the work.
pub(super) fn with_host<T, F: Future<Output = Result<T, Failure>>>(
    locked: &LockedDir,
    settings: &Settings,
    work: impl FnOnce(Host) -> F,
) -> Result<T, Failure> {
    with_host_of(locked, &meant(locked, settings)?, settings.ledger.as_deref(), work)
}

/// The same for a ledger that was looked up.
pub(super) fn with_host_of<T, F: Future<Output = Result<T, Failure>>>(
    locked: &LockedDir,
    dir: &LedgerDir,
    wanted: Option<&str>,
    work: impl FnOnce(Host) -> F,
) -> Result<T, Failure> {
    let (host, thread) = Host::start(locked.open_in(dir, wanted)?)?;
    run(host, thread, &[], work)
}

/// The same with links to the relays, for what others should hear of at once.
pub(super) fn with_links<T, F: Future<Output = Result<T, Failure>>>(
    locked: &LockedDir,
    settings: &Settings,
    work: impl FnOnce(Host) -> F,
) -> Result<T, Failure> {
    with_links_of(locked, &meant(locked, settings)?, settings, work)
}

/// The same for a ledger that was looked up.
pub(super) fn with_links_of<T, F: Future<Output = Result<T, Failure>>>(
    locked: &LockedDir,
    dir: &LedgerDir,
    settings: &Settings,
    work: impl FnOnce(Host) -> F,
) -> Result<T, Failure> {
    let opened = locked.open_in(dir, settings.ledger.as_deref())?;
    let relays = link::to_dial(&settings.relays, settings.relay_secret.as_ref(), opened.store.as_reader())?;
    let dials = u32::try_from(relays.len()).unwrap_or(u32::MAX);
    let (host, thread) = Host::start_with(opened, Start { dials, ..Start::default() })?;
    run(host, thread, &relays, work)
}

/// Runs `work` with a host and links to these relays, and ends all of it.
fn run<T, F: Future<Output = Result<T, Failure>>>(
    host: Host,
    mut thread: HostThread,
    relays: &[Dialled],
    work: impl FnOnce(Host) -> F,
) -> Result<T, Failure> {
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::io("the runtime cannot start"))?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut links = JoinSet::new();
        link::dial(&host, relays, &link::Network::default(), &stopped, &mut links);
        let result = work(host.clone()).await;
        stop.send_replace(true);
        while links.join_next().await.is_some() {}
        host.stop();
        thread.ended().await?;
        result
    })
}

/// The keys that open what is sealed in a ledger.
pub(super) fn keys(reader: &SqliteReader, settings: &Settings) -> Result<Keyring, Failure> {
    match reader.ledger()? {
        Beginning::Open(_) => Ok(Keyring::default()),
        Beginning::Members(_) => match Access::open(settings)? {
            Access::Alone(locked) => {
                with_host(&locked, settings, |host| async move { Ok(Keyring::clone(&host.keys())) })
            }
            Access::Through(client) => Ok(client.keys()?),
        },
    }
}
