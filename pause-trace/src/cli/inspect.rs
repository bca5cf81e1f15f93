//! `inspect`: all that can be seen of one pod.

pub(super) mod text;

use super::{
    Exit, Global,
    output::Shown,
    pods::{Looking, json, wanted},
    print,
};
use crate::session;

/// Show one pod: namespaces side by side, processes, signals, network, verdicts with their evidence
///
/// It reports the state and does not judge it: the exit code is 0 whatever the verdicts are. It needs root.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// NAMESPACE/NAME, a pod's uid, or the id of its sandbox or of a container; an unambiguous beginning is enough
    #[arg(value_name = "POD")]
    pod: String,
    #[command(flatten)]
    looking: Looking,
}

const AFTER_HELP: &str = "\
Namespaces are compared with the pause's and the host's: same (as the pause's), own, host, or another container's.

Examples:
  pause-trace inspect kube-system/coredns         the only pod whose name begins so
  pause-trace inspect default/web --for 30s       with the signals of half a minute
  pause-trace inspect 8852eac2 --format json

Exit codes: 0 it was shown · 2 wrong usage, no such pod, or several · 4 cannot look; the message says what to do";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> anyhow::Result<Exit> {
        session::block_on(async {
            let Some(seen) = self.looking.look(global).await? else {
                return Ok(Exit::Interrupted);
            };
            let pod = wanted::find(&seen.snapshot.pods, &self.pod)?;
            match self.looking.format.chosen {
                Shown::Json => print(&json::inspected(&seen, pod)?),
                Shown::Text => print(&text::shown(global.look(), global.verbose, &seen, pod)?),
            }
        })
    }
}
