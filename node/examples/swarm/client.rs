//! One Socket.IO client on a plain TCP connection: the few packets of Engine.IO and Socket.IO that a follower needs. The
//! official client is too large for thousands of them beside a node on the same machine.

use std::{cell::RefCell, fmt, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{Error, frame};

/// How long the node may take to admit a client.
const CONNECT: Duration = Duration::from_secs(30);
/// Bytes that one read takes, for all clients of a thread.
const CHUNK: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Why a connection is over.
#[derive(Debug, Clone)]
pub(crate) struct End(pub(crate) String);

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for End {}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// A connection with its Socket.IO session.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// The beginning of a frame whose end has not come yet.
    rest: Vec<u8>,
}

/// Dials the node. `receive_buffer`: bytes that the system keeps for a client that does not read.
pub(crate) async fn dial(address: SocketAddr, receive_buffer: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The request that makes a connection a WebSocket.
pub(crate) fn upgrade(query: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

impl Client {
    /// A WebSocket with an Engine.IO session, and no Socket.IO session yet.
    pub(crate) async fn open(address: SocketAddr, receive_buffer: Option<u32>) -> Result<Self, Error> {
        let mut stream = dial(address, receive_buffer).await?;
        stream.write_all(upgrade("").as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte, because the first frame may follow at once.
            head.push(stream.read_u8().await?);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(format!("the node answers an upgrade with {}", String::from_utf8_lossy(&head)).into());
        }
        Ok(Self { stream, rest: Vec::new() })
    }

    /// A client that the node admitted.
    pub(crate) async fn connect(address: SocketAddr, receive_buffer: Option<u32>) -> Result<Self, Error> {
        let connected = async {
            let mut client = Self::open(address, receive_buffer).await?;
            client.send("40").await?;
            let mut admitted = false;
            while !admitted {
                client.read(&mut |packet| admitted |= packet.starts_with("42[\"auth\"")).await?;
            }
            Ok(client)
        };
        timeout(CONNECT, connected).await.map_err(|_| format!("no session within {} s", CONNECT.as_secs()))?
    }

    /// Gives back bytes that were read past this client.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Sends one packet.
    pub(crate) async fn send(&mut self, packet: &str) -> io::Result<()> {
        self.stream.write_all(&frame::text(packet)).await
    }

    /// Waits for data and hands on each packet in it. Answers pings. Can be dropped at any time.
    pub(crate) async fn read(&mut self, take: &mut impl FnMut(&str)) -> Result<(), End> {
        loop {
            self.stream.readable().await?;
            let read = SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
                Ok(0) => Err(End("the connection ended without a word".to_owned())),
                Ok(len) => self.take_in(&scratch[..len], take).map(|()| true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error.into()),
            })?;
            if read {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, chunk: &[u8], take: &mut impl FnMut(&str)) -> Result<(), End> {
        if self.rest.is_empty() {
            let used = self.take_frames(chunk, take)?;
            self.rest.extend_from_slice(&chunk[used..]);
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(chunk);
        let used = self.take_frames(&rest, take)?;
        rest.drain(..used);
        self.rest = rest;
        Ok(())
    }

    fn take_frames(&self, bytes: &[u8], take: &mut impl FnMut(&str)) -> Result<usize, End> {
        let mut used = 0;
        while let Some((opcode, begin, end)) = frame::parse(&bytes[used..]) {
            let payload = &bytes[used + begin..used + end];
            used += end;
            match (opcode, payload) {
                (frame::TEXT, b"2") => self.answer(&frame::text("3"))?,
                (frame::TEXT, text) => {
                    take(std::str::from_utf8(text).map_err(|_| End("a text frame that is no UTF-8".to_owned()))?);
                }
                (frame::PING, payload) => self.answer(&frame::masked(frame::FIN | frame::PONG, payload))?,
                (frame::PONG, _) => {}
                (frame::CLOSE, [high, low, reason @ ..]) => {
                    let code = u16::from_be_bytes([*high, *low]);
                    return Err(End(format!("close {code} {}", String::from_utf8_lossy(reason))));
                }
                (frame::CLOSE, _) => return Err(End("close".to_owned())),
                (opcode, _) => return Err(End(format!("a frame with opcode {opcode}"))),
            }
        }
        Ok(used)
    }

    fn answer(&self, bytes: &[u8]) -> Result<(), End> {
        match self.stream.try_write(bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => Err(End("half a pong was sent".to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}
