//! Reports the node's pods in the order of events: starts, ends and verdicts.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;

use super::{Console, End, summary};
use crate::{
    event::{ContainerId, Ktime, PodId},
    metrics::Metrics,
    news::NewsKind,
    pipeline::{LossFilter, Pipeline},
    record::Mark,
    report::{Names, Summary},
    rules::Counts,
    sink::Failed,
    text::counted,
    verdict::{Outcome, Severity, Verdict},
};

/// Which pods and findings are reported.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct PodFilter {
    /// Report only this pod: NAMESPACE/NAME or NAME, its uid or a container's id. If no pod is
    /// called exactly so, each pod whose name begins so: `web-` means those of the Deployment
    /// `web`. The exit code is 3 if there is none
    #[arg(long, value_name = "POD", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) pod: Option<String>,
    /// End with exit code 3 if fewer than N pods were observed
    #[arg(long, value_name = "N", value_parser = whole_number)]
    pub(crate) require_pods: Option<usize>,
    /// Report only findings of at least this severity
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Info)]
    pub(crate) min_severity: Severity,
}

impl PodFilter {
    /// All pods and all findings.
    pub(super) fn everything() -> Self {
        Self {
            pod: None,
            require_pods: None,
            min_severity: Severity::Info,
        }
    }

    /// Whether a pod is to be reported.
    pub(super) fn includes(&self, pod: &PodId, names: &Names) -> bool {
        self.pod
            .as_ref()
            .is_none_or(|wanted| names.matches(pod, wanted))
    }

    /// Whether a verdict belongs to the pods that are reported. One on no pod concerns all of them.
    pub(super) fn is_about(&self, verdict: &Verdict, names: &Names) -> bool {
        let pod = verdict.subject.pod.as_ref();
        pod.is_none_or(|pod| self.includes(pod, names))
    }

    /// The number of pods that have to be there.
    fn required(&self) -> usize {
        let of_name = usize::from(self.pod.is_some());
        self.require_pods.unwrap_or_default().max(of_name)
    }

    /// What is missing if only `found` of these pods were there.
    pub(super) fn missing(&self, found: usize) -> Option<String> {
        let required = self.required();
        if found >= required {
            return None;
        }
        Some(match &self.pod {
            Some(wanted) if found == 0 => {
                format!("there was no pod \"{}\"", wanted.escape_debug())
            }
            _ => {
                let were = if found == 1 { "was" } else { "were" };
                let pods = counted(found as u64, "pod");
                format!("{pods} {were} observed; --require-pods requires {required}")
            }
        })
    }
}

/// A number of pods.
fn whole_number(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "not a whole number")
}

/// Reports the wanted pods and findings.
pub(super) struct PodReporter<'a> {
    wanted: &'a PodFilter,
    /// The pods that were there, up to the number that is required.
    found: HashSet<PodId>,
    /// The pods that were reported and are not removed, and how many were reported in all.
    present: HashSet<PodId>,
    pods: u64,
    /// Whether the user was told that nothing can be observed.
    is_told: bool,
    totals: Totals,
    /// Counts all news and verdicts, also those that are not reported.
    metrics: Option<&'a Metrics>,
}

impl<'a> PodReporter<'a> {
    pub(super) fn new(wanted: &'a PodFilter) -> Self {
        Self {
            wanted,
            found: HashSet::new(),
            present: HashSet::new(),
            pods: 0,
            is_told: false,
            totals: Totals::default(),
            metrics: None,
        }
    }

    /// The same, which also counts for these metrics.
    pub(super) fn counted(self, metrics: Option<&'a Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// The user has been told that no pod can be observed, so the end need not repeat it.
    pub(super) fn said_that_nothing_runs(&mut self, is_told: bool) {
        self.is_told = is_told;
    }

    /// The number of pods that were reported and are not removed.
    pub(super) fn present(&self) -> u64 {
        self.present.len() as u64
    }

    /// Reports everything that is known and was not reported yet.
    pub(super) fn report(
        &mut self,
        pipeline: &Pipeline,
        console: &mut Console,
    ) -> Result<(), Failed> {
        self.report_with(pipeline, LossFilter::Complete, console)
    }

    fn report_with(
        &mut self,
        pipeline: &Pipeline,
        losses: LossFilter,
        console: &mut Console,
    ) -> Result<(), Failed> {
        summary::report_failed_recording(pipeline, console)?;
        let (news, verdicts) = (pipeline.news(), pipeline.verdicts());
        if let Some(metrics) = self.metrics {
            news.iter().for_each(|news| metrics.news(news));
            pipeline.read(|core| {
                for verdict in &verdicts {
                    let decided = console.decided(verdict, &core.names);
                    metrics.verdict(decided.as_ref().unwrap_or(verdict));
                }
            });
        }
        let losses = pipeline.losses(losses);
        if news.is_empty() && verdicts.is_empty() && losses.is_empty() {
            return Ok(());
        }
        pipeline.mark(|| Mark::Reported);
        pipeline.read(|core| {
            let mut verdicts = verdicts.iter().peekable();
            for news in &news {
                while let Some(verdict) = verdicts.next_if(|verdict| news.follows(verdict.time)) {
                    self.verdict(verdict, &core.names, console)?;
                }
                if self.wanted.includes(&news.pod, &core.names) {
                    if self.found.len() < self.wanted.required() {
                        self.found.insert(news.pod.clone());
                    }
                    if self.present.insert(news.pod.clone()) {
                        self.pods += 1;
                    }
                    if matches!(news.what, NewsKind::Verified { .. }) {
                        self.totals.close(&news.pod);
                        self.present.remove(&news.pod);
                    }
                    console.news(news, &core.names)?;
                }
            }
            verdicts.try_for_each(|verdict| self.verdict(verdict, &core.names, console))
        })?;
        losses.iter().try_for_each(|loss| console.loss(loss))?;
        console.flush()
    }

    fn verdict(
        &mut self,
        verdict: &Verdict,
        names: &Names,
        console: &mut Console,
    ) -> Result<(), Failed> {
        if !self.wanted.is_about(verdict, names) {
            return Ok(());
        }
        if self.wanted.pod.is_some() {
            self.totals.count(verdict);
        }
        console.verdict_from(self.wanted.min_severity, verdict, names)
    }

    /// Reports the rest and returns the summary. `since` and `until`: the start and end of the run.
    pub(super) fn end(
        mut self,
        pipeline: &Pipeline,
        console: &mut Console,
        (since, until): (Ktime, Ktime),
        end: End,
    ) -> Result<(End, Summary)> {
        let reported = self.report_with(pipeline, LossFilter::All, console);
        let mut end = match (end, reported) {
            (End::Finished, Err(failed)) => End::from_failed(failed)?,
            _ => end,
        };
        if end == End::Finished
            && let Some(missing) = self.wanted.missing(self.found.len())
        {
            console.note(&missing)?;
            end = End::Closed;
        } else if end == End::Finished && self.pods == 0 && !self.is_told {
            console.note("no pod was observed, so none was verified")?;
        }
        let mut summary = Summary {
            interrupted: end == End::Interrupted,
            pods: Some(self.pods),
            ..summary::summary(pipeline, (since, until), &BTreeMap::new())
        };
        if self.wanted.pod.is_some() {
            summary.rules = self.totals.rules.into_iter().collect();
            summary.verdicts = summary.rules.iter().map(|(_, counts)| *counts).sum();
        }
        Ok((end, summary))
    }
}

/// The verdicts of one pod: the ledger counts those of all pods.
#[derive(Default)]
struct Totals {
    rules: BTreeMap<&'static str, Counts>,
    /// The current verdict of each rule and subject.
    standing: HashMap<(&'static str, Option<PodId>, Option<ContainerId>), Outcome>,
}

impl Totals {
    /// Counts a verdict in place of the earlier one on the same subject.
    fn count(&mut self, verdict: &Verdict) {
        let Verdict {
            rule,
            outcome,
            subject,
            ..
        } = verdict;
        let counts = self.rules.entry(rule.id).or_default();
        let key = (rule.id, subject.pod.clone(), subject.container.clone());
        if let Some(before) = self.standing.insert(key, *outcome) {
            counts.count(before, -1);
        }
        counts.count(*outcome, 1);
    }

    /// Nothing more is decided about a pod. Its counts remain.
    fn close(&mut self, pod: &PodId) {
        self.standing
            .retain(|(_, of, _), _| of.as_ref() != Some(pod));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn wanted(pod: Option<&str>, require_pods: Option<usize>) -> PodFilter {
        PodFilter {
            pod: pod.map(str::to_owned),
            require_pods,
            min_severity: Severity::Info,
        }
    }

    #[test]
    fn what_was_asked_for_has_to_be_there() {
        assert_eq!(wanted(None, None).missing(0), None);
        assert_eq!(wanted(None, Some(2)).missing(2), None);
        assert_eq!(
            wanted(None, Some(2)).missing(1).as_deref(),
            Some("1 pod was observed; --require-pods requires 2")
        );
        assert_eq!(wanted(Some("web"), None).missing(1), None);
        assert_eq!(
            wanted(Some("w\x1b"), None).missing(0).as_deref(),
            Some("there was no pod \"w\\u{1b}\"")
        );
    }

    #[test]
    fn totals_count_the_last_verdict_of_a_subject() {
        let mut totals = Totals::default();
        totals.count(&testing::passed());
        totals.count(&testing::failed());
        totals.count(&testing::hostile());
        let all: Counts = totals.rules.values().copied().sum();
        assert_eq!((all.pass, all.fail, all.inconclusive), (0, 2, 0));
        totals.close(&"uid-1".into());
        assert_eq!(totals.standing.len(), 1);
        assert_eq!(totals.rules["PT101"].fail, 2);
    }

    #[test]
    fn a_verdict_on_no_pod_is_about_every_pod() {
        let names = testing::names();
        let mut verdict = testing::failed();
        let web = wanted(Some("default/web"), None);
        assert!(web.is_about(&verdict, &names));
        assert!(!web.is_about(&testing::hostile(), &names));
        verdict.subject.pod = None;
        assert!(web.is_about(&verdict, &names));
    }
}
