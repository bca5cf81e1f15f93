//! PT208: a pid namespace is torn down when its init ends.

use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT208",
        name: "teardown-stalled",
        severity: Severity::Error,
        summary: "the init of a pid namespace ended, but other processes of the namespace were not reaped",
        doc: "\
## What it checks
When pid 1 of a pod's pid namespace ends, the kernel kills all other processes in the namespace \
and waits until each has been reaped. No process may be left after a limit.

## Why it matters
Until then the init itself cannot be reaped: the runtime waits for its exit, and the pod hangs in \
Terminating.

## How to fix it
The finding lists the remaining processes. A zombie must be reaped by its parent, which for an \
exec session is a process of the runtime outside the namespace: that process hangs. A live process \
survives SIGKILL only if it waits for storage (state D) or is frozen: see `/proc/PID/stack`, and \
`cgroup.freeze` of its cgroup.

## Example
    1 process remains 5.0 s after init web (pid 812) ended: session (pid 4711, zombie to be reaped \
by shim, pid 100)

## Source
`zap_pid_ns_processes` (Linux, kernel/pid_namespace.c); containerd/containerd#11133.
",
        needs: &[Kind::Fork, Kind::Exit, Kind::Free],
    },
    on: &[On::TeardownDue, On::Reaped],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::TeardownDue {
            pid_namespace,
            init,
        } => judge_remains(context, *pid_namespace, *init, sink),
        Change::Reaped(process) => {
            let Some((init, _, _)) = context.inside(*process) else {
                return;
            };
            // When an init ended that was found as a zombie is unknown.
            if let (true, false, Some(ended)) =
                (init.is_namespace_init(), init.ended_unseen(), init.ended)
            {
                let took = context.now.saturating_sub(ended.time);
                sink.pass(Subject::process(init), || {
                    Details::new(format!(
                        "pid namespace {} was empty and its init was reaped {} after the init ended",
                        init.namespaces.pid,
                        Duration(took)
                    ))
                    .observed("end to reaping", Value::Duration(took))
                });
            }
        }
        _ => {}
    }
}

fn judge_remains(context: &Context<'_>, pid_namespace: u32, init: ProcessId, sink: &mut Sink<'_>) {
    let Some((init, container, _)) = context.inside(init) else {
        return;
    };
    let Some(ended) = init.ended else {
        return;
    };
    // The kernel forks nothing in a namespace whose init has ended (`alloc_pid`, kernel/pid.c):
    // processes forked later are in another namespace with the same inode number.
    let processes = context.state.processes.iter();
    let is_left = |process: &&Process| {
        process.namespaces.pid == pid_namespace
            && process.id != init.id
            && process.reaped.is_none()
            && process.forked <= ended.time
    };
    let mut remain: Vec<_> = processes.filter(is_left).collect();
    if remain.is_empty() {
        return;
    }
    remain.sort_by_key(|process| process.id);
    let waited = context.now.saturating_sub(ended.time);
    // A process that was found in the namespace may be of an earlier one with the same inode
    // number, and its end may have been lost before this one began.
    let since = remain
        .iter()
        .fold(container.since, |since, process| since.min(process.forked));
    ending::fail_unless_gap(context, since, sink, Subject::process(init), || {
        let describe = |process: &Process| {
            let state = match process.ended {
                None => "alive".to_owned(),
                Some(ended) => match context.state.processes.get(ended.parent) {
                    Some(parent) => {
                        format!(
                            "zombie to be reaped by {}, pid {}",
                            parent.comm, parent.id.pid
                        )
                    }
                    None => format!("zombie to be reaped by pid {}", ended.parent.pid),
                },
            };
            format!("{} (pid {}, {state})", process.comm, process.id.pid)
        };
        let listed = remain.iter().take(ending::MAX_LISTED);
        let names: Vec<_> = listed.clone().map(|process| describe(process)).collect();
        let count = if remain.len() == 1 {
            "1 process remains"
        } else {
            &*format!("{} processes remain", remain.len())
        };
        let at_least = match init.ended_unseen() {
            true => "at least ",
            false => "",
        };
        let details = Details::new(format!(
            "{count} {at_least}{} after init {} (pid {}) ended: {}",
            Duration(waited),
            init.comm,
            init.id.pid,
            names.join(", ")
        ))
        .expected("processes", Value::Number(0))
        .observed("processes", Value::Number(remain.len() as u64))
        .observed("since its end", Value::Duration(waited))
        .evidence(
            ended.time,
            match init.ended_unseen() {
                true => format!("init of pid namespace {pid_namespace} was found as a zombie"),
                false => format!(
                    "init of pid namespace {pid_namespace} ended: {}",
                    ended.status
                ),
            },
        );
        listed.fold(details, |details, process| {
            let time = process.ended.map_or(process.forked, |ended| ended.time);
            let what = if process.ended.is_some() {
                "ended"
            } else {
                "was forked"
            };
            details.evidence(
                time,
                format!("{} (pid {}) {what}", process.comm, process.id.pid),
            )
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn a_namespace_that_empties_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.exit(init, WaitStatus::exited(0));
        scene.end(child, WaitStatus::killed(9));
        scene.reap(init);
        scene.wait_ms(1_100);
        scene.expect("PT208", &[Outcome::Pass]);
    }

    #[test]
    fn a_session_that_the_runtime_does_not_reap_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let session = scene.session_with(init, |_| {});
        scene.exit(init, WaitStatus::exited(0));
        scene.exit(session, WaitStatus::killed(9));
        scene.wait_ms(1_100);
        let [verdict] = &scene.expect("PT208", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("1 process remains") && message.contains("zombie to be reaped by"),
            "{message}"
        );
    }

    #[test]
    fn an_unreaped_init_without_other_processes_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.exit(init, WaitStatus::exited(0));
        scene.end(child, WaitStatus::killed(9));
        scene.wait_ms(1_100);
        scene.expect("PT208", &[]);
    }

    #[test]
    fn the_end_of_a_container_in_a_shared_pid_namespace_is_not_judged() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let init = scene.container("p", "a");
        scene.fork(init);
        scene.end(init, WaitStatus::exited(0));
        scene.wait_ms(1_100);
        scene.expect("PT208", &[]);
    }

    #[test]
    fn lost_reapings_make_it_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.exit(init, WaitStatus::exited(0));
        scene.exit(child, WaitStatus::killed(9));
        scene.lose(Kind::Free, 1);
        scene.wait_ms(1_100);
        scene.expect("PT208", &[Outcome::Inconclusive]);
    }
}
