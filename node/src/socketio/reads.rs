//! What clients read of the store, as JSON text that was made where it may take its time.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use shared::{
    EntryId, Keyring,
    limits::{CLIENT_PAGE_BYTES, CLIENT_PAGE_ENTRIES, LEDGER_BYTES, PAGE_BYTES},
    view::{self, Cursor, EntryView, ViewError},
};

use super::{
    blocks,
    error::ClientError,
    history::history,
    queries::{Page, Query, Which},
};
use crate::{
    host::Host,
    store::{SqliteReader, StoreError},
};

type Viewed<T> = Result<T, ViewError<StoreError>>;

/// The answer to a query.
pub(super) async fn query(host: &Host, query: Query) -> Result<Box<RawValue>, ClientError> {
    match query {
        Query::Ledger(page) => ledger(host, page).await,
        Query::Blocks(Which::After(cursor)) => {
            let from = blocks::place(host, cursor)?;
            read(host, move |store, _| Ok(json(&blocks::behind(store, from)?))).await?
        }
        Query::Blocks(Which::Places(places)) => {
            read(host, move |store, _| Ok(json(&blocks::at(store, &places)?))).await?
        }
        Query::Blocks(Which::Hashes(hashes)) => {
            read(host, move |store, _| Ok(json(&blocks::of(store, &hashes)?))).await?
        }
        Query::History(span) => read(host, move |store, keys| Ok(json(&history(store, keys, &span)?))).await?,
        Query::Search(lookup) => json(&host.search(lookup).await?),
        Query::Holders(id) => {
            // A place in a lane may have no entry of that index.
            read(host, move |store, _| view::find(store, &id).map(drop)).await?;
            let nodes = host.holders(id.author, id.height).await?;
            json(&nodes.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
    }
}

/// A page of the ledger, as one array.
async fn ledger(host: &Host, page: Page) -> Result<Box<RawValue>, ClientError> {
    read(host, move |store, keys| {
        let entries = match &page {
            Page::Newest(limit) => view::newest(store, *limit, LEDGER_BYTES, keys)?,
            Page::After(after, limit) => view::after(store, after.as_ref(), *limit, keys)?,
            Page::Before(before, limit) => view::before(store, before.as_ref(), *limit, PAGE_BYTES, keys)?,
        };
        Ok(json(&entries))
    })
    .await?
}

/// One entry.
pub(super) async fn entry(host: &Host, id: EntryId) -> Result<Box<RawValue>, ClientError> {
    read(host, move |store, keys| Ok(json(&view::entry(store, &id, keys)?))).await?
}

/// Some entries that arrived behind a place, each by itself, and the place behind them. None: there is nothing.
pub(super) async fn arrived(host: &Host, from: Cursor) -> Result<(Vec<Box<RawValue>>, Cursor), ClientError> {
    let (entries, reached) = read(host, move |store, keys| {
        let (entries, reached) = view::arrived(store, from, CLIENT_PAGE_ENTRIES, CLIENT_PAGE_BYTES, keys)?;
        Ok((entries.iter().map(json::<EntryView>).collect::<Result<Vec<_>, _>>(), reached))
    })
    .await?;
    Ok((entries?, reached))
}

/// The place that a client's cursor means: an entry id, or a cursor that this node gave. None: the beginning.
pub(super) async fn place(host: &Host, cursor: Option<String>) -> Result<Cursor, ClientError> {
    let node = host.node();
    let Some(text) = cursor else { return Ok(Cursor { node, seq: 0, entries: 0 }) };
    if let Ok(id) = text.parse::<EntryId>() {
        let place = host.view(move |store, _| view::cursor_behind(store, node, &id)).await?;
        return place.map_err(|error| match error {
            ViewError::Unknown(_) => ClientError::UnknownCursor(text),
            error => error.into(),
        });
    }
    let place: Cursor = text.parse()?;
    if !host.is_or_was(&place.node) || place.seq > host.last_seq() {
        return Err(ClientError::UnknownCursor(text));
    }
    Ok(place)
}

async fn read<T: Send + 'static>(
    host: &Host,
    f: impl FnOnce(&SqliteReader, &Keyring) -> Viewed<T> + Send + 'static,
) -> Result<T, ClientError> {
    Ok(host.view(f).await??)
}

/// A view is made of strings, numbers and JSON that was parsed before, so that this fails only by a bug.
fn json<T: Serialize + ?Sized>(view: &T) -> Result<Box<RawValue>, ClientError> {
    to_raw_value(view).map_err(|error| {
        tracing::error!("an entry has no JSON form: {error}");
        ClientError::Damaged
    })
}

#[cfg(test)]
mod tests;
