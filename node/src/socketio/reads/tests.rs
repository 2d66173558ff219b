//! What the reads give, over real files.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use shared::{Block, BlockHash, Entry, Key, Kind, NodeId, Store, VerifiedBlock, erase::Erase};

use super::*;
use crate::{
    data::DataDir,
    host::HostThread,
    search::{Lookup, Words},
    shelf::{Author, Shelf},
    socketio::queries::Span,
};

fn start() -> (tempfile::TempDir, Host, HostThread) {
    let directory = tempfile::tempdir().unwrap();
    let opened = DataDir::new(directory.path()).lock().unwrap().open(None).unwrap();
    let (host, thread) = Host::start(opened).unwrap();
    (directory, host, thread)
}

async fn import(host: &Host, blocks: &[VerifiedBlock]) {
    let report = host.import(blocks.iter().map(|block| block.bytes().to_vec()).collect()).await.unwrap();
    assert_eq!(report.refused, 0);
}

async fn ask(host: &Host, what: Query) -> Value {
    serde_json::from_str(query(host, what).await.unwrap().get()).unwrap()
}

async fn refused(host: &Host, what: Query) -> &'static str {
    query(host, what).await.unwrap_err().code()
}

/// The blocks of a page, checked as whoever asks for them would.
fn decoded(page: &Value) -> Vec<Block> {
    let block = |text: &Value| Block::decode(&STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap();
    page["blocks"].as_array().unwrap().iter().map(block).collect()
}

fn hashes(blocks: &[Block]) -> Vec<BlockHash> {
    blocks.iter().map(Block::hash).collect()
}

fn nobody() -> EntryId {
    EntryId { author: NodeId::from_bytes([9; 32]), height: 1, index: 0 }
}

/// Blocks of two authors with 1 to 3 entries each, in ledger order.
fn some_blocks(count: u64) -> Vec<VerifiedBlock> {
    let mut authors = [Author::new(3), Author::new(4)];
    let block = |n: u64| {
        let texts: Vec<String> = (0..=n % 3).map(|m| format!("{n} {m}")).collect();
        authors[n as usize % 2].says(1_000 + 10 * n, &texts.iter().map(String::as_str).collect::<Vec<_>>())
    };
    (0..count).map(block).collect()
}

#[tokio::test]
async fn pages_from_the_end_reach_the_beginning_and_have_each_entry_once() {
    let (_guard, host, mut thread) = start();
    let blocks = some_blocks(30);
    import(&host, &blocks).await;
    let all: Vec<String> = blocks
        .iter()
        .flat_map(|block| (0..block.entries().len()).map(|index| block.entry_id(index).to_string()))
        .collect();
    for limit in [1, 2, 7, 1000] {
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let page = ask(&host, Query::Ledger(Page::Before(before, limit))).await;
            let ids: Vec<String> =
                page.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect();
            let Some(first) = ids.first() else { break };
            assert!(ids.len() <= limit);
            before = Some(first.parse().unwrap());
            pages.push(ids);
        }
        assert_eq!(pages.into_iter().rev().flatten().collect::<Vec<_>>(), all, "pages of {limit}");
    }
    assert_eq!(refused(&host, Query::Ledger(Page::Before(Some(nobody()), 5))).await, "unknown_entry");
    host.stop();
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn blocks_come_as_they_were_signed_and_in_the_order_in_which_they_arrived() {
    let (_guard, host, mut thread) = start();
    let blocks = some_blocks(30);
    let is_first = |block: &VerifiedBlock| block.header().author == Author::new(4).node();
    let (first, later): (Vec<_>, Vec<_>) = blocks.into_iter().partition(is_first);
    import(&host, &first).await;
    let page = ask(&host, Query::Blocks(Which::After(None))).await;
    assert_eq!(
        (hashes(&decoded(&page)), &page["done"]),
        (first.iter().map(|b| b.hash()).collect(), &Value::Bool(true))
    );
    import(&host, &later).await;
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    let page = ask(&host, Query::Blocks(Which::After(Some(cursor)))).await;
    let came: Vec<Vec<u8>> = decoded(&page).into_iter().map(Block::into_bytes).collect();
    assert_eq!(came, later.iter().map(|block| block.bytes().to_vec()).collect::<Vec<_>>());
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    let end = ask(&host, Query::Blocks(Which::After(Some(cursor.clone())))).await;
    assert_eq!((decoded(&end).len(), &end["done"], &end["cursor"]), (0, &Value::Bool(true), &Value::String(cursor)));
    let ahead = Cursor { node: host.node(), seq: 10_000, entries: 1 }.to_string();
    let foreign = Cursor { node: nobody().author, seq: 1, entries: 1 }.to_string();
    for cursor in ["nonsense".to_owned(), nobody().to_string(), ahead, foreign] {
        assert_eq!(refused(&host, Query::Blocks(Which::After(Some(cursor)))).await, "unknown_cursor");
    }
    host.stop();
    thread.ended().await.unwrap();
}

#[test]
fn large_answers_end_early_and_go_on() {
    let mut shelf = Shelf::new();
    let mut author = Author::new(3);
    let large = "x".repeat(60_000);
    let blocks: Vec<VerifiedBlock> = (0..10).map(|n| author.says(1_000 + 10 * n, &[large.as_str(); 4])).collect();
    blocks.iter().for_each(|block| shelf.add(block));
    let node = author.node();
    let (mut came, mut pages) = (Vec::new(), 0);
    let mut from = Cursor { node, seq: 0, entries: 0 };
    loop {
        let page = serde_json::to_value(blocks::behind(&shelf.reader, from).unwrap()).unwrap();
        assert!(page.to_string().len() < 1_200_000);
        came.extend(hashes(&decoded(&page)));
        from = page["cursor"].as_str().unwrap().parse().unwrap();
        pages += 1;
        if page["done"] == true {
            break;
        }
    }
    assert!(pages > 2);
    assert_eq!(came, blocks.iter().map(|block| block.hash()).collect::<Vec<_>>());
    let mut places: Vec<(NodeId, u64)> = (1..=10).map(|height| (node, height)).collect();
    let mut came = Vec::new();
    while !places.is_empty() {
        let page = serde_json::to_value(blocks::at(&shelf.reader, &places).unwrap()).unwrap();
        came.extend(hashes(&decoded(&page)));
        let answered: usize = page["cursor"].as_str().unwrap().parse().unwrap();
        assert_eq!(page["done"] == true, answered == places.len());
        places.drain(..answered);
    }
    assert_eq!(came, blocks.iter().map(|block| block.hash()).collect::<Vec<_>>());
}

#[test]
fn places_have_all_their_blocks_and_names_that_mean_nothing_are_left_out() {
    let mut shelf = Shelf::new();
    let mut author = Author::new(3);
    let entry = |n: u8| vec![Entry::new(Kind::DATA, [n; 16], vec![b'0' + n])];
    let mut blocks = vec![author.block(10, entry(1)), author.block(20, entry(2))];
    blocks.extend((3..7).map(|n| author.fork(20, entry(n))));
    blocks.push(author.block(30, entry(7)));
    blocks.iter().for_each(|block| shelf.add(block));
    let node = author.node();
    let at = |places: &[(NodeId, u64)]| {
        let page = serde_json::to_value(blocks::at(&shelf.reader, places).unwrap()).unwrap();
        hashes(&decoded(&page))
    };
    let mut forks: Vec<BlockHash> = blocks[1..6].iter().map(|block| block.hash()).collect();
    forks.sort();
    assert_eq!(at(&[(node, 2)]), forks);
    assert_eq!(
        at(&[(node, 3), (nobody().author, 1), (node, 0), (node, u64::MAX), (node, 1)]),
        [blocks[6].hash(), blocks[0].hash()]
    );
    let named = [blocks[6].hash(), BlockHash::from_bytes([1; 32]), blocks[2].hash()];
    let page = serde_json::to_value(blocks::of(&shelf.reader, &named).unwrap()).unwrap();
    assert_eq!((hashes(&decoded(&page)), &page["done"]), (vec![named[0], named[2]], &Value::Bool(true)));
}

#[tokio::test]
async fn an_erased_entry_leaves_its_commitment_in_its_block() {
    let (_guard, host, mut thread) = start();
    let mut author = Author::new(3);
    let said = author.says(10, &["gone", "stays"]);
    let erase = Erase { block: said.hash(), entry: said.entry_id(0), power: None }.encode();
    let erase = author.block(20, vec![Entry::new(Kind::ERASE, [1; 16], erase)]);
    import(&host, &[said.clone(), erase]).await;
    let page = ask(&host, Query::Blocks(Which::Hashes(vec![said.hash()]))).await;
    let block = decoded(&page).remove(0);
    assert_eq!(block.hash(), said.hash());
    assert_eq!(block.bytes(), said.strip_at(|index| index == 0).bytes());
    host.stop();
    thread.ended().await.unwrap();
}

fn span(from: Option<u64>, to: Option<u64>, parts: u64, detail: u64) -> Span {
    Span { from, to, parts, detail }
}

fn drawn(shelf: &Shelf, span: &Span) -> Value {
    serde_json::to_value(history(&shelf.reader, &Keyring::default(), span).unwrap()).unwrap()
}

/// Lane, part, blocks, entries.
fn cells(history: &Value) -> Vec<(String, u64, u64, u64)> {
    let lanes = history["lanes"].as_array().unwrap();
    let of_lane = |lane: &Value| -> Vec<_> {
        let author = lane["author"].as_str().unwrap().to_owned();
        let cells = lane["buckets"].as_array().unwrap().iter();
        let number = |cell: &Value, n: usize| cell[n].as_u64().unwrap();
        cells.map(|cell| (author.clone(), number(cell, 0), number(cell, 1), number(cell, 2))).collect()
    };
    lanes.iter().flat_map(of_lane).collect()
}

#[test]
fn the_past_is_counted_by_lanes_and_parts() {
    let mut shelf = Shelf::new();
    let empty = drawn(&shelf, &span(None, None, 10, 10));
    assert_eq!(
        empty,
        serde_json::json!({
            "from": 0, "to": 0, "first": null, "last": null, "lanes": [], "blocks": [],
        })
    );
    let blocks = some_blocks(30);
    blocks.iter().rev().for_each(|block| shelf.add(block));
    let (first, last) = (1_000, 1_290);
    for (from, to, parts) in [
        (None, None, 1),
        (None, None, 7),
        (None, None, 2000),
        (Some(1_095), Some(1_204), 3),
        (Some(0), Some((1 << 53) - 1), 2000),
    ] {
        let history = drawn(&shelf, &span(from, to, parts, 0));
        let (low, high) = (from.unwrap_or(first), to.unwrap_or(last));
        assert_eq!((&history["from"], &history["to"]), (&Value::from(low), &Value::from(high)));
        assert_eq!((&history["first"], &history["last"]), (&Value::from(first), &Value::from(last)));
        let mut expected = BTreeMap::<(String, u64), (u64, u64)>::new();
        for block in &blocks {
            let time = block.header().timestamp.micros();
            if (low..=high).contains(&time) {
                let part = (u128::from(time - low) * u128::from(parts) / u128::from(high - low + 1)) as u64;
                let cell = expected.entry((block.header().author.to_string(), part)).or_default();
                *cell = (cell.0 + 1, cell.1 + block.entries().len() as u64);
            }
        }
        let expected: Vec<_> = expected.into_iter().map(|((author, part), (b, e))| (author, part, b, e)).collect();
        assert_eq!(cells(&history), expected, "{from:?} to {to:?} in {parts}");
        assert!(history["blocks"].is_null());
    }
}

#[test]
fn few_blocks_of_the_past_are_each_told_of() {
    let mut shelf = Shelf::new();
    let blocks = some_blocks(30);
    blocks.iter().rev().for_each(|block| shelf.add(block));
    let mixed = Author::new(7).block(
        1_300,
        vec![
            Entry::new(Kind::DATA, [1; 16], b"1".to_vec()),
            Entry::new(Kind(999), [1; 16], b"2".to_vec()),
            Entry::new(Kind::DATA, [1; 16], b"3".to_vec()),
        ],
    );
    shelf.add(&mixed);
    let told = drawn(&shelf, &span(None, None, 1, 31));
    let told: Vec<&str> = told["blocks"].as_array().unwrap().iter().map(|b| b["hash"].as_str().unwrap()).collect();
    let expected: Vec<String> = blocks.iter().chain([&mixed]).map(|block| block.hash().to_string()).collect();
    assert_eq!(told, expected);
    assert!(drawn(&shelf, &span(None, None, 1, 30))["blocks"].is_null());
    let some = drawn(&shelf, &span(Some(1_290), Some(1_300), 1, 2));
    let last = &blocks[29];
    let hash = |hash: &BlockHash| hash.to_string();
    let shown = |block: &VerifiedBlock, kinds: &[&str]| {
        serde_json::json!({
            "hash": hash(&block.hash()),
            "author": block.header().author.to_string(),
            "height": block.header().height,
            "timestamp": block.header().timestamp.micros(),
            "parents": block.header().parents.iter().map(hash).collect::<Vec<_>>(),
            "entries": block.entries().len(),
            "kinds": kinds,
        })
    };
    assert_eq!(some["blocks"], serde_json::json!([shown(last, &["data"]), shown(&mixed, &["data", "999"])]));
}

#[test]
fn a_void_block_is_in_none_of_the_reads() {
    let mut shelf = Shelf::new();
    let mut author = Author::new(3);
    let (stays, goes) = (author.says(10, &["stays"]), author.says(20, &["goes"]));
    shelf.add(&stays);
    shelf.add(&goes);
    shelf.store.remove(&goes.hash()).unwrap();
    shelf.store.commit().unwrap();
    let keys = Keyring::default();
    let page = view::before(&shelf.reader, None, 10, PAGE_BYTES, &keys).unwrap();
    assert_eq!(page.iter().map(|entry| entry.data.get()).collect::<Vec<_>>(), ["\"stays\""]);
    let (node, here) = (author.node(), Cursor { node: author.node(), seq: 0, entries: 0 });
    for (page, count) in [
        (blocks::behind(&shelf.reader, here).unwrap(), 1),
        (blocks::at(&shelf.reader, &[(node, 2)]).unwrap(), 0),
        (blocks::of(&shelf.reader, &[goes.hash()]).unwrap(), 0),
    ] {
        assert_eq!(decoded(&serde_json::to_value(page).unwrap()).len(), count);
    }
    let history = drawn(&shelf, &span(None, None, 1, 10));
    assert_eq!(cells(&history), [(node.to_string(), 0, 1, 1)]);
    assert_eq!((&history["last"], history["blocks"].as_array().unwrap().len()), (&Value::from(10), 1));
    assert!(view::find(&shelf.reader, &goes.entry_id(0)).is_err());
}

#[tokio::test]
async fn a_node_alone_is_the_only_one_that_holds_an_entry() {
    let (_guard, host, mut thread) = start();
    let block = Author::new(3).says(10, &["hello"]);
    import(&host, std::slice::from_ref(&block)).await;
    assert_eq!(ask(&host, Query::Holders(block.entry_id(0))).await, serde_json::json!([host.node().to_string()]));
    for id in [nobody(), EntryId { index: 1, ..block.entry_id(0) }, EntryId { height: 2, ..block.entry_id(0) }] {
        assert_eq!(refused(&host, Query::Holders(id)).await, "unknown_entry");
    }
    let search = |before| Query::Search(Lookup { words: Words::of("hello").unwrap(), before, limit: 5 });
    assert_eq!(ask(&host, search(None)).await[0]["id"], block.entry_id(0).to_string());
    assert_eq!(refused(&host, search(Some(nobody()))).await, "unknown_entry");
    assert_ne!(host.node(), Key::from_secret(&[3; 32]).node());
    host.stop();
    thread.ended().await.unwrap();
}
