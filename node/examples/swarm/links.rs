//! Link peers that mean no good: relays that never finish a handshake, that flood with garbage before it or with frames of
//! every kind after it. The node closes the link with a reason or outlives it, keeps to its bounds, and serves its clients.

use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use shared::{
    Entry, Header, Key, Kind, NodeId, Timestamp, VerifiedBlock,
    block::open_ledger,
    limits::FRAME_BYTES,
    wire::{Envelope, Message, PROTOCOL_VERSION, auth_message, decode_frame},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message as Frame};

use crate::{
    Error, Scale,
    background::{Background, Plan},
    node::Node,
    report::Report,
};

/// MiB by which all of them may make the node grow.
const GROWTH_MIB: f64 = 128.0;
const P99: f64 = 250.0;
/// How long the node may take to close a link that breaks the protocol.
const CLOSE: Duration = Duration::from_secs(12);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Takes the connection and says nothing at all.
    Mute,
    /// Answers the upgrade with something that is no HTTP.
    NoHttp,
    /// Never says Hello.
    NoHello,
    /// Says half a Hello.
    HalfHello,
    /// Floods with garbage before the handshake.
    Garbage,
    /// Sends a frame that is larger than any may be.
    Huge,
    /// Says Hello with a wrong proof of its key.
    Liar,
    /// Proves its key, then floods with frames that need no credit.
    Chatter,
    /// Proves its key, then floods with blocks whose parents do not exist.
    Orphans,
}

const PEERS: [(Peer, &str); 9] = [
    (Peer::Mute, "mute"),
    (Peer::NoHttp, "no_http"),
    (Peer::NoHello, "no_hello"),
    (Peer::HalfHello, "half_hello"),
    (Peer::Garbage, "garbage"),
    (Peer::Huge, "huge"),
    (Peer::Liar, "liar"),
    (Peer::Chatter, "chatter"),
    (Peer::Orphans, "orphans"),
];

type Socket = WebSocketStream<TcpStream>;

pub(crate) async fn run(scale: Scale) -> Result<Vec<Report>, Error> {
    let flood = Duration::from_secs(scale.pick(2, 30));
    let plan = Plan { followers: scale.pick(20, 100), rate: 20, bytes: 100 };
    let mut report = Report::new("links");
    let (mut arguments, mut listeners) = (Vec::new(), Vec::new());
    for (peer, name) in PEERS {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        arguments.extend(["--relay".to_owned(), format!("ws://{}", listener.local_addr()?)]);
        listeners.push((peer, name, listener));
    }
    let node = Node::start(&arguments)?;
    let mut background = Background::connect(node.address, plan).await?;
    let (memory, clock) = (node.memory(), node.clock());
    node.forget_peak()?;
    background.write();
    let mut peers = JoinSet::new();
    for (index, (peer, name, listener)) in listeners.into_iter().enumerate() {
        peers.spawn(async move { (name, be_a_peer(peer, index as u8, &listener, flood).await) });
    }
    while let Some(peer) = peers.join_next().await {
        match peer? {
            (name, Ok(end)) => report.figure(name, format_args!("{end:?}")),
            (name, Err(error)) => report.fail(format!("{name}: {error}")),
        }
    }
    clock.report(&node, &mut report);
    report.at_most("growth_mib", node.peak().saturating_sub(memory) as f64 / 1024.0, GROWTH_MIB);
    let (seen, _) = background.finish().await?;
    if scale == Scale::Full {
        let p99 = seen.times.quantile(0.99) as f64 / 1e3;
        report.require(p99 <= P99, || format!("beside bad links p99 is {p99:.1} ms, {P99:.0} are allowed"));
    }
    seen.report(&mut report);
    node.stop(&mut report).await;
    Ok(vec![report])
}

/// Takes the node's first connection and does its worst. How it ended.
async fn be_a_peer(peer: Peer, index: u8, listener: &TcpListener, flood: Duration) -> Result<String, Error> {
    let (mut stream, _) = timeout(CLOSE, listener.accept()).await.map_err(|_| "the node did not dial")??;
    match peer {
        Peer::Mute => return until_closed(stream).await,
        Peer::NoHttp => {
            stream.write_all(&[0xff; 1_000]).await?;
            return until_closed(stream).await;
        }
        _ => {}
    }
    let mut socket = accept_async(stream).await?;
    let key = SigningKey::from_bytes(&[index + 1; 32]);
    let hello = Envelope {
        message_id: [index; 16],
        sender: NodeId::from_bytes(key.verifying_key().to_bytes()),
        recipient: None,
        message: Message::Hello {
            version: PROTOCOL_VERSION,
            ledger: open_ledger(node::data::DEFAULT_LEDGER),
            node: NodeId::from_bytes(key.verifying_key().to_bytes()),
            nonce: [7; 32],
        },
    };
    match peer {
        Peer::HalfHello => {
            let bytes = hello.encode();
            socket.send(Frame::binary(bytes[..bytes.len() / 2].to_vec())).await?;
        }
        Peer::Huge => {
            // It is closed while this sends.
            drop(socket.send(Frame::binary(vec![0; FRAME_BYTES + 1])).await);
        }
        Peer::Garbage => {
            let end = Instant::now() + flood;
            while Instant::now() < end && socket.send(Frame::binary(vec![0xff; 1_000])).await.is_ok() {}
        }
        Peer::Liar => greet(&mut socket, &hello, &SigningKey::from_bytes(&[99; 32])).await?,
        Peer::Chatter | Peer::Orphans => {
            greet(&mut socket, &hello, &key).await?;
            return flood_link(socket, peer, &hello, &key, flood).await;
        }
        _ => {}
    }
    closed(&mut socket).await
}

/// Waits until the node ends a connection that is no WebSocket.
async fn until_closed(mut stream: TcpStream) -> Result<String, Error> {
    let mut bytes = [0; 4096];
    let read = async { while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {} };
    timeout(CLOSE, read).await.map_err(|_| format!("still open after {} s", CLOSE.as_secs()))?;
    Ok("ended".to_owned())
}

/// Waits for the close frame of the node, and says what is in it.
async fn closed(socket: &mut Socket) -> Result<String, Error> {
    let read = async {
        while let Some(frame) = socket.next().await {
            match frame {
                Ok(Frame::Close(Some(close))) => return format!("{} {}", u16::from(close.code), close.reason),
                Ok(Frame::Close(None)) => return "closed".to_owned(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
        "ended".to_owned()
    };
    timeout(CLOSE, read).await.map_err(|_| format!("not closed within {} s", CLOSE.as_secs()).into())
}

/// Hello and Auth, as the side that was dialled.
async fn greet(socket: &mut Socket, hello: &Envelope, key: &SigningKey) -> Result<(), Error> {
    socket.send(Frame::binary(hello.encode())).await?;
    let Message::Hello { ledger, node, nonce, .. } = &hello.message else { return Err("no Hello".into()) };
    let greeted = async {
        while let Some(frame) = socket.next().await {
            let Frame::Binary(bytes) = frame? else { continue };
            for envelope in decode_frame(&bytes).map_err(|error| error.to_string())? {
                if let Message::Hello { node: peer, nonce: challenge, .. } = envelope.message {
                    let message = auth_message(ledger, (node, nonce), (&peer, &challenge));
                    let signature = key.sign(&message).to_bytes();
                    let auth = Envelope { message: Message::Auth { signature }, ..hello.clone() };
                    socket.send(Frame::binary(auth.encode())).await?;
                    return Ok(());
                }
            }
        }
        Err("the node ended the handshake".into())
    };
    timeout(CLOSE, greeted).await.map_err(|_| "the node says no Hello")?
}

/// Sends frames as fast as the node takes them, then sees whether the link is still there.
async fn flood_link(
    socket: Socket,
    peer: Peer,
    hello: &Envelope,
    key: &SigningKey,
    flood: Duration,
) -> Result<String, Error> {
    let (mut sink, mut stream) = socket.split();
    let mut said = None;
    let reading = async {
        while let Some(Ok(frame)) = stream.next().await {
            if let Frame::Close(close) = frame {
                said = Some(
                    close.map_or("closed".to_owned(), |close| format!("{} {}", u16::from(close.code), close.reason)),
                );
            }
        }
    };
    let writing = async {
        let (mut frames, end) = (0_u64, Instant::now() + flood);
        while Instant::now() < end {
            let message = match peer {
                Peer::Orphans => orphan(hello, key, frames),
                _ => chatter(frames),
            };
            let envelope = Envelope { message, ..hello.clone() };
            if sink.send(Frame::binary(envelope.encode())).await.is_err() {
                break;
            }
            frames += 1;
        }
        // What is on its way is refused or taken before the connection is looked at.
        sleep(Duration::from_millis(500)).await;
        frames
    };
    let frames = tokio::select! {
        () = reading => None,
        frames = writing => Some(frames),
    };
    Ok(match (said, frames) {
        (Some(said), _) => said,
        (None, Some(frames)) => format!("took {frames} frames and stays"),
        (None, None) => "ended".to_owned(),
    })
}

/// Valid messages that cost their sender nothing.
fn chatter(number: u64) -> Message {
    let id = |salt: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number * 1_000 + salt).to_le_bytes());
        bytes
    };
    match number % 5 {
        0 => Message::NodeAnnounce {
            nodes: (0..100).map(|salt| NodeId::from_bytes(id(salt))).collect(),
            announcements: Vec::new(),
        },
        1 => Message::LedgerSyncRequest { digest: id(0), parts: Vec::new() },
        2 => Message::EntryRequest { blocks: (0..60).map(|salt| shared::BlockHash::from_bytes(id(salt))).collect() },
        3 => Message::Credit { frames: 1, bytes: 1_000 },
        _ => {
            let mut lanes: Vec<(NodeId, u64)> = (0..100).map(|salt| (NodeId::from_bytes(id(salt)), 7)).collect();
            lanes.sort();
            Message::Have { lanes }
        }
    }
}

/// A block that is valid but for its parent, which nobody has.
fn orphan(hello: &Envelope, key: &SigningKey, number: u64) -> Message {
    let mut parent = [0xee; 32];
    parent[..8].copy_from_slice(&number.to_le_bytes());
    let header = Header {
        ledger: open_ledger(node::data::DEFAULT_LEDGER),
        author: hello.sender,
        height: number + 2,
        timestamp: Timestamp::from_micros(1_700_000_000_000_000 + number).unwrap_or_default(),
        parents: vec![shared::BlockHash::from_bytes(parent)],
    };
    let entry = Entry::new(Kind::DATA, [0; 16], format!("{:>10000}", number).into_bytes());
    let block = VerifiedBlock::sign(header, vec![entry], &Key::from_secret(&key.to_bytes()));
    Message::announce(vec![block.bytes().to_vec()], 1_000_000)
}
