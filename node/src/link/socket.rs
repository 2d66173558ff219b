//! A WebSocket as a link, whoever opened it: moves frames between the socket and the host.

use std::{
    future::{Future, pending},
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use shared::{CloseReason, NodeId, limits};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tracing::debug;

use crate::host::{LinkCommand, LinkPort, Stopped};

/// How long the peer has to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a socket may take no data. The replica closes a stalled link itself, but its close frame needs the socket too.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that are read at once. The library makes this buffer before the peer has proved its key; a frame that announces a
/// greater length makes it grow, up to the limit of a frame.
const READ_BUFFER: usize = 32 * 1024;
/// Bytes that gather before they are written to the socket, however many messages they are.
const WRITE_BUFFER: usize = 128 * 1024;

/// The header in which a relay or a node says why it refuses.
pub(super) const REFUSAL: &str = "cairn-error";
/// Characters of what is said about why somebody refuses.
const REFUSAL_CHARS: usize = 400;

/// What was dialled.
pub(super) type Dialled = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a connection ended.
pub(super) enum End {
    /// The node is stopping.
    Stopped,
    /// Anything else, in words.
    Lost(String),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// How large frames and buffers may be.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER + 2 * limits::FRAME_BYTES)
        .max_message_size(Some(limits::FRAME_BYTES))
        .max_frame_size(Some(limits::FRAME_BYTES))
}

/// Resolves when the node stops.
pub(super) async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        // Whoever could have said so is gone without saying it.
        pending::<()>().await;
    }
}

/// Opens a WebSocket. `patience`: for name, TCP, TLS and the upgrade.
pub(super) async fn dial(url: &str, secret: Option<HeaderValue>, patience: Duration) -> Result<Dialled, String> {
    // The WebSocket library leaves this choice to the program. A second dial finds it made.
    _ = rustls::crypto::ring::default_provider().install_default();
    let mut request = url.into_client_request().map_err(|error| describe(&error))?;
    if let Some(secret) = secret {
        request.headers_mut().insert(AUTHORIZATION, secret);
    }
    // The last argument is TCP_NODELAY.
    match timeout(patience, connect_async_with_config(request, Some(config()), true)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}

fn describe(error: &Error) -> String {
    match error {
        Error::Http(response) => describe_refusal(response.status(), response.headers()),
        Error::ConnectionClosed | Error::AlreadyClosed => "the connection was closed".to_owned(),
        other => other.to_string(),
    }
}

/// What somebody says about why it refuses. It says so in the head of its answer, too, because the body may come later, and the library does not
/// wait for it.
fn describe_refusal(status: StatusCode, headers: &HeaderMap) -> String {
    match headers.get(REFUSAL).and_then(|said| said.to_str().ok()) {
        Some(said) => {
            let said: String = said.chars().take(REFUSAL_CHARS).collect();
            format!("it answers with HTTP {}: {said}", status.as_u16())
        }
        None => format!("it answers with HTTP {status}"),
    }
}

/// Moves frames until the connection ends, whoever ends it. `up` is called when the peer has proved its key.
pub(super) async fn exchange<S>(
    port: &LinkPort,
    commands: mpsc::Receiver<LinkCommand>,
    socket: WebSocketStream<S>,
    up: impl FnMut(NodeId),
    shutdown: &mut watch::Receiver<bool>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, stream) = socket.split();
    // Reading goes on while writing waits, or two full sockets would wait for each other for ever.
    let mut reading = Box::pin(read(port, stream));
    tokio::select! {
        end = &mut reading => end,
        end = write(sink, commands, up, shutdown) => {
            // The close frame is sent; the peer's answer to it ends the reading.
            _ = timeout(CLOSE_TIMEOUT, reading).await;
            end
        }
    }
}

async fn read<S>(port: &LinkPort, mut stream: SplitStream<WebSocketStream<S>>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let sent = match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => port.frame(bytes.into()).await,
            Some(Ok(Message::Text(text))) if text.as_str() == "ping" => port.ping().await,
            Some(Ok(Message::Text(text))) if text.as_str() == "pong" => port.pong().await,
            Some(Ok(Message::Text(text))) => {
                debug!("a peer sent a text frame of {} bytes, which means nothing to a node", text.len());
                Ok(())
            }
            // The library answers pings of the WebSocket layer itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Close(frame))) => return End::Lost(describe_close(frame)),
            Some(Err(error)) => return End::Lost(describe(&error)),
            None => return End::Lost("the connection was closed".to_owned()),
        };
        if let Err(stopped) = sent {
            return stopped.into();
        }
    }
}

fn describe_close(frame: Option<CloseFrame>) -> String {
    match frame {
        Some(frame) if !frame.reason.is_empty() => {
            format!("it closed the link: {} ({})", frame.reason.escape_debug(), u16::from(frame.code))
        }
        Some(frame) => format!("it closed the link with code {}", u16::from(frame.code)),
        None => "it closed the link".to_owned(),
    }
}

/// Sends what the host wants sent, several frames in one write when they wait already, and ends with a close frame.
async fn write<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut commands: mpsc::Receiver<LinkCommand>,
    mut up: impl FnMut(NodeId),
    shutdown: &mut watch::Receiver<bool>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let first = tokio::select! {
            command = commands.recv() => command,
            () = stopping(shutdown) => {
                // What the host has said still goes out.
                _ = timeout(CLOSE_TIMEOUT, say_last(&mut sink, &mut commands)).await;
                return close(&mut sink, 1001, "this node is stopping", End::Stopped).await;
            }
        };
        if first.is_none() {
            let reason = CloseReason::Stalled;
            let end = End::Lost("the link took no more data".to_owned());
            return close(&mut sink, reason.code(), &reason.to_string(), end).await;
        }
        let mut next = first;
        while let Some(command) = next {
            let message = match command {
                LinkCommand::Frame(bytes) => Message::binary(bytes),
                LinkCommand::Ping => Message::text("ping"),
                LinkCommand::Pong => Message::text("pong"),
                LinkCommand::PeerUp(node) => {
                    up(node);
                    next = commands.try_recv().ok();
                    continue;
                }
                LinkCommand::Close { code, reason } => {
                    let end = End::Lost(format!("this node closed the link: {reason}"));
                    return close(&mut sink, code, &reason, end).await;
                }
            };
            if let Err(reason) = in_time(sink.feed(message)).await {
                return End::Lost(reason);
            }
            next = commands.try_recv().ok();
        }
        if let Err(reason) = in_time(sink.flush()).await {
            return End::Lost(reason);
        }
    }
}

async fn say_last<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    commands: &mut mpsc::Receiver<LinkCommand>,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Ok(LinkCommand::Frame(bytes)) = commands.try_recv() {
        sink.feed(Message::binary(bytes)).await?;
    }
    Ok(())
}

async fn in_time(writing: impl Future<Output = Result<(), Error>>) -> Result<(), String> {
    match timeout(WRITE_TIMEOUT, writing).await {
        Ok(result) => result.map_err(|error| describe(&error)),
        Err(_) => Err(format!("it took no data for {} s", WRITE_TIMEOUT.as_secs())),
    }
}

async fn close<S>(sink: &mut SplitSink<WebSocketStream<S>, Message>, code: u16, reason: &str, end: End) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
    // A peer that cannot take even this is gone or stuck; the connection is dropped then.
    _ = timeout(CLOSE_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
    end
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

    use super::*;

    fn told(value: Option<&[u8]>) -> String {
        let headers = value.map(|value| (HeaderName::from_static(REFUSAL), HeaderValue::from_bytes(value).unwrap()));
        describe_refusal(StatusCode::FORBIDDEN, &headers.into_iter().collect())
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_relay_or_by_its_status() {
        assert_eq!(told(Some(b"no such ledger (x)")), "it answers with HTTP 403: no such ledger (x)");
        assert_eq!(told(None), "it answers with HTTP 403 Forbidden");
        assert_eq!(told(Some("ümlaut".as_bytes())), "it answers with HTTP 403 Forbidden");
        assert!(told(Some(&[b'x'; 5_000])).len() < 500);
    }
}
