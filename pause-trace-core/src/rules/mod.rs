//! The table of rules, and what a rule is.
//!
//! A rule is one file: what it checks, why it matters, how to mend it, and its tests. It sees the
//! state and one change at a time and says pass, fail or inconclusive about a subject; it keeps
//! nothing itself.

mod ending;
mod evidence;
#[cfg(test)]
mod found_tests;
mod ledger;
mod lifecycle;
mod markdown;
mod namespaces;
mod pause;
#[cfg(test)]
mod proof_tests;
mod signals;
#[cfg(test)]
mod suppressed_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod truth_tests;
mod zombies;

/// What every rule's file begins with.
mod prelude {
    pub(in crate::rules) use super::{Check, Context, Sink, Topic};
    pub(in crate::rules) use crate::{
        event::*,
        state::{Change, Container, Ended, On, Pod, Process, Reaps, Received, Role},
        text::counted,
        verdict::{Details, Duration, ProcessRef, Rule, Severity, Subject, Value},
    };
}

use std::cell::Cell;

use ledger::Topic;
pub use ledger::{Counts, Ledger};
pub use markdown::markdown;

pub use crate::verdict::Rule;
use crate::{
    event::{Comm, ContainerId, Kind, Ktime, PodId, ProcessId, short_id},
    state::{Change, Container, On, Pod, Process, State},
    verdict::{Details, Outcome, ProcessRef, Subject},
};

/// The rules that say nothing of the pods of a runtime that cannot be asked through CRI.
pub const SILENT_WITHOUT_CRI: [&str; 2] = ["PT204", "PT312"];

/// The rules that are then inconclusive of a container whose bundle does not have its stop signal,
/// as those of containerd.
pub const OPEN_WITHOUT_CRI: [&str; 5] = ["PT301", "PT302", "PT304", "PT308", "PT311"];

/// What cannot be judged without the CRI of a runtime, as a part of a sentence.
pub fn without_cri() -> String {
    format!(
        "{} are not judged of its pods, and {} are inconclusive of its containers whose bundle does \
         not have the stop signal",
        SILENT_WITHOUT_CRI.join(" and "),
        OPEN_WITHOUT_CRI.join(", ")
    )
}

/// A rule: its description, and the function that judges by it.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) rule: Rule,
    /// The changes that it receives.
    pub(crate) on: &'static [On],
    pub(crate) judge: fn(&Context<'_>, &Change, &mut Sink<'_>),
}

/// What a rule judges with.
pub(crate) struct Context<'a> {
    pub(crate) state: &'a State,
    pub(crate) now: Ktime,
    /// The last answer of [`Context::inside`]: most rules ask about the same process.
    inside: Cell<Option<(ProcessId, Option<Inside<'a>>)>>,
}

/// A process with its container and pod.
type Inside<'a> = (&'a Process, &'a Container, &'a Pod);

/// Where a rule says what it found.
pub(crate) struct Sink<'a> {
    rule: &'static Rule,
    topic: Option<Topic>,
    now: Ktime,
    ledger: &'a mut Ledger,
}

impl Sink<'_> {
    /// What comes next is about this, rather than about a pod alone.
    pub(in crate::rules) fn about(&mut self, topic: Topic) -> &mut Self {
        self.topic = Some(topic);
        self
    }

    /// The records that the rule needs.
    pub(in crate::rules) fn needs(&self) -> &'static [Kind] {
        self.rule.needs
    }

    /// The promise was kept. `details` is asked only where that is news.
    pub(crate) fn pass(&mut self, subject: Subject, details: impl FnOnce() -> Details) {
        self.ledger.decide(
            self.rule,
            self.topic,
            Outcome::Pass,
            self.now,
            subject,
            details,
        );
    }

    /// The promise was broken.
    pub(crate) fn fail(&mut self, subject: Subject, details: impl FnOnce() -> Details) {
        self.ledger.decide(
            self.rule,
            self.topic,
            Outcome::Fail,
            self.now,
            subject,
            details,
        );
    }

    /// It can't be told.
    pub(crate) fn inconclusive(&mut self, subject: Subject, details: impl FnOnce() -> Details) {
        self.ledger.decide(
            self.rule,
            self.topic,
            Outcome::Inconclusive,
            self.now,
            subject,
            details,
        );
    }
}

impl Subject {
    /// A pod as a whole.
    pub(crate) fn pod(pod: &PodId) -> Self {
        Self {
            pod: Some(pod.clone()),
            ..Self::default()
        }
    }

    /// A container as a whole.
    pub(crate) fn container(container: &Container) -> Self {
        Self {
            pod: Some(container.pod.clone()),
            container: Some(container.id.clone()),
            ..Self::default()
        }
    }

    /// A process, with the container and pod it is in.
    pub(crate) fn process(process: &Process) -> Self {
        let Process {
            id, ns_pid, comm, ..
        } = *process;
        Self {
            pod: process.pod.clone(),
            container: process.container.clone(),
            process: Some(ProcessRef { id, ns_pid, comm }),
            thread: None,
        }
    }

    /// A process under the name that it had at the time that the verdict is about.
    pub(crate) fn process_as(process: &Process, comm: Comm) -> Self {
        let subject = Self::process(process);
        Self {
            process: subject
                .process
                .map(|process| ProcessRef { comm, ..process }),
            ..subject
        }
    }

    /// A thread of a process that is not its first one, or the process if it is `None`.
    pub(crate) fn thread(process: &Process, thread: Option<u32>) -> Self {
        Self {
            thread,
            ..Self::process(process)
        }
    }
}

impl<'a> Context<'a> {
    fn new(state: &'a State, now: Ktime) -> Self {
        Self {
            state,
            now,
            inside: Cell::new(None),
        }
    }

    /// A process with its container and pod, where it is in one.
    pub(crate) fn inside(&self, process: ProcessId) -> Option<Inside<'a>> {
        if let Some((asked, answer)) = self.inside.get()
            && asked == process
        {
            return answer;
        }
        let look_up = || {
            let process = self.state.processes.get(process)?;
            Some((
                process,
                self.state.container_of(process)?,
                self.state.pod_of(process)?,
            ))
        };
        let answer = look_up();
        self.inside.set(Some((process, answer)));
        answer
    }

    /// A process with its container and pod. If it was moved out of their cgroups, they are still
    /// its own.
    pub(crate) fn originally_inside(&self, process: ProcessId) -> Option<Inside<'a>> {
        let known = self.state.processes.get(process)?;
        let Some(left) = &known.moved_out_of else {
            return self.inside(process);
        };
        let container = self.state.containers.get(&left.container)?;
        Some((known, container, self.state.pods.get(&left.pod)?))
    }

    /// A container's name, or its id's first digits.
    pub(crate) fn container_name(&self, container: &ContainerId) -> String {
        match self.state.containers.get(container) {
            Some(known) => known.name.to_string(),
            None => short_id(container),
        }
    }
}

/// The rules by family, in the order of ids.
static FAMILIES: [&[Check]; 6] = [
    namespaces::CHECKS,
    lifecycle::CHECKS,
    signals::CHECKS,
    zombies::CHECKS,
    pause::CHECKS,
    evidence::CHECKS,
];

/// Every rule with what judges by it, in the order of ids.
fn checks() -> impl Iterator<Item = &'static Check> {
    FAMILIES.into_iter().flatten()
}

/// Every rule, in the order of ids.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    checks().map(|check| &check.rule)
}

/// The family that a rule's id names.
pub fn family(id: &str) -> &'static str {
    match id.as_bytes() {
        [b'P', b'T', b'1', ..] => "namespaces",
        [b'P', b'T', b'2', ..] => "lifecycle",
        [b'P', b'T', b'3', ..] => "signals",
        [b'P', b'T', b'4', ..] => "zombies",
        [b'P', b'T', b'5', ..] => "pause",
        _ => "evidence",
    }
}

/// The rule with this id or name.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id) || rule.name == id)
}

/// The rules whose id or name begins so, such as all of `PT3`.
pub fn begin(prefix: &str) -> impl Iterator<Item = &'static Rule> {
    let begins = |name: &str| {
        let begin = name.as_bytes().get(..prefix.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    all().filter(move |rule| begins(rule.id) || begins(rule.name))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_names_are_unique_and_in_order() {
        let ids: Vec<_> = all().map(|rule| rule.id).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert_eq!(
            all().map(|rule| rule.name).collect::<HashSet<_>>().len(),
            ids.len()
        );
    }

    #[test]
    fn every_rule_is_documented() {
        for rule in all() {
            for heading in [
                "## What it checks",
                "## Why it matters",
                "## How to fix it",
                "## Example",
                "## Source",
            ] {
                assert!(
                    rule.doc.contains(heading),
                    "{} lacks \"{heading}\"",
                    rule.id
                );
            }
        }
    }
}
