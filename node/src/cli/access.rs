//! Through the running node where there is one, and with the data directory to oneself where there is none.

use std::{
    future::Future,
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::runtime;

use super::Failure;
use crate::{
    config::Settings,
    control::{ControlFile, client::ControlClient},
    data::{DataError, LockedDir, Opened},
    host::{Host, HostConfig, HostThread},
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
                check_ledger(settings)?;
                return Ok(Self::Through(ControlClient::new(file)));
            }
            if began.elapsed() > PATIENCE {
                return Err(in_use.into());
            }
            sleep(BETWEEN_LOOKS);
        }
    }
}

/// A command that names a ledger must not reach another one.
pub(super) fn check_ledger(settings: &Settings) -> Result<(), Failure> {
    let Some(wanted) = &settings.ledger else { return Ok(()) };
    let (came, _) = settings.data.reader()?.ledger()?;
    if came == *wanted {
        return Ok(());
    }
    Err(crate::store::StoreError::Ledger { came, wanted: wanted.clone() }.into())
}

/// Runs `work` with a host over the locked directory, and ends the host cleanly. When the host fails, that is what is
/// reported, not what it did to the work.
pub(super) fn with_host<T, F: Future<Output = Result<T, Failure>>>(
    locked: &LockedDir,
    settings: &Settings,
    work: impl FnOnce(Host) -> F,
) -> Result<T, Failure> {
    let Opened { store, key, name, ledger } = locked.open(settings.ledger.as_deref())?;
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::io("the runtime cannot start"))?;
    let (host, thread) = Host::start(store, HostConfig { ledger, name, key })?;
    runtime.block_on(async {
        let result = work(host.clone()).await;
        end(host, thread).await?;
        result
    })
}

async fn end(host: Host, mut thread: HostThread) -> Result<(), Failure> {
    host.stop();
    Ok(thread.ended().await?)
}
