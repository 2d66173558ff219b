//! The server under test, a process of its own, and what the operating system says of it.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::client::Protocol;

/// Ticks per second of the times in `/proc` (USER_HZ, which Linux never changes).
const TICKS: f64 = 100.0;

/// What a process has used since it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Of processor time.
    pub(crate) seconds: f64,
    /// The most resident bytes.
    pub(crate) peak: u64,
}

/// A running server with nothing in it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Starts one on a free port.
    pub(crate) fn start(protocol: Protocol, program: Option<PathBuf>, arguments: &[String]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("crowd-").tempdir()?;
        let log = directory.path().join("log");
        let program = match (program, protocol) {
            (Some(program), _) => program,
            (None, Protocol::Cairn) => node_beside()?,
            (None, Protocol::Say) => bail!("--program says what starts a server of this kind, or --url where it runs"),
        };
        let mut command = Command::new(&program);
        if protocol == Protocol::Cairn {
            command.args(["serve", "--listen", "127.0.0.1:0", "--direct", "off", "--data"]);
            // Its memory is looked at.
            command.arg(directory.path().join("data")).env("CAIRN_TRACEABLE", "1");
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log)?);
        let mut child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("the server has no output")?).lines();
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, url) = line.split_once("listening on ").or_else(|| line.split_once("\"listening\":\""))?;
            Some(url.trim_end_matches(['"', '}', ' ']).to_owned())
        });
        let Some(url) = url else {
            _ = child.kill();
            _ = child.wait();
            bail!("{} did not start: {}", program.display(), fs::read_to_string(&log).unwrap_or_default().trim());
        };
        // A server whose output nobody takes would stand still, or end.
        thread::spawn(move || lines.for_each(drop));
        Ok(Self { address: address(&url)?, child, _directory: directory })
    }

    /// What it has used so far.
    pub(crate) fn used(&self) -> Used {
        Used { seconds: seconds(self.child.id()), peak: self.memory("VmHWM:") }
    }

    /// Resident bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended, or nobody waits for it any more.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Where a URL without a path leads.
pub(crate) fn address(url: &str) -> Result<SocketAddr> {
    let host = url.strip_prefix("http://").map(|host| host.trim_end_matches('/'));
    host.and_then(|host| host.parse().ok()).ok_or_else(|| anyhow!("{url} is not http:// with an address and a port"))
}

/// Seconds of processor time of this process.
pub(crate) fn own_seconds() -> f64 {
    seconds(std::process::id())
}

fn seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in brackets may hold anything, so count from behind it: user and system time are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

/// The node that `CAIRN_BIN` names, or the one that the same build made.
fn node_beside() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CAIRN_BIN") {
        return Ok(path.into());
    }
    let path = env::current_exe()?.with_file_name("cairn");
    if path.exists() { Ok(path) } else { bail!("{} is not there: build the node, or give --program", path.display()) }
}
