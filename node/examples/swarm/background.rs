//! The honest clients of a scenario: one that writes at an even pace, and many that follow.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep_until, timeout},
};

use crate::{
    Error,
    client::{Client, End},
    clients::{View, payload},
    frame,
    report::{Report, Times},
};

/// Clients that connect at once.
const CONNECTING: usize = 128;
/// How long the last entries may take to be everywhere.
const SETTLE: Duration = Duration::from_secs(60);

/// How the honest clients are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) followers: usize,
    /// Entries in a second.
    pub(crate) rate: u64,
    /// Bytes of an entry's payload.
    pub(crate) bytes: usize,
}

/// What they all saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) entries: u64,
    pub(crate) deliveries: u64,
    pub(crate) missing: u64,
    pub(crate) times: Times,
    pub(crate) dropped: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// From the first entry until the last one was everywhere.
    pub(crate) took: Duration,
}

impl Seen {
    /// Notes what must hold of honest clients whatever others do.
    pub(crate) fn report(&self, report: &mut Report) {
        report.figure("entries", self.entries);
        report.figure("deliveries", self.deliveries);
        report.none("missing", self.missing as usize);
        report.none("dropped", self.dropped.len());
        report.none("wrong", self.wrong.len());
        for why in self.dropped.iter().chain(&self.wrong).take(3) {
            report.fail(why.clone());
        }
        report.quantile("p50", self.times.quantile(0.5));
        report.quantile("p99", self.times.quantile(0.99));
        report.quantile("max", self.times.most());
    }
}

/// Connected followers, and the writer once it writes.
pub(crate) struct Background {
    address: SocketAddr,
    plan: Plan,
    pub(crate) epoch: Instant,
    followers: JoinSet<(View, Option<End>)>,
    /// How many entries there are in all, once that is known.
    total: watch::Sender<Option<u64>>,
    /// Which part of the run it is; the times of each part are kept apart.
    part: Arc<AtomicU64>,
    parts: Arc<std::sync::Mutex<Vec<Times>>>,
    stop: watch::Sender<bool>,
    writer: Option<JoinHandle<Result<(u64, Instant), Error>>>,
}

impl Background {
    /// Connects the followers.
    pub(crate) async fn connect(address: SocketAddr, plan: Plan) -> Result<Self, Error> {
        let (total, _) = watch::channel(None);
        let mut background = Self {
            address,
            plan,
            epoch: Instant::now(),
            followers: JoinSet::new(),
            total,
            part: Arc::default(),
            parts: Arc::default(),
            stop: watch::Sender::new(false),
            writer: None,
        };
        let places = Arc::new(Semaphore::new(CONNECTING));
        let mut connecting = JoinSet::new();
        for _ in 0..plan.followers {
            let place = places.clone().acquire_owned().await?;
            connecting.spawn(async move {
                let client = Client::connect(address, None).await;
                drop(place);
                client
            });
        }
        while let Some(client) = connecting.join_next().await {
            let (client, view) = (client??, View::new(background.epoch));
            let (total, part, parts) =
                (background.total.subscribe(), background.part.clone(), background.parts.clone());
            background.followers.spawn(follow(client, view, total, part, parts));
        }
        Ok(background)
    }

    /// Begins to write.
    pub(crate) fn write(&mut self) {
        let writing = write(self.address, self.plan, self.epoch, self.stop.subscribe());
        self.writer = Some(tokio::spawn(writing));
    }

    /// The times from now on are kept apart from those before.
    pub(crate) fn next_part(&self) {
        self.part.fetch_add(1, Ordering::Relaxed);
    }

    /// Clients that are gone.
    pub(crate) fn gone(&self) -> usize {
        self.plan.followers - self.followers.len()
    }

    /// Stops the writer, waits until every follower has everything, and sums up. Also the times of each part.
    pub(crate) async fn finish(mut self) -> Result<(Seen, Vec<Times>), Error> {
        self.stop.send_replace(true);
        let writer = self.writer.take().ok_or("nothing was written")?;
        let (entries, began) = writer.await??;
        self.total.send_replace(Some(entries));
        let mut seen = Seen { entries, ..Seen::default() };
        while let Some(ended) = self.followers.join_next().await {
            let (view, end) = ended?;
            seen.deliveries += view.times.count();
            seen.missing += entries.saturating_sub(view.next);
            seen.wrong.extend(view.wrong);
            seen.dropped.extend(end.map(|end| end.0));
        }
        seen.took = began.elapsed();
        let parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for part in &parts {
            seen.times.merge(part);
        }
        Ok((seen, parts))
    }
}

/// Follows until it has everything. What it says at the end: how its connection was lost, if it was.
async fn follow(
    mut client: Client,
    mut view: View,
    mut total: watch::Receiver<Option<u64>>,
    part: Arc<AtomicU64>,
    parts: Arc<std::sync::Mutex<Vec<Times>>>,
) -> (View, Option<End>) {
    let mut now = part.load(Ordering::Relaxed);
    let mut times = Times::default();
    let keep = |part: u64, times: &mut Times| {
        let mut parts = parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = part as usize;
        if parts.len() <= index {
            parts.resize(index + 1, Times::default());
        }
        parts[index].merge(times);
    };
    let end = loop {
        let goal = *total.borrow_and_update();
        if goal.is_some_and(|total| view.next >= total) {
            break None;
        }
        let came = part.load(Ordering::Relaxed);
        if came != now {
            times.merge(&view.times);
            keep(now, &mut view.times);
            view.times = Times::default();
            now = came;
        }
        let reading = async {
            match goal {
                // What does not come in time is missing.
                Some(_) => timeout(SETTLE, client.read(&mut |packet| view.take(packet))).await.ok(),
                None => Some(client.read(&mut |packet| view.take(packet)).await),
            }
        };
        tokio::select! {
            read = reading => match read {
                Some(Ok(())) => {}
                Some(Err(end)) => break Some(end),
                None => break None,
            },
            _ = total.changed(), if goal.is_none() => {}
        }
    };
    keep(now, &mut view.times);
    view.times.merge(&times);
    (view, end)
}

/// Writes at an even pace until it is told to stop. The time in an entry is when it was due, not when it was sent, or a
/// node that makes its writer wait would look fast.
async fn write(
    address: SocketAddr,
    plan: Plan,
    epoch: Instant,
    mut stop: watch::Receiver<bool>,
) -> Result<(u64, Instant), Error> {
    use tokio::io::AsyncWriteExt;
    let mut client = Client::connect(address, None).await?;
    let began = Instant::now();
    let due = |number: u64| began + Duration::from_secs_f64(number as f64 / plan.rate as f64);
    let (mut number, mut refused) = (0, None);
    while !*stop.borrow_and_update() {
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = sleep_until(due(number).into()) => {
                let mut frames = Vec::new();
                while due(number) <= Instant::now() {
                    let entry = payload(number, due(number) - epoch, plan.bytes);
                    frames.extend(frame::text(&format!("42[\"add_ledger_entry\",{entry}]")));
                    number += 1;
                }
                client.stream.write_all(&frames).await?;
            }
            read = read(&mut client, &mut refused) => read?,
        }
        if let Some(error) = refused {
            return Err(format!("an honest entry was refused: {error}").into());
        }
    }
    // The connection ends with this task, and what it sent is taken first.
    let mut view = View::new(epoch);
    let last = payload(number, Instant::now() - epoch, plan.bytes);
    client.send(&format!("421[\"add_ledger_entry\",{last}]")).await?;
    number += 1;
    let mut acked = false;
    while !acked {
        let mut take = |packet: &str| {
            acked |= packet.starts_with("431");
            view.take(packet);
        };
        timeout(SETTLE, client.read(&mut take)).await.map_err(|_| "the writer's last entry was not acknowledged")??;
    }
    Ok((number, began))
}

/// Takes what comes to the writer, and notes an error.
async fn read(client: &mut Client, refused: &mut Option<String>) -> Result<(), End> {
    let mut take = |packet: &str| {
        if packet.starts_with("42[\"error\"") {
            *refused = Some(packet.to_owned());
        }
    };
    client.read(&mut take).await
}
