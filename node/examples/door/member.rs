//! Two members of a ledger of their own, in memory, linked to the relay as nodes are.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::{
    FutureExt, SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use shared::{
    BlockHash, Config, Effect, EpochKey, Input, Key, Kind, LedgerId, LinkId, MemoryStore, NodeId, Page, ReadStore,
    Replica, Timestamp, Token,
    effect::Wish,
    members::{self, Genesis, Join},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::sleep_until,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
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
/// Members who come in by one invite.
const USES: usize = 100;
/// Blocks that are taken in at once.
const BATCH: usize = 256;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// When each entry was handed in that has not come to the other member yet.
type Begun = BTreeMap<(NodeId, u64), Instant>;

/// When each entry was handed in, and how long those took that have come to the other member.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    begun: Begun,
    /// Those that came before their author had noted when it handed them in.
    early: BTreeSet<(NodeId, u64)>,
    took: Vec<Duration>,
}

impl Times {
    fn begin(&self, author: NodeId, height: u64, at: Instant) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.early.remove(&(author, height)) {
            times.took.push(at.elapsed());
        } else {
            times.begun.insert((author, height), at);
        }
    }

    fn end(&self, author: NodeId, height: u64) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match times.begun.remove(&(author, height)) {
            Some(began) => times.took.push(began.elapsed()),
            None => _ = times.early.insert((author, height)),
        }
    }

    /// What came since the last time, ascending; and how many have not come yet.
    pub(crate) fn take(&self) -> (Vec<Duration>, usize) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took = std::mem::take(&mut times.took);
        took.sort_unstable();
        (took, times.begun.len())
    }
}

/// A founder and so many members whom it let in, the founder's history, and the ledger's id. The guests have nothing of the ledger yet.
pub(crate) fn crowd(members: usize) -> Result<(Member, Vec<Member>, LedgerId), Error> {
    let salt = random()?;
    let key = Key::from_secret(&random()?);
    let ledger = Genesis { founder: key.node(), salt }.ledger();
    let mut founder = Member::new(ledger, key, None, None)?;
    founder.grant(Wish::Found { salt })?;
    let mut guests = Vec::new();
    while guests.len() < members {
        let uses = (members - guests.len()).min(USES);
        let secret = Key::from_secret(&random()?);
        let wish = Wish::Invite {
            key: secret.node(),
            role: members::Role::Member,
            uses: uses as u32,
            expires: Timestamp::MAX,
        };
        let invite = founder.grant(wish)?;
        let epoch = founder.replica.keys().current().cloned();
        let mut joins = Vec::new();
        for _ in 0..uses {
            let key = Key::from_secret(&random()?);
            let join = Join::sign(&secret, &ledger, invite, &key.node()).block(ledger, &key, now(), now(), random()?);
            joins.push(join.bytes().to_vec());
            guests.push(Member::new(ledger, key, joins.last().cloned(), epoch.clone())?);
        }
        founder.import(&joins)?;
    }
    Ok((founder, guests, ledger))
}

/// A member before it is linked.
pub(crate) struct Member {
    replica: Replica<MemoryStore>,
    key: Key,
    effects: Vec<Effect>,
}

/// A founder and whom it invites.
pub(crate) fn group() -> Result<(Vec<Member>, LedgerId), Error> {
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
    Ok((vec![founder, guest], ledger))
}

/// So many members who come in by an invite, and the ledger's id.
pub(crate) fn invited(token: &Token, members: usize) -> Result<(Vec<Member>, LedgerId), Error> {
    let ledger = Genesis::decode(&token.genesis).ok_or("the invite's genesis")?.ledger();
    let secret = Key::from_secret(&token.secret);
    let come = || -> Result<Member, Error> {
        let key = Key::from_secret(&random()?);
        let join = Join::sign(&secret, &ledger, token.invite, &key.node());
        let block = join.block(ledger, &key, token.end, now(), random()?);
        Member::new(ledger, key, Some(block.bytes().to_vec()), token.key.clone())
    };
    let members = (0..members).map(|_| come()).collect::<Result<_, _>>()?;
    Ok((members, ledger))
}

impl Member {
    fn new(ledger: LedgerId, key: Key, join: Option<Vec<u8>>, epoch: Option<EpochKey>) -> Result<Self, Error> {
        let config = Config { writes: true, join, epoch, ..Config::new(ledger, key.clone(), random()?) };
        let mut effects = Vec::new();
        let replica = Replica::restore(config, MemoryStore::default(), &[], now(), &mut effects)?;
        Ok(Self { replica, key, effects })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.key.node()
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn height(&self) -> u64 {
        self.replica.height(&self.node())
    }

    /// Writes so many blocks.
    pub(crate) fn write(&mut self, blocks: usize) -> Result<Vec<Vec<u8>>, Error> {
        let effects = self.effects.len();
        for _ in 0..blocks {
            self.turn(vec![Input::Append { token: 0, payloads: vec![b"1".to_vec()] }])?;
        }
        let added = self.effects[effects..].iter().filter_map(|effect| match effect {
            Effect::Added(added) => Some(added.block.bytes().to_vec()),
            _ => None,
        });
        Ok(added.collect())
    }

    pub(crate) fn turn(&mut self, inputs: Vec<Input>) -> Result<(), Error> {
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

    /// Takes in what others wrote.
    fn import(&mut self, blocks: &[Vec<u8>]) -> Result<(), Error> {
        for blocks in blocks.chunks(BATCH) {
            self.turn(vec![Input::import(0, blocks.to_vec())])?;
            self.effects.clear();
        }
        Ok(())
    }

    pub(crate) fn history(&self) -> Vec<Vec<u8>> {
        let all = Page { blocks: usize::MAX, bytes: usize::MAX };
        let Ok(records) = self.replica.store().after(None, all);
        records.into_iter().map(|record| record.bytes).collect()
    }

    async fn link(self, room: &str) -> Result<Linked, Error> {
        self.over(connect(room).await?)
    }

    pub(crate) fn over(mut self, socket: Socket) -> Result<Linked, Error> {
        let (sink, stream) = socket.split();
        self.turn(vec![Input::relay_opened(LINK, shared::Role::Dialled)])?;
        Ok(Linked { member: self, sink, stream })
    }

    /// Links to the relay until `entries` is closed; each number is an entry to write. Says by `up` that it is in.
    pub(crate) async fn run(
        self,
        room: String,
        mut entries: mpsc::Receiver<()>,
        up: mpsc::Sender<()>,
        times: Times,
    ) -> Result<(), Error> {
        let me = self.key.node();
        let mut linked = self.link(&room).await?;
        let mut began = None;
        loop {
            for effect in linked.act().await? {
                match effect {
                    Effect::PeerUp { .. } => up.send(()).await?,
                    Effect::Appended { result, .. } => {
                        let ids = result?;
                        if let (Some(id), Some(began)) = (ids.first(), began.take()) {
                            times.begin(id.author, id.height, began);
                        }
                    }
                    Effect::Added(added) if added.block.header().author != me => {
                        let header = added.block.header();
                        if added.block.entries().iter().any(|entry| entry.kind == Kind::DATA) {
                            times.end(header.author, header.height);
                        }
                    }
                    _ => {}
                }
            }
            let input = tokio::select! {
                input = linked.next() => input?,
                entry = entries.recv() => match entry {
                    Some(()) => {
                        began = Some(Instant::now());
                        Input::Append { token: 0, payloads: vec![[b"\"", &[b'x'; ENTRY][..], b"\""].concat()] }
                    }
                    None => return Ok(()),
                },
            };
            linked.member.turn(vec![input])?;
        }
    }

    /// Links to the relay and removes `member` when it is told to.
    pub(crate) async fn remove(
        self,
        room: String,
        member: NodeId,
        now: oneshot::Receiver<()>,
        up: mpsc::Sender<()>,
    ) -> Result<(), Error> {
        let me = self.node();
        let mut linked = self.link(&room).await?;
        let mut now = pin!(now.fuse());
        loop {
            for effect in linked.act().await? {
                match effect {
                    // The relay has all that was written so far.
                    Effect::Held { height, .. } if height == linked.member.replica.height(&me) => up.send(()).await?,
                    Effect::Granted { result, .. } => _ = result?,
                    _ => {}
                }
            }
            let input = tokio::select! {
                input = linked.next() => input?,
                Ok(()) = &mut now => Input::Control { token: 0, wish: Wish::Remove { member } },
            };
            linked.member.turn(vec![input])?;
        }
    }

    /// Links to the relay and says when it has heard that `member` is removed.
    pub(crate) async fn hear(
        mut self,
        room: String,
        history: Arc<Vec<Vec<u8>>>,
        member: NodeId,
        up: mpsc::Sender<()>,
        heard: mpsc::Sender<Instant>,
    ) -> Result<(), Error> {
        self.import(&history)?;
        drop(history);
        let mut linked = self.link(&room).await?;
        loop {
            for effect in linked.act().await? {
                match effect {
                    Effect::PeerUp { .. } => up.send(()).await?,
                    Effect::Removed(removal) if removal.lane().0 == member => heard.send(Instant::now()).await?,
                    _ => {}
                }
            }
            let input = linked.next().await?;
            linked.member.turn(vec![input])?;
        }
    }
}

/// A connection to the relay or a node.
pub(crate) async fn connect(room: &str) -> Result<Socket, Error> {
    let mut request = room.into_client_request()?;
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(SECRET));
    Ok(connect_async_with_config(request, None, true).await?.0)
}

/// A member and its link to the relay.
pub(crate) struct Linked {
    pub(crate) member: Member,
    pub(crate) sink: SplitSink<Socket, Message>,
    pub(crate) stream: SplitStream<Socket>,
}

impl Linked {
    /// The member without its link.
    pub(crate) fn unlink(mut self) -> Result<Member, Error> {
        self.member.turn(vec![Input::LinkClosed { link: LINK }])?;
        self.member.effects.clear();
        Ok(self.member)
    }

    /// Sends nothing of what is to be sent.
    pub(crate) fn quiet(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.member.effects)
    }

    /// Sends what is to be sent; returns what else there is to do.
    pub(crate) async fn act(&mut self) -> Result<Vec<Effect>, Error> {
        let mut others = Vec::new();
        for effect in std::mem::take(&mut self.member.effects) {
            match effect {
                Effect::Send { bytes, .. } => self.sink.feed(Message::binary(bytes)).await?,
                Effect::Ping { .. } => self.sink.feed(Message::text("ping")).await?,
                Effect::Pong { .. } => self.sink.feed(Message::text("pong")).await?,
                Effect::Close { reason, .. } => return Err(format!("a member's link was closed: {reason}").into()),
                other => others.push(other),
            }
        }
        self.sink.flush().await?;
        Ok(others)
    }

    /// What comes next from the relay, or because it is time.
    pub(crate) async fn next(&mut self) -> Result<Input, Error> {
        let wake = self.member.replica.next_wake().map_or(60_000_000, |due| due.since(now()));
        let wake = tokio::time::Instant::now() + Duration::from_micros(wake);
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                () = sleep_until(wake) => return Ok(Input::Wake),
            };
            return match message {
                Some(Ok(Message::Binary(bytes))) => Ok(Input::Frame { link: LINK, bytes: bytes.into() }),
                Some(Ok(Message::Text(text))) if text == "ping" => Ok(Input::Ping { link: LINK }),
                Some(Ok(Message::Text(_))) => Ok(Input::Pong { link: LINK }),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                other => Err(format!("a member was sent away: {other:?}").into()),
            };
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::MAX)
}
