//! iroh-gossip between two nodes on loopback, with neither relay nor discovery.
//!
//! The nodes are two endpoints of one process, each with its own runtime, so that there is one clock; `cpu` and `memory` are of
//! both. Durability: none, a message is in memory until its neighbours have it, and a receiver that is too slow loses some. What
//! is verified: QUIC authenticates the neighbour that hands on a message; nothing says who wrote it.

use std::{
    fs,
    net::Ipv4Addr,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode,
    address_lookup::memory::MemoryLookup,
    endpoint::{PortmapperConfig, presets},
    protocol::Router,
};
use iroh_gossip::{
    ALPN, TopicId,
    api::{Event, GossipReceiver, GossipSender, JoinOptions},
    net::Gossip,
};
use n0_future::StreamExt;
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    runtime::{Handle, Runtime},
    time::timeout,
};

/// Nobody waits longer than this for a message that may be lost.
const QUIET: Duration = Duration::from_secs(3);
/// How long two nodes may take to find each other.
const JOIN: Duration = Duration::from_secs(30);
/// Messages before the first that counts.
const WARM: u64 = 100;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Sends as fast as the library takes it: `gossip:burst` deliveries/s and `gossip:lost` percent.
    Burst {
        #[arg(long, default_value_t = 10_000)]
        entries: u64,
        #[arg(long, default_value_t = 200)]
        bytes: usize,
        /// Messages that the receiver's subscription holds: the library's own 2,048 lose more.
        #[arg(long, default_value = "16384")]
        capacity: NonZeroUsize,
    },
    /// Sends one after the other: `gossip:live/p50` and `gossip:live/p99`, ms from the call to the other side's event.
    Live {
        #[arg(long, default_value_t = 1_000)]
        entries: u64,
        #[arg(long, default_value_t = 120)]
        bytes: usize,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (one, two) = (Runtime::new()?, Runtime::new()?);
    match options.scenario {
        Scenario::Burst { entries, bytes, capacity } => burst(&one, &two, entries, bytes, capacity.get()),
        Scenario::Live { entries, bytes } => live(&one, &two, entries, bytes),
    }
}

fn burst(one: &Runtime, two: &Runtime, entries: u64, bytes: usize, capacity: usize) -> Result<()> {
    ensure!(entries > 0, "a burst of no messages");
    let (writer, reader) = pair(one, two, capacity)?;
    let cpu = cpu_seconds();
    let began = Instant::now();
    let receiving = two.spawn(receive_all(reader.receiver, entries));
    one.block_on(async {
        for number in 0..entries {
            writer.sender.broadcast(message(number, bytes).into()).await?;
        }
        anyhow::Ok(())
    })?;
    eprintln!("all handed over after {:.2} s", began.elapsed().as_secs_f64());
    let received = two.block_on(receiving)??;
    let took = received.last.duration_since(began).as_secs_f64();
    let usage = Usage { cpu: cpu_seconds() - cpu, memory: peak_memory()? };
    eprintln!("{} of {entries} messages came, the last after {took:.2} s", received.count);
    usage.print("gossip:burst", received.count as f64 / took);
    usage.print("gossip:lost", 100.0 * (entries - received.count) as f64 / entries as f64);
    Ok(())
}

fn live(one: &Runtime, two: &Runtime, entries: u64, bytes: usize) -> Result<()> {
    ensure!(entries > 0, "the latency of no messages");
    let (writer, mut reader) = pair(one, two, JoinOptions::with_bootstrap([]).subscription_capacity)?;
    let (arrived, mut arrivals) = tokio::sync::mpsc::channel(1);
    two.spawn(async move {
        while let Some((number, at)) = next_message(&mut reader.receiver).await? {
            arrived.send((number, at)).await?;
        }
        anyhow::Ok(())
    });
    let (mut times, cpu) = one.block_on(async {
        let (mut times, mut cpu) = (Vec::new(), cpu_seconds());
        for number in 0..WARM + entries {
            if number == WARM {
                cpu = cpu_seconds();
            }
            let called = Instant::now();
            writer.sender.broadcast(message(number, bytes).into()).await?;
            let Some((came, at)) = timeout(QUIET, arrivals.recv()).await.context("a message did not arrive")? else {
                bail!("the receiver ended");
            };
            ensure!(came == number, "message {came} came in place of {number}");
            if number >= WARM {
                times.push(at.duration_since(called).as_secs_f64() * 1_000.0);
            }
        }
        Ok((times, cpu_seconds() - cpu))
    })?;
    times.sort_by(f64::total_cmp);
    let usage = Usage { cpu, memory: peak_memory()? };
    usage.print("gossip:live/p50", percentile(&times, 50));
    usage.print("gossip:live/p99", percentile(&times, 99));
    Ok(())
}

/// One of the two, in the topic of both.
struct Member {
    sender: GossipSender,
    receiver: GossipReceiver,
    /// Ends the node when it is dropped.
    _router: Router,
}

/// Two nodes that have each other as neighbour.
fn pair(one: &Runtime, two: &Runtime, capacity: usize) -> Result<(Member, Member)> {
    let topic = TopicId::from_bytes([7; 32]);
    let first = one.block_on(Node::start(None))?;
    let address = first.router.endpoint().addr();
    let second = two.block_on(Node::start(Some(address.clone())))?;
    let first = spawn_join(one.handle(), first, topic, Vec::new(), capacity);
    let second = spawn_join(two.handle(), second, topic, vec![address.id], capacity);
    Ok((one.block_on(first)??, two.block_on(second)??))
}

fn spawn_join(
    runtime: &Handle,
    node: Node,
    topic: TopicId,
    bootstrap: Vec<EndpointId>,
    capacity: usize,
) -> tokio::task::JoinHandle<Result<Member>> {
    runtime.spawn(async move { timeout(JOIN, node.join(topic, bootstrap, capacity)).await.context("no neighbour")? })
}

struct Node {
    router: Router,
    gossip: Gossip,
}

impl Node {
    /// A node that knows where `other` is, and asks nobody for anything.
    async fn start(other: Option<EndpointAddr>) -> Result<Self> {
        let known = MemoryLookup::new();
        if let Some(other) = other {
            known.add_endpoint_info(other);
        }
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .portmapper_config(PortmapperConfig::Disabled)
            .address_lookup(known)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))?
            .bind()
            .await?;
        let gossip = Gossip::builder().spawn(endpoint.clone());
        let router = Router::builder(endpoint).accept(ALPN, gossip.clone()).spawn();
        Ok(Self { router, gossip })
    }

    async fn join(self, topic: TopicId, bootstrap: Vec<EndpointId>, capacity: usize) -> Result<Member> {
        let mut options = JoinOptions::with_bootstrap(bootstrap);
        options.subscription_capacity = capacity;
        let mut joined = self.gossip.subscribe_with_opts(topic, options).await?;
        joined.joined().await?;
        let (sender, receiver) = joined.split();
        Ok(Member { sender, receiver, _router: self.router })
    }
}

struct Received {
    count: u64,
    last: Instant,
}

/// Counts until all came, or nothing did for a while.
async fn receive_all(mut receiver: GossipReceiver, entries: u64) -> Result<Received> {
    let mut received = Received { count: 0, last: Instant::now() };
    let mut seen = vec![false; usize::try_from(entries)?];
    while received.count < entries {
        let Ok(next) = timeout(QUIET, next_message(&mut receiver)).await else { break };
        let Some((number, at)) = next? else { break };
        let seen = seen.get_mut(usize::try_from(number)?).context("a message that nobody sent")?;
        ensure!(!*seen, "message {number} came twice");
        *seen = true;
        received = Received { count: received.count + 1, last: at };
    }
    Ok(received)
}

/// The number of the next message and when it came, or nothing when the topic has ended.
async fn next_message(receiver: &mut GossipReceiver) -> Result<Option<(u64, Instant)>> {
    while let Some(event) = receiver.next().await {
        if let Event::Received(message) = event? {
            let number = message.content.first_chunk().context("a message without its number")?;
            return Ok(Some((u64::from_be_bytes(*number), Instant::now())));
        }
    }
    Ok(None)
}

/// A message that begins with its number.
fn message(number: u64, bytes: usize) -> Vec<u8> {
    let mut message = number.to_be_bytes().to_vec();
    message.resize(bytes.max(message.len()), b'x');
    message
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

struct Usage {
    cpu: f64,
    memory: u64,
}

impl Usage {
    fn print(&self, figure: &str, value: f64) {
        let Self { cpu, memory } = self;
        println!(r#"{{"figure":"{figure}","value":{value},"cpu":{cpu},"memory":{memory}}}"#);
    }
}

/// Seconds of CPU that this process has used.
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// The most bytes that this process had resident.
fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
