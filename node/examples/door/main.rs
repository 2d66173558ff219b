//! A flood of strangers at a relay or a node, while two members of a ledger there write to each other: `just door`.
//!
//! `door <relay> <its front> <seconds> <process> <kind> …`: members link to the relay, strangers knock at its front, and the process is the one whose
//! memory is looked at. The kinds are `wrong_proof`, `silent`, `no_such_ledger`, `wrong_secret`, `core`, and `removal`, in which nobody floods.
//! `door <node> <node> <seconds> <its process> node <invite>`: 5,000 wrong proofs a second at a node. With `within`, `beyond`, `chatter`, `packed` or
//! `announcements` instead, a member floods it over its link, or floods a second node: `door <node> <other node> <seconds> <process> <kind> <invite> <the
//! other's>`. Each prints a line `door/<kind> pass|FAIL key=value …`.
#![allow(missing_docs, reason = "a program")]

mod hostile;
mod member;
mod removal;
mod strangers;

use std::{env, fs, process::ExitCode, sync::atomic::Ordering, time::Duration};

use futures_util::TryFutureExt;
use shared::{LedgerId, Token};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{interval, sleep, timeout},
};

use self::{
    hostile::{Hostile, beside_a_member},
    member::{Member, Times, group, invited},
    removal::removal,
    strangers::{Flood, Kind, flood, in_the_core},
};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Entries that the members write in a second.
const RATE: u64 = 20;
/// Strangers at a time: enough to keep both cores busy.
const WIDTH: usize = 128;
/// Silent ones take no work, only places.
const SILENT_WIDTH: usize = 1_500;
/// Bad handshakes a second at a node.
const NODE_RATE: u64 = 5_000;
/// Members of whom one is removed.
const MEMBERS: usize = 1_000;
/// How much the flood may lengthen the 99th of a hundred entries on its way.
const FACTOR: f64 = 1.5;
/// MiB by which workerd may grow.
const GROWTH: f64 = 64.0;

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let mut arguments = env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
    let (relay, front) = (next("relay")?, next("its front")?);
    let (seconds, process) = (next("seconds")?.parse()?, next("process")?.parse()?);
    let mut good = true;
    while let Some(kind) = arguments.next() {
        let at_relay = async |kind| {
            let width = if kind == Kind::Silent { SILENT_WIDTH } else { WIDTH };
            let doors = [&relay, &front].map(|host| format!("{host}/ledger/"));
            beside(&doors, group()?, seconds, process, kind, Flood { width, rate: None }).await
        };
        let mut invite =
            || -> Result<Token, Error> { Ok(Token::parse(&arguments.next().ok_or("an invite is missing")?)?) };
        let mut by_a_member = async |hostile| {
            let invites = [invite()?, invite()?];
            beside_a_member([(&relay, &invites[0]), (&front, &invites[1])], seconds, hostile).await
        };
        good &= match kind.as_str() {
            "core" => {
                println!("door/core pass µs_per_bad_handshake={:.0}", in_the_core(20_000)?);
                true
            }
            "removal" => removal(&relay, MEMBERS).await?,
            "wrong_proof" => at_relay(Kind::WrongProof).await?,
            "silent" => at_relay(Kind::Silent).await?,
            "no_such_ledger" => at_relay(Kind::NoSuchLedger).await?,
            "wrong_secret" => at_relay(Kind::WrongSecret).await?,
            "node" => {
                let members = invited(&invite()?, 2)?;
                let flood = Flood { width: WIDTH, rate: Some(NODE_RATE) };
                let doors = [&relay, &front].map(|host| format!("{host}/link/"));
                beside(&doors, members, seconds, process, Kind::WrongProof, flood).await?
            }
            "within" => by_a_member(Hostile::Within).await?,
            "beyond" => by_a_member(Hostile::Beyond).await?,
            "chatter" => by_a_member(Hostile::Chatter).await?,
            "packed" => by_a_member(Hostile::Packed).await?,
            "announcements" => by_a_member(Hostile::Announcements).await?,
            other => return Err(format!("no kind is called {other}").into()),
        };
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Members write alone, then beside a flood. Where they link and where strangers knock, before the ledger's id.
async fn beside(
    [door, front]: &[String; 2],
    (members, ledger): (Vec<Member>, LedgerId),
    seconds: u64,
    process: u32,
    kind: Kind,
    how: Flood,
) -> Result<bool, Error> {
    let pair = Pair::link(members, &format!("{door}{ledger}")).await?;
    pair.write(2).await?;
    pair.times.take();
    pair.write(seconds).await?;
    let (alone, _) = pair.times.take();

    let (stop, stopped) = watch::channel(false);
    let strangers = tokio::spawn({
        let front = front.clone();
        async move { flood(&front, ledger, kind, how, stopped).await }
    });
    // Its buffers and code grow with the first of a flood, whoever comes.
    pair.write(seconds / 2).await?;
    pair.times.take();
    let before = memory(process);
    pair.write(seconds).await?;
    let (beside, _) = pair.times.take();
    let grown = memory(process) - before;
    stop.send_replace(true);
    let tally = strangers.await?;
    sleep(Duration::from_secs(2)).await;
    let (late, missing) = pair.times.take();
    pair.end().await?;
    let took = (seconds + seconds / 2) as f64;
    let (refused, otherwise) = (tally.refused.load(Ordering::Relaxed), tally.otherwise.load(Ordering::Relaxed));
    let (quiet, loud) = (quantile(&alone, 0.99), quantile(&beside, 0.99));
    let good = loud <= quiet * FACTOR && grown <= GROWTH && missing == 0;
    println!(
        "door/{kind:?}{} {} refused_per_s={:.0} otherwise={otherwise} p50_alone={:.1}ms p99_alone={quiet:.1}ms \
         p50_beside={:.1}ms p99_beside={loud:.1}ms entries={} late={} missing={missing} grown={grown:.0}MiB",
        if how.rate.is_some() { "@node" } else { "" },
        if good { "pass" } else { "FAIL" },
        refused as f64 / took,
        quantile(&alone, 0.5),
        quantile(&beside, 0.5),
        alone.len() + beside.len(),
        late.len(),
    );
    Ok(good)
}

/// Two members who are linked, and what they write.
struct Pair {
    writers: Vec<mpsc::Sender<()>>,
    tasks: Vec<JoinHandle<Result<(), Error>>>,
    times: Times,
}

impl Pair {
    /// One after the other: the first may have to let in the second.
    async fn link(members: Vec<Member>, room: &str) -> Result<Self, Error> {
        let mut pair = Self { writers: Vec::new(), tasks: Vec::new(), times: Times::default() };
        let (up, mut ups) = mpsc::channel(8);
        for member in members {
            let (writer, entries) = mpsc::channel(1);
            let run = member.run(room.to_owned(), entries, up.clone(), pair.times.clone());
            pair.tasks.push(tokio::spawn(run.inspect_err(|error| eprintln!("a member: {error}"))));
            pair.writers.push(writer);
            timeout(Duration::from_secs(20), ups.recv()).await?.ok_or("a member did not come in")?;
        }
        Ok(pair)
    }

    /// They write in turn.
    async fn write(&self, seconds: u64) -> Result<(), Error> {
        let mut clock = interval(Duration::from_millis(1000 / RATE));
        for entry in 0..seconds * RATE {
            clock.tick().await;
            let writer = &self.writers[entry as usize % self.writers.len()];
            writer.send(()).await.map_err(|_| "a member was sent away")?;
        }
        Ok(())
    }

    async fn end(self) -> Result<(), Error> {
        drop(self.writers);
        for task in self.tasks {
            task.await??;
        }
        Ok(())
    }
}

/// ms.
fn quantile(sorted: &[Duration], quantile: f64) -> f64 {
    let place = (sorted.len() as f64 * quantile) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// MiB of a process in memory.
fn memory(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
}
