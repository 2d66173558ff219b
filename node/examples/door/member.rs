//! Two members of a ledger of their own, in memory, linked to the relay as nodes are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::{SinkExt, StreamExt};
use shared::{
    BlockHash, Config, Effect, EpochKey, Input, Key, Kind, LedgerId, LinkId, MemoryStore, NodeId, Replica, Role,
    Timestamp,
    effect::Wish,
    members::{self, Genesis, Join},
};
use tokio::{sync::mpsc, time::sleep_until};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::AUTHORIZATION},
    },
};

use crate::Error;

const LINK: LinkId = LinkId(1);
/// What the relay's deployer gave them (scripts/door.mjs).
const SECRET: &str = "Bearer right";
/// Bytes of an entry.
const ENTRY: usize = 100;

/// When each entry was handed in that has not come to the other member yet.
type Begun = BTreeMap<(NodeId, u64), Instant>;

/// When each entry was handed in, and how long those took that have come to the other member.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Arc<Mutex<(Begun, Vec<Duration>)>>);

impl Times {
    fn begin(&self, author: NodeId, height: u64, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.insert((author, height), at);
    }

    fn end(&self, author: NodeId, height: u64) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(began) = times.0.remove(&(author, height)) {
            times.1.push(began.elapsed());
        }
    }

    /// What came since the last time, ascending; and how many have not come yet.
    pub(crate) fn take(&self) -> (Vec<Duration>, usize) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut came = std::mem::take(&mut times.1);
        came.sort_unstable();
        (came, times.0.len())
    }
}

/// A member before it is linked.
pub(crate) struct Member {
    replica: Replica<MemoryStore>,
    key: Key,
    effects: Vec<Effect>,
}

/// A founder and whom it invites.
pub(crate) fn group() -> Result<(Member, Member, LedgerId), Error> {
    let salt = random()?;
    let key = Key::from_secret(&random()?);
    let ledger = Genesis { founder: key.node(), salt }.ledger();
    let mut founder = Member::new(ledger, key, None, None)?;
    founder.grant(Wish::Found { salt })?;
    let secret = Key::from_secret(&random()?);
    let wish = Wish::Invite { key: secret.node(), role: members::Role::Member, uses: 1, expires: Timestamp::MAX };
    let invite = founder.grant(wish)?;
    let key = Key::from_secret(&random()?);
    let join = Join::sign(&secret, &ledger, invite, &key.node()).block(ledger, &key, now(), now(), random()?);
    let epoch = founder.replica.keys().current().cloned();
    let guest = Member::new(ledger, key, Some(join.bytes().to_vec()), epoch)?;
    Ok((founder, guest, ledger))
}

impl Member {
    fn new(ledger: LedgerId, key: Key, join: Option<Vec<u8>>, epoch: Option<EpochKey>) -> Result<Self, Error> {
        let config = Config { writes: true, join, epoch, ..Config::new(ledger, key.clone(), random()?) };
        let mut effects = Vec::new();
        let replica = Replica::restore(config, MemoryStore::default(), &[], now(), &mut effects)?;
        Ok(Self { replica, key, effects })
    }

    fn turn(&mut self, inputs: Vec<Input>) -> Result<(), Error> {
        for input in inputs {
            self.replica.handle(now(), input, &mut self.effects)?;
        }
        Ok(self.replica.commit(now(), &mut self.effects)?)
    }

    fn grant(&mut self, wish: Wish) -> Result<BlockHash, Error> {
        self.turn(vec![Input::Control { token: 0, wish }])?;
        let granted = self.effects.drain(..).find_map(|effect| match effect {
            Effect::Granted { result, .. } => Some(result),
            _ => None,
        });
        Ok(granted.ok_or("a wish was not answered")??)
    }

    /// Links to the relay until `entries` is closed; each number is an entry to write. Says by `up` that it is in.
    pub(crate) async fn run(
        mut self,
        room: String,
        mut entries: mpsc::Receiver<()>,
        up: mpsc::Sender<()>,
        times: Times,
    ) -> Result<(), Error> {
        let mut request = room.into_client_request()?;
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(SECRET));
        let (socket, _) = connect_async_with_config(request, None, true).await?;
        let (mut sink, mut stream) = socket.split();
        self.turn(vec![Input::LinkOpened { link: LINK, role: Role::Dialled }])?;
        let mut began = None;
        loop {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Send { bytes, .. } => sink.feed(Message::binary(bytes)).await?,
                    Effect::Ping { .. } => sink.feed(Message::text("ping")).await?,
                    Effect::Close { reason, .. } => return Err(format!("a member's link was closed: {reason}").into()),
                    Effect::PeerUp { .. } => up.send(()).await?,
                    Effect::Appended { result, .. } => {
                        let ids = result?;
                        if let (Some(id), Some(began)) = (ids.first(), began.take()) {
                            times.begin(id.author, id.height, began);
                        }
                    }
                    Effect::Added(added) if added.block.header().author != self.key.node() => {
                        let header = added.block.header();
                        if added.block.entries().iter().any(|entry| entry.kind == Kind::DATA) {
                            times.end(header.author, header.height);
                        }
                    }
                    _ => {}
                }
            }
            sink.flush().await?;
            let wake = self.replica.next_wake().map_or(60_000_000, |due| due.since(now()));
            let wake = tokio::time::Instant::now() + Duration::from_micros(wake);
            let input = tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => Input::Frame { link: LINK, bytes: bytes.into() },
                    Some(Ok(Message::Text(_))) => Input::Pong { link: LINK },
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                    other => return Err(format!("a member was sent away: {other:?}").into()),
                },
                entry = entries.recv() => match entry {
                    Some(()) => {
                        began = Some(Instant::now());
                        Input::Append { token: 0, payloads: vec![[b"\"", &[b'x'; ENTRY][..], b"\""].concat()] }
                    }
                    None => return Ok(()),
                },
                () = sleep_until(wake) => Input::Wake,
            };
            self.turn(vec![input])?;
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::MAX)
}
