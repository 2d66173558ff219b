//! One Socket.IO client on a plain TCP connection: the few packets of Engine.IO and Socket.IO that a crowd needs, read without a
//! copy and without understanding more than is counted.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

/// What is before the number of a message in its JSON, and nowhere else in what a server sends.
pub(crate) const NUMBER: &str = "{\"n\":";
/// How long a server may take to let a client in.
const CONNECT: Duration = Duration::from_secs(30);
/// Clients that come in at once.
const CONNECTING: usize = 32;
/// Bytes that one read takes, for all clients.
const CHUNK: usize = 256 * 1024;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FIN: u8 = 0x80;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// What a server understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// A node: who writes appends an entry, who listens follows the ledger as the client library does.
    #[default]
    Cairn,
    /// A server without a history.
    Say,
}

impl Protocol {
    /// The event by which a client says something.
    pub(crate) fn say(self) -> &'static str {
        match self {
            Self::Cairn => "add_ledger_entry",
            Self::Say => "say",
        }
    }
}

/// A connection with its Socket.IO session.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come yet.
    rest: Vec<u8>,
}

impl Client {
    /// A client that was let in. One that listens to a node follows its ledger.
    pub(crate) async fn connect(address: SocketAddr, protocol: Protocol, listens: bool) -> Result<Self> {
        timeout(CONNECT, Self::enter(address, protocol, listens))
            .await
            .map_err(|_| anyhow!("a client was not let in within {} s", CONNECT.as_secs()))?
    }

    /// So many of them.
    pub(crate) async fn connect_all(
        address: SocketAddr,
        protocol: Protocol,
        listens: bool,
        count: usize,
    ) -> Result<Vec<Self>> {
        let places = Rc::new(Semaphore::new(CONNECTING));
        let mut connecting = JoinSet::new();
        for _ in 0..count {
            let places = places.clone();
            connecting.spawn_local(async move {
                let _place = places.acquire().await?;
                Self::connect(address, protocol, listens).await
            });
        }
        let mut clients = Vec::with_capacity(count);
        while let Some(client) = connecting.join_next().await {
            clients.push(client??);
        }
        Ok(clients)
    }

    async fn enter(address: SocketAddr, protocol: Protocol, listens: bool) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let upgrade = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte, because the first frame may follow at once.
            head.push(stream.read_u8().await.context("the server closed a connection that was to be a WebSocket")?);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            bail!("the server answers an upgrade with {}", String::from_utf8_lossy(&head).trim());
        }
        let mut client = Self { stream, rest: Vec::new() };
        // As the client library says it.
        let auth = if protocol == Protocol::Cairn { "{\"batches\":true,\"live\":false}" } else { "" };
        client.send(&packet(&format!("40{auth}"))).await?;
        client.wait_for(|packet| packet.starts_with(b"40")).await?;
        if protocol == Protocol::Cairn && listens {
            client.send(&packet("42[\"subscribe\",{\"keep_live\":true}]")).await?;
            client
                .wait_for(|packet| packet.starts_with(b"42[\"entries\"") && packet.ends_with(b"\"done\":true}]"))
                .await?;
        }
        Ok(client)
    }

    async fn wait_for(&mut self, is_it: impl Fn(&[u8]) -> bool) -> Result<()> {
        let (mut came, mut refused) = (false, None);
        while !came {
            self.read(&mut |packet| {
                came |= is_it(packet);
                if refused.is_none() && (packet.starts_with(b"44") || packet.starts_with(b"42[\"error\"")) {
                    refused = Some(String::from_utf8_lossy(packet).into_owned());
                }
            })
            .await?;
            if let Some(refused) = refused {
                bail!("the server refuses a client: {refused}");
            }
        }
        Ok(())
    }

    /// Sends frames.
    pub(crate) async fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        self.stream.write_all(frames).await
    }

    /// Waits for data and hands on each packet in it. Answers pings. Can be dropped at any time.
    pub(crate) async fn read(&mut self, take: &mut impl FnMut(&[u8])) -> Result<()> {
        loop {
            self.stream.readable().await?;
            let read = SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
                Ok(0) => bail!("the server ended a connection without a word"),
                Ok(len) => self.take_in(&scratch[..len], take).map(|()| true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error.into()),
            })?;
            if read {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, chunk: &[u8], take: &mut impl FnMut(&[u8])) -> Result<()> {
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

    fn take_frames(&self, bytes: &[u8], take: &mut impl FnMut(&[u8])) -> Result<usize> {
        let mut used = 0;
        while let Some((opcode, begin, end)) = parse(&bytes[used..]) {
            let payload = &bytes[used + begin..used + end];
            used += end;
            match (opcode, payload) {
                (TEXT, b"2") => self.answer(&packet("3"))?,
                (TEXT, text) => take(text),
                (PING, payload) => self.answer(&frame(PONG, payload))?,
                (PONG, _) => {}
                (CLOSE, reason) => {
                    let reason = reason.get(2..).unwrap_or_default();
                    bail!("the server closed a connection: {}", String::from_utf8_lossy(reason));
                }
                (opcode, _) => bail!("a frame with opcode {opcode} came"),
            }
        }
        Ok(used)
    }

    fn answer(&self, bytes: &[u8]) -> Result<()> {
        let written = self.stream.try_write(bytes).context("a ping could not be answered")?;
        if written == bytes.len() { Ok(()) } else { bail!("half an answer to a ping was sent") }
    }
}

/// A packet in a frame.
pub(crate) fn packet(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes())
}

/// An event with an acknowledgement of this number, in a frame.
pub(crate) fn event(name: &str, number: u64, json: &str) -> Vec<u8> {
    packet(&format!("42{number}[\"{name}\",{json}]"))
}

/// The number of the acknowledgement that a packet is, and its arguments without the bracket before them.
pub(crate) fn acknowledgement(packet: &[u8]) -> Option<(u64, &[u8])> {
    let rest = packet.strip_prefix(b"43")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some((number(rest), rest.get(digits + 1..)?))
}

/// Calls back with the number of each message in a packet.
pub(crate) fn numbers(finder: &memmem::Finder<'_>, packet: &[u8], mut take: impl FnMut(u64)) {
    for at in finder.find_iter(packet) {
        take(number(&packet[at + NUMBER.len()..]));
    }
}

fn number(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

/// A frame of a client (RFC 6455 §5.2). A mask of zeros is one like any other, and costs nothing here.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    bytes.push(FIN | opcode);
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame of a server: opcode, where its payload begins and where it ends. None: it is not all there.
fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (len, begin) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        len => (u64::from(len), 2),
    };
    let end = begin + usize::try_from(len).ok()?;
    (bytes.len() >= end).then_some((first & 0x0f, begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_wherever_what_was_read_ends() {
        for len in [0, 1, 125, 126, 300, 65_535, 65_536] {
            let payload = vec![b'x'; len];
            let masked = frame(TEXT, &payload);
            // As a server sends it: without the bit of the mask, and without the mask.
            let header = masked.len() - len - 4;
            let mut bytes = masked[..header].to_vec();
            bytes[1] &= 0x7f;
            bytes.extend_from_slice(&payload);
            assert_eq!(parse(&bytes), Some((TEXT, header, header + len)), "{len} bytes");
            assert_eq!(parse(&bytes[..bytes.len() - 1]), None, "{len} bytes, one too few");
        }
    }

    #[test]
    fn acknowledgements_have_a_number_and_what_follows() {
        assert_eq!(acknowledgement(b"4317[{\"ok\":true}]"), Some((17, &b"{\"ok\":true}]"[..])));
        assert_eq!(acknowledgement(b"430[]"), Some((0, &b"]"[..])));
        assert_eq!(acknowledgement(b"42[\"said\",{\"n\":1}]"), None);
        assert_eq!(acknowledgement(b"43"), None);
    }

    #[test]
    fn every_message_of_a_packet_is_counted() {
        let finder = memmem::Finder::new(NUMBER);
        let packet =
            b"42[\"entries\",{\"entries\":[{\"id\":\"a\",\"data\":{\"n\":8,\"text\":\"\"}},{\"data\":{\"n\":9}}]}]";
        let mut all = Vec::new();
        numbers(&finder, packet, |number| all.push(number));
        assert_eq!(all, [8, 9]);
    }
}
