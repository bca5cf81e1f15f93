//! What has been decided so far: turns rules' answers into verdicts that are each given once.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    event::{CgroupId, ContainerId, Event, Kind, Ktime, PodId, ProcessId},
    rules::{self, Context, Rule, Sink},
    state::{Change, On, State},
    verdict::{Details, Outcome, Subject, Verdict},
};

/// Most failing processes reported of one rule and container: the rest is counted.
const MAX_FAILURES: usize = 8;

/// Most topics that verdicts are given on: pods may make cgroups without end.
const MAX_TOPICS: usize = 64;

/// What a verdict is about that is no pod's, or not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    /// Records of a kind.
    Records(Kind),
    /// A cgroup that nobody declared.
    Cgroup(CgroupId),
    /// A namespace that is no pod's.
    Namespace(u32),
}

/// What is decided once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    rule: &'static str,
    topic: Option<Topic>,
    pod: Option<PodId>,
    container: Option<ContainerId>,
}

/// What is decided of a rule for a container or pod.
#[derive(Debug)]
struct Entry {
    outcome: Outcome,
    /// Processes that have been reported.
    failed: Vec<Option<ProcessId>>,
}

/// How many verdicts came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// That passed.
    pub pass: u64,
    /// That failed.
    pub fail: u64,
    /// That could not be decided.
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

    /// What is left without these.
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

/// The rules, what they have said, and what may no longer be trusted.
#[derive(Debug)]
pub struct Ledger {
    /// The rules that are asked.
    rules: Vec<&'static Rule>,
    /// Those that want to see each kind of change.
    dispatch: [Vec<&'static Rule>; On::COUNT],
    entries: HashMap<Key, Entry>,
    /// Rules whose evidence was lost or can't be had, for a pod or (`None`) for all, and why.
    tainted: HashMap<(&'static str, Option<PodId>), String>,
    counts: BTreeMap<&'static str, Counts>,
    /// Verdicts that have not been fetched yet.
    fresh: Vec<Verdict>,
    changes: Vec<Change>,
}

impl Ledger {
    /// A ledger that asks the rules that `selected` takes.
    pub(crate) fn new(selected: impl Fn(&Rule) -> bool) -> Self {
        Self::of(rules::all().filter(|rule| selected(rule)).collect())
    }

    fn of(rules: Vec<&'static Rule>) -> Self {
        let mut dispatch = [const { Vec::new() }; On::COUNT];
        for rule in &rules {
            for on in rule.on {
                dispatch[*on as usize].push(*rule);
            }
        }
        Self {
            rules,
            dispatch,
            entries: HashMap::new(),
            tainted: HashMap::new(),
            counts: BTreeMap::new(),
            fresh: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Gives an event to the state and its consequences to the rules, and then to `judged`. Verdicts wait in
    /// [`Ledger::take`].
    pub(crate) fn judge(
        &mut self,
        state: &mut State,
        event: &Event,
        mut judged: impl FnMut(&Change, &State, &Self),
    ) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        state.apply(event, &mut changes);
        let context = Context {
            state,
            now: event.time,
        };
        for change in &changes {
            match change {
                Change::Lost { kind, count } => {
                    let mut pods: Vec<_> = state.pods.keys().cloned().map(Some).collect();
                    pods.sort_unstable();
                    self.taint(
                        &pods,
                        event.time,
                        *kind,
                        &format!("{count} {kind:?} records were lost"),
                    );
                }
                Change::HookMissing { kind, reason } => {
                    let why = format!("the kernel has no hook for {kind:?} records ({reason})");
                    self.taint(&[None], event.time, *kind, &why);
                }
                _ => {}
            }
            for index in 0..self.dispatch[change.on() as usize].len() {
                let rule = self.dispatch[change.on() as usize][index];
                let mut sink = Sink {
                    rule,
                    topic: None,
                    now: event.time,
                    ledger: self,
                };
                (rule.judge)(&context, change, &mut sink);
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

    /// What stands, by rule.
    pub fn counts(&self) -> &BTreeMap<&'static str, Counts> {
        &self.counts
    }

    /// What stands of a pod that has not been forgotten.
    pub fn counts_of(&self, pod: &PodId) -> Counts {
        let mut counts = Counts::default();
        let of_pod = |(key, _): &(&Key, &Entry)| key.pod.as_ref() == Some(pod);
        for (_, entry) in self.entries.iter().filter(of_pod) {
            counts.count(entry.outcome, 1);
        }
        counts
    }

    /// Takes an answer in, and makes a verdict of it where it is news: a first answer, a worse one, or one more process
    /// that fails.
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
        let process = subject.process.map(|process| process.id);
        let before = self.entries.get(&key).map(|entry| entry.outcome);
        let is_news = match self.entries.get(&key) {
            Some(entry) if outcome == Outcome::Fail => {
                entry.failed.len() < MAX_FAILURES && !entry.failed.contains(&process)
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
            entry.failed.push(process);
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
            details.message = format!("{why}; seen so far: {}", details.message);
        }
        self.fresh.push(Verdict {
            rule,
            outcome,
            time,
            subject,
            details,
        });
    }

    /// Why a pass of this rule would not be worth much.
    fn gap(&self, rule: &Rule, pod: Option<&PodId>) -> Option<&str> {
        let of_all = self.tainted.get(&(rule.id, None));
        of_all
            .or_else(|| self.tainted.get(&(rule.id, Some(pod?.clone()))))
            .map(String::as_str)
    }

    /// What rests on records of this kind can't pass any more, and what has passed no longer stands: for these pods, or
    /// for all where there is a `None`.
    fn taint(&mut self, pods: &[Option<PodId>], time: Ktime, kind: Kind, why: &str) {
        let touched: Vec<_> = self
            .rules
            .iter()
            .copied()
            .filter(|rule| rule.rests_on(kind))
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
            // The same events give the same verdicts in the same order, wherever they are judged.
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
                let details = || Details::new(format!("it passed, but {why}"));
                self.decide(rule, topic, Outcome::Inconclusive, time, subject, details);
            }
        }
    }

    /// A pod that is gone is not asked about again; what was counted of it stays counted.
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
mod tests {
    use super::*;
    use crate::{
        event::{Comm, Fact, Text},
        rules::testing::Scene,
        state::Limits,
        verdict::{ProcessRef, Severity},
    };

    const fn rule(id: &'static str, needs: &'static [Kind]) -> Rule {
        let (name, severity) = (id, Severity::Error);
        Rule {
            id,
            name,
            severity,
            summary: "",
            doc: "",
            needs,
            on: &[On::PodDeclared],
            judge: |_, _, _| {},
        }
    }

    /// Rests on execs.
    static EXECS: Rule = rule("T1", &[Kind::Exec]);
    /// Rests on reaps.
    static REAPS: Rule = rule("T2", &[Kind::Free]);
    /// Rests on no record.
    static OTHER: Rule = rule("T3", &[]);
    /// Passes each pod that is declared.
    static PODS: Rule = Rule {
        judge: |_, change, sink| {
            if let Change::PodDeclared(pod) = change {
                sink.pass(Subject::pod(pod), || Details::new("declared"));
            }
        },
        ..rule("T4", &[Kind::Exec])
    };

    fn ledger() -> Ledger {
        Ledger::of(vec![&EXECS, &REAPS, &OTHER])
    }

    fn pod(pod: &str) -> Subject {
        Subject::pod(&pod.into())
    }

    fn container(name: &str, container: &str) -> Subject {
        Subject {
            container: Some(container.into()),
            ..pod(name)
        }
    }

    fn process(name: &str, pid: u32) -> Subject {
        let id = ProcessId { pid, start: 1 };
        let process = ProcessRef {
            id,
            ns_pid: pid,
            comm: Comm::new("app"),
        };
        Subject {
            process: Some(process),
            ..container(name, "c")
        }
    }

    impl Ledger {
        fn say(&mut self, rule: &'static Rule, outcome: Outcome, subject: Subject) {
            self.decide(rule, None, outcome, 1, subject, || Details::new("as seen"));
        }

        /// Outcomes since the last call.
        fn outcomes(&mut self) -> Vec<Outcome> {
            self.take()
                .into_iter()
                .map(|verdict| verdict.outcome)
                .collect()
        }

        fn messages(&mut self) -> Vec<String> {
            self.take()
                .into_iter()
                .map(|verdict| verdict.details.message)
                .collect()
        }

        /// Judges these events on a state of their own.
        fn see(&mut self, state: &mut State, facts: impl IntoIterator<Item = Fact>) {
            for fact in facts {
                self.judge(state, &Event { time: 1_000, fact }, |_, _, _| ());
            }
        }
    }

    fn declared(name: &str) -> Fact {
        let mut scene = Scene::new();
        scene.declare_pod(name, &crate::event::Modes::plain());
        scene.events.pop().expect("the pod's declaration").fact
    }

    fn lost(kind: Kind) -> Fact {
        Fact::Lost { kind, count: 3 }
    }

    fn counts(pass: u64, fail: u64, inconclusive: u64) -> Counts {
        Counts {
            pass,
            fail,
            inconclusive,
        }
    }

    #[test]
    fn the_same_answer_is_given_once() {
        let mut ledger = ledger();
        for _ in 0..3 {
            ledger.say(&EXECS, Outcome::Pass, container("p", "a"));
            ledger.say(&EXECS, Outcome::Pass, container("p", "b"));
            ledger.say(&REAPS, Outcome::Pass, container("p", "a"));
        }
        assert_eq!(ledger.outcomes(), [Outcome::Pass; 3]);
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(3, 0, 0)
        );
        assert_eq!(ledger.counts()["T1"], counts(2, 0, 0));
    }

    #[test]
    fn details_are_asked_for_news_only() {
        let mut ledger = ledger();
        ledger.say(&EXECS, Outcome::Pass, pod("p"));
        ledger.decide(&EXECS, None, Outcome::Pass, 2, pod("p"), || {
            panic!("it is no news")
        });
    }

    #[test]
    fn a_failure_replaces_a_pass_and_stays() {
        let mut ledger = ledger();
        for outcome in [
            Outcome::Pass,
            Outcome::Fail,
            Outcome::Pass,
            Outcome::Inconclusive,
        ] {
            ledger.say(&EXECS, outcome, pod("p"));
        }
        assert_eq!(ledger.outcomes(), [Outcome::Pass, Outcome::Fail]);
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(0, 1, 0)
        );
    }

    #[test]
    fn what_is_inconclusive_can_fail_and_never_pass() {
        let mut ledger = ledger();
        for outcome in [
            Outcome::Pass,
            Outcome::Inconclusive,
            Outcome::Pass,
            Outcome::Inconclusive,
        ] {
            ledger.say(&EXECS, outcome, pod("p"));
        }
        assert_eq!(ledger.outcomes(), [Outcome::Pass, Outcome::Inconclusive]);
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(0, 0, 1)
        );
        ledger.say(&EXECS, Outcome::Fail, pod("p"));
        assert_eq!(ledger.outcomes(), [Outcome::Fail]);
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(0, 1, 0)
        );
    }

    #[test]
    fn each_failing_process_is_told_up_to_a_bound_and_counted_as_one() {
        let mut ledger = ledger();
        for pid in 1..=100 {
            ledger.say(&EXECS, Outcome::Fail, process("p", pid));
            ledger.say(&EXECS, Outcome::Fail, process("p", pid));
        }
        assert_eq!(ledger.outcomes(), [Outcome::Fail; MAX_FAILURES]);
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(0, 1, 0)
        );
    }

    #[test]
    fn topics_are_decided_apart_and_bounded() {
        let mut ledger = ledger();
        for cgroup in 0..1_000 {
            let topic = Some(Topic::Cgroup(cgroup));
            ledger.decide(
                &OTHER,
                topic,
                Outcome::Inconclusive,
                1,
                Subject::default(),
                Details::default,
            );
            ledger.decide(
                &OTHER,
                topic,
                Outcome::Inconclusive,
                1,
                Subject::default(),
                Details::default,
            );
        }
        assert_eq!(ledger.outcomes(), [Outcome::Inconclusive; MAX_TOPICS]);
    }

    #[test]
    fn after_a_loss_passes_no_longer_stand_and_failures_do() {
        let (mut ledger, mut state) = (ledger(), State::new(Limits::REFERENCE));
        ledger.see(&mut state, [declared("p")]);
        ledger.say(&EXECS, Outcome::Pass, container("p", "b"));
        ledger.say(&EXECS, Outcome::Pass, container("p", "a"));
        ledger.say(&EXECS, Outcome::Fail, container("p", "c"));
        ledger.say(&REAPS, Outcome::Pass, container("p", "a"));
        ledger.take();
        ledger.see(&mut state, [lost(Kind::Exec)]);
        let verdicts = ledger.take();
        let of: Vec<_> = verdicts
            .iter()
            .map(|verdict| (verdict.rule.id, verdict.subject.container.as_deref()))
            .collect();
        assert_eq!(of, [("T1", Some("a")), ("T1", Some("b"))]);
        assert!(
            verdicts
                .iter()
                .all(|verdict| verdict.outcome == Outcome::Inconclusive)
        );
        assert_eq!(
            verdicts[0].details.message,
            "it passed, but 3 Exec records were lost"
        );
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(1, 1, 2)
        );
    }

    #[test]
    fn after_a_loss_a_pass_is_inconclusive_and_says_what_was_seen() {
        let (mut ledger, mut state) = (ledger(), State::new(Limits::REFERENCE));
        ledger.see(
            &mut state,
            [declared("p"), lost(Kind::Exec), lost(Kind::Exec)],
        );
        ledger.say(&EXECS, Outcome::Pass, pod("p"));
        ledger.say(&EXECS, Outcome::Inconclusive, container("p", "a"));
        ledger.say(&EXECS, Outcome::Fail, container("p", "b"));
        ledger.say(&REAPS, Outcome::Pass, pod("p"));
        assert_eq!(
            ledger.messages(),
            [
                "3 Exec records were lost; seen so far: as seen",
                "as seen",
                "as seen",
                "as seen"
            ]
        );
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(1, 1, 2)
        );
    }

    #[test]
    fn pods_declared_after_a_loss_are_untouched() {
        let (mut ledger, mut state) = (Ledger::of(vec![&PODS]), State::new(Limits::REFERENCE));
        ledger.see(
            &mut state,
            [
                declared("old"),
                lost(Kind::Exec),
                declared("new"),
                declared("old"),
            ],
        );
        assert_eq!(
            ledger.outcomes(),
            [Outcome::Pass, Outcome::Inconclusive, Outcome::Pass]
        );
    }

    #[test]
    fn an_unwatched_process_touches_every_rule_that_needs_records() {
        let (mut ledger, mut state) = (ledger(), State::new(Limits::REFERENCE));
        ledger.see(&mut state, [declared("p"), lost(Kind::Watch)]);
        for rule in [&EXECS, &REAPS, &OTHER] {
            ledger.say(rule, Outcome::Pass, pod("p"));
        }
        assert_eq!(
            ledger.outcomes(),
            [Outcome::Inconclusive, Outcome::Inconclusive, Outcome::Pass]
        );
    }

    #[test]
    fn a_missing_hook_touches_every_pod_before_and_after_and_says_why() {
        let (mut ledger, mut state) = (
            Ledger::of(vec![&PODS, &REAPS]),
            State::new(Limits::REFERENCE),
        );
        let missing = Fact::HookMissing {
            kind: Kind::Exec,
            reason: Text::new("EPERM"),
        };
        ledger.see(&mut state, [declared("old"), missing, declared("new")]);
        ledger.say(&PODS, Outcome::Fail, container("new", "a"));
        ledger.say(&REAPS, Outcome::Pass, pod("new"));
        assert_eq!(
            ledger.messages(),
            [
                "declared",
                "it passed, but the kernel has no hook for Exec records (EPERM)",
                "the kernel has no hook for Exec records (EPERM); seen so far: declared",
                "as seen",
                "as seen",
            ]
        );
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(1, 1, 2)
        );
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten_and_stays_counted() {
        let (mut ledger, mut state) = (Ledger::of(vec![&PODS]), State::new(Limits::REFERENCE));
        ledger.see(
            &mut state,
            [
                declared("p"),
                lost(Kind::Exec),
                Fact::PodRemoved { pod: "p".into() },
            ],
        );
        ledger.judge(
            &mut state,
            &Event {
                time: 1_000 + Limits::REFERENCE.removal,
                fact: Fact::Tick,
            },
            |_, _, _| (),
        );
        assert!(ledger.entries.is_empty() && ledger.tainted.is_empty());
        assert_eq!(
            ledger.counts().values().copied().sum::<Counts>(),
            counts(0, 0, 1)
        );
    }
}
