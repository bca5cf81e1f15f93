//! `why`: the reasons why a pod is slow, stuck or dead.

mod case;
mod gone;
mod holders;
mod json;
mod settle;
mod text;

use self::settle::Pending;
use super::{
    Exit, Global,
    output::StateFormat,
    pods::{
        Judge, OnePod, report_gaps,
        wanted::{self, Found},
    },
    print,
};
use crate::{
    node::{cgroup::Hierarchies, work::Outside},
    pods::{Listed, ListedPod},
    session, why,
};

/// Say why a pod is slow, stuck or dead: the most likely reason first, with what shows it and what
/// to do next
///
/// It looks at what the runtime says of the pod and of its ended containers, at its processes,
/// cgroups and network, at the programs that work for it now (CNI plugins, OCI runtimes, shims),
/// and at the rules. It changes nothing and needs root.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    one: OnePod,
}

const AFTER_HELP: &str = "\
A notice, such as a pod that listens on no port, may be intended. It does not change the exit code.

Examples:
  pause-trace why default/web                   a pod that runs, starts, stops, has ended, or was removed while a `watch` ran
  pause-trace why web --no-ebpf                 at once, without the rules
  pause-trace why web --format json | jq -r '.reasons[].sentence'

Exit codes: 0 nothing wrong was found · 1 a reason was found · 2 wrong usage, or more than one pod · 3 no such pod, or only its pause runs and no runtime says why, or a removed pod's end was not observed · 4 cannot run; the message says what to do";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> anyhow::Result<Exit> {
        let OnePod { pod, snapshot } = &self.one;
        session::block_on(async {
            let Some(mut node) = snapshot.take(Judge::Look, global).await? else {
                return Ok(Exit::Interrupted);
            };
            let mut listed = Listed::ask(snapshot.runtime.cri.clone()).await;
            listed.add_to(&mut node.snapshot.pods);
            let hierarchies = Hierarchies::discover()?;
            let outside = Outside::read(hierarchies.watched());
            case::add_starting(&outside, &mut node.snapshot.pods);
            let gone = node.gone();
            let mut pod = match wanted::find(&node.snapshot.pods, &gone, pod) {
                Ok(Found::Here(pod)) => pod.clone(),
                Ok(Found::Gone(pod)) => {
                    report_gaps(&listed.gaps, global);
                    let seen = case::Seen {
                        node: &node,
                        pod,
                        listed: &ListedPod::default(),
                        outside: &outside,
                        hierarchies: &hierarchies,
                        pending: &Pending::new(),
                    };
                    return gone::answer(&seen, snapshot.format.chosen, global).await;
                }
                Err(error) => return Err(node.not_found(error)),
            };
            let pending = settle::settle(&mut pod).await;
            let pod = &pod;
            let of_runtime = listed.pod(&pod.id).await;
            report_gaps(&listed.gaps, global);
            let seen = case::Seen {
                node: &node,
                pod,
                listed: &of_runtime,
                outside: &outside,
                hierarchies: &hierarchies,
                pending: &pending,
            };
            let mut case = seen.case();
            let mut unknown = seen.unknown(&listed);
            if case.is_over() {
                let (held, not_read) = holders::of(&seen).await;
                case.holders = held;
                unknown.extend(not_read);
            }
            let explanation = why::explain(&case);
            match snapshot.format.chosen {
                StateFormat::Json => print(&json::line(&node, pod, &explanation, &unknown)?)?,
                StateFormat::Text => {
                    let text_style = global.text_style();
                    let mut text = text::shown(text_style, pod, &explanation, &unknown);
                    if let Some(told) = &node.told {
                        text.push_str(&told.text(&pod.id, node.now, text_style));
                    }
                    print(&text)?
                }
            };
            Ok(match () {
                () if explanation.is_problem() => Exit::Violation,
                () if explanation.is_undecided() => Exit::Inconclusive,
                () => Exit::Pass,
            })
        })
    }
}
