//! `cairn serve`: the node itself.

use std::{
    future::Future,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use shared::limits;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{broadcast, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::{info, level_filters::LevelFilter, warn};
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::EnvFilter;

use super::{
    Failure,
    access::{Access, meant},
    ledger_line,
    progress::bar,
    token,
};
use crate::{
    admission::Admission,
    config::{DirectLinks, Settings},
    control::{self, ControlFile, Token},
    data::{DataError, LedgerDir, LockedDir},
    host::{Event, Host, Status},
    http,
    ledgers::{Direct, Keeper, Reach},
    link::{Network, accept, peer::Reached},
    token::TokenError,
};

/// How long clients, and then links, have to end when the node stops. Both have bounds of their own below it.
const GRACE: Duration = Duration::from_secs(8);

pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    start_log();
    // A short command may have the directory for a moment; a node keeps it.
    let locked = match Access::open(settings)? {
        Access::Alone(locked) => locked,
        Access::Through(_) => return Err(DataError::InUse { path: settings.data.path().to_owned() }.into()),
    };
    hide_memory();
    raise_open_files();
    let first = meant(&locked, settings)?;
    let runtime = Runtime::new().map_err(Failure::io("the runtime cannot start"))?;
    let result = runtime.block_on(serve(settings, &locked, &first));
    // What still runs on other threads is reading at most.
    runtime.shutdown_timeout(GRACE);
    result
}

/// What is shown where RUST_LOG says nothing. What the QUIC library warns of is of no use to anybody who runs a node.
const LOG: &str = "info,noq_proto=error,noq=error,iroh=error";

/// Shows on standard error what RUST_LOG asks for.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let colours = io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    // Tungstenite shows every frame as it is, tokens and payloads too, to whoever asks for all that there is.
    let others = LogTracer::builder().ignore_crate("tungstenite");
    // Errors mean that this process has its log already.
    if tracing::subscriber::set_global_default(subscriber.finish()).is_ok() {
        drop(others.with_max_level(LevelFilter::current().as_log()).init());
    }
}

/// The memory of a node holds its keys: no crash writes it to a disk, and on Linux no other process of this user looks into
/// it. `CAIRN_TRACEABLE` lets debuggers and measurements do so.
fn hide_memory() {
    #[cfg(unix)]
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        warn!("a crash may write the memory of this process to a file, its keys included: {error}");
    }
    #[cfg(target_os = "linux")]
    if std::env::var_os("CAIRN_TRACEABLE").is_some() {
        warn!("CAIRN_TRACEABLE is set: other processes of this user can read the keys of this one");
    } else if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        warn!("other processes of this user can read the keys of this one: {error}");
    }
}

/// Allows as many open files as the system lets this process have: each client needs one. Most systems start with 1,024.
fn raise_open_files() {
    // What the node itself has open is below a hundred.
    let wanted = limits::CLIENTS as u64 + 100;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) if files < wanted => warn!(
            "this process may have {files} open files, so at most about {} of {} clients; allow {wanted} (ulimit -Hn, or \
             LimitNOFILE of the service) to serve them all",
            files.saturating_sub(100),
            limits::CLIENTS
        ),
        Ok(_) => {}
        Err(error) => warn!("the limit of open files cannot be raised: {error}"),
    }
}

async fn serve(settings: &Settings, locked: &LockedDir, first: &LedgerDir) -> Result<(), Failure> {
    // From here on a signal ends the node in order.
    let signal = signal().map_err(Failure::io("signals cannot be received"))?;
    let failed = |error| Failure::Listen { address: settings.listen, error };
    let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (client_token, shown) = client_token(settings, &locked.dir().client_token(), address)?;
    let (hosts, origins) = (settings.hosts.clone(), settings.origins.clone());
    let admission = Arc::new(Admission::new(client_token, locked.dir().client_token(), hosts, origins));
    let reach = Reach {
        relays: settings.relays.clone(),
        secret: settings.relay_secret.clone(),
        direct: direct(settings, address, &admission),
        network: Network::watch().await,
    };
    let keeper = Keeper::open(locked, first, settings.ledger.as_deref(), reach, beside)?;
    let ledgers = keeper.ledgers().clone();
    let token = Token::generate()?;
    let routes = control::router(ledgers.clone(), token.clone(), keeper.stopped());
    let mut routes = routes.merge(control::renewal(admission.clone(), token.clone()));
    if settings.direct != DirectLinks::Off {
        routes = routes.merge(accept::router(admission.clone(), ledgers.clone(), keeper.stopped()));
    }
    let control_path = locked.dir().control();
    let unwritable = Failure::io("control.json cannot be written");
    ControlFile::new(address, token).save(&control_path).map_err(&unwritable)?;
    let status = ledgers.default_host().status().await?;
    banner(settings, &status, address, shown.as_deref()).map_err(Failure::io("standard output cannot be written"))?;

    let mut over = keeper.stopped();
    let over = async move {
        // Fails only when nobody can stop the node any more, and then it is over as well.
        _ = over.wait_for(|stop| *stop).await;
    };
    let http = tokio::spawn(http::serve_admitting(admission, listener, ledgers, routes, over));
    let served = until_the_end(http, keeper, locked, signal).await;
    ControlFile::remove(&control_path).map_err(unwritable)?;
    served
}

/// How this node links to others directly, if it does.
fn direct(settings: &Settings, listen: SocketAddr, admission: &Arc<Admission>) -> Option<Direct> {
    let internet = match settings.direct {
        DirectLinks::Off => return None,
        DirectLinks::Lan => None,
        DirectLinks::Internet => Some(settings.iroh_relays.clone()),
    };
    let reached = Reached { listen, announced: settings.announce.clone() };
    Some(Direct { peers: settings.peers.clone(), reached, internet, admission: admission.clone() })
}

/// What runs for each ledger besides its links.
fn beside(host: Host, stopped: watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
    tasks.spawn(show_progress(host.events(), stopped));
}

/// What clients have to show, if anything, and what a person should read of it.
fn client_token(
    settings: &Settings,
    path: &Path,
    address: SocketAddr,
) -> Result<(Option<Token>, Option<String>), TokenError> {
    if !settings.is_reached_from_elsewhere() {
        return Ok((None, None));
    }
    let data = settings.data.path().display();
    let known = format!("every client needs it: cairn --data {data} token shows it, and --renew makes another");
    match Token::load(path) {
        Ok(token) => Ok((Some(token), Some(known))),
        Err(TokenError::Missing { .. }) => {
            let token = Token::make(path)?;
            // What is not a terminal is often a log, which others read and which is kept.
            let made = if io::stdout().is_terminal() {
                let link = token::link(address, &token);
                format!("made now; whoever has this link can read and write the ledger:\n          {link}")
            } else {
                format!("made now; {known}")
            };
            Ok((Some(token), Some(made)))
        }
        Err(error) => Err(error),
    }
}

/// Serves until a signal comes or something fails, then ends everything in order: clients, links, turns.
async fn until_the_end(
    mut http: JoinHandle<io::Result<()>>,
    mut keeper: Keeper,
    locked: &LockedDir,
    signal: impl Future<Output = &'static str>,
) -> Result<(), Failure> {
    tokio::select! {
        name = signal => info!("{name}: stopping"),
        failed = keeper.keep(locked) => {
            // Nothing may be said any more, not even goodbye.
            let Err(error) = failed;
            return Err(error.into());
        }
        result = &mut http => return Err(http_ended(result)),
    }
    // Links send their close frames and end by themselves, while clients do.
    let links = timeout(GRACE, keeper.close_links());
    let (clients, links) = tokio::join!(timeout(GRACE, &mut http), links);
    if clients.is_err() {
        warn!("clients did not leave within {} s", GRACE.as_secs());
        http.abort();
    }
    if links.is_err() {
        warn!("links did not close within {} s", GRACE.as_secs());
    }
    keeper.end().await?;
    info!("stopped");
    Ok(())
}

fn http_ended(result: Result<io::Result<()>, tokio::task::JoinError>) -> Failure {
    let what = "clients are not served any more";
    match result {
        Ok(Err(error)) => Failure::Io { what, error },
        Ok(Ok(())) => Failure::Io { what, error: io::ErrorKind::UnexpectedEof.into() },
        Err(error) => Failure::Bug { what: "the HTTP server", error },
    }
}

fn banner(settings: &Settings, status: &Status, address: SocketAddr, token: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let data = settings.data.path().display();
    writeln!(out, "Cairn {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  node    {}", status.node)?;
    writeln!(out, "  ledger  {}", ledger_line(status))?;
    writeln!(out, "  data    {data}")?;
    for relay in &status.relays {
        writeln!(out, "  relay   {}", relay.url)?;
    }
    if status.relays.is_empty() {
        writeln!(out, "  relay   none: --relay wss://… links this node to others")?;
    }
    writeln!(out, "  try     cairn --data {data} append \"hello\"    and    cairn --data {data} log --follow")?;
    if let Some(token) = token {
        writeln!(out, "  token   {token}")?;
    }
    writeln!(out, "  listening on http://{address}")?;
    out.flush()
}

/// Shows how far an exchange is, where someone looks.
async fn show_progress(mut events: broadcast::Receiver<Event>, mut stopped: watch::Receiver<bool>) {
    let mut shown = None;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match event {
            Ok(Event::Progress { done, total }) if done < total => {
                let bar = shown.get_or_insert_with(|| bar("syncing", total));
                bar.set_length(total);
                bar.set_position(done);
            }
            Ok(Event::Progress { total, .. }) => {
                if let Some(bar) = shown.take() {
                    bar.finish_and_clear();
                }
                if total > 0 {
                    info!("in step: {total} blocks received");
                }
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

#[cfg(unix)]
fn signal() -> io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "told to terminate",
        }
    })
}

#[cfg(not(unix))]
fn signal() -> io::Result<impl Future<Output = &'static str>> {
    Ok(async {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "interrupted",
            // Without signals only the end of the process ends the node.
            Err(_) => std::future::pending().await,
        }
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

    use super::*;

    /// Whoever is root sees no difference from outside.
    #[test]
    fn no_other_process_looks_into_the_memory_of_a_node() {
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::Dumpable));
        hide_memory();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
