//! Readers that stop, and readers that take a byte a second: what each costs, when it is closed and with what reason, what
//! the others notice, and that it resumes with nothing missing.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncReadExt,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Error, Scale,
    background::{Background, Plan},
    client::Client,
    clients::View,
    node::Node,
    report::Report,
};

/// KiB of the node's memory that one reader may cost.
const EACH: f64 = 1024.0;
/// How long a reader may stay after its cap is reached; the second where other things run on the machine.
const CLOSED_AFTER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
/// How long it may take until a reader's cap is reached and it is closed, in all.
const CLOSED: Duration = Duration::from_secs(60);
/// What the operating system keeps for half of the readers; the others leave it to the system, and reach their cap later.
const RECEIVE_BUFFER: u32 = 16 * 1024;
/// The pause between two looks at the connections.
const LOOK: Duration = Duration::from_millis(100);
/// How much later the others may get their entries.
const GROWTH: f64 = 1.10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stopped,
    ByteASecond,
}

/// What became of one slow reader.
struct Ended {
    kind: Kind,
    view: View,
    /// How long nothing moved before the node closed the connection.
    closed_after: Duration,
    reason: Option<String>,
    /// How its connection ended.
    end: String,
}

pub(crate) async fn run(scale: Scale) -> Result<Vec<Report>, Error> {
    let readers = scale.pick(16, 20);
    let plan = Plan { followers: scale.pick(40, 200), rate: scale.pick(100, 200), bytes: 4_000 };
    let part = Duration::from_secs(scale.pick(4, 25));
    let node = Node::start(&[])?;
    let mut report = Report::new("slow");
    report.figure("readers", readers);
    report.figure("others", plan.followers);
    let mut background = Background::connect(node.address, plan).await?;
    let files = node.files();
    let clock = node.clock();
    let connections = watch_connections(node.address);
    background.write();
    // Alone, with slow readers, alone: what changes by itself meanwhile is in the first and the last part.
    sleep(part).await;
    warm_up(&node, background.epoch).await?;
    background.next_part();
    node.forget_peak()?;
    let memory = node.memory();
    let mut slow = JoinSet::new();
    for index in 0..readers {
        let kind = if index % 2 == 0 { Kind::Stopped } else { Kind::ByteASecond };
        // What the operating system keeps for a reader is the one thing that a reader chooses.
        let buffer = (index % 4 < 2).then_some(RECEIVE_BUFFER);
        slow.spawn(be_slow(node.address, kind, buffer, background.epoch, connections.clone()));
    }
    let mut ended = Vec::new();
    while let Some(reader) = slow.join_next().await {
        ended.push(reader??);
    }
    let peak = node.peak();
    background.next_part();
    sleep(part).await;
    clock.report(&node, &mut report);
    let (seen, parts) = background.finish().await?;

    report.at_most("kib_each", peak.saturating_sub(memory) as f64 / f64::from(readers), EACH);
    let longest = ended.iter().map(|reader| reader.closed_after).max().unwrap_or_default();
    report.figure("closed_after", format_args!("{:.1}s", longest.as_secs_f64()));
    report.require(longest <= scale.pick(CLOSED_AFTER.1, CLOSED_AFTER.0), || {
        format!("a reader was closed {longest:?} after its cap")
    });
    let silent = ended.iter().filter(|reader| reader.reason.is_none()).count();
    report.none("without_reason", silent);
    if let Some(reader) = ended.iter().find(|reader| reader.reason.is_none()) {
        report.figure("ended_instead", format_args!("{:?} ({:?})", reader.end, reader.kind));
    }
    if let Some(reason) = ended.iter().find_map(|reader| reader.reason.clone()) {
        report.figure("reason", format_args!("{reason:?}"));
    }
    let quantile = |part: usize| parts.get(part).map_or(0, |times| times.quantile(0.99));
    let mut alone = parts.first().cloned().unwrap_or_default();
    alone.merge(&parts.get(2).cloned().unwrap_or_default());
    let (alone, beside) = (alone.quantile(0.99), quantile(1));
    report.quantile("p99_alone", alone);
    report.quantile("p99_beside", beside);
    report.figure("p99_growth", format_args!("{:+.1}%", 100.0 * (beside as f64 / alone.max(1) as f64 - 1.0)));
    if scale == Scale::Full {
        report.require(beside as f64 <= alone as f64 * GROWTH, || "the others' p99 grew by more than 10 %".to_owned());
    }
    seen.report(&mut report);
    let total = seen.entries;
    resume(&node, ended, total, &mut report).await?;
    let files_after = node.files_again(files, Duration::from_secs(20)).await;
    report.none("files_left", files_after.saturating_sub(files));
    node.stop(&mut report).await;
    Ok(vec![report])
}

/// Has the node read its store for several clients, so that what that needs once is not taken for the cost of a slow reader.
async fn warm_up(node: &Node, epoch: Instant) -> Result<(), Error> {
    let mut readers = JoinSet::new();
    for _ in 0..16 {
        let address = node.address;
        readers.spawn(async move { caught_up(address, &mut View::new(epoch)).await.map(drop) });
    }
    while let Some(reader) = readers.join_next().await {
        reader??;
    }
    Ok(())
}

/// Connects, and follows from the view's cursor on until everything is there.
async fn caught_up(address: SocketAddr, view: &mut View) -> Result<Client, Error> {
    let mut client = Client::connect(address, None).await?;
    let cursor = if view.cursor.is_empty() { "null".to_owned() } else { format!("\"{}\"", view.cursor) };
    view.done = false;
    client.send(&format!("42[\"subscribe\",{{\"cursor\":{cursor}}}]")).await?;
    let catch_up = async {
        while !view.done {
            client.read(&mut |packet| view.take(packet)).await?;
        }
        Ok::<(), Error>(())
    };
    timeout(CLOSED, catch_up).await.map_err(|_| "a reader did not catch up")??;
    Ok(client)
}

/// Takes some live entries, then is slow until the node closes the connection, then reads what is still there.
async fn be_slow(
    address: SocketAddr,
    kind: Kind,
    buffer: Option<u32>,
    epoch: Instant,
    mut connections: watch::Receiver<Queued>,
) -> Result<Ended, Error> {
    let mut view = View::late(epoch);
    let mut client = Client::connect(address, buffer).await?;
    while view.cursor.is_empty() {
        client.read(&mut |packet| view.take(packet)).await?;
    }
    let port = client.stream.local_addr()?.port();
    connections.wait_for(|connections| connections.contains_key(&port)).await?;
    let began = Instant::now();
    let mut byte = tokio::time::interval(Duration::from_secs(1));
    let mut first_bytes = Vec::new();
    // The node's side of the connection, as the operating system shows it: what it has not delivered, since when that is
    // the same, and how long it was at most. The last change may be that of the reason.
    let (mut queued, mut since, mut closed_after) = (0, Instant::now(), Duration::ZERO);
    loop {
        let bytes = connections.borrow_and_update().get(&port).copied();
        let Some(bytes) = bytes else { break };
        if bytes != queued {
            (queued, since) = (bytes, Instant::now());
        }
        closed_after = closed_after.max(since.elapsed());
        if began.elapsed() > CLOSED {
            return Err(format!("a reader ({kind:?}) was not closed within {} s", CLOSED.as_secs()).into());
        }
        tokio::select! {
            _ = byte.tick(), if kind == Kind::ByteASecond => first_bytes.push(client.stream.read_u8().await?),
            changed = connections.changed() => changed?,
        }
    }
    let mut reason = None;
    client.put_back(&first_bytes);
    let read = async {
        loop {
            let mut take = |packet: &str| {
                view.take(packet);
                if packet.contains("\"code\":\"stalled\"") {
                    reason = Some(packet.to_owned());
                }
            };
            if let Err(end) = client.read(&mut take).await {
                return end;
            }
        }
    };
    let end = timeout(CLOSED, read).await.map_err(|_| "a closed connection does not end")?;
    // Both, or neither was whole.
    let reason = reason.filter(|_| end.0.starts_with("close 4006 ")).map(|_| end.0.clone());
    Ok(Ended { kind, view, closed_after, reason, end: end.0 })
}

/// Bytes that the node's side of each connection has not delivered yet, by the port of the other side.
type Queued = Arc<HashMap<u16, u64>>;

/// Reads the operating system's table of connections again and again, until nobody looks at it any more. In a thread of
/// its own, because that takes a while, and through the whole run, so that it is in all parts alike.
fn watch_connections(node: SocketAddr) -> watch::Receiver<Queued> {
    let (sender, receiver) = watch::channel(Queued::default());
    std::thread::spawn(move || {
        while !sender.is_closed() {
            sender.send_replace(Arc::new(connections(node.port())));
            std::thread::sleep(LOOK);
        }
    });
    receiver
}

fn connections(node: u16) -> HashMap<u16, u64> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let node = format!(":{node:04X}");
    let read = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let port = u16::from_str_radix(remote.rsplit(':').next()?, 16).ok()?;
        let queued = u64::from_str_radix(queues.split(':').next()?, 16).ok()?;
        (local.ends_with(&node) && state == ESTABLISHED).then_some((port, queued))
    };
    table.lines().filter_map(read).collect()
}

/// Every slow reader connects again and goes on behind the last entry that it has.
async fn resume(node: &Node, ended: Vec<Ended>, total: u64, report: &mut Report) -> Result<(), Error> {
    let mut missing = HashMap::from([("stopped", 0), ("byte_a_second", 0)]);
    for Ended { kind, mut view, .. } in ended {
        drop(caught_up(node.address, &mut view).await?);
        let key = if kind == Kind::Stopped { "stopped" } else { "byte_a_second" };
        *missing.entry(key).or_default() += total - view.next;
        report.require(view.wrong.is_none(), || view.wrong.unwrap_or_default());
    }
    report.none("missing_stopped", missing["stopped"] as usize);
    report.none("missing_byte_a_second", missing["byte_a_second"] as usize);
    Ok(())
}
