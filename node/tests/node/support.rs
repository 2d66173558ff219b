//! Runs the `cairn` binary in a directory of its own.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use node::{
    control::{ControlFile, client::ControlClient},
    data::DataDir,
};
use serde_json::Value;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A data directory that ends with the test.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> DataDir {
        DataDir::new(self.path().join("data"))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The command with this data directory, and nothing of the environment that would change it.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = self.command_by(&[env!("CARGO_BIN_EXE_cairn")]);
        command.args(arguments);
        command
    }

    /// The command as arguments of other words.
    fn command_by(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--data").arg(self.data().path()).current_dir(self.path());
        let lists = ["CAIRN_RELAY", "CAIRN_ALLOW_HOST", "CAIRN_ALLOW_ORIGIN", "CAIRN_PEER", "CAIRN_ANNOUNCE"];
        let secrets = ["CAIRN_RELAY_SECRET", "CAIRN_PASSPHRASE", "CAIRN_PASSPHRASE_FILE"];
        let others = ["CAIRN_LEDGER", "CAIRN_DATA", "CAIRN_LISTEN", "RUST_LOG"];
        for name in others.into_iter().chain(lists).chain(secrets) {
            command.env_remove(name);
        }
        // Or nodes that share a hub would link to each other, too.
        command.env("CAIRN_DIRECT", "off");
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs a command with this on its standard input.
    pub(crate) fn feed<A: AsRef<OsStr>>(&self, arguments: &[A], input: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = thread::scope(|scope| {
            // A command that refuses early does not read all of it.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap()
        });
        Ran(output)
    }

    /// Serves the directory on any free port.
    pub(crate) fn serve<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Served {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments).stderr(Stdio::null());
        Served::start(command, self.data())
    }

    /// Serves the directory also to other machines.
    pub(crate) fn serve_elsewhere(&self) -> Served {
        let mut command = self.command(&["serve", "--listen", "0.0.0.0:0"]);
        command.stderr(Stdio::null());
        Served::start(command, self.data())
    }

    /// Serves the directory by another program, and keeps what it says.
    pub(crate) fn serve_by(&self, words: &[&str]) -> Served {
        let mut command = self.command_by(&[words, &[env!("CARGO_BIN_EXE_cairn")]].concat());
        command.args(["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
        Served::start(command, self.data())
    }
}

/// What became of a command.
pub(crate) struct Ran(Output);

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).output().unwrap())
    }

    pub(crate) fn code(&self) -> i32 {
        self.0.status.code().expect("the command was killed")
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// The lines of a command that did what it should.
    pub(crate) fn lines(&self) -> Vec<String> {
        assert_eq!(self.code(), 0, "{}", self.stderr());
        self.stdout().lines().map(str::to_owned).collect()
    }

    /// The lines as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A node that serves.
pub(crate) struct Served {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    data: DataDir,
}

impl Served {
    pub(crate) fn start(mut command: Command, data: DataDir) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the node ended before it listened");
            if let Some((_, address)) = line.trim_end().split_once("listening on http://") {
                break address.parse().unwrap();
            }
        };
        Served { child, _stdout: stdout, address, data }
    }

    /// Waits for its end; returns its exit code, and what it said on standard error if that was kept.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        (self.child.wait().unwrap().code(), said)
    }

    /// Asks the node to end; as [`Served::wait`].
    pub(crate) fn stop(self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.wait()
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn client(&self) -> ControlClient {
        let client = ControlClient::new(ControlFile::load(&self.data.control()).unwrap().unwrap());
        let ledger = self.data.reader().unwrap().ledger().unwrap().id();
        client.of(ledger.to_string())
    }

    /// `kill -9`, and no look back.
    pub(crate) fn kill_now(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    }

    /// `kill -9`, and wait until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the node to end, and returns its exit code.
    pub(crate) fn terminate(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code().expect("the node did not end by itself")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // After `kill` and `terminate` it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Looks again and again until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {} s", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(5));
    }
}
