//! When the grace period of a stop ends.

use super::*;

fn sent(ago: u64) -> Option<StopSent> {
    Some(StopSent {
        signal: 15,
        ago: ago * S,
        by: "runc (pid 12)".to_owned(),
        killed: None,
    })
}

/// A pod whose container was sent SIGTERM and handles it.
fn stopping(grace: Option<u64>, stop_sent: Option<StopSent>) -> Explanation {
    stopping_within(GraceSource::Stop, grace, stop_sent)
}

fn stopping_within(
    source: GraceSource,
    grace: Option<u64>,
    stop_sent: Option<StopSent>,
) -> Explanation {
    changed(|case| {
        case.has_history = true;
        case.containers[1].grace = grace.map(|seconds| Grace {
            period: seconds * S,
            source,
        });
        case.containers[1].stop_sent = stop_sent;
    })
}

#[test]
fn a_stop_that_runs_says_when_its_grace_period_ends() {
    expect(
        &stopping(Some(30), sent(18)),
        Phase::Stopping,
        Cause::StopSent,
        "SIGTERM was sent to app (pid 200) of app 18s ago, and it still runs; its grace period \
         of 30 s ends in 12s",
    );
    assert!(!stopping(Some(30), sent(18)).is_problem());
    // The runtime may take a moment for the kill.
    expect(
        &stopping(Some(30), sent(35)),
        Phase::Stopping,
        Cause::StopSent,
        "SIGTERM was sent to app (pid 200) of app 35s ago, and it still runs; its grace period \
         of 30 s ended 5s ago, and it was not killed",
    );
    // A kill that has no effect is one before the end of the period, too.
    let killed = stopping(
        Some(30),
        sent(18).map(|sent| StopSent {
            killed: Some(3 * S),
            ..sent
        }),
    );
    assert_eq!(causes(&killed), [Cause::GraceOver]);
    // Without a stop nothing is said.
    assert_eq!(causes(&stopping(Some(30), None)), []);
}

fn spec(seconds: u64) -> Grace {
    Grace {
        period: seconds * S,
        source: GraceSource::Spec,
    }
}

/// `kubectl delete --grace-period 600`, `docker stop --time 600`: nothing on the node shows it.
#[test]
fn a_grace_period_that_a_stop_may_have_replaced_is_never_called_over() {
    for (source, doubt) in [
        (
            GraceSource::Spec,
            "unless the deletion of the pod asked for another one",
        ),
        (GraceSource::Engine, "unless the stop asked for another one"),
    ] {
        let explanation = stopping_within(source, Some(30), sent(210));
        assert_eq!(causes(&explanation), [Cause::StopSent]);
        assert!(!explanation.is_problem());
        let end = format!("its grace period of 30 s ended 3m0s ago, {doubt}");
        let sentence = &explanation.reasons[0].sentence;
        assert!(sentence.ends_with(&end), "{sentence}");
        let runs = stopping_within(source, Some(30), sent(18));
        let end = format!("its grace period of 30 s ends in 12s, {doubt}");
        let sentence = &runs.reasons[0].sentence;
        assert!(sentence.ends_with(&end), "{sentence}");
    }
    // A kill is one whatever the period was.
    let killed = stopping_within(
        GraceSource::Spec,
        Some(30),
        sent(18).map(|sent| StopSent {
            killed: Some(3 * S),
            ..sent
        }),
    );
    assert_eq!(causes(&killed), [Cause::GraceOver]);
}

#[test]
fn the_annotations_of_the_kubelet_are_read_and_the_deletions_comes_first() {
    let of = |pairs: &[(&str, &str)]| {
        Grace::of_annotations(|key| {
            let found = pairs.iter().find(|(known, _)| *known == key);
            found.map(|(_, text)| *text)
        })
    };
    let term = "io.kubernetes.pod.terminationGracePeriod";
    let deletion = "io.kubernetes.pod.deletionGracePeriod";
    assert_eq!(of(&[(term, "30")]), Some(spec(30)));
    let both = of(&[(term, "30"), (deletion, "5")]).expect("it is known");
    assert_eq!((both.period, both.source), (5 * S, GraceSource::Stop));
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[(term, "-3")]), None);
    // What the deletion asked for cannot be read, so it is not known.
    assert_eq!(of(&[(term, "30"), (deletion, "x")]), None);
}

#[test]
fn a_grace_period_that_is_over_is_a_problem() {
    let over = stopping(Some(30), sent(210));
    expect(
        &over,
        Phase::Stopping,
        Cause::GraceOver,
        "SIGTERM was sent to app (pid 200) of app 3m30s ago, and it still runs; its grace period \
         of 30 s ended 3m0s ago, and it was not killed",
    );
    assert!(over.is_problem());
    let killed = stopping(
        Some(30),
        sent(210).map(|sent| StopSent {
            killed: Some(180 * S),
            ..sent
        }),
    );
    assert_eq!(causes(&killed), [Cause::GraceOver]);
    assert!(
        killed.reasons[0].sentence.ends_with(
            "its grace period of 30 s is over: SIGKILL was sent 3m0s ago, and it still runs"
        ),
        "{killed:#?}"
    );
}

#[test]
fn what_is_unknown_of_a_grace_period_is_said() {
    let explanation = stopping(None, sent(7_300));
    assert_eq!(
        causes(&explanation),
        [Cause::StopSent],
        "nothing is guessed"
    );
    let sentence = &explanation.reasons[0].sentence;
    assert!(
        sentence.contains(" 2h1m ago, ") && sentence.contains("its grace period is not known: "),
        "{sentence}"
    );
    // A signal that is pending, with and without a history.
    for (has_history, why) in [
        (true, "the history does not have it"),
        (false, "no history was asked"),
    ] {
        for (grace, begin) in [
            (
                Some(30),
                "its grace period is 30 s; when the stop signal was sent is not known",
            ),
            (
                None,
                "neither its grace period is known nor when the stop signal was sent",
            ),
        ] {
            let explanation = changed(|case| {
                case.has_history = has_history;
                case.containers[1].grace = grace.map(spec);
                case.containers[1].processes[0].signals = Some(SignalMasks {
                    blocked: 1 << 14,
                    pending: 1 << 14,
                    ..SignalMasks::default()
                });
            });
            assert_eq!(causes(&explanation), [Cause::StopPending]);
            let evidence = &explanation.reasons[0].evidence;
            assert_eq!(evidence[1], format!("{begin}: {why}"));
        }
    }
}

#[test]
fn a_signal_that_is_ignored_is_not_also_a_forecast() {
    let explanation = changed(|case| {
        case.containers[1].stop_sent = sent(18);
        case.containers[1].processes[0].signals = Some(SignalMasks {
            ignored: 1 << 14,
            ..SignalMasks::default()
        });
    });
    assert_eq!(causes(&explanation), [Cause::StopSent]);
    let sentence = &explanation.reasons[0].sentence;
    assert!(
        sentence.contains("still runs: it ignores SIGTERM; "),
        "{sentence}"
    );
}

#[test]
fn one_container_that_is_stopped_does_not_stop_the_pod() {
    let explanation = changed(|case| {
        let mut other = container("other", ContainerKind::App, 300);
        other.stop_sent = sent(3);
        case.containers.push(other);
    });
    assert_eq!(explanation.phase, Phase::Running);
    assert_eq!(causes(&explanation), [Cause::StopSent]);
}

#[test]
fn a_hostile_grace_period_is_none() {
    assert_eq!(Grace::parse("30"), Some(30 * S));
    assert_eq!(Grace::parse("0"), Some(0));
    for text in [
        "",
        "-1",
        "+5",
        "30s",
        "1e9",
        " 30",
        "0x10",
        "3.5",
        "99999999999999999999",
        "18446744073709551615",
        "\u{1b}[2J",
    ] {
        assert_eq!(Grace::parse(text), None, "{text:?}");
    }
    // The longest that the clock can count.
    let longest = Grace::parse("18446744073").expect("it fits");
    let explanation = changed(|case| {
        case.containers[1].grace = Some(Grace {
            period: longest,
            source: GraceSource::Spec,
        });
        case.containers[1].stop_sent = sent(1);
    });
    assert_eq!(causes(&explanation), [Cause::StopSent]);
}
