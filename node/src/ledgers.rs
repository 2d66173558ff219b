//! The ledgers that a node serves: each has a host of its own, links of its own, and a place where clients find it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use shared::{Address, LedgerId};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
};

use crate::{
    admission::Admission,
    config::RelayUrl,
    data::{DataError, LedgerDir, LockedDir},
    host::{Host, HostError, HostThread, Meeting, Start},
    link::{
        self, Network, RelaySecret,
        peer::{Meeter, Reached},
    },
};

mod making;

use making::Maker;
pub use making::{Joining, LEDGERS_OF_CLIENTS, MakeError, found};

/// Orders that wait for who owns the hosts.
const ORDERS: usize = 64;

/// What a client sees of the choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerInfo {
    /// The ledger's id.
    pub id: String,
    /// Its name, where it is known.
    pub name: String,
    /// Whether whoever knows the name may write.
    pub open: bool,
    /// This node in it.
    pub node: String,
    /// Whether this is the ledger of whoever names none.
    pub default: bool,
}

/// Why a ledger is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It cannot be opened.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Its host cannot start, or failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A part of it ended that never should.
    #[error("{what} ended by a bug: {error}")]
    Bug {
        /// Which part.
        what: &'static str,
        /// How.
        error: JoinError,
    },
}

/// Opens the way for clients to one more ledger.
type Door = Box<dyn Fn(&Host) + Send + Sync>;

#[derive(Default)]
struct Inner {
    /// The default one first. They become more, never fewer.
    hosts: Vec<Host>,
    doors: Vec<Door>,
}

/// A cheap handle to the ledgers that are served.
#[derive(Clone)]
pub struct Ledgers {
    inner: Arc<RwLock<Inner>>,
    orders: mpsc::Sender<Order>,
    /// None: they never become more.
    maker: Option<Arc<Maker>>,
}

impl fmt::Debug for Ledgers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.all();
        f.debug_list().entries(hosts.iter().map(Host::ledger)).finish()
    }
}

/// What whoever owns the hosts is asked for.
enum Order {
    /// Serve this one too.
    Serve { ledger: LedgerId, reply: oneshot::Sender<Result<Host, LedgerError>> },
    /// See a link to its end.
    Follow(Following),
}

/// A link's whole life.
pub(crate) type Following = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a node reaches others, in every ledger.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Linked to for each ledger, beside those that came with it.
    pub relays: Vec<RelayUrl>,
    /// For relays that this node's owner chose.
    pub secret: Option<RelaySecret>,
    /// Direct links, unless there are to be none.
    pub direct: Option<Direct>,
    /// The machine's own network.
    pub network: Network,
}

/// Direct links of a node.
#[derive(Debug, Clone)]
pub struct Direct {
    /// Where other nodes are, as this node's owner says.
    pub peers: Vec<Address>,
    /// Where this node is.
    pub reached: Reached,
    /// iroh relays, where links may go over the internet; none of them: iroh's own.
    pub internet: Option<Vec<iroh::RelayUrl>>,
    /// Lets in who dials.
    pub(crate) admission: Arc<Admission>,
}

impl Ledgers {
    /// One that never become more, for tests and benches.
    pub fn only(host: Host) -> Self {
        let (orders, _) = mpsc::channel(1);
        Self { inner: Arc::new(RwLock::new(Inner { hosts: vec![host], doors: Vec::new() })), orders, maker: None }
    }

    /// All of them, the default one first.
    pub fn all(&self) -> Vec<Host> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).hosts.clone()
    }

    /// The one that is meant by whoever names none.
    ///
    /// # Panics
    /// Never: a node serves at least one ledger.
    pub fn default_host(&self) -> Host {
        self.all().swap_remove(0)
    }

    /// The host of a ledger.
    pub fn get(&self, ledger: &LedgerId) -> Option<Host> {
        self.all().into_iter().find(|host| host.ledger() == *ledger)
    }

    /// Has `door` opened for every ledger: those that are there, and those that come.
    pub fn at_each(&self, door: impl Fn(&Host) + Send + Sync + 'static) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.hosts.iter().for_each(&door);
        inner.doors.push(Box::new(door));
    }

    /// Serves a ledger that was put into the data directory since the start. Nothing happens where it is served already.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn serve(&self, ledger: LedgerId) -> Result<Option<Host>, LedgerError> {
        let (reply, answer) = oneshot::channel();
        // Nobody takes orders when the node is stopping.
        if self.orders.send(Order::Serve { ledger, reply }).await.is_err() {
            return Ok(None);
        }
        match answer.await {
            Ok(host) => host.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Sees a link to its end, also when the node stops. False where there is no place for it now.
    pub(crate) fn follow(&self, link: Following) -> bool {
        self.orders.try_send(Order::Follow(link)).is_ok()
    }

    fn add(&self, host: Host) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.doors.iter().for_each(|door| door(&host));
        inner.hosts.push(host);
    }
}

/// Who owns the hosts' threads and links, until the node stops.
pub struct Keeper {
    ledgers: Ledgers,
    taken: mpsc::Receiver<Order>,
    reach: Reach,
    threads: JoinSet<Result<(), HostError>>,
    links: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// What else runs for each ledger.
    beside: fn(Host, watch::Receiver<bool>, &mut JoinSet<()>),
}

impl Keeper {
    /// Takes up every ledger of a data directory. `first` is the default one; where there is none it is made, as the open ledger
    /// `wanted`.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn open(
        locked: &LockedDir,
        first: &LedgerDir,
        wanted: Option<&str>,
        reach: Reach,
        beside: fn(Host, watch::Receiver<bool>, &mut JoinSet<()>),
    ) -> Result<Self, LedgerError> {
        let (orders, taken) = mpsc::channel(ORDERS);
        let stop = watch::Sender::new(false);
        let maker = Maker {
            data: locked.dir().clone(),
            relays: reach.relays.clone(),
            network: reach.network.clone(),
            stopped: stop.subscribe(),
            turn: Mutex::new(()),
        };
        let ledgers = Ledgers { inner: Arc::default(), orders, maker: Some(Arc::new(maker)) };
        let (threads, links) = (JoinSet::new(), JoinSet::new());
        let mut keeper = Self { ledgers, taken, reach, threads, links, stop, beside };
        keeper.start(locked, first, wanted)?;
        for dir in locked.dir().ledgers()?.iter().filter(|dir| *dir != first) {
            keeper.start(locked, dir, None)?;
        }
        Ok(keeper)
    }

    /// The handle.
    pub fn ledgers(&self) -> &Ledgers {
        &self.ledgers
    }

    /// Says true when all is to end.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn start(&mut self, locked: &LockedDir, dir: &LedgerDir, wanted: Option<&str>) -> Result<Host, LedgerError> {
        let mut opened = locked.open_in(dir, wanted)?;
        opened.renew_spare()?;
        let relays = link::to_dial(&self.reach.relays, self.reach.secret.as_ref(), opened.store.as_reader())
            .map_err(DataError::from)?;
        let (meeting, wanted) = match &self.reach.direct {
            Some(Direct { peers, internet, .. }) => {
                let (dials, wanted) = mpsc::unbounded_channel();
                (Some(Meeting { peers: peers.clone(), far: internet.is_some(), dials }), Some(wanted))
            }
            None => (None, None),
        };
        let dials = relays.len() + meeting.as_ref().map_or(0, |meeting| meeting.peers.len());
        let dials = u32::try_from(dials).unwrap_or(u32::MAX);
        let secret = opened.key.endpoint_secret(&opened.ledger);
        let (host, thread) = Host::start_with(opened, Start { dials, meeting, ..Start::default() })?;
        self.threads.spawn(ended(thread));
        let (network, stopped) = (&self.reach.network, self.stop.subscribe());
        link::dial(&host, &relays, network, &stopped, &mut self.links);
        network.tell(&host, &stopped, &mut self.links);
        if let (Some(wanted), Some(direct)) = (wanted, self.reach.direct.clone()) {
            let meeter = Meeter { host: host.clone(), secret, direct, network: network.clone() };
            self.links.spawn(meeter.meet(wanted, stopped));
        } else {
            // Nobody links to it, and all know that it is there.
            host.reachable(Vec::new());
        }
        (self.beside)(host.clone(), self.stop.subscribe(), &mut self.links);
        self.ledgers.add(host.clone());
        Ok(host)
    }

    /// Keeps the ledgers until one of them fails, and takes up those that come.
    ///
    /// # Errors
    /// What failed.
    pub async fn keep(&mut self, locked: &LockedDir) -> Result<std::convert::Infallible, LedgerError> {
        loop {
            tokio::select! {
                Some(ended) = self.threads.join_next() => match ended {
                    Ok(Ok(())) => return Err(HostError::Panicked.into()),
                    Ok(Err(error)) => return Err(error.into()),
                    Err(error) => return Err(LedgerError::Bug { what: "a ledger", error }),
                },
                Some(Err(error)) = self.links.join_next() => return Err(LedgerError::Bug { what: "a link", error }),
                Some(order) = self.taken.recv() => match order {
                    Order::Serve { ledger, reply } => {
                        let host = match self.ledgers.get(&ledger) {
                            Some(host) => Ok(host),
                            None => self.start(locked, &locked.dir().further(&ledger), None),
                        };
                        // Whoever asked may have gone; the ledger is served.
                        _ = reply.send(host);
                    }
                    Order::Follow(link) => _ = self.links.spawn(link),
                },
                else => std::future::pending().await,
            }
        }
    }

    /// Says goodbye to other nodes, and has links end.
    pub async fn close_links(&mut self) {
        for host in self.ledgers.all() {
            // Whose thread has ended says nothing any more.
            _ = host.leave().await;
        }
        self.stop.send_replace(true);
        while self.links.join_next().await.is_some() {}
    }

    /// Ends every host, its turn finished and its store closed.
    ///
    /// # Errors
    /// The first that failed.
    pub async fn end(mut self) -> Result<(), HostError> {
        self.ledgers.all().iter().for_each(Host::stop);
        let mut result = Ok(());
        while let Some(ended) = self.threads.join_next().await {
            result = result.and(ended.unwrap_or(Err(HostError::Panicked)));
        }
        result
    }
}

async fn ended(mut thread: HostThread) -> Result<(), HostError> {
    thread.ended().await
}
