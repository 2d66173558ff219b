//! The handle, over real files.

use futures_util::future::join_all;
use shared::{BlockHash, Entry, Header, Key, Kind, Page, ReadStore, VerifiedBlock, erase::Erase, limits};

use super::*;
use crate::data::DataDir;

fn start(dir: &DataDir) -> (Host, HostThread) {
    Host::start(dir.lock().unwrap().open(None).unwrap()).unwrap()
}

fn temporary() -> (tempfile::TempDir, DataDir) {
    let directory = tempfile::tempdir().unwrap();
    let dir = DataDir::new(directory.path());
    (directory, dir)
}

fn payload(n: usize) -> Vec<u8> {
    n.to_string().into_bytes()
}

#[tokio::test]
async fn appends_keep_their_order_and_share_blocks() {
    const APPENDS: usize = 2_000;
    let (_guard, dir) = temporary();
    let (host, mut thread) = start(&dir);
    let mut events = host.events();
    let mut waiting = Vec::new();
    for n in 0..APPENDS {
        waiting.push(host.append(vec![payload(2 * n), payload(2 * n + 1)]).await.unwrap());
    }
    let answers: Vec<Appended> =
        join_all(waiting).await.into_iter().flat_map(|answer| answer.unwrap().unwrap()).collect();
    assert!(answers.is_sorted_by_key(|entry| (entry.id().height, entry.id().index)));
    let status = host.status().await.unwrap();
    assert_eq!(status.totals.entries as usize, 2 * APPENDS);
    assert!(status.totals.blocks < APPENDS as u64, "{} blocks", status.totals.blocks);
    assert_eq!(status.last_seq, host.last_seq());
    // The first event is the first block, and shares the text of its entries with the answers.
    let Event::Added { seq: 1, block } = events.recv().await.unwrap() else { panic!("not the first block") };
    assert!(std::ptr::eq(&*block.entries()[0], answers[0].json()));
    let view: EntryView = serde_json::from_str(answers[7].json().get()).unwrap();
    assert_eq!((view.id, view.data.get()), (answers[7].id().to_string(), "7"));
    host.stop();
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn refused_appends_say_why_and_leave_no_trace() {
    let (_guard, dir) = temporary();
    let (host, mut thread) = start(&dir);
    let refused = |payloads: Vec<Vec<u8>>| {
        let host = host.clone();
        async move { host.append(payloads).await.unwrap().await.unwrap().unwrap_err() }
    };
    assert_eq!(refused(vec![]).await, AppendError::Empty);
    let large = refused(vec![payload(1), vec![b'1'; limits::PAYLOAD_BYTES + 1]]).await;
    assert!(matches!(large, AppendError::PayloadTooLarge { len: 65_537, .. }), "{large}");
    let many = refused(vec![payload(1); limits::APPEND_ENTRIES + 1]).await;
    assert!(matches!(many, AppendError::TooManyEntries { .. }), "{many}");
    assert_eq!(host.status().await.unwrap().totals, Totals::default());
    host.stop();
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn a_host_that_stopped_says_so_and_the_next_one_goes_on() {
    let (_guard, dir) = temporary();
    let (host, mut thread) = start(&dir);
    let first = host.append(vec![payload(1)]).await.unwrap();
    // What waited before the stop is still done.
    host.stop();
    assert_eq!(first.await.unwrap().unwrap()[0].id().height, 1);
    thread.ended().await.unwrap();
    assert_eq!(host.append(vec![payload(2)]).await.err(), Some(Stopped));
    assert!(host.status().await.is_err() && host.import(vec![]).await.is_err());
    assert!(host.open_link(Role::Dialled, LinkPath::Relay, None).await.is_err());
    let node = host.node();
    drop(host);

    let (host, mut thread) = start(&dir);
    assert_eq!(host.node(), node);
    let next = host.append(vec![payload(3)]).await.unwrap().await.unwrap().unwrap();
    assert_eq!((next[0].id().height, host.last_seq()), (2, 2));
    host.stop();
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn many_reads_share_few_connections_and_outlive_a_panic() {
    let (_guard, dir) = temporary();
    let (host, mut thread) = start(&dir);
    host.append(vec![payload(1)]).await.unwrap().await.unwrap().unwrap();
    let count = |store: &SqliteReader| store.after(None, Page::ONE).unwrap().len();
    for _ in 0..2 * READERS {
        assert!(host.read(|_| panic!("a bug of the caller")).await.is_err_and(|_: ReadError| true));
    }
    let reads = join_all((0..50).map(|_| host.read(count))).await;
    assert!(reads.into_iter().all(|read| read.unwrap() == 1));
    assert!(host.inner.readers.lock().unwrap().len() <= READERS);
    let nothing = host.read(|store| store.summary(&BlockHash::from_bytes([0; 32]))).await.unwrap().unwrap();
    assert_eq!(nothing, None);
    host.stop();
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn a_link_that_breaks_the_protocol_is_closed_and_forgotten() {
    let (_guard, dir) = temporary();
    let (host, mut thread) = start(&dir);
    let (port, mut commands) = host.open_link(Role::Accepted, LinkPath::Relay, None).await.unwrap();
    assert_eq!(host.status().await.unwrap().links.len(), 1);
    // No frame is known that begins like this, so the replica closes the link, and forgets what comes later.
    port.frame(b"nonsense".to_vec()).await.unwrap();
    port.frame(b"more of it".to_vec()).await.unwrap();
    let mut last = None;
    while let Some(command) = commands.recv().await {
        last = Some(command);
    }
    assert!(matches!(last, Some(LinkCommand::Close { code: 1002, .. })), "{last:?}");
    assert_eq!(host.status().await.unwrap().links.len(), 0);
    drop(port);
    host.stop();
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn an_erase_that_comes_from_elsewhere_is_told() {
    let (_guard, dir) = temporary();
    let (host, mut thread) = start(&dir);
    let mut events = host.events();
    let key = Key::from_secret(&[9; 32]);
    let signed = |height, parents, entry| {
        let timestamp = Timestamp::from_micros(1_000 * height).unwrap();
        let header = Header { ledger: host.ledger(), author: key.node(), height, timestamp, parents };
        VerifiedBlock::sign(header, vec![entry], &key)
    };
    let said = signed(1, vec![], Entry::new(Kind::DATA, [1; 16], payload(1)));
    let erase = Erase { block: said.hash(), entry: said.entry_id(0), power: None };
    let erased = signed(2, vec![said.hash()], Entry::new(Kind::ERASE, [1; 16], erase.encode()));
    host.import([&said, &erased].map(|block| block.bytes().to_vec()).into()).await.unwrap();
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Erased { entry, by, at } = event {
            told.push((entry, by, at));
        }
    }
    assert_eq!(told, [(said.entry_id(0), key.node(), erased.header().timestamp)]);
    host.stop();
    thread.ended().await.unwrap();
}

/// A lane of one author, a block for each number of entries.
fn lane(entries: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    let key = Key::from_secret(&[5; 32]);
    let mut parents = Vec::new();
    let block = |(n, count): (usize, usize)| {
        let (ledger, author) = (shared::block::open_ledger(crate::data::DEFAULT_LEDGER), key.node());
        let timestamp = Timestamp::from_micros(1_700_000_000_000_000 + 1_000 * n as u64).unwrap();
        let header = Header { ledger, author, height: n as u64 + 1, timestamp, parents: std::mem::take(&mut parents) };
        let entries = (0..count).map(|index| Entry::new(Kind::DATA, [7; 16], payload(index))).collect();
        let block = VerifiedBlock::sign(header, entries, &key);
        parents = vec![block.hash()];
        block.bytes().to_vec()
    };
    entries.into_iter().enumerate().map(block).collect()
}

/// The first part takes long to check, the others do not.
#[tokio::test]
async fn imports_are_taken_in_the_order_in_which_they_were_asked_for() {
    let (_guard, dir) = temporary();
    let (host, mut thread) = start(&dir);
    let blocks = lane(std::iter::repeat_n(256, 64).chain([1; 8]));
    let (large, small) = blocks.split_at(64);
    let parts = std::iter::once(large.to_vec()).chain(small.iter().map(|block| vec![block.clone()]));
    let reports = join_all(parts.map(|part| host.import(part))).await;
    assert_eq!(
        reports.into_iter().map(|report| report.unwrap().added).collect::<Vec<_>>(),
        [64, 1, 1, 1, 1, 1, 1, 1, 1]
    );
    host.stop();
    thread.ended().await.unwrap();
}
