//! `cairn join`: takes part in a group's ledger by a link.

use std::{
    io::{self, BufRead, IsTerminal, Read, Write},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;
use shared::LedgerId;
use zeroize::Zeroizing;

use super::{
    Failure,
    access::{Access, with_host_of, with_links_of},
    found::{is_default, short},
    group::{PATIENCE, until},
};
use crate::{
    config::Settings,
    control::{ControlFile, client::ControlClient},
    data::{DataError, LedgerDir, LockedDir},
    host::Status,
    ledgers::{Joining, MakeError},
};

/// Bytes of a line with a link in it; the link itself has less than half of that.
const LINK_BYTES: u64 = 16 * 1024;

/// How long a node tries on that is sent away.
const REFUSED_FOR: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct Join {
    /// The link that somebody of the group gave you, or what follows #join= in it. Without one it is read from standard
    /// input, where no other user of this machine sees it
    link: Option<String>,
    /// What others see you as
    #[arg(long, value_name = "NAME")]
    nickname: Option<String>,
    /// A relay to find the ledger by, beside those in the link; may be given several times
    #[arg(long, value_name = "URL")]
    relay: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Join {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if let Some(name) = &self.nickname {
            shared::names::check(name).map_err(|error| Failure::Usage(error.to_string()))?;
        }
        let settings = &settings.with_relays(&self.relay)?;
        let joining = Joining::read(&self.link()?, self.nickname.clone())?.with_relays(&settings.relays);
        let ledger = joining.ledger();
        let status = match joining.make(&settings.data) {
            Ok(()) => self.come_in(settings, &ledger)?,
            Err(MakeError::Data(DataError::Exists(_))) => self.again(settings, &joining)?,
            Err(error) => return Err(error.into()),
        };
        self.report(settings, &ledger, &status)
    }

    fn link(&self) -> Result<Zeroizing<String>, Failure> {
        if let Some(link) = &self.link {
            return Ok(Zeroizing::new(link.clone()));
        }
        let input = io::stdin();
        if input.is_terminal() {
            eprint!("The link: ");
        }
        let mut line = Zeroizing::new(String::new());
        input.lock().take(LINK_BYTES).read_line(&mut line).map_err(Failure::io("the link cannot be read"))?;
        Ok(line)
    }

    /// Links to the relays until the others let this node in.
    fn come_in(&self, settings: &Settings, ledger: &LedgerId) -> Result<Status, Failure> {
        if let Ok(Some(file)) = ControlFile::load(&settings.data.control()) {
            let client = ControlClient::new(file);
            client.serve(ledger)?;
            return self.watch(&client.of(ledger.to_string()));
        }
        match Access::open(settings)? {
            Access::Through(client) => self.watch(&client.of(ledger.to_string())),
            Access::Alone(locked) => self.here(&locked, &settings.data.further(ledger), settings),
        }
    }

    fn here(&self, locked: &LockedDir, dir: &LedgerDir, settings: &Settings) -> Result<Status, Failure> {
        with_links_of(locked, dir, settings, |host| async move {
            let mut refused = Refusal::default();
            let decided = |status: &Status| is_in(status) || refused.lasts(status) || status.relays.is_empty();
            until(&host, decided).await
        })
    }

    /// The same where a node serves the directory.
    fn watch(&self, client: &ControlClient) -> Result<Status, Failure> {
        let began = Instant::now();
        let mut refused = Refusal::default();
        loop {
            let status = client.status()?;
            if is_in(&status) || refused.lasts(&status) || began.elapsed() > PATIENCE {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The ledger is here. Where this node is not in it yet, the new invite takes the place of the one before.
    fn again(&self, settings: &Settings, joining: &Joining) -> Result<Status, Failure> {
        let ledger = &joining.ledger();
        let dir = settings.data.further(ledger);
        let removed = || {
            let place = dir.path().display();
            let what = format!("this node was removed from the ledger, or left it: to come in anew, move {place} away");
            Failure::Refused(what)
        };
        let locked = match Access::open(settings)? {
            Access::Alone(locked) => locked,
            Access::Through(client) => {
                let status = client.of(ledger.to_string()).status()?;
                return match status.role {
                    _ if status.removed => Err(removed()),
                    Some(_) => Ok(status),
                    None => Err(Failure::Refused(
                        "an earlier invite to this ledger is being tried by the node that serves it: stop the node to \
                         try this one"
                            .to_owned(),
                    )),
                };
            }
        };
        let status = with_host_of(&locked, &dir, None, |host| async move { Ok(host.status().await?) })?;
        if status.removed {
            return Err(removed());
        }
        if status.role.is_none() {
            joining.fill(locked.open_in(&dir, None)?)?;
        } else if self.nickname.is_some() {
            locked.open_in(&dir, None)?.store.set_wanted_name(self.nickname.as_deref())?;
        }
        self.here(&locked, &dir, settings)
    }

    fn report(&self, settings: &Settings, ledger: &LedgerId, status: &Status) -> Result<(), Failure> {
        if !is_in(status) && is_refused(status) {
            return Err(Failure::Refused(
                "the relay does not let this node in: the invite is used up, closed or expired, or whoever wrote it has \
                 not reached the relay since. `cairn serve` goes on trying; another invite can be tried too"
                    .to_owned(),
            ));
        }
        let mut out = io::stdout().lock();
        let print = if self.json {
            let joined = json!({
                "ledger": ledger.to_string(), "name": status.name, "node": status.node, "role": status.role,
                "entries": status.totals.entries,
            });
            writeln!(out, "{joined}")
        } else {
            self.explain(&mut out, settings, ledger, status)
        };
        print.map_err(Failure::io("the result cannot be printed"))
    }

    fn explain(&self, out: &mut impl Write, settings: &Settings, ledger: &LedgerId, status: &Status) -> io::Result<()> {
        let data = settings.data.path().display();
        match &status.role {
            Some(role) => {
                writeln!(out, "You are in {:?}, as {role}. {} entries are here.", status.name, status.totals.entries)?
            }
            None if status.relays.is_empty() => {
                writeln!(
                    out,
                    "You will be in when this node finds the others: `cairn serve --listen 0.0.0.0:3000` looks on the local network. Or name a relay that they use, by --relay."
                )?;
            }
            None => writeln!(out, "You will be in when the relay can be reached: `cairn serve` goes on trying.")?,
        }
        writeln!(out, "  ledger  {ledger}")?;
        writeln!(out, "  you     {}", status.node)?;
        for relay in &status.relays {
            writeln!(out, "  relay   {}", relay.url)?;
        }
        let named = if is_default(settings, ledger) { String::new() } else { format!(" --ledger {}", short(ledger)) };
        if let Some(name) = self.nickname.as_ref().filter(|_| !is_in(status)) {
            writeln!(out, "  name    {name:?}, as soon as you are in")?;
        }
        writeln!(out, "  serve   cairn --data {data}")?;
        writeln!(
            out,
            "  try     cairn --data {data}{named} append \"hello\"    and    cairn --data {data}{named} log --follow"
        )
    }
}

/// Whether this node belongs, also to a linked node, and has what that one had when they met. Of two who come by one link
/// for one, both may believe for a moment that they are in; what the others do not keep of it was the moment.
fn is_in(status: &Status) -> bool {
    let in_step = status.links.iter().any(|link| link.node.is_some() && link.done == link.total);
    status.role.is_some() && in_step && status.held.nodes > 0
}

/// Since when the relays send this node away. Of two who come by one link for one, also the one that is in in the end may be put out for the
/// moment in which the other one counts.
#[derive(Default)]
struct Refusal(Option<Instant>);

impl Refusal {
    /// Whether they do so again after some time.
    fn lasts(&mut self, status: &Status) -> bool {
        is_refused(status) && self.0.get_or_insert_with(Instant::now).elapsed() >= REFUSED_FOR
    }
}

/// Whether every relay sends this node away.
fn is_refused(status: &Status) -> bool {
    let code = format!("({})", shared::CloseReason::NotAMember.code());
    let refuses = |relay: &crate::link::RelayStatus| matches!(&relay.state, crate::link::RelayState::Waiting { reason } if reason.contains(&code));
    !status.relays.is_empty() && status.relays.iter().all(refuses)
}
