//! Reports the node's pods in the order of events: starts, ends and verdicts.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{
    Console, End,
    summary::{self, Losses},
};
use crate::{
    event::Ktime,
    pipeline::Pipeline,
    record::Mark,
    report::{Names, Summary},
    sink::Failed,
    verdict::{Severity, Verdict},
};

/// Which pods and findings are reported.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Wanted {
    /// Report only this pod: NAMESPACE/NAME, or a prefix of its uid
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// Report only findings of at least this severity
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Info)]
    pub(crate) min_severity: Severity,
}

impl Wanted {
    /// Whether a pod is to be reported.
    pub(super) fn includes(&self, pod: &crate::event::PodId, names: &Names) -> bool {
        self.pod
            .as_ref()
            .is_none_or(|wanted| names.is_called(pod, wanted))
    }
}

/// Reports the wanted pods and findings.
pub(super) struct PodReporter<'a> {
    wanted: &'a Wanted,
    losses: Losses,
}

impl<'a> PodReporter<'a> {
    pub(super) fn new(wanted: &'a Wanted) -> Self {
        let losses = Losses::default();
        Self { wanted, losses }
    }

    /// Reports everything that is known and was not reported yet.
    pub(super) fn report(
        &mut self,
        pipeline: &Pipeline,
        console: &mut Console,
    ) -> Result<(), Failed> {
        summary::report_failed_recording(pipeline, console)?;
        let (news, verdicts) = (pipeline.news(), pipeline.verdicts());
        if news.is_empty() && verdicts.is_empty() {
            return self.losses.report(pipeline, console);
        }
        pipeline.mark(|| Mark::Told);
        pipeline.look(|core| {
            let mut verdicts = verdicts.iter().peekable();
            for news in &news {
                while let Some(verdict) = verdicts.next_if(|verdict| news.follows(verdict.time)) {
                    self.verdict(verdict, &core.names, console)?;
                }
                if self.wanted.includes(&news.pod, &core.names) {
                    console.news(news, &core.names)?;
                }
            }
            verdicts.try_for_each(|verdict| self.verdict(verdict, &core.names, console))
        })?;
        self.losses.report(pipeline, console)?;
        console.flush()
    }

    fn verdict(
        &self,
        verdict: &Verdict,
        names: &Names,
        console: &mut Console,
    ) -> Result<(), Failed> {
        let is_wanted = match &verdict.subject.pod {
            Some(pod) => self.wanted.includes(pod, names),
            None => true,
        };
        if is_wanted && verdict.severity() >= self.wanted.min_severity {
            console.verdict(verdict, names)?;
        }
        Ok(())
    }

    /// Reports the rest and returns the summary. `since` and `until`: the start and end of the run.
    pub(super) fn end(
        mut self,
        pipeline: &Pipeline,
        console: &mut Console,
        (since, until): (Ktime, Ktime),
        end: End,
    ) -> Result<(End, Summary)> {
        let reported = self.report(pipeline, console);
        let end = match (end, reported) {
            (End::Finished, Err(failed)) => End::from_failed(failed)?,
            _ => end,
        };
        let summary = Summary {
            interrupted: end == End::Interrupted,
            ..summary::summary(pipeline, (since, until), &BTreeMap::new())
        };
        Ok((end, summary))
    }
}
