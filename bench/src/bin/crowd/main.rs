//! Many Socket.IO clients on one server: how fast they append, how fast what one says reaches all others, and what an idle one
//! costs. One run measures one of these and prints its figures, a JSON object each.

use std::{cell::RefCell, fmt, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use tokio::{runtime, task::LocalSet};

mod append;
mod client;
mod fanout;
mod idle;
mod server;

use client::Protocol;
use server::{Server, Used};

/// Nothing comes for so long: it is lost.
const STALL: Duration = Duration::from_secs(30);
/// Open files beside those of the clients.
const FILES: u64 = 200;

#[derive(Debug, Parser)]
#[command(about = "A crowd of Socket.IO clients, and what it measures")]
struct Options {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Clients of a node append, each with some entries on their way: append/crowd, or append/raw where it is one client.
    Append(append::Plan),
    /// One client says something, all others hear it: fanout.
    Fanout(fanout::Plan),
    /// What the server needs for a client that is there and says nothing: idle/client.
    Idle(idle::Plan),
}

/// The server under test.
#[derive(Debug, Args)]
struct Target {
    /// What it is: a Cairn node, or a server that sends to all others as `said` what comes as `say`.
    #[arg(long, value_enum, default_value_t)]
    server: Protocol,
    /// One that runs already; its time and memory are not measured.
    #[arg(long, conflicts_with = "program")]
    url: Option<String>,
    /// Starts it: the binary of a node, which gets a data directory of its own, or a program that prints
    /// `{"listening":"http://…"}`. If not given, the node that `CAIRN_BIN` names, or that of the same build.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Whose figures these are, if not Cairn's: `socketioxide` makes `socketioxide:fanout`.
    #[arg(long)]
    peer: Option<String>,
    /// Arguments of the program.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// A running server, and whose figures are measured.
#[derive(Debug)]
struct Stage {
    protocol: Protocol,
    address: SocketAddr,
    /// None where it ran already.
    server: Option<Server>,
    prefix: String,
}

impl Target {
    /// Starts the server for so many clients.
    fn start(self, clients: usize) -> Result<Stage> {
        let needed = clients as u64 + FILES;
        let files = rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files cannot be read")?;
        ensure!(files >= needed, "{files} open files are allowed, and {clients} clients need {needed}");
        let prefix = self.peer.map(|peer| format!("{peer}:")).unwrap_or_default();
        let (address, server) = match self.url {
            Some(url) => (server::address(&url)?, None),
            None => {
                let server = Server::start(self.server, self.program, &self.arguments)?;
                (server.address, Some(server))
            }
        };
        Ok(Stage { protocol: self.server, address, server, prefix })
    }
}

impl Stage {
    /// What the server has used so far, if that can be known.
    fn used(&self) -> Option<Used> {
        self.server.as_ref().map(Server::used)
    }

    /// Prints a figure, with what the server used for it.
    fn print(&self, figure: impl fmt::Display, value: f64, before: Option<Used>) {
        let cost = match (before, self.used()) {
            (Some(before), Some(after)) => {
                format!(",\"cpu\":{:.2},\"memory\":{}", after.seconds - before.seconds, after.peak)
            }
            _ => String::new(),
        };
        println!("{{\"figure\":\"{}{figure}\",\"value\":{value:.4}{cost}}}", self.prefix);
    }
}

/// What went wrong first in any of the tasks.
#[derive(Debug, Default)]
struct Trouble(RefCell<Option<String>>);

impl Trouble {
    fn note(&self, what: impl fmt::Display) {
        self.0.borrow_mut().get_or_insert_with(|| what.to_string());
    }

    fn check(&self) -> Result<()> {
        self.0.take().map_or(Ok(()), |what| Err(anyhow::Error::msg(what)))
    }
}

/// Text of so many bytes that begins with a number and ends as JSON does. The number follows [`client::NUMBER`].
fn payload(number: u64, bytes: usize) -> String {
    let head = format!("{}{number},\"text\":\"", client::NUMBER);
    let fill = bytes.saturating_sub(head.len() + 2);
    let text = "a line of chat, about as long as people write them; ".chars().cycle().take(fill);
    head.chars().chain(text).chain("\"}".chars()).collect()
}

/// The value that this share of all does not exceed. Sorts them.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}

fn main() -> ExitCode {
    match run(Options::parse().scenario) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crowd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(scenario: Scenario) -> Result<()> {
    // One thread: the machine's other processors are the server's.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match scenario {
            Scenario::Append(plan) => append::run(plan).await,
            Scenario::Fanout(plan) => fanout::run(plan).await,
            Scenario::Idle(plan) => idle::run(plan).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_length_and_begin_with_their_number() {
        for (number, bytes) in [(0, 120), (123_456, 120), (7, 200)] {
            let text = payload(number, bytes);
            assert_eq!(text.len(), bytes);
            assert!(text.starts_with(&format!("{{\"n\":{number},")) && text.ends_with("\"}"), "{text}");
        }
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| quantile(&mut values, share)), [1.0, 100.0, 198.0, 200.0]);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
