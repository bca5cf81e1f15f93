//! Scenarios, and how the verdicts on their pods decide them. This does not depend on the runtime
//! that creates the pods.
//!
//! `sorted` groups the verdicts by pod.

mod sorted;

pub use sorted::SortedVerdicts;

use crate::{
    event::ProcessId,
    pipeline::Pipeline,
    record::{PlayResult, ScenarioEnd},
    rules,
    verdict::{Outcome, Severity, Verdict},
};

/// A sequence of actions on pods, with the verdicts that it must produce.
#[derive(Debug)]
pub struct Scenario {
    /// The name, in kebab-case.
    pub name: &'static str,
    /// The promise that it proves or breaks, in one line.
    pub title: &'static str,
    /// Rules that must pass on its pods.
    pub proves: &'static [&'static str],
    /// Rules that must fail, because the scenario breaks them on purpose. Empty for a healthy pod.
    pub finds: &'static [&'static str],
}

/// The outcome of a scenario.
#[derive(Debug)]
pub struct Judgement {
    /// Whether it passed.
    pub outcome: Outcome,
    /// The proof, or why it did not pass.
    pub words: String,
}

impl Scenario {
    /// The family of the rules that it is about.
    pub fn family(&self) -> &'static str {
        self.finds
            .iter()
            .chain(self.proves)
            .next()
            .map_or("reference", |rule| rules::family(rule))
    }

    /// Whether it breaks a pod on purpose.
    pub fn is_fault(&self) -> bool {
        !self.finds.is_empty()
    }

    /// Whether the scenario expects a failed verdict, or tolerates it as a side effect.
    pub fn expects(&self, verdict: &Verdict) -> bool {
        verdict.outcome == Outcome::Fail
            && self.is_fault()
            && (self.finds.contains(&verdict.rule.id) || verdict.severity() < Severity::Error)
    }

    /// Judges the scenario by its own result and by the verdicts on its pods. The findings of its
    /// first rule must name the culprit. `selected` excludes rules that did not run.
    pub(crate) fn judge(
        &self,
        over: &ScenarioEnd,
        verdicts: &[Verdict],
        selected: impl Fn(&str) -> bool,
    ) -> Judgement {
        let inconclusive = |words: String| Judgement {
            outcome: Outcome::Inconclusive,
            words,
        };
        let fail = |words: String| Judgement {
            outcome: Outcome::Fail,
            words,
        };
        let unexpected = verdicts.iter().find(|verdict| {
            verdict.outcome == Outcome::Fail
                && verdict.severity() > Severity::Info
                && !self.expects(verdict)
        });
        if let Some(verdict) = unexpected {
            return fail(format!(
                "{} {}: {}",
                verdict.rule.id, verdict.rule.name, verdict.details.message
            ));
        }
        let proof = match &over.result {
            PlayResult::Proof(proof) => proof.clone(),
            PlayResult::Impossible(why) => return inconclusive(why.clone()),
            // A fault has to complete too: one that prevents a pod from being built expects the
            // refusal.
            PlayResult::Broken(why) => return fail(why.clone()),
        };
        for rule in self.finds.iter().filter(|rule| selected(rule)) {
            let found: Vec<_> = verdicts
                .iter()
                .filter(|verdict| verdict.rule.id == *rule && verdict.outcome == Outcome::Fail)
                .collect();
            let name = rules::find(rule).map_or("", |rule| rule.name);
            if found.is_empty() {
                return fail(format!("{rule} {name} did not find it; {proof}"));
            }
            // The first rule is the one that the fault is about.
            if let Some(culprit) = over.culprit.filter(|_| Some(rule) == self.finds.first())
                && !found.iter().any(|verdict| names(verdict, culprit))
            {
                return fail(format!(
                    "{rule} {name} found it, but does not name pid {}; {proof}",
                    culprit.pid
                ));
            }
        }
        let undecided = verdicts
            .iter()
            .find(|verdict| verdict.outcome == Outcome::Inconclusive);
        if let Some(verdict) = undecided.filter(|_| !self.is_fault()) {
            return inconclusive(format!(
                "{} {}: {}",
                verdict.rule.id, verdict.rule.name, verdict.details.message
            ));
        }
        for rule in self.proves.iter().filter(|rule| selected(rule)) {
            if !verdicts
                .iter()
                .any(|verdict| verdict.rule.id == *rule && verdict.outcome == Outcome::Pass)
            {
                return inconclusive(format!("{rule} gave no verdict"));
            }
        }
        Judgement {
            outcome: Outcome::Pass,
            words: proof,
        }
    }
}

/// A scenario that was run and judged.
#[derive(Debug)]
pub struct Played {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// The outcome.
    pub judgement: Judgement,
    /// The verdicts on its pods, oldest first.
    pub verdicts: Vec<Verdict>,
    /// The duration in ns.
    pub duration: u64,
}

impl Played {
    /// Judges a scenario by the verdicts on its pods so far that `counts` accepts.
    pub fn judge(
        scenario: &'static Scenario,
        over: &ScenarioEnd,
        (pipeline, sorted): (&Pipeline, &SortedVerdicts),
        counts: impl Fn(&Verdict) -> bool,
        selected: impl Fn(&str) -> bool,
    ) -> Self {
        let verdicts = sorted.take(pipeline, &over.pods);
        let counted: Vec<_> = verdicts.iter().filter(|it| counts(it)).cloned().collect();
        Self {
            scenario,
            judgement: scenario.judge(over, &counted, selected),
            verdicts,
            duration: over.duration,
        }
    }
}

/// Whether a verdict is about a process, or mentions it if it is about a whole pod.
fn names(verdict: &Verdict, culprit: ProcessId) -> bool {
    let pid = format!("pid {}", culprit.pid);
    let is_listed = |text: &str| {
        text.match_indices(&pid)
            .any(|(at, _)| !text[at + pid.len()..].starts_with(|next: char| next.is_ascii_digit()))
    };
    match verdict.subject.process {
        Some(process) => process.id == culprit,
        None => is_listed(&verdict.details.message),
    }
}
