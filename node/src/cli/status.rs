//! `cairn status`: how the node is.

use std::{
    fmt::{self, Display},
    io::{self, Write},
};

use clap::Args;

use super::{
    Failure,
    access::{Access, must_exist, with_host},
    ledger_line,
};
use crate::{
    config::Settings,
    host::{LinkInfo, PeerInfo, Status},
    link::RelayState,
};

/// Other nodes of which a person reads whether they are on line.
const PEERS: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Show {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        // Asking must not make a ledger.
        must_exist(settings)?;
        let (status, serving) = match Access::open(settings)? {
            Access::Through(client) => (client.status()?, true),
            Access::Alone(locked) => {
                let status = with_host(&locked, settings, |host| async move { Ok(host.status().await?) })?;
                (status, false)
            }
        };
        let mut out = io::stdout().lock();
        let print = if self.json {
            serde_json::to_string(&status).map_err(io::Error::from).and_then(|text| writeln!(out, "{text}"))
        } else {
            write!(out, "{}", Text { status: &status, serving })
        };
        print.map_err(Failure::io("the status cannot be printed"))
    }
}

/// One link, in words.
struct Way<'a>(&'a LinkInfo);

impl Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(link) = self;
        let path = match link.path.as_str() {
            "relay" => "by relay",
            "quic" => "direct by QUIC",
            "websocket" => "direct by WebSocket",
            other => other,
        };
        write!(f, "{} {path}", link.node.as_deref().unwrap_or("(not yet known)"))?;
        if let Some(round_trip) = link.round_trip {
            write!(f, ", {:.1} ms", round_trip as f64 / 1e3)?;
        }
        write!(f, ", {} bytes in, {} out", link.received, link.sent)?;
        if link.done < link.total {
            write!(f, ", {} of {} blocks received", link.done, link.total)?;
        }
        if link.remaining > 0 {
            write!(f, ", {} blocks to send", link.remaining)?;
        }
        Ok(())
    }
}

/// Whether another node is on line, in words.
struct Whereabouts<'a>(&'a PeerInfo);

impl Display for Whereabouts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(peer) = self;
        write!(f, "{} ", peer.node)?;
        match (peer.path.as_deref(), &peer.seen) {
            (Some("relay"), _) => write!(f, "is on line, at a relay"),
            (Some(_), _) => write!(f, "is on line, over others"),
            (None, Some(seen)) => write!(f, "is off line, seen last at {seen}"),
            (None, None) => write!(f, "is off line"),
        }
    }
}

struct Text<'a> {
    status: &'a Status,
    serving: bool,
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        writeln!(f, "node      {}", status.node)?;
        for former in &status.former_nodes {
            writeln!(f, "formerly  {former}, until two blocks of one height carried its signature")?;
        }
        writeln!(f, "ledger    {}", ledger_line(status))?;
        match (&status.role, status.open) {
            (_, true) => {}
            (_, false) if status.removed => {
                writeln!(f, "members   {}, this node was removed or has left", status.members)?
            }
            (Some(role), false) => writeln!(f, "members   {}, this node is {role}", status.members)?,
            (None, false) => writeln!(f, "members   this node is not in yet")?,
        }
        let totals = status.totals;
        writeln!(f, "holds     {} entries in {} blocks, {} bytes", totals.entries, totals.blocks, totals.bytes)?;
        writeln!(f, "digest    {}", status.digest)?;
        writeln!(f, "lanes     {}", status.heads.len())?;
        for lane in &status.frozen {
            writeln!(f, "frozen    {} from height {}", lane.author, lane.height)?;
        }
        if status.parked.blocks > 0 {
            writeln!(f, "parked    {} blocks, {} bytes", status.parked.blocks, status.parked.bytes)?;
        }
        if status.restoring {
            writeln!(
                f,
                "restored  from a backup: only reads until another node has told what this one's key has signed"
            )?;
        }
        if !self.serving {
            return writeln!(f, "serving   no");
        }
        writeln!(f, "serving   for {} s", status.uptime_seconds)?;
        writeln!(f, "held      own head {} by {} linked nodes", status.held.height, status.held.nodes)?;
        for relay in &status.relays {
            match &relay.state {
                RelayState::Dialling => writeln!(f, "relay     {} is being dialled", relay.url)?,
                RelayState::Connected { .. } => writeln!(f, "relay     {} is connected", relay.url)?,
                RelayState::Waiting { reason } => writeln!(f, "relay     {} is not connected: {reason}", relay.url)?,
            }
        }
        for address in &status.addresses {
            writeln!(f, "reached   at {address}")?;
        }
        for link in &status.links {
            writeln!(f, "link      {}", Way(link))?;
        }
        let linked = |peer: &&PeerInfo| status.links.iter().any(|link| link.node.as_ref() == Some(&peer.node));
        let others: Vec<&PeerInfo> = status.peers.iter().filter(|peer| !linked(peer)).collect();
        for peer in others.iter().take(PEERS) {
            writeln!(f, "peer      {}", Whereabouts(peer))?;
        }
        if let Some(more) = others.len().checked_sub(PEERS).filter(|more| *more > 0) {
            writeln!(f, "peer      and {more} more, which --json shows")?;
        }
        Ok(())
    }
}
