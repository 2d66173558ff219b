//! `cairn init`: begins a ledger for a group.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;
use shared::LedgerId;

use super::Failure;
use crate::{
    config::Settings,
    control::{ControlFile, client::ControlClient},
    data::DataError,
    ledgers,
    store::Beginning,
};

#[derive(Debug, Args)]
pub(super) struct Init {
    /// What the group calls its ledger
    name: String,
    /// What others see you as
    #[arg(long, value_name = "NAME")]
    nickname: Option<String>,
    /// A relay that keeps the ledger for everybody, may be given several times; it is in every invite [default: those of
    /// the configuration]
    #[arg(long, value_name = "URL")]
    relay: Vec<String>,
    /// An open ledger instead: whoever knows its name may read and write, and nothing is sealed
    #[arg(long, conflicts_with = "nickname")]
    open: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let settings = settings.with_relays(&self.relay)?;
        let relays: Vec<String> = settings.relays.iter().map(ToString::to_string).collect();
        let (beginning, node) = if self.open {
            let beginning = Beginning::Open(crate::config::check_name(self.name.clone())?);
            let key = settings.data.new_key()?;
            let node = key.node();
            settings
                .data
                .make(&beginning, key, |mut opened| opened.store.set_relays(&relays).map_err(DataError::from))?;
            (beginning, node)
        } else {
            ledgers::found(&settings.data, &self.name, self.nickname.as_deref(), &relays)?
        };
        let ledger = beginning.id();
        // A node that serves the directory goes on with it at once.
        let serving = match ControlFile::load(&settings.data.control()) {
            Ok(Some(file)) => ControlClient::new(file).serve(&ledger).is_ok(),
            _ => false,
        };
        let mut out = io::stdout().lock();
        let print = if self.json {
            writeln!(out, "{}", json!({ "ledger": ledger.to_string(), "name": self.name, "node": node.to_string() }))
        } else {
            self.explain(&mut out, &settings, &ledger, serving)
        };
        print.map_err(Failure::io("the ledger cannot be printed"))
    }

    fn explain(&self, out: &mut impl Write, settings: &Settings, ledger: &LedgerId, serving: bool) -> io::Result<()> {
        let data = settings.data.path().display();
        writeln!(out, "{:?} has begun.", self.name)?;
        writeln!(out, "  ledger  {ledger}")?;
        for relay in &settings.relays {
            writeln!(out, "  relay   {relay}")?;
        }
        if settings.relays.is_empty() {
            writeln!(out, "  relay   none: friends on other machines find you by one, `--relay wss://…`")?;
        }
        if !serving {
            writeln!(out, "  serve   cairn --data {data}")?;
        }
        let named = if is_default(settings, ledger) { String::new() } else { format!(" --ledger {}", short(ledger)) };
        match self.open {
            true => writeln!(out, "  share   its name: whoever knows it may write"),
            false => writeln!(out, "  invite  cairn --data {data} invite{named}"),
        }
    }
}

pub(super) fn is_default(settings: &Settings, ledger: &LedgerId) -> bool {
    let default = settings.data.select(None);
    default.is_ok_and(|dir| dir == settings.data.further(ledger))
}

/// Enough of an id to name a ledger.
pub(super) fn short(ledger: &LedgerId) -> String {
    ledger.to_string().chars().take(10).collect()
}
