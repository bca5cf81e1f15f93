//! Reasons that several containers share, and what is told once.

use super::*;

/// A pod with these containers, each of which ended with SIGKILL.
fn failed(titles: &[&str], change: impl FnOnce(&mut Case)) -> Explanation {
    changed(|case| {
        case.containers.truncate(1);
        for (index, title) in titles.iter().enumerate() {
            let mut one = container(title, ContainerKind::App, 300 + index as u32);
            one.processes.clear();
            one.run = Run::Ended(Ended {
                ago: (12 + index as u64) * S,
                ..ended(137)
            });
            case.containers.push(one);
        }
        change(case);
    })
}

#[test]
fn equal_reasons_of_several_containers_are_one() {
    let explanation = failed(&["app", "log", "web"], |_| {});
    assert_eq!(causes(&explanation), [Cause::Failed]);
    let reason = &explanation.reasons[0];
    assert_eq!(
        reason.sentence,
        "3 containers: app ended 12s ago, 2.00 s after its start: exit code 137: killed by SIGKILL \
         (Error); the same is true of log, web"
    );
    assert_eq!(reason.containers, ["app", "log", "web"]);
    // One that ended otherwise is another reason.
    let explanation = failed(&["app", "log", "web"], |case| {
        case.containers[2].run = Run::Ended(ended(3));
    });
    let sentences: Vec<_> = explanation
        .reasons
        .iter()
        .map(|reason| (reason.containers.len(), &reason.sentence[..12]))
        .collect();
    assert_eq!(sentences, [(2, "2 containers"), (1, "log ended 12")]);
    let explanation = failed(&["app"], |_| {});
    assert!(explanation.reasons[0].sentence.starts_with("app ended"));
}

#[test]
fn processes_have_pids_and_a_sender_is_the_same_only_with_its_own() {
    let quiet = |case: &mut Case, titles: &[&str]| {
        case.has_history = true;
        for (index, title) in titles.iter().enumerate() {
            let mut one = container(title, ContainerKind::App, 300 + index as u32);
            one.processes[0].signals = Some(SignalMasks::default());
            one.processes[0].comm = Comm::new("sleep");
            case.containers.push(one);
        }
    };
    let explanation = changed(|case| quiet(case, &["log", "web"]));
    assert_eq!(causes(&explanation), [Cause::StopIgnored]);
    assert_eq!(explanation.reasons[0].evidence.len(), 2);
    let sent = |by: &str| {
        let by = by.to_owned();
        move |pid| {
            let mut one = container(&format!("c{pid}"), ContainerKind::App, pid);
            one.misfits = vec![format!("c{pid} was killed, which {by} (pid {pid}) sent")];
            one
        }
    };
    let explanation = changed(|case| {
        case.containers.extend([700, 701].map(sent("bash")));
    });
    assert_eq!(causes(&explanation), [Cause::WrongNamespace; 2]);
}

#[test]
fn the_evidence_of_many_containers_is_bounded() {
    let titles: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    let explanation = changed(|case| {
        for (index, title) in titles.iter().enumerate() {
            let mut one = container(title, ContainerKind::App, 300 + index as u32);
            one.processes[0].signals = Some(SignalMasks::default());
            one.processes[0].comm = Comm::new("sleep");
            case.containers.push(one);
        }
    });
    let reason = &explanation.reasons[0];
    assert_eq!(reason.containers.len(), 100);
    assert!(
        reason.sentence.starts_with("100 containers: "),
        "{reason:?}"
    );
    assert!(reason.sentence.ends_with(" and 95 more"), "{reason:?}");
    assert_eq!(reason.evidence.len(), 8);
    assert!(reason.evidence[7].ends_with(" more"), "{reason:?}");
}

fn promise(rule: &'static str, container: &str) -> Promise {
    Promise {
        rule,
        name: "foreign-kill",
        container: Some(container.to_owned()),
        is_of_pause: false,
        sentence: "bash (pid 12) killed it".to_owned(),
    }
}

#[test]
fn a_kill_is_told_once() {
    let explanation = failed(&["app"], |case| case.broken = vec![promise("PT310", "app")]);
    assert_eq!(causes(&explanation), [Cause::Failed]);
    let evidence = &explanation.reasons[0].evidence;
    let told = "PT310 foreign-kill: bash (pid 12) killed it";
    assert!(evidence.iter().any(|line| line == told), "{evidence:?}");
    // Another container's kill, and another promise, are reasons of their own.
    for promise in [promise("PT310", "log"), promise("PT401", "app")] {
        let explanation = failed(&["app"], |case| case.broken = vec![promise]);
        assert_eq!(causes(&explanation), [Cause::Failed, Cause::PromiseBroken]);
    }
}
