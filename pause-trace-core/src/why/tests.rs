//! Each reason on a pod that has it, and near misses.

mod grace;
mod group;
mod holders;
mod stop;

use super::*;
use crate::event::{CniCommand, Comm, Grace, GraceSource, OciCommand, SignalMasks};

const S: u64 = 1_000_000_000;

fn process(pid: u32, comm: &str) -> Process {
    Process {
        pid,
        ns_pid: 1,
        parent: 900,
        comm: Comm::new(comm),
        state: b'S',
        wait: None,
        age: 60 * S,
        signals: Some(SignalMasks {
            caught: u64::MAX,
            ..SignalMasks::default()
        }),
    }
}

fn container(title: &str, kind: ContainerKind, pid: u32) -> Container {
    Container {
        id: format!("id-of-{title}").into(),
        title: title.to_owned(),
        kind,
        run: Run::Running { age: 60 * S },
        attempt: 0,
        earlier: Vec::new(),
        processes: vec![process(pid, title)],
        entrypoint: Some(pid),
        stop_signal: 15,
        limits: Limits::default(),
        misfits: Vec::new(),
        grace: None,
        stop_sent: None,
    }
}

/// A healthy pod with a container `app`.
fn healthy() -> Case {
    Case {
        sandboxes: vec![Sandbox {
            id: "id-of-pause".into(),
            is_ready: true,
            age: 61 * S,
        }],
        containers: vec![
            container("pause", ContainerKind::Sandbox, 100),
            container("app", ContainerKind::App, 200),
        ],
        ..Case::default()
    }
    .serving()
}

impl Case {
    /// The pod with a server.
    fn serving(mut self) -> Self {
        self.network = Some(Network {
            is_loopback_up: true,
            addresses: vec!["10.4.0.7".to_owned()],
            listeners: vec![Listener {
                address: "0.0.0.0:8080".to_owned(),
                is_loopback: false,
                by: None,
            }],
        });
        self
    }
}

/// A healthy pod that `change` makes another.
fn changed(change: impl FnOnce(&mut Case)) -> Explanation {
    let mut case = healthy();
    change(&mut case);
    explain(&case)
}

fn causes(explanation: &Explanation) -> Vec<Cause> {
    let reasons = explanation.reasons.iter();
    reasons.map(|reason| reason.cause).collect()
}

#[track_caller]
fn expect(explanation: &Explanation, phase: Phase, cause: Cause, sentence: &str) {
    assert_eq!(causes(explanation), [cause], "{explanation:#?}");
    assert_eq!(explanation.phase, phase);
    assert_eq!(explanation.reasons[0].sentence, sentence);
    assert!(!explanation.reasons[0].next.is_empty());
}

fn ended(code: i32) -> Ended {
    Ended {
        code,
        reason: "Error".to_owned(),
        message: String::new(),
        ago: 12 * S,
        lived: Some(2 * S),
    }
}

#[test]
fn a_healthy_pod_has_no_reason() {
    let explanation = changed(|_| {});
    assert_eq!(
        (explanation.phase, causes(&explanation)),
        (Phase::Running, vec![])
    );
    assert!(!explanation.is_problem());
}

#[test]
fn a_pause_that_ended_under_its_containers_is_the_first_reason() {
    let explanation = changed(|case| {
        case.containers.remove(0);
        case.containers[0].limits.oom_kills = 1;
    });
    assert_eq!(causes(&explanation), [Cause::PauseEnded, Cause::OomKilled]);
    assert!(
        explanation.reasons[0]
            .sentence
            .starts_with("the pause process has ended while app runs"),
        "{explanation:#?}"
    );
    // The runtime has noticed, which is no stop.
    let explanation = changed(|case| {
        case.containers.remove(0);
        case.sandboxes[0].is_ready = false;
    });
    assert_eq!(causes(&explanation), [Cause::PauseEnded]);
    // A runtime without sandboxes has no pause that could end.
    let explanation = changed(|case| {
        case.containers.remove(0);
        case.sandboxes.clear();
    });
    assert_eq!(causes(&explanation), []);
}

fn plugin(command: CniCommand, age: u64) -> Work {
    let step = |pid, comm: &str, age| Step {
        process: Process {
            age,
            ..process(pid, comm)
        },
        command: String::new(),
    };
    Work {
        kind: WorkKind::Plugin {
            command,
            interface: "eth0".to_owned(),
        },
        container: None,
        chain: vec![step(40, "portmap", age), step(41, "sleep", age - 1)],
    }
}

#[test]
fn a_plugin_that_takes_long_is_named_with_what_it_waits_for() {
    let starting = |case: &mut Case| {
        case.containers.truncate(1);
        case.network = None;
    };
    let explanation = changed(|case| {
        starting(case);
        case.work = vec![plugin(CniCommand::Add, 3 * S)];
    });
    expect(
        &explanation,
        Phase::Starting,
        Cause::StartSlow,
        "the CNI plugin portmap (ADD eth0) has run for 3s; it waits for sleep (pid 41), which \
         has run for 2s",
    );
    let explanation = changed(|case| {
        starting(case);
        case.work = vec![plugin(CniCommand::Add, S / 2)];
    });
    assert_eq!(
        (explanation.phase, causes(&explanation)),
        (Phase::Starting, vec![])
    );
    let explanation = changed(|case| case.work = vec![plugin(CniCommand::Del, 3 * S)]);
    assert_eq!(explanation.phase, Phase::Stopping);
    assert_eq!(causes(&explanation), [Cause::RemovalSlow]);
}

#[test]
fn a_container_whose_entrypoint_is_not_executed_waits() {
    let explanation = changed(|case| {
        let mut work = plugin(CniCommand::Add, 20 * S);
        work.kind = WorkKind::Oci {
            command: OciCommand::Create,
        };
        work.container = Some("app".to_owned());
        work.chain[0].process.comm = Comm::new("runc");
        case.work = vec![work];
        case.containers[1].run = Run::Created { age: 21 * S };
        case.containers[1].processes.clear();
    });
    assert_eq!(explanation.phase, Phase::Starting);
    assert_eq!(causes(&explanation), [Cause::StartSlow]);
    assert!(
        explanation.reasons[0]
            .sentence
            .starts_with("`runc create` for app has run for 20s"),
        "{explanation:#?}"
    );
}

#[test]
fn a_container_that_is_created_and_never_started_is_a_notice() {
    let explanation = changed(|case| {
        case.containers[1].run = Run::Created { age: 9 * S };
        case.containers[1].processes.clear();
    });
    expect(
        &explanation,
        Phase::Starting,
        Cause::NotStarted,
        "app was created 9s ago and has not been started",
    );
    let explanation = changed(|case| {
        case.containers[1].run = Run::Created { age: S };
        case.containers[1].processes.clear();
    });
    assert_eq!(causes(&explanation), []);
}

#[test]
fn a_pod_of_which_only_the_pause_is_left_is_undecided_without_a_runtime() {
    let left = |age| {
        changed(|case| {
            case.sandboxes.clear();
            case.containers.truncate(1);
            case.containers[0].run = Run::Running { age };
        })
    };
    let explanation = left(38 * S);
    expect(
        &explanation,
        Phase::Empty,
        Cause::OnlyPause,
        "only the pause runs, for 38s: either no container was started, or all have ended; no \
         runtime says which",
    );
    assert!(explanation.is_undecided() && !explanation.is_problem());
    let young = left(S);
    assert_eq!((young.phase, causes(&young)), (Phase::Starting, vec![]));
    assert!(!young.is_undecided());
    // A runtime that lists the pod says what has ended.
    let listed = changed(|case| case.containers.truncate(1));
    assert!(!listed.is_undecided());
}

#[test]
fn a_sandbox_without_a_container_waits_for_the_kubelet() {
    let explanation = changed(|case| case.containers.truncate(1));
    expect(
        &explanation,
        Phase::Starting,
        Cause::NoContainer,
        "the sandbox has been ready for 1m1s, and no container was created in it",
    );
    let explanation = changed(|case| {
        case.containers.truncate(1);
        case.sandboxes[0].age = S;
    });
    assert_eq!(causes(&explanation), []);
}

#[test]
fn a_command_that_does_not_exist_is_told_in_the_runtimes_words() {
    let explanation = changed(|case| {
        let app = &mut case.containers[1];
        app.processes.clear();
        app.run = Run::Ended(Ended {
            code: 128,
            reason: "StartError".to_owned(),
            message: "exec: \"nosuch\": executable file not found in $PATH\n".to_owned(),
            ago: 5 * S,
            lived: None,
        });
    });
    expect(
        &explanation,
        Phase::Ended,
        Cause::StartFailed,
        "app could not be started: the runtime says: exec: \"nosuch\": executable file not found \
         in $PATH",
    );
    assert!(explanation.is_problem());
}

#[test]
fn a_message_is_cut_between_characters() {
    let explanation = changed(|case| {
        case.containers[1].processes.clear();
        case.containers[1].run = Run::Ended(Ended {
            message: "ü".repeat(500),
            lived: None,
            ..ended(1)
        });
    });
    let sentence = &explanation.reasons[0].sentence;
    // Runtimes put the cause last.
    assert!(
        sentence.contains("says: …ü") && sentence.len() < 400,
        "{sentence}"
    );
}

#[test]
fn a_container_that_ends_again_and_again_is_restarting() {
    let explanation = changed(|case| {
        let app = &mut case.containers[1];
        app.attempt = 3;
        app.run = Run::Running { age: S };
        app.earlier = vec![ended(1)];
    });
    expect(
        &explanation,
        Phase::Restarting,
        Cause::Restarting,
        "app was started again 3 times; its last run ended 12s ago, 2.00 s after its start: \
         exit code 1 (Error)",
    );
    // It has been up for long enough since.
    let explanation = changed(|case| {
        let app = &mut case.containers[1];
        app.attempt = 3;
        app.run = Run::Running { age: 3_600 * S };
        app.earlier = vec![ended(1)];
    });
    assert_eq!(
        (explanation.phase, causes(&explanation)),
        (Phase::Running, vec![])
    );
}

#[test]
fn a_container_that_ended_failed_unless_its_code_is_0() {
    let finish = |code| {
        changed(|case| {
            case.containers[1].processes.clear();
            case.containers[1].run = Run::Ended(Ended {
                reason: String::new(),
                ..ended(code)
            });
        })
    };
    expect(
        &finish(139),
        Phase::Ended,
        Cause::Failed,
        "app ended 12s ago, 2.00 s after its start: exit code 139: killed by SIGSEGV",
    );
    let done = finish(0);
    assert_eq!(causes(&done), []);
    assert!(!done.is_problem());
}

#[test]
fn a_job_that_is_done_is_completed() {
    let explanation = changed(|case| {
        case.sandboxes[0].is_ready = false;
        for container in &mut case.containers {
            container.processes.clear();
            container.run = Run::Ended(ended(0));
        }
    });
    assert_eq!(
        (explanation.phase, causes(&explanation)),
        (Phase::Completed, vec![])
    );
}

#[test]
fn a_kill_of_the_oom_killer_names_the_limit() {
    let explanation = changed(|case| {
        let app = &mut case.containers[1];
        app.limits.memory = Some(64 << 20);
        app.processes.clear();
        app.run = Run::Ended(Ended {
            reason: "OOMKilled".to_owned(),
            ..ended(137)
        });
    });
    assert_eq!(causes(&explanation), [Cause::OomKilled, Cause::Failed]);
    assert_eq!(
        explanation.reasons[0].sentence,
        "app was killed by the OOM killer; its memory limit is 64 MiB"
    );
    let explanation = changed(|case| case.containers[1].limits.oom_kills = 2);
    expect(
        &explanation,
        Phase::Running,
        Cause::OomKilled,
        "the OOM killer has killed 2 processes in app",
    );
}

#[test]
fn frozen_and_uninterruptible_processes_are_named() {
    let explanation = changed(|case| {
        case.containers[1].limits.is_frozen = true;
        // What the freezer of cgroup v1 shows.
        case.containers[1].processes[0].state = b'D';
    });
    expect(
        &explanation,
        Phase::Running,
        Cause::Frozen,
        "the cgroup of app is frozen: none of its 1 process runs, and on cgroup v1 not even \
         SIGKILL ends them",
    );
    let explanation = changed(|case| {
        let app = &mut case.containers[1].processes[0];
        (app.state, app.wait) = (b'D', Some("nfs_wait_bit_killable".to_owned()));
    });
    expect(
        &explanation,
        Phase::Running,
        Cause::Uninterruptible,
        "app (pid 200) of app is in an uninterruptible sleep in the kernel's \
         nfs_wait_bit_killable: it takes no signal before that returns; SIGKILL ends it earlier \
         only if the sleep is killable",
    );
}

#[test]
fn the_parent_of_a_vfork_is_not_stuck() {
    let explanation = changed(|case| {
        let app = &mut case.containers[1].processes[0];
        (app.state, app.wait) = (b'D', Some("kernel_clone".to_owned()));
    });
    assert_eq!(causes(&explanation), []);
}

#[test]
fn a_plugin_that_works_for_a_running_pod_does_not_make_it_start() {
    let explanation = changed(|case| case.work = vec![plugin(CniCommand::Add, 3 * S)]);
    assert_eq!(explanation.phase, Phase::Running);
    assert_eq!(causes(&explanation), [Cause::StartSlow]);
}

#[test]
fn zombies_are_named_with_the_parent_that_does_not_reap() {
    let with = |parent| {
        changed(|case| {
            case.containers[1].processes.push(Process {
                state: b'Z',
                parent,
                ..process(201, "worker")
            });
        })
    };
    expect(
        &with(100),
        Phase::Running,
        Cause::Zombies,
        "1 process of app is a zombie: its parent pause (pid 100) of pause does not reap it",
    );
    let outside = with(7);
    assert!(
        outside.reasons[0]
            .sentence
            .contains("pid 7, which is outside the pod")
    );
}

#[test]
fn limits_that_are_hit_are_reasons() {
    let explanation = changed(|case| {
        case.containers[1].limits.pids = Some(100);
        case.containers[1].limits.pids_refused = 5;
    });
    expect(
        &explanation,
        Phase::Running,
        Cause::PidsLimit,
        "5 forks in app failed because of the limit of 100 tasks of its cgroup",
    );
    let throttled = |throttled| {
        changed(|case| {
            case.containers[1].limits.cpu_periods = 100;
            case.containers[1].limits.cpu_throttled = throttled;
        })
    };
    let explanation = throttled(95);
    assert_eq!(causes(&explanation), [Cause::Throttled]);
    assert!(!explanation.is_problem(), "a notice");
    assert_eq!(causes(&throttled(24)), []);
}

#[test]
fn a_pod_that_serves_nobody_is_a_notice() {
    let explanation = changed(|case| {
        case.network.as_mut().expect("it has one").listeners.clear();
    });
    assert_eq!(causes(&explanation), [Cause::NotListening]);
    assert!(!explanation.is_problem());
    let explanation = changed(|case| {
        let network = case.network.as_mut().expect("it has one");
        network.listeners[0] = Listener {
            address: "127.0.0.1:8080".to_owned(),
            is_loopback: true,
            by: Some("nginx (pid 200) of app".to_owned()),
        };
    });
    assert!(explanation.reasons[0].sentence.contains("on loopback only"));
    let explanation = changed(|case| case.network = None);
    assert_eq!(causes(&explanation), [], "the host's network");
    let explanation = changed(|case| {
        case.network.as_mut().expect("it has one").addresses.clear();
    });
    assert_eq!(causes(&explanation), [Cause::NoNetwork]);
    let explanation = changed(|case| {
        case.sandboxes.clear();
        case.network.as_mut().expect("it has one").addresses.clear();
    });
    assert_eq!(
        causes(&explanation),
        [],
        "`podman pod create --network none`"
    );
}

#[test]
fn broken_promises_and_misfits_are_reasons() {
    let explanation = changed(|case| {
        case.containers[1].misfits = vec!["app should have the pod's net, but has its own".into()];
        case.broken = vec![Promise {
            is_of_pause: false,
            rule: "PT101",
            name: "net-not-shared",
            container: Some("app".to_owned()),
            sentence: "app is in another network namespace".to_owned(),
        }];
    });
    assert_eq!(
        causes(&explanation),
        [Cause::WrongNamespace, Cause::PromiseBroken]
    );
    assert!(explanation.is_problem());
}
