//! The command line.

use std::{
    env,
    path::PathBuf,
    process::{self, ExitCode},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Layer, Settings},
    host::Status,
    keys::Source,
};

mod access;
mod append;
mod failure;
mod found;
mod group;
mod invite;
mod join;
mod key;
mod ledgers;
mod limits;
mod log;
mod members;
mod names;
mod progress;
mod repair;
mod serve;
mod status;
mod token;
mod transfer;
mod verify;
mod words;

pub use failure::Failure;

/// A private network that a group owns: a shared history that every member writes and nobody can rewrite.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, after_help = failure::EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    serve: Serve,
    /// Print every limit of the protocol.
    #[arg(long)]
    limits: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Common {
    /// The data directory [environment: CAIRN_DATA] [default: cairn-data]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// The ledger, by its name or the first digits of its id [environment: CAIRN_LEDGER] [default: the one that `cairn
    /// ledgers` marks]
    #[arg(long, global = true, value_name = "LEDGER")]
    ledger: Option<String>,
    /// A TOML file with `relay`, `peer`, `ledger`, `data`, `listen` and what else the flags of `cairn serve` say [default: cairn.toml in the
    /// data directory]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file whose first line is the passphrase of the keys, for whoever is asked at no terminal [environment:
    /// CAIRN_PASSPHRASE_FILE, or the passphrase itself in CAIRN_PASSPHRASE]
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Serve {
    /// A relay to link to, may be given several times [environment: CAIRN_RELAY, separated by commas]
    #[arg(long, value_name = "URL")]
    relay: Vec<String>,
    /// Another node to link to directly, such as ws://192.168.1.5:3000, may be given several times; from one a node learns of
    /// the others [environment: CAIRN_PEER, separated by commas]
    #[arg(long, value_name = "URL")]
    peer: Vec<String>,
    /// Where other nodes reach this one, if not where it listens, may be given several times [environment: CAIRN_ANNOUNCE,
    /// separated by commas]
    #[arg(long, value_name = "URL")]
    announce: Vec<String>,
    /// Whether nodes link to each other directly, and how far. lan: over local networks, where they find each other by mDNS if --listen is an address that
    /// other machines reach; no server is asked for anything. internet: also
    /// through routers and firewalls, with the help of iroh relays; whoever runs these sees this machine's IP address, which endpoints talk
    /// to each other, when and how much, and nothing of what they say. off: by relays only [environment: CAIRN_DIRECT] [default: lan]
    #[arg(long, value_name = "lan|internet|off")]
    direct: Option<String>,
    /// An iroh relay for --direct internet, may be given several times [environment: CAIRN_IROH_RELAY, separated by commas] [default: the
    /// public ones of iroh's makers, number 0]
    #[arg(long, value_name = "URL")]
    iroh_relay: Vec<String>,
    /// The address to listen on; on one that other machines reach, every client needs the token that `cairn token` shows
    /// [environment: CAIRN_LISTEN] [default: 127.0.0.1:3000]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// A host that requests may be for, beside localhost and the address that the node listens on; may be given several
    /// times. With one that is not of this machine every client needs the token [environment: CAIRN_ALLOW_HOST, separated
    /// by commas]
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// An origin such as https://app.example whose pages may use the node, beside its own host and this machine; may be
    /// given several times [environment: CAIRN_ALLOW_ORIGIN, separated by commas]
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the ledger (this is what happens without a command)
    Serve(Serve),
    /// Begin a ledger for a group, whose members alone read and write it
    Init(found::Init),
    /// Make a link by which somebody comes in
    Invite(invite::Invite),
    /// Come in by a link
    Join(join::Join),
    /// Print who belongs to the ledger
    Members(members::Members),
    /// Remove a member, who reads nothing that is written from then on
    Remove(members::Remove),
    /// Be no member any more
    Leave(members::Leave),
    /// Give the ledger another name
    Rename(names::Rename),
    /// Give yourself another name in the ledger
    Nickname(names::Nickname),
    /// Seal what is written from now on with a new key
    Rekey(names::Rekey),
    /// Have everybody drop what an entry says
    Erase(names::Erase),
    /// Print the ledgers of the data directory, or say which is the default one
    Ledgers(ledgers::Show),
    /// Append an entry and print its id
    Append(append::Append),
    /// Print entries
    Log(log::Log),
    /// Print how the node is
    Status(status::Show),
    /// Show the token that clients on other machines need, or make another one
    Token(token::Show),
    /// Seal the keys with a passphrase, back them up, and bring them back
    Key(key::Key),
    /// Read the store again and check every block
    Verify(verify::Verify),
    /// Write all blocks to a file
    Export(transfer::Export),
    /// Add the blocks of a file
    Import(transfer::Import),
    /// Print every limit of the protocol
    Limits(limits::Limits),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("cairn: {message}");
            }
            // The turn thread may still hold the store; it is not waited for once something has failed.
            process::exit(failure.code().into())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { common, serve, limits, command } = cli;
    if limits {
        return limits::Limits::default().run();
    }
    let (serve, command) = match command {
        None => (serve, None),
        Some(Command::Serve(more)) => (serve.and(more), None),
        Some(_) if !serve.is_empty() => {
            let message = "--relay, --peer, --announce, --direct, --iroh-relay, --listen, --allow-host and \
                           --allow-origin before a command are for `cairn serve`";
            return Err(Failure::Usage(message.to_owned()));
        }
        Some(command) => (serve, Some(command)),
    };
    let given = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let flags = Layer {
        relays: given(serve.relay),
        relay_secret: None,
        ledger: common.ledger,
        data: common.data,
        listen: serve.listen,
        hosts: given(serve.allow_host),
        origins: given(serve.allow_origin),
        peers: given(serve.peer),
        announce: given(serve.announce),
        direct: serve.direct,
        iroh_relays: given(serve.iroh_relay),
    };
    let environment = Layer::from_environment(|name| env::var(name).ok());
    let settings = Settings::resolve(flags, environment, common.config.as_deref())?;
    let settings = settings.with_passphrase(Source::resolve(common.passphrase_file.as_deref()));
    match command {
        None | Some(Command::Serve(_)) => serve::run(&settings),
        Some(Command::Init(init)) => init.run(&settings),
        Some(Command::Invite(invite)) => invite.run(&settings),
        Some(Command::Join(join)) => join.run(&settings),
        Some(Command::Members(members)) => members.run(&settings),
        Some(Command::Remove(remove)) => remove.run(&settings),
        Some(Command::Leave(leave)) => leave.run(&settings),
        Some(Command::Rename(rename)) => rename.run(&settings),
        Some(Command::Nickname(nickname)) => nickname.run(&settings),
        Some(Command::Erase(erase)) => erase.run(&settings),
        Some(Command::Rekey(rekey)) => rekey.run(&settings),
        Some(Command::Ledgers(ledgers)) => ledgers.run(&settings),
        Some(Command::Append(append)) => append.run(&settings),
        Some(Command::Log(log)) => log.run(&settings),
        Some(Command::Status(status)) => status.run(&settings),
        Some(Command::Token(token)) => token.run(&settings),
        Some(Command::Key(key)) => key.run(&settings),
        Some(Command::Verify(verify)) => verify.run(&settings),
        Some(Command::Export(export)) => export.run(&settings),
        Some(Command::Import(import)) => import.run(&settings),
        Some(Command::Limits(limits)) => limits.run(),
    }
}

impl Serve {
    fn and(mut self, more: Serve) -> Serve {
        self.relay.extend(more.relay);
        self.allow_host.extend(more.allow_host);
        self.allow_origin.extend(more.allow_origin);
        self.peer.extend(more.peer);
        self.announce.extend(more.announce);
        self.iroh_relay.extend(more.iroh_relay);
        Serve { listen: more.listen.or(self.listen), direct: more.direct.or(self.direct), ..self }
    }

    fn is_empty(&self) -> bool {
        let Self { relay, peer, announce, direct, iroh_relay, listen, allow_host, allow_origin } = self;
        let lists = [relay, peer, announce, iroh_relay, allow_host, allow_origin];
        lists.iter().all(|list| list.is_empty()) && listen.is_none() && direct.is_none()
    }
}

/// A ledger for people: its name where it has one, and its id.
fn ledger_line(status: &Status) -> String {
    match status.name.as_str() {
        "" => format!("{} (its name is not known yet)", status.ledger),
        name => format!("{name} ({})", status.ledger),
    }
}
