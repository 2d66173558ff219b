//! What it costs to come back: of a ledger with many authors the last few entries are missing. Bytes both ways, and how often an answer had
//! to be waited for once both sides have proved who they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::Args;
use node::host::{Host, LinkCommand, LinkPort};
use shared::{LinkPath, Role};
use tokio::{
    runtime::Runtime,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, sleep_until},
};

use crate::{
    history::{History, Size},
    meter::Cost,
    place::{Place, import, stop},
    report::figure,
};

/// How long a frame is on its way: so long that whatever is sent without waiting for an answer is sent before one can come.
const DELAY: Duration = Duration::from_millis(200);
/// Frames on their way, each way.
const ON_THE_WAY: usize = 4096;
const ASK_EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub(crate) struct Rejoin {
    /// Entries of the ledger
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Entries of each block
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=256))]
    per_block: u64,
    /// Authors of the ledger
    #[arg(long, default_value_t = 1_000)]
    authors: u32,
    /// Entries that are missing, each of another author
    #[arg(long, default_value_t = 10)]
    missing: u64,
}

/// One end of a link: the bytes that it sent, and how many frames, each an answer to the one before, led to the latest that came to it.
#[derive(Debug, Default)]
struct End {
    sent: AtomicU64,
    depth: AtomicU64,
}

/// A frame on its way.
struct Flying {
    lands: tokio::time::Instant,
    depth: u64,
    command: LinkCommand,
}

impl Rejoin {
    pub(crate) fn run(&self) -> Result<()> {
        Runtime::new()?.block_on(self.measure())
    }

    async fn measure(&self) -> Result<()> {
        let places = [Place::new()?, Place::new()?];
        let ((stays, thread), (comes, other_thread)) = (places[0].host()?, places[1].host()?);
        let mut history = History::new(self.authors);
        import(&stays, history.blocks(Size { entries: self.entries, per_block: self.per_block })).await?;
        let together = link(&stays, &comes, Duration::ZERO).await?;
        self.until(&comes, self.entries).await?;
        drop(together);
        no_links(&[&stays, &comes]).await?;

        let missing = Size { entries: self.missing, per_block: 1 };
        import(&stays, history.blocks(missing)).await?;
        let again = link(&stays, &comes, DELAY).await?;
        self.until(&comes, self.entries + self.missing).await?;
        let [one, other] = &again.ends;
        // Of the chain of frames that led to the last entry, `Hello` and `Auth` are the handshake's round trip.
        let trips = other.depth.load(Ordering::Relaxed).saturating_sub(2) as f64 / 2.0;
        let bytes = one.sent.load(Ordering::Relaxed) + other.sent.load(Ordering::Relaxed);
        ensure!(
            stays.status().await?.digest == comes.status().await?.digest,
            "both have all entries, and not the same"
        );
        drop(again);
        stop(stays, thread).await?;
        stop(comes, other_thread).await?;
        figure("rejoin/bytes", bytes as f64, Cost::default())?;
        Ok(figure("rejoin/trips", trips, Cost::default())?)
    }

    async fn until(&self, host: &Host, entries: u64) -> Result<()> {
        let began = Instant::now();
        while host.status().await?.totals.entries < entries {
            if began.elapsed() > PATIENCE {
                bail!("entries are missing after {} s", PATIENCE.as_secs());
            }
            sleep(ASK_EVERY).await;
        }
        Ok(())
    }
}

/// A link between two hosts of this process, which ends with its value.
struct Link {
    ends: [Arc<End>; 2],
    _wires: JoinSet<()>,
}

async fn link(accepts: &Host, dials: &Host, delay: Duration) -> Result<Link> {
    let ends = [Arc::new(End::default()), Arc::new(End::default())];
    let (port, commands) = accepts.open_link(Role::Accepted, LinkPath::Relay, None).await?;
    let (other_port, other_commands) = dials.open_link(Role::Dialled, LinkPath::Relay, None).await?;
    let mut wires = JoinSet::new();
    for (commands, from, to, port) in [(commands, 0, 1, other_port), (other_commands, 1, 0, port)] {
        let (takes, lands) = mpsc::channel(ON_THE_WAY);
        wires.spawn(send(commands, ends[from].clone(), delay, takes));
        wires.spawn(receive(lands, ends[to].clone(), port));
    }
    Ok(Link { ends, _wires: wires })
}

async fn send(mut commands: mpsc::Receiver<LinkCommand>, end: Arc<End>, delay: Duration, way: mpsc::Sender<Flying>) {
    while let Some(command) = commands.recv().await {
        end.sent.fetch_add(length(&command), Ordering::Relaxed);
        let depth = end.depth.load(Ordering::Relaxed) + 1;
        if way.send(Flying { lands: tokio::time::Instant::now() + delay, depth, command }).await.is_err() {
            return;
        }
    }
}

/// Without what a WebSocket adds to each.
fn length(command: &LinkCommand) -> u64 {
    match command {
        LinkCommand::Frame(bytes) => bytes.len() as u64,
        LinkCommand::Ping | LinkCommand::Pong => "ping".len() as u64,
        LinkCommand::PeerUp(_) | LinkCommand::Close { .. } => 0,
    }
}

async fn receive(mut way: mpsc::Receiver<Flying>, end: Arc<End>, port: LinkPort) {
    while let Some(Flying { lands, depth, command }) = way.recv().await {
        sleep_until(lands).await;
        let taken = match command {
            LinkCommand::Frame(bytes) => {
                end.depth.fetch_max(depth, Ordering::Relaxed);
                port.frame(bytes).await
            }
            LinkCommand::Ping => port.ping().await,
            LinkCommand::Pong => port.pong().await,
            LinkCommand::PeerUp(_) => Ok(()),
            LinkCommand::Close { reason, .. } => {
                eprintln!("a link was closed: {reason}");
                return;
            }
        };
        if taken.is_err() {
            return;
        }
    }
}

/// Waits until the hosts know that their link is gone.
async fn no_links(hosts: &[&Host]) -> Result<()> {
    for host in hosts {
        while !host.status().await?.links.is_empty() {
            sleep(ASK_EVERY).await;
        }
    }
    Ok(())
}
