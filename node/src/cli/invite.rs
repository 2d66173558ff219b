//! `cairn invite`: a link by which others come in.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, ValueEnum};
use qrcodegen::{QrCode, QrCodeEcc};
use serde_json::json;
use shared::{Timestamp, token::FRAGMENT};
use zeroize::Zeroizing;

use super::{
    Failure,
    access::{Access, meant, must_exist, with_host, with_links},
    group::{Told, tell, wish},
};
use crate::{
    config::{RelayUrl, Settings},
    control::{InviteFor, WishFor},
    host::{InviteError, InviteInfo},
    link,
};

/// The page of a node on the reader's own machine, where no relay has one.
const OWN_PAGE: &str = "http://127.0.0.1:3000/";

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// What newcomers may do
    #[arg(long, value_enum, default_value_t = Role::Member)]
    role: Role,
    /// How many may come in by the link
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// Until when: a number of minutes, hours or days such as 30m, 12h, 7d, or `never`
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_expiry)]
    expires: Expiry,
    /// A relay to find the ledger by, may be given several times [default: those of the ledger and the configuration]
    #[arg(long, value_name = "URL")]
    relay: Vec<String>,
    /// The page that the link opens [default: the first relay's]
    #[arg(long, value_name = "URL")]
    page: Option<String>,
    /// List the invites instead
    #[arg(long, conflicts_with_all = ["role", "uses", "expires", "page", "relay"])]
    list: bool,
    /// Let nobody in any more by this invite instead: the first digits of what --list shows
    #[arg(long, value_name = "INVITE", conflicts_with_all = ["role", "uses", "expires", "page", "relay", "list"])]
    close: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Owner,
    Admin,
    Member,
    Reader,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Reader => "reader",
        }
    }
}

/// How long an invite counts; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expiry(Option<Duration>);

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry(None));
    }
    let wrong = || "expected a number and m, h or d, such as 7d, or `never`".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    Ok(Expiry(Some(Duration::from_secs(u64::from(number) * seconds))))
}

impl Expiry {
    /// The time of the end in µs, from now.
    fn micros(self) -> Option<u64> {
        let end = SystemTime::now().checked_add(self.0?)?.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(end.as_micros()).ok()
    }
}

impl Invite {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        must_exist(settings)?;
        if self.list {
            return list(settings, self.json);
        }
        if let Some(wanted) = &self.close {
            return close(settings, wanted);
        }
        let settings = &settings.with_relays(&self.relay)?;
        let (relays, access) = relays(settings, Access::open(settings)?)?;
        let expires = self.expires.micros();
        let texts: Vec<String> = relays.iter().map(ToString::to_string).collect();
        let invite = InviteFor { role: self.role.name().to_owned(), uses: self.uses, expires, relays: texts };
        let (token, told) = match access {
            Access::Through(client) => (client.invite(&invite)?, Told::Node),
            Access::Alone(locked) => {
                let offer = invite.offer().map_err(Failure::Usage)?;
                with_links(&locked, settings, |host| async move {
                    let token = host.invite(offer, invite.relays).await??;
                    Ok((token.encode().map_err(InviteError::from)?, tell(&host).await?))
                })?
            }
        };
        let page =
            self.page.clone().or_else(|| relays.first().map(RelayUrl::page)).unwrap_or_else(|| OWN_PAGE.to_owned());
        let link = Zeroizing::new(format!("{page}{FRAGMENT}{}", *token));
        self.print(&link, expires, relays.is_empty(), told).map_err(Failure::io("the link cannot be printed"))
    }

    fn print(&self, link: &str, expires: Option<u64>, alone: bool, told: Told) -> io::Result<()> {
        let expires = expires.and_then(Timestamp::from_micros).map(|time| time.to_string());
        let mut out = io::stdout().lock();
        if self.json {
            let (role, uses) = (self.role.name(), self.uses);
            return writeln!(out, "{}", json!({ "link": link, "role": role, "uses": uses, "expires": expires }));
        }
        writeln!(out, "{link}")?;
        if !out.is_terminal() {
            return Ok(());
        }
        if let Ok(code) = QrCode::encode_text(link, QrCodeEcc::Low) {
            writeln!(out, "\n{}", draw(&code))?;
        }
        let who = if self.uses == 1 { "One person comes".to_owned() } else { format!("{} people come", self.uses) };
        let until = expires.map_or("at any time".to_owned(), |time| format!("until {}", &time[..16].replace('T', " ")));
        writeln!(out, "{who} in by this link, as {}, {until}: `cairn join '<the link>'`.", self.role.name())?;
        writeln!(out, "Whoever has it can read what the group wrote so far. Send it by a way that you trust.")?;
        if alone {
            writeln!(
                out,
                "No relay is in it: whoever joins has to be on your local network, or to name one that you use too, by --relay."
            )?;
        }
        told.caution().map_or(Ok(()), |caution| writeln!(out, "{caution}"))
    }
}

/// Where newcomers find the ledger.
fn relays(settings: &Settings, access: Access) -> Result<(Vec<RelayUrl>, Access), Failure> {
    let own = match &access {
        Access::Through(client) => client.status()?.relays.into_iter().map(|relay| relay.url).collect(),
        Access::Alone(locked) => settings.data.reader_of(&meant(locked, settings)?)?.relays()?,
    };
    Ok((link::relays(&settings.relays, &own), access))
}

/// The code as half blocks: two rows of it in each line, dark on light whatever the terminal's colours are.
fn draw(code: &QrCode) -> String {
    const MARGIN: i32 = 2;
    let mut text = String::new();
    for y in (-MARGIN..code.size() + MARGIN).step_by(2) {
        text.push_str("\x1b[30;107m");
        for x in -MARGIN..code.size() + MARGIN {
            text.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (false, false) => ' ',
                (true, false) => '▀',
                (false, true) => '▄',
                (true, true) => '█',
            });
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

fn invites(settings: &Settings) -> Result<Vec<InviteInfo>, Failure> {
    match Access::open(settings)? {
        Access::Through(client) => Ok(client.invites()?),
        Access::Alone(locked) => with_host(&locked, settings, |host| async move { Ok(host.invites().await?) }),
    }
}

fn list(settings: &Settings, as_json: bool) -> Result<(), Failure> {
    let invites = invites(settings)?;
    let mut out = io::stdout().lock();
    let mut print = || {
        if as_json {
            return writeln!(out, "{}", json!(invites));
        }
        writeln!(out, "{:<12}{:<8}{:<8}{:<10}EXPIRES", "INVITE", "ROLE", "STATE", "CAME IN")?;
        for invite in &invites {
            let (id, state) = (&invite.block[..10], if invite.open { "open" } else { "closed" });
            let came = format!("{} of {}", invite.used, invite.uses);
            let expires = invite.expires.as_deref().map_or("never".to_owned(), |time| time[..16].replace('T', " "));
            writeln!(out, "{id:<12}{:<8}{state:<8}{came:<10}{expires}", invite.role)?;
        }
        Ok(())
    };
    print().map_err(Failure::io("the invites cannot be printed"))
}

fn close(settings: &Settings, wanted: &str) -> Result<(), Failure> {
    let invites = invites(settings)?;
    let meant: Vec<&InviteInfo> = invites.iter().filter(|invite| invite.block.starts_with(wanted)).collect();
    let invite = match meant[..] {
        [only] => only.block.clone(),
        [] => return Err(Failure::Refused(format!("there is no invite {wanted:?}; `cairn invite --list` shows them"))),
        _ => return Err(Failure::Refused(format!("{wanted:?} may be several invites: more digits say which"))),
    };
    let told = wish(settings, &WishFor::Close { invite })?;
    println_all(&["Nobody comes in by that link any more.", told.caution().unwrap_or_default()])
}

/// Prints the lines that are not empty.
pub(super) fn println_all(lines: &[&str]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let print = |line: &&str| writeln!(out, "{line}");
    lines
        .iter()
        .filter(|line| !line.is_empty())
        .try_for_each(print)
        .map_err(Failure::io("the result cannot be printed"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        invite: Invite,
    }

    #[test]
    fn a_link_is_for_one_and_for_a_week() {
        let Line { invite } = Line::try_parse_from(["invite"]).unwrap();
        assert_eq!((invite.uses, invite.expires), (1, Expiry(Some(Duration::from_secs(7 * 24 * 3_600)))));
    }

    #[test]
    fn an_expiry_is_a_number_and_a_unit_or_never() {
        let seconds = |text| parse_expiry(text).map(|expiry| expiry.0.map(|time| time.as_secs()));
        assert_eq!(seconds("30m"), Ok(Some(1_800)));
        assert_eq!(seconds("12h"), Ok(Some(43_200)));
        assert_eq!(seconds("7d"), Ok(Some(604_800)));
        assert_eq!(seconds("never"), Ok(None));
        for wrong in ["", "7", "d", "0d", "-1d", "7w", "7.5d", "5000000000d", "1é"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_code_is_drawn_with_a_margin_in_lines_of_one_length() {
        let code = QrCode::encode_text("https://relay.example/#join=abc", QrCodeEcc::Low).unwrap();
        let drawn = draw(&code);
        let widths: Vec<usize> =
            drawn.lines().map(|line| line.chars().filter(|c| " ▀▄█".contains(*c)).count()).collect();
        assert_eq!(widths, vec![code.size() as usize + 4; (code.size() as usize + 5) / 2]);
    }
}
