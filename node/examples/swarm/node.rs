//! The node under load: a real `cairn serve`, and what the operating system says of it.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{Error, Scale, report::Report};

/// Open files that one process needs.
const FILES: [u64; 2] = [2_500, 11_000];
/// How long the node may take to stop.
const STOP: Duration = Duration::from_secs(20);
/// Ticks per second of the times in `/proc` (USER_HZ, which Linux never changes).
const TICKS: f64 = 100.0;

/// Raises this process's limit of open files, which its children inherit.
pub(crate) fn raise_open_files(scale: Scale) -> Result<u64, Error> {
    let needed = scale.pick(FILES[0], FILES[1]);
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    if files < needed {
        return Err(format!(
            "{files} open files are allowed and {needed} are needed: raise the hard limit (`ulimit -Hn {needed}` as root, or \
             LimitNOFILE of the service)"
        )
        .into());
    }
    Ok(files)
}

/// A running node with an empty ledger.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    pub(crate) address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Node {
    /// Starts a node on a free port.
    pub(crate) fn start(arguments: &[String]) -> Result<Self, Error> {
        let directory = tempfile::Builder::new().prefix("swarm-").tempdir()?;
        let log = fs::File::create(directory.path().join("log"))?;
        let binary = binary()?;
        let mut child = Command::new(&binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(directory.path().join("data"))
            .args(arguments)
            // Its memory and files are counted.
            .env("CAIRN_TRACEABLE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", binary.display()))?;
        let out = BufReader::new(child.stdout.take().ok_or("the node has no output")?);
        for line in out.lines() {
            if let Some((_, address)) = line?.split_once("listening on http://") {
                return Ok(Self { address: address.trim().parse()?, child, directory });
            }
        }
        let told = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        Err(format!("the node did not start: {told}").into())
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Resident KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident KiB since the last [`Node::forget_peak`].
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(&self) -> Result<(), Error> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Open files.
    pub(crate) fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// Waits until it has no more open files than before, and says how many it has.
    pub(crate) async fn files_again(&self, before: usize, within: Duration) -> usize {
        let began = Instant::now();
        loop {
            let files = self.files();
            if files <= before || began.elapsed() > within {
                return files;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How much processor time it and this process have used so far.
    pub(crate) fn clock(&self) -> Clock {
        Clock { at: Instant::now(), node: cpu(self.child.id()), swarm: cpu(std::process::id()) }
    }

    pub(crate) fn exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Tells it to stop. It must do so in time, with exit code 0, and without ever having panicked.
    pub(crate) async fn stop(mut self, report: &mut Report) {
        let told = Command::new("kill").arg(self.child.id().to_string()).status();
        report.require(told.is_ok_and(|status| status.success()), || {
            "the node was gone before it was told to stop".to_owned()
        });
        let began = Instant::now();
        while !self.exited() && began.elapsed() < STOP {
            sleep(Duration::from_millis(20)).await;
        }
        match self.child.try_wait() {
            Ok(Some(status)) => report.require(status.success(), || format!("the node ended with {status}")),
            _ => report.fail(format!("the node did not stop within {} s", STOP.as_secs())),
        }
        let log = self.log();
        let bad = log.lines().find(|line| line.contains("panicked") || line.contains(" ERROR "));
        report.require(bad.is_none(), || format!("the node's log says: {}", bad.unwrap_or_default()));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended, or nobody waits for it any more.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Processor time at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    at: Instant,
    node: f64,
    swarm: f64,
}

impl Clock {
    /// Notes how much of one core the node and this process used since then.
    pub(crate) fn report(self, node: &Node, report: &mut Report) {
        let now = node.clock();
        let seconds = (now.at - self.at).as_secs_f64();
        report.figure("cpu_node", format_args!("{:.0}%", 100.0 * (now.node - self.node) / seconds));
        report.figure("cpu_swarm", format_args!("{:.0}%", 100.0 * (now.swarm - self.swarm) / seconds));
    }
}

/// Seconds of processor time of a process.
fn cpu(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in brackets may hold anything, so count from behind it: user and system time are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

/// The node's program: `CAIRN_BIN`, or the one that the same build made beside this one.
fn binary() -> Result<PathBuf, Error> {
    if let Some(path) = env::var_os("CAIRN_BIN") {
        return Ok(path.into());
    }
    let own = env::current_exe()?;
    let path = own.ancestors().nth(2).ok_or("this program lies in no directory")?.join("cairn");
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is not there: build the node first (cargo build -p node, with the same profile)", path.display())
        .into())
}
