//! A hub's door and its pace: strangers put out strangers, and who sends too much waits or is closed.

use std::collections::BTreeMap;

use crate::common::{at, block, config, key, ledger, node_id};
use shared::{
    BlockHash, CloseReason, Config, Effect, Input, Key, LedgerId, LinkId, MemoryStore, NodeId, ReadStore, Replica,
    Role, Store,
    block::open_ledger,
    limits::{
        AUTHOR_BLOCK_EVERY, AUTHOR_BLOCKS, CREDIT_EVERY, CREDIT_SIGN, DEBT_BLOCKS, DOOR_LINKS, LINK_WINDOW_FRAMES,
        LINKS, PEER_FRAMES, STALL_TIMEOUT,
    },
    wire::{Envelope, Message, auth_message, decode_frame},
};

const START: u64 = 1_000_000_000_000;
const HUB: u8 = 200;
/// The row in which a hub notes who is in debt.
const DEBTS: &str = "debts";

/// No credit.
const NONE: [u64; 0] = [];

struct Hub {
    replica: Option<Replica<MemoryStore>>,
    now: u64,
    sent: BTreeMap<LinkId, Vec<Message>>,
    closed: BTreeMap<LinkId, CloseReason>,
    states: BTreeMap<LinkId, Vec<u8>>,
}

impl Hub {
    fn new(pace: bool, store: MemoryStore) -> Self {
        let mut hub =
            Self { replica: None, now: START, sent: BTreeMap::new(), closed: BTreeMap::new(), states: BTreeMap::new() };
        hub.start(pace, store, &[]);
        hub
    }

    fn start(&mut self, pace: bool, store: MemoryStore, links: &[(LinkId, Vec<u8>)]) {
        let config = Config { pace, ..config(HUB, false, 7) };
        let mut effects = Vec::new();
        let mut replica = Replica::restore(config, store, links, at(self.now), &mut effects).unwrap();
        replica.commit(at(self.now), &mut effects).unwrap();
        self.replica = Some(replica);
        self.perform(effects);
    }

    fn turn(&mut self, inputs: Vec<Input>) {
        let replica = self.replica.as_mut().unwrap();
        let mut effects = Vec::new();
        for input in inputs {
            replica.handle(at(self.now), input, &mut effects).unwrap();
        }
        replica.commit(at(self.now), &mut effects).unwrap();
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { link, bytes } => {
                    let messages = decode_frame(&bytes).unwrap().into_iter().map(|envelope| envelope.message);
                    self.sent.entry(link).or_default().extend(messages);
                }
                Effect::Close { link, reason } => _ = self.closed.insert(link, reason),
                Effect::Remember { link, state } => _ = self.states.insert(link, state),
                _ => {}
            }
        }
    }

    fn open(&mut self, number: u64) -> LinkId {
        let link = LinkId(number);
        self.turn(vec![Input::relay_opened(link, Role::Accepted)]);
        link
    }

    fn say(&mut self, link: LinkId, key: &Key, message: Message) {
        self.turn(vec![frame(link, key, message)]);
    }

    fn hello(&mut self, link: LinkId, key: &Key) {
        let hello = Message::Hello { version: 1, ledger: ledger(), node: key.node(), nonce: [9; 32] };
        self.say(link, key, hello);
    }

    fn prove(&mut self, link: LinkId, key: &Key) {
        let hello = self.sent.get(&link).and_then(|sent| sent.first()).cloned();
        let Some(Message::Hello { nonce, .. }) = hello else { panic!("{hello:?}") };
        let message = auth_message(&ledger(), (&key.node(), &[9; 32]), (&node_id(HUB), &nonce));
        self.say(link, key, Message::Auth { signature: key.sign(&message) });
    }

    /// Somebody who has proved a key.
    fn peer(&mut self, number: u64, key: &Key) -> LinkId {
        let link = self.open(number);
        self.hello(link, key);
        self.prove(link, key);
        assert!(self.is_up(link));
        link
    }

    fn is_up(&self, link: LinkId) -> bool {
        let links = self.replica.as_ref().unwrap().links();
        links.iter().any(|status| status.link == link && status.node.is_some())
    }

    fn wait(&mut self, micros: u64) {
        self.now += micros;
        self.turn(vec![Input::Wake]);
    }

    /// Credit that a link was given since the last time: each message's frames.
    fn credit(&mut self, link: LinkId) -> Vec<u64> {
        let sent = self.sent.remove(&link).unwrap_or_default();
        let frames = |message: &Message| match message {
            Message::Credit { frames, .. } => Some(*frames),
            _ => None,
        };
        sent.iter().filter_map(frames).collect()
    }
}

fn frame(link: LinkId, key: &Key, message: Message) -> Input {
    let envelope = Envelope { message_id: [0; 16], sender: key.node(), recipient: None, message };
    Input::Frame { link, bytes: envelope.encode() }
}

fn nothing_new() -> Message {
    Message::announce(vec![], 0)
}

fn news(author: u8, height: u64, parent: Option<BlockHash>) -> (Message, BlockHash) {
    let block = block(author, height, START + height, parent.as_slice(), &[b"1"]);
    (Message::announce(vec![block.bytes().to_vec()], 0), block.hash())
}

/// A store whose hub has taken all that an author may write at once, and `more` blocks.
fn in_debt(author: u8, more: u64) -> MemoryStore {
    let mut store = MemoryStore::default();
    let debt = (AUTHOR_BLOCKS + more) * AUTHOR_BLOCK_EVERY;
    let note = [&START.to_be_bytes()[..], node_id(author).as_bytes(), &debt.to_be_bytes()].concat();
    let Ok(()) = store.set_meta(DEBTS, &note);
    store
}

#[test]
fn strangers_put_out_strangers_and_nobody_who_is_in() {
    let mut hub = Hub::new(true, MemoryStore::default());
    let member = hub.peer(1, &key(1));
    let strangers = 3 * DOOR_LINKS as u64;
    for number in 2..2 + strangers {
        let link = hub.open(number);
        hub.hello(link, &key(2));
        assert!(hub.replica.as_ref().unwrap().links().len() <= 1 + DOOR_LINKS);
    }
    assert!(hub.is_up(member));
    assert_eq!(hub.closed.len() as u64, strangers - DOOR_LINKS as u64);
    assert!(hub.closed.values().all(|reason| *reason == CloseReason::Full));
}

#[test]
fn strangers_take_no_place_of_those_who_belong() {
    let mut hub = Hub::new(true, MemoryStore::default());
    // All places but one are taken, here by those whom it dials itself.
    let dialled = (1..LINKS as u64).map(|number| Input::relay_opened(LinkId(number), Role::Dialled));
    hub.turn(dialled.collect());
    let strangers = (0..DOOR_LINKS as u64).map(|n| Input::relay_opened(LinkId(1_000_000 + n), Role::Accepted));
    hub.turn(strangers.collect());
    assert!(hub.closed.is_empty());
    // Its second step is further than theirs, so none of them puts it out.
    let member = hub.peer(LINKS as u64, &key(1));
    assert_eq!(hub.closed.values().collect::<Vec<_>>(), [&CloseReason::Full], "one stranger made room at the door");
    assert!(hub.is_up(member));
}

#[test]
fn who_has_said_hello_outlives_those_who_say_nothing() {
    let mut hub = Hub::new(true, MemoryStore::default());
    let newcomer = hub.open(1);
    hub.hello(newcomer, &key(1));
    (2..4 * DOOR_LINKS as u64).for_each(|number| _ = hub.open(number));
    hub.prove(newcomer, &key(1));
    assert!(hub.is_up(newcomer));
}

#[test]
fn newcomers_come_in_through_a_flood_that_does_as_they_do() {
    let mut hub = Hub::new(true, MemoryStore::default());
    let mut number = 0;
    let mut flood = |hub: &mut Hub, count: usize| {
        for _ in 0..count {
            number += 1;
            let link = hub.open(number);
            hub.hello(link, &key(2));
        }
    };
    flood(&mut hub, DOOR_LINKS);
    // Between a newcomer's hello and its proof come as many strangers as the door has places: with the oldest put out first
    // none would come in, with the newest refused none either.
    let came_in = (0..24_u64).filter(|newcomer| {
        let link = hub.open(1_000_000 + newcomer);
        hub.hello(link, &key(1));
        flood(&mut hub, DOOR_LINKS);
        if hub.closed.contains_key(&link) {
            return false;
        }
        hub.prove(link, &key(1));
        hub.is_up(link)
    });
    // 1/e of them, give or take.
    assert!((4..=15).contains(&came_in.count()));
}

#[test]
fn a_proof_counts_on_its_own_link_and_nowhere_else() {
    let other = open_ledger("other");
    let (own, peer) = ((node_id(1), [9; 32]), (node_id(HUB), [0; 32]));
    let signed = |ledger: &LedgerId, own: &(NodeId, [u8; 32]), peer: &(NodeId, [u8; 32])| {
        key(1).sign(&auth_message(ledger, (&own.0, &own.1), (&peer.0, &peer.1)))
    };
    let mut hub = Hub::new(true, MemoryStore::default());
    let first = hub.peer(1, &key(1));
    let Some(Message::Hello { nonce: replayed, .. }) = hub.sent[&first].first() else { panic!("no hello") };
    let replayed = *replayed;
    for case in 0..7 {
        let link = hub.open(2);
        hub.hello(link, &key(1));
        let Some(Message::Hello { nonce, .. }) = hub.sent[&link].last_chunk::<2>().map(|[hello, _]| hello) else {
            panic!("no hello")
        };
        let peer = (peer.0, *nonce);
        let signature = match case {
            // What it said on another link, before or at once.
            0 => signed(&ledger(), &own, &(peer.0, replayed)),
            1 => signed(&other, &own, &peer),
            2 => signed(&ledger(), &(own.0, [8; 32]), &peer),
            3 => signed(&ledger(), &(node_id(2), own.1), &peer),
            // To another node, which hands it on.
            4 => signed(&ledger(), &own, &(node_id(2), peer.1)),
            5 => key(2).sign(&auth_message(&ledger(), (&own.0, &own.1), (&peer.0, &peer.1))),
            _ => signed(&ledger(), &own, &peer),
        };
        hub.say(link, &key(1), Message::Auth { signature });
        let expected = (case < 6).then_some(CloseReason::WrongProof);
        assert_eq!((hub.closed.remove(&link), hub.is_up(link)), (expected, case == 6), "case {case}");
    }
}

#[test]
fn who_sends_more_than_its_credit_is_closed() {
    for (frames, closed) in [(LINK_WINDOW_FRAMES, None), (LINK_WINDOW_FRAMES + 1, Some(1002))] {
        let mut hub = Hub::new(false, MemoryStore::default());
        let link = hub.peer(1, &key(1));
        hub.turn((0..frames).map(|_| frame(link, &key(1), nothing_new())).collect());
        assert_eq!(hub.closed.get(&link).map(CloseReason::code), closed);
    }
}

#[test]
fn credit_for_more_than_the_pace_comes_late_and_who_does_not_wait_for_it_is_closed() {
    let mut hub = Hub::new(true, MemoryStore::default());
    let link = hub.peer(1, &key(1));
    hub.credit(link);
    for _ in 0..PEER_FRAMES {
        hub.say(link, &key(1), nothing_new());
        assert_eq!(hub.credit(link), [1]);
    }
    (0..50).for_each(|_| hub.say(link, &key(1), nothing_new()));
    assert_eq!(hub.credit(link), NONE);
    hub.wait(CREDIT_EVERY);
    assert_eq!(hub.credit(link), [50]);
    // Half of that second is still to be used.
    (0..50 + LINK_WINDOW_FRAMES).for_each(|_| hub.say(link, &key(1), nothing_new()));
    assert_eq!(hub.credit(link), [1; 50]);
    assert!(hub.is_up(link));
    hub.say(link, &key(1), nothing_new());
    assert_eq!(hub.closed[&link].code(), 1002);
    // Another link of the same node begins where this one ended.
    let again = hub.peer(2, &key(1));
    hub.credit(again);
    hub.say(again, &key(1), nothing_new());
    assert_eq!(hub.credit(again), NONE);
}

#[test]
fn an_author_in_debt_waits_and_hears_that_it_is_not_forgotten() {
    let mut hub = Hub::new(true, in_debt(1, 2));
    let (link, other) = (hub.peer(1, &key(1)), hub.peer(2, &key(2)));
    let (message, first) = news(1, 1, None);
    hub.credit(link);
    hub.say(link, &key(1), message);
    // It is taken all the same.
    assert!(hub.replica.as_ref().unwrap().store().block(&first).unwrap().is_some());
    const {
        assert!(CREDIT_SIGN < STALL_TIMEOUT && CREDIT_SIGN > AUTHOR_BLOCK_EVERY && CREDIT_SIGN < 2 * AUTHOR_BLOCK_EVERY)
    };
    assert_eq!(hub.credit(link), NONE);
    hub.wait(CREDIT_SIGN);
    assert_eq!(hub.credit(link), [0]);
    hub.wait(3 * AUTHOR_BLOCK_EVERY - CREDIT_SIGN - 1);
    assert_eq!(hub.credit(link), NONE);
    hub.wait(CREDIT_EVERY);
    assert_eq!(hub.credit(link), [1]);
    // Nobody waits for what another one writes.
    hub.credit(other);
    hub.say(other, &key(2), news(2, 1, None).0);
    assert_eq!(hub.credit(other), [1]);
}

#[test]
fn without_a_pace_nobody_waits() {
    let mut hub = Hub::new(false, in_debt(1, 100));
    let link = hub.peer(1, &key(1));
    hub.credit(link);
    let (message, _) = news(1, 1, None);
    hub.say(link, &key(1), message);
    assert_eq!(hub.credit(link), [1]);
}

#[test]
fn a_hub_that_slept_owes_no_credit_and_knows_who_is_in_debt() {
    let mut hub = Hub::new(true, in_debt(1, 0));
    let link = hub.peer(1, &key(1));
    let mut parent = None;
    for height in 1..=DEBT_BLOCKS {
        let (message, hash) = news(1, height, parent);
        parent = Some(hash);
        hub.say(link, &key(1), message);
    }
    assert!(!hub.credit(link).contains(&1));
    let store = hub.replica.take().unwrap().store().clone();
    let state = hub.states[&link].clone();
    hub.start(true, store, &[(link, state)]);
    assert_eq!(hub.credit(link), [DEBT_BLOCKS]);
    hub.say(link, &key(1), news(1, DEBT_BLOCKS + 1, parent).0);
    assert_eq!(hub.credit(link), NONE);
    hub.wait((DEBT_BLOCKS + 1) * AUTHOR_BLOCK_EVERY);
    assert_eq!(hub.credit(link), [1]);
}

#[test]
fn who_chatters_without_being_asked_is_closed() {
    let mut hub = Hub::new(true, MemoryStore::default());
    let link = hub.peer(1, &key(1));
    let chatter = || Message::Have { lanes: vec![] };
    // What answers a frame is no chatter: a greeting, a proof and the heads came before.
    let asked = hub.sent.get(&link).map_or(0, Vec::len) as u64;
    for _ in 0..PEER_FRAMES {
        hub.say(link, &key(1), chatter());
    }
    assert!(hub.is_up(link));
    (0..=asked).for_each(|_| hub.say(link, &key(1), chatter()));
    assert_eq!(hub.closed[&link], CloseReason::TooFast);
    // Another one may do so slowly for as long as it likes.
    let slow = hub.peer(2, &key(2));
    for _ in 0..2 * PEER_FRAMES {
        hub.now += 10_000;
        hub.say(slow, &key(2), chatter());
    }
    assert!(hub.is_up(slow));
}

#[test]
fn what_strangers_say_is_bounded_in_number_and_bytes() {
    let long = vec![0; 1025];
    let hello = |key: &Key| Message::Hello { version: 1, ledger: ledger(), node: key.node(), nonce: [9; 32] };
    for said in [2, 3] {
        let mut hub = Hub::new(true, MemoryStore::default());
        let link = hub.open(1);
        for _ in 0..said {
            hub.say(link, &key(1), hello(&key(1)));
        }
        assert_eq!((hub.closed[&link].code(), hub.replica.as_ref().unwrap().links().len()), (1002, 0));
    }
    let mut hub = Hub::new(true, MemoryStore::default());
    let link = hub.open(1);
    hub.turn(vec![Input::Frame { link, bytes: long }]);
    assert_eq!(hub.closed[&link].code(), 1002);
    assert_eq!(hub.replica.as_ref().unwrap().store().meta(DEBTS), Ok(None));
}

#[test]
fn a_block_that_was_there_costs_its_author_nothing() {
    let mut hub = Hub::new(true, in_debt(1, 0));
    let (link, message) = (hub.peer(1, &key(1)), news(1, 1, None).0);
    hub.say(link, &key(1), message.clone());
    let due = hub.now + AUTHOR_BLOCK_EVERY;
    (0..20).for_each(|_| hub.say(link, &key(1), message.clone()));
    hub.credit(link);
    hub.wait(due - hub.now);
    assert_eq!(hub.credit(link), [21]);
}
