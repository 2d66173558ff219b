//! Searches over real files.

use std::{fs, path::Path};

use shared::{
    Entry, Keyring, Kind, NodeId, ReadStore, Store, VerifiedBlock, effect::Wish, erase::Erase, members::Genesis,
};
use tempfile::TempDir;

use super::*;
use crate::{
    data::{DataDir, DataError},
    host::HostThread,
    shelf::{Author, Shelf},
    store::Beginning,
};

fn lookup(query: &str) -> Lookup {
    Lookup { words: Words::of(query).unwrap(), before: None, limit: 100 }
}

async fn search(host: &Host, query: &str) -> Vec<String> {
    host.search(lookup(query)).await.unwrap().iter().map(|view| view.data.get().to_owned()).collect()
}

async fn append(host: &Host, payloads: &[&str]) -> Vec<EntryId> {
    let payloads = payloads.iter().map(|payload| payload.as_bytes().to_vec()).collect();
    host.append(payloads).await.unwrap().await.unwrap().unwrap().iter().map(|entry| entry.id()).collect()
}

async fn import(host: &Host, blocks: &[&VerifiedBlock]) {
    let report = host.import(blocks.iter().map(|block| block.bytes().to_vec()).collect()).await.unwrap();
    assert_eq!(report.refused, 0);
}

fn start() -> (TempDir, Host, HostThread) {
    let directory = tempfile::tempdir().unwrap();
    let opened = DataDir::new(directory.path()).lock().unwrap().open(None).unwrap();
    let (host, thread) = Host::start(opened).unwrap();
    (directory, host, thread)
}

async fn stop(host: Host, mut thread: HostThread) {
    host.stop();
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn words_are_all_there_and_the_last_one_begins() {
    let (_guard, host, thread) = start();
    append(
        &host,
        &[
            r#"{"text":"The quick brown fox","by":"Renée"}"#,
            r#"{"quick":"slow"}"#,
            r#"["nested",{"deep":["treasure chest"]}]"#,
            r#""x OR y AND z NEAR(a) \"quoted\" col:umn ^start""#,
            "7",
        ],
    )
    .await;
    for (query, found) in [
        ("quick", 1),
        ("qui", 1),
        ("QUICK Fox", 1),
        ("fox quick", 1),
        ("qui fox", 0),
        ("quick cat", 0),
        ("renee", 1),
        ("Rénéé", 1),
        ("treasure che", 1),
        ("\"quoted", 1),
        ("x OR y", 1),
        ("fox OR slow", 0),
        ("NOT", 0),
        ("near(a)", 1),
        ("col:umn", 1),
        ("*", 0),
        ("fox -- *", 1),
        ("slow", 1),
        ("deep", 0),
        ("7", 0),
    ] {
        assert_eq!(search(&host, query).await.len(), found, "{query}");
    }
    stop(host, thread).await;
}

#[tokio::test]
async fn what_is_written_or_erased_counts_in_the_next_search() {
    let (_guard, host, thread) = start();
    let first = append(&host, &["\"alpha one\"", "\"alpha two\""]).await;
    assert_eq!(search(&host, "alpha").await, ["\"alpha two\"", "\"alpha one\""]);
    append(&host, &["\"alpha three\""]).await;
    assert_eq!(search(&host, "alpha").await, ["\"alpha three\"", "\"alpha two\"", "\"alpha one\""]);
    host.control(Wish::Erase { entry: first[0] }).await.unwrap().unwrap();
    assert_eq!(search(&host, "alpha").await, ["\"alpha three\"", "\"alpha two\""]);
    assert!(search(&host, "one").await.is_empty());
    stop(host, thread).await;
}

#[tokio::test]
async fn pages_go_back_through_ledger_order_and_have_each_entry_once() {
    let (_guard, host, thread) = start();
    let mut authors = [Author::new(3), Author::new(4)];
    // The later ones arrive first.
    let mut blocks = Vec::new();
    for n in 0..20 {
        let texts: Vec<String> = (0..=n % 3).map(|m| format!("word {n} {m}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        blocks.push(authors[n as usize % 2].says(1_000 + 10 * n, &texts));
    }
    let (late, early): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| block.header().author == authors[1].node());
    import(&host, &late).await;
    assert!(!search(&host, "word").await.is_empty());
    import(&host, &early).await;
    let mut expected: Vec<String> = blocks
        .iter()
        .flat_map(|block| (0..block.entries().len()).map(|index| block.entry_id(index).to_string()))
        .collect();
    expected.reverse();
    for limit in [1, 7, 100] {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = host.search(Lookup { before, limit, ..lookup("word") }).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit);
            before = Some(last.id.parse().unwrap());
            seen.extend(page.into_iter().map(|view| view.id));
        }
        assert_eq!(seen, expected, "pages of {limit}");
    }
    let nowhere = EntryId { author: NodeId::from_bytes([9; 32]), height: 1, index: 0 };
    let unknown = host.search(Lookup { before: Some(nowhere), ..lookup("word") }).await;
    assert!(matches!(unknown, Err(SearchError::View(ViewError::Unknown(_)))));
    assert_eq!(search(&host, "word 7").await.len(), 2);
    stop(host, thread).await;
}

#[tokio::test]
async fn a_payload_that_was_withheld_is_found_once_it_is_there() {
    let (_guard, host, thread) = start();
    let block = Author::new(3).says(1_000, &["late arrival"]);
    let report = host.import(vec![block.strip().bytes().to_vec()]).await.unwrap();
    assert_eq!(report.refused, 0);
    assert!(search(&host, "arrival").await.is_empty());
    import(&host, &[&block]).await;
    assert_eq!(search(&host, "arrival").await.len(), 1);
    stop(host, thread).await;
}

fn all_files(directory: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, found) } else { found.push(fs::read(path).unwrap()) }
    }
}

/// A group of one.
async fn group() -> (TempDir, DataDir, Host, HostThread) {
    let directory = tempfile::tempdir().unwrap();
    let dir = DataDir::new(directory.path());
    let key = dir.new_key().unwrap();
    let salt = [5; 16];
    let beginning = Beginning::Members(Genesis { founder: key.node(), salt });
    dir.make(&beginning, key, |_| Ok::<_, DataError>(())).unwrap();
    let (host, thread) = Host::start(dir.lock().unwrap().open(None).unwrap()).unwrap();
    host.control(Wish::Found { salt }).await.unwrap().unwrap();
    (directory, dir, host, thread)
}

#[tokio::test]
async fn what_was_closed_is_found_once_its_key_is_here() {
    let (_guard, dir, host, thread) = group().await;
    append(&host, &["\"a xylophone\""]).await;
    let (reader, none) = (dir.reader().unwrap(), Keyring::default());
    let mut index = Index::new().unwrap();
    assert!(index.step(&reader, &none, News::default()).unwrap());
    assert_eq!(index.find(&reader, &none, &lookup("xylophone")).unwrap().len(), 0);
    let keys = host.keys();
    index.step(&reader, &keys, News::default()).unwrap();
    assert_eq!(index.find(&reader, &keys, &lookup("xylophone")).unwrap().len(), 1);
    stop(host, thread).await;
}

#[tokio::test]
async fn what_is_sealed_is_found_and_stands_in_no_file() {
    let (directory, _, host, thread) = group().await;
    host.control(Wish::Nickname { name: "xylographer".to_owned() }).await.unwrap().unwrap();
    append(&host, &["\"a xylophone\""]).await;
    assert_eq!(search(&host, "xylo").await, ["\"a xylophone\""]);
    let mut files = Vec::new();
    all_files(directory.path(), &mut files);
    assert!(files.iter().any(|file| file.starts_with(b"SQLite format 3")));
    for file in &files {
        let holds = |word: &[u8]| file.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
        assert!(!holds(b"xylo"), "a file of {} bytes holds a word", file.len());
    }
    stop(host, thread).await;
}

/// A store without a node, and an index of it.
struct Indexed {
    shelf: Shelf,
    index: Index,
}

impl Indexed {
    fn new(most: (usize, usize)) -> Self {
        Self { shelf: Shelf::new(), index: Index::with_most(most.0, most.1).unwrap() }
    }

    fn step(&mut self, changed: bool) {
        let news = News { changed, ..News::default() };
        self.index.step(&self.shelf.reader, &Keyring::default(), news).unwrap();
    }

    fn find(&self, query: &str) -> Vec<String> {
        let found = self.index.find(&self.shelf.reader, &Keyring::default(), &lookup(query)).unwrap();
        found.iter().map(|view| view.data.get().to_owned()).collect()
    }
}

#[test]
fn a_void_block_leaves_the_index() {
    let mut indexed = Indexed::new((100, 10_000));
    let mut author = Author::new(3);
    let (stays, goes) = (author.says(10, &["word stays"]), author.says(20, &["word goes", "word too"]));
    indexed.shelf.add(&stays);
    indexed.shelf.add(&goes);
    indexed.step(false);
    assert_eq!((indexed.find("word").len(), indexed.index.hits("word*")), (3, 3));
    indexed.shelf.store.remove(&goes.hash()).unwrap();
    indexed.shelf.store.commit().unwrap();
    // Nobody has said so yet, and it is not found all the same.
    assert_eq!((indexed.find("word"), indexed.index.hits("word*")), (vec!["\"word stays\"".to_owned()], 3));
    indexed.step(true);
    assert_eq!((indexed.find("word").len(), indexed.index.hits("word*"), indexed.index.hits("goes")), (1, 1, 0));
}

#[test]
fn an_erase_that_was_missed_is_found_among_what_arrived() {
    let mut indexed = Indexed::new((100, 10_000));
    let mut author = Author::new(3);
    let said = author.says(10, &["word one", "word two"]);
    indexed.shelf.add(&said);
    indexed.step(false);
    assert_eq!(indexed.index.hits("one"), 1);
    let erase = Erase { block: said.hash(), entry: said.entry_id(0), power: None }.encode();
    let erase = author.block(20, vec![Entry::new(Kind::ERASE, [1; 16], erase)]);
    let row = indexed.shelf.store.block(&said.hash()).unwrap().unwrap().summary;
    let kept = said.strip_at(|index| index == 0);
    indexed.shelf.store.replace(row.seq, Some((&row, kept.bytes()))).unwrap();
    indexed.shelf.add(&erase);
    indexed.step(false);
    assert_eq!((indexed.index.hits("one"), indexed.index.hits("two")), (0, 1));
}

#[test]
fn of_too_many_entries_the_oldest_are_left_out() {
    for most in [(32, 1_000_000), (1_000, 32 * 9)] {
        let mut indexed = Indexed::new(most);
        let mut author = Author::new(3);
        for n in 100..164 {
            indexed.shelf.add(&author.says(1_000 + n, &[&format!("word {n}")]));
        }
        indexed.step(false);
        let found = indexed.find("word");
        assert!(found.len() <= 32 && found.len() >= 30, "{} entries", found.len());
        let newest: Vec<String> = (100..164).rev().take(found.len()).map(|n| format!("\"word {n}\"")).collect();
        assert_eq!(found, newest, "{most:?}");
        // One that comes late and is older than all that is left is left out too.
        indexed.shelf.add(&Author::new(4).says(5, &["word 099"]));
        indexed.step(false);
        assert!(indexed.find("099").is_empty());
        for n in 200..300 {
            indexed.shelf.add(&author.says(1_000 + n, &[&format!("word {n}")]));
            indexed.step(false);
        }
        let found = indexed.find("word");
        assert!(found.len() <= 32 && found.len() >= 30 && found[0] == "\"word 299\"", "{found:?}");
    }
}
