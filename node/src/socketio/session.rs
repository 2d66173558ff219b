//! One Socket.IO client on the namespace `/`: one task that takes its commands in order and shows it the ledger.

use std::{collections::VecDeque, convert::Infallible, future::Future, pin::Pin, task::Poll, time::Instant};

use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use shared::{AppendError, EntryId, Evidence, limits::CLIENT_APPENDS, view::Cursor};
use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};
use zeroize::Zeroizing;

use super::{
    Clients,
    command::{self, Command, Live, Many},
    error::ClientError,
    feed::{Feed, Work},
    inbox::{Arrivals, Inbound, Refused},
    outlet::{Batch, Gone, Granted, Life, Outlet},
    queries::Query,
    reads,
    statuses::Statuses,
};
use crate::{
    admission::Pass,
    control::InviteFor,
    host::{self, Event, Pending, Shown, Stopped},
    ledgers::{LedgerInfo, MakeError},
};

/// Ids from which on a status goes out, though more entries became durable with them.
const STATUS_IDS: usize = 1024;

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client is gone.
    Gone,
    /// The client takes no answers and goes on asking.
    Flooding,
    /// What it was let in by counts no more.
    Revoked,
    /// The node is stopping.
    Stopped,
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// To whom an answer goes.
#[derive(Debug)]
struct Reply {
    /// The event that is answered, where it has been read.
    event: Option<String>,
    ack: Option<i64>,
}

type Appended = Result<Vec<host::Appended>, AppendError>;

/// An append that is not durable yet.
struct Append {
    pending: Pending<Appended>,
    entries: usize,
    many: Many,
    reply: Reply,
    since: Instant,
}

/// What happened.
enum Step {
    Event(Event),
    /// Events were missed.
    Lagged,
    Appended(Appended),
    Inbound(Box<Inbound>),
    Refused(Box<Refused>),
    /// There is something to read from the store.
    Read,
}

/// How a client wants to be told, as the auth of its connection says.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct Wishes {
    /// What is added comes as arrays of entries: `ledger_entries_added` instead of `ledger_entry_added`.
    batches: bool,
    /// Whether it gets what is added before it asks for that.
    live: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { batches: false, live: true }
    }
}

/// One client and all that is to be done for it.
pub(super) struct Session {
    clients: Clients,
    pass: Pass,
    outlet: Outlet,
    arrivals: Arrivals,
    events: broadcast::Receiver<Event>,
    feed: Feed,
    /// What is added comes as arrays.
    batches: bool,
    /// The client gets what is added.
    live: bool,
    /// Events were missed, and the client does not know it yet.
    missed: bool,
    /// In the order in which they were sent, which is that in which they become durable.
    appends: VecDeque<Append>,
    /// The entries in them.
    appending: usize,
    statuses: Statuses,
    /// A command that reads, and waits for the appends before it.
    waiting: Option<(Command, Reply)>,
}

impl Session {
    pub(super) fn new(
        clients: Clients,
        pass: Pass,
        outlet: Outlet,
        arrivals: Arrivals,
        events: broadcast::Receiver<Event>,
        position: Cursor,
        wishes: Wishes,
    ) -> Self {
        Self {
            clients,
            batches: wishes.batches,
            live: wishes.live,
            pass,
            outlet,
            arrivals,
            events,
            feed: Feed::new(position),
            missed: false,
            appends: VecDeque::new(),
            appending: 0,
            statuses: Statuses::default(),
            waiting: None,
        }
    }

    /// Serves the client until it is gone.
    pub(super) async fn run(mut self, auth: Box<RawValue>) {
        let end = match self.serve(&auth).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        match end {
            End::Gone => {}
            End::Flooding => {
                tracing::info!("a client goes on asking and takes no answers, its connection is closed");
                self.outlet.disconnect().await;
            }
            End::Revoked => {
                if self.outlet.emit("error", &ClientError::Revoked.event(None)).await.is_ok() {
                    self.outlet.disconnect().await;
                }
            }
            End::Stopped => self.outlet.disconnect().await,
        }
    }

    async fn serve(&mut self, auth: &RawValue) -> Result<Infallible, End> {
        self.outlet.emit("auth", auth).await?;
        loop {
            if self.appends.is_empty()
                && let Some((command, reply)) = self.waiting.take()
            {
                self.perform(command, reply).await?;
            }
            match self.next().await? {
                Step::Event(event) => self.on_event(event).await?,
                Step::Lagged => self.on_lagged(),
                Step::Appended(result) => self.on_appended(result).await?,
                Step::Inbound(inbound) => self.on_inbound(&inbound).await?,
                Step::Refused(refused) => {
                    let Refused { ack, error } = *refused;
                    self.refuse(&Reply { event: None, ack }, &error).await?;
                }
                Step::Read => self.on_read().await?,
            }
            self.after_step().await?;
        }
    }

    async fn next(&mut self) -> Result<Step, End> {
        // Below, anything that is ready may come first.
        if self.pass.is_revoked() {
            return Err(End::Revoked);
        }
        let takes_commands = self.waiting.is_none() && self.appending < CLIENT_APPENDS;
        let reads = self.feed.work().is_some();
        tokio::select! {
            life = self.outlet.ended() => Err(if life == Life::Flooding { End::Flooding } else { End::Gone }),
            () = self.pass.revoked() => Err(End::Revoked),
            event = self.events.recv() => match event {
                Ok(event) => Ok(Step::Event(event)),
                Err(RecvError::Lagged(_)) => Ok(Step::Lagged),
                Err(RecvError::Closed) => Err(End::Stopped),
            },
            result = oldest(&mut self.appends) => Ok(Step::Appended(result?)),
            Some(inbound) = self.arrivals.commands.recv(), if takes_commands => Ok(Step::Inbound(inbound)),
            Some(refused) = self.arrivals.refused.recv() => Ok(Step::Refused(refused)),
            () = std::future::ready(()), if reads => Ok(Step::Read),
        }
    }

    async fn on_event(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Added { .. } if !self.live => {}
            Event::Added { seq, block } => {
                if self.feed.takes(seq) {
                    self.show_added(&block).await?;
                    self.feed.took(seq, block.count());
                    self.finish().await?;
                }
            }
            Event::OrderChanged { from } => {
                let from = from.map(|id| id.to_string());
                self.outlet.emit("order_changed", &json!({ "from_cursor": from })).await?;
            }
            Event::Erased { entry, by, at } => {
                let erased = json!({ "id": entry.to_string(), "by": by.to_string(), "at": at.to_string() });
                self.outlet.emit("entry_erased", &erased).await?;
            }
            Event::ForkDetected(evidence) => self.outlet.emit("fork_detected", &fork(&evidence)).await?,
            Event::Succeeded { old, new } => {
                // Of the old lane nothing more is heard.
                self.statuses = Statuses::default();
                let ids = json!({ "old": old.to_string(), "new": new.to_string() });
                self.outlet.emit("node_changed", &ids).await?;
            }
            Event::Held { height, nodes } => self.held(height, nodes).await?,
            Event::MembersChanged => {
                // Those who read the list next read the new one.
                self.outlet.emit("members_changed", &json!({})).await?;
            }
            Event::Presence { node, online } => {
                let change = json!({ "node": node.to_string(), "online": online });
                self.outlet.emit("presence_changed", &change).await?;
            }
            Event::Progress { done, total } => {
                self.outlet.emit("sync_progress", &json!({ "done": done, "total": total })).await?;
            }
            // A node under repair serves nobody.
            Event::PeersChanged | Event::Repaired { .. } => {}
        }
        Ok(())
    }

    /// The entries that were missed are read from the store; the other events are made good in [`Session::after_step`].
    fn on_lagged(&mut self) {
        if self.live {
            self.feed.lagged();
        }
        self.missed = true;
    }

    /// A client that has caught up after it missed events learns what they may have said: of a change of order nobody
    /// knows any more where it was.
    async fn after_step(&mut self) -> Result<(), End> {
        if !self.missed || !self.feed.is_live() {
            return Ok(());
        }
        self.missed = false;
        self.outlet.emit("order_changed", &json!({ "from_cursor": null })).await?;
        if !self.statuses.is_empty() {
            let held = self.clients.host.status().await?.held;
            self.held(held.height, held.nodes).await?;
        }
        Ok(())
    }

    async fn on_read(&mut self) -> Result<(), End> {
        // Whatever is in the ring now is durable, so the read below has it; what comes later stays in the ring.
        loop {
            match self.events.try_recv() {
                Ok(event) => self.on_event(event).await?,
                Err(TryRecvError::Lagged(_)) => self.on_lagged(),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return Err(End::Stopped),
            }
        }
        let Some(work) = self.feed.work() else { return Ok(()) };
        let (entries, reached) = match reads::arrived(&self.clients.host, work.from()).await {
            Ok(page) => page,
            Err(ClientError::Stopped(_)) => return Err(End::Stopped),
            Err(error) => {
                // Reading again would fail again, so the client goes on with what comes, and knows that it misses some.
                self.feed.give_up(self.clients.position());
                return self.refuse(&Reply { event: None, ack: None }, &error).await;
            }
        };
        match work {
            Work::Missed(_) => {
                if self.batches && !entries.is_empty() {
                    self.outlet.emit("ledger_entries_added", &entries).await?;
                    self.outlet.count(entries.iter().map(|entry| entry.get().len()).sum());
                } else {
                    for entry in &entries {
                        self.added(entry).await?;
                    }
                }
                self.feed.read_missed(reached, entries.is_empty());
            }
            Work::Batch(_) => {
                if !entries.is_empty() {
                    let batch = Batch { entries: &entries, cursor: reached.to_string(), done: false };
                    self.outlet.emit("entries", &batch).await?;
                    self.outlet.count(entries.iter().map(|entry| entry.get().len()).sum());
                }
                self.feed.read_batch(reached, entries.is_empty());
            }
        }
        self.finish().await
    }

    async fn show_added(&mut self, block: &Shown) -> Result<(), Gone> {
        if self.batches {
            let array = block.array();
            self.outlet.emit("ledger_entries_added", array).await?;
            self.outlet.count(array.get().len());
            return Ok(());
        }
        for entry in block.entries() {
            self.added(entry).await?;
        }
        Ok(())
    }

    async fn added(&mut self, entry: &RawValue) -> Result<(), Gone> {
        self.outlet.emit("ledger_entry_added", entry).await?;
        self.outlet.count(entry.get().len());
        Ok(())
    }

    /// Tells the client when its subscription has caught up.
    async fn finish(&mut self) -> Result<(), End> {
        if let Some(cursor) = self.feed.finish() {
            let batch = Batch { entries: &[], cursor: cursor.to_string(), done: true };
            self.outlet.emit("entries", &batch).await?;
        }
        Ok(())
    }

    async fn on_inbound(&mut self, inbound: &Inbound) -> Result<(), End> {
        let mut reply = Reply { event: None, ack: inbound.ack };
        let command = command::Event::parse(inbound.text()).and_then(|event| {
            let command = event.command();
            reply.event = Some(event.name);
            command
        });
        match command {
            Err(error) => self.refuse(&reply, &error).await,
            Ok(command) if command.reads() && !self.appends.is_empty() => {
                self.waiting = Some((command, reply));
                Ok(())
            }
            Ok(command) => self.perform(command, reply).await,
        }
    }

    async fn perform(&mut self, command: Command, reply: Reply) -> Result<(), End> {
        match command {
            Command::Echo { reply: event, value } => Ok(self.echo(event, &value, &reply).await?),
            Command::Append { payloads, many } => {
                let (since, entries) = (Instant::now(), payloads.len());
                let pending = self.clients.host.append(payloads).await?;
                self.appends.push_back(Append { pending, entries, many, reply, since });
                self.appending += entries;
                Ok(())
            }
            Command::Listen => {
                self.listen();
                match reply.ack {
                    Some(id) => Ok(self.outlet.ack(id, &json!({ "ok": true })).await?),
                    None => Ok(()),
                }
            }
            Command::Query(query) => self.query(query, &reply).await,
            Command::Keyring => self.keyring(&reply).await,
            Command::Entry(id) => match reads::entry(&self.clients.host, id).await {
                Ok(entry) => Ok(self.answer(&reply, "entry", "entry", &entry, &entry).await?),
                Err(error) => self.refuse(&reply, &error).await,
            },
            Command::KnownNodes => {
                let nodes = self.clients.host.status().await?.known_nodes;
                Ok(self.answer(&reply, "known_nodes", "nodes", &nodes, &json!({ "nodes": nodes })).await?)
            }
            Command::Status => {
                let status = self.clients.host.status().await?;
                Ok(self.answer(&reply, "status", "status", &status, &status).await?)
            }
            Command::Members => {
                let members = self.clients.host.members().await?;
                Ok(self.answer(&reply, "members", "members", &members, &members).await?)
            }
            Command::Ledgers => {
                let mut ledgers = Vec::new();
                for (n, host) in self.clients.ledgers.all().iter().enumerate() {
                    ledgers.push(host.info(n == 0).await?);
                }
                Ok(self.answer(&reply, "ledgers", "ledgers", &ledgers, &ledgers).await?)
            }
            Command::Invite(invite) => self.invite(&invite, &reply).await,
            Command::Create { name, nickname } => {
                let made = self.clients.ledgers.create(name, nickname).await;
                self.ledger_made(made, &reply).await
            }
            Command::Join(joining) => {
                let joined = self.clients.ledgers.join(*joining).await;
                self.ledger_made(joined, &reply).await
            }
            Command::Backup(passphrase) => {
                match self.clients.ledgers.backup(self.clients.host.ledger(), passphrase).await {
                    Ok(text) => Ok(self.answer(&reply, "backup", "backup", &text, &json!({ "backup": text })).await?),
                    Err(error) => self.refuse(&reply, &error.into()).await,
                }
            }
            Command::Wish(wish) => match self.clients.host.control(wish).await? {
                Ok(block) => {
                    let block = block.to_string();
                    Ok(self.answer(&reply, "granted", "block", &block, &json!({ "block": block })).await?)
                }
                Err(error) => self.refuse(&reply, &error.into()).await,
            },
            Command::Subscribe { cursor, live } => self.subscribe(cursor, live, &reply).await,
        }
    }

    async fn invite(&mut self, invite: &InviteFor, reply: &Reply) -> Result<(), End> {
        let host = &self.clients.host;
        let relays: Vec<String> = host.relays().snapshot().into_iter().map(|relay| relay.url).collect();
        let Ok(offer) = invite.offer() else { return Ok(()) };
        let token = host.invite(offer, relays).await?;
        match token.and_then(|token| Ok(token.encode()?)) {
            Ok(token) => {
                let invite = json!({ "token": *token });
                Ok(self.answer(reply, "invite", "invite", &invite, &invite).await?)
            }
            Err(error) => self.refuse(reply, &error.into()).await,
        }
    }

    async fn ledger_made(&mut self, made: Result<LedgerInfo, MakeError>, reply: &Reply) -> Result<(), End> {
        match made {
            Ok(info) => Ok(self.answer(reply, "ledger", "ledger", &info, &info).await?),
            Err(error) => self.refuse(reply, &error.into()).await,
        }
    }

    async fn echo(&mut self, event: Option<&'static str>, value: &RawValue, reply: &Reply) -> Result<(), Gone> {
        match (event, reply.ack) {
            (None, Some(id)) => self.outlet.ack(id, value).await,
            // `message-with-ack` without an ack: there is nowhere to answer.
            (None, None) => Ok(()),
            (Some(event), ack) => {
                self.outlet.emit(event, value).await?;
                match ack {
                    Some(id) => self.outlet.ack(id, &Granted { key: "data", value }).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn query(&mut self, query: Query, reply: &Reply) -> Result<(), End> {
        // An answer may have megabytes, so it keeps its share of all that may be on their way until it is gone.
        let share = self.clients.answers.clone().acquire_many_owned(query.share() as u32);
        let _share = tokio::select! {
            share = share => share.ok(),
            life = self.outlet.ended() => return Err(if life == Life::Flooding { End::Flooding } else { End::Gone }),
        };
        let (event, key) = query.names();
        match reads::query(&self.clients.host, query).await {
            Ok(answer) => {
                self.answer(reply, event, key, &answer, &answer).await?;
                self.outlet.count(answer.get().len());
                drop(answer);
                Ok(self.outlet.drained().await?)
            }
            Err(error) => self.refuse(reply, &error).await,
        }
    }

    /// What goes to the client cannot be overwritten any more; what is left here is.
    async fn keyring(&mut self, reply: &Reply) -> Result<(), End> {
        let keys = Zeroizing::new(hex::encode(&*self.clients.host.keys().encode()));
        Ok(self.answer(reply, "keyring", "keyring", &*keys, &Keys { keyring: &keys }).await?)
    }

    /// From now on the client gets what is added.
    fn listen(&mut self) {
        if !self.live {
            self.live = true;
            self.feed = Feed::new(self.clients.position());
        }
    }

    async fn subscribe(&mut self, cursor: Option<String>, live: Live, reply: &Reply) -> Result<(), End> {
        match reads::place(&self.clients.host, cursor).await {
            Ok(place) => {
                self.listen();
                self.feed.subscribe(place, live);
                match reply.ack {
                    Some(id) => Ok(self.outlet.ack(id, &json!({ "ok": true })).await?),
                    None => Ok(()),
                }
            }
            Err(error) => self.refuse(reply, &error).await,
        }
    }

    /// Answers the oldest append, and those behind it that are durable too: most often a turn made many so.
    async fn on_appended(&mut self, result: Appended) -> Result<(), End> {
        let mut stored = Vec::new();
        let mut next = Some(result);
        while let Some(result) = next {
            self.answer_append(result, &mut stored).await?;
            next = match self.appends.front_mut() {
                Some(append) if stored.len() < STATUS_IDS => append.pending.now().transpose()?,
                _ => None,
            };
        }
        if !stored.is_empty() {
            self.tell_status("stored", &stored, 0).await?;
            self.statuses.watch(stored);
        }
        Ok(())
    }

    async fn answer_append(&mut self, result: Appended, stored: &mut Vec<EntryId>) -> Result<(), End> {
        let Some(append) = self.appends.pop_front() else { return Ok(()) };
        self.appending -= append.entries;
        let entries = match result {
            Ok(entries) => entries,
            Err(error) => return self.refuse(&append.reply, &error.into()).await,
        };
        self.clients.metrics.appended(entries.len(), append.since.elapsed());
        if let Some(id) = append.reply.ack {
            match (append.many, entries.as_slice()) {
                (Many::One, [entry]) => self.outlet.ack(id, &Granted { key: "entry", value: entry }).await?,
                _ => self.outlet.ack(id, &Granted { key: "entries", value: entries.as_slice() }).await?,
            }
        }
        stored.extend(entries.iter().map(host::Appended::id));
        Ok(())
    }

    async fn held(&mut self, height: u64, nodes: u32) -> Result<(), End> {
        let ids = self.statuses.held(height, nodes);
        if ids.is_empty() { Ok(()) } else { Ok(self.tell_status("held", &ids, nodes).await?) }
    }

    async fn tell_status(&mut self, state: &str, ids: &[EntryId], held_by: u32) -> Result<(), Gone> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        self.outlet.emit("entry_status", &json!({ "ids": ids, "state": state, "held_by": held_by })).await
    }

    /// An answer goes to the ack if there is one, and is an event otherwise.
    async fn answer<A: Serialize + ?Sized + Sync, E: Serialize + ?Sized + Sync>(
        &mut self,
        reply: &Reply,
        event: &str,
        key: &'static str,
        value: &A,
        argument: &E,
    ) -> Result<(), Gone> {
        match reply.ack {
            Some(id) => self.outlet.ack(id, &Granted { key, value }).await,
            None => self.outlet.emit(event, argument).await,
        }
    }

    async fn refuse(&mut self, reply: &Reply, error: &ClientError) -> Result<(), End> {
        self.clients.metrics.client_error();
        match reply.ack {
            Some(id) => self.outlet.ack(id, &error.answer()).await?,
            None => self.outlet.emit("error", &error.event(reply.event.as_deref())).await?,
        }
        match error {
            ClientError::Stopped(_) => Err(End::Stopped),
            _ => Ok(()),
        }
    }
}

/// The event that answers `get_keyring` without an ack.
#[derive(Serialize)]
struct Keys<'a> {
    keyring: &'a str,
}

/// The result of the oldest append. Without one it never comes.
fn oldest(appends: &mut VecDeque<Append>) -> impl Future<Output = Result<Appended, Stopped>> {
    std::future::poll_fn(|context| match appends.front_mut() {
        Some(append) => Pin::new(&mut append.pending).poll(context),
        None => Poll::Pending,
    })
}

fn fork(evidence: &Evidence) -> serde_json::Value {
    let (author, height) = evidence.lane();
    let blocks = evidence.blocks().each_ref().map(|block| block.hash().to_string());
    json!({
        "author": author.to_string(),
        "height": height,
        "blocks": blocks,
        "evidence_hex": hex::encode(evidence.encode()),
    })
}
