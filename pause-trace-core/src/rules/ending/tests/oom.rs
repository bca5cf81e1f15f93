//! Kills by the OOM killer and other SIGKILLs of the kernel: every rule names the same cause.

use super::*;

/// A pod with a container: the pause, its init, and the init's child.
fn running(shared: bool) -> (Scene, [ProcessId; 3]) {
    let mut scene = Scene::new();
    let pause = match shared {
        true => scene.shared_pid_pod("p"),
        false => scene.pod("p"),
    };
    let init = scene.container("p", "a");
    let child = scene.fork(init);
    (scene, [pause, init, child])
}

/// The kernel kills a process while another one runs.
fn kernel_kills(scene: &mut Scene, running: ProcessId, target: ProcessId) {
    let result = SignalResult::Delivered;
    scene.signal_with_code(running, target, SIGKILL, result, SI_KERNEL);
}

/// The OOM killer, in the task that allocates, kills a process and marks it.
fn oom_kills(scene: &mut Scene, allocates: ProcessId, victim: ProcessId) {
    kernel_kills(scene, allocates, victim);
    scene.push(Fact::OomVictim { pid: victim.pid });
}

fn killed(scene: &mut Scene, process: ProcessId) {
    scene.end(process, WaitStatus::killed(SIGKILL));
}

#[track_caller]
fn message(scene: &Scene, rule: &str, outcome: Outcome) -> String {
    let verdicts = scene.expect(rule, &[outcome]);
    verdicts[0].details.message.clone()
}

fn evidence(scene: &Scene, rule: &str) -> String {
    let verdicts = scene.verdicts(rule);
    let steps = verdicts
        .iter()
        .flat_map(|verdict| &verdict.details.evidence);
    steps.map(|step| format!("{}\n", step.what)).collect()
}

/// As with RLIMIT_CPU: the kernel's timer interrupts the process itself.
#[test]
fn an_init_that_a_limit_kills_is_not_killed_by_its_own_end() {
    let (mut scene, [_, init, _]) = running(false);
    kernel_kills(&mut scene, init, init);
    killed(&mut scene, init);
    let said = message(&scene, "PT310", Outcome::Inconclusive);
    assert!(said.contains("RLIMIT_CPU"), "{said}");
}

#[test]
fn a_process_that_shares_the_victims_memory_is_killed_by_the_oom_killer() {
    let (mut scene, [_, init, child]) = running(true);
    scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
    oom_kills(&mut scene, child, child);
    kernel_kills(&mut scene, child, init);
    killed(&mut scene, child);
    killed(&mut scene, init);
    let said = message(&scene, "PT310", Outcome::Pass);
    let with = format!("with a (pid {}), whose memory it shared", child.pid);
    assert!(said.ends_with(&with), "{said}");
    scene.expect("PT302", &[]);
    let said = message(&scene, "PT303", Outcome::Pass);
    assert!(said.ends_with(&with), "{said}");
    scene.expect("PT308", &[]);
}

#[test]
fn a_kill_of_the_kernel_is_the_oom_killers_only_in_its_task_and_right_after_its_mark() {
    let other_task = |scene: &mut Scene, child| {
        oom_kills(scene, child, child);
        scene.stranger
    };
    let late = |scene: &mut Scene, child| {
        oom_kills(scene, child, child);
        scene.wait_ms(1_500);
        child
    };
    let no_victim = |_: &mut Scene, child| child;
    let ways: [fn(&mut Scene, ProcessId) -> ProcessId; 3] = [other_task, late, no_victim];
    for happen in ways {
        let (mut scene, [_, init, child]) = running(true);
        let by = happen(&mut scene, child);
        kernel_kills(&mut scene, by, init);
        killed(&mut scene, init);
        let said = message(&scene, "PT310", Outcome::Inconclusive);
        assert!(said.contains("for a reason that was not seen"), "{said}");
    }
}

#[test]
fn a_sigkill_without_a_record_is_inconclusive() {
    let (mut scene, [_, init, _]) = running(true);
    killed(&mut scene, init);
    let said = message(&scene, "PT310", Outcome::Inconclusive);
    assert!(said.ends_with("whose sender was not recorded"), "{said}");
}

#[test]
fn a_pause_that_shares_the_victims_memory_died_of_the_oom_killer() {
    let (mut scene, [pause, _, child]) = running(true);
    oom_kills(&mut scene, child, child);
    kernel_kills(&mut scene, child, pause);
    killed(&mut scene, pause);
    let said = message(&scene, "PT202", Outcome::Fail);
    assert!(
        said.contains("the OOM killer killed it with a (pid"),
        "{said}"
    );

    let (mut scene, [pause, _, child]) = running(true);
    kernel_kills(&mut scene, child, pause);
    killed(&mut scene, pause);
    let said = message(&scene, "PT202", Outcome::Fail);
    assert!(
        said.contains("from the kernel, for a reason that was not seen"),
        "{said}"
    );
}

#[test]
fn a_mark_of_a_process_that_is_already_ending_does_not_excuse_its_killer() {
    let (mut scene, [_, init, _]) = running(true);
    scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
    scene.push(Fact::OomVictim { pid: init.pid });
    killed(&mut scene, init);
    let said = message(&scene, "PT310", Outcome::Fail);
    assert!(said.contains("from stranger"), "{said}");
    let evidence = evidence(&scene, "PT310");
    assert!(
        evidence.contains("marked a (pid") && evidence.contains("already ending"),
        "{evidence}"
    );

    let (mut scene, [_, init, _]) = running(true);
    scene.push(Fact::OomVictim { pid: init.pid });
    scene.end(init, WaitStatus::exited(0));
    let said = message(&scene, "PT310", Outcome::Pass);
    assert_eq!(said, "ended: exit code 0");
}

#[test]
fn the_end_of_a_pid_namespace_is_named_also_if_the_exit_of_its_init_is_reported_later() {
    for kill_first in [false, true] {
        let (mut scene, [pause, init, _]) = running(true);
        scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
        if kill_first {
            kernel_kills(&mut scene, pause, init);
        }
        scene.exit(pause, WaitStatus::killed(SIGKILL));
        if !kill_first {
            kernel_kills(&mut scene, pause, init);
        }
        killed(&mut scene, init);
        let said = message(&scene, "PT310", Outcome::Pass);
        let why = format!(
            "because pid 1 of its pid namespace (pid {}) ended",
            pause.pid
        );
        assert!(said.ends_with(&why), "{said}");
    }
    // The same kill while that process lives.
    let (mut scene, [pause, init, _]) = running(true);
    kernel_kills(&mut scene, pause, init);
    killed(&mut scene, init);
    scene.expect("PT310", &[Outcome::Inconclusive]);
}

#[test]
fn the_end_of_a_container_says_that_the_oom_killer_killed_a_process_of_it() {
    let (mut scene, [_, init, child]) = running(true);
    scene.stop_pod("p", 1_000);
    scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
    oom_kills(&mut scene, child, child);
    killed(&mut scene, child);
    scene.wait_ms(1_000);
    kill(&mut scene, init);
    scene.expect("PT302", &[Outcome::Fail]);
    let said = evidence(&scene, "PT302");
    let kills = format!(
        "the OOM killer killed a (pid {}) of its container",
        child.pid
    );
    assert!(said.contains(&kills), "{said}");

    // Not if the child was killed otherwise.
    let (mut scene, [_, init, child]) = running(true);
    scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
    scene.push(Fact::OomVictim { pid: child.pid });
    scene.end(child, WaitStatus::exited(1));
    kill(&mut scene, init);
    scene.expect("PT302", &[Outcome::Fail]);
    assert!(!evidence(&scene, "PT302").contains("OOM"));
}

#[test]
fn each_member_of_a_group_that_the_oom_killer_ends_is_its_victim() {
    let (mut scene, [_, init, child]) = running(true);
    let stranger = scene.stranger;
    for victim in [child, init] {
        oom_kills(&mut scene, stranger, victim);
    }
    for victim in [child, init] {
        killed(&mut scene, victim);
    }
    let said = message(&scene, "PT310", Outcome::Pass);
    assert!(
        said.ends_with("killed by SIGKILL: the OOM killer chose it"),
        "{said}"
    );
}
