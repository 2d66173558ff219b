//! The `cairn` program in processes of its own.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use node::{
    control::{ControlFile, client::ControlClient},
    host::Status,
};
use serde_json::Value;

use crate::{
    history,
    meter::{Cost, Meter},
    place::Place,
};

/// How often it is asked how far a node is. An answer waits for the turn that is under way, so asking costs the node little.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// The digits of no key: nobody is reached by QUIC there, so nodes that announce it stay linked by WebSocket.
const NOWHERE: &str = "iroh:0202020202020202020202020202020202020202020202020202020202020202?ip=127.0.0.1:9";

/// The program: `CAIRN_BIN`, or what cargo built beside this one.
fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CAIRN_BIN") {
        return Ok(path.into());
    }
    let own = env::current_exe()?;
    let path = own.with_file_name(format!("cairn{}", env::consts::EXE_SUFFIX));
    ensure!(path.exists(), "there is no {}: cargo build --release -p node --bin cairn", path.display());
    Ok(path)
}

/// A command over a data directory, with nothing of the environment that would change it.
pub(crate) fn command(place: &Place, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program()?);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CAIRN_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").arg("--data").arg(place.data().path()).args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// `cairn verify`: all blocks of a closed store are right, and these are their entries. Returns how many seconds it took, and what it cost.
pub(crate) fn verify(place: &Place, entries: u64) -> Result<(f64, Cost)> {
    let mut command = command(place, &["verify", "--json"])?;
    let (began, before) = (Instant::now(), Meter::own().children());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let meter = Meter::of(child.id());
    let mut memory = None;
    while child.try_wait()?.is_none() {
        memory = meter.peak().or(memory);
        thread::sleep(ASK_EVERY);
    }
    let took = began.elapsed().as_secs_f64();
    let output = child.wait_with_output()?;
    let findings: Value = serde_json::from_slice(&output.stdout).context("`cairn verify` prints no JSON")?;
    ensure!(output.status.success() && findings["ok"] == true, "`cairn verify` finds {findings}");
    ensure!(findings["entries"] == entries, "the store has {} of {entries} entries", findings["entries"]);
    let cpu = Meter::own().children().zip(before).map(|(now, before)| now - before);
    Ok((took, Cost { cpu, memory }))
}

/// A node that serves, until its value ends.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    client: ControlClient,
}

impl Node {
    /// One that links to nobody.
    pub(crate) fn alone(place: &Place) -> Result<Self> {
        Self::start(place, &["--direct", "off"])
    }

    /// One that others find at its address, and that links to these by WebSocket.
    pub(crate) fn linked(place: &Place, peers: &[&Node]) -> Result<Self> {
        let urls: Vec<String> = peers.iter().map(|peer| format!("ws://{}", peer.address)).collect();
        let peers = urls.iter().flat_map(|url| ["--peer", url]);
        Self::start(place, &["--announce", NOWHERE].into_iter().chain(peers).collect::<Vec<_>>())
    }

    /// Returns when it answers.
    fn start(place: &Place, arguments: &[&str]) -> Result<Self> {
        let mut command = command(place, &["serve", "--listen", "127.0.0.1:0"])?;
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("a node has no output")?);
        let address = loop {
            let mut line = String::new();
            ensure!(stdout.read_line(&mut line)? > 0, "a node ended before it listened");
            if let Some((_, address)) = line.trim_end().split_once("listening on http://") {
                break address.parse()?;
            }
        };
        let file = ControlFile::load(&place.data().control())?.context("a node has no control file")?;
        let client = ControlClient::new(file).of(history::ledger().to_string());
        Ok(Self { child, _stdout: stdout, address, client })
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter::of(self.child.id())
    }

    pub(crate) fn client(&self) -> &ControlClient {
        &self.client
    }

    /// Waits until it has so many entries.
    pub(crate) fn holds(&self, entries: u64) -> Result<Status> {
        let began = Instant::now();
        loop {
            let status = self.client.status()?;
            if status.totals.entries >= entries {
                ensure!(
                    status.totals.entries == entries,
                    "{} entries where {entries} were made",
                    status.totals.entries
                );
                return Ok(status);
            }
            if began.elapsed() > PATIENCE {
                bail!("{} of {entries} entries after {} s", status.totals.entries, PATIENCE.as_secs());
            }
            thread::sleep(ASK_EVERY);
        }
    }

    /// Tells it to stop, and waits until it has closed its store.
    pub(crate) fn stop(mut self) -> Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(told.success(), "a node was gone before it was told to stop");
        let status = self.child.wait()?;
        ensure!(status.success(), "a node ended with {status}");
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended, or nobody waits for it any more.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
