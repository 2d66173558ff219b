//! A real node's HTTP port, fed with whatever bytes: HTTP, engine.io by polling and by WebSocket, Socket.IO packets, and
//! WebSocket frames that are none.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::OnceLock,
    time::Duration,
};

use node::{
    control::{self, Token},
    data::DataDir,
    host::Host,
    http,
    ledgers::Ledgers,
};
use tokio::{net::TcpListener, runtime, sync::watch};

use crate::{choices::Choices, run::panics_elsewhere};

/// How long the node may take to answer, or to notice that the other side is gone.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const WORDS: &[&[u8]] = &[
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST ",
    b"Content-Length: 99999999999\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"\x1e",
    b"0",
    b"1",
    b"2probe",
    b"3",
    b"5",
    b"6",
    b"40",
    b"40/p2p,{\"node_id\":\"a\"}",
    b"41",
    b"42",
    b"43",
    b"44",
    b"451-",
    b"4599999999999999999999-",
    b"461-",
    b"[\"add_ledger_entry\",{\"a\":1}]",
    b"[\"get_ledger\",{\"after\":null,\"limit\":3}]",
    b"[\"subscribe\",{\"cursor\":null}]",
    b"[\"append_many\",[1,2,3]]",
    b"[\"message\",{\"_placeholder\":true,\"num\":0}]",
    b"[\"p2p_message\",{}]",
    b"b4AAAA",
    b"/p2p,",
    b"18446744073709551616",
    b"\xff",
];

struct Server {
    address: SocketAddr,
    _runtime: runtime::Runtime,
    _directory: tempfile::TempDir,
}

/// The node of this process, started when it is first needed.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory for a node");
        let dir = DataDir::new(directory.path());
        let locked = dir.lock().expect("a new directory is free");
        let opened = locked.open(Some("fuzz")).expect("a new store opens");
        let mut builder = runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("node").enable_all().build().expect("a runtime");
        let (host, thread) = Host::start(opened).expect("a node starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("a port has an address");
        let (stop, stopping) = watch::channel(false);
        let routes = control::router(Ledgers::only(host.clone()), Token::generate().expect("random bytes"), stopping);
        runtime.spawn(async move {
            // The lock and the turn thread belong to the server.
            let _kept = (locked, thread, stop);
            http::serve(listener, host, routes, std::future::pending()).await
        });
        Server { address, _runtime: runtime, _directory: directory }
    })
}

/// One connection, and a look whether the node still answers.
pub(super) fn socket(bytes: &[u8]) {
    let server = server();
    let mut choices = Choices::new(bytes);
    // The node may close while this side still writes; that is its right.
    drop(converse(server.address, &mut choices));
    if bytes.first().is_some_and(|byte| byte % 16 == 0) {
        let answer = ask(server.address, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = answer.expect("the node answers");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    if let Some(said) = panics_elsewhere() {
        panic!("the node panicked: {said}");
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The answer to a request that says `Connection: close`.
fn ask(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.write_all(bytes)?;
    read_all(stream)
}

/// Nothing more is sent. The node closes, because nobody is there any more.
fn finish(stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.shutdown(Shutdown::Write)?;
    read_all(stream)
}

fn read_all(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            panic!("the node keeps a connection that is over")
        }
        Err(error) => Err(error),
        Ok(_) => Ok(answer),
    }
}

fn converse(address: SocketAddr, choices: &mut Choices<'_>) -> io::Result<()> {
    match choices.below(4) {
        0 => {
            let mut stream = connect(address)?;
            stream.write_all(choices.rest())?;
            finish(stream).map(drop)
        }
        1 => poll(address, choices),
        2 => {
            let mut stream = upgraded(address)?;
            let connect: &[u8] = if choices.below(4) == 0 { b"40/p2p,{\"node_id\":\"a\"}" } else { b"40" };
            stream.write_all(&frame(0x81, connect))?;
            for packet in choices.rest().split(|byte| *byte == b'\n') {
                stream.write_all(&frame(0x81, packet))?;
            }
            finish(stream).map(drop)
        }
        _ => {
            let mut stream = upgraded(address)?;
            stream.write_all(choices.rest())?;
            finish(stream).map(drop)
        }
    }
}

/// A session by polling: a handshake, and a request with packets.
fn poll(address: SocketAddr, choices: &mut Choices<'_>) -> io::Result<()> {
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = ask(address, format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())?;
    let opened = String::from_utf8_lossy(&opened);
    let Some((sid, _)) = opened.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split_once('"')) else {
        panic!("no session was opened: {opened}");
    };
    let body = [b"40\x1e", choices.rest()].concat();
    let head = format!(
        "POST {path}&sid={sid} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    ask(address, &[head.as_bytes(), &body].concat())?;
    // The client says goodbye, so that its session does not wait for it.
    let head = format!("POST {path}&sid={sid} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1");
    ask(address, head.as_bytes()).map(drop)
}

/// A connection that is a WebSocket.
fn upgraded(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = connect(address)?;
    stream.write_all(
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// A whole WebSocket frame of a client, under a mask of zeros (RFC 6455 §5.2).
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 126);
            bytes.extend((len.min(65_535) as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(&payload[..payload.len().min(65_535)]);
    bytes
}
