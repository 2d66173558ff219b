//! Settings: flags before environment before the TOML file before defaults.

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    str::FromStr,
};

use axum::http::Uri;
use iroh::RelayUrl as IrohRelay;
use serde::Deserialize;
use shared::{
    Address, LedgerId,
    announce::AddressError,
    limits::{ADDRESS_BYTES, GIVEN_PEERS},
};
use thiserror::Error;

use crate::{
    data::DataDir,
    http::names::{HostName, Origin},
    keys::{Source, open_to_others},
    link::{RelaySecret, UnusableSecret},
};

const DEFAULT_DATA: &str = "cairn-data";
const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3000));
/// Bytes of a ledger's name.
const NAME_BYTES: usize = 200;
/// Relays of one node.
const RELAYS: usize = 16;
/// Bytes of an iroh relay's URL: an address of an endpoint has that much room for it.
const IROH_RELAY_BYTES: usize = ADDRESS_BYTES - "iroh:?relay=".len() - 64;
/// Bytes of a configuration file.
const FILE_BYTES: u64 = 64 * 1024;

/// What is wrong with a setting.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The file is too large to be one.
    #[error("the configuration file {} has {len} bytes, limit is {FILE_BYTES}", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its bytes.
        len: u64,
    },
    /// The file is not TOML, or has a key or a value that is not known.
    #[error("the configuration file {} is wrong: {message}", path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// The file in the data directory says where the data directory is.
    #[error("the configuration file {} lies in the data directory and cannot set `data`; name it with --config", path.display())]
    DataInside {
        /// Which file.
        path: PathBuf,
    },
    /// A relay's address is wrong.
    #[error("a relay of {came:?} ({what}), expected a URL such as wss://relay.example or ws://127.0.0.1:8787")]
    Relay {
        /// What came.
        came: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The secret for relays is none.
    #[error("relay_secret (CAIRN_RELAY_SECRET): {0}")]
    RelaySecret(#[from] UnusableSecret),
    /// The file holds a secret that others may read.
    #[error(
        "the configuration file {} holds `relay_secret` and has mode {mode:03o}, 600 is expected: others may know the secret",
        path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Too many relays.
    #[error("{0} relays, limit is {RELAYS}")]
    Relays(usize),
    /// The address to listen on is wrong.
    #[error("an address of {0:?}, expected IP:PORT such as 127.0.0.1:3000 (port 0: any free one)")]
    Listen(String),
    /// A host's name is wrong.
    #[error("an allowed host of {0:?}, expected a name or an address without a port, such as node.example")]
    Host(String),
    /// An origin is wrong.
    #[error("an allowed origin of {0:?}, expected scheme, host and port of pages, such as https://app.example")]
    Origin(String),
    /// The address of a node is wrong.
    #[error(
        "a node's address of {came:?} ({what}), expected one such as ws://192.168.1.5:3000, wss://node.example or \
         iroh:<64 digits>?ip=192.168.1.5:3000"
    )]
    Address {
        /// What came.
        came: String,
        /// What is wrong with it.
        what: String,
    },
    /// Too many peers.
    #[error("{0} peers, limit is {GIVEN_PEERS}")]
    Peers(usize),
    /// It is no way to link to others.
    #[error("direct links of {0:?}, expected lan, internet or off")]
    Direct(String),
    /// An iroh relay's address is wrong.
    #[error("an iroh relay of {came:?} ({what}), expected a URL such as https://relay.example")]
    IrohRelay {
        /// What came.
        came: String,
        /// What is wrong with it.
        what: String,
    },
    /// iroh relays are named, and none is to be asked.
    #[error("an iroh relay is for direct links over the internet, and these are {0}: --direct internet asks it")]
    NeedlessIrohRelay(DirectLinks),
    /// Links over the internet are wanted of a node that only this machine reaches.
    #[error(
        "direct links over the internet need an address that other machines reach, and this node listens on {0}: expected one \
         such as 0.0.0.0:3000"
    )]
    Enclosed(SocketAddr),
    /// The ledger's name is wrong.
    #[error("a ledger name of {0:?}, expected 1 to {NAME_BYTES} bytes without control characters")]
    Ledger(String),
}

/// How far a node goes to link to others directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectLinks {
    /// Not at all.
    Off,
    /// Over local networks; no server is asked for anything.
    Lan,
    /// Over the internet too, with the help of iroh relays.
    Internet,
}

impl fmt::Display for DirectLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Lan => "lan",
            Self::Internet => "internet",
        })
    }
}

impl FromStr for DirectLinks {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "off" => Ok(Self::Off),
            // What it was called before there was a choice.
            "lan" | "on" => Ok(Self::Lan),
            "internet" => Ok(Self::Internet),
            other => Err(ConfigError::Direct(excerpt(other))),
        }
    }
}

/// Where a relay is: `ws` or `wss`, host, and a path that its rooms are below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl(String);

impl RelayUrl {
    /// The page that a browser gets there.
    pub fn page(&self) -> String {
        let page = self.0.strip_prefix("ws").unwrap_or(&self.0);
        format!("http{page}/")
    }

    /// The address of a ledger's room.
    pub fn room(&self, ledger: &LedgerId) -> String {
        format!("{}/ledger/{ledger}", self.0)
    }

    /// Whether others can read what travels to it: without TLS, to another machine.
    pub fn is_in_the_clear(&self) -> bool {
        let host = self.0.strip_prefix("ws://").and_then(|rest| HostName::of(rest.split('/').next().unwrap_or(rest)));
        self.0.starts_with("ws://") && host.is_none_or(|host| !host.is_loopback())
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RelayUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = |what| ConfigError::Relay { came: excerpt(text), what };
        let uri: Uri = text.parse().map_err(|_| wrong("not a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("ws" | "http") => "ws",
            Some("wss" | "https") => "wss",
            Some(_) => return Err(wrong("its scheme is none of ws, wss, http and https")),
            None => return Err(wrong("it has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(wrong("a host is expected, and no user name"));
        }
        if authority.as_str().len() != authority.host().len() && authority.port_u16().is_none() {
            return Err(wrong("its port is not 1 to 65535"));
        }
        if uri.query().is_some() {
            return Err(wrong("a query means nothing here"));
        }
        Ok(Self(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'))))
    }
}

/// What the command line, the environment or a file says; what it leaves out comes from the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// Relays, as written.
    pub relays: Option<Vec<String>>,
    /// What is shown to relays, so that they make the ledger's room. There is no flag for it: others on this machine see those.
    pub relay_secret: Option<RelaySecret>,
    /// Name of the ledger.
    pub ledger: Option<String>,
    /// The data directory.
    pub data: Option<PathBuf>,
    /// The address to listen on, as written.
    pub listen: Option<String>,
    /// Further hosts that requests may be for, as written.
    pub hosts: Option<Vec<String>>,
    /// Pages of elsewhere that may use the node, as written.
    pub origins: Option<Vec<String>>,
    /// Other nodes to link to directly, as written.
    pub peers: Option<Vec<String>>,
    /// Where others reach this node, as written.
    pub announce: Option<Vec<String>>,
    /// Whether it links to others directly, and how far, as written.
    pub direct: Option<String>,
    /// iroh relays, as written.
    pub iroh_relays: Option<Vec<String>>,
}

impl Layer {
    /// What the environment says. Lists are separated by commas or spaces.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let split = |list: String| list.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let list = |name| set(name).map(split);
        Self {
            relays: list("CAIRN_RELAY"),
            relay_secret: set("CAIRN_RELAY_SECRET").map(RelaySecret::new),
            ledger: set("CAIRN_LEDGER"),
            data: set("CAIRN_DATA").map(PathBuf::from),
            listen: set("CAIRN_LISTEN"),
            hosts: list("CAIRN_ALLOW_HOST"),
            origins: list("CAIRN_ALLOW_ORIGIN"),
            peers: list("CAIRN_PEER"),
            announce: list("CAIRN_ANNOUNCE"),
            direct: set("CAIRN_DIRECT"),
            iroh_relays: list("CAIRN_IROH_RELAY"),
        }
    }

    fn or(self, next: Layer) -> Layer {
        Layer {
            relays: self.relays.or(next.relays),
            relay_secret: self.relay_secret.or(next.relay_secret),
            ledger: self.ledger.or(next.ledger),
            data: self.data.or(next.data),
            listen: self.listen.or(next.listen),
            hosts: self.hosts.or(next.hosts),
            origins: self.origins.or(next.origins),
            peers: self.peers.or(next.peers),
            announce: self.announce.or(next.announce),
            direct: self.direct.or(next.direct),
            iroh_relays: self.iroh_relays.or(next.iroh_relays),
        }
    }
}

/// The file's form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    relay: Option<OneOrMany>,
    relay_secret: Option<RelaySecret>,
    ledger: Option<String>,
    data: Option<PathBuf>,
    listen: Option<String>,
    allow_host: Option<OneOrMany>,
    allow_origin: Option<OneOrMany>,
    peer: Option<OneOrMany>,
    announce: Option<OneOrMany>,
    direct: Option<String>,
    iroh_relay: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected one in quotes, or a list of them")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(given: OneOrMany) -> Self {
        match given {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

impl From<File> for Layer {
    fn from(file: File) -> Self {
        Self {
            relays: file.relay.map(Into::into),
            relay_secret: file.relay_secret,
            ledger: file.ledger,
            data: file.data,
            listen: file.listen,
            hosts: file.allow_host.map(Into::into),
            origins: file.allow_origin.map(Into::into),
            peers: file.peer.map(Into::into),
            announce: file.announce.map(Into::into),
            direct: file.direct,
            iroh_relays: file.iroh_relay.map(Into::into),
        }
    }
}

/// What a command works with, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The data directory.
    pub data: DataDir,
    /// The wanted ledger; `None`: the one that the store holds, or the default one.
    pub ledger: Option<String>,
    /// Relays to link to.
    pub relays: Vec<RelayUrl>,
    /// What is shown to them, and to none that an invite names.
    pub relay_secret: Option<RelaySecret>,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Further hosts that requests may be for.
    pub hosts: Vec<HostName>,
    /// Pages of elsewhere that may use the node.
    pub origins: Vec<Origin>,
    /// Other nodes to link to directly.
    pub peers: Vec<Address>,
    /// Where others reach this node; none: where it listens.
    pub announce: Vec<Address>,
    /// Whether it links to others directly, and how far.
    pub direct: DirectLinks,
    /// iroh relays for links over the internet; none: iroh's own.
    pub iroh_relays: Vec<IrohRelay>,
    /// Where the passphrase of the keys comes from.
    pub passphrase: Source,
}

impl Settings {
    /// Puts the layers together and checks what they say. `file` is the one that `--config` names; without it
    /// `cairn.toml` in the data directory counts, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read or a setting is wrong.
    pub fn resolve(flags: Layer, environment: Layer, file: Option<&Path>) -> Result<Self, ConfigError> {
        let upper = flags.or(environment);
        let data = |layer: &Layer| layer.data.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        let lower = match file {
            Some(path) => read_file(path).and_then(|layer| layer.ok_or_else(|| missing(path)))?,
            None => {
                let path = data(&upper).join("cairn.toml");
                let layer = read_file(&path)?.unwrap_or_default();
                if layer.data.is_some() {
                    return Err(ConfigError::DataInside { path });
                }
                layer
            }
        };
        let all = upper.or(lower);
        let data = DataDir::new(data(&all));
        let relays = relays(all.relays.unwrap_or_default())?;
        all.relay_secret.as_ref().map(RelaySecret::authorization).transpose()?;
        let ledger = all.ledger.map(check_name).transpose()?;
        let listen = match all.listen {
            Some(text) => text.parse().map_err(|_| ConfigError::Listen(excerpt(&text)))?,
            None => DEFAULT_LISTEN,
        };
        let hosts = parse(all.hosts, ConfigError::Host)?;
        let origins = parse(all.origins, ConfigError::Origin)?;
        let peers = addresses(all.peers)?;
        if peers.len() > GIVEN_PEERS {
            return Err(ConfigError::Peers(peers.len()));
        }
        let announce = addresses(all.announce)?;
        let direct = all.direct.as_deref().map_or(Ok(DirectLinks::Lan), str::parse)?;
        let iroh_relays = all.iroh_relays.unwrap_or_default().into_iter();
        let iroh_relays = iroh_relays.map(|text| iroh_relay(&text)).collect::<Result<Vec<_>, _>>()?;
        if iroh_relays.len() > RELAYS {
            return Err(ConfigError::Relays(iroh_relays.len()));
        }
        match direct {
            DirectLinks::Off | DirectLinks::Lan if !iroh_relays.is_empty() => {
                return Err(ConfigError::NeedlessIrohRelay(direct));
            }
            DirectLinks::Internet if listen.ip().to_canonical().is_loopback() => {
                return Err(ConfigError::Enclosed(listen));
            }
            _ => {}
        }
        Ok(Self {
            data,
            ledger,
            relays,
            relay_secret: all.relay_secret,
            listen,
            hosts,
            origins,
            peers,
            announce,
            direct,
            iroh_relays,
            passphrase: Source::Nothing,
        })
    }
}

impl Settings {
    /// Whether others than this machine reach the node: it listens for them, or it goes by a name that leads to something
    /// on this machine which forwards to it.
    pub fn is_reached_from_elsewhere(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback() || self.hosts.iter().any(|host| !host.is_loopback())
    }

    /// The same with this passphrase for the keys.
    #[must_use]
    pub fn with_passphrase(self, source: Source) -> Self {
        Self { data: self.data.with_passphrase(source.clone()), passphrase: source, ..self }
    }

    /// The same with these relays instead, where any are given.
    ///
    /// # Errors
    /// When one of them is no address of a relay.
    pub fn with_relays(&self, texts: &[String]) -> Result<Self, ConfigError> {
        let relays = if texts.is_empty() { self.relays.clone() } else { relays(texts.to_vec())? };
        Ok(Self { relays, ..self.clone() })
    }
}

fn relays(texts: Vec<String>) -> Result<Vec<RelayUrl>, ConfigError> {
    let mut relays: Vec<RelayUrl> = Vec::new();
    for text in texts {
        let relay = text.parse()?;
        if !relays.contains(&relay) {
            relays.push(relay);
        }
    }
    if relays.len() > RELAYS { Err(ConfigError::Relays(relays.len())) } else { Ok(relays) }
}

/// Checks the address of an iroh relay.
fn iroh_relay(text: &str) -> Result<IrohRelay, ConfigError> {
    let wrong = |what: String| ConfigError::IrohRelay { came: excerpt(text), what };
    let relay: IrohRelay = text.parse().map_err(|_| wrong("not a URL".to_owned()))?;
    if !matches!(relay.scheme(), "https" | "http") || !relay.has_host() {
        return Err(wrong("its scheme is none of https and http".to_owned()));
    }
    if !relay.username().is_empty() || relay.query().is_some() || relay.fragment().is_some() {
        return Err(wrong("a host is expected, and a path at most".to_owned()));
    }
    let len = relay.as_str().len();
    if len > IROH_RELAY_BYTES { Err(wrong(format!("{len} bytes, limit is {IROH_RELAY_BYTES}"))) } else { Ok(relay) }
}

/// Addresses of nodes, which are written as those of relays are, or are those of endpoints.
fn addresses(texts: Option<Vec<String>>) -> Result<Vec<Address>, ConfigError> {
    let mut addresses = Vec::new();
    for text in texts.unwrap_or_default() {
        let wrong = |what: String| ConfigError::Address { came: excerpt(&text), what };
        let url = match text.parse::<RelayUrl>() {
            _ if text.starts_with("iroh:") => text.clone(),
            Ok(url) => url.0,
            Err(ConfigError::Relay { what, .. }) => return Err(wrong(what.to_owned())),
            Err(error) => return Err(error),
        };
        let address = url.parse().map_err(|error: AddressError| wrong(error.to_string()))?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn parse<T: FromStr>(texts: Option<Vec<String>>, wrong: fn(String) -> ConfigError) -> Result<Vec<T>, ConfigError> {
    texts.unwrap_or_default().iter().map(|text| text.parse().map_err(|_| wrong(excerpt(text)))).collect()
}

/// Checks the name of an open ledger.
pub(crate) fn check_name(name: String) -> Result<String, ConfigError> {
    if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        return Err(ConfigError::Ledger(excerpt(&name)));
    }
    Ok(name)
}

fn missing(path: &Path) -> ConfigError {
    ConfigError::Io { path: path.to_owned(), error: io::ErrorKind::NotFound.into() }
}

/// Reads a configuration file; `None` if there is none.
fn read_file(path: &Path) -> Result<Option<Layer>, ConfigError> {
    let failed = |error| ConfigError::Io { path: path.to_owned(), error };
    let exposed = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES => {
            return Err(ConfigError::TooLarge { path: path.to_owned(), len: metadata.len() });
        }
        Ok(metadata) => open_to_others(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    let wrong = |error: toml::de::Error| ConfigError::Toml { path: path.to_owned(), message: describe(&error, &text) };
    let file: File = toml::from_str(&text).map_err(wrong)?;
    match exposed.filter(|_| file.relay_secret.is_some()) {
        Some(mode) => Err(ConfigError::Exposed { path: path.to_owned(), mode }),
        None => Ok(Some(file.into())),
    }
}

/// What is wrong with a file, with the line where it is, unless a secret may be on it.
fn describe(error: &toml::de::Error, text: &str) -> String {
    if !text.contains("relay_secret") {
        return error.to_string();
    }
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    format!("line {line} is not as TOML or this setting wants it (it is not shown, because a secret is in this file)")
}

/// At most 80 characters of what came from outside, so that an error stays short.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(ledger: &str, listen: &str) -> Layer {
        Layer { ledger: Some(ledger.to_owned()), listen: Some(listen.to_owned()), ..Layer::default() }
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        fs::write(&file, "ledger = \"file\"\nlisten = \"127.0.0.1:1\"\nrelay = \"https://r.example/\"").unwrap();
        let environment = Layer::from_environment(|name| match name {
            "CAIRN_LEDGER" => Some("environment".to_owned()),
            "CAIRN_DATA" => Some("somewhere".to_owned()),
            _ => None,
        });
        let settings = Settings::resolve(Layer::default(), environment.clone(), Some(&file)).unwrap();
        assert_eq!(settings.ledger.as_deref(), Some("environment"));
        assert_eq!(settings.listen.port(), 1);
        assert_eq!(settings.data.path(), Path::new("somewhere"));
        assert_eq!(settings.relays[0].to_string(), "wss://r.example");
        let settings = Settings::resolve(layer("flag", "[::1]:0"), environment, Some(&file)).unwrap();
        assert_eq!((settings.ledger.as_deref(), settings.listen.port()), (Some("flag"), 0));
        let settings = Settings::resolve(Layer::default(), Layer::default(), None).unwrap();
        assert_eq!((settings.data.path(), settings.listen), (Path::new(DEFAULT_DATA), DEFAULT_LISTEN));
        assert!(settings.listen.ip().is_loopback());
        assert_eq!((settings.ledger, settings.relays), (None, Vec::new()));
    }

    #[test]
    fn the_file_in_the_data_directory_counts() {
        let directory = tempfile::tempdir().unwrap();
        let flags = || Layer { data: Some(directory.path().to_owned()), ..Layer::default() };
        let file = directory.path().join("cairn.toml");
        fs::write(&file, "relay = [\"ws://a:1\", \"ws://b:2/x/\", \"ws://a:1/\"]").unwrap();
        let settings = Settings::resolve(flags(), Layer::default(), None).unwrap();
        let relays: Vec<String> = settings.relays.iter().map(ToString::to_string).collect();
        assert_eq!(relays, ["ws://a:1", "ws://b:2/x"]);
        fs::write(&file, "data = \"/elsewhere\"").unwrap();
        let error = Settings::resolve(flags(), Layer::default(), None).unwrap_err();
        assert!(matches!(error, ConfigError::DataInside { .. }), "{error}");
    }

    #[test]
    fn who_listens_or_is_named_beyond_this_machine_is_reached_from_elsewhere() {
        for (listen, hosts, elsewhere) in [
            ("127.0.0.1:3000", "", false),
            ("127.0.0.2:3000", "", false),
            ("[::1]:3000", "", false),
            ("[::ffff:127.0.0.1]:3000", "", false),
            ("127.0.0.1:3000", "page.localhost", false),
            ("127.0.0.1:3000", "page.localhost,node.example", true),
            ("0.0.0.0:3000", "", true),
            ("[::]:3000", "", true),
            ("192.168.1.5:3000", "", true),
        ] {
            let environment = Layer::from_environment(|name| (name == "CAIRN_ALLOW_HOST").then(|| hosts.to_owned()));
            let flags = Layer { listen: Some(listen.to_owned()), ..Layer::default() };
            let settings = Settings::resolve(flags, environment, None).unwrap();
            assert_eq!(settings.is_reached_from_elsewhere(), elsewhere, "{listen} {hosts}");
        }
    }

    #[test]
    fn direct_links_go_as_far_as_is_said() {
        let resolve = |direct: &str, listen: &str, relays: &[&str]| {
            let relays = (!relays.is_empty()).then(|| relays.iter().map(|text| (*text).to_owned()).collect());
            let flags = Layer {
                direct: (!direct.is_empty()).then(|| direct.to_owned()),
                listen: Some(listen.to_owned()),
                iroh_relays: relays,
                ..Layer::default()
            };
            Settings::resolve(flags, Layer::default(), None)
        };
        let (here, all, relay) = ("127.0.0.1:3000", "0.0.0.0:3000", "https://relay.example");
        for (direct, listen, far) in [
            ("", here, DirectLinks::Lan),
            ("lan", here, DirectLinks::Lan),
            ("on", all, DirectLinks::Lan),
            ("off", here, DirectLinks::Off),
            ("internet", all, DirectLinks::Internet),
        ] {
            assert_eq!(resolve(direct, listen, &[]).unwrap().direct, far, "{direct}");
        }
        let relays = resolve("internet", all, &[relay, "http://10.0.0.1:3340/x"]).unwrap().iroh_relays;
        let told: Vec<String> = relays.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["https://relay.example/", "http://10.0.0.1:3340/x"]);
        let long = format!("https://{}.example", "x".repeat(60));
        for (direct, listen, relays, what) in [
            ("wan", here, vec![], "direct links of \"wan\", expected lan, internet or off"),
            ("lan", here, vec![relay], "these are lan"),
            ("off", here, vec![relay], "these are off"),
            ("internet", here, vec![], "this node listens on 127.0.0.1:3000"),
            ("internet", "[::1]:3000", vec![relay], "this node listens on [::1]:3000"),
            ("internet", all, vec!["relay.example"], "not a URL"),
            ("internet", all, vec!["ftp://relay.example"], "its scheme"),
            ("internet", all, vec!["https://me@relay.example"], "a host is expected"),
            ("internet", all, vec!["https://relay.example/?a=b"], "a host is expected"),
            ("internet", all, vec![&long], "limit is 52"),
        ] {
            let error = resolve(direct, listen, &relays).unwrap_err().to_string();
            assert!(error.contains(what), "{direct} {relays:?}: {error}");
        }
        let peer = format!("iroh:{}?ip=10.0.0.1:7", "0a".repeat(32));
        let flags = |peer: &str| Layer { peers: Some(vec![peer.to_owned()]), ..Layer::default() };
        let settings = Settings::resolve(flags(&peer), Layer::default(), None).unwrap();
        assert_eq!(settings.peers[0].as_str(), peer);
        let error = Settings::resolve(flags("iroh:7?ip=10.0.0.1:7"), Layer::default(), None).unwrap_err().to_string();
        assert!(error.contains("a node's address of \"iroh:7"), "{error}");
    }

    #[test]
    fn wrong_relays_are_named() {
        let cases = [
            ("", "not a URL"),
            ("relay.example", "no scheme"),
            ("/path", "no scheme"),
            ("ftp://relay.example", "its scheme"),
            ("ws://", "not a URL"),
            ("ws://user@relay.example", "no user name"),
            ("ws://relay.example:99999", "its port"),
            ("ws://relay.example/?a=b", "a query"),
            ("ws://relay example", "not a URL"),
        ];
        for (text, what) in cases {
            let error = text.parse::<RelayUrl>().unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
        let ledger = LedgerId::from_bytes([7; 32]);
        let relay: RelayUrl = "http://127.0.0.1:8787/".parse().unwrap();
        assert_eq!(relay.room(&ledger), format!("ws://127.0.0.1:8787/ledger/{ledger}"));
    }

    #[test]
    fn the_secret_for_relays_is_taken_from_the_environment_or_a_file_of_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        let resolve = |environment: Layer| Settings::resolve(Layer::default(), environment, Some(&file));
        let of_environment =
            |secret: &str| Layer::from_environment(|name| (name == "CAIRN_RELAY_SECRET").then(|| secret.to_owned()));
        crate::keys::write_private(&file, b"relay_secret = \"of-the-file\"").unwrap();
        let settings = resolve(Layer::default()).unwrap();
        assert_eq!(settings.relay_secret, Some(RelaySecret::new("of-the-file".into())));
        let settings = resolve(of_environment("of-the-environment")).unwrap();
        assert_eq!(settings.relay_secret, Some(RelaySecret::new("of-the-environment".into())));
        let told = format!("{settings:?} {:?}", of_environment("of-the-environment"));
        assert!(!told.contains("of-the-"), "{told}");
        let error = resolve(of_environment("two words")).unwrap_err().to_string();
        assert!(error.contains("a secret of 9 bytes") && !error.contains("two words"), "{error}");
        for text in ["relay_secret = hidden", "relay_secret = 1234567", "relay_secret = \"x\"\nnew = \"hidden\""] {
            crate::keys::write_private(&file, text.as_bytes()).unwrap();
            let error = resolve(Layer::default()).unwrap_err().to_string();
            assert!(error.contains("line ") && !error.contains("hidden") && !error.contains("1234567"), "{error}");
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            crate::keys::write_private(&file, b"relay_secret = \"x\"").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
            let error = resolve(Layer::default()).unwrap_err();
            assert!(matches!(error, ConfigError::Exposed { mode: 0o640, .. }), "{error}");
        }
    }

    #[test]
    fn only_tls_and_this_machine_hide_what_travels() {
        for (relay, clear) in [
            ("wss://relay.example", false),
            ("https://10.0.0.1:8787", false),
            ("ws://127.0.0.1:8787", false),
            ("ws://[::1]:8787/x", false),
            ("ws://localhost", false),
            ("ws://relay.example/localhost", true),
            ("http://10.0.0.1:8787", true),
            ("ws://localhost.example", true),
        ] {
            assert_eq!(relay.parse::<RelayUrl>().unwrap().is_in_the_clear(), clear, "{relay}");
        }
    }

    #[test]
    fn wrong_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        let cases = [
            ("relais = \"ws://a\"", "unknown field `relais`"),
            ("listen = 3000", "invalid type"),
            ("relay = 7", "expected one in quotes, or a list"),
            ("allow_host = \"node.example:443\"", "an allowed host of \"node.example:443\", expected a name"),
            ("allow_origin = [\"https://a.example\", \"*\"]", "an allowed origin of \"*\", expected scheme"),
            ("ledger = ", "TOML parse error"),
            ("listen = \"nowhere\"", "expected IP:PORT"),
            ("ledger = \"\"", "expected 1 to 200 bytes"),
            ("ledger = \"a\\nb\"", "control characters"),
            ("relay = \"gopher://x\"", "its scheme"),
        ];
        for (text, what) in cases {
            fs::write(&file, text).unwrap();
            let error = Settings::resolve(Layer::default(), Layer::default(), Some(&file)).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
        let nothing = directory.path().join("none.toml");
        let error = Settings::resolve(Layer::default(), Layer::default(), Some(&nothing)).unwrap_err();
        assert!(matches!(error, ConfigError::Io { .. }), "{error}");
    }
}
