//! The parts that `ls` and `inspect` share: taking a snapshot of the node's pods, reporting what it
//! lacks, and finding the pod that the user names.

pub(super) mod json;
pub(super) mod table;
pub(super) mod wanted;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{
    Global, Missing,
    history::{Ask, Told},
    output::{Format, StateFormat},
    summary,
    watch::{Runtime, parse_duration},
};
use crate::{
    event::{Ktime, NamespaceKind, PodId},
    node::{cgroup::Hierarchies, survey::process::Link},
    pods::{self, ContainerView, Follower, Judged, PodView, Snapshot, standing},
    probe,
    report::Clock,
    session::{
        self, Ended, Interrupt, Session, Setup, Stop,
        privileges::{self, Job},
    },
    terminal,
    text::{DOUBTFUL, Line, counted},
    verdict::{Age, Outcome, Value, Verdict},
};

/// How long runtimes may take to describe their pods. After this time the snapshot relies on the
/// OCI bundles alone.
const PATIENCE: Duration = Duration::from_secs(3);

/// The options of a snapshot.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct SnapshotArgs {
    #[command(flatten)]
    pub(super) runtime: Runtime,
    /// Load no eBPF program: verdicts and signals stay unknown
    #[arg(long, conflicts_with = "duration")]
    no_ebpf: bool,
    /// Watch for this long before reporting: 10s, 5m; a number alone is in seconds
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    pub(super) ask: Ask,
    #[command(flatten)]
    pub(super) format: Format<StateFormat>,
}

/// The arguments of a command about one pod.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct OnePod {
    /// NAMESPACE/NAME, a pod's uid, or the id of its sandbox or of a container; an unambiguous
    /// prefix is enough
    #[arg(value_name = "POD", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) pod: String,
    #[command(flatten)]
    pub(super) snapshot: SnapshotArgs,
}

/// Everything that is known of the node's pods at one moment.
pub(super) struct NodeSnapshot {
    pub(super) now: Ktime,
    pub(super) clock: Clock,
    pub(super) snapshot: Snapshot,
    /// `None` without the eBPF program.
    pub(super) judged: Option<Judged>,
    /// What a running `watch` knows.
    pub(super) told: Option<Told>,
}

/// Where the verdicts of a snapshot are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judge {
    /// A running `watch`, if there is one: they are the worst since it began.
    History,
    /// A look at what is now.
    Look,
}

impl SnapshotArgs {
    /// Takes the snapshot; `None` if Ctrl-C came first. Missing information is reported on stderr.
    pub(super) async fn take(&self, judge: Judge, global: &Global) -> Result<Option<NodeSnapshot>> {
        let mut interrupt = Interrupt::catch()?;
        interrupt
            .or(self.take_uninterrupted(judge, global))
            .await
            .transpose()
    }

    async fn take_uninterrupted(&self, judge: Judge, global: &Global) -> Result<NodeSnapshot> {
        privileges::require(Job::Read)?;
        self.runtime.reach().await?;
        let hierarchies =
            Hierarchies::discover().map_err(|error| anyhow!("failed to {error:#}"))?;
        // The eBPF program first: the state shown beside its verdicts is then as recent as
        // possible.
        let mut told = self.ask.told(global);
        let from_history = told.as_mut().filter(|_| {
            // Who gives a time wants to look.
            judge == Judge::History && self.duration.is_none()
        });
        let judged = match (self.no_ebpf, from_history) {
            (true, _) => None,
            (false, Some(told)) => Some(Ok(told.take_judged())),
            (false, None) => Some(self.judge(global).await),
        };
        let hosts = judged
            .as_ref()
            .and_then(|judged| Some(&judged.as_ref().ok()?.hosts));
        let mut snapshot = pods::collect(&hierarchies, self.runtime.cri.clone(), hosts).await?;
        refuse_if_hidden(&snapshot.pods)?;
        let judged = match judged {
            Some(Ok(judged)) => {
                if judged.lost > 0 {
                    let were = if judged.lost == 1 { "was" } else { "were" };
                    let records = counted(judged.lost, "record");
                    snapshot
                        .gaps
                        .push(format!("{records} of the kernel {were} lost"));
                }
                if judged.is_early {
                    snapshot.gaps.push(
                        "some runtimes have not answered yet: the verdicts on their pods depend on the OCI bundles alone"
                            .to_owned(),
                    );
                }
                Some(judged)
            }
            Some(Err(error)) => {
                snapshot
                    .gaps
                    .push(format!("verdicts and signals are unknown: {error:#}"));
                None
            }
            None => None,
        };
        report_gaps(&snapshot.gaps, global);
        Ok(NodeSnapshot {
            now: probe::now(),
            clock: summary::clock()?,
            snapshot,
            judged,
            told,
        })
    }

    /// Watches until every running pod has been read, and at least for the time that the user gave.
    async fn judge(&self, global: &Global) -> Result<Judged> {
        let Session { live, layout } =
            Session::start(Setup::of_node(global.probe(), global.limits())).await?;
        let mut follower = Follower::start(&live, &layout, self.runtime.cri.clone())
            .context("failed to follow the node's pods")?;
        let settled = tokio::time::timeout(PATIENCE, follower.settled());
        let zombies = follower.zombies_judged();
        let enough = async {
            let watched = tokio::time::sleep(self.duration.unwrap_or_default());
            let read = async {
                let is_early = settled.await.is_err();
                zombies.await;
                is_early
            };
            let (is_early, ()) = tokio::join!(read, watched);
            Ok(is_early)
        };
        // The caller handles Ctrl-C.
        let stop = Stop::default();
        let ended = session::drive(&live, Some(&mut follower), stop, enough).await?;
        let is_early = ended == Ended::Done(true);
        let verdicts = standing(live.pipeline.verdicts());
        Ok(live.read(|core| Judged::of(core, verdicts, is_early)))
    }
}

/// Refuses to continue without the privilege to read other users' processes: most of the output
/// would be unknown.
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

/// Writes the missing information to stderr. A failure to write is ignored.
pub(super) fn report_gaps(gaps: &[String], global: &Global) {
    let text_style = terminal::text_style(&io::stderr(), global.color);
    for gap in gaps {
        let mut line = Line::new(text_style);
        line.paint(DOUBTFUL, "pause-trace:").push(" ").push(gap);
        let _ = io::stderr().write_all(line.end().as_bytes());
    }
}

impl NodeSnapshot {
    /// The pods that the node no longer has, as far as a history has them.
    pub(super) fn gone(&self) -> Vec<PodView> {
        let told = self.told.as_ref();
        told.map_or_else(Vec::new, |told| told.gone(&self.snapshot.pods))
    }

    /// Adds to the error about a pod that was not found that the history does not have it either.
    pub(super) fn not_found(&self, error: anyhow::Error) -> anyhow::Error {
        match (error.downcast_ref::<Missing>(), &self.told) {
            (Some(Missing(message)), Some(told)) => told.missing(message, self.now).into(),
            _ => error,
        }
    }

    /// The verdicts on a pod.
    pub(super) fn verdicts<'a>(&'a self, pod: &'a PodId) -> impl Iterator<Item = &'a Verdict> {
        let judged = self.judged.iter();
        let verdicts = judged.flat_map(|judged| &judged.verdicts);
        verdicts.filter(|verdict| verdict.subject.pod.as_ref() == Some(pod))
    }

    /// The parts that are unknown without the eBPF program.
    pub(super) fn unknown(&self) -> &'static [&'static str] {
        match self.judged {
            Some(_) => &[],
            None => &["verdicts", "signals"],
        }
    }
}

/// Ranks a verdict: a pass is lowest, then an inconclusive one, then violations by severity.
pub(super) fn badness(verdict: &Verdict) -> u8 {
    match verdict.outcome {
        Outcome::Fail => 2 + verdict.severity() as u8,
        Outcome::Inconclusive => 1,
        Outcome::Pass => 0,
    }
}

/// How long ago something was, as every command writes it.
pub(super) fn age(ns: Ktime) -> String {
    Age(ns).to_string()
}

/// A size in KiB below 1 MiB, as a pause's usually is; otherwise in MiB.
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
