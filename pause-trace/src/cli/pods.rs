//! What `ls` and `inspect` share: how they look, what they then cannot know, and which pod is meant.

pub(super) mod json;
pub(super) mod table;
pub(super) mod wanted;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    Global,
    output::{Format, Shown},
    summary,
    watch::{Runtime, parse_duration},
};
use crate::{
    event::{Ktime, NamespaceKind, PodId},
    node::{cgroup::Hierarchies, survey::process::Link},
    pods::{self, ContainerView, Follower, Judged, PodView, Snapshot, standing},
    probe,
    report::Clock,
    session::{self, Ended, Interrupt, Session, Setup, Stop},
    terminal,
    text::{DOUBTFUL, Line},
    verdict::{Outcome, Value, Verdict},
};

/// How long runtimes may take to say who the pods are. One that does not answer is asked again by who follows pods; here,
/// bundles are enough then.
const PATIENCE: Duration = Duration::from_secs(3);

/// How to look at the pods.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Looking {
    #[command(flatten)]
    runtime: Runtime,
    /// Load no eBPF program: verdicts and signals stay unknown
    #[arg(long, conflicts_with = "duration")]
    no_ebpf: bool,
    /// Watch for this long before reporting: 10s, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    pub(super) format: Format<Shown>,
}

/// All that is known at one moment.
pub(super) struct Seen {
    pub(super) now: Ktime,
    pub(super) clock: Clock,
    pub(super) snapshot: Snapshot,
    /// `None` without the program in the kernel.
    pub(super) judged: Option<Judged>,
}

impl Looking {
    /// Looks; `None` where Ctrl-C came first. What cannot be known is told on stderr.
    pub(super) async fn look(&self, global: &Global) -> Result<Option<Seen>> {
        let mut interrupt = Interrupt::catch()?;
        interrupt.or(self.see(global)).await.transpose()
    }

    async fn see(&self, global: &Global) -> Result<Seen> {
        let hierarchies =
            Hierarchies::discover().map_err(|error| error.context("failed to look for pods"))?;
        // The kernel program first: what is shown beside its verdicts is then as fresh as can be.
        let judged = match self.no_ebpf {
            true => None,
            false => Some(self.judge(global).await),
        };
        let mut snapshot = pods::collect(&hierarchies, self.runtime.cri.clone()).await?;
        refuse_if_hidden(&snapshot.pods)?;
        let judged = match judged {
            Some(Ok(judged)) => {
                if judged.lost > 0 {
                    snapshot
                        .gaps
                        .push(format!("{} of the kernel's records were lost", judged.lost));
                }
                if judged.is_early {
                    snapshot.gaps.push(
                        "verdicts rest on bundles alone where runtimes have not answered yet"
                            .to_owned(),
                    );
                }
                Some(judged)
            }
            Some(Err(error)) => {
                snapshot
                    .gaps
                    .push(format!("verdicts and signals are not known: {error:#}"));
                None
            }
            None => None,
        };
        tell(&snapshot.gaps, global);
        Ok(Seen {
            now: probe::now(),
            clock: summary::clock()?,
            snapshot,
            judged,
        })
    }

    /// Watches until all that runs has been looked at, and for as long as was asked for.
    async fn judge(&self, global: &Global) -> Result<Judged> {
        let Session { live, layout } = Session::start(Setup::of_node(global.probe())).await?;
        let mut follower = Follower::start(&live, &layout, self.runtime.cri.clone())
            .context("failed to look at the node's pods")?;
        let settled = tokio::time::timeout(PATIENCE, follower.settled());
        let enough = async {
            let watched = tokio::time::sleep(self.duration.unwrap_or_default());
            let (settled, ()) = tokio::join!(settled, watched);
            Ok(settled.is_err())
        };
        // Ctrl-C ends the whole look.
        let stop = Stop::default();
        let ended = session::drive(&live, Some(&mut follower), stop, enough).await?;
        let is_early = ended == Ended::Done(true);
        let verdicts = standing(live.pipeline.verdicts());
        Ok(Judged::now(&live, verdicts, is_early))
    }
}

/// Without the right to look at other users' processes nothing that is shown would be worth it.
fn refuse_if_hidden(pods: &[PodView]) -> Result<()> {
    let containers = pods.iter().flat_map(|pod| &pod.containers);
    let mut first = containers
        .filter_map(ContainerView::entrypoint)
        .filter(|first| !first.is_zombie());
    if let Some(hidden) = first.next()
        && hidden.namespace(NamespaceKind::Net) == Link::Unknown
        && first.all(|other| other.namespace(NamespaceKind::Net) == Link::Unknown)
    {
        bail!(
            "failed to read /proc/{}/ns/net, and so for every other container: not permitted; run as root, or with \
             CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
            hidden.pid
        );
    }
    Ok(())
}

/// Tells whoever looks at stderr what is not known. That it cannot be written is nobody's problem.
fn tell(gaps: &[String], global: &Global) {
    let look = terminal::look(&io::stderr(), global.color);
    for gap in gaps {
        let mut line = Line::new(look);
        line.paint(DOUBTFUL, "pause-trace:").push(" ").push(gap);
        let _ = io::stderr().write_all(line.end().as_bytes());
    }
}

impl Seen {
    /// The verdicts on a pod.
    pub(super) fn verdicts<'a>(&'a self, pod: &'a PodId) -> impl Iterator<Item = &'a Verdict> {
        let judged = self.judged.iter();
        let verdicts = judged.flat_map(|judged| &judged.verdicts);
        verdicts.filter(|verdict| verdict.subject.pod.as_ref() == Some(pod))
    }

    /// What nobody can say without the program in the kernel.
    pub(super) fn unknown(&self) -> &'static [&'static str] {
        match self.judged {
            Some(_) => &[],
            None => &["verdicts", "signals"],
        }
    }
}

/// Orders verdicts by how bad they are: a violation by its severity, then what is in doubt, then what passed.
pub(super) fn badness(verdict: &Verdict) -> u8 {
    match verdict.outcome {
        Outcome::Fail => 2 + verdict.severity() as u8,
        Outcome::Inconclusive => 1,
        Outcome::Pass => 0,
    }
}

/// A span in ns in the two units that suit it: `3d4h`, `5m12s`, `42s`.
pub(super) fn age(ns: Ktime) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A size: in KiB where it is small, as a pause's is, else in MiB.
pub(super) fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => Value::Bytes(bytes).to_string(),
        _ => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        let ages = [0, 59, 60, 3_599, 3_600, 90_061].map(|seconds| age(seconds * 1_000_000_000));
        assert_eq!(ages, ["0s", "59s", "1m0s", "59m59s", "1h0m", "1d1h"]);
        let sizes = [0, 12 << 10, (1 << 20) - 1, 1 << 20, 7 << 19].map(size);
        assert_eq!(sizes, ["0 B", "12 KiB", "1023 KiB", "1.0 MiB", "3.5 MiB"]);
    }
}
