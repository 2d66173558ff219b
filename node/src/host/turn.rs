//! The turn thread: takes what waits, lets the replica handle it, commits once, and only then acts.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use shared::{
    Address, AppendError, BlockHash, Config, DialId, Effect, EntryId, Frame, Incoming, Input, Key, LinkId, LinkPath,
    NodeId, Replica, ReplicaError, Role, Timestamp, Token,
    effect::{DirectedError, ImportReport, Wish, WishError},
    limits,
    members::{InviteStatus, MemberStatus},
    replica::PeerStatus,
};
use tokio::{
    runtime,
    sync::{broadcast, mpsc, oneshot},
    time::timeout,
};
use tracing::{Span, debug, debug_span, info, warn};
use zeroize::Zeroizing;

use super::{
    Appended, Event, Held, HostError, Identity, InviteError, InviteInfo, Keys, Lane, LinkCommand, LinkInfo, Meeting,
    MemberInfo, Offer, Parked, PeerInfo, Queued, Received, Shown, Start, Status, Tip, Totals, ahead::Proved, describe,
};
use crate::{
    keys::NodeKeys,
    ledgers::Joining,
    link::peer::Wanted,
    store::{Beginning, SqliteStore, StoreError},
};

mod coming_in;

use coming_in::Again;

type Failure = ReplicaError<StoreError>;

/// Commands of one turn. More would make the first ones wait longer than their disk write does.
const TURN_COMMANDS: usize = 4096;
/// How long a turn goes on taking commands. New ones come as fast as old ones are taken where a peer floods, and everybody's
/// entries would wait for the commit at the end.
const TURN_TIME: Duration = Duration::from_millis(10);
/// The longest sleep. A wall clock may jump, and then a deadline by it is nearer than it was.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

type AppendReply = oneshot::Sender<Result<Vec<Appended>, AppendError>>;

/// What the rest of the node wants of the turn thread.
#[derive(Debug)]
pub(super) enum Command {
    Append {
        payloads: Vec<Vec<u8>>,
        reply: AppendReply,
    },
    Import {
        blocks: Vec<Incoming>,
        reply: oneshot::Sender<ImportReport>,
    },
    Control {
        wish: Wish,
        reply: oneshot::Sender<Result<BlockHash, WishError>>,
    },
    Direct {
        recipient: NodeId,
        body: Vec<u8>,
        reply: oneshot::Sender<Result<(), DirectedError>>,
    },
    Invite {
        offer: Offer,
        relays: Vec<String>,
        reply: oneshot::Sender<Result<Token, InviteError>>,
    },
    Rejoin {
        joining: Box<Joining>,
        reply: oneshot::Sender<()>,
    },
    Members {
        reply: oneshot::Sender<Vec<MemberInfo>>,
    },
    Holders {
        lane: NodeId,
        height: u64,
        reply: oneshot::Sender<Vec<NodeId>>,
    },
    Invites {
        reply: oneshot::Sender<Vec<InviteInfo>>,
    },
    LinkOpened {
        link: LinkId,
        role: Role,
        path: LinkPath,
        dial: Option<DialId>,
        queue: mpsc::Sender<LinkCommand>,
        proved: Arc<Proved>,
    },
    LinkClosed {
        link: LinkId,
    },
    Frame {
        link: LinkId,
        bytes: Vec<u8>,
    },
    /// A frame that was read and checked ahead.
    ReadFrame {
        link: LinkId,
        frame: Frame,
    },
    Ping {
        link: LinkId,
    },
    Pong {
        link: LinkId,
    },
    DialFailed,
    Unreachable {
        dial: DialId,
    },
    Reachable {
        addresses: Vec<Address>,
    },
    Found {
        addresses: Vec<Address>,
    },
    NetworkChanged,
    Status {
        reply: oneshot::Sender<Status>,
    },
    /// A reader found the store damaged.
    Damaged {
        what: String,
    },
    Stop,
    Leave {
        reply: oneshot::Sender<()>,
    },
}

impl Command {
    /// The link that it came by, if its order among what else comes by that link is all that matters.
    fn link(&self) -> Option<LinkId> {
        match self {
            Self::Frame { link, .. }
            | Self::ReadFrame { link, .. }
            | Self::Ping { link }
            | Self::Pong { link }
            | Self::LinkClosed { link } => Some(*link),
            _ => None,
        }
    }

    /// Entries and bytes that the command adds to the turn's appends.
    fn weight(&self) -> (usize, usize) {
        match self {
            Self::Append { payloads, .. } => (payloads.len(), payloads.iter().map(Vec::len).sum()),
            _ => (0, 0),
        }
    }
}

/// What the turn thread tells the handles.
pub(super) struct Shared {
    pub(super) events: broadcast::Sender<Event>,
    pub(super) last_seq: Arc<AtomicU64>,
    pub(super) identity: Arc<Identity>,
    pub(super) keys: Keys,
    pub(super) received: mpsc::Sender<Received>,
}

/// Who waits for the answer to a wish.
enum Wishing {
    /// This node itself, for the name that it was to have once it is in.
    Name(String),
    Block(oneshot::Sender<Result<BlockHash, WishError>>),
    Token {
        secret: Zeroizing<[u8; 32]>,
        relays: Vec<String>,
        reply: oneshot::Sender<Result<Token, InviteError>>,
    },
}

/// The replica and all that its effects need.
pub(super) struct Turns {
    replica: Replica<SqliteStore>,
    span: Span,
    events: broadcast::Sender<Event>,
    last_seq: Arc<AtomicU64>,
    identity: Arc<Identity>,
    beginning: Beginning,
    keys: NodeKeys,
    epoch_keys: Keys,
    links: BTreeMap<LinkId, (mpsc::Sender<LinkCommand>, Arc<Proved>)>,
    /// What came by each link and has yet to be handled, at most [`LINK_WAITING`](super::LINK_WAITING) frames; and the link that was served last.
    waiting: BTreeMap<LinkId, VecDeque<Queued>>,
    served: LinkId,
    dials: Option<mpsc::UnboundedSender<Wanted>>,
    next_token: u64,
    appends: BTreeMap<u64, AppendReply>,
    imports: BTreeMap<u64, oneshot::Sender<ImportReport>>,
    wishes: BTreeMap<u64, Wishing>,
    directed: BTreeMap<u64, oneshot::Sender<Result<(), DirectedError>>>,
    received: mpsc::Sender<Received>,
    statuses: Vec<oneshot::Sender<Status>>,
    leaving: Vec<oneshot::Sender<()>>,
    members: Vec<oneshot::Sender<Vec<MemberInfo>>>,
    invites: Vec<oneshot::Sender<Vec<InviteInfo>>>,
    /// What this node is to be called as soon as it is in.
    wanted_name: Option<String>,
    /// Another invite to try, and who waits for that.
    rejoin: Option<(Box<Joining>, oneshot::Sender<()>)>,
    again: Again,
    turns: u64,
    stopping: bool,
    damaged: Option<String>,
    effects: Vec<Effect>,
}

impl Turns {
    /// Restores the replica from its store.
    pub(super) fn open(
        store: SqliteStore,
        beginning: Beginning,
        keys: NodeKeys,
        start: Start,
        shared: Shared,
    ) -> Result<Self, HostError> {
        let Shared { events, last_seq, identity, keys: epoch_keys, received } = shared;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mut effects = Vec::new();
        let (key, successor) = keys.keys();
        let (meets, far) = (start.meeting.is_some(), start.meeting.as_ref().is_some_and(|meeting| meeting.far));
        let (peers, dials) = start.meeting.map(|Meeting { peers, dials, .. }| (peers, dials)).unzip();
        let again = Again::new(start.dials, far, peers.unwrap_or_default());
        let config = Config {
            meets,
            far,
            peers: again.peers.clone(),
            writes: true,
            slices: true,
            dials: start.dials,
            successor: Some(successor),
            join: store.as_reader().join().map_err(Failure::Store)?,
            epoch: start.epoch,
            ..Config::new(beginning.id(), key, seed)
        };
        let replica = Replica::restore(config, store, &[], now(), &mut effects)?;
        let span = debug_span!("turn", node = replica.node().fmt_short());
        if replica.is_restoring() {
            warn!(
                "the key was restored from a backup: this node only reads until another one has told what it has signed"
            );
        }
        last_seq.store(replica.last_seq(), Ordering::Release);
        epoch_keys.set(replica.keys());
        let noted = replica.store().as_reader();
        identity.set(replica.node(), noted.former_nodes().map_err(Failure::Store)?);
        let wanted_name = noted.wanted_name().map_err(Failure::Store)?;
        Ok(Self {
            replica,
            span,
            events,
            last_seq,
            identity,
            beginning,
            keys,
            epoch_keys,
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            served: LinkId(0),
            dials,
            next_token: 0,
            appends: BTreeMap::new(),
            imports: BTreeMap::new(),
            wishes: BTreeMap::new(),
            directed: BTreeMap::new(),
            received,
            statuses: Vec::new(),
            leaving: Vec::new(),
            members: Vec::new(),
            invites: Vec::new(),
            wanted_name,
            rejoin: None,
            again,
            turns: 0,
            stopping: false,
            damaged: None,
            effects,
        })
    }

    /// Blocks that are damaged or missing.
    pub(super) fn missing(&self) -> usize {
        self.replica.repairing()
    }

    /// Runs turns until the node stops or its store fails. After a failure nothing that was not durable is told to
    /// anyone: all replies are dropped.
    pub(super) fn run(mut self, mut commands: mpsc::UnboundedReceiver<Queued>) -> Result<(), HostError> {
        let span = self.span.clone();
        let _entered = span.enter();
        let clock = runtime::Builder::new_current_thread().enable_time().build()?;
        // What the restore left to do comes first.
        let mut next = self.turn(None, &mut commands)?;
        while !self.stopping {
            let first = match next.take() {
                Some(queued) => Some(queued),
                None if self.next_link().is_some() => None,
                // A timer is made inside of the runtime that drives it.
                None => match clock.block_on(async { timeout(self.sleep(), commands.recv()).await }) {
                    Ok(Some(queued)) => Some(queued),
                    Ok(None) => break,
                    Err(_) => None,
                },
            };
            next = self.turn(first, &mut commands)?;
            if let Some((joining, reply)) = self.rejoin.take() {
                self = self.rejoined(&joining)?;
                // Whoever asked may have gone.
                _ = reply.send(());
                self.tell(Event::MembersChanged);
            }
        }
        self.links.clear();
        if let Some(what) = self.damaged {
            return Err(HostError::Damaged(what));
        }
        self.replica.checkpoint()?;
        Ok(self.replica.store().checkpoint().map_err(Failure::Store)?)
    }

    fn sleep(&self) -> Duration {
        let rests = self.waiting.keys().filter_map(|link| self.replica.takes_next(*link));
        let next = self.replica.next_wake().into_iter().chain(rests).min();
        next.map_or(LONGEST_SLEEP, |due| Duration::from_micros(due.since(now())).min(LONGEST_SLEEP))
    }

    /// One turn. Returns a command that has no room in it.
    fn turn(
        &mut self,
        first: Option<Queued>,
        commands: &mut mpsc::UnboundedReceiver<Queued>,
    ) -> Result<Option<Queued>, HostError> {
        let mut next = first;
        let mut left = None;
        let (mut entries, mut bytes) = (0, 0);
        let began = Instant::now();
        for taken in 0..TURN_COMMANDS {
            if self.stopping || (taken > 0 && began.elapsed() > TURN_TIME) {
                break;
            }
            let Some(queued) = next.take().or_else(|| commands.try_recv().ok()) else { break };
            if let Some(link) = queued.command.link() {
                self.waiting.entry(link).or_default().push_back(queued);
                continue;
            }
            let (more_entries, more_bytes) = queued.command.weight();
            let full = entries + more_entries > limits::TURN_ENTRIES || bytes + more_bytes > limits::TURN_BYTES;
            if full && taken > 0 {
                left = Some(queued);
                break;
            }
            (entries, bytes) = (entries + more_entries, bytes + more_bytes);
            self.command(queued.command)?;
        }
        while !self.stopping {
            let due = self.replica.next_wake().is_some_and(|due| due <= now());
            if due {
                self.input(Input::Wake)?;
            }
            match self.next_of_links() {
                Some(queued) => self.command(queued.command)?,
                None if !due => break,
                None => {}
            }
            if began.elapsed() > TURN_TIME {
                break;
            }
        }
        self.give_name()?;
        self.replica.commit(now(), &mut self.effects)?;
        self.turns += 1;
        self.take_over()?;
        self.act()?;
        Ok(left)
    }

    /// The link whose turn it is: they take turns, so that nobody waits behind all that another one sends, and leave out who
    /// brings more than its pace allows.
    fn next_link(&self) -> Option<LinkId> {
        let (now, after) = (now(), (Bound::Excluded(self.served), Bound::Unbounded));
        let mut in_turn = self.waiting.range(after).chain(self.waiting.range(..=self.served)).map(|(link, _)| *link);
        in_turn.find(|link| self.replica.takes_next(*link).is_some_and(|due| due <= now))
    }

    /// The next command of a link.
    fn next_of_links(&mut self) -> Option<Queued> {
        let link = self.next_link()?;
        self.served = link;
        let queue = self.waiting.get_mut(&link)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&link);
        }
        next
    }

    fn command(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Append { payloads, reply } => {
                let token = self.token();
                self.appends.insert(token, reply);
                self.input(Input::Append { token, payloads })
            }
            Command::Import { blocks, reply } => {
                let token = self.token();
                self.imports.insert(token, reply);
                self.input(Input::Import { token, blocks })
            }
            Command::Direct { recipient, body, reply } => {
                let token = self.token();
                self.directed.insert(token, reply);
                self.input(Input::Direct { token, recipient, body })
            }
            Command::Control { wish, reply } => self.wish(wish, Wishing::Block(reply)),
            Command::Invite { offer: Offer { role, uses, expires }, relays, reply } => {
                let mut secret = Zeroizing::new([0; 32]);
                if let Err(error) = getrandom::fill(&mut *secret) {
                    // Whoever asked may have gone.
                    _ = reply.send(Err(error.into()));
                    return Ok(());
                }
                let key = Key::from_secret(&secret).node();
                self.wish(Wish::Invite { key, role, uses, expires }, Wishing::Token { secret, relays, reply })
            }
            Command::Rejoin { joining, reply } => {
                self.want_rejoin(joining, reply);
                Ok(())
            }
            Command::Members { reply } => {
                self.members.push(reply);
                Ok(())
            }
            Command::Invites { reply } => {
                self.invites.push(reply);
                Ok(())
            }
            Command::LinkOpened { link, role, path, dial, queue, proved } => {
                self.links.insert(link, (queue, proved));
                self.input(Input::LinkOpened { link, role, path, dial })
            }
            Command::LinkClosed { link } => {
                self.links.remove(&link);
                self.input(Input::LinkClosed { link })
            }
            Command::Frame { link, bytes } => self.link_input(link, Input::Frame { link, bytes }),
            Command::ReadFrame { link, frame } => self.link_input(link, Input::ReadFrame { link, frame }),
            Command::Ping { link } => self.link_input(link, Input::Ping { link }),
            Command::Pong { link } => self.link_input(link, Input::Pong { link }),
            Command::DialFailed => self.input(Input::DialFailed),
            Command::Unreachable { dial } => self.input(Input::Unreachable { dial }),
            Command::Reachable { addresses } => self.input(Input::Reachable { addresses }),
            Command::Found { addresses } => {
                self.again.note_found(&addresses);
                self.input(Input::Found { addresses })
            }
            Command::NetworkChanged => self.input(Input::NetworkChanged),
            Command::Holders { lane, height, reply } => {
                let (me, others) = (self.replica.node(), self.replica.holders(&lane, height));
                // Whoever asked may have gone.
                _ = reply.send([me].into_iter().chain(others.into_iter().filter(|node| *node != me)).collect());
                Ok(())
            }
            Command::Status { reply } => {
                self.statuses.push(reply);
                Ok(())
            }
            Command::Leave { reply } => {
                self.leaving.push(reply);
                self.input(Input::Leave)
            }
            Command::Damaged { what } => {
                self.damaged.get_or_insert(what);
                self.stopping = true;
                Ok(())
            }
            Command::Stop => {
                self.stopping = true;
                Ok(())
            }
        }
    }

    fn wish(&mut self, wish: Wish, wishing: Wishing) -> Result<(), Failure> {
        let token = self.token();
        self.wishes.insert(token, wishing);
        self.input(Input::Control { token, wish })
    }

    /// Answers a wish that is durable. The one who asked may have gone; what is written stays.
    fn granted(&mut self, token: u64, result: Result<BlockHash, WishError>) -> Result<(), Failure> {
        match self.wishes.remove(&token) {
            None => {}
            Some(Wishing::Block(reply)) => drop(reply.send(result)),
            Some(Wishing::Name(name)) => self.named(name, result)?,
            Some(Wishing::Token { secret, relays, reply }) => {
                let token = match result {
                    Ok(block) => match self.replica.token(&block, secret, relays)? {
                        Some(token) => Ok(token),
                        None => Err(WishError::NoInvite(block).into()),
                    },
                    Err(error) => Err(error.into()),
                };
                drop(reply.send(token));
            }
        }
        Ok(())
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// After the replica closed a link, what its socket still delivers is nobody's.
    fn link_input(&mut self, link: LinkId, input: Input) -> Result<(), Failure> {
        if self.links.contains_key(&link) { self.input(input) } else { Ok(()) }
    }

    fn input(&mut self, input: Input) -> Result<(), Failure> {
        debug!(input = %describe::input(&input));
        self.replica.handle(now(), input, &mut self.effects)
    }

    /// Where this node goes on with its successor's key, notes that in the store, and then changes the key files.
    fn take_over(&mut self) -> Result<(), HostError> {
        let succeeded = |effect: &Effect| match effect {
            Effect::Succeeded { old, new } => Some((*old, *new)),
            _ => None,
        };
        let Some((old, new)) = self.effects.iter().find_map(succeeded) else { return Ok(()) };
        let store = self.replica.store_mut();
        store.set_node(&new).map_err(Failure::Store)?;
        let former = store.as_reader().former_nodes().map_err(Failure::Store)?;
        self.keys.succeed()?;
        self.identity.set(new, former);
        warn!(
            "two blocks of one height carry the signature of this node, {old}: most likely a backup of it was restored \
             while the network was not reachable, or a copy of its data directory is in use. That lane is frozen. What \
             this node has of both stays. It goes on as {new}"
        );
        self.tell(Event::Succeeded { old, new });
        Ok(())
    }

    /// Performs the effects of a turn that is durable.
    fn act(&mut self) -> Result<(), Failure> {
        self.last_seq.store(self.replica.last_seq(), Ordering::Release);
        if self.effects.iter().any(|effect| matches!(effect, Effect::MembersChanged { keys: true, .. })) {
            self.epoch_keys.set(self.replica.keys());
        }
        let me = self.replica.node();
        // By height.
        let mut mine: BTreeMap<u64, Arc<Shown>> = BTreeMap::new();
        let mut imported = Vec::new();
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            debug!(effect = %describe::effect(&effect));
            match effect {
                Effect::Send { link, bytes } => self.link_send(link, LinkCommand::Frame(bytes)),
                Effect::Ping { link } => self.link_send(link, LinkCommand::Ping),
                Effect::Pong { link } => self.link_send(link, LinkCommand::Pong),
                Effect::Close { link, reason } => {
                    let close = LinkCommand::Close { code: reason.code(), reason: reason.to_string() };
                    self.link_send(link, close);
                    self.links.remove(&link);
                }
                Effect::Dial { dial, addresses } => {
                    // When who dials is gone, the node is stopping.
                    if let Some(dials) = &self.dials {
                        _ = dials.send(Wanted { dial, addresses });
                    }
                }
                // Only links that outlive their replica need it, and this node's do not.
                Effect::Remember { .. } => {}
                Effect::Appended { token, result } => {
                    if let Some(reply) = self.appends.remove(&token) {
                        // The caller may have gone; its entries stay.
                        let appended = |id: &EntryId| Some(Appended::new(mine.get(&id.height)?.clone(), id.index));
                        _ = reply.send(result.map(|ids| ids.iter().filter_map(appended).collect()));
                    }
                }
                Effect::Imported { token, report } => {
                    imported.extend(self.imports.remove(&token).map(|reply| (reply, report)))
                }
                Effect::Added(added) => {
                    let author = added.block.header().author;
                    if author != me && self.events.receiver_count() == 0 {
                        continue;
                    }
                    let (seq, height) = (added.seq, added.block.header().height);
                    let block = Arc::new(Shown::new(added, self.epoch_keys.get()));
                    if author == me {
                        mine.insert(height, block.clone());
                    }
                    self.tell(Event::Added { seq, block });
                }
                Effect::Repaired { hash } => self.tell(Event::Repaired { hash }),
                Effect::OrderChanged { from } => self.tell(Event::OrderChanged { from }),
                Effect::ForkDetected(evidence) => {
                    let (author, height) = evidence.lane();
                    warn!("node {author} signed two blocks of height {height}; its lane is frozen there");
                    self.tell(Event::ForkDetected(evidence));
                }
                Effect::Removed(removal) => {
                    let ((lane, height), author) = (removal.lane(), removal.author());
                    match removal.closes() {
                        Some(invite) => info!("{author} closed the invite {invite}"),
                        None => info!("{author} removed {lane}: what it writes from height {height} on does not count"),
                    }
                }
                Effect::Directed { token, result } => {
                    if let Some(reply) = self.directed.remove(&token) {
                        _ = reply.send(result);
                    }
                }
                Effect::Received { sender, body } => {
                    // Whoever reads too slowly, or nobody, loses it as on any other part of its way.
                    _ = self.received.try_send(Received { sender, body });
                }
                Effect::Granted { token, result } => self.granted(token, result)?,
                Effect::MembersChanged { .. } => self.tell(Event::MembersChanged),
                Effect::Erased { entry, by, at } => self.tell(Event::Erased { entry, by, at }),
                // Done already, before anything is told under the new id.
                Effect::Succeeded { .. } => {}
                Effect::Held { height, nodes } => self.tell(Event::Held { height, nodes }),
                Effect::Progress { link: _, done, total } => self.tell(Event::Progress { done, total }),
                Effect::PeerUp { link, node } => {
                    if let Some((_, proved)) = self.links.get(&link) {
                        proved.set();
                    }
                    self.link_send(link, LinkCommand::PeerUp(node));
                    self.tell(Event::PeersChanged);
                }
                Effect::PeerDown { .. } => self.tell(Event::PeersChanged),
                Effect::Presence { node, online } => self.tell(Event::Presence { node, online }),
            }
        }
        self.effects = effects;
        // Whoever hears that something is in finds that everybody was told of it.
        for (reply, report) in imported {
            _ = reply.send(report);
        }
        for reply in std::mem::take(&mut self.leaving) {
            _ = reply.send(());
        }
        for reply in std::mem::take(&mut self.statuses) {
            _ = reply.send(self.status()?);
        }
        for reply in std::mem::take(&mut self.members) {
            _ = reply.send(self.member_list()?);
        }
        for reply in std::mem::take(&mut self.invites) {
            _ = reply.send(self.replica.invites()?.iter().map(invite_info).collect());
        }
        Ok(())
    }

    fn member_list(&self) -> Result<Vec<MemberInfo>, Failure> {
        let me = self.replica.node();
        let mut members = self.replica.members()?;
        members.sort_by_key(|member| (member.stays.is_some(), member.joined, member.node));
        Ok(members.iter().map(|member| member_info(member, &me)).collect())
    }

    fn tell(&self, event: Event) {
        // Fails only when nobody listens.
        _ = self.events.send(event);
    }

    /// The replica's credit bounds what is in flight, so a full queue means a peer that breaks the rules of credit or
    /// a socket that is stuck: that link ends, and resumes from its heads when it is dialled again.
    fn link_send(&mut self, link: LinkId, command: LinkCommand) {
        if let Some((queue, _)) = self.links.get(&link)
            && queue.try_send(command).is_err()
        {
            debug!(link = link.0, "the link takes no more data and is closed");
            self.links.remove(&link);
        }
    }

    fn status(&self) -> Result<Status, Failure> {
        let replica = &self.replica;
        let (totals, me) = (replica.totals(), replica.node());
        let heads = replica.heads();
        let (own, links) = (replica.height(&me), replica.links());
        let holders = links.iter().filter(|link| own > 0 && link.holds >= own).count() as u32;
        let (parked, parked_bytes) = replica.parked();
        let standing = replica.standing();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: me.to_string(),
            ledger: replica.ledger().to_string(),
            name: match self.beginning.name() {
                Some(name) => name.to_owned(),
                None => replica.ledger_name()?.unwrap_or_default(),
            },
            open: self.beginning.name().is_some(),
            role: standing.role.map(|role| role.name().to_owned()),
            removed: standing.removed,
            members: standing.members as u64,
            turns: self.turns,
            totals: Totals { blocks: totals.blocks, entries: totals.entries, bytes: totals.bytes },
            digest: hex::encode(replica.digest()),
            last_seq: replica.last_seq(),
            heads: heads.iter().flat_map(|(author, tips)| tips.iter().map(|tip| tip_info(author, tip))).collect(),
            frozen: replica
                .frozen()
                .iter()
                .map(|(author, height)| Lane { author: author.to_string(), height: *height })
                .collect(),
            held: Held { height: own, nodes: holders },
            restoring: replica.is_restoring(),
            repairing: replica.repairing() as u64,
            parked: Parked { blocks: parked as u64, bytes: parked_bytes as u64 },
            links: links
                .iter()
                .map(|link| LinkInfo {
                    link: link.link.0,
                    node: link.node.map(|node| node.to_string()),
                    path: link.path.name().to_owned(),
                    dialled: link.role == Role::Dialled,
                    since: link.node.map(|_| link.since.to_string()),
                    round_trip: link.round_trip,
                    received: link.bytes.0,
                    sent: link.bytes.1,
                    done: link.progress.0,
                    total: link.progress.1,
                    remaining: link.remaining,
                })
                .collect(),
            addresses: replica.addresses().iter().map(ToString::to_string).collect(),
            peers: replica.peers().iter().map(peer_info).collect(),
            known_nodes: replica.known_nodes().iter().map(ToString::to_string).collect(),
            ..Status::default()
        })
    }
}

fn member_info(member: &MemberStatus, me: &NodeId) -> MemberInfo {
    MemberInfo {
        node: member.node.to_string(),
        name: member.name.clone(),
        role: member.role.name().to_owned(),
        joined: member.joined.to_string(),
        by: member.by.map(|by| by.to_string()),
        removed: member.stays.is_some(),
        me: member.node == *me,
    }
}

fn invite_info(invite: &InviteStatus) -> InviteInfo {
    InviteInfo {
        block: invite.block.to_string(),
        by: invite.by.to_string(),
        role: invite.role.name().to_owned(),
        uses: invite.uses,
        used: invite.used,
        expires: (invite.expires < Timestamp::MAX).then(|| invite.expires.to_string()),
        open: !invite.closed && invite.expires > now(),
    }
}

fn tip_info(author: &NodeId, (height, hash): &(u64, BlockHash)) -> Tip {
    Tip { author: author.to_string(), height: *height, hash: hash.to_string() }
}

/// The wall clock. Before 1970 and after 255 thousand years it stands still.
fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    u64::try_from(micros).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::MAX)
}

fn peer_info(peer: &PeerStatus) -> PeerInfo {
    PeerInfo {
        node: peer.node.to_string(),
        addresses: peer.addresses.iter().map(ToString::to_string).collect(),
        online: peer.via.is_some(),
        path: peer.via.map(|via| via.name().to_owned()),
        seen: peer.seen.map(|seen| seen.to_string()),
    }
}
