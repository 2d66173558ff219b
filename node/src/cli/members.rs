//! `cairn members`, `remove` and `leave`: who belongs to a group's ledger.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use serde_json::json;

use super::{
    Failure,
    access::ledger_dir,
    group::{find, members, wish},
    invite::println_all,
};
use crate::{config::Settings, control::WishFor, host::MemberInfo};

/// Digits of an id that a list shows.
const DIGITS: usize = 12;

#[derive(Debug, Args)]
pub(super) struct Members {
    /// Those who were removed or have left too
    #[arg(long)]
    all: bool,
    /// As JSON, with everybody
    #[arg(long)]
    json: bool,
}

impl Members {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let members = members(settings)?;
        let mut out = io::stdout().lock();
        let print = match members[..] {
            _ if self.json => writeln!(out, "{}", json!(members)),
            [] if ledger_dir(settings)?.reader()?.ledger()?.name().is_some() => {
                writeln!(out, "This ledger has no members: it is open to whoever knows its name.")
            }
            [] => writeln!(out, "This node is not in yet, and does not know who is."),
            _ => self.table(&mut out, &members),
        };
        print.map_err(Failure::io("the members cannot be printed"))
    }

    fn table(&self, out: &mut impl Write, members: &[MemberInfo]) -> io::Result<()> {
        let shown: Vec<&MemberInfo> = members.iter().filter(|member| self.all || !member.removed).collect();
        let width = shown.iter().map(|member| called(member).chars().count()).max().unwrap_or(0).max(4);
        writeln!(out, "{:width$}  {:<7}  {:<16}  {:<DIGITS$}  INVITED BY", "NAME", "ROLE", "SINCE", "NODE")?;
        for member in shown {
            let since = member.joined[..16].replace('T', " ");
            let by = member.by.as_ref().map_or(String::new(), |by| {
                let inviter = members.iter().find(|other| other.node == *by);
                inviter.and_then(|inviter| inviter.name.clone()).unwrap_or_else(|| by[..DIGITS].to_owned())
            });
            let removed = if member.removed { "  (removed)" } else { "" };
            let (name, role, node) = (called(member), &member.role, &member.node[..DIGITS]);
            writeln!(out, "{name:width$}  {role:<7}  {since}  {node}  {by}{removed}")?;
        }
        Ok(())
    }
}

/// What a list calls somebody.
fn called(member: &MemberInfo) -> String {
    let name = member.name.as_deref().unwrap_or("-");
    if member.me { format!("{name} (you)") } else { name.to_owned() }
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// A nickname, or the first digits of a node's id
    member: String,
}

impl Remove {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let member = find(&members(settings)?, &self.member)?;
        let told = wish(settings, &WishFor::Remove { member: member.node.clone() })?;
        let name = member.name.unwrap_or(member.node);
        println_all(&[
            &format!("{name} is removed, and reads nothing that is written from now on."),
            told.caution().unwrap_or_default(),
        ])
    }
}

#[derive(Debug, Args)]
pub(super) struct Leave {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Leave {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let members = members(settings)?;
        let Some(me) = members.iter().find(|member| member.me && !member.removed) else {
            return Err(Failure::Refused("this node is no member of this ledger".to_owned()));
        };
        if !self.yes && !confirmed("You come in again by another invite only, as somebody new. Leave?")? {
            return Err(Failure::Refused("nothing was done; --yes leaves without asking".to_owned()));
        }
        let told = wish(settings, &WishFor::Remove { member: me.node.clone() })?;
        println_all(&["You have left. What you have read stays here.", told.caution().unwrap_or_default()])
    }
}

/// Asks whoever sits at the terminal. Nobody there: no.
fn confirmed(question: &str) -> Result<bool, Failure> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    input.lock().read_line(&mut line).map_err(Failure::io("the answer cannot be read"))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
