//! `schema`: the JSON Schema of the program's output.

use super::{Exit, print};

/// Write the JSON Schema of every line that --format json writes
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Args {}

/// A test of pause-trace-core generates it from the types.
const SCHEMA: &str = include_str!("../../../docs/schema.json");

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        print(SCHEMA)
    }
}
