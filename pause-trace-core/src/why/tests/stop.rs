//! What a stop signal does to a pod, and what keeps a pod that is removed.

use super::*;

#[test]
fn a_stop_that_would_take_its_whole_grace_is_a_notice() {
    let quiet = |case: &mut Case| {
        case.has_history = true;
        case.containers[1].processes[0].signals = Some(SignalMasks::default());
    };
    let explanation = changed(quiet);
    expect(
        &explanation,
        Phase::Running,
        Cause::StopIgnored,
        "a stop of app will take the whole grace period: app (pid 200) is pid 1 of its pid \
         namespace and has no handler for SIGTERM, so the kernel drops it",
    );
    assert!(!explanation.is_problem());
    // The container's own signal counts.
    let explanation = changed(|case| {
        quiet(case);
        case.containers[1].stop_signal = 9;
    });
    assert_eq!(causes(&explanation), []);
}

#[test]
fn a_stop_signal_that_is_not_taken_is_a_problem() {
    let explanation = changed(|case| {
        let term = 1 << 14;
        case.containers[1].processes[0].signals = Some(SignalMasks {
            blocked: term,
            pending: term,
            ..SignalMasks::default()
        });
    });
    expect(
        &explanation,
        Phase::Stopping,
        Cause::StopPending,
        "SIGTERM was sent to app (pid 200) of app, which has not taken it: it blocks the signal, \
         and may take it yet",
    );
}

#[test]
fn a_shim_that_outlives_the_pod_is_named() {
    let explanation = changed(|case| {
        case.sandboxes[0].is_ready = false;
        case.network = None;
        for container in &mut case.containers {
            container.processes.clear();
            container.run = Run::Ended(ended(0));
        }
        let mut shim = plugin(CniCommand::Check, 60 * S);
        shim.kind = WorkKind::Monitor;
        case.work = vec![shim];
    });
    assert_eq!(explanation.phase, Phase::Stopping);
    assert_eq!(causes(&explanation), [Cause::RemovalSlow]);
}

#[test]
fn who_stays_in_the_namespaces_of_a_pod_that_is_removed_is_named() {
    let explanation = changed(|case| {
        case.guests = vec![process(77, "bash")];
    });
    assert_eq!(causes(&explanation), [], "it may be a person who debugs");
    let explanation = changed(|case| {
        case.guests = vec![process(77, "bash")];
        case.work = vec![plugin(CniCommand::Del, S / 2)];
    });
    // The stop itself comes first.
    assert_eq!(causes(&explanation), [Cause::StopSent, Cause::Guests]);
    let stop = &explanation.reasons[0];
    let sentence = "the pod is being stopped, and pause, app still run";
    assert_eq!(stop.sentence, sentence);
    assert!(stop.next.starts_with("wait until"), "{stop:?}");
}

/// Without a history nobody knows whether a stop runs that the process ignores.
#[test]
fn without_a_history_a_stop_is_not_said_to_be_one_to_come() {
    let quiet = |case: &mut Case| {
        case.containers[1].processes[0].signals = Some(SignalMasks::default());
    };
    let explanation = changed(quiet);
    assert_eq!(causes(&explanation), [Cause::StopIgnored]);
    let reason = &explanation.reasons[0];
    assert!(
        reason
            .sentence
            .starts_with("a stop of app takes the whole grace period: "),
        "{reason:?}"
    );
    let doubt = "whether a stop runs already is not known: no history was asked";
    assert_eq!(reason.evidence[1], doubt);
    // The runtime shows that one runs.
    for has_history in [false, true] {
        let explanation = changed(|case| {
            quiet(case);
            case.has_history = has_history;
            case.sandboxes[0].is_ready = false;
        });
        assert_eq!(explanation.phase, Phase::Stopping);
        assert_eq!(causes(&explanation), [Cause::StopSent]);
        let reason = &explanation.reasons[0];
        assert!(
            reason
                .sentence
                .starts_with("the stop of app takes the whole grace period: "),
            "{reason:?}"
        );
    }
}

#[test]
fn a_stop_that_runs_comes_before_other_problems() {
    let explanation = changed(|case| {
        case.has_history = true;
        case.containers[1].stop_sent = Some(StopSent {
            signal: 15,
            ago: 3 * S,
            by: "runc (pid 12)".to_owned(),
            killed: None,
        });
        case.containers[1].limits.pids_refused = 3;
    });
    assert_eq!(causes(&explanation), [Cause::StopSent, Cause::PidsLimit]);
    // The same problem of a pod that is not stopped, with a forecast.
    let explanation = changed(|case| {
        case.containers[1].limits.pids_refused = 3;
        case.containers[1].processes[0].signals = Some(SignalMasks::default());
    });
    assert_eq!(causes(&explanation), [Cause::PidsLimit, Cause::StopIgnored]);
}
