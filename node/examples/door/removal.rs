//! A thousand members who are linked to the relay: how long it takes until a removal is in force at each of them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use crate::{Error, member::crowd, quantile};

/// Members who link at once.
const WIDTH: usize = 16;
/// What building the ledger, linking a member, and hearing of the removal may take before this gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Within which the removal is to be in force everywhere.
const GOAL: Duration = Duration::from_secs(1);

/// Whether the goal was met.
pub(crate) async fn removal(relay: &str, members: usize) -> Result<bool, Error> {
    let (founder, mut guests, ledger) = crowd(members - 1)?;
    let room = format!("{relay}/ledger/{ledger}");
    let history = Arc::new(founder.history());
    let removed = guests.pop().ok_or("nobody to remove")?.node();
    let (up, mut ups) = mpsc::channel(members);
    let (heard, mut hears) = mpsc::channel(members);
    let (now, told) = oneshot::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(founder.remove(room.clone(), removed, told, up.clone()));
    timeout(PATIENCE, ups.recv()).await?.ok_or("the founder was not linked")?;
    let mut waiting = 0;
    let listeners = guests.len();
    for guest in guests {
        tasks.spawn(guest.hear(room.clone(), history.clone(), removed, up.clone(), heard.clone()));
        waiting += 1;
        if waiting == WIDTH {
            linked(&mut ups, &mut tasks).await?;
            waiting -= 1;
        }
    }
    for _ in 0..waiting {
        linked(&mut ups, &mut tasks).await?;
    }
    let began = Instant::now();
    now.send(()).map_err(|()| "the founder is gone")?;
    let mut times = Vec::new();
    while times.len() < listeners {
        let at = timeout(PATIENCE, hears.recv()).await?.ok_or("all are gone")?;
        times.push(at - began);
    }
    times.sort_unstable();
    let last = times.last().copied().unwrap_or_default();
    let good = last <= GOAL;
    println!(
        "door/removal {} members={members} in_force_at={listeners} first={:.0}ms p50={:.0}ms p99={:.0}ms last={:.0}ms",
        if good { "pass" } else { "FAIL" },
        quantile(&times, 0.0),
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        last.as_secs_f64() * 1e3,
    );
    Ok(good)
}

/// Waits until one more is linked.
async fn linked(ups: &mut mpsc::Receiver<()>, tasks: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    tokio::select! {
        up = timeout(PATIENCE, ups.recv()) => up?.ok_or_else(|| "all are gone".into()),
        Some(ended) = tasks.join_next() => ended?,
    }
}
