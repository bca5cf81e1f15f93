//! Tests of severities and exceptions.

use super::*;
use crate::report::testing;

const DAY: i64 = 86_400_000_000_000;

fn exception(rules: &[&str], place: [Option<&str>; 3], until: i64) -> Exception {
    let pattern = |text: Option<&str>| text.map(|text| Pattern::new(text).expect("a pattern"));
    let [namespace, pod, container] = place.map(pattern);
    Exception {
        rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
        namespace,
        pod,
        container,
        excepted: Arc::new(Excepted {
            reason: "known".to_owned(),
            expires: Some("2099-01-01".to_owned()),
        }),
        until,
    }
}

/// The finding of `testing`: PT101 about the container `app` of the pod `default/web`.
fn decided(policy: &mut Policy) -> Option<Verdict> {
    policy.decide(&testing::failed(), &testing::names(), testing::CLOCK)
}

fn now() -> i64 {
    testing::CLOCK.unix_ns(testing::failed().time)
}

#[test]
fn an_exception_accepts_what_it_names_and_nothing_else() {
    let subject = testing::failed().subject;
    let names = testing::names();
    let (namespace, pod) = names.of_pod(subject.pod.as_ref().expect("a pod"));
    let container = names.of_container(subject.container.as_ref().expect("a container"));
    let wrong = Some("other");
    for (rules, place, accepted) in [
        (&[][..], [None; 3], true),
        (&["PT101"], [None; 3], true),
        (&["net-shared"], [namespace, pod, container], true),
        (&["PT3", "PT1"], [Some("*"), Some("?*"), None], true),
        (&["PT102"], [None; 3], false),
        (&["PT101"], [wrong, None, None], false),
        (&["PT101"], [None, wrong, None], false),
        (&["PT101"], [None, None, wrong], false),
    ] {
        let mut policy = Policy::new(Vec::new(), vec![exception(rules, place, now() + DAY)]);
        let decided = decided(&mut policy);
        let excepted = decided.and_then(|verdict| verdict.decision.excepted);
        assert_eq!(excepted.is_some(), accepted, "{rules:?} {place:?}");
        let (_, standing) = policy.standing(0, testing::CLOCK).next().expect("one");
        let expected = if accepted {
            Standing::Used(1)
        } else {
            Standing::Unused
        };
        assert_eq!(standing, expected, "{rules:?} {place:?}");
    }
}

#[test]
fn an_exception_of_a_pod_accepts_no_finding_about_no_pod() {
    let mut verdict = testing::failed();
    verdict.subject = Subject::default();
    let mut of_pod = Policy::new(
        Vec::new(),
        vec![exception(&[], [None, Some("*"), None], now() + DAY)],
    );
    assert!(
        of_pod
            .decide(&verdict, &testing::names(), testing::CLOCK)
            .is_none()
    );
}

#[test]
fn an_expired_exception_accepts_nothing_and_is_counted() {
    let expired = exception(&["PT101"], [None; 3], now());
    let mut policy = Policy::new(Vec::new(), vec![expired.clone()]);
    assert!(decided(&mut policy).is_none());
    let after = testing::failed().time;
    let standing = policy.standing(after, testing::CLOCK).next();
    assert_eq!(standing.expect("one").1, Standing::Expired(1));
    // Another one may still hold.
    let holds = exception(&["PT101"], [None; 3], now() + 1);
    let mut policy = Policy::new(Vec::new(), vec![expired, holds]);
    assert!(decided(&mut policy).is_some());
}

#[test]
fn a_rule_has_the_severity_of_the_longest_match() {
    let severities = [("PT1", Severity::Info), ("PT101", Severity::Warning)];
    let severities = severities.map(|(pattern, severity)| (pattern.to_owned(), severity));
    let mut policy = Policy::new(severities.to_vec(), Vec::new());
    let verdict = decided(&mut policy).expect("it has another severity");
    assert_eq!(verdict.severity(), Severity::Warning);
    let other = rules::find("PT102").expect("a rule");
    assert_eq!(policy.severity(other), Severity::Info);
    let family = rules::find("PT301").expect("a rule");
    assert_eq!(policy.severity(family), family.severity);
}

#[test]
fn a_milder_case_stays_milder() {
    let mut verdict = testing::failed();
    verdict.details = verdict.details.milder(Severity::Info);
    let mut policy = Policy::new(vec![("PT1".to_owned(), Severity::Error)], Vec::new());
    let decided = policy.decide(&verdict, &testing::names(), testing::CLOCK);
    assert_eq!(decided.expect("configured").severity(), Severity::Info);
}

#[test]
fn nothing_is_decided_about_a_pass() {
    let mut policy = Policy::new(Vec::new(), vec![exception(&[], [None; 3], i64::MAX)]);
    let passed = policy.decide(&testing::passed(), &testing::names(), testing::CLOCK);
    assert!(passed.is_none());
    let doubtful = policy.decide(&testing::inconclusive(), &testing::names(), testing::CLOCK);
    assert!(doubtful.is_none());
}

#[test]
fn a_changed_policy_remembers_what_was_used() {
    let kept = exception(&["PT101"], [None; 3], i64::MAX);
    let mut former = Policy::new(Vec::new(), vec![kept.clone()]);
    decided(&mut former);
    let other = exception(&["PT102"], [None; 3], i64::MAX);
    let mut policy = Policy::new(Vec::new(), vec![other, kept]);
    policy.continue_from(&former);
    let standing: Vec<_> = policy
        .standing(0, testing::CLOCK)
        .map(|(_, it)| it)
        .collect();
    assert_eq!(standing, [Standing::Unused, Standing::Used(1)]);
}
