//! What a scenario is, and what its pods' verdicts say of it: whoever makes the pods.
//!
//! `sorted` keeps the verdicts of their pods apart.

mod sorted;

pub use sorted::SortedVerdicts;

use crate::{
    event::ProcessId,
    pipeline::Pipeline,
    record::{Over, Said},
    rules,
    verdict::{Outcome, Severity, Verdict},
};

/// A pod's life that is played and verified.
#[derive(Debug)]
pub struct Scenario {
    /// Kebab-case.
    pub name: &'static str,
    /// What is promised, or what is broken, in one line.
    pub title: &'static str,
    /// Rules that must have said Pass about its pods.
    pub proves: &'static [&'static str],
    /// Rules that must have said Fail: what is broken on purpose. Empty for a healthy pod.
    pub finds: &'static [&'static str],
}

/// How a scenario came out.
#[derive(Debug)]
pub struct Judgement {
    /// Whether it passed.
    pub outcome: Outcome,
    /// What proves it, or why it did not pass.
    pub words: String,
}

impl Scenario {
    /// The family of rules it is about.
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

    /// Whether a failed verdict is what the scenario is about, or comes with it.
    pub fn expects(&self, verdict: &Verdict) -> bool {
        verdict.outcome == Outcome::Fail
            && self.is_fault()
            && (self.finds.contains(&verdict.rule.id) || verdict.severity() < Severity::Error)
    }

    /// Judges it by what it says itself and by the verdicts on its pods. The finding that it is named for has to name the
    /// culprit. `selected` leaves rules out that were not asked.
    pub(crate) fn judge(
        &self,
        over: &Over,
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
        let proof = match &over.said {
            Said::Proof(proof) => proof.clone(),
            Said::Impossible(why) => return inconclusive(why.clone()),
            // A fault too is played to its end: one that keeps a pod from being built expects just that.
            Said::Broken(why) => return fail(why.clone()),
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
            // The first is the one that the fault is named for.
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
                return inconclusive(format!("{rule} had nothing to say"));
            }
        }
        Judgement {
            outcome: Outcome::Pass,
            words: proof,
        }
    }
}

/// A scenario that was played.
#[derive(Debug)]
pub struct Played {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// How it came out.
    pub judgement: Judgement,
    /// The verdicts on its pods, oldest first.
    pub verdicts: Vec<Verdict>,
    /// In ns.
    pub duration: u64,
}

impl Played {
    /// Judges a scenario by what its pods' verdicts are by now; by those of them that `counts` takes.
    pub fn judge(
        scenario: &'static Scenario,
        over: &Over,
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

/// Whether a verdict is about a process, or lists it where it is about a pod as a whole.
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
