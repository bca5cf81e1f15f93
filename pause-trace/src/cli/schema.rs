//! `schema`: what the program's JSON looks like.

use super::{Exit, print};

/// Write the JSON Schema of every line that --format json writes
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Args {}

/// Made from the types by a test of pause-trace-core.
const SCHEMA: &str = include_str!("../../../docs/schema.json");

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        print(SCHEMA)
    }
}
