//! `cairn append`: adds entries and prints their ids.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::limits::{BLOCK_ENTRIES, CLIENT_MESSAGE_BYTES, PAYLOAD_BYTES};

use super::{
    Failure,
    access::{Access, with_host},
};
use crate::{config::Settings, control::client::ControlClient, host::Host};

/// Bytes of one append through a running node; a payload and a comma fit in.
const BATCH_BYTES: usize = CLIENT_MESSAGE_BYTES / 4;

#[derive(Debug, Args)]
pub(super) struct Append {
    /// The entry: a text, which becomes a JSON string. `-` or nothing: one entry for each line of standard input
    text: Option<String>,
    /// The text, or each line, is JSON already and is stored as it is
    #[arg(long)]
    json: bool,
}

impl Append {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        match self.text.as_deref() {
            Some(text) if text != "-" => {
                let data = self.data(text).map_err(Failure::Usage)?;
                self.all(settings, &mut std::iter::once(Ok(data)))
            }
            None if io::stdin().is_terminal() => Err(Failure::Usage("what is to be appended is missing".to_owned())),
            _ => self.all(settings, &mut self.lines(io::stdin().lock())),
        }
    }

    /// A text as the JSON that is stored.
    fn data(&self, text: &str) -> Result<String, String> {
        if !self.json {
            return serde_json::to_string(text).map_err(|error| error.to_string());
        }
        let data: &RawValue = serde_json::from_str(text.trim()).map_err(|error| format!("not JSON: {error}"))?;
        Ok(data.get().to_owned())
    }

    /// One entry for each line that is not empty.
    fn lines<'a>(&'a self, mut from: impl BufRead + 'a) -> impl Iterator<Item = Result<String, Failure>> + 'a {
        let mut number = 0;
        std::iter::from_fn(move || {
            loop {
                number += 1;
                match read_line(&mut from) {
                    Ok(None) => return None,
                    Ok(Some(line)) if line.trim().is_empty() => {}
                    Ok(Some(line)) => {
                        return Some(self.data(&line).map_err(|what| Failure::Input { line: number, what }));
                    }
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        return Some(Err(Failure::Input { line: number, what: error.to_string() }));
                    }
                    Err(error) => return Some(Err(Failure::io("standard input cannot be read")(error))),
                }
            }
        })
    }

    fn all(&self, settings: &Settings, data: &mut dyn Iterator<Item = Result<String, Failure>>) -> Result<(), Failure> {
        match Access::open(settings)? {
            Access::Through(client) => through(&client, data),
            Access::Alone(locked) => with_host(&locked, settings, |host| alone(host, data)),
        }
    }
}

fn through(client: &ControlClient, data: &mut dyn Iterator<Item = Result<String, Failure>>) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    while let Some(batch) = next_batch(data)? {
        for entry in client.append(&batch)? {
            let Id { id } = serde_json::from_str(entry.get())
                .map_err(|error| crate::control::client::ControlError::Answer(error.to_string()))?;
            print(&id)?;
        }
    }
    Ok(())
}

async fn alone(host: Host, data: &mut dyn Iterator<Item = Result<String, Failure>>) -> Result<(), Failure> {
    while let Some(batch) = next_batch(data)? {
        let payloads = batch.into_iter().map(String::into_bytes).collect();
        let entries = host.append(payloads).await?.await??;
        entries.iter().try_for_each(|entry| print(&entry.id().to_string()))?;
    }
    Ok(())
}

/// What makes one append: at most a block of entries. What came before a wrong line is appended first.
fn next_batch(data: &mut dyn Iterator<Item = Result<String, Failure>>) -> Result<Option<Vec<String>>, Failure> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for data in data {
        let data = data?;
        bytes += data.len() + 1;
        batch.push(data);
        if batch.len() == BLOCK_ENTRIES || bytes > BATCH_BYTES {
            break;
        }
    }
    Ok((!batch.is_empty()).then_some(batch))
}

fn print(id: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{id}").map_err(Failure::io("an id cannot be printed"))
}

/// A line without its end; `None` at the end of the input. What no payload can hold is not read into memory.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let limit = PAYLOAD_BYTES as u64 + 2;
    if from.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() as u64 == limit && line.last() != Some(&b'\n') {
        let what = format!("more than {PAYLOAD_BYTES} bytes, the limit of a payload");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let text = String::from_utf8(line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}
