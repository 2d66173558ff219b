//! What a server needs for clients that are there and say nothing.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;
use tokio::{task::JoinSet, time::sleep};

use crate::{Target, client::Client, server::Server};

/// Clients that make the server load what it needs for any.
const FIRST: usize = 8;
/// Between two looks at its memory.
const LOOK: Duration = Duration::from_millis(200);
/// Looks in a row that must show about the same.
const STEADY: usize = 5;
/// Bytes that memory may move by and is called steady.
const MOVES: u64 = 256 * 1024;
/// Looks after which it is taken as it is.
const MOST: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[arg(long, default_value_t = 2000)]
    clients: usize,
    #[command(flatten)]
    target: Target,
}

pub(crate) async fn run(plan: Plan) -> Result<()> {
    let Plan { clients, target } = plan;
    ensure!(clients > 0, "no client costs nothing");
    let stage = target.start(clients + FIRST)?;
    let Some(server) = &stage.server else { bail!("the memory of a server that runs already cannot be seen") };
    let before = stage.used();
    let mut there = JoinSet::new();
    for client in Client::connect_all(stage.address, stage.protocol, true, FIRST).await? {
        there.spawn_local(stay(client));
    }
    let empty = steady(server).await;
    for client in Client::connect_all(stage.address, stage.protocol, true, clients).await? {
        there.spawn_local(stay(client));
    }
    let full = steady(server).await;
    if let Some(gone) = there.try_join_next() {
        gone??;
    }
    eprintln!("crowd: {} KiB with {FIRST} clients, {} KiB with {clients} more", empty / 1024, full / 1024);
    stage.print("idle/client", full.saturating_sub(empty) as f64 / clients as f64, before);
    Ok(())
}

/// Stays until the server ends it, which is an error.
async fn stay(mut client: Client) -> Result<()> {
    loop {
        client.read(&mut |_| {}).await?;
    }
}

/// Resident bytes, once they stay about the same.
async fn steady(server: &Server) -> u64 {
    let (mut last, mut same) = (server.resident(), 0);
    for _ in 0..MOST {
        sleep(LOOK).await;
        let now = server.resident();
        same = if now.abs_diff(last) <= MOVES { same + 1 } else { 0 };
        last = now;
        if same == STEADY {
            break;
        }
    }
    last
}
