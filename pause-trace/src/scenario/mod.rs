//! What a scenario is, and what its pods' verdicts say of it: whoever makes the pods.
//!
//! `playing` plays several at a time, `sorted` keeps the verdicts of their pods apart.

mod playing;
mod sorted;

pub(crate) use playing::{Played, play};
pub(crate) use sorted::SortedVerdicts;

use crate::{
    event::ProcessId,
    record::{Over, Said},
    rules,
    verdict::{Outcome, Severity, Verdict},
};

/// A pod's life that is played and verified. `P` plays it.
pub(crate) struct Scenario<P> {
    /// Kebab-case.
    pub(crate) name: &'static str,
    /// What is promised, or what is broken, in one line.
    pub(crate) title: &'static str,
    /// Rules that must have said Pass about its pods.
    pub(crate) proves: &'static [&'static str],
    /// Rules that must have said Fail: what is broken on purpose. Empty for a healthy pod.
    pub(crate) finds: &'static [&'static str],
    pub(crate) play: P,
}

/// How a scenario came out.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) outcome: Outcome,
    /// What proves it, or why it did not pass.
    pub(crate) words: String,
}

impl<P> Scenario<P> {
    /// The family of rules it is about.
    pub(crate) fn family(&self) -> &'static str {
        self.finds
            .iter()
            .chain(self.proves)
            .next()
            .map_or("reference", |rule| rules::family(rule))
    }

    /// Whether it breaks a pod on purpose.
    pub(crate) fn is_fault(&self) -> bool {
        !self.finds.is_empty()
    }

    /// Whether a failed verdict is what the scenario is about, or comes with it.
    pub(crate) fn expects(&self, verdict: &Verdict) -> bool {
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
