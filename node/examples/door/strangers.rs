//! Strangers at a relay's door, as many as this machine can make.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use shared::{
    Config, Input, Key, LedgerId, LinkId, MemoryStore, Replica, Role, Timestamp,
    members::Genesis,
    wire::{Envelope, Message},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest, http::header::AUTHORIZATION},
};

use crate::Error;

/// What a stranger does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Says hello and proves a key wrongly.
    WrongProof,
    /// Opens a connection and says nothing.
    Silent,
    /// Asks for a ledger that is not there.
    NoSuchLedger,
    /// Shows a secret that is not the relay's.
    WrongSecret,
}

/// How many were answered as they should be, and how many were not.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) refused: AtomicU64,
    pub(crate) otherwise: AtomicU64,
}

/// How much of a flood: strangers at a time, and how many come in a second at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flood {
    pub(crate) width: usize,
    pub(crate) rate: Option<u64>,
}

/// Keeps strangers busy at `door`, before the ledger's id, until `stop`.
pub(crate) async fn flood(
    door: &str,
    ledger: LedgerId,
    kind: Kind,
    Flood { width, rate }: Flood,
    stop: watch::Receiver<bool>,
) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let mut strangers = JoinSet::new();
    for number in 0..width {
        let (door, tally, mut stop) = (door.to_owned(), tally.clone(), stop.clone());
        let mut clock = rate.map(|rate| interval(Duration::from_secs(1) * width as u32 / rate as u32));
        strangers.spawn(async move {
            let mut round = 0;
            while !*stop.borrow() {
                round += 1;
                if let Some(clock) = &mut clock {
                    clock.tick().await;
                }
                let refused = tokio::select! {
                    refused = knock(&door, ledger, kind, (number, round)) => refused,
                    _ = stop.wait_for(|stop| *stop) => break,
                };
                let count = if refused { &tally.refused } else { &tally.otherwise };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while strangers.join_next().await.is_some() {}
    tally
}

/// Knocks once. Whether it was refused in the right way.
async fn knock(door: &str, ledger: LedgerId, kind: Kind, (number, round): (usize, u64)) -> bool {
    let nowhere = {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&round.to_be_bytes());
        id[8..16].copy_from_slice(&(number as u64).to_be_bytes());
        LedgerId::from_bytes(id)
    };
    let room = if kind == Kind::NoSuchLedger { nowhere } else { ledger };
    let Ok(mut request) = format!("{door}{room}").into_client_request() else { return false };
    if kind == Kind::WrongSecret {
        request.headers_mut().insert(AUTHORIZATION, tungstenite::http::HeaderValue::from_static("Bearer wrong"));
    }
    let mut socket = match connect_async(request).await {
        Ok((socket, _)) => socket,
        Err(tungstenite::Error::Http(response)) => return [403, 429].contains(&response.status().as_u16()),
        Err(_) => return false,
    };
    if kind == Kind::WrongProof {
        for frame in wrong_proof(ledger) {
            if socket.send(tungstenite::Message::binary(frame)).await.is_err() {
                return false;
            }
        }
    }
    let closed = async {
        while let Some(message) = socket.next().await {
            match message {
                Ok(tungstenite::Message::Close(Some(frame))) => return u16::from(frame.code) >= 4000,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    };
    timeout(Duration::from_secs(20), closed).await.unwrap_or(false)
}

/// A hello and a proof that is none, in two frames.
fn wrong_proof(ledger: LedgerId) -> [Vec<u8>; 2] {
    let node = Key::from_secret(&[3; 32]).node();
    let envelope = |message| Envelope { message_id: [0; 16], sender: node, recipient: None, message }.encode();
    let hello = Message::Hello { version: 1, ledger, node, nonce: [1; 32] };
    [envelope(hello), envelope(Message::Auth { signature: [5; 64] })]
}

/// µs of the core for one bad handshake, without sockets and without a relay around it.
pub(crate) fn in_the_core(count: u64) -> Result<f64, Error> {
    let ledger = Genesis { founder: Key::from_secret(&[4; 32]).node(), salt: [0; 16] }.ledger();
    let config = Config { pace: true, ..Config::new(ledger, Key::from_secret(&[8; 32]), [0; 32]) };
    let now = |micros| Timestamp::from_micros(1_000_000_000_000 + micros).unwrap_or(Timestamp::MAX);
    let mut effects = Vec::new();
    let mut hub = Replica::restore(config, MemoryStore::default(), &[], now(0), &mut effects)?;
    let began = Instant::now();
    for number in 0..count {
        let link = LinkId(number);
        let [hello, proof] = wrong_proof(ledger);
        for input in [
            Input::relay_opened(link, Role::Accepted),
            Input::Frame { link, bytes: hello },
            Input::Frame { link, bytes: proof },
            Input::LinkClosed { link },
        ] {
            hub.handle(now(number), input, &mut effects)?;
            hub.commit(now(number), &mut effects)?;
            effects.clear();
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / count as f64)
}
