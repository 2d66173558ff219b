//! What a client sees of the ledger, checked while it comes: every entry of the writer once and in order.

use std::time::{Duration, Instant};

use crate::report::Times;

/// What is before the number of an entry in its JSON.
const NUMBER: &str = "\"data\":{\"s\":";
const LIVE: &str = "42[\"ledger_entry_added\",";
const BATCH: &str = "42[\"entries\",";

/// An entry of the writer: its number, and when it was due.
pub(crate) fn payload(number: u64, due: Duration, bytes: usize) -> String {
    let head = format!("{{\"s\":{number},\"t\":{},\"text\":\"", due.as_micros());
    let fill = bytes.saturating_sub(head.len() + 2);
    format!("{head}{}\"}}", "x".repeat(fill))
}

/// What one client saw.
#[derive(Clone)]
pub(crate) struct View {
    epoch: Instant,
    /// It came while entries were written already, so it begins with whichever comes first.
    late: bool,
    /// The number of the writer's entry that comes next.
    pub(crate) next: u64,
    /// Where it can go on after a loss of its connection.
    pub(crate) cursor: String,
    /// From when an entry was due until it was here, for entries that came live.
    pub(crate) times: Times,
    /// Entries of others.
    pub(crate) others: u64,
    /// Error events.
    pub(crate) errors: Vec<String>,
    /// The first entry that was not the next one.
    pub(crate) wrong: Option<String>,
    /// The subscription has caught up.
    pub(crate) done: bool,
}

impl View {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            late: false,
            next: 0,
            cursor: String::new(),
            times: Times::default(),
            others: 0,
            errors: Vec::new(),
            wrong: None,
            done: false,
        }
    }

    /// Of a client that comes later.
    pub(crate) fn late(epoch: Instant) -> Self {
        Self { late: true, ..Self::new(epoch) }
    }

    /// Takes one packet.
    pub(crate) fn take(&mut self, packet: &str) {
        if let Some(entry) = packet.strip_prefix(LIVE) {
            if let Some(id) = entry.strip_prefix("{\"id\":\"").and_then(|rest| rest.split('"').next()) {
                self.cursor.clear();
                self.cursor.push_str(id);
            }
            self.take_entries(entry, true);
        } else if let Some(batch) = packet.strip_prefix(BATCH) {
            self.take_entries(batch, false);
            if let Some((_, tail)) = batch.rsplit_once("\"cursor\":\"") {
                self.cursor = tail.split('"').next().unwrap_or_default().to_owned();
                self.done = tail.contains("\"done\":true");
            }
        } else if packet.starts_with("42[\"error\"") && self.errors.len() < 10 {
            self.errors.push(packet.to_owned());
        }
    }

    fn take_entries(&mut self, mut text: &str, live: bool) {
        let mut any = false;
        while let Some(at) = text.find(NUMBER) {
            any = true;
            text = &text[at + NUMBER.len()..];
            let number = digits(text);
            if std::mem::take(&mut self.late) {
                self.next = number;
            }
            if number != self.next && self.wrong.is_none() {
                self.wrong = Some(format!("entry {number} came where {} was next", self.next));
            }
            self.next = number + 1;
            if live && let Some(rest) = text.find("\"t\":") {
                let due = Duration::from_micros(digits(&text[rest + 4..]));
                self.times.add(self.epoch.elapsed().saturating_sub(due));
                return;
            }
        }
        self.others += u64::from(live && !any);
    }
}

fn digits(text: &str) -> u64 {
    text.bytes().take_while(u8::is_ascii_digit).fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
