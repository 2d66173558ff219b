//! Members that send or ask as fast as they can, and take the answers or not: what the others notice, and what it costs.

use std::time::{Duration, Instant};

use tokio::{
    io::AsyncWriteExt,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Error, Scale,
    background::{Background, Plan},
    client::{Client, End},
    frame,
    node::Node,
    report::Report,
};

/// MiB by which a flood may make the node grow: what all clients may have waiting, and as much again for what is at work.
const GROWTH_MIB: f64 = 512.0;
/// Bytes that a flooder writes at once.
const CHUNK: usize = 64 * 1024;
/// How late the entries of the others may come, in ms.
const P99: f64 = 250.0;

/// What is sent again and again.
const FLOODS: [(&str, &str, bool); 6] = [
    ("append", "42[\"add_ledger_entry\",{\"flood\":1}]", true),
    ("append_unread", "42[\"add_ledger_entry\",{\"flood\":1}]", false),
    ("get_ledger", "42[\"get_ledger\"]", true),
    ("get_ledger_unread", "42[\"get_ledger\"]", false),
    ("unknown", "421[\"no_such_event\",1,2,3]", true),
    (
        "echo_unread",
        "42[\"message\",\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]",
        false,
    ),
];

pub(crate) async fn run(scale: Scale) -> Result<Vec<Report>, Error> {
    let mut reports = Vec::new();
    for (name, packet, reads) in FLOODS {
        reports.push(flood(scale, name, packet, reads).await?);
    }
    Ok(reports)
}

async fn flood(scale: Scale, name: &str, packet: &'static str, reads: bool) -> Result<Report, Error> {
    let plan = Plan { followers: scale.pick(10, 50), rate: 20, bytes: 100 };
    let flooders = scale.pick(2, 4);
    let length = Duration::from_secs(scale.pick(1, 20));
    let node = Node::start(&[])?;
    let mut report = Report::new(format!("floods.{name}"));
    report.figure("flooders", flooders);
    let mut background = Background::connect(node.address, plan).await?;
    background.write();
    sleep(length / 4).await;
    background.next_part();
    let (memory, files, clock) = (node.memory(), node.files(), node.clock());
    node.forget_peak()?;
    let until = Instant::now() + length;
    let mut floods = JoinSet::new();
    for _ in 0..flooders {
        floods.spawn(be_a_flood(node.address, packet, reads, until));
    }
    let (mut sent, mut closed) = (0, Vec::new());
    while let Some(flood) = floods.join_next().await {
        let (frames, ends) = flood??;
        sent += frames;
        closed.extend(ends);
    }
    clock.report(&node, &mut report);
    report.figure("sent", sent);
    report.figure("closed", closed.len());
    report.at_most("growth_mib", node.peak().saturating_sub(memory) as f64 / 1024.0, GROWTH_MIB);
    background.next_part();
    let (seen, parts) = background.finish().await?;
    let quantile = |part: usize| parts.get(part).map_or(0, |times| times.quantile(0.99));
    report.quantile("p99_alone", quantile(0));
    report.quantile("p99_beside", quantile(1));
    if scale == Scale::Full {
        let p99 = quantile(1) as f64 / 1e3;
        report.require(p99 <= P99, || format!("beside the flood p99 is {p99:.1} ms, {P99:.0} are allowed"));
    }
    seen.report(&mut report);
    // The reader's connections to the store stay.
    let files_after = node.files_again(files + 12, Duration::from_secs(20)).await;
    report.none("files_left", files_after.saturating_sub(files + 12));
    node.stop(&mut report).await;
    Ok(report)
}

/// Floods until it is time, and connects again when it is closed. How many packets it sent, and how its connections ended.
async fn be_a_flood(
    address: std::net::SocketAddr,
    packet: &str,
    reads: bool,
    until: Instant,
) -> Result<(u64, Vec<End>), Error> {
    let one = frame::text(packet);
    let frames = CHUNK / one.len();
    let chunk = one.repeat(frames);
    let (mut sent, mut ends) = (0, Vec::new());
    while Instant::now() < until {
        let mut client = Client::connect(address, None).await?;
        let flood = async {
            loop {
                // What was written of a chunk that is given up is not counted.
                if reads {
                    while timeout(Duration::ZERO, client.read(&mut |_| {})).await.is_ok_and(|read| read.is_ok()) {}
                }
                if let Err(error) = client.stream.write_all(&chunk).await {
                    return End::from(error);
                }
                sent += frames as u64;
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        if let Ok(end) = timeout(left, flood).await {
            ends.push(end);
        }
    }
    Ok((sent, ends))
}
