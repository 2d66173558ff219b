//! Clients that append, each with some entries on their way, until all are acknowledged.
//!
//! A node sends every entry to every client, also to those who only write: a hundred of them get a hundred times what they
//! write.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    STALL, Target,
    client::{self, Client, Protocol},
    payload, quantile, server,
};

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// Of all clients together.
    #[arg(long, default_value_t = 100_000)]
    entries: usize,
    /// Entries without an acknowledgement at once, of all clients together.
    #[arg(long, default_value_t = 1000)]
    window: usize,
    /// Of an entry's payload.
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    #[command(flatten)]
    target: Target,
}

/// What one client is to do.
#[derive(Debug, Clone, Copy)]
struct Share {
    protocol: Protocol,
    first: u64,
    entries: usize,
    window: usize,
    bytes: usize,
}

/// What one client saw.
#[derive(Debug)]
struct Seen {
    /// From when an entry was sent until its acknowledgement was here.
    times: Vec<Duration>,
    ended: Instant,
}

pub(crate) async fn run(plan: Plan) -> Result<()> {
    let Plan { clients, entries, window, bytes, target } = plan;
    ensure!(clients > 0 && entries >= clients && window >= clients, "every client needs an entry and a place for it");
    let stage = target.start(clients)?;
    let figure = if clients == 1 { "append/raw" } else { "append/crowd" };
    let (each, window) = (entries / clients, window / clients);
    let connected = Client::connect_all(stage.address, stage.protocol, false, clients).await?;
    let (before, own, began) = (stage.used(), server::own_seconds(), Instant::now());
    let mut writing = JoinSet::new();
    for (index, client) in connected.into_iter().enumerate() {
        let first = (index * each) as u64;
        writing.spawn_local(write(client, Share { protocol: stage.protocol, first, entries: each, window, bytes }));
    }
    let (mut times, mut ended) = (Vec::with_capacity(entries), began);
    while let Some(seen) = writing.join_next().await {
        let seen = seen??;
        times.extend(seen.times.iter().map(|time| 1e3 * time.as_secs_f64()));
        ended = ended.max(seen.ended);
    }
    let took = (ended - began).as_secs_f64();
    eprintln!(
        "crowd: {} entries by {clients} clients in {took:.2} s, {window} on their way from each; p50 {:.1} ms, max {:.1} ms; \
         the clients took {:.2} s of processor time",
        times.len(),
        quantile(&mut times, 0.5),
        quantile(&mut times, 1.0),
        server::own_seconds() - own,
    );
    stage.print(figure, times.len() as f64 / took, before);
    stage.print(format_args!("{figure}/p99"), quantile(&mut times, 0.99), before);
    Ok(())
}

async fn write(mut client: Client, share: Share) -> Result<Seen> {
    let mut waiting: Vec<Option<Instant>> = Vec::with_capacity(share.entries);
    let mut times = Vec::with_capacity(share.entries);
    let mut frames = Vec::new();
    let wrong = Rc::new(crate::Trouble::default());
    while times.len() < share.entries {
        frames.clear();
        while waiting.len() < share.entries.min(times.len() + share.window) {
            let number = waiting.len() as u64;
            let json = payload(share.first + number, share.bytes);
            frames.extend(client::event(share.protocol.say(), number, &json));
            waiting.push(Some(Instant::now()));
        }
        if !frames.is_empty() {
            client.send(&frames).await?;
        }
        let mut take = |packet: &[u8]| {
            let Some((number, answer)) = client::acknowledgement(packet) else { return };
            if share.protocol == Protocol::Cairn && !answer.starts_with(b"{\"ok\":true") {
                wrong.note(format_args!("an entry was refused: {}", String::from_utf8_lossy(answer)));
            }
            match waiting.get_mut(number as usize).and_then(Option::take) {
                Some(sent) => times.push(sent.elapsed()),
                None => wrong.note(format_args!("entry {number} of a client was acknowledged and did not wait for it")),
            }
        };
        let read = timeout(STALL, client.read(&mut take)).await;
        read.map_err(|_| anyhow!("nothing came to a client that waits for acknowledgements"))??;
        wrong.check()?;
    }
    Ok(Seen { times, ended: Instant::now() })
}
