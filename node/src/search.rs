//! Full-text search: one index for each ledger in which somebody searches, kept by one task.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use shared::{
    EntryId,
    view::{EntryView, ViewError},
};
use thiserror::Error;
use tokio::{
    sync::{
        broadcast::{
            self,
            error::{RecvError, TryRecvError},
        },
        mpsc, oneshot,
    },
    time::{Instant, sleep_until},
};

use crate::{
    host::{Event, Host, ReadError, Stopped, WeakHost},
    store::StoreError,
};

mod index;
mod text;

use index::{Failure, Index, News};
pub use text::{Words, WordsError};

/// Searches of one ledger that wait for their turn. Who comes later waits outside.
const WAITING: usize = 64;
/// After this long without a search the memory of the index is given back.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// What is looked for.
#[derive(Debug)]
pub struct Lookup {
    /// Words, of which an entry has all.
    pub words: Words,
    /// Only what is older than this entry.
    pub before: Option<EntryId>,
    /// Entries at most.
    pub limit: usize,
}

/// Why a search found nothing out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The ledger cannot be read.
    #[error(transparent)]
    View(#[from] ViewError<StoreError>),
    /// The same.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index failed; the next search makes a new one.
    #[error("the index of words failed: {0}")]
    Index(#[from] rusqlite::Error),
}

impl From<Failure> for SearchError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::View(error) => Self::View(error),
            Failure::Index(error) => Self::Index(error),
        }
    }
}

impl From<Stopped> for SearchError {
    fn from(stopped: Stopped) -> Self {
        Self::Read(stopped.into())
    }
}

type Found = Result<Vec<EntryView>, SearchError>;

struct Request {
    lookup: Lookup,
    reply: oneshot::Sender<Found>,
}

/// The way to the task that keeps a ledger's index. It begins with the first search, and ends with the host.
#[derive(Debug, Default)]
pub(crate) struct Search(Mutex<Option<mpsc::Sender<Request>>>);

impl Search {
    /// The newest entries with some words.
    pub(crate) async fn find(&self, host: WeakHost, lookup: Lookup) -> Found {
        let (reply, found) = oneshot::channel();
        let request = Request { lookup, reply };
        self.sender(host).send(request).await.map_err(|_| Stopped)?;
        found.await.map_err(|_| Stopped)?
    }

    fn sender(&self, host: WeakHost) -> mpsc::Sender<Request> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that ended by a bug is followed by another one.
        if let Some(sender) = sender.as_ref().filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (requests, arrivals) = mpsc::channel(WAITING);
        tokio::spawn(keep(host, arrivals));
        sender.insert(requests).clone()
    }
}

/// Keeps an index while there are searches.
async fn keep(host: WeakHost, mut requests: mpsc::Receiver<Request>) {
    while let Some(first) = requests.recv().await {
        let Some(events) = host.upgrade().map(|host| host.events()) else { return };
        match Index::new() {
            Ok(index) => {
                let keeper = Keeper { host: host.clone(), events, news: News::default() };
                keeper.serve(index, first, &mut requests).await;
            }
            Err(error) => drop(first.reply.send(Err(error.into()))),
        }
    }
}

/// How an index learns what happens.
struct Keeper {
    host: WeakHost,
    events: broadcast::Receiver<Event>,
    news: News,
}

impl Keeper {
    /// Answers searches until there have been none for long, or something failed. New entries are taken in as they come, and
    /// what is erased goes at once.
    async fn serve(mut self, mut index: Index, first: Request, requests: &mut mpsc::Receiver<Request>) {
        let mut next = Some(first);
        let mut idle = Instant::now() + IDLE;
        loop {
            // Nobody waits any more for the answer to one that is closed.
            if let Some(Request { lookup, reply }) = next.take().filter(|request| !request.reply.is_closed()) {
                let Some(host) = self.host.upgrade() else { return };
                let found = match self.catch_up(&host, index).await {
                    Ok(index) => find(&host, index, lookup).await,
                    Err(error) => Err(error),
                };
                match found {
                    Ok((kept, found)) => {
                        index = kept;
                        drop(reply.send(found));
                    }
                    Err(error) => return drop(reply.send(Err(error))),
                }
                idle = Instant::now() + IDLE;
            }
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => next = Some(request),
                    None => return,
                },
                event = self.events.recv() => {
                    let Some(host) = self.host.upgrade().filter(|_| self.note(event)) else { return };
                    match self.catch_up(&host, index).await {
                        Ok(kept) => index = kept,
                        Err(error) => return tracing::warn!("the index of words is given up: {error}"),
                    }
                }
                () = sleep_until(idle) => return,
            }
        }
    }

    /// Takes note of an event. Tells whether there will be others.
    fn note(&mut self, event: Result<Event, RecvError>) -> bool {
        match event {
            Ok(Event::Erased { entry, .. }) => self.news.erased.push(entry),
            // Blocks that erase something are in what arrived, so of what was missed only the rest is looked for.
            // With new keys what was closed is read again, which the next step sees.
            Ok(Event::OrderChanged { .. } | Event::MembersChanged) | Err(RecvError::Lagged(_)) => {
                self.news.changed = true
            }
            Ok(_) => {}
            Err(RecvError::Closed) => return false,
        }
        true
    }

    /// Brings the index to where the ledger is now. There are at most as many events to take note of as the host keeps.
    async fn catch_up(&mut self, host: &Host, mut index: Index) -> Result<Index, SearchError> {
        loop {
            match self.events.try_recv() {
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                Err(TryRecvError::Lagged(missed)) => self.note(Err(RecvError::Lagged(missed))),
                Ok(event) => self.note(Ok(event)),
            };
        }
        // What is written meanwhile comes the next time.
        let goal = host.last_seq();
        while index.reached() < goal || !self.news.is_empty() {
            let news = std::mem::take(&mut self.news);
            let more;
            (index, more) = step(host, index, news).await?;
            if !more {
                break;
            }
        }
        Ok(index)
    }
}

async fn step(host: &Host, mut index: Index, news: News) -> Result<(Index, bool), SearchError> {
    let stepped = host.view(move |store, keys| match index.step(store, keys, news) {
        Ok(more) => Ok(Ok((index, more))),
        Err(Failure::View(error)) => Err(error),
        Err(Failure::Index(error)) => Ok(Err(error)),
    });
    Ok(stepped.await???)
}

/// Searches. That an entry is not here says nothing about the index.
async fn find(host: &Host, index: Index, lookup: Lookup) -> Result<(Index, Found), SearchError> {
    let found = host.view(move |store, keys| match index.find(store, keys, &lookup) {
        Ok(entries) => Ok(Ok((index, Ok(entries)))),
        Err(Failure::View(error @ ViewError::Unknown(_))) => Ok(Ok((index, Err(error.into())))),
        Err(Failure::View(error)) => Err(error),
        Err(Failure::Index(error)) => Ok(Err(error)),
    });
    Ok(found.await???)
}

#[cfg(test)]
mod tests;
