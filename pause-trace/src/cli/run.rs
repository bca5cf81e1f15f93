//! `run`: the main job on a node.

use anyhow::Result;

use super::{Exit, Global, output::Output, select::Selection, verify};
use crate::reference::{self, faults, pod::Pause, scenarios};

/// Faults of three kinds that a run plants to show that they would be found.
const SELF_PROOF: [&str; 3] = ["own-net", "ignores-term", "pause-no-reap"];

/// Verify this node's kernel with the reference pod: every scenario, and three planted faults that must be caught
///
/// Needs root and the node's own pid namespace.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: Output,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace run                                      for people
  pause-trace run --format sarif --output node.sarif   for a code-scanning service
  pause-trace run --format json | jq 'select(.type == \"finding\")'";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        let proof = SELF_PROOF
            .iter()
            .filter_map(|name| faults::all().find(|fault| fault.name == *name));
        let plan = verify::Plan {
            scenarios: scenarios::all().chain(proof).collect(),
            pause: Pause::Image(reference::pause_binary()),
            pause_args: Vec::new(),
            inject: false,
        };
        verify::run(&plan, &self.selection, &self.output, global)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faults_of_the_self_proof_are_there() {
        for name in SELF_PROOF {
            assert!(faults::all().any(|fault| fault.name == name), "{name}");
        }
    }
}
