//! What a client may read of a ledger, and how it asks.

use serde::{Deserialize, Deserializer};
use shared::{
    BlockHash, EntryId, IdError, NodeId,
    limits::{FOUND_ENTRIES, HISTORY_BLOCKS, HISTORY_PARTS, LEDGER_ENTRIES, NAMED_BLOCKS},
};

use super::{
    command::{EntryArguments, Event, read},
    error::ClientError,
};
use crate::search::{Lookup, Words};

/// Entries that a search gives if the client does not say how many.
const FOUND: usize = 50;
/// The same of the parts and blocks of a drawn past.
const PARTS: u64 = 400;
const BLOCKS: u64 = 500;

/// Something to read.
#[derive(Debug)]
pub(super) enum Query {
    /// Entries in ledger order.
    Ledger(Page),
    /// Blocks as they were signed.
    Blocks(Which),
    /// What was written when, and by whom.
    History(Span),
    /// Entries with some words.
    Search(Lookup),
    /// The nodes that hold an entry.
    Holders(EntryId),
}

/// Which part of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// The newest entries, so many at most.
    Newest(usize),
    /// Those that follow an entry (`None`: from the beginning), so many at most.
    After(Option<EntryId>, usize),
    /// Those that come right before an entry (`None`: at the end), so many at most.
    Before(Option<EntryId>, usize),
}

/// Which blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that arrived behind a cursor (`None`: all).
    After(Option<String>),
    /// All that stand in these places.
    Places(Vec<(NodeId, u64)>),
    /// Those with these hashes.
    Hashes(Vec<BlockHash>),
}

/// Which part of the past, and how finely it is told. Times in µs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) parts: u64,
    pub(super) detail: u64,
}

impl Query {
    /// What the event wants, if it is one of these.
    pub(super) fn parse(event: &Event<'_>) -> Result<Option<Self>, ClientError> {
        Ok(Some(match event.name.as_str() {
            "get_ledger" => Self::Ledger(page(event)?),
            "get_blocks" => Self::Blocks(which(event)?),
            "get_history" => Self::History(span(event)?),
            "search" => Self::Search(lookup(event)?),
            "get_holders" => {
                let EntryArguments { id } = event.object("get_holders", "{id}")?;
                Self::Holders(id.parse()?)
            }
            _ => return Ok(None),
        }))
    }

    /// The event that answers where there is no ack, and the name of the answer in one.
    pub(super) fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Ledger(_) => ("ledger_entries", "entries"),
            Self::Blocks(_) => ("blocks", "page"),
            Self::History(_) => ("history", "history"),
            Self::Search(_) => ("found", "entries"),
            Self::Holders(_) => ("holders", "nodes"),
        }
    }

    /// How much of what all answers may have on their way this one takes, in entries.
    pub(super) fn share(&self) -> usize {
        match self {
            Self::Ledger(Page::Newest(limit) | Page::After(_, limit) | Page::Before(_, limit)) => *limit,
            Self::Blocks(_) | Self::History(_) => LEDGER_ENTRIES,
            Self::Search(lookup) => lookup.limit,
            Self::Holders(_) => 1,
        }
    }
}

fn page(event: &Event<'_>) -> Result<Page, ClientError> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        /// Absent, `null` and an id mean three things.
        #[serde(default, deserialize_with = "present")]
        after: Option<Option<String>>,
        #[serde(default, deserialize_with = "present")]
        before: Option<Option<String>>,
        limit: Option<usize>,
    }
    let (name, expected) = ("get_ledger", "nothing or {after or before, limit} with a limit of 1 to 10000");
    let given = event.given(name)?;
    let arguments: Arguments = given.map_or(Ok(Arguments::default()), |value| read(name, expected, value))?;
    let wrong = |came: String| Err(ClientError::WrongArguments { event: name, expected, came });
    let limit = arguments.limit.unwrap_or(LEDGER_ENTRIES);
    if limit == 0 || limit > LEDGER_ENTRIES {
        return wrong(format!("limit {limit}"));
    }
    let id = |text: Option<String>| text.map(|text| text.parse()).transpose();
    match (arguments.after, arguments.before) {
        (None, None) => Ok(Page::Newest(limit)),
        (Some(after), None) => Ok(Page::After(id(after)?, limit)),
        (None, Some(before)) => Ok(Page::Before(id(before)?, limit)),
        (Some(_), Some(_)) => wrong("after and before".to_owned()),
    }
}

fn which(event: &Event<'_>) -> Result<Which, ClientError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        #[serde(default, deserialize_with = "present")]
        after: Option<Option<String>>,
        places: Option<Vec<(String, u64)>>,
        hashes: Option<Vec<String>>,
    }
    let (name, expected) = ("get_blocks", "{after}, {places} or {hashes}, 256 of them at most");
    let few = |len: usize| match len {
        0..=NAMED_BLOCKS => Ok(()),
        len => Err(ClientError::WrongArguments { event: name, expected, came: format!("{len} of them") }),
    };
    match event.object(name, expected)? {
        Arguments { after: Some(after), places: None, hashes: None } => Ok(Which::After(after)),
        Arguments { after: None, places: Some(places), hashes: None } => {
            few(places.len())?;
            let place = |(author, height): (String, u64)| Ok((author.parse()?, height));
            Ok(Which::Places(places.into_iter().map(place).collect::<Result<_, IdError>>()?))
        }
        Arguments { after: None, places: None, hashes: Some(hashes) } => {
            few(hashes.len())?;
            Ok(Which::Hashes(hashes.iter().map(|hash| hash.parse()).collect::<Result<_, IdError>>()?))
        }
        _ => Err(ClientError::WrongArguments { event: name, expected, came: "not one of them".to_owned() }),
    }
}

fn span(event: &Event<'_>) -> Result<Span, ClientError> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        from: Option<u64>,
        to: Option<u64>,
        buckets: Option<u64>,
        detail: Option<u64>,
    }
    let name = "get_history";
    let expected = "nothing or {from, to, buckets, detail}: µs from the earlier to the later, 1 to 2000 buckets, a detail of up to 2000";
    let given = event.given(name)?;
    let arguments: Arguments = given.map_or(Ok(Arguments::default()), |value| read(name, expected, value))?;
    let Arguments { from, to, buckets, detail } = arguments;
    let (parts, detail) = (buckets.unwrap_or(PARTS), detail.unwrap_or(BLOCKS));
    let wrong = |came: String| Err(ClientError::WrongArguments { event: name, expected, came });
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return wrong(format!("from {from} to {to}"));
    }
    if parts == 0 || parts > HISTORY_PARTS || detail > HISTORY_BLOCKS {
        return wrong(format!("{parts} buckets, a detail of {detail}"));
    }
    Ok(Span { from, to, parts, detail })
}

fn lookup(event: &Event<'_>) -> Result<Lookup, ClientError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        query: String,
        limit: Option<usize>,
        before: Option<String>,
    }
    let (name, expected) =
        ("search", "{query, limit, before}: 1 to 32 words in up to 1024 bytes, and a limit of 1 to 100");
    let Arguments { query, limit, before } = event.object(name, expected)?;
    let wrong = |came: String| ClientError::WrongArguments { event: name, expected, came };
    let limit = limit.unwrap_or(FOUND);
    if limit == 0 || limit > FOUND_ENTRIES {
        return Err(wrong(format!("limit {limit}")));
    }
    let words = Words::of(&query).map_err(|error| wrong(error.to_string()))?;
    Ok(Lookup { words, before: before.map(|id| id.parse()).transpose()?, limit })
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, ClientError> {
        let event = Event::parse(text)?;
        Query::parse(&event).map(|query| query.unwrap_or_else(|| panic!("{text} is none of these")))
    }

    fn id() -> EntryId {
        EntryId { author: NodeId::from_bytes([7; 32]), height: 3, index: 1 }
    }

    #[test]
    fn pages_are_newest_or_next_to_something() {
        let page = |arguments: &str| match query(&format!("[\"get_ledger\"{arguments}]")) {
            Ok(Query::Ledger(page)) => page,
            other => panic!("{arguments} gives {other:?}"),
        };
        let id = id();
        for (arguments, wanted) in [
            ("", Page::Newest(LEDGER_ENTRIES)),
            (",null", Page::Newest(LEDGER_ENTRIES)),
            (",{}", Page::Newest(LEDGER_ENTRIES)),
            (r#",{"limit":5}"#, Page::Newest(5)),
            (r#",{"after":null}"#, Page::After(None, LEDGER_ENTRIES)),
            (&format!(r#",{{"after":"{id}","limit":10000}}"#), Page::After(Some(id), 10_000)),
            (r#",{"before":null,"limit":7}"#, Page::Before(None, 7)),
            (&format!(r#",{{"before":"{id}"}}"#), Page::Before(Some(id), LEDGER_ENTRIES)),
        ] {
            assert_eq!(page(arguments), wanted, "{arguments}");
        }
    }

    #[test]
    fn blocks_are_asked_for_in_one_of_three_ways() {
        let which = |arguments: &str| match query(&format!("[\"get_blocks\",{arguments}]")) {
            Ok(Query::Blocks(which)) => which,
            other => panic!("{arguments} gives {other:?}"),
        };
        let (node, hash) = (NodeId::from_bytes([1; 32]), BlockHash::from_bytes([2; 32]));
        assert_eq!(which(r#"{"after":null}"#), Which::After(None));
        assert_eq!(which(r#"{"after":"here"}"#), Which::After(Some("here".to_owned())));
        assert_eq!(which(&format!(r#"{{"places":[["{node}",4]]}}"#)), Which::Places(vec![(node, 4)]));
        assert_eq!(which(&format!(r#"{{"hashes":["{hash}","{hash}"]}}"#)), Which::Hashes(vec![hash, hash]));
    }

    #[test]
    fn a_past_without_a_span_is_all_of_it() {
        let span = |arguments: &str| match query(&format!("[\"get_history\"{arguments}]")) {
            Ok(Query::History(span)) => span,
            other => panic!("{arguments} gives {other:?}"),
        };
        assert_eq!(span(""), Span { from: None, to: None, parts: PARTS, detail: BLOCKS });
        let given = Span { from: Some(5), to: Some(5), parts: HISTORY_PARTS, detail: 0 };
        assert_eq!(span(r#",{"from":5,"to":5,"buckets":2000,"detail":0}"#), given);
    }

    #[test]
    fn a_search_has_words_and_bounds() {
        let id = id();
        let Ok(Query::Search(lookup)) = query(&format!(r#"["search",{{"query":"two words","before":"{id}"}}]"#)) else {
            panic!("not a search");
        };
        assert_eq!((lookup.before, lookup.limit), (Some(id), FOUND));
    }

    #[test]
    fn every_wrong_query_says_so() {
        let (node, many) = (NodeId::from_bytes([1; 32]), NAMED_BLOCKS + 1);
        let hash = format!("\"{}\"", BlockHash::from_bytes([2; 32]));
        let id = id();
        for text in [
            r#"["get_ledger",7]"#,
            r#"["get_ledger",{"limit":0}]"#,
            r#"["get_ledger",{"limit":10001}]"#,
            r#"["get_ledger",{"limit":-1}]"#,
            r#"["get_ledger",{"limit":1.5}]"#,
            r#"["get_ledger",{"after":"nobody-1-2"}]"#,
            r#"["get_ledger",{"before":"nobody-1-2"}]"#,
            r#"["get_ledger",{"afterwards":null}]"#,
            r#"["get_ledger",{"after":null,"before":null}]"#,
            &format!(r#"["get_ledger",{{"after":"{id}","before":"{id}"}}]"#),
            r#"["get_blocks"]"#,
            r#"["get_blocks",{}]"#,
            r#"["get_blocks",{"after":7}]"#,
            r#"["get_blocks",{"after":null,"hashes":[]}]"#,
            r#"["get_blocks",{"places":[["x",1]]}]"#,
            &format!(r#"["get_blocks",{{"places":[["{node}",-1]]}}]"#),
            &format!(r#"["get_blocks",{{"places":[["{node}"]]}}]"#),
            r#"["get_blocks",{"hashes":["x"]}]"#,
            &format!(r#"["get_blocks",{{"hashes":[{}]}}]"#, vec![hash; many].join(",")),
            r#"["get_history",7]"#,
            r#"["get_history",{"from":2,"to":1}]"#,
            r#"["get_history",{"from":-1}]"#,
            r#"["get_history",{"buckets":0}]"#,
            r#"["get_history",{"buckets":2001}]"#,
            r#"["get_history",{"detail":2001}]"#,
            r#"["search"]"#,
            r#"["search","words"]"#,
            r#"["search",{"query":""}]"#,
            r#"["search",{"query":" \t\u0000 "}]"#,
            r#"["search",{"query":"a","limit":0}]"#,
            r#"["search",{"query":"a","limit":101}]"#,
            r#"["search",{"query":"a","before":"x"}]"#,
            &format!(r#"["search",{{"query":"{}"}}]"#, "a ".repeat(33)),
            &format!(r#"["search",{{"query":"{}"}}]"#, "a".repeat(1025)),
            r#"["get_holders"]"#,
            r#"["get_holders",{"id":"x"}]"#,
        ] {
            let code = query(text).map_or_else(|error| error.code(), |query| panic!("{text} is {query:?}"));
            assert_eq!(code, "wrong_arguments", "{text}");
        }
    }
}
