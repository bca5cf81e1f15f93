//! PT310: only the runtime, the pod and the kernel kill a pod's processes.

use crate::{
    rules::{
        ending::{self, Cause, Party},
        prelude::*,
    },
    signal::SIGKILL,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT310",
        name: "foreign-kill",
        severity: Severity::Error,
        summary: "a process outside the pod and its runtime killed a process of the pod",
        doc: "\
## What it checks
A signal that kills a process of a container must come from the container runtime, the pod itself \
or the kernel: the OOM killer, or the end of a pid namespace. Otherwise the finding names the \
sender, and if it was still there when the signal was read, its parent and the beginning of its \
command line. A signal with a handler does not kill. The name of a process does not make it the \
runtime: the runtime is in no container, and its executable belongs to root and is a file of the \
node. If that is not known of a process with the name of a runtime, the verdict is inconclusive. If the kernel sent SIGKILL to the container's \
first process and no record shows why, or no record shows who sent it, the verdict is inconclusive. \
PT202 reports a pause that is killed while containers run, and also names the sender.

## Why it matters
For the kubelet such a kill looks like a crash: it restarts the container and increments the \
restart count. Nothing shows that a script, an agent or another pod on the node caused it.

## How to fix it
Find out why the named process sent the signal. If it belongs to another pod, remove that pod's \
`hostPID` or privileges. If it is systemd, find the unit whose stop includes the pod's cgroups.

## Example
    init web (pid 812) was killed by SIGKILL from kill (pid 4711, outside the pod and its \
runtime, child of cleanup.sh (pid 4700), command \"kill -9 812\")

## Source
signal(7); Linux `signal_generate` (include/trace/events/signal.h).
",
        needs: &[Kind::SignalGenerate, Kind::Exit, Kind::Fork],
    },
    on: &[On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Ended(process) = change else {
        return;
    };
    let Some((process, container, pod)) = context.inside(*process) else {
        return;
    };
    let Some(ended) = process
        .ended
        .filter(|_| process.role.is_inside() && pod.removed.is_none())
    else {
        return;
    };
    let killer = ending::fatal(process);
    let is_others =
        |by: &&Received| matches!(ending::party(process, by), Party::Foreign | Party::Unproven);
    let Some(by) = killer.filter(is_others) else {
        if process.role == Role::Init {
            pass_or_doubt(context, process, ended, sink);
        }
        return;
    };
    if process.role == Role::Pause {
        let is_other_rules = matches!(
            ending::cause(process, container, &context.state.limits),
            Some(Cause::Fragile(_))
        ) || ending::is_being_stopped(process, container, pod)
            || ending::running(context.state, container, pod)
                .next()
                .is_some();
        if is_other_rules {
            return; // PT307, PT309, PT202
        }
    }
    let is_second_stop = Some(by.signal) == container.stop_signal
        && ending::stops(process, container)
            .any(|stop| ending::party(process, stop) == Party::Runtime);
    if is_second_stop {
        return; // the runtime had sent the same signal: PT305
    }
    let needs = (sink.needs(), pod.since);
    ending::fail_if_proven(
        context,
        [by],
        needs,
        sink,
        Subject::process(process),
        || {
            let comm = process.comm;
            let name = match process.role {
                Role::Init => format!("init {comm}"),
                Role::Pause => "the pause".to_owned(),
                Role::Session => format!("exec session {comm}"),
                _ => format!("process {comm}"),
            };
            let from = ending::from(context, process, by);
            let details = Details::new(format!(
                "{name} (pid {}) was killed by {from}",
                process.id.pid
            ))
            .expected("sender", Value::Text("runtime, pod or kernel".to_owned()))
            .observed(
                "sender",
                by.sender
                    .map_or(Value::Text("kernel".to_owned()), Value::Process),
            )
            .observed("signal", Value::Signal(by.signal))
            .observed("end", Value::Status(ended.status));
            let outsider = by.outsider.as_ref();
            let parent = outsider.and_then(|outsider| outsider.parent());
            let command = outsider.map(|outsider| outsider.command.to_string());
            let details = [("sender parent", parent), ("sender command", command)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
                .fold(details, |details, (name, value)| {
                    details.observed(name, Value::Text(value))
                });
            let details = if process.signals.contains(by) {
                details
            } else {
                details.evidence(by.time, ending::line(context, process, by))
            };
            ending::with_history(context, process, details)
        },
    );
}

/// A SIGKILL whose sender or reason was not recorded is no proof that nobody else killed the init.
fn pass_or_doubt(context: &Context<'_>, init: &Process, ended: Ended, sink: &mut Sink<'_>) {
    let killer = ending::fatal(init);
    let is_unknown = ended.status.signal() == Some(SIGKILL)
        && !init.is_oom_killed()
        && killer.is_none_or(ending::is_unexplained);
    let why = || match killer {
        _ if let Some(oom) = ending::oom(init) => format!("killed by SIGKILL: {oom}"),
        Some(by) => ending::from(context, init, by),
        None if is_unknown => "SIGKILL whose sender was not recorded".to_owned(),
        None => ended.status.to_string(),
    };
    if is_unknown {
        return sink.inconclusive(Subject::process(init), || {
            let (comm, pid) = (init.comm, init.id.pid);
            let message = format!("init {comm} (pid {pid}) was killed by {}", why());
            let details = Details::new(message).observed("end", Value::Status(ended.status));
            ending::with_history(context, init, details)
        });
    }
    sink.pass(Subject::process(init), || {
        Details::new(format!("ended: {}", why())).observed("end", Value::Status(ended.status))
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGSEGV, SIGTERM, SIGUSR1};

    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn a_strangers_fatal_signal_fails() {
        for signal in [SIGKILL, SIGTERM, SIGUSR1] {
            let mut scene = Scene::new();
            scene.shared_pid_pod("p");
            let init = scene.container("p", "a");
            scene.signal(scene.stranger, init, signal, SignalResult::Delivered);
            scene.end(init, WaitStatus::killed(signal));
            let [verdict] = &scene.expect("PT310", &[Outcome::Fail])[..] else {
                panic!("one verdict")
            };
            let message = &verdict.details.message;
            assert!(
                message.ends_with("from stranger (pid 200, outside the pod and its runtime)"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_sender_outside_is_named_with_its_parent_and_command_line() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.outsider(scene.stranger, "ip link del \u{1b}[2J");
        scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        let [verdict] = &scene.expect("PT310", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let Details {
            message, observed, ..
        } = &verdict.details;
        assert!(
            message.ends_with(
                "from stranger (pid 200, outside the pod and its runtime, child of script.sh \
                 (pid 199), command \"ip link del \\u{1b}[2J\")"
            ),
            "{message}"
        );
        let text = |text: &str| Value::Text(text.to_owned());
        for expected in [
            ("sender parent", text("script.sh (pid 199)")),
            ("sender command", text("ip link del \\u{1b}[2J")),
        ] {
            assert!(observed.contains(&expected), "{observed:?}");
        }
    }

    #[test]
    fn what_a_sender_was_under_another_name_is_not_said() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.outsider(scene.stranger, "sh cleanup");
        scene.exec_as(scene.stranger, "/bin/kill");
        scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        let [verdict] = &scene.expect("PT310", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(message.ends_with("and its runtime)"), "{message}");
    }

    #[test]
    fn a_sender_in_another_pod_is_named_with_its_pod() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.pod("q");
        let victim = scene.container("p", "a");
        let child = scene.fork(victim);
        let agent = scene.container("q", "agent");
        scene.signal(agent, child, SIGKILL, SignalResult::Delivered);
        scene.end(child, WaitStatus::killed(SIGKILL));
        let [verdict] = &scene.expect("PT310", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict
                .details
                .message
                .ends_with("in another pod, default/q)"),
            "{}",
            verdict.details.message
        );
    }

    #[test]
    fn the_runtime_the_pod_the_kernel_and_the_process_itself_may_kill() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        for name in ["runtime", "pod", "self", "oom"] {
            let init = scene.container("p", name);
            let child = scene.fork(init);
            let (sender, code) = match name {
                "runtime" => (scene.runtime, 0),
                "pod" => (child, 0),
                "self" => (init, -6),
                _ => (scene.stranger, SI_KERNEL),
            };
            if name == "oom" {
                scene.push(Fact::OomVictim { pid: init.pid });
            }
            scene.signal_with_code(sender, init, SIGKILL, SignalResult::Delivered, code);
            scene.end(init, WaitStatus::killed(SIGKILL));
        }
        let init = scene.container("p", "crash");
        scene.signal_with_code(scene.stranger, init, SIGSEGV, SignalResult::Delivered, 1);
        scene.end(init, WaitStatus(0x8b));
        let verdicts = scene.expect("PT310", &[Outcome::Pass; 5]);
        assert_eq!(
            verdicts[3].details.message,
            "ended: killed by SIGKILL: the OOM killer chose it"
        );
    }

    #[test]
    fn handled_and_ignored_signals_do_not_count_as_kills() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.stranger, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        scene.end(init, WaitStatus::exited(0));
        let init = scene.container("p", "b");
        scene.signal(scene.stranger, init, SIGKILL, SignalResult::Ignored);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT310", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_pause_is_judged_only_if_no_container_runs() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT310", &[Outcome::Fail]);

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT310", &[]);
    }

    #[test]
    fn lost_forks_make_it_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.lose(Kind::Fork, 1);
        scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT310", &[Outcome::Inconclusive]);
    }
}
