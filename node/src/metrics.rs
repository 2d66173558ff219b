//! What Prometheus reads: counts of this process, and what the node says of itself.

use std::{
    fmt::{self, Write},
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use crate::host::Status;

/// Upper bounds of the buckets of append times, in µs.
const BOUNDS: [u64; 11] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];

/// Counts that grow while the process lives.
#[derive(Debug, Default)]
pub struct Metrics {
    clients: AtomicI64,
    client_events: AtomicU64,
    client_errors: AtomicU64,
    unauthorized: AtomicU64,
    appended_entries: AtomicU64,
    append_buckets: [AtomicU64; BOUNDS.len()],
    append_count: AtomicU64,
    append_micros: AtomicU64,
}

impl Metrics {
    pub(crate) fn client_came(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn client_left(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn client_event(&self) {
        self.client_events.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn client_error(&self) {
        self.client_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody without the token was not let in.
    pub(crate) fn unauthorized(&self) {
        self.unauthorized.fetch_add(1, Ordering::Relaxed);
    }

    /// One append of so many entries became durable after this time.
    pub(crate) fn appended(&self, entries: usize, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.appended_entries.fetch_add(entries as u64, Ordering::Relaxed);
        self.append_count.fetch_add(1, Ordering::Relaxed);
        self.append_micros.fetch_add(micros, Ordering::Relaxed);
        for (bound, bucket) in BOUNDS.iter().zip(&self.append_buckets) {
            if micros <= *bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The text format of Prometheus, version 0.0.4.
    pub fn render(&self, status: &Status) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _: fmt::Result = self.write(&mut text, status);
        text
    }

    fn write(&self, out: &mut String, status: &Status) -> fmt::Result {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let linked = status.links.iter().filter(|link| link.node.is_some()).count();
        writeln!(out, "# HELP cairn_info The node, its ledger and its version; always 1.")?;
        writeln!(out, "# TYPE cairn_info gauge")?;
        let (version, node, ledger) = (&status.version, &status.node, &status.ledger);
        writeln!(out, "cairn_info{{version=\"{version}\",node=\"{node}\",ledger=\"{ledger}\"}} 1")?;
        gauge(out, "cairn_uptime_seconds", "Seconds since the host started.", status.uptime_seconds)?;
        gauge(out, "cairn_ledger_blocks", "Blocks in the ledger.", status.totals.blocks)?;
        gauge(out, "cairn_ledger_entries", "Entries in the ledger.", status.totals.entries)?;
        gauge(out, "cairn_ledger_bytes", "Bytes of the blocks in the ledger.", status.totals.bytes)?;
        gauge(out, "cairn_lanes_frozen", "Lanes that are frozen because of a fork.", status.frozen.len() as u64)?;
        gauge(out, "cairn_arrival_number", "Arrival number of the newest block.", status.last_seq)?;
        gauge(out, "cairn_parked_blocks", "Blocks that wait for a parent or for their time.", status.parked.blocks)?;
        gauge(out, "cairn_parked_bytes", "Bytes of parked blocks.", status.parked.bytes)?;
        gauge(out, "cairn_links", "Open links.", status.links.len() as u64)?;
        gauge(out, "cairn_links_proved", "Open links whose peer proved its key.", linked as u64)?;
        gauge(out, "cairn_known_nodes", "Nodes that are known, this one included.", status.known_nodes.len() as u64)?;
        gauge(out, "cairn_own_height", "Height of this node's own lane.", status.held.height)?;
        gauge(out, "cairn_own_held_by", "Linked nodes that hold all of its own lane.", u64::from(status.held.nodes))?;
        counter(out, "cairn_turns_total", "Turns, each of which ends with one commit.", status.turns)?;
        let clients = self.clients.load(Ordering::Relaxed).max(0).unsigned_abs();
        gauge(out, "cairn_clients", "Connected Socket.IO clients of both namespaces.", clients)?;
        counter(out, "cairn_client_events_total", "Events that clients sent.", load(&self.client_events))?;
        counter(out, "cairn_client_errors_total", "Events that were answered by an error.", load(&self.client_errors))?;
        let unauthorized = load(&self.unauthorized);
        counter(out, "cairn_unauthorized_total", "Clients and requests without the right token.", unauthorized)?;
        counter(out, "cairn_appended_entries_total", "Entries that clients appended.", load(&self.appended_entries))?;
        self.write_appends(out)
    }

    fn write_appends(&self, out: &mut String) -> fmt::Result {
        let name = "cairn_append_seconds";
        writeln!(out, "# HELP {name} Time from taking an append to its being durable.")?;
        writeln!(out, "# TYPE {name} histogram")?;
        for (bound, bucket) in BOUNDS.iter().zip(&self.append_buckets) {
            let (bound, count) = (seconds(*bound), bucket.load(Ordering::Relaxed));
            writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}")?;
        }
        let count = self.append_count.load(Ordering::Relaxed);
        writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}")?;
        writeln!(out, "{name}_sum {}", seconds(self.append_micros.load(Ordering::Relaxed)))?;
        writeln!(out, "{name}_count {count}")
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

fn gauge(out: &mut String, name: &str, help: &str, value: u64) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}")
}

fn counter(out: &mut String, name: &str, help: &str, value: u64) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_help_type_and_value() {
        let metrics = Metrics::default();
        metrics.client_came();
        metrics.appended(3, Duration::from_millis(4));
        metrics.appended(1, Duration::from_secs(9));
        let text = metrics.render(&Status::default());
        for line in [
            "cairn_clients 1",
            "cairn_appended_entries_total 4",
            "cairn_append_seconds_bucket{le=\"0.0025\"} 0",
            "cairn_append_seconds_bucket{le=\"0.005\"} 1",
            "cairn_append_seconds_bucket{le=\"+Inf\"} 2",
            "cairn_append_seconds_count 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let helps = text.lines().filter(|line| line.starts_with("# HELP ")).count();
        assert_eq!(names.len(), helps);
        assert!(names.iter().all(|name| text.contains(&format!("\n{}", name.split(' ').next().unwrap_or_default()))));
    }
}
