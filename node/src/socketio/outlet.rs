//! What goes to one Socket.IO client: waits for room instead of losing packets, and keeps little on its way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::limits::{CLIENT_RETRY, CLIENT_UNSENT_BYTES, CLIENTS};
use socketioxide::{
    SendError, SocketError, TransportType,
    extract::AckSender,
    handler::{FromMessageParts, Value},
    socket::{Sid, Socket},
};
use tokio::sync::watch;

use crate::http::line::Line;

/// Packets after which the task that writes them to the connection gets a turn: it empties the buffer then, or shows that
/// the connection is blocked. A buffer that stays full would have no room for Engine.IO's ping, which ends the connection.
const BURST: u32 = 32;
/// Turns given to other tasks before a full buffer is waited for by the clock.
const YIELDS: u32 = 16;

/// How a client's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It is there.
    Open,
    /// It sends faster than it takes answers, and takes not even the errors.
    Flooding,
    /// It is gone.
    Gone,
}

/// The connection is gone, or is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// The way to one client.
pub(super) struct Outlet {
    socket: Arc<Socket>,
    life: watch::Receiver<Life>,
    lines: Arc<Lines>,
    line: Option<Line>,
    sent: u32,
    /// Bytes of entries that were handed to the connection, and what it had written before the first of them. What
    /// surrounds entries is not counted, so what is on its way is never taken for more than it is.
    bytes: u64,
    before: u64,
}

impl Outlet {
    pub(super) fn new(socket: Arc<Socket>, life: watch::Receiver<Life>, lines: Arc<Lines>) -> Self {
        // A session that began with polling has many connections; the one that it upgrades to is looked up later.
        let line = match socket.transport_type() {
            TransportType::Websocket => socket.req_parts().extensions.get::<Line>().cloned(),
            TransportType::Polling => None,
        };
        let before = line.as_ref().map_or(0, Line::written);
        Self { socket, life, lines, line, sent: 0, bytes: 0, before }
    }

    /// Sends an event with one argument, when there is room.
    pub(super) async fn emit<T: Serialize + ?Sized + Sync>(&mut self, event: &str, argument: &T) -> Result<(), Gone> {
        self.send(|socket| socket.emit(event, &(argument,))).await
    }

    /// Notes that what was just sent had so many bytes of entries.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Waits until everything that was counted is written to the connection. Where there is none, as for a client that
    /// polls, it is its buffer's affair.
    pub(super) async fn drained(&mut self) -> Result<(), Gone> {
        self.unsent_below(0).await
    }

    /// Answers the ack of this number, when there is room.
    pub(super) async fn ack<T: Serialize + ?Sized + Sync>(&mut self, id: i64, argument: &T) -> Result<(), Gone> {
        self.send(|socket| acknowledge(socket, id, argument)).await
    }

    /// Closes the connection to this namespace, when there is room to say so.
    pub(super) async fn disconnect(&mut self) {
        // An error means that it is gone already.
        let (Ok(()) | Err(Gone)) = self.send(|socket| Ok(socket.clone().disconnect()?)).await;
    }

    /// Waits until the connection is not open any more.
    pub(super) async fn ended(&mut self) -> Life {
        match self.life.wait_for(|life| *life != Life::Open).await {
            Ok(life) => *life,
            Err(_) => Life::Gone,
        }
    }

    async fn send(&mut self, attempt: impl Fn(&Arc<Socket>) -> Result<(), SendError>) -> Result<(), Gone> {
        let mut attempts = 0;
        self.sent = self.sent.wrapping_add(1);
        if self.sent.is_multiple_of(BURST) {
            tokio::task::yield_now().await;
        }
        loop {
            if *self.life.borrow() == Life::Gone {
                return Err(Gone);
            }
            self.free().await?;
            match attempt(&self.socket) {
                Ok(()) => return Ok(()),
                Err(SendError::Socket(SocketError::Closed)) => return Err(Gone),
                Err(SendError::Serialize(error)) => {
                    tracing::error!("an answer has no JSON form: {error}");
                    return Ok(());
                }
                Err(SendError::Socket(SocketError::InternalChannelFull)) if attempts < YIELDS => {
                    tokio::task::yield_now().await;
                }
                Err(SendError::Socket(SocketError::InternalChannelFull)) => self.wait().await?,
            }
            attempts += 1;
        }
    }

    /// Waits until the connection takes data. A polling client has no connection of its own: its buffer just fills.
    async fn free(&mut self) -> Result<(), Gone> {
        if self.line.is_none() && self.socket.transport_type() == TransportType::Websocket {
            self.line = self.lines.take(self.socket.id);
            self.before = self.line.as_ref().map_or(0, Line::written).saturating_sub(self.bytes);
        }
        let Some(line) = &self.line else { return Ok(()) };
        tokio::select! {
            biased;
            () = line.free() => {}
            _ = self.life.wait_for(|life| *life == Life::Gone) => return Err(Gone),
        }
        self.unsent_below(CLIENT_UNSENT_BYTES as u64).await
    }

    /// Waits until at most so many bytes of those that were counted are not written yet.
    async fn unsent_below(&mut self, most: u64) -> Result<(), Gone> {
        let Some(line) = &self.line else { return Ok(()) };
        // Beside entries other things were written: where that is more than all of them, nothing is on its way.
        self.before = self.before.max(line.written().saturating_sub(self.bytes));
        let goal = (self.before + self.bytes).saturating_sub(most);
        tokio::select! {
            biased;
            () = line.reaches(goal) => Ok(()),
            _ = self.life.wait_for(|life| *life == Life::Gone) => Err(Gone),
        }
    }

    /// socketioxide has no way to wait for room in its buffer of packets. A client that makes none for good is closed by
    /// Engine.IO's heartbeat or by its connection, and then this ends too.
    async fn wait(&mut self) -> Result<(), Gone> {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_micros(CLIENT_RETRY)) => Ok(()),
            _ = self.life.wait_for(|life| *life == Life::Gone) => Err(Gone),
        }
    }
}

/// Answers an ack now or not at all. An `AckSender` is used up even when the buffer is full, so each try makes its own.
pub(super) fn acknowledge<T: Serialize + ?Sized>(socket: &Arc<Socket>, id: i64, argument: &T) -> Result<(), SendError> {
    match AckSender::from_message_parts(socket, &mut Value::Bytes(Bytes::new()), &Some(id)) {
        Ok(sender) => sender.send(&(argument,)),
        Err(never) => match never {},
    }
}

/// `{ok: true, <key>: <value>}`.
#[derive(Debug)]
pub(super) struct Granted<'a, T: ?Sized> {
    pub(super) key: &'static str,
    pub(super) value: &'a T,
}

impl<T: Serialize + ?Sized> Serialize for Granted<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("ok", &true)?;
        map.serialize_entry(self.key, self.value)?;
        map.end()
    }
}

/// One batch of a subscription.
#[derive(Debug, Serialize)]
pub(super) struct Batch<'a> {
    pub(super) entries: &'a [Box<RawValue>],
    pub(super) cursor: String,
    pub(super) done: bool,
}

/// The WebSocket connections to which polling sessions upgrade, until the sessions find them.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<Sid, Line>>);

impl Lines {
    /// Session `sid` asks for an upgrade on this connection.
    pub(crate) fn put(&self, sid: Sid, line: Line) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Sessions that never come for their line, or never were, must not fill the memory. A session that loses its
        // line here goes on: it waits for room by the clock.
        if lines.len() >= CLIENTS {
            lines.clear();
        }
        lines.insert(sid, line);
    }

    fn take(&self, sid: Sid) -> Option<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&sid)
    }
}
