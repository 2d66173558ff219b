//! The handle to the thread that owns the replica: everything in the node reaches the ledger through it.

use std::{
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Instant,
};

use shared::{
    Address, AppendError, BlockHash, DialId, DirectedError, EntryId, EpochKey, Evidence, Keyring, LedgerId, LinkId,
    LinkPath, NodeId, Role, Timestamp, Token, TokenError,
    effect::{ImportReport, Wish, WishError},
    limits::{TOKEN_RELAY_BYTES, TOKEN_RELAYS},
    members,
    replica::{OpenError, ReplicaError},
    view::{EntryView, ViewError},
};
use thiserror::Error;
use tokio::sync::{
    Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, broadcast, mpsc,
    oneshot::{self, error::TryRecvError},
};

use crate::{
    data::Opened,
    keys::KeyError,
    ledgers::{Joining, LedgerInfo},
    link::{RelayBoard, peer::Wanted},
    search::{Lookup, Search, SearchError},
    store::{Beginning, SqliteReader, StoreError},
};

mod ahead;
mod describe;
mod shown;
mod status;
mod turn;

use ahead::Proved;
pub use shown::{Appended, Shown};
pub use status::{Held, InviteInfo, Lane, LinkInfo, MemberInfo, Parked, PeerInfo, Status, Tip, Totals};
use turn::{Command, Shared, Turns};

/// KiB of commands that wait for the turn thread, in all. A command costs at least one.
const QUEUE_KIB: usize = 16 * 1024;
/// Events that a listener may lag behind before it has to read the store.
const EVENTS: usize = 256;
/// Messages of other nodes to this one alone that wait for who reads them.
const RECEIVED: usize = 64;
/// Read-only connections to the store.
const READERS: usize = 4;
/// Frames that wait for one link's socket. The replica's credit keeps what is in flight far below.
const LINK_QUEUE: usize = 1024;
/// Frames of one link that wait for the turn thread. A peer that sends more waits, and not everybody else behind it.
const LINK_WAITING: usize = 64;

/// How a host begins.
#[derive(Debug, Default)]
pub struct Start {
    /// How many relays and given `peers` the node dials: before it writes, it learns from them how far its own lane goes. Each first dial
    /// that fails is told by [`Host::dial_failed`].
    pub dials: u32,
    /// Whether blocks of the store may be missing: the replica asks its links for them and does little else.
    pub repairs: bool,
    /// The key that came with the invite, for a node that joins.
    pub epoch: Option<EpochKey>,
    /// Whether and how it links to other nodes directly.
    pub meeting: Option<Meeting>,
}

/// How a node links to others directly.
#[derive(Debug)]
pub struct Meeting {
    /// Where others are, as this node's owner says.
    pub peers: Vec<Address>,
    /// Whether it goes out of the local network to whom it was not told of by its owner.
    pub far: bool,
    /// Takes what is to be dialled.
    pub dials: mpsc::UnboundedSender<Wanted>,
}

/// What an invite offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// What newcomers may do.
    pub role: members::Role,
    /// How many may come in.
    pub uses: u32,
    /// Until when; [`Timestamp::MAX`]: for ever.
    pub expires: Timestamp,
}

/// Why a host cannot start, or why it stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// The replica refuses the store.
    #[error(transparent)]
    Open(#[from] OpenError<StoreError>),
    /// The store failed: what it holds now is known only after it is read again.
    #[error("this node stops before it says anything that may not be durable: {0}")]
    Failed(#[from] ReplicaError<StoreError>),
    /// Blocks are known to be missing.
    #[error(
        "{0} blocks of the store are damaged or missing: `cairn verify --repair` fetches them again from other nodes"
    )]
    Incomplete(usize),
    /// Somebody who read the store found it damaged.
    #[error("this node stops because its store is damaged: {0}; `cairn verify --repair` mends it from other nodes")]
    Damaged(String),
    /// The node goes on with its successor's key, but the key files do not say so yet. The next start does the rest.
    #[error("the successor's key cannot be put in its place: {0}")]
    Key(#[from] KeyError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The operating system started no thread.
    #[error("the turn thread cannot start: {0}")]
    Thread(#[from] io::Error),
    /// The turn thread panicked.
    #[error("the turn thread ended by a bug")]
    Panicked,
}

/// The turn thread is gone: the node is stopping, or its store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this node is stopping")]
pub struct Stopped;

/// Why a read gave nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What will resolve when the turn that handles a command is durable.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<T>);

impl<T> Pending<T> {
    /// The result, if it is there already.
    pub fn now(&mut self) -> Option<Result<T, Stopped>> {
        match self.0.try_recv() {
            Ok(result) => Some(Ok(result)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(Stopped)),
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| Stopped)
    }
}

/// Something that listeners may want to know. Everything in it is durable.
#[derive(Debug, Clone)]
pub enum Event {
    /// A block is in the ledger.
    Added {
        /// Its arrival number here.
        seq: u64,
        /// What is shown of it.
        block: Arc<Shown>,
    },
    /// A block that was damaged or missing is in its place again.
    Repaired {
        /// Which block.
        hash: BlockHash,
    },
    /// What follows `from` in ledger order has changed (`None`: from the beginning).
    OrderChanged {
        /// The last entry before the change.
        from: Option<EntryId>,
    },
    /// The payload of an entry was erased.
    Erased {
        /// Which entry.
        entry: EntryId,
        /// Who erased it.
        by: NodeId,
        /// When.
        at: Timestamp,
    },
    /// An author signed two blocks of one height.
    ForkDetected(Arc<Evidence>),
    /// This node goes on with another key.
    Succeeded {
        /// Who it was.
        old: NodeId,
        /// Who it is.
        new: NodeId,
    },
    /// More or fewer linked nodes hold this node's own blocks up to a height.
    Held {
        /// The height in this node's lane.
        height: u64,
        /// How many nodes.
        nodes: u32,
    },
    /// How far the exchange over a link is, in blocks.
    Progress {
        /// Received.
        done: u64,
        /// To be received in all.
        total: u64,
    },
    /// A linked node came or went.
    PeersChanged,
    /// Another node came on line, over whatever way, or is gone.
    Presence {
        /// Who.
        node: NodeId,
        /// Whether it is there.
        online: bool,
    },
    /// Somebody came in, was removed or is called otherwise, or what was sealed before can be read now.
    MembersChanged,
}

/// What another node says to this one alone.
#[derive(Debug)]
pub struct Received {
    /// Who.
    pub sender: NodeId,
    /// What.
    pub body: Vec<u8>,
}

/// What a link's socket is to do.
#[derive(Debug)]
pub enum LinkCommand {
    /// Send a binary frame.
    Frame(Vec<u8>),
    /// Send the text frame `ping`.
    Ping,
    /// Send the text frame `pong`.
    Pong,
    /// Nothing to send: the peer has proved that it is this node.
    PeerUp(NodeId),
    /// Close the connection with this code and reason.
    Close {
        /// Of the close frame.
        code: u16,
        /// Of the close frame.
        reason: String,
    },
}

/// What a connection holds of the host while it is open: dropping it tells the replica that the link is gone.
#[derive(Debug)]
pub struct LinkPort {
    id: LinkId,
    host: Host,
    waiting: Arc<Semaphore>,
    proved: Arc<Proved>,
}

impl LinkPort {
    /// The link's number.
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// A binary frame came. Waits for a place in the queue.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn frame(&self, bytes: Vec<u8>) -> Result<(), Stopped> {
        let place = self.waiting.clone().acquire_owned().await.map_err(|_| Stopped)?;
        let len = bytes.len();
        let command = self.proved.frame(self.id, bytes).await?;
        self.host.queue(len, command, Some(place)).await
    }

    /// A text frame `ping` came.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn ping(&self) -> Result<(), Stopped> {
        self.host.send(0, Command::Ping { link: self.id }).await
    }

    /// A text frame `pong` came.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn pong(&self) -> Result<(), Stopped> {
        self.host.send(0, Command::Pong { link: self.id }).await
    }
}

impl Drop for LinkPort {
    fn drop(&mut self) {
        // One command per open link, so this needs no place in the queue to be bounded.
        self.host.inner.send_now(Command::LinkClosed { link: self.id });
    }
}

/// A command and its place in the queue, which is free again when the turn takes it.
#[derive(Debug)]
struct Queued {
    command: Command,
    _place: Option<OwnedSemaphorePermit>,
    /// Its place among those of its link.
    _link_place: Option<OwnedSemaphorePermit>,
}

/// The keys of the ledger, which the turn thread exchanges when they become more.
#[derive(Debug, Clone, Default)]
struct Keys(Arc<RwLock<Arc<Keyring>>>);

impl Keys {
    fn get(&self) -> Arc<Keyring> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, keys: &Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys.clone());
    }
}

/// Why there is no invite.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The ledger refuses it.
    #[error(transparent)]
    Wish(#[from] WishError),
    /// No link can carry it.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Who writes in the store: this node, and behind it whom it was before, the latest first.
#[derive(Debug, Default)]
struct Identity(RwLock<Vec<NodeId>>);

impl Identity {
    fn read(&self) -> RwLockReadGuard<'_, Vec<NodeId>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, node: NodeId, mut former: Vec<NodeId>) {
        former.retain(|former| *former != node);
        former.push(node);
        former.reverse();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = former;
    }
}

#[derive(Debug)]
struct Inner {
    identity: Arc<Identity>,
    ledger: LedgerId,
    beginning: Beginning,
    started: Instant,
    places: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<Queued>,
    events: broadcast::Sender<Event>,
    last_seq: Arc<AtomicU64>,
    keys: Keys,
    next_link: AtomicU64,
    path: PathBuf,
    readers: Mutex<Vec<SqliteReader>>,
    reading: Arc<Semaphore>,
    importing: AsyncMutex<()>,
    search: Search,
    relays: RelayBoard,
    received: Mutex<Option<mpsc::Receiver<Received>>>,
}

impl Inner {
    fn send_now(&self, command: Command) {
        // Fails only when the turn thread is gone, and then nobody waits for this command.
        _ = self.queue.send(Queued { command, _place: None, _link_place: None });
    }
}

/// A cheap handle to the turn thread. The thread ends when the last handle is dropped, or by [`Host::stop`].
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

/// The same for whoever is not to keep the turn thread from ending.
#[derive(Debug, Clone)]
pub(crate) struct WeakHost(Weak<Inner>);

impl WeakHost {
    pub(crate) fn upgrade(&self) -> Option<Host> {
        self.0.upgrade().map(|inner| Host { inner })
    }
}

/// The turn thread itself, held by whoever has to know how it ended.
#[derive(Debug)]
pub struct HostThread {
    ended: oneshot::Receiver<Result<(), HostError>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl HostThread {
    /// Waits for the end of the turn thread. Its store is closed then.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn ended(&mut self) -> Result<(), HostError> {
        let result = (&mut self.ended).await.unwrap_or(Err(HostError::Panicked));
        if let Some(thread) = self.thread.take() {
            // It sent its result as its last act, so this does not block; a panic is in the result already.
            _ = thread.join();
        }
        result
    }
}

impl Host {
    /// Takes up what the store holds and starts the turn thread. It writes at once.
    ///
    /// # Errors
    /// When the store cannot be read or holds another ledger, or blocks of it are known to be missing.
    pub fn start(opened: Opened) -> Result<(Host, HostThread), HostError> {
        Self::start_with(opened, Start::default())
    }

    /// The same, with more to say of how it begins.
    ///
    /// # Errors
    /// When the store cannot be read or holds another ledger, or blocks of it are known to be missing and `start` does not
    /// expect that.
    pub fn start_with(opened: Opened, start: Start) -> Result<(Host, HostThread), HostError> {
        let Opened { store, key, beginning, ledger } = opened;
        let path = store.path().to_owned();
        let (queue, commands) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(EVENTS);
        let (take, received) = mpsc::channel(RECEIVED);
        let last_seq = Arc::new(AtomicU64::new(0));
        let (relays, keys) = (RelayBoard::default(), Keys::default());
        let identity = Arc::new(Identity::default());
        let shared = Shared {
            events: events.clone(),
            last_seq: last_seq.clone(),
            identity: identity.clone(),
            keys: keys.clone(),
            received: take,
        };
        let repairs = start.repairs;
        let turns = Turns::open(store, beginning.clone(), key, start, shared)?;
        if turns.missing() > 0 && !repairs {
            return Err(HostError::Incomplete(turns.missing()));
        }
        let inner = Inner {
            identity,
            ledger,
            beginning,
            started: Instant::now(),
            places: Arc::new(Semaphore::new(QUEUE_KIB)),
            queue,
            events,
            last_seq,
            keys,
            next_link: AtomicU64::new(1),
            path,
            readers: Mutex::new(Vec::new()),
            reading: Arc::new(Semaphore::new(READERS)),
            importing: AsyncMutex::default(),
            search: Search::default(),
            relays,
            received: Mutex::new(Some(received)),
        };
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("turn".to_owned()).spawn(move || {
            // Nobody listens any more when the process is ending, and then nobody needs the result.
            _ = end.send(turns.run(commands));
        })?;
        Ok((Host { inner: Arc::new(inner) }, HostThread { ended, thread: Some(thread) }))
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.inner.identity.read()[0]
    }

    /// Whether this node has, or had, this id. What it said under its former ids about its own store still holds.
    pub fn is_or_was(&self, node: &NodeId) -> bool {
        self.inner.identity.read().contains(node)
    }

    /// The ledger.
    pub fn ledger(&self) -> LedgerId {
        self.inner.ledger
    }

    /// What the ledger begins with.
    pub fn beginning(&self) -> &Beginning {
        &self.inner.beginning
    }

    /// The keys that open what is sealed in the ledger, as far as they are here.
    pub fn keys(&self) -> Arc<Keyring> {
        self.inner.keys.get()
    }

    /// The relays and how their links are.
    pub fn relays(&self) -> &RelayBoard {
        &self.inner.relays
    }

    /// Arrival number of the newest durable block. It is set before the event of that block is sent.
    pub fn last_seq(&self) -> u64 {
        self.inner.last_seq.load(Ordering::Acquire)
    }

    /// What happens from now on. A receiver that lags reads what it missed from the store by arrival number.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Waits for a place in the bounded queue, then returns what will resolve when the entries are durable. Calls made
    /// in order are appended in order.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn append(&self, payloads: Vec<Vec<u8>>) -> Result<Pending<Result<Vec<Appended>, AppendError>>, Stopped> {
        let (reply, pending) = oneshot::channel();
        let bytes = payloads.iter().map(|payload| payload.len() + size_of::<Vec<u8>>()).sum();
        self.send(bytes, Command::Append { payloads, reply }).await?;
        Ok(Pending(pending))
    }

    /// Adds encoded blocks, parents before children, and tells what became of them when they are durable.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn import(&self, blocks: Vec<Vec<u8>>) -> Result<ImportReport, Stopped> {
        let (reply, pending) = oneshot::channel();
        let bytes = blocks.iter().map(Vec::len).sum();
        {
            // What is asked for first is first in the queue, whichever is checked sooner.
            let _turn = self.inner.importing.lock().await;
            let blocks = ahead::blocks(blocks).await?;
            self.send(bytes, Command::Import { blocks, reply }).await?;
        }
        Pending(pending).await
    }

    /// Changes who belongs to the ledger or what something is called. Resolves when it is durable.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn control(&self, wish: Wish) -> Result<Result<BlockHash, WishError>, Stopped> {
        let (reply, pending) = oneshot::channel();
        self.send(0, Command::Control { wish, reply }).await?;
        Pending(pending).await
    }

    /// Tries another invite than the one by which this node did not come in so far. Resolves when it is noted, and when nothing is to
    /// be done because the node is in by now. All links are closed for it and opened again.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn rejoin(&self, joining: Joining) -> Result<(), Stopped> {
        let (reply, pending) = oneshot::channel();
        self.send(0, Command::Rejoin { joining: Box::new(joining), reply }).await?;
        Pending(pending).await
    }

    /// Says something to one other node. Resolves when it is on its way; nothing tells whether it arrives.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn direct(&self, recipient: NodeId, body: Vec<u8>) -> Result<Result<(), DirectedError>, Stopped> {
        let (reply, pending) = oneshot::channel();
        self.send(body.len(), Command::Direct { recipient, body, reply }).await?;
        Pending(pending).await
    }

    /// What other nodes say to this one alone, for the first who asks. Ends when the node stops.
    pub fn received(&self) -> Option<mpsc::Receiver<Received>> {
        self.inner.received.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Writes an invite, and tells what a newcomer needs to come in by it. `relays` is where the newcomer finds the ledger;
    /// those that have no place in a link are left out.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn invite(&self, offer: Offer, mut relays: Vec<String>) -> Result<Result<Token, InviteError>, Stopped> {
        relays.retain(|relay| relay.len() <= TOKEN_RELAY_BYTES);
        relays.truncate(TOKEN_RELAYS);
        let (reply, pending) = oneshot::channel();
        self.send(0, Command::Invite { offer, relays, reply }).await?;
        Pending(pending).await
    }

    /// Everybody who came in. Nobody in an open ledger.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn members(&self) -> Result<Vec<MemberInfo>, Stopped> {
        let (reply, pending) = oneshot::channel();
        self.send(0, Command::Members { reply }).await?;
        Pending(pending).await
    }

    /// The latest invites, closed ones too.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn invites(&self) -> Result<Vec<InviteInfo>, Stopped> {
        let (reply, pending) = oneshot::channel();
        self.send(0, Command::Invites { reply }).await?;
        Pending(pending).await
    }

    /// Runs `f` over one consistent view of the store, on a thread where it may take its time.
    ///
    /// # Errors
    /// When the store cannot be read, or the node is stopping.
    pub async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&SqliteReader) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let place = self.inner.reading.clone().acquire_owned().await.map_err(|_| Stopped)?;
        let inner = self.inner.clone();
        let task = tokio::task::spawn_blocking(move || {
            // Whoever has a place takes a connection that is free, or opens one: there are never more than places.
            let free = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = free.map_or_else(|| SqliteReader::open(&inner.path), Ok)?;
            let result = reader.snapshot(f);
            inner.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            drop(place);
            result.map_err(ReadError::from)
        });
        let result = task.await.map_err(|_| Stopped)?;
        if let Err(ReadError::Store(error)) = &result {
            self.check_damage(error);
        }
        result
    }

    /// The same for what is to be shown: a block that is not what it was ends the node, whoever finds it.
    ///
    /// # Errors
    /// When the store cannot be read, or the node is stopping.
    pub async fn view<T: Send + 'static>(
        &self,
        f: impl FnOnce(&SqliteReader, &Keyring) -> Result<T, ViewError<StoreError>> + Send + 'static,
    ) -> Result<Result<T, ViewError<StoreError>>, ReadError> {
        let inner = self.inner.clone();
        // What the view shows was stored before it was opened, and the keys to it were there then.
        let result = self.read(move |store| f(store, &inner.keys.get())).await?;
        match &result {
            Err(ViewError::Store(error)) => self.check_damage(error),
            Err(error @ ViewError::Damaged { .. }) => self.found_damage(error.to_string()),
            _ => {}
        }
        Ok(result)
    }

    fn check_damage(&self, error: &StoreError) {
        if error.is_damage() {
            self.found_damage(error.to_string());
        }
    }

    fn found_damage(&self, what: String) {
        self.inner.send_now(Command::Damaged { what });
    }

    /// The newest entries with some words, the newest first.
    ///
    /// # Errors
    /// When the ledger cannot be read, or has not the entry before which is searched.
    pub async fn search(&self, lookup: Lookup) -> Result<Vec<EntryView>, SearchError> {
        self.inner.search.find(WeakHost(Arc::downgrade(&self.inner)), lookup).await
    }

    /// The nodes that have a block of this height in a lane, as far as this one knows: itself first, which has it.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn holders(&self, lane: NodeId, height: u64) -> Result<Vec<NodeId>, Stopped> {
        let (reply, pending) = oneshot::channel();
        self.send(0, Command::Holders { lane, height, reply }).await?;
        Pending(pending).await
    }

    /// How the node is.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn status(&self) -> Result<Status, Stopped> {
        let (reply, pending) = oneshot::channel();
        self.send(0, Command::Status { reply }).await?;
        let mut status = Pending(pending).await?;
        status.former_nodes = self.inner.identity.read()[1..].iter().map(ToString::to_string).collect();
        status.uptime_seconds = self.inner.started.elapsed().as_secs();
        status.relays = self.inner.relays.snapshot();
        Ok(status)
    }

    /// What this ledger looks like among others.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn info(&self, default: bool) -> Result<LedgerInfo, Stopped> {
        let Status { ledger, name, open, node, .. } = self.status().await?;
        Ok(LedgerInfo { id: ledger, name, open, node, default })
    }

    /// Takes up a connection to another replica. The receiver says what to send, until it ends: then the link is over,
    /// and its socket is to be closed.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn open_link(
        &self,
        role: Role,
        path: LinkPath,
        dial: Option<DialId>,
    ) -> Result<(LinkPort, mpsc::Receiver<LinkCommand>), Stopped> {
        let id = LinkId(self.inner.next_link.fetch_add(1, Ordering::Relaxed));
        let (queue, commands) = mpsc::channel(LINK_QUEUE);
        let proved = Arc::new(Proved::default());
        self.send(0, Command::LinkOpened { link: id, role, path, dial, queue, proved: proved.clone() }).await?;
        let waiting = Arc::new(Semaphore::new(LINK_WAITING));
        Ok((LinkPort { id, host: self.clone(), waiting, proved }, commands))
    }

    /// The first attempt to dial a relay failed.
    pub fn dial_failed(&self) {
        // One command for each configured relay.
        self.inner.send_now(Command::DialFailed);
    }

    /// None of the addresses of a wanted dial led anywhere.
    pub fn unreachable(&self, dial: DialId) {
        // One command for each dial that was wanted.
        self.inner.send_now(Command::Unreachable { dial });
    }

    /// Where other nodes reach this one.
    pub fn reachable(&self, addresses: Vec<Address>) {
        // Said now and then by one task.
        self.inner.send_now(Command::Reachable { addresses });
    }

    /// An endpoint of this ledger shows itself on the local network.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn found(&self, addresses: Vec<Address>) -> Result<(), Stopped> {
        self.send(0, Command::Found { addresses }).await
    }

    /// Tells other nodes that this one is about to stop. What they are told is with the links' sockets when this returns.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn leave(&self) -> Result<(), Stopped> {
        let (reply, pending) = oneshot::channel();
        self.send(0, Command::Leave { reply }).await?;
        Pending(pending).await
    }

    /// The network of this machine has changed.
    pub fn network_changed(&self) {
        // Said now and then by one task.
        self.inner.send_now(Command::NetworkChanged);
    }

    /// Ends the turn thread after what waits already: the turn is finished, links are closed, the store is closed.
    pub fn stop(&self) {
        self.inner.send_now(Command::Stop);
    }

    async fn send(&self, bytes: usize, command: Command) -> Result<(), Stopped> {
        self.queue(bytes, command, None).await
    }

    async fn queue(
        &self,
        bytes: usize,
        command: Command,
        link_place: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Stopped> {
        let places = (1 + bytes / 1024).min(QUEUE_KIB) as u32;
        let place = self.inner.places.clone().acquire_many_owned(places).await.map_err(|_| Stopped)?;
        let queued = Queued { command, _place: Some(place), _link_place: link_place };
        self.inner.queue.send(queued).map_err(|_| Stopped)
    }
}

#[cfg(test)]
mod tests;
