//! `run`: verifies a reference pod, then the node's pods.

use anyhow::Result;

use super::{
    Console, End, Exit, Global,
    metrics::{Bound as BoundMetrics, Exposed, MetricsArgs},
    output::Output,
    recording::{Bound, Record, Recording},
    select::Selection,
    summary, verify,
    watch::{self, Node, Pods, Runtime},
};
use crate::{
    reference::{self, faults, patience::Patience, pod::Pause, scenarios},
    session::{self, Interrupt},
};

/// The faults that a run injects to prove that such faults are found.
const SELF_PROOF: [&str; 3] = ["own-net", "ignores-term", "pause-no-reap"];

/// Verify this node: first the kernel with a reference pod, then the node's pods, running and new,
/// until Ctrl-C
///
/// The reference check runs every scenario and injects three faults, which it must find. If no
/// container runtime runs on the node, the command ends after the reference check. It needs root
/// and the initial pid namespace.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) pods: Pods,
    #[command(flatten)]
    pub(crate) runtime: Runtime,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) record: Record,
    #[command(flatten)]
    pub(crate) bound: Bound,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace run                                             as text, until Ctrl-C
  pause-trace run --once --format sarif --output node.sarif   for a code-scanning service
  pause-trace run --for 10m --format json | jq 'select(.type == \"finding\")'";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        let proof = SELF_PROOF
            .iter()
            .filter_map(|name| faults::all().find(|fault| fault.scenario.name == *name));
        let plan = verify::Plan {
            scripts: scenarios::all().chain(proof).collect(),
            pause: Pause::Image(reference::pause_binary()),
            pause_args: Vec::new(),
            patience: Patience::default(),
            idle: reference::IDLE,
            inject: false,
        };
        self.selection.validate()?;
        let clock = summary::clock()?;
        self.output.refuse_recording(&self.record)?;
        let console = Console::open(&self.output, global, clock, false)?;
        let metrics = self.metrics.bind(clock)?;
        let recording = self.record.start(clock, self.bound.max_size)?;
        session::block_on(async {
            let exposed = metrics.map(BoundMetrics::serve).transpose()?;
            let exit = self
                .run_both(&plan, global, console, (&recording, exposed.as_ref()))
                .await?;
            if let Some(exposed) = exposed {
                exposed.close().await;
            }
            Ok(recording.close(exit))
        })
    }

    /// Verifies the reference pod, then the node's pods.
    async fn run_both(
        &self,
        plan: &verify::Plan,
        global: &Global,
        mut console: Console,
        (recording, metrics): (&Recording, Option<&Exposed>),
    ) -> Result<Exit> {
        let mut interrupt = Interrupt::catch()?;
        if let Some(exposed) = metrics {
            exposed.before("the reference pod is being verified");
        }
        // Before the reference check, which takes a while.
        self.runtime.reach().await?;
        let (end, reference) = verify::play(
            plan,
            &self.selection,
            global,
            (&mut console, recording.recorder()),
            &mut interrupt,
        )
        .await?;
        if end != End::Finished {
            return Ok(console.finish(reference.as_ref(), end)?);
        }
        let node = Node {
            pods: &self.pods,
            runtime: &self.runtime,
            follows_reference: true,
            recording,
            metrics,
            history: None,
            confine: global.confine(None),
        };
        let (end, pods) =
            watch::watch(&node, &self.selection, global, &mut console, &mut interrupt).await?;
        let summary = match (reference, pods) {
            (Some(reference), Some(pods)) => Some(reference.and(pods)),
            (one, other) => one.or(other),
        };
        Ok(console.finish(summary.as_ref(), end)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_injected_faults_exist() {
        for name in SELF_PROOF {
            assert!(
                faults::all().any(|fault| fault.scenario.name == name),
                "{name}"
            );
        }
    }
}
