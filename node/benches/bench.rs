//! The figures of `just bench` that need no client: durable appends, cold sync, bytes, memory and reopening.
//!
//! `cargo bench -p node` measures 100,000 entries for sync and 1,000,000 for memory; `cargo bench -p node -- 1000 10000`
//! measures as many as it is told.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use node::{
    config::RelayUrl,
    data::DataDir,
    host::{Host, HostThread, LinkCommand, LinkPort},
    link::{Network, relay},
};
use shared::{Entry, Header, Key, Kind, LinkPath, Role, Timestamp, VerifiedBlock, block::open_ledger};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    time::sleep,
};

#[path = "../tests/node/hub.rs"]
mod hub;
use hub::Hub;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// A chat line with its author and time, as JSON.
const PAYLOAD_BYTES: usize = 100;
/// Blocks of one import.
const BATCH: usize = 1024;

fn main() {
    // `cargo bench` adds a flag of its own.
    let mut numbers = env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (sync, memory) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(1_000_000));
    let runtime = Runtime::new().unwrap();
    println!("payloads of {PAYLOAD_BYTES} bytes; SQLite with WAL and synchronous=FULL\n");
    runtime.block_on(appends());
    println!();
    for per_block in [256, 1] {
        runtime.block_on(cold_sync(sync, per_block));
    }
    println!();
    for per_block in [256, 1] {
        large_ledger(&runtime, memory, per_block);
    }
}

fn print(what: &str, value: f64, unit: &str) {
    println!("{what:58} {value:>12.1} {unit}");
}

fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// A data directory that ends with its value, on the disk that holds the build.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn data(&self) -> DataDir {
        DataDir::new(self.0.path())
    }

    fn start(&self) -> (Host, HostThread) {
        Host::start(self.data().lock().unwrap().open(None).unwrap()).unwrap()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

async fn stop(host: Host, mut thread: HostThread) {
    host.stop();
    thread.ended().await.unwrap();
}

fn payload(n: u64) -> Vec<u8> {
    let head = format!("{{\"n\":{n},\"text\":\"");
    format!("{head}{}\"}}", "x".repeat(PAYLOAD_BYTES - head.len() - 2)).into_bytes()
}

async fn appends() {
    let place = Place::new();
    let (host, thread) = place.start();
    let began = Instant::now();
    for n in 0..1_000 {
        host.append(vec![payload(n)]).await.unwrap().await.unwrap().unwrap();
    }
    print("durable appends, one after the other", per_second(1_000, began.elapsed()), "entries/s");

    let began = Instant::now();
    let mut waiting = Vec::new();
    for n in 0..100_000 {
        waiting.push(host.append(vec![payload(n)]).await.unwrap());
    }
    for pending in waiting {
        pending.await.unwrap().unwrap();
    }
    print("durable appends, all at once", per_second(100_000, began.elapsed()), "entries/s");

    let began = Instant::now();
    for batch in 0..20 {
        let payloads = (0..10_000).map(|n| payload(batch * 10_000 + n)).collect();
        host.append(payloads).await.unwrap().await.unwrap().unwrap();
    }
    print("durable appends, 10,000 in each", per_second(200_000, began.elapsed()), "entries/s");
    stop(host, thread).await;
}

/// A lane of blocks, signed by somebody else.
fn lane(entries: u64, per_block: u64) -> impl Iterator<Item = Vec<u8>> {
    let key = Key::from_secret(&[7; 32]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let (mut parents, mut height, mut from) = (Vec::new(), 0, 0);
    std::iter::from_fn(move || {
        let to = (from + per_block).min(entries);
        if from == to {
            return None;
        }
        height += 1;
        let header = Header {
            ledger: open_ledger(node::data::DEFAULT_LEDGER),
            author: key.node(),
            height,
            timestamp: Timestamp::from_micros(now - 3_600_000_000 + from).unwrap(),
            parents: parents.clone(),
        };
        let entries = (from..to).map(|n| Entry::new(Kind::DATA, [n as u8; 16], payload(n))).collect();
        let block = VerifiedBlock::sign(header, entries, &key);
        parents = vec![block.hash()];
        from = to;
        Some(block.bytes().to_vec())
    })
}

async fn fill(host: &Host, entries: u64, per_block: u64) {
    let mut blocks = lane(entries, per_block).peekable();
    while blocks.peek().is_some() {
        let batch: Vec<Vec<u8>> = blocks.by_ref().take(BATCH).collect();
        let len = batch.len() as u64;
        assert_eq!(host.import(batch).await.unwrap().added, len);
    }
}

async fn until_full(host: &Host, entries: u64) {
    while host.status().await.unwrap().totals.entries < entries {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Both ends of an in-process link: what one end is to send, the other end receives.
async fn wire(port: LinkPort, mut commands: mpsc::Receiver<LinkCommand>) {
    while let Some(command) = commands.recv().await {
        let sent = match command {
            LinkCommand::Frame(bytes) => port.frame(bytes).await,
            LinkCommand::Ping => port.ping().await,
            LinkCommand::Pong => port.pong().await,
            LinkCommand::PeerUp(_) => Ok(()),
            LinkCommand::Close { reason, .. } => panic!("a link was closed: {reason}"),
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn cold_sync(entries: u64, per_block: u64) {
    let hub_place = Place::new();
    let hub = Hub::start(hub_place.path(), ANY).await;
    fill(&hub.host, entries, per_block).await;

    let place = Place::new();
    let (host, thread) = place.start();
    let (port_here, commands_here) = host.open_link(Role::Dialled, LinkPath::Relay, None).await.unwrap();
    let (port_there, commands_there) = hub.host.open_link(Role::Accepted, LinkPath::Relay, None).await.unwrap();
    let began = Instant::now();
    let wires = [tokio::spawn(wire(port_there, commands_here)), tokio::spawn(wire(port_here, commands_there))];
    until_full(&host, entries).await;
    let what = format!("cold sync of {entries} entries, blocks of {per_block}, in process");
    print(&what, per_second(entries, began.elapsed()), "entries/s");
    wires.iter().for_each(|wire| wire.abort());
    stop(host, thread).await;

    let place = Place::new();
    let (host, thread) = place.start();
    let (stop_relay, stopped) = watch::channel(false);
    let url: RelayUrl = format!("ws://{}", hub.address).parse().unwrap();
    let began = Instant::now();
    let link = tokio::spawn(relay::run(host.clone(), url, None, Network::default(), stopped));
    until_full(&host, entries).await;
    let what = format!("cold sync of {entries} entries, blocks of {per_block}, WebSocket");
    print(&what, per_second(entries, began.elapsed()), "entries/s");
    stop_relay.send_replace(true);
    link.await.unwrap();
    stop(host, thread).await;
    hub.stop().await;
}

/// A node process that is killed with its value.
struct Node(Child);

impl Node {
    fn serve(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("listening on")), "the node ended");
        Self(child)
    }

    /// A line of the kernel's notes on the process, in MB (Linux only).
    fn megabytes(&self, field: &str) -> Option<f64> {
        let status = fs::read_to_string(PathBuf::from(format!("/proc/{}/status", self.0.id()))).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()?;
        Some(kib / 1024.0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn large_ledger(runtime: &Runtime, entries: u64, per_block: u64) {
    let place = Place::new();
    runtime.block_on(async {
        let (host, thread) = place.start();
        let began = Instant::now();
        fill(&host, entries, per_block).await;
        let what = format!("import of {entries} entries, blocks of {per_block}");
        print(&what, per_second(entries, began.elapsed()), "entries/s");
        stop(host, thread).await;
    });
    let bytes = fs::metadata(place.data().first().store()).unwrap().len();
    print(&format!("bytes stored for each entry, blocks of {per_block}"), bytes as f64 / entries as f64, "bytes");

    let began = Instant::now();
    let node = Node::serve(place.path());
    print("start of a node with it, to its first answer", began.elapsed().as_secs_f64() * 1000.0, "ms");
    let client = || {
        let file = node::control::ControlFile::load(&place.data().control()).unwrap().unwrap();
        let ledger = place.data().reader().unwrap().ledger().unwrap().id();
        node::control::client::ControlClient::new(file).of(ledger.to_string())
    };
    // Reads all of it through the node, and writes a little.
    let mut read = 0;
    for followed in client().follow(0).unwrap() {
        read += followed.entries.len() as u64;
        if read == entries {
            break;
        }
    }
    for n in 0..100 {
        client().append(&[n.to_string()]).unwrap();
    }
    if let (Some(now), Some(most)) = (node.megabytes("VmRSS"), node.megabytes("VmHWM")) {
        print("memory of that node after all of it was read", now, "MB");
        print("memory of that node at the most", most, "MB");
    }
    drop(node);
    let began = Instant::now();
    drop(Node::serve(place.path()));
    print("start of that node after kill -9", began.elapsed().as_secs_f64() * 1000.0, "ms");
}
