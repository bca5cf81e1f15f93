//! Verdicts, apart by pod: several scenarios are played at once, and each is judged by its own.

use std::{cell::RefCell, collections::HashMap};

use crate::{
    event::PodId,
    pipeline::Pipeline,
    verdict::{Outcome, Verdict},
};

/// The verdicts that nobody has asked for yet.
#[derive(Default)]
pub struct SortedVerdicts(RefCell<HashMap<Option<PodId>, Vec<Verdict>>>);

impl SortedVerdicts {
    /// Sorts new verdicts by pod.
    fn collect(&self, pipeline: &Pipeline) {
        let mut sorted = self.0.borrow_mut();
        for verdict in pipeline.verdicts() {
            sorted
                .entry(verdict.subject.pod.clone())
                .or_default()
                .push(verdict);
        }
    }

    /// What a rule has found so far.
    pub fn finding(&self, pipeline: &Pipeline, rule: &str, pods: &[PodId]) -> Option<Verdict> {
        self.collect(pipeline);
        let sorted = self.0.borrow();
        let mut verdicts = pods
            .iter()
            .filter_map(|pod| sorted.get(&Some(pod.clone())))
            .flatten();
        verdicts
            .find(|verdict| verdict.rule.id == rule && verdict.outcome == Outcome::Fail)
            .cloned()
    }

    /// The verdicts on these pods so far. They are not asked for again.
    pub fn take(&self, pipeline: &Pipeline, pods: &[PodId]) -> Vec<Verdict> {
        self.collect(pipeline);
        let mut sorted = self.0.borrow_mut();
        pods.iter()
            .flat_map(|pod| sorted.remove(&Some(pod.clone())).unwrap_or_default())
            .collect()
    }

    /// The verdicts on no pod since the last call: what is wrong with the evidence itself.
    pub fn take_of_none(&self, pipeline: &Pipeline) -> Vec<Verdict> {
        self.collect(pipeline);
        self.0.borrow_mut().remove(&None).unwrap_or_default()
    }

    /// The verdicts that nobody has asked for, and nobody will: on pods that are no scenario's.
    pub fn take_rest(&self, pipeline: &Pipeline) -> Vec<Verdict> {
        self.collect(pipeline);
        self.0.take().into_values().flatten().collect()
    }
}
