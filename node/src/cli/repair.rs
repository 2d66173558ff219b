//! `cairn verify --repair`: a new file with what is good, and the rest from the relays.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};
use shared::BlockHash;
use tokio::{
    runtime,
    sync::{broadcast, watch},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{Failure, progress::bar};
use crate::{
    config::Settings,
    data::{LedgerDir, LockedDir},
    host::{Event, Host, HostError, Start, Status},
    keys::NodeKey,
    link::{self, RelayState},
    salvage::{Examined, salvage},
    store::SqliteReader,
};

/// How long nothing may come before what is missing counts as what nobody has.
const QUIET: Duration = Duration::from_secs(10);
/// How long links that are in step are listened to, for what a store does not know that it lost.
const SETTLED: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Searches and repairs, one after the other: a repair that brings blocks may show that more are missing.
const ROUNDS: usize = 100;
/// Blocks that are listed; the rest is counted.
const LISTED: usize = 100;

/// What a repair did.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    /// Where the damaged files are.
    kept: Vec<PathBuf>,
    /// Blocks that came again from others.
    fetched: u64,
    /// Blocks that nobody could give.
    missing: Vec<BlockHash>,
    /// What else is still wrong.
    problems: u64,
    /// Relays that could not be reached.
    unreachable: Vec<String>,
}

impl Repaired {
    /// What is still wrong.
    pub(super) fn left(&self) -> u64 {
        self.missing.len() as u64 + self.problems
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "kept": self.kept,
            "fetched": self.fetched,
            "missing": self.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "problems": self.problems,
            "unreachable": self.unreachable,
        })
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for kept in &self.kept {
            writeln!(out, "what is good was copied to a new file; the damaged one is {}", kept.display())?;
        }
        for url in &self.unreachable {
            writeln!(out, "the relay {url} could not be reached")?;
        }
        for hash in self.missing.iter().take(LISTED) {
            writeln!(out, "nobody could give block {hash}")?;
        }
        match (self.left(), self.kept.is_empty() && self.fetched == 0) {
            (0, true) => writeln!(out, "there was nothing to repair"),
            (0, false) => writeln!(out, "repaired: {} blocks came again from other nodes", self.fetched),
            (left, _) => writeln!(
                out,
                "{} blocks came again from other nodes, {left} are still missing: try again with a relay or node that \
                 has them",
                self.fetched
            ),
        }
    }
}

/// Repairs until nothing is wrong any more, or nobody can give what is missing. `look` examines the store again.
pub(super) fn repair(
    locked: &LockedDir,
    dir: &LedgerDir,
    settings: &Settings,
    mut examined: Examined,
    mut look: impl FnMut() -> Result<Examined, Failure>,
) -> Result<Repaired, Failure> {
    let mut repaired = Repaired::default();
    for _ in 0..ROUNDS {
        if examined.is_clean() && !unfinished(dir)? {
            return Ok(repaired);
        }
        // Blocks that are missing need no new file.
        if !(examined.problems.is_empty() && examined.scan.wrong.is_empty() && unfinished(dir)?) {
            let bar = bar("copying", examined.scan.blocks);
            let node = NodeKey::node_of(&dir.key())?;
            let (kept, _) = salvage(&dir.store(), &examined, node.as_ref(), || bar.inc(1))?;
            bar.finish_and_clear();
            repaired.kept.push(kept);
        }
        let fetched = fetch(locked, dir, settings, &mut repaired)?;
        repaired.fetched += fetched;
        examined = look()?;
        if fetched == 0 {
            break;
        }
    }
    repaired.problems = (examined.problems.len() + examined.scan.wrong.len()) as u64;
    let more: Vec<BlockHash> =
        examined.scan.missing.iter().filter(|hash| !repaired.missing.contains(hash)).copied().collect();
    repaired.missing.extend(more);
    Ok(repaired)
}

/// Whether the store notes blocks that are still to come.
fn unfinished(dir: &LedgerDir) -> Result<bool, Failure> {
    Ok(!noted(&dir.reader()?)?.is_empty())
}

fn noted(reader: &SqliteReader) -> Result<BTreeSet<BlockHash>, Failure> {
    shared::repair::noted(reader).map_err(|error| HostError::from(error).into())
}

/// Links to the relays until all that is missing has come, or nothing comes any more. Returns how many blocks came.
fn fetch(locked: &LockedDir, dir: &LedgerDir, settings: &Settings, repaired: &mut Repaired) -> Result<u64, Failure> {
    let opened = locked.open_in(dir, settings.ledger.as_deref())?;
    let wanted = noted(opened.store.as_reader())?;
    let relays = link::to_dial(&settings.relays, None, opened.store.as_reader())?;
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::io("the runtime cannot start"))?;
    let (host, mut thread) = Host::start_with(opened, Start { repairs: true, ..Start::default() })?;
    let (fetched, status) = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut links = JoinSet::new();
        // Nothing is fetched from a room that has yet to be made.
        link::dial(&host, &relays, &link::Network::default(), &stopped, &mut links);
        let waited = wait(&host, wanted.len() as u64).await;
        stop.send_replace(true);
        while links.join_next().await.is_some() {}
        host.stop();
        thread.ended().await?;
        waited
    })?;
    let reached =
        |url: &str| status.relays.iter().any(|r| r.url == url && matches!(r.state, RelayState::Connected { .. }));
    repaired.unreachable = relays.iter().map(|relay| relay.url.to_string()).filter(|url| !reached(url)).collect();
    repaired.missing = noted(&dir.reader()?)?.into_iter().collect();
    Ok(fetched)
}

async fn wait(host: &Host, wanted: u64) -> Result<(u64, Status), Failure> {
    let bar = bar("fetching", wanted);
    let mut events = host.events();
    let (mut fetched, mut last) = (0, Instant::now());
    loop {
        match timeout(BETWEEN_LOOKS, events.recv()).await {
            Ok(Ok(Event::Repaired { .. })) => {
                (fetched, last) = (fetched + 1, Instant::now());
                bar.set_position(fetched);
                continue;
            }
            Ok(Ok(Event::Added { .. } | Event::Progress { .. } | Event::PeersChanged | Event::Presence { .. })) => {
                last = Instant::now()
            }
            Ok(Err(broadcast::error::RecvError::Lagged(missed))) => {
                (fetched, last) = (fetched + missed, Instant::now());
                continue;
            }
            Ok(Err(broadcast::error::RecvError::Closed)) | Ok(Ok(_)) | Err(_) => {}
        }
        let status = host.status().await?;
        bar.set_length(fetched + status.repairing);
        let linked = |relay: &crate::link::RelayStatus| match relay.state {
            RelayState::Connected { link } => {
                status.links.iter().any(|info| info.link == link && info.node.is_some() && info.done == info.total)
            }
            _ => false,
        };
        let in_step = status.repairing == 0 && status.relays.iter().all(linked) && last.elapsed() > SETTLED;
        if in_step || last.elapsed() > QUIET {
            bar.finish_and_clear();
            return Ok((fetched, status));
        }
    }
}
