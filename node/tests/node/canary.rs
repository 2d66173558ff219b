//! Secrets are looked for in everything that a node says and writes, while it is used and misused.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use futures_util::{SinkExt, StreamExt};
use tokio::runtime::Runtime;
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    hub::Hub,
    support::{Place, Ran, Served, eventually},
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PASSPHRASE: &str = "what the canary must not sing";

/// The ways in which bytes may stand in a text or a file.
struct Canary {
    what: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    fn new(what: &'static str, secret: &[u8]) -> Self {
        assert!(secret.len() >= 16, "{what} is too short to be looked for");
        let (first, second) = secret.split_at(secret.len() / 2);
        let mut forms = Vec::new();
        // A half gives away as much as the whole, and whoever has the whole has its halves.
        for half in [first, second] {
            forms.extend([half.to_vec(), hex::encode(half).into_bytes(), hex::encode_upper(half).into_bytes()]);
            forms.push(format!("{half:?}").trim_matches(['[', ']']).as_bytes().to_vec());
            for shift in 0..3 {
                for alphabet in [b"+/", b"-_"] {
                    forms.push(base64(half, shift, *alphabet));
                }
            }
        }
        Self { what, forms }
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        self.forms.iter().any(|form| haystack.windows(form.len()).any(|window| window == form))
    }
}

/// What base64 makes of bytes that have so many before them, without what depends on the neighbours.
fn base64(bytes: &[u8], shift: usize, last: [u8; 2]) -> Vec<u8> {
    let alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last).collect();
    let mut bits = String::new();
    bytes.iter().for_each(|byte| write!(bits, "{byte:08b}").unwrap());
    let begin = [0, 4, 2][shift];
    let sextets = bits.as_bytes()[begin..].chunks_exact(6);
    sextets.map(|six| alphabet[six.iter().fold(0, |n, bit| 2 * n + usize::from(bit - b'0'))]).collect()
}

/// Everything that was said, and where.
#[derive(Default)]
struct Said(Vec<(String, Vec<u8>)>);

impl Said {
    fn note(&mut self, place: &str, text: impl Into<Vec<u8>>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn ran(&mut self, place: &Place, arguments: &[&str]) -> Ran {
        let mut command = place.command(arguments);
        let ran = Ran::of(command.env("RUST_LOG", "trace"));
        self.note(&arguments.join(" "), format!("{}{}", ran.stdout(), ran.stderr()));
        ran
    }

    /// Every file in a directory whose name is not one of these.
    fn files(&mut self, directory: &Path, except: &[&str]) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                self.files(&path, except);
            } else if !except.contains(&name) {
                self.note(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }

    /// Where a secret is.
    fn find(&self, canary: &Canary) -> Vec<&str> {
        self.0.iter().filter(|(_, text)| canary.is_in(text)).map(|(place, _)| place.as_str()).collect()
    }
}

/// The secret of an open key file.
fn secret(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap();
    hex::decode(text.trim_end().strip_prefix("cairn node key 1 ").unwrap()).unwrap()
}

#[test]
fn the_check_finds_a_secret_in_each_of_its_forms() {
    let secret: Vec<u8> = (0..32u8).map(|n| n.wrapping_mul(37).wrapping_add(11)).collect();
    let canary = Canary::new("a secret", &secret);
    let debug = format!("{secret:?}");
    let whole =
        [secret.clone(), hex::encode(&secret).into_bytes(), hex::encode_upper(&secret).into_bytes(), debug.into()];
    for text in whole {
        assert!(canary.is_in(&[b"before ", &text[..], b" after"].concat()), "{}", String::from_utf8_lossy(&text));
        assert!(!canary.is_in(&text[..text.len() / 2 - 3]));
    }
    // As a general encoder writes it, with something before it that shifts it.
    for shift in 0..3 {
        let shifted = [&[7; 3][..shift], &secret, &[9; 2]].concat();
        for alphabet in [b"+/", b"-_"] {
            assert!(canary.is_in(&base64(&shifted, 0, *alphabet)), "{shift}");
        }
    }
    assert_eq!(base64(b"any carnal pleas", 0, *b"+/"), b"YW55IGNhcm5hbCBwbGVhc");
    let mut said = Said::default();
    said.note("a log", format!("key {}", hex::encode(&secret[16..])));
    said.note("another", "nothing");
    assert_eq!(said.find(&canary), ["a log"]);
}

/// A Socket.IO client with this token that asks for some things; what the node answers last.
fn connect(runtime: &Runtime, port: u16, token: &str, asks: &[serde_json::Value]) -> String {
    runtime.block_on(async {
        let url = format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket");
        let (mut socket, _) = connect_async(url).await.unwrap();
        socket.send(Message::text(format!("40{{\"token\":\"{token}\"}}"))).await.unwrap();
        let mut asks = asks.iter();
        let mut sent = "40";
        loop {
            let answer = socket.next().await.unwrap().unwrap().to_text().unwrap().to_owned();
            if !answer.starts_with(sent) && !answer.starts_with("44") {
                continue;
            }
            let Some(ask) = asks.next() else { return answer };
            sent = "431";
            socket.send(Message::text(format!("421{ask}"))).await.unwrap();
        }
    })
}

#[test]
fn no_secret_leaves_a_node() {
    let runtime = Runtime::new().unwrap();
    let mut said = Said::default();
    let founder = Place::new();
    founder.run(&["init", "garden"]).lines();
    let link = founder.run(&["invite", "--json", "--page", "http://127.0.0.1:3000/"]).json()[0]["link"].clone();
    let link = link.as_str().unwrap();
    let hub = runtime.block_on(Hub::start(founder.data().path(), ANY));
    let relay = format!("ws://{}", hub.address);

    // A node whose key is known, with a passphrase.
    let place = Place::new();
    let (right, wrong) = (place.file("right"), place.file("wrong"));
    fs::write(&right, PASSPHRASE).unwrap();
    fs::write(&wrong, "something else altogether").unwrap();
    let (right, wrong) = (right.to_str().unwrap(), wrong.to_str().unwrap());
    said.ran(&place, &["join", link, "--relay", &relay]).lines();
    let dir = place.data().ledgers().unwrap().swap_remove(0);
    let token = shared::Token::parse(link).unwrap();
    let keys = hub.host.keys().encode();
    let mut canaries = vec![
        Canary::new("the node's key", &secret(&dir.key())),
        Canary::new("the spare key", &secret(&dir.successor())),
        Canary::new("the passphrase", PASSPHRASE.as_bytes()),
        Canary::new("the invite's key", &*token.secret),
        Canary::new("the epoch key", &keys[keys.len() - 32..]),
    ];
    let unsealed = fs::read(dir.key()).unwrap();
    said.files(place.data().path(), &["node.key", "successor.key"]);
    let with = |passphrase: &str, arguments: &[&str]| -> Vec<String> {
        ["--passphrase-file", passphrase].iter().chain(arguments).map(|&argument| argument.to_owned()).collect()
    };
    let run = |said: &mut Said, passphrase: &str, arguments: &[&str]| {
        let arguments = with(passphrase, arguments);
        said.ran(&place, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(run(&mut said, right, &["key", "lock"]).code(), 0);

    // Used, over links that work and links that do not, with everything logged.
    let log = place.file("log");
    let mut command = place.command(&["serve", "--listen", "0.0.0.0:0", "--relay", "ws://127.0.0.1:1"]);
    command.args(["--passphrase-file", right]).env("RUST_LOG", "trace").stderr(File::create(&log).unwrap());
    let served = Served::start(command, place.data());
    let client_token = place.run(&["token", "--json"]).json()[0]["token"].as_str().unwrap().to_owned();
    canaries.push(Canary::new("the client token", client_token.as_bytes()));
    canaries.push(Canary::new("the bytes of the client token", &hex::decode(&client_token).unwrap()));
    let control = fs::read_to_string(place.data().control()).unwrap();
    let control: serde_json::Value = serde_json::from_str(&control).unwrap();
    canaries.push(Canary::new("the control token", control["token"].as_str().unwrap().as_bytes()));
    said.ran(&place, &["append", "hello"]).lines();
    eventually("the hub to hold it", || (served.client().status().unwrap().held.nodes == 1).then_some(()));
    for arguments in
        [&["status"][..], &["status", "--json"], &["log", "--json"], &["members"], &["ledgers"], &["verify"]]
    {
        assert_eq!(said.ran(&place, arguments).code(), 0, "{arguments:?}");
    }
    let other_link =
        shared::Token { invite: shared::BlockHash::from_bytes([9; 32]), ..token.clone() }.encode().unwrap();
    let asks = [
        serde_json::json!(["join_ledger", { "token": link }]),
        serde_json::json!(["join_ledger", { "token": *other_link, "nickname": 7 }]),
        serde_json::json!(["backup_key", { "passphrase": PASSPHRASE, "more": PASSPHRASE }]),
        serde_json::json!(["backup_key", { "passphrase": PASSPHRASE }]),
    ];
    for n in 0..=asks.len() {
        said.note("a client", connect(&runtime, served.address.port(), &client_token, &asks[..n]));
    }
    assert!(said.0.last().is_some_and(|(_, text)| text.starts_with(b"431[{\"ok\":true,\"backup\":")), "no backup");
    said.note("a stranger", connect(&runtime, served.address.port(), "no token", &[]));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for path in ["status.json", "metrics", "control/status", "control/nowhere", "socket.io/?EIO=3"] {
        for token in [client_token.as_str(), "none"] {
            let url = format!("http://127.0.0.1:{}/{path}", served.address.port());
            let mut answer = agent.get(url).header("authorization", format!("Bearer {token}")).call().unwrap();
            said.note(path, answer.body_mut().read_to_string().unwrap());
        }
    }
    let backup = place.file("backup");
    assert_eq!(run(&mut said, right, &["key", "backup", backup.to_str().unwrap()]).code(), 0);
    assert_eq!(run(&mut said, right, &["key", "unlock"]).code(), 73);
    said.files(place.data().path(), &["client.token", "control.json"]);
    assert_eq!(served.terminate(), 0);

    // Misused.
    for (passphrase, arguments, code) in [
        (wrong, &["append", "x"][..], 78),
        (wrong, &["key", "passphrase", "--new-passphrase-file", right], 78),
        (wrong, &["key", "unlock"], 78),
        (right, &["key", "lock"], 2),
        (right, &["join", &link[..link.len() - 9]], 2),
        (right, &["--ledger", "nowhere", "append", "x"], 66),
    ] {
        assert_eq!(run(&mut said, passphrase, arguments).code(), code, "{arguments:?}");
    }
    let other = Place::new();
    assert_eq!(said.ran(&other, &["--passphrase-file", wrong, "key", "restore", backup.to_str().unwrap()]).code(), 78);
    assert_eq!(said.ran(&other, &["--passphrase-file", right, "key", "restore", backup.to_str().unwrap()]).code(), 0);
    assert_eq!(said.ran(&other, &["--passphrase-file", right, "append", "x"]).code(), 1);
    said.files(other.path(), &[]);
    // A key file with one digit more, one less, and another one's store.
    let sealed = fs::read(dir.key()).unwrap();
    for text in [&[&unsealed[..], b"0"].concat()[..], &unsealed[..unsealed.len() - 2], &[&sealed[..], b"0"].concat()] {
        fs::write(dir.key(), text).unwrap();
        assert_eq!(run(&mut said, right, &["append", "x"]).code(), 77);
    }
    fs::write(dir.key(), &sealed).unwrap();
    fs::rename(dir.store(), place.file("ledger.db")).unwrap();
    said.ran(&place, &["--passphrase-file", right, "append", "x"]);
    fs::rename(place.file("ledger.db"), dir.store()).unwrap();
    let mut command = place.command(&["append", "x"]);
    let ran = Ran::of(command.env("CAIRN_PASSPHRASE", PASSPHRASE).env("RUST_LOG", "trace"));
    assert_eq!(ran.code(), 0);
    said.note("append", format!("{}{}", ran.stdout(), ran.stderr()));

    said.files(place.path(), &["right", "client.token"]);
    assert!(fs::read_to_string(&log).unwrap().contains("TRACE"), "nothing was logged");
    for canary in &canaries {
        assert_eq!(said.find(canary), Vec::<&str>::new(), "{}", canary.what);
    }
    // And where they are, they are found.
    let mut kept = Said::default();
    kept.note("an open key file", unsealed);
    kept.note("the passphrase file", fs::read(right).unwrap());
    kept.files(place.data().path(), &[]);
    kept.note("the link", link);
    for (canary, places) in canaries.iter().zip([1, 0, 1, 1, 1, 1]) {
        assert_eq!(kept.find(canary).len(), places, "{}", canary.what);
    }
    runtime.block_on(hub.stop());
}
