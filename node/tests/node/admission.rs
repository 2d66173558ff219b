//! The token of clients: made once, kept for its owner, shown and renewed by a command, and never logged.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
    thread,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::support::Place;

/// Others reach this address where there are any: it is what "elsewhere" means.
const ELSEWHERE: [&str; 3] = ["serve", "--listen", "0.0.0.0:0"];

fn token(place: &Place) -> String {
    place.run(&["token", "--json"]).json()[0]["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_is_made_when_others_reach_the_node_and_stays() {
    let place = Place::new();
    assert_eq!(place.serve::<&str>(&[]).terminate(), 0);
    let none = place.run(&["token"]);
    assert_eq!(none.code(), 66);
    assert!(none.stderr().contains("there is no client token in"), "{}", none.stderr());

    assert_eq!(place.serve_elsewhere().terminate(), 0);
    let first = token(&place);
    assert_eq!((first.len(), first.chars().all(|digit| digit.is_ascii_hexdigit())), (64, true));
    let served = place.serve_elsewhere();
    assert_eq!(token(&place), first);
    let link = &place.run(&["token", "--json"]).json()[0]["link"];
    let link = link.as_str().unwrap();
    assert!(link.ends_with(&format!(":{}/#token={first}", served.address.port())), "{link}");
    assert!(!link.contains("0.0.0.0"), "{link}");
    assert_eq!(place.run(&["token"]).lines(), [format!("token     {first}"), format!("link      {link}")]);
    assert_eq!(served.terminate(), 0);
}

#[test]
fn a_token_is_renewed_with_and_without_a_node() {
    let place = Place::new();
    let mut seen = vec![place.run(&["token", "--renew", "--json"]).json()[0].clone()];
    assert_eq!(seen[0]["link"], json!(null));
    for elsewhere in [false, true] {
        let served = if elsewhere { place.serve_elsewhere() } else { place.serve::<&str>(&[]) };
        let renewed = place.run(&["token", "--renew", "--json"]).json()[0].clone();
        assert_eq!(renewed["link"].is_string(), elsewhere, "{renewed}");
        assert_eq!(renewed["token"], token(&place).as_str());
        assert!(seen.iter().all(|before| before["token"] != renewed["token"]));
        seen.push(renewed);
        assert_eq!(served.terminate(), 0);
    }
}

#[cfg(unix)]
#[test]
fn a_token_that_others_may_read_is_refused_until_it_is_renewed() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    assert_eq!(place.serve_elsewhere().terminate(), 0);
    let path = place.data().client_token();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    for arguments in [&["token"][..], &ELSEWHERE] {
        let refused = place.run(arguments);
        assert_eq!(refused.code(), 77, "{}", refused.stderr());
        assert!(refused.stderr().contains("has mode 640, 600 is expected"), "{}", refused.stderr());
    }
    place.run(&["token", "--renew"]).lines();
    assert_eq!(mode(), 0o600);
    assert_eq!(place.serve_elsewhere().terminate(), 0);
}

/// Connects as a Socket.IO client with this token; the node's answer to it.
fn connect(runtime: &Runtime, port: u16, token: &str) -> String {
    runtime.block_on(async {
        let url = format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket");
        let (mut socket, _) = connect_async(url).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().to_text().unwrap().starts_with("0{"));
        socket.send(Message::text(format!("40{{\"token\":\"{token}\"}}"))).await.unwrap();
        loop {
            let answer = socket.next().await.unwrap().unwrap().to_text().unwrap().to_owned();
            // A ping may come before it.
            if answer.starts_with('4') {
                return answer;
            }
        }
    })
}

#[test]
fn no_token_is_ever_logged_or_sent_back_in_an_error() {
    let place = Place::new();
    let mut command = place.command(&ELSEWHERE);
    command.env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let log = thread::spawn(move || {
        let mut log = Vec::new();
        stderr.read_to_end(&mut log).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    });
    let (mut said, mut stdout) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
    while !said.contains("listening on") {
        assert!(stdout.read_line(&mut said).unwrap() > 0, "the node ended before it listened");
    }
    let port = said.trim_end().rsplit_once(':').unwrap().1.parse().unwrap();
    let runtime = Runtime::new().unwrap();
    let old = token(&place);
    assert!(connect(&runtime, port, &old).starts_with("40{"));
    let new = place.run(&["token", "--renew", "--json"]).json()[0]["token"].as_str().unwrap().to_owned();
    assert!(connect(&runtime, port, &new).starts_with("40{"));
    let refused = connect(&runtime, port, &old);
    assert!(refused.contains("unauthorized: the token that came, of 64 bytes, is not"), "{refused}");
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let get = |token: &str| {
        let request = agent.get(format!("http://127.0.0.1:{port}/status.json"));
        let mut answer = request.header("authorization", format!("Bearer {token}")).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    assert_eq!(get(&new).0, 200);
    let (status, body) = get(&old);
    assert_eq!(status, 401);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["code"], "unauthorized");
    child.kill().unwrap();
    child.wait().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    let log = log.join().unwrap();
    assert!(log.contains("is not let in"), "{log}");
    for secret in [&old, &new] {
        // What is no terminal may be a log.
        for text in [&log, &said, &refused, &body] {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None);
        }
    }
}
