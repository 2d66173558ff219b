//! A WebSocket as a link, whoever opened it: moves frames between the socket and the host.

use std::time::Duration;

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use shared::{NodeId, limits};
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

use super::exchange::{self, End, Outgoing, Sending, describe_close};
use crate::host::{LinkCommand, LinkPort};

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

/// How large frames and buffers may be.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER + 2 * limits::FRAME_BYTES)
        .max_message_size(Some(limits::FRAME_BYTES))
        .max_frame_size(Some(limits::FRAME_BYTES))
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
    up: impl FnMut(NodeId) + Send,
    shutdown: &mut watch::Receiver<bool>,
) -> End
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (sink, stream) = socket.split();
    exchange::exchange(read(port, stream), Sink(sink), commands, up, shutdown).await
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
            Some(Ok(Message::Close(frame))) => return End::Lost(describe_closed(frame)),
            Some(Err(error)) => return End::Lost(describe(&error)),
            None => return End::Lost("the connection was closed".to_owned()),
        };
        if let Err(stopped) = sent {
            return stopped.into();
        }
    }
}

fn describe_closed(frame: Option<CloseFrame>) -> String {
    match frame {
        Some(frame) => describe_close(u16::from(frame.code).into(), &frame.reason),
        None => "it closed the link".to_owned(),
    }
}

struct Sink<S>(SplitSink<WebSocketStream<S>, Message>);

impl<S> Sending for Sink<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    async fn feed(&mut self, message: Outgoing) -> Result<(), String> {
        let message = match message {
            Outgoing::Frame(bytes) => Message::binary(bytes),
            Outgoing::Ping => Message::text("ping"),
            Outgoing::Pong => Message::text("pong"),
        };
        self.0.feed(message).await.map_err(|error| describe(&error))
    }

    async fn flush(&mut self) -> Result<(), String> {
        self.0.flush().await.map_err(|error| describe(&error))
    }

    async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        _ = self.0.send(Message::Close(Some(frame))).await;
    }
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
