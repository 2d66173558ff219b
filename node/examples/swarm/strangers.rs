//! Connections that never become clients: silent ones, ones that never finish what they begin, and garbage. Each is closed
//! in its time, and nobody else notices.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Error, Scale,
    background::{Background, Plan},
    client::{Client, dial, upgrade},
    node::Node,
    report::Report,
};

/// How much later than it says the node may close a connection: its timers are checked now and then, and it is busy.
const SLACK: Duration = Duration::from_secs(10);
/// MiB by which strangers may make the node grow.
const GROWTH_MIB: f64 = 64.0;
const P99: f64 = 250.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Connects and says nothing.
    Silent,
    /// The head of its request comes byte by byte.
    SlowHead,
    /// No request at all.
    Garbage,
    /// A WebSocket without a Socket.IO session.
    NoSession,
    /// A polling session that is left alone, and its connection too.
    AbandonedPolling,
    /// The same, with a request that waits for packets.
    AbandonedPoll,
    /// A polling session whose message never ends.
    EndlessBody,
    /// A request whose body never ends, where none is wanted.
    EndlessBodyElsewhere,
    /// A polling session that asks for a WebSocket and then says nothing.
    NoProbe,
}

/// The kinds, and the seconds after which the node closes them: 15 for the head of a request or for an idle connection, 5
/// for a session, 20 for a body.
const KINDS: [(Kind, &str, u64); 9] = [
    (Kind::Silent, "silent", 15),
    (Kind::SlowHead, "slow_head", 15),
    (Kind::Garbage, "garbage", 15),
    (Kind::NoSession, "no_session", 5),
    (Kind::AbandonedPolling, "abandoned_polling", 15),
    (Kind::AbandonedPoll, "abandoned_poll", 20),
    (Kind::EndlessBody, "endless_body", 20),
    (Kind::EndlessBodyElsewhere, "endless_body_elsewhere", 20),
    (Kind::NoProbe, "no_probe", 5),
];

pub(crate) async fn run(scale: Scale) -> Result<Vec<Report>, Error> {
    let each = scale.pick(10, 400);
    let plan = Plan { followers: scale.pick(20, 100), rate: 20, bytes: 100 };
    let node = Node::start(&[])?;
    let mut report = Report::new("strangers");
    report.figure("of_each_kind", each);
    let mut background = Background::connect(node.address, plan).await?;
    background.write();
    sleep(Duration::from_secs(scale.pick(1, 5))).await;
    background.next_part();
    let (memory, files, clock) = (node.memory(), node.files(), node.clock());
    node.forget_peak()?;
    let mut strangers = JoinSet::new();
    for (index, (kind, ..)) in KINDS.into_iter().enumerate() {
        for seed in 0..each {
            strangers.spawn(async move { (index, be_a_stranger(node.address, kind, seed).await) });
        }
    }
    let (mut longest, mut open, mut failed) = ([Duration::ZERO; KINDS.len()], [0; KINDS.len()], 0);
    while let Some(stranger) = strangers.join_next().await {
        match stranger? {
            (index, Ok(Some(closed))) => longest[index] = longest[index].max(closed),
            (index, Ok(None)) => open[index] += 1,
            (index, Err(error)) => {
                failed += 1;
                report.fail(format!("{}: {error}", KINDS[index].1));
            }
        }
    }
    clock.report(&node, &mut report);
    for (index, (_, name, limit)) in KINDS.into_iter().enumerate() {
        report.figure(name, format_args!("{:.1}s", longest[index].as_secs_f64()));
        report
            .require(open[index] == 0, || format!("{} {name} connections are still open after {limit} s", open[index]));
    }
    report.none("failed", failed);
    report.at_most("growth_mib", node.peak().saturating_sub(memory) as f64 / 1024.0, GROWTH_MIB);
    background.next_part();
    let (seen, parts) = background.finish().await?;
    let quantile = |part: usize| parts.get(part).map_or(0, |times| times.quantile(0.99));
    report.quantile("p99_alone", quantile(0));
    report.quantile("p99_beside", quantile(1));
    if scale == Scale::Full {
        let p99 = quantile(1) as f64 / 1e3;
        report.require(p99 <= P99, || format!("beside strangers p99 is {p99:.1} ms, {P99:.0} are allowed"));
    }
    seen.report(&mut report);
    let files_after = node.files_again(files, Duration::from_secs(20)).await;
    report.none("files_left", files_after.saturating_sub(files));
    node.stop(&mut report).await;
    Ok(vec![report])
}

/// After how long the node closed the connection. None: not in time.
async fn be_a_stranger(address: SocketAddr, kind: Kind, seed: u64) -> Result<Option<Duration>, Error> {
    let limit = KINDS.iter().find(|(other, ..)| *other == kind).map_or(0, |(.., limit)| *limit);
    let mut stream = match kind {
        Kind::NoSession => Client::open(address, None).await?.stream,
        _ => dial(address, None).await?,
    };
    match kind {
        Kind::Silent | Kind::NoSession | Kind::SlowHead => {}
        Kind::Garbage => stream.write_all(&garbage(seed)).await?,
        Kind::AbandonedPolling => drop(polling_session(&mut stream).await?),
        Kind::AbandonedPoll => {
            let sid = polling_session(&mut stream).await?;
            let poll = format!("GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(poll.as_bytes()).await?;
        }
        Kind::EndlessBody => {
            let sid = polling_session(&mut stream).await?;
            let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
            stream.write_all(post(&path).as_bytes()).await?;
        }
        Kind::EndlessBodyElsewhere => stream.write_all(post("/healthz").as_bytes()).await?,
        Kind::NoProbe => {
            let sid = polling_session(&mut stream).await?;
            stream = dial(address, None).await?;
            stream.write_all(upgrade(&format!("&sid={sid}")).as_bytes()).await?;
        }
    }
    let began = Instant::now();
    let until_closed = async {
        let mut head = b"GET / HTTP/1.1\r\nHost: a-host-with-a-name-that-takes-its-time".iter().cycle();
        let mut bytes = [0; 4096];
        loop {
            let read = stream.read(&mut bytes);
            let slow = kind == Kind::SlowHead;
            match timeout(if slow { Duration::from_secs(1) } else { SLACK * 100 }, read).await {
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(_)) => {}
                Err(_) => {
                    let byte = head.next().copied().unwrap_or(b'x');
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let closed = timeout(Duration::from_secs(limit) + SLACK, until_closed).await;
    Ok(closed.is_ok().then(|| began.elapsed()))
}

/// Opens a session that polls, and says its id.
async fn polling_session(stream: &mut TcpStream) -> Result<String, Error> {
    stream.write_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = String::new();
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes).await? {
            0 => return Err(format!("no session: {answer}").into()),
            len => answer.push_str(&String::from_utf8_lossy(&bytes[..len])),
        }
        let sid = answer.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split_once('"'));
        if let Some((sid, rest)) = sid
            && rest.contains('}')
        {
            return Ok(sid.to_owned());
        }
    }
}

/// A request that promises more than it brings.
fn post(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n42[\"message\""
    )
}

/// Bytes that are no request: a different mix for each seed.
fn garbage(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..2_000)
        .map(|_| {
            // Xorshift, Marsaglia 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
