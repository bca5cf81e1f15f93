//! Tests of the ledger.

use super::*;
use crate::{
    event::{Comm, Fact, Text},
    rules::testing::Scene,
    state::Limits,
    verdict::{ProcessRef, Severity},
};

const fn check(id: &'static str, needs: &'static [Kind]) -> Check {
    let (name, severity) = (id, Severity::Error);
    Check {
        rule: Rule {
            id,
            name,
            severity,
            summary: "",
            doc: "",
            needs,
        },
        on: &[On::PodDeclared],
        judge: |_, _, _| {},
    }
}

/// Needs execs.
static EXECS: Check = check("T1", &[Kind::Exec]);
/// Needs frees.
static REAPS: Check = check("T2", &[Kind::Free]);
/// Needs no record.
static OTHER: Check = check("T3", &[]);
/// Passes each pod that is declared.
static PODS: Check = Check {
    judge: |_, change, sink| {
        if let Change::PodDeclared(pod) = change {
            sink.pass(Subject::pod(pod), || Details::new("declared"));
        }
    },
    ..check("T4", &[Kind::Exec])
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
    fn say(&mut self, check: &'static Check, outcome: Outcome, subject: Subject) {
        self.decide(&check.rule, None, outcome, 1, subject, || {
            Details::new("as observed")
        });
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
    ledger.decide(&EXECS.rule, None, Outcome::Pass, 2, pod("p"), || {
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
    for cgroup in 0..2 * MAX_TOPICS as u64 {
        let topic = Some(Topic::Cgroup(cgroup));
        ledger.decide(
            &OTHER.rule,
            topic,
            Outcome::Inconclusive,
            1,
            Subject::default(),
            Details::default,
        );
        ledger.decide(
            &OTHER.rule,
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
        "it passed before, but 3 `exec` records were lost"
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
            "3 `exec` records were lost; observed until then: as observed",
            "as observed",
            "as observed",
            "as observed"
        ]
    );
    assert_eq!(
        ledger.counts().values().copied().sum::<Counts>(),
        counts(1, 1, 2)
    );
}

/// Judges these events at their times in ms on a state of their own.
fn told(ledger: &mut Ledger, events: impl IntoIterator<Item = (u64, Fact)>) {
    let mut state = State::new(Limits::REFERENCE);
    for (ms, fact) in events {
        let time = ms * 1_000_000;
        ledger.judge(&mut state, &Event { time, fact }, |_, _, _| ());
    }
}

#[test]
fn pods_that_begin_after_a_loss_are_untouched() {
    let mut ledger = Ledger::of(vec![&PODS]);
    let events = [
        (1, declared("old")),
        (2, lost(Kind::Exec)),
        (3, declared("new")),
        (3, declared("old")),
    ];
    told(&mut ledger, events);
    assert_eq!(
        ledger.outcomes(),
        [Outcome::Pass, Outcome::Inconclusive, Outcome::Pass]
    );
}

#[test]
fn a_pod_that_lived_at_a_loss_and_is_declared_after_it_does_not_pass() {
    let mut ledger = Ledger::of(vec![&PODS]);
    // The counter was read at 5 ms, and the pause started before that. The kernel's start time says
    // so, although the record of the fork is among those that were lost.
    let mut scene = Scene::new();
    scene.pod("p");
    scene.pod("q");
    let started = |scene: &Scene, pod| scene.pause_of(pod).start;
    let until = (started(&scene, "p") + started(&scene, "q")) / 2;
    let is_late = |fact: &Fact| matches!(fact, Fact::Pod(_) | Fact::Container(_));
    let mut events = scene.events;
    events.retain(|event| !matches!(event.fact, Fact::Fork { .. }));
    let (late, early): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| is_late(&event.fact));
    let loss = Event {
        time: until,
        fact: lost(Kind::Exec),
    };
    let mut state = State::new(Limits::REFERENCE);
    let end = scene.now;
    let later = late.into_iter().map(|event| Event { time: end, ..event });
    for event in std::iter::once(loss).chain(early).chain(later) {
        ledger.judge(&mut state, &event, |_, _, _| ());
    }
    let verdicts = ledger.take().into_iter();
    let said: Vec<_> = verdicts
        .map(|verdict| (verdict.subject.pod.unwrap_or_default(), verdict.outcome))
        .collect();
    assert_eq!(
        said,
        [
            ("p".into(), Outcome::Pass),
            ("p".into(), Outcome::Inconclusive),
            ("q".into(), Outcome::Pass)
        ]
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
            "it passed before, but the kernel has no hook for `exec` records (EPERM)",
            "the kernel has no hook for `exec` records (EPERM); observed until then: declared",
            "as observed",
            "as observed",
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
