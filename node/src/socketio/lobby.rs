//! Namespace `/p2p`: the room of the relay's lobby over Socket.IO. It announces, lists and brokers, also to and from other nodes, and
//! stores nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Deserialize;
use serde_json::{json, value::RawValue};
use shared::{
    CloseReason, DirectedError, LinkId, MemoryStore, NodeId, Replica,
    limits::{CLIENT_PACKETS, TEXT_ID_BYTES},
    room::{Room, RoomEffect},
};
use socketioxide::{
    SendError,
    adapter::LocalAdapter,
    handler::{ConnectHandler, MessageHandler, Value},
    socket::Socket,
};
use tokio::sync::{mpsc, watch};

use super::{
    Admitted, Clients, Ready, Refused, auth_json,
    command::Event,
    error::ClientError,
    inbox::text,
    keep, on_disconnect,
    outlet::{Gone, Life, Outlet, acknowledge},
    start,
};
use crate::{admission::Pass, host::Received};

/// What a peer is to be told.
#[derive(Debug)]
enum Outgoing {
    Envelope(Arc<str>),
    Close(CloseReason),
}

/// Envelopes for other nodes that wait for the node.
const FORWARDS: usize = 64;

/// An envelope for another node.
struct Forward {
    /// Whose it is.
    link: LinkId,
    recipient: NodeId,
    text: Arc<str>,
}

/// The room, and the ways to its peers and to other nodes.
struct Peers {
    room: Room,
    queues: BTreeMap<LinkId, mpsc::Sender<Outgoing>>,
    forwards: mpsc::Sender<Forward>,
}

/// The namespace.
#[derive(Clone)]
pub(super) struct Lobby {
    clients: Clients,
    peers: Arc<Mutex<Peers>>,
    next: Arc<AtomicU64>,
}

#[derive(Debug, Deserialize)]
struct Auth {
    node_id: String,
}

impl Lobby {
    pub(super) fn new(clients: Clients, seed: [u8; 32]) -> Self {
        let room = Room::new(clients.host.node(), seed, None).reaching_nodes();
        let (forwards, outgoing) = mpsc::channel(FORWARDS);
        let peers = Peers { room, queues: BTreeMap::new(), forwards };
        let lobby = Self { clients, peers: Arc::new(Mutex::new(peers)), next: Arc::new(AtomicU64::new(1)) };
        if let Some(received) = lobby.clients.host.received() {
            tokio::spawn(exchange(lobby.clone(), received, outgoing));
        }
        lobby
    }

    fn prepare(&self, socket: &Arc<Socket>, auth: Option<&Value>, pass: Pass) -> Result<Ready, Refused> {
        let place = self.clients.place()?;
        let Auth { node_id } = serde_json::from_str(auth_json(auth)?.get()).map_err(|_| Refused::NoNodeId)?;
        if node_id.is_empty() || node_id.len() > TEXT_ID_BYTES {
            return Err(Refused::NoNodeId);
        }
        let link = LinkId(self.next.fetch_add(1, Ordering::Relaxed));
        let (queue, outgoing) = mpsc::channel(CLIENT_PACKETS);
        let (life, alive) = watch::channel(Life::Open);
        socket.on_fallback(Envelopes { lobby: self.clone(), link });
        on_disconnect(socket, life);
        let lines = self.clients.lines.clone();
        let member = Member { lobby: self.clone(), link };
        self.lock().open(link, queue);
        self.on_text(link, &announcement(&node_id));
        Ok(Box::new(move |socket| {
            let outlet = Outlet::new(socket, alive, lines);
            Box::pin(async move {
                serve(outlet, outgoing, pass).await;
                drop((member, place));
            })
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an envelope to the room.
    fn on_text(&self, link: LinkId, text: &str) {
        self.enter(|room, peers, effects| {
            // What a peer says after the room closed it is nobody's.
            if !peers.contains_key(&link) {
                return;
            }
            match room.on_text(link, text, None::<&Replica<MemoryStore>>, effects) {
                Ok(()) => {}
                Err(never) => match never {},
            }
        });
    }

    /// Does something with the room, and then what comes of it.
    fn enter(&self, does: impl FnOnce(&mut Room, &BTreeMap<LinkId, mpsc::Sender<Outgoing>>, &mut Vec<RoomEffect>)) {
        let mut peers = self.lock();
        peers.room.rename(self.clients.host.node());
        let mut effects = Vec::new();
        let Peers { room, queues, .. } = &mut *peers;
        does(room, queues, &mut effects);
        peers.perform(effects);
    }
}

impl Peers {
    fn open(&mut self, link: LinkId, queue: mpsc::Sender<Outgoing>) {
        self.queues.insert(link, queue);
        let mut effects = Vec::new();
        self.room.on_opened(link, &mut effects);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<RoomEffect>) {
        for effect in effects {
            match effect {
                RoomEffect::Send { link, text } => self.send(link, Outgoing::Envelope(text)),
                RoomEffect::Forward { link, recipient, text } => self.forward(Forward { link, recipient, text }),
                RoomEffect::Close { link, reason } => {
                    self.send(link, Outgoing::Close(reason));
                    self.queues.remove(&link);
                }
                // Only connections that outlive their room need it, and these do not.
                RoomEffect::Remember { .. } => {}
            }
        }
    }

    fn forward(&mut self, forward: Forward) {
        if let Err(refused) = self.forwards.try_send(forward) {
            let Forward { link, text, .. } = refused.into_inner();
            let mut effects = Vec::new();
            self.room.not_forwarded(link, &text, DirectedError::TooFast, &mut effects);
            self.perform(effects);
        }
    }

    /// A peer that does not take what is sent to it loses its place: its queue ends, and then its connection.
    fn send(&mut self, link: LinkId, outgoing: Outgoing) {
        if self.queues.get(&link).is_some_and(|queue| queue.try_send(outgoing).is_err()) {
            self.leave(link);
        }
    }

    fn leave(&mut self, link: LinkId) {
        self.queues.remove(&link);
        self.room.on_closed(link);
    }
}

/// A peer's membership: it leaves the room when it is gone.
struct Member {
    lobby: Lobby,
    link: LinkId,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.lobby.lock().leave(self.link);
    }
}

/// Carries envelopes to and from other nodes, until the node stops.
async fn exchange(lobby: Lobby, mut received: mpsc::Receiver<Received>, mut outgoing: mpsc::Receiver<Forward>) {
    loop {
        tokio::select! {
            came = received.recv() => {
                let Some(Received { sender, body }) = came else { return };
                if let Ok(text) = str::from_utf8(&body) {
                    lobby.enter(|room, _, effects| room.on_message(&sender, text, effects));
                }
            }
            Some(Forward { link, recipient, text }) = outgoing.recv() => {
                let sent = lobby.clients.host.direct(recipient, text.as_bytes().to_vec()).await;
                if let Ok(Err(error)) = sent {
                    lobby.enter(|room, _, effects| room.not_forwarded(link, &text, error, effects));
                }
            }
        }
    }
}

/// Sends a peer what is for it, until the room closes it, it is gone, or what it was let in by counts no more.
async fn serve(mut outlet: Outlet, mut outgoing: mpsc::Receiver<Outgoing>, mut pass: Pass) {
    loop {
        let next = tokio::select! {
            biased;
            _ = outlet.ended() => return,
            () = pass.revoked() => {
                if outlet.emit("error", &ClientError::Revoked.event(None)).await.is_ok() {
                    outlet.disconnect().await;
                }
                return;
            }
            next = outgoing.recv() => next,
        };
        let sent = match next {
            Some(Outgoing::Envelope(text)) => match serde_json::from_str::<&RawValue>(&text) {
                Ok(envelope) => outlet.emit("p2p_message", envelope).await,
                Err(error) => {
                    tracing::error!("the room made an envelope that is no JSON: {error}");
                    Ok(())
                }
            },
            Some(Outgoing::Close(reason)) => close(&mut outlet, &reason.to_string()).await,
            None => close(&mut outlet, "this peer does not take what is sent to it").await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn close(outlet: &mut Outlet, reason: &str) -> Result<(), Gone> {
    outlet.emit("error", &json!({ "error": reason, "code": "closed" })).await?;
    outlet.disconnect().await;
    Err(Gone)
}

fn announcement(node_id: &str) -> String {
    json!({
        "message_type": "NodeAnnounce",
        "message_id": uuid::Uuid::new_v4().to_string(),
        "sender_id": node_id,
        "recipient_id": "",
        "payload": { "node_id": node_id },
    })
    .to_string()
}

impl ConnectHandler<LocalAdapter, ()> for Lobby {
    fn call_middleware<'a>(&'a self, socket: Arc<Socket>, auth: &'a Option<Value>) -> Admitted<'a> {
        Box::pin(async move {
            let admitted = self.clients.admit(&socket, auth.as_ref()).await;
            let prepared = admitted.and_then(|pass| self.prepare(&socket, auth.as_ref(), pass));
            prepared.map(|ready| keep(&socket, ready)).map_err(|refused| refused.to_message())
        })
    }

    fn call(&self, socket: Arc<Socket>, _: Option<Value>) {
        start(&socket);
    }
}

/// The handler of every event of one peer. It hands envelopes to the room at once, so a peer that sends faster than the
/// room works is not read from meanwhile.
struct Envelopes {
    lobby: Lobby,
    link: LinkId,
}

impl Envelopes {
    fn take(&self, value: &Value) -> Result<(), ClientError> {
        let text = text(value)?;
        let event = Event::parse(text)?;
        self.lobby.on_text(self.link, event.envelope()?);
        Ok(())
    }
}

impl MessageHandler<LocalAdapter, ()> for Envelopes {
    fn call(&self, socket: Arc<Socket>, value: Value, ack: Option<i64>) {
        self.lobby.clients.metrics.client_event();
        // A peer without room for an answer loses its place anyway, as soon as there is something to say to it.
        drop(match (self.take(&value), ack) {
            (Ok(()), Some(id)) => acknowledge(&socket, id, &json!({ "ok": true })),
            (Ok(()), None) => Ok(()),
            (Err(error), ack) => {
                self.lobby.clients.metrics.client_error();
                refuse(&socket, ack, &error)
            }
        });
    }
}

/// Tells a client of an error now, or fails when there is no room for it.
fn refuse(socket: &Arc<Socket>, ack: Option<i64>, error: &ClientError) -> Result<(), SendError> {
    match ack {
        Some(id) => acknowledge(socket, id, &error.answer()),
        None => socket.emit("error", &(error.event(None),)),
    }
}
