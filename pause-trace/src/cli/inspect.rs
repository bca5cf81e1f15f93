//! `inspect`: the state of one pod.

pub(super) mod text;

use super::{
    Exit, Global, Missing,
    output::StateFormat,
    pods::{
        Judge, OnePod, json,
        wanted::{self, Found},
    },
    print,
};
use crate::session;

/// Show one pod: namespaces side by side, processes, signals, network, verdicts with their evidence
///
/// It reports the state and does not judge it: the exit code is 0 whatever the verdicts are. It
/// needs root.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    one: OnePod,
}

const AFTER_HELP: &str = "\
Namespaces are compared with the pause's and the host's: same (as the pause's), own, host, or another container's.

Examples:
  pause-trace inspect kube-system/coredns         the only pod whose name begins with this
  pause-trace inspect default/web --for 30s       with the signals of 30 seconds
  pause-trace inspect 8852eac2 --format json

Exit codes: 0 the pod was shown · 2 wrong usage, or more than one pod · 3 no such pod · 4 cannot run; the message says what to do";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> anyhow::Result<Exit> {
        let OnePod { pod, snapshot } = &self.one;
        session::block_on(async {
            let Some(node) = snapshot.take(Judge::History, global).await? else {
                return Ok(Exit::Interrupted);
            };
            let gone = node.gone();
            let pod = match wanted::find(&node.snapshot.pods, &gone, pod) {
                Ok(Found::Here(pod)) => pod,
                Ok(Found::Gone(pod)) => {
                    return Err(Missing(format!(
                        "the node no longer has {}: `pause-trace why` says how it ended",
                        pod.title()
                    ))
                    .into());
                }
                Err(error) => return Err(node.not_found(error)),
            };
            match snapshot.format.chosen {
                StateFormat::Json => print(&json::inspected(&node, pod)?),
                StateFormat::Text => print(&text::shown(
                    global.text_style(),
                    global.verbose,
                    None,
                    &node,
                    pod,
                )?),
            }
        })
    }
}
