//! The verdicts so far: the ledger reports each decision of a rule once, and withdraws passes whose
//! evidence was lost.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt as _};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    event::{CgroupId, ContainerId, Event, Kind, Ktime, PodId, ProcessId},
    rules::{self, Check, Context, Rule, Sink},
    state::{Change, On, State},
    verdict::{Decision, Details, Outcome, Subject, Verdict},
};

/// Most failing processes that are reported for one rule and container. The others are counted.
const MAX_FAILURES: usize = 8;

/// Most topics with verdicts: pods can create any number of cgroups.
const MAX_TOPICS: usize = 1024;

/// Why records of one pod are missing.
pub(super) const SUPPRESSED: &str =
    "the pod's processes did too much while the reader was behind, so not all of it was recorded";

/// Why rules do not pass for a pod if they could not judge what happened before its declaration.
const DECLARED_LATE: &str = "a container was declared only after something had happened in it";

/// The subject of a verdict that is not about a known pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    /// Records of a kind.
    Records(Kind),
    /// A cgroup for which no container was declared.
    Cgroup(CgroupId),
    /// A namespace that belongs to no pod.
    Namespace(u32),
}

/// The subject of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    rule: &'static str,
    topic: Option<Topic>,
    pod: Option<PodId>,
    container: Option<ContainerId>,
}

/// The decision of a rule about a container or pod.
#[derive(Debug)]
struct Entry {
    outcome: Outcome,
    /// The processes that were reported as failing.
    failed: Vec<Failing>,
}

/// What was reported as failing. Threads of a process count as one that is not the process: what
/// they do is milder, and must not hide what the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failing {
    process: Option<ProcessId>,
    is_thread: bool,
}

/// The number of verdicts by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Passed.
    pub pass: u64,
    /// Failed.
    pub fail: u64,
    /// Could not be decided.
    pub inconclusive: u64,
}

impl Counts {
    /// Adds `by` to the count of an outcome.
    pub fn count(&mut self, outcome: Outcome, by: i64) {
        let count = match outcome {
            Outcome::Pass => &mut self.pass,
            Outcome::Fail => &mut self.fail,
            Outcome::Inconclusive => &mut self.inconclusive,
        };
        *count = count.saturating_add_signed(by);
    }

    /// These counts without `others`.
    pub fn without(self, others: Self) -> Self {
        Self {
            pass: self.pass.saturating_sub(others.pass),
            fail: self.fail.saturating_sub(others.fail),
            inconclusive: self.inconclusive.saturating_sub(others.inconclusive),
        }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| Self {
            pass: sum.pass + counts.pass,
            fail: sum.fail + counts.fail,
            inconclusive: sum.inconclusive + counts.inconclusive,
        })
    }
}

/// The selected rules, their decisions, and the evidence that was lost.
#[derive(Debug)]
pub struct Ledger {
    checks: Vec<&'static Check>,
    /// The checks that receive each kind of change.
    dispatch: [Vec<&'static Check>; On::COUNT],
    entries: HashMap<Key, Entry>,
    /// Rules whose evidence was lost or is unavailable, for one pod or (`None`) for all, and why.
    tainted: HashMap<(&'static str, Option<PodId>), String>,
    /// The last loss of each kind of record: up to when records may have been lost, and how many.
    losses: BTreeMap<Kind, (Ktime, String)>,
    counts: BTreeMap<&'static str, Counts>,
    /// Verdicts that were not fetched yet.
    fresh: Vec<Verdict>,
    changes: Vec<Change>,
}

impl Ledger {
    /// A ledger of the selected rules.
    pub(crate) fn new(selected: impl Fn(&Rule) -> bool) -> Self {
        Self::of(
            rules::checks()
                .filter(|check| selected(&check.rule))
                .collect(),
        )
    }

    fn of(checks: Vec<&'static Check>) -> Self {
        let mut dispatch = [const { Vec::new() }; On::COUNT];
        for check in &checks {
            for on in check.on {
                dispatch[*on as usize].push(*check);
            }
        }
        Self {
            checks,
            dispatch,
            entries: HashMap::new(),
            tainted: HashMap::new(),
            losses: BTreeMap::new(),
            counts: BTreeMap::new(),
            fresh: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Applies an event to the state, and passes each change first to the rules and then to
    /// `judged`. [`Ledger::take`] returns the verdicts.
    pub(crate) fn judge(
        &mut self,
        state: &mut State,
        event: &Event,
        mut judged: impl FnMut(&Change, &State, &Self),
    ) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        state.apply(event, &mut changes);
        let (older, unjudged) = (state.take_older(), state.take_unjudged());
        let context = Context::new(state, event.time);
        for pod in older {
            self.taint_by_former_losses(context.state, pod, event.time);
        }
        for (pod, kinds) in unjudged {
            let is_touched = |check: &Check| kinds.has_any(check.on);
            let pods = [Some(pod)];
            self.taint_rules(is_touched, &pods, event.time, DECLARED_LATE);
        }
        for change in &changes {
            match change {
                Change::Lost { kind, count } => {
                    let mut pods: Vec<_> = state.pods.keys().cloned().map(Some).collect();
                    pods.sort_unstable();
                    let why = match count {
                        1 => format!("1 `{}` record was lost", kind.name()),
                        _ => format!("{count} `{}` records were lost", kind.name()),
                    };
                    self.taint(&pods, event.time, *kind, &why);
                    self.losses.insert(*kind, (event.time, why));
                }
                Change::RecordsSuppressed { pod, kind } => {
                    let kind = State::missing_by(*kind);
                    self.taint(&[Some(pod.clone())], event.time, kind, SUPPRESSED);
                }
                Change::HookMissing { kind, reason } => {
                    let why = format!(
                        "the kernel has no hook for `{}` records ({reason})",
                        kind.name()
                    );
                    self.taint(&[None], event.time, *kind, &why);
                }
                _ => {}
            }
            for index in 0..self.dispatch[change.on() as usize].len() {
                let check = self.dispatch[change.on() as usize][index];
                let mut sink = Sink {
                    rule: &check.rule,
                    topic: None,
                    now: event.time,
                    ledger: self,
                };
                (check.judge)(&context, change, &mut sink);
            }
            judged(change, state, self);
        }
        state.forget(&changes);
        self.forget(&changes);
        self.changes = changes;
    }

    /// Verdicts since the last call, oldest first.
    pub(crate) fn take(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.fresh)
    }

    /// The current verdicts, by rule.
    pub fn counts(&self) -> &BTreeMap<&'static str, Counts> {
        &self.counts
    }

    /// The current verdicts on a pod that was not forgotten.
    pub fn counts_of(&self, pod: &PodId) -> Counts {
        let mut counts = Counts::default();
        let of_pod = |(key, _): &(&Key, &Entry)| key.pod.as_ref() == Some(pod);
        for (_, entry) in self.entries.iter().filter(of_pod) {
            counts.count(entry.outcome, 1);
        }
        counts
    }

    /// The failures on pods that were not forgotten: the rule and the pod of each.
    pub(crate) fn failing(&self) -> impl Iterator<Item = (&'static str, &PodId)> {
        let failing = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.outcome == Outcome::Fail);
        failing.filter_map(|(key, _)| Some((key.rule, key.pod.as_ref()?)))
    }

    /// Records a decision, and reports it as a verdict if it is the first one, a worse one, or
    /// about one more failing process.
    pub(super) fn decide(
        &mut self,
        rule: &'static Rule,
        topic: Option<Topic>,
        outcome: Outcome,
        time: Ktime,
        subject: Subject,
        details: impl FnOnce() -> Details,
    ) {
        let key = Key {
            rule: rule.id,
            topic,
            pod: subject.pod.clone(),
            container: subject.container.clone(),
        };
        let gap = match outcome {
            Outcome::Pass => self.gap(rule, subject.pod.as_ref()).map(str::to_owned),
            Outcome::Inconclusive | Outcome::Fail => None,
        };
        let outcome = if gap.is_some() {
            Outcome::Inconclusive
        } else {
            outcome
        };
        let failing = Failing {
            process: subject.process.map(|process| process.id),
            is_thread: subject.thread.is_some(),
        };
        let before = self.entries.get(&key).map(|entry| entry.outcome);
        let is_news = match self.entries.get(&key) {
            Some(entry) if outcome == Outcome::Fail => {
                let mut alike = entry.failed.iter().copied();
                let count = alike.clone().filter(|of| of.is_thread == failing.is_thread);
                count.count() < MAX_FAILURES && alike.all(|of| of != failing)
            }
            Some(entry) => outcome > entry.outcome,
            None => {
                topic.is_none()
                    || self
                        .entries
                        .keys()
                        .filter(|key| key.topic.is_some())
                        .count()
                        < MAX_TOPICS
            }
        };
        if !is_news {
            return;
        }
        let entry = self.entries.entry(key).or_insert(Entry {
            outcome,
            failed: Vec::new(),
        });
        entry.outcome = outcome;
        if outcome == Outcome::Fail {
            entry.failed.push(failing);
        }
        if before != Some(outcome) {
            let counts = self.counts.entry(rule.id).or_default();
            if let Some(before) = before {
                counts.count(before, -1);
            }
            counts.count(outcome, 1);
        }
        let mut details = details();
        if let Some(why) = gap {
            details.message = format!("{why}; observed until then: {}", details.message);
        }
        self.fresh.push(Verdict {
            rule,
            outcome,
            time,
            subject,
            details,
            decision: Decision::default(),
        });
    }

    /// Why this rule must not pass for a pod.
    fn gap(&self, rule: &Rule, pod: Option<&PodId>) -> Option<&str> {
        let of_all = self.tainted.get(&(rule.id, None));
        of_all
            .or_else(|| self.tainted.get(&(rule.id, Some(pod?.clone()))))
            .map(String::as_str)
    }

    /// Taints a pod that is declared after losses, if it lived while records may have been lost.
    fn taint_by_former_losses(&mut self, state: &State, pod: PodId, now: Ktime) {
        let Some(since) = state.pods.get(&pod).map(|known| known.since) else {
            return;
        };
        let its = self.losses.iter().filter(|(_, (until, _))| *until >= since);
        let its: Vec<_> = its.map(|(kind, (_, why))| (*kind, why.clone())).collect();
        for (kind, why) in its {
            self.taint(&[Some(pod.clone())], now, kind, &why);
        }
    }

    /// Rules that need records of this kind cannot pass any more, and their passes are withdrawn:
    /// for these pods, or for all pods if `pods` contains `None`.
    fn taint(&mut self, pods: &[Option<PodId>], time: Ktime, kind: Kind, why: &str) {
        let is_touched = |check: &Check| check.rule.needs_kind(kind);
        self.taint_rules(is_touched, pods, time, why);
    }

    /// The same for these rules.
    fn taint_rules(
        &mut self,
        is_rule_touched: impl Fn(&Check) -> bool,
        pods: &[Option<PodId>],
        time: Ktime,
        why: &str,
    ) {
        let touched: Vec<_> = self
            .checks
            .iter()
            .filter(|check| is_rule_touched(check))
            .map(|check| &check.rule)
            .collect();
        for rule in touched {
            for pod in pods {
                self.tainted
                    .entry((rule.id, pod.clone()))
                    .or_insert_with(|| why.to_owned());
            }
            let is_touched = |pod: &Option<PodId>| pods.contains(&None) || pods.contains(pod);
            let mut passed: Vec<_> = self
                .entries
                .iter()
                .filter(|(key, entry)| {
                    key.rule == rule.id
                        && entry.outcome == Outcome::Pass
                        && (key.pod.is_none() || is_touched(&key.pod))
                })
                .map(|(key, _)| key.clone())
                .collect();
            // The same events must give the same verdicts in the same order.
            passed.sort_unstable_by(|a, b| {
                (&a.pod, &a.container, a.topic).cmp(&(&b.pod, &b.container, b.topic))
            });
            for Key {
                topic,
                pod,
                container,
                ..
            } in passed
            {
                let subject = Subject {
                    pod,
                    container,
                    ..Subject::default()
                };
                let details = || Details::new(format!("it passed before, but {why}"));
                self.decide(rule, topic, Outcome::Inconclusive, time, subject, details);
            }
        }
    }

    /// Forgets the entries of pods that are gone. Their counts remain.
    fn forget(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::RemovalDue(gone) = change {
                self.entries.retain(|key, _| key.pod.as_ref() != Some(gone));
                self.tainted
                    .retain(|(_, pod), _| pod.as_ref() != Some(gone));
            }
        }
    }
}

#[cfg(test)]
mod tests;
