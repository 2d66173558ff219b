//! One client says something as fast as it goes without a loss, all others hear it.
//!
//! As fast as that is for every kind of server: the next message is sent once every listener has all but so many of those
//! before. A server that takes more than it hands on gains nothing, and one that throws away what its buffers do not hold loses
//! nothing as long as they hold that many.

use std::{cell::Cell, rc::Rc, time::Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use memchr::memmem;
use tokio::{sync::Notify, task::JoinSet, time::interval};

use crate::{
    STALL, Target, Trouble,
    client::{self, Client, NUMBER, Protocol},
    payload, server,
};

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Those who listen.
    #[arg(long, default_value_t = 500)]
    clients: usize,
    /// What is said.
    #[arg(long, default_value_t = 4000)]
    messages: usize,
    /// Of a message.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Messages that not every listener has yet. A server that keeps fewer packets for a client loses some, which fails.
    #[arg(long, default_value_t = 256)]
    window: usize,
    #[command(flatten)]
    target: Target,
}

/// What all listeners have heard.
struct Heard {
    /// By how many, for each message.
    by: Vec<Cell<usize>>,
    listeners: usize,
    /// Messages that all have.
    by_all: Cell<usize>,
    deliveries: Cell<usize>,
    more: Notify,
    trouble: Trouble,
}

impl Heard {
    /// A listener has this message; `next` is the one that it has to be.
    fn take(&self, number: u64, next: &mut usize) {
        if number != *next as u64 {
            self.trouble.note(format_args!("message {number} came where {next} was next"));
            return;
        }
        let Some(by) = self.by.get(*next) else { return };
        by.set(by.get() + 1);
        self.deliveries.set(self.deliveries.get() + 1);
        *next += 1;
        // Each listener gets them in order, so all have those before as well.
        if by.get() == self.listeners {
            self.by_all.set(*next);
            self.more.notify_one();
        }
    }
}

pub(crate) async fn run(plan: Plan) -> Result<()> {
    let Plan { clients, messages, bytes, window, target } = plan;
    ensure!(clients > 0 && messages > 0 && window > 0, "nobody hears anything");
    let stage = target.start(clients + 1)?;
    let listeners = Client::connect_all(stage.address, stage.protocol, true, clients).await?;
    let writer = Client::connect(stage.address, stage.protocol, false).await?;
    let heard = Rc::new(Heard {
        by: vec![Cell::new(0); messages],
        listeners: clients,
        by_all: Cell::default(),
        deliveries: Cell::default(),
        more: Notify::new(),
        trouble: Trouble::default(),
    });
    let (before, own, began) = (stage.used(), server::own_seconds(), Instant::now());
    let mut all = JoinSet::new();
    for client in listeners {
        all.spawn_local(listen(client, heard.clone()));
    }
    all.spawn_local(say(writer, stage.protocol, heard.clone(), window, bytes));
    tokio::select! {
        ended = finish(&mut all) => ended?,
        stuck = watch(&heard) => stuck?,
    }
    let (took, deliveries) = (began.elapsed().as_secs_f64(), heard.deliveries.get());
    ensure!(deliveries == clients * messages, "{} deliveries are missing", clients * messages - deliveries);
    eprintln!(
        "crowd: {messages} messages of {bytes} bytes to {clients} clients in {took:.2} s, none lost; the clients took {:.2} s of \
         processor time",
        server::own_seconds() - own,
    );
    stage.print("fanout", deliveries as f64 / took, before);
    Ok(())
}

async fn finish(all: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}

/// Ends when nothing comes any more.
async fn watch(heard: &Heard) -> Result<()> {
    let mut looks = interval(STALL);
    let mut before = None;
    loop {
        looks.tick().await;
        let now = heard.deliveries.get();
        if before == Some(now) {
            bail!("after {now} of {} deliveries nothing came any more", heard.listeners * heard.by.len());
        }
        before = Some(now);
    }
}

async fn listen(mut client: Client, heard: Rc<Heard>) -> Result<()> {
    let finder = memmem::Finder::new(NUMBER);
    let mut next = 0;
    while next < heard.by.len() {
        client.read(&mut |packet| client::numbers(&finder, packet, |number| heard.take(number, &mut next))).await?;
        heard.trouble.check()?;
    }
    Ok(())
}

async fn say(mut client: Client, protocol: Protocol, heard: Rc<Heard>, window: usize, bytes: usize) -> Result<()> {
    let messages = heard.by.len();
    let (mut sent, mut frames) = (0, Vec::new());
    while heard.by_all.get() < messages {
        frames.clear();
        while sent < messages.min(heard.by_all.get() + window) {
            frames.extend(client::event(protocol.say(), sent as u64, &payload(sent as u64, bytes)));
            sent += 1;
        }
        if !frames.is_empty() {
            client.send(&frames).await?;
        }
        let mut take = |packet: &[u8]| match client::acknowledgement(packet) {
            Some((_, answer)) if protocol == Protocol::Cairn && !answer.starts_with(b"{\"ok\":true") => {
                heard.trouble.note(format_args!("a message was refused: {}", String::from_utf8_lossy(answer)));
            }
            _ => {}
        };
        tokio::select! {
            () = heard.more.notified() => {}
            read = client.read(&mut take) => read?,
        }
        heard.trouble.check()?;
    }
    Ok(())
}
