//! `cairn rename`, `nickname`, `rekey` and `erase`: what a group's ledger and its members are called, what it is sealed with,
//! and what is to go from it.

use clap::Args;

use super::{Failure, group::wish, invite::println_all};
use crate::{config::Settings, control::WishFor};

#[derive(Debug, Args)]
pub(super) struct Rename {
    /// The ledger's new name, for everybody
    name: String,
}

impl Rename {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let told = wish(settings, &WishFor::LedgerName { name: self.name.clone() })?;
        println_all(&[&format!("The ledger is called {:?} now.", self.name), told.caution().unwrap_or_default()])
    }
}

#[derive(Debug, Args)]
pub(super) struct Nickname {
    /// What others see you as, in this ledger
    name: String,
}

impl Nickname {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let told = wish(settings, &WishFor::Nickname { name: self.name.clone() })?;
        println_all(&[&format!("You are called {:?} now.", self.name), told.caution().unwrap_or_default()])
    }
}

#[derive(Debug, Args)]
pub(super) struct Erase {
    /// The entry's id
    entry: String,
}

impl Erase {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let told = wish(settings, &WishFor::Erase { entry: self.entry.clone() })?;
        println_all(&[
            "The entry is erased here, and wherever this is heard of. That there was one, who wrote it and when, stays.",
            told.caution().unwrap_or_default(),
        ])
    }
}

#[derive(Debug, Args)]
pub(super) struct Rekey {}

impl Rekey {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let told = wish(settings, &WishFor::Rekey)?;
        println_all(&["What is written from now on is sealed with a new key.", told.caution().unwrap_or_default()])
    }
}
