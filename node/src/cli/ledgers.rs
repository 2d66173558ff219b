//! `cairn ledgers`: the ledgers of a data directory.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use super::{
    Failure,
    access::{Access, ledger_dir, with_host_of},
};
use crate::{config::Settings, ledgers::LedgerInfo};

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Make this one the default instead, by name or id: what commands and clients mean that name none
    #[arg(long, value_name = "LEDGER")]
    default: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if let Some(wanted) = &self.default {
            let settings = Settings { ledger: Some(wanted.clone()), ..settings.clone() };
            let ledger = ledger_dir(&settings)?.reader()?.ledger()?;
            settings.data.set_default(&ledger.id())?;
            // A node that serves has told its clients otherwise already.
            eprintln!("The default ledger is {ledger} from the next start on.");
        }
        let ledgers = all(settings)?;
        let mut out = io::stdout().lock();
        let mut print = || {
            if self.json {
                return writeln!(out, "{}", json!(ledgers));
            }
            let width = ledgers.iter().map(|ledger| ledger.name.chars().count()).max().unwrap_or(0).max(4);
            writeln!(out, "  {:width$}  {:<7}  LEDGER", "NAME", "KIND")?;
            for LedgerInfo { id, name, open, default, .. } in &ledgers {
                let (mark, kind) = (if *default { '*' } else { ' ' }, if *open { "open" } else { "members" });
                writeln!(out, "{mark} {name:width$}  {kind:<7}  {id}")?;
            }
            Ok(())
        };
        print().map_err(Failure::io("the ledgers cannot be printed"))
    }
}

fn all(settings: &Settings) -> Result<Vec<LedgerInfo>, Failure> {
    let dirs = settings.data.ledgers()?;
    if dirs.is_empty() {
        return Ok(Vec::new());
    }
    let settings = Settings { ledger: None, ..settings.clone() };
    match Access::open(&settings)? {
        Access::Through(client) => Ok(client.ledgers()?),
        Access::Alone(locked) => {
            let info = |(n, dir)| with_host_of(&locked, dir, None, |host| async move { Ok(host.info(n == 0).await?) });
            dirs.iter().enumerate().map(info).collect()
        }
    }
}
