//! A replica over rows that no replica wrote: a typed error or a ledger, never a panic and never a search without end.

use std::sync::OnceLock;

use shared::{
    BlockHash, Effect, EntryId, Input, Keyring, LinkId, MemoryStore, OrderKey, ReadStore, Replica, Role, Store,
    Summary,
    limits::PAGE_BYTES,
    view::{self, Cursor},
};

use crate::{
    choices::Choices,
    made::{self, START, at, config, data, node_id},
    net::{ALL, check_caps},
};

const META: &[&str] = &["ledger", "checkpoint", "frozen", "rebuild", "repair"];

/// A store with lanes, tips, a checkpoint, a fork and its proof.
fn history() -> &'static MemoryStore {
    static STORE: OnceLock<MemoryStore> = OnceLock::new();
    STORE.get_or_init(|| {
        let mut effects = Vec::new();
        let opened = Replica::restore(config(0, true, 1), MemoryStore::default(), &[], at(START), &mut effects);
        let Ok(mut replica) = opened else { panic!("an empty store opens") };
        let lie = |payload: &[u8]| made::block(4, 1, START, Vec::new(), data(payload)).bytes().to_vec();
        let inputs = [
            Input::Append { token: 1, payloads: vec![b"1".to_vec(), b"2".to_vec()] },
            Input::import(0, vec![lie(b"\"one\"")]),
            Input::Append { token: 1, payloads: vec![b"3".to_vec()] },
            Input::import(0, vec![lie(b"\"other\"")]),
            Input::Append { token: 1, payloads: vec![b"4".to_vec()] },
        ];
        for (step, input) in inputs.into_iter().enumerate() {
            let now = at(START + 10 * step as u64);
            replica.handle(now, input, &mut effects).expect("a store in memory never fails");
            replica.commit(now, &mut effects).expect("a store in memory never fails");
        }
        assert_eq!(replica.frozen().len(), 1);
        replica.checkpoint().expect("a store in memory never fails");
        replica.store().clone()
    })
}

/// Values of a store that came from nowhere.
pub(super) fn rows(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut store = if choices.below(5) == 0 { MemoryStore::default() } else { history().clone() };
    for _ in 0..=choices.below(6) {
        let Ok(()) = spoil(&mut store, &mut choices);
    }
    read(&store, &mut choices);
    live(store, &mut choices);
}

fn changed(bytes: &mut Vec<u8>, choices: &mut Choices<'_>) {
    if choices.below(5) == 0 {
        *bytes = choices.bytes(300).to_vec();
    }
    for _ in 0..=choices.below(4) {
        let at = choices.number() as usize % (bytes.len() + 1);
        match choices.below(4) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, choices.bytes(20).iter().copied())),
            2 => {
                let number = choices.number().to_be_bytes();
                let end = (at + 8).min(bytes.len());
                bytes.splice(at..end, number);
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << choices.below(8),
            _ => {}
        }
    }
}

/// Changes one row or value.
fn spoil<S: Store>(store: &mut S, choices: &mut Choices<'_>) -> Result<(), S::Error> {
    let records = store.after(None, ALL)?;
    match choices.below(6) {
        0 | 1 => {
            let key = match choices.below(6) {
                5 => format!("evidence/{}", node_id(choices.byte())),
                n => META[n % META.len()].to_owned(),
            };
            let mut value = store.meta(&key)?.unwrap_or_default();
            changed(&mut value, choices);
            store.set_meta(&key, &value)
        }
        2 => match choices.pick(&records) {
            Some(record) => store.remove(&record.summary.hash),
            None => Ok(()),
        },
        3 => {
            let Some(record) = choices.pick(&records) else { return Ok(()) };
            let mut bytes = record.bytes.clone();
            changed(&mut bytes, choices);
            store.remove(&record.summary.hash)?;
            store.append(&record.summary, &bytes)
        }
        4 => {
            let Some(record) = choices.pick(&records) else { return Ok(()) };
            let mut summary = record.summary;
            match choices.below(6) {
                0 => summary.seq = choices.number(),
                1 => summary.height = choices.number(),
                2 => summary.timestamp = at(choices.number()),
                3 => summary.entries = choices.number() as u32,
                4 => summary.author = node_id(choices.byte()),
                _ => summary.hash = BlockHash::from_bytes(choices.array()),
            }
            store.remove(&record.summary.hash)?;
            store.append(&summary, &record.bytes)
        }
        _ => {
            let hashes: Vec<BlockHash> = records.iter().map(|record| record.summary.hash).collect();
            let block = made::signed_block(choices, &hashes);
            let header = block.header();
            let summary = Summary {
                seq: choices.number(),
                hash: block.hash(),
                author: header.author,
                height: header.height,
                timestamp: header.timestamp,
                entries: block.entries().len() as u32,
            };
            store.append(&summary, block.bytes())
        }
    }
}

/// Everything that is shown to clients.
pub(super) fn read<S: ReadStore>(store: &S, choices: &mut Choices<'_>) {
    drop(view::newest(store, 50, 100_000, &Keyring::default()));
    drop(view::newest(store, usize::MAX, usize::MAX, &Keyring::default()));
    drop(view::after(store, None, usize::MAX, &Keyring::default()));
    let id = EntryId { author: node_id(choices.byte()), height: choices.number(), index: choices.number() as u32 };
    drop(view::entry(store, &id, &Keyring::default()));
    drop(view::after(store, Some(&id), 10, &Keyring::default()));
    drop(view::cursor_behind(store, node_id(0), &id));
    let mut cursor = Cursor { node: node_id(0), seq: choices.number(), entries: choices.number() as u32 };
    for _ in 0..100 {
        match view::arrived(store, cursor, 3, PAGE_BYTES, &Keyring::default()) {
            Ok((entries, reached)) if !entries.is_empty() => {
                assert!(reached.seq > cursor.seq || reached.entries > cursor.entries, "a follower stands still");
                cursor = reached;
            }
            _ => return,
        }
    }
}

/// A replica opens the store and works on it until it fails.
pub(super) fn live<S: Store>(store: S, choices: &mut Choices<'_>) {
    let mut now = START + 1_000;
    let mut effects = Vec::new();
    let Ok(mut replica) = Replica::restore(config(0, true, 2), store, &[], at(now), &mut effects) else { return };
    let fork = |payload: &[u8]| made::block(3, 1, START, Vec::new(), data(payload)).bytes().to_vec();
    let inputs = [
        Input::relay_opened(LinkId(1), Role::Accepted),
        Input::Append { token: 1, payloads: vec![b"5".to_vec()] },
        Input::import(0, vec![fork(b"1")]),
        Input::Wake,
        Input::import(0, vec![fork(b"2")]),
        Input::Append { token: 1, payloads: vec![b"6".to_vec()] },
    ];
    for input in inputs {
        now += 1_000;
        if replica.handle(at(now), input, &mut effects).is_err() || replica.commit(at(now), &mut effects).is_err() {
            return;
        }
    }
    drop((replica.totals(), replica.heads(), replica.digest(), replica.known_nodes(), replica.next_wake()));
    drop(replica.checkpoint());
    let key = OrderKey { timestamp: at(choices.number()), hash: BlockHash::from_bytes([0; 32]) };
    drop((replica.store().after(Some(&key), ALL), replica.store().before(Some(&key), ALL)));
}

/// What a Durable Object kept with its sockets: any bytes, for several links.
pub(super) fn link_state(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let links: Vec<(LinkId, Vec<u8>)> =
        (0..=choices.below(4)).map(|n| (LinkId(n as u64), state(&mut choices))).collect();
    let mut now = START + 1_000;
    let mut effects = Vec::new();
    let opened = Replica::restore(config(0, false, 2), history().clone(), &links, at(now), &mut effects);
    let Ok(mut replica) = opened else { panic!("a link's state stops a replica") };
    replica.commit(at(now), &mut effects).expect("a store in memory never fails");
    check_caps(&replica, &effects);
    while !choices.is_empty() {
        now += choices.number() % 30_000_000;
        let link = LinkId(choices.below(6) as u64);
        let input = match choices.below(5) {
            0 => Input::Wake,
            1 => Input::LinkClosed { link },
            2 => Input::Frame { link, bytes: choices.bytes(200).to_vec() },
            _ => {
                let sender = node_id(choices.byte());
                Input::Frame { link, bytes: made::envelope(sender, made::message(&mut choices, &[], &[])) }
            }
        };
        let mut effects = Vec::new();
        replica.handle(at(now), input, &mut effects).expect("a store in memory never fails");
        replica.commit(at(now), &mut effects).expect("a store in memory never fails");
        check_caps(&replica, &effects);
        check_states(&effects);
    }
}

fn state(choices: &mut Choices<'_>) -> Vec<u8> {
    if choices.below(4) == 0 {
        return choices.bytes(240).to_vec();
    }
    let fixed = [choices.byte() % 4, choices.byte() % 4, choices.byte() % 3];
    let peer = node_id(choices.byte());
    [&fixed[..], &choices.array::<32>(), peer.as_bytes(), &choices.array::<32>()].concat()
}

/// What a replica wants remembered opens again as the same.
fn check_states(effects: &[Effect]) {
    for effect in effects {
        let Effect::Remember { link, state } = effect else { continue };
        let links = [(*link, state.clone())];
        let mut again = Vec::new();
        let opened = Replica::restore(config(0, false, 3), history().clone(), &links, at(START), &mut again);
        let Ok(replica) = opened else { panic!("a link's state stops a replica") };
        assert_eq!(replica.links().len(), 1);
    }
}
