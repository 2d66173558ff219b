//! What a run prints: one JSON object a line.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::meter::Cost;

/// Prints a figure and what it cost.
pub(crate) fn figure(name: &str, value: f64, cost: Cost) -> io::Result<()> {
    let mut line = Map::from_iter([("figure".to_owned(), json!(name)), ("value".to_owned(), json!(value))]);
    // The kernel counts hundredths of a second.
    line.extend(cost.cpu.map(|cpu| ("cpu".to_owned(), json!((cpu * 100.0).round() / 100.0))));
    line.extend(cost.memory.map(|memory| ("memory".to_owned(), json!(memory))));
    writeln!(io::stdout().lock(), "{}", Value::Object(line))
}

/// The value below which so many percent lie.
pub(crate) fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * percent / 100.0).round() as usize).copied().unwrap_or(f64::NAN)
}
