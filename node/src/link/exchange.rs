//! A connection as a link, whatever it is: sends what the host wants sent, while frames are read, until either ends.

use std::{
    future::{Future, pending},
    time::Duration,
};

use shared::{CloseReason, NodeId};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::host::{LinkCommand, Stopped};

/// How long the peer has to answer when the connection is closed.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take no data. The replica closes a stalled link itself, but what it says then needs the connection too.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

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

/// What goes to the peer.
pub(super) enum Outgoing {
    Frame(Vec<u8>),
    Ping,
    Pong,
}

/// The sending half of a connection. Errors are words for people.
pub(super) trait Sending {
    /// Takes something to be sent, at the latest with the next flush.
    fn feed(&mut self, message: Outgoing) -> impl Future<Output = Result<(), String>> + Send;
    /// Sends what was taken.
    fn flush(&mut self) -> impl Future<Output = Result<(), String>> + Send;
    /// Says why this side ends the connection, after what was taken.
    fn close(&mut self, code: u16, reason: &str) -> impl Future<Output = ()> + Send;
}

/// Resolves when the node stops.
pub(super) async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        // Whoever could have said so is gone without saying it.
        pending::<()>().await;
    }
}

/// Moves frames until the connection ends, whoever ends it. `up` is called when the peer has proved its key.
pub(super) async fn exchange(
    reading: impl Future<Output = End> + Send,
    sending: impl Sending + Send,
    commands: mpsc::Receiver<LinkCommand>,
    up: impl FnMut(NodeId) + Send,
    shutdown: &mut watch::Receiver<bool>,
) -> End {
    // Reading goes on while writing waits, or two full connections would wait for each other for ever.
    let mut reading = Box::pin(reading);
    tokio::select! {
        end = &mut reading => end,
        end = write(sending, commands, up, shutdown) => {
            // The peer was told; its answer ends the reading.
            _ = timeout(CLOSE_TIMEOUT, reading).await;
            end
        }
    }
}

/// Sends what the host wants sent, several frames at once when they wait already, and ends by saying why.
async fn write(
    mut sending: impl Sending,
    mut commands: mpsc::Receiver<LinkCommand>,
    mut up: impl FnMut(NodeId),
    shutdown: &mut watch::Receiver<bool>,
) -> End {
    loop {
        let first = tokio::select! {
            command = commands.recv() => command,
            () = stopping(shutdown) => {
                // What the host has said still goes out.
                _ = timeout(CLOSE_TIMEOUT, say_last(&mut sending, &mut commands)).await;
                return close(&mut sending, 1001, "this node is stopping", End::Stopped).await;
            }
        };
        if first.is_none() {
            let reason = CloseReason::Stalled;
            let end = End::Lost("the link took no more data".to_owned());
            return close(&mut sending, reason.code(), &reason.to_string(), end).await;
        }
        let mut next = first;
        while let Some(command) = next {
            let message = match command {
                LinkCommand::Frame(bytes) => Outgoing::Frame(bytes),
                LinkCommand::Ping => Outgoing::Ping,
                LinkCommand::Pong => Outgoing::Pong,
                LinkCommand::PeerUp(node) => {
                    up(node);
                    next = commands.try_recv().ok();
                    continue;
                }
                LinkCommand::Close { code, reason } => {
                    let end = End::Lost(format!("this node closed the link: {reason}"));
                    return close(&mut sending, code, &reason, end).await;
                }
            };
            if let Err(reason) = in_time(sending.feed(message)).await {
                return End::Lost(reason);
            }
            next = commands.try_recv().ok();
        }
        if let Err(reason) = in_time(sending.flush()).await {
            return End::Lost(reason);
        }
    }
}

async fn say_last(sending: &mut impl Sending, commands: &mut mpsc::Receiver<LinkCommand>) -> Result<(), String> {
    while let Ok(LinkCommand::Frame(bytes)) = commands.try_recv() {
        sending.feed(Outgoing::Frame(bytes)).await?;
    }
    Ok(())
}

async fn in_time(writing: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    match timeout(WRITE_TIMEOUT, writing).await {
        Ok(result) => result,
        Err(_) => Err(format!("it took no data for {} s", WRITE_TIMEOUT.as_secs())),
    }
}

async fn close(sending: &mut impl Sending, code: u16, reason: &str, end: End) -> End {
    // A peer that cannot take even this is gone or stuck; the connection is dropped then.
    _ = timeout(CLOSE_TIMEOUT, sending.close(code, reason)).await;
    end
}

/// What a peer said when it closed a connection.
pub(super) fn describe_close(code: u64, reason: &str) -> String {
    match reason {
        "" => format!("it closed the link with code {code}"),
        reason => format!("it closed the link: {} ({code})", reason.escape_debug()),
    }
}
