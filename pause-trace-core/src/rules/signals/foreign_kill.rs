//! PT310: only runtime, pod and kernel kill a pod's processes.

use crate::rules::{
    ending::{self, Cause, Party},
    prelude::*,
};

pub(super) const RULE: Rule = Rule {
    id: "PT310",
    name: "foreign-kill",
    severity: Severity::Error,
    summary: "a fatal signal came from outside runtime, pod and kernel",
    doc: "\
## What it checks
When a signal killed a process of a container, it must have come from the container runtime, from the pod itself or from \
the kernel. If it did not, this says from whom. A signal that was handled did not kill. A pause that is killed while \
containers run is PT202's, which names the sender too.

## Why it matters
To the kubelet such a death looks like a crash: it restarts the container and counts, and nobody learns that a script, an \
agent or another pod on the node did it.

## How to fix it
Ask the sender. If it is another pod's process, take `hostPID` or its privileges away; if it is systemd, see which unit's \
stop reaches into the pod's cgroups.

## Example
    init web (pid 812) was killed: SIGKILL from cleanup.sh (pid 4711, outside runtime and pod)

## Source
signal(7); Linux `signal_generate` (include/trace/events/signal.h).
",
    needs: &[Kind::SignalGenerate, Kind::Exit, Kind::Fork],
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
    let killer = ending::fatal(process).filter(|_| process.oom.is_none());
    let Some(by) = killer.filter(|by| ending::party(process, by) == Party::Foreign) else {
        if process.role == Role::Init {
            pass(context, process, ended, sink);
        }
        return;
    };
    if process.role == Role::Pause {
        let is_others = matches!(
            ending::cause(process, container, &context.state.limits),
            Some(Cause::Fragile(_))
        ) || ending::is_being_stopped(process, container, pod)
            || ending::running(context.state, container, pod)
                .next()
                .is_some();
        if is_others {
            return; // PT307, PT309, PT202
        }
    }
    let is_second = by.signal == container.stop_signal
        && ending::stops(process, container)
            .any(|stop| ending::party(process, stop) == Party::Runtime);
    if is_second {
        return; // the runtime was stopping it with that very signal: PT305
    }
    let needs = (&[Kind::Fork][..], pod.declared);
    ending::fail_if_seen(context, needs, sink, Subject::process(process), || {
        let what = match process.role {
            Role::Init => "init",
            Role::Pause => "the pause",
            Role::Session => "exec session",
            _ => "process",
        };
        let from = ending::from(context, process, by);
        let details = Details::new(format!(
            "{what} {} (pid {}) was killed: {from}",
            process.comm, process.id.pid
        ))
        .expected("sender", Value::Text("runtime, pod or kernel".to_owned()))
        .observed(
            "sender",
            by.sender
                .map_or(Value::Text("kernel".to_owned()), Value::Process),
        )
        .observed("signal", Value::Signal(by.signal))
        .observed("end", Value::Status(ended.status));
        let is_told = process.signals.contains(by);
        let details = if is_told {
            details
        } else {
            details.evidence(by.time, ending::line(context, process, by))
        };
        ending::story(context, process, details)
    });
}

fn pass(context: &Context<'_>, init: &Process, ended: Ended, sink: &mut Sink<'_>) {
    sink.pass(Subject::process(init), || {
        let why = match ending::fatal(init) {
            Some(by) => ending::from(context, init, by),
            None if init.oom.is_some() => "the OOM killer".to_owned(),
            None => ended.status.to_string(),
        };
        Details::new(format!("ended: {why}")).observed("end", Value::Status(ended.status))
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGKILL, SIGSEGV, SIGTERM, SIGUSR1};

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
                message.ends_with("from stranger (pid 200, outside runtime and pod)"),
                "{message}"
            );
        }
    }

    #[test]
    fn another_pods_process_is_named_with_its_pod() {
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
            verdict.details.message.ends_with("of another pod, q)"),
            "{}",
            verdict.details.message
        );
    }

    #[test]
    fn runtime_pod_kernel_and_oneself_may_kill() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        for name in ["runtime", "pod", "kernel", "self", "oom"] {
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
        scene.expect("PT310", &[Outcome::Pass; 6]);
    }

    #[test]
    fn a_handled_signal_and_one_that_was_dropped_did_not_kill() {
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
    fn a_pause_is_judged_here_only_where_it_holds_nobody() {
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
    fn a_sender_whose_fork_was_missed_may_be_the_runtimes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.lose(Kind::Fork, 1);
        scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT310", &[Outcome::Inconclusive]);
    }
}
