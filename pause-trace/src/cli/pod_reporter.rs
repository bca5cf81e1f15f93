//! Reports the node's pods in the order of events: what started and ended, and what was decided.

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

/// What is reported.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Wanted {
    /// Report only this pod: NAMESPACE/NAME, or the beginning of its uid
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// Report only findings of at least this severity
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Info)]
    pub(crate) min_severity: Severity,
}

impl Wanted {
    /// Whether a pod is to be told of.
    pub(super) fn takes(&self, pod: &crate::event::PodId, names: &Names) -> bool {
        self.pod
            .as_ref()
            .is_none_or(|wanted| names.is_called(pod, wanted))
    }
}

/// Reports what was asked for.
pub(super) struct PodReporter<'a> {
    wanted: &'a Wanted,
    losses: Losses,
}

impl<'a> PodReporter<'a> {
    pub(super) fn new(wanted: &'a Wanted) -> Self {
        let losses = Losses::default();
        Self { wanted, losses }
    }

    /// Tells what is known and was not told yet.
    pub(super) fn tell(
        &mut self,
        pipeline: &Pipeline,
        console: &mut Console,
    ) -> Result<(), Failed> {
        summary::tell_unrecorded(pipeline, console)?;
        let (news, verdicts) = (pipeline.news(), pipeline.verdicts());
        if news.is_empty() && verdicts.is_empty() {
            return self.losses.tell(pipeline, console);
        }
        pipeline.mark(|| Mark::Told);
        pipeline.look(|core| {
            let mut verdicts = verdicts.iter().peekable();
            for news in &news {
                while let Some(verdict) = verdicts.next_if(|verdict| news.follows(verdict.time)) {
                    self.verdict(verdict, &core.names, console)?;
                }
                if self.wanted.takes(&news.pod, &core.names) {
                    console.news(news, &core.names)?;
                }
            }
            verdicts.try_for_each(|verdict| self.verdict(verdict, &core.names, console))
        })?;
        self.losses.tell(pipeline, console)?;
        console.flush()
    }

    fn verdict(
        &self,
        verdict: &Verdict,
        names: &Names,
        console: &mut Console,
    ) -> Result<(), Failed> {
        let is_asked_for = match &verdict.subject.pod {
            Some(pod) => self.wanted.takes(pod, names),
            None => true,
        };
        if is_asked_for && verdict.severity() >= self.wanted.min_severity {
            console.verdict(verdict, names)?;
        }
        Ok(())
    }

    /// Tells the rest; gives how it all came out. `since` and `until`: when it began and ended.
    pub(super) fn end(
        mut self,
        pipeline: &Pipeline,
        console: &mut Console,
        (since, until): (Ktime, Ktime),
        end: End,
    ) -> Result<(End, Summary)> {
        let told = self.tell(pipeline, console);
        let end = match (end, told) {
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
