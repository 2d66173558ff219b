//! `cairn limits`: every limit of the protocol.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;
use shared::limits::TABLE;

use super::Failure;

#[derive(Debug, Default, Args)]
pub(super) struct Limits {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Limits {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        self.print(&mut out).map_err(Failure::io("the limits cannot be printed"))
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        if self.json {
            let limits: Vec<_> =
                TABLE.iter().map(|(name, value, unit)| json!({ "name": name, "value": value, "unit": unit })).collect();
            return writeln!(out, "{}", json!(limits));
        }
        TABLE.iter().try_for_each(|(name, value, unit)| writeln!(out, "{name:28} {value:>12} {unit}"))
    }
}
