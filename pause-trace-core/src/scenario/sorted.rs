//! Verdicts grouped by pod. Several scenarios run at once, and each is judged by the verdicts on
//! its own pods.

use std::cell::RefCell;

use foldhash::HashMap;

use crate::{
    event::PodId,
    pipeline::Pipeline,
    verdict::{Outcome, Verdict},
};

/// The verdicts that were not taken yet.
#[derive(Default)]
pub struct SortedVerdicts(RefCell<HashMap<Option<PodId>, Vec<Verdict>>>);

impl SortedVerdicts {
    /// Groups new verdicts by pod.
    fn collect(&self, pipeline: &Pipeline) {
        let mut sorted = self.0.borrow_mut();
        for verdict in pipeline.verdicts() {
            sorted
                .entry(verdict.subject.pod.clone())
                .or_default()
                .push(verdict);
        }
    }

    /// The first violation of a rule by these pods so far that `is` accepts.
    pub fn finding(
        &self,
        pipeline: &Pipeline,
        rule: &str,
        pods: &[PodId],
        is: impl Fn(&Verdict) -> bool,
    ) -> Option<Verdict> {
        self.collect(pipeline);
        let sorted = self.0.borrow();
        let mut verdicts = pods
            .iter()
            .filter_map(|pod| sorted.get(&Some(pod.clone())))
            .flatten();
        verdicts
            .find(|verdict| {
                verdict.rule.id == rule && verdict.outcome == Outcome::Fail && is(verdict)
            })
            .cloned()
    }

    /// Takes the verdicts on these pods so far.
    pub fn take(&self, pipeline: &Pipeline, pods: &[PodId]) -> Vec<Verdict> {
        self.collect(pipeline);
        let mut sorted = self.0.borrow_mut();
        pods.iter()
            .flat_map(|pod| sorted.remove(&Some(pod.clone())).unwrap_or_default())
            .collect()
    }

    /// Takes the verdicts on no pod since the last call, such as lost evidence.
    pub fn take_of_none(&self, pipeline: &Pipeline) -> Vec<Verdict> {
        self.collect(pipeline);
        self.0.borrow_mut().remove(&None).unwrap_or_default()
    }

    /// Takes all remaining verdicts: those on pods that belong to no scenario.
    pub fn take_rest(&self, pipeline: &Pipeline) -> Vec<Verdict> {
        self.collect(pipeline);
        self.0.take().into_values().flatten().collect()
    }
}
