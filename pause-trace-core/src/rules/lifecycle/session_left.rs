//! PT209: exec sessions and probes do not leave processes behind again and again.

use std::collections::BTreeMap;

use crate::rules::{ending, prelude::*};

/// The sessions that may each leave a process of the same name. A session may start a daemon on
/// purpose; nobody starts the same one again and again.
const MAX_SESSIONS: usize = 2;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT209",
        name: "session-left",
        severity: Severity::Warning,
        summary: "exec sessions or probes of a container leave processes that keep running",
        doc: "\
## What it checks
Each time an exec session or a probe ends, this rule counts the sessions of the container that \
ended before and left a process that still runs and is older than the limit (5 s on a node). Three \
sessions that left processes of the same name are a finding. A daemon that one session starts on \
purpose is fine. Sessions that ended before pause-trace started are not known.

## Why it matters
When a probe or `kubectl exec` times out, the runtime kills the session's first process only. Its \
children keep running and are reparented to the container's pid 1. A probe that hangs each time \
adds one process every few seconds, until the memory or pids limit of the pod is reached.

## How to fix it
Let the probe end by itself before its `timeoutSeconds` (`timeout 2 …`). Use `exec` in shell \
probes, so that the kill reaches the process that does the work.

## Example
    3 exec sessions or probes of container web left processes that still run: sleep (pid 1302, \
35.0 s old), sleep (pid 1340, 25.0 s old), sleep (pid 1377, 15.0 s old)

## Source
kubernetes/kubernetes#81042, #82440; containerd/containerd#4255; pid_namespaces(7), \"Adoption of \
orphaned children\".
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit],
    },
    on: &[On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Ended(id) = change else { return };
    let Some((session, container, _)) = context.inside(*id) else {
        return;
    };
    if session.role != Role::Session {
        return;
    }
    let processes = &context.state.processes;
    let is_over = |session: ProcessId| processes.get(session).is_none_or(|it| !it.is_alive());
    // What the session leaves that has just ended may end in a moment.
    let mut left: BTreeMap<[u8; 16], BTreeMap<ProcessId, Vec<&Process>>> = BTreeMap::new();
    let mut leaves_some = false;
    for process in processes.iter() {
        let Some(by) = process.session.filter(|by| *by != process.id) else {
            continue;
        };
        if process.container.as_ref() != Some(&container.id) || !process.is_alive() {
            continue;
        }
        leaves_some |= by == session.id;
        let age = context.now.saturating_sub(process.forked);
        if by != session.id && is_over(by) && age >= context.state.limits.zombie {
            let of_name = left.entry(process.comm.0).or_default();
            of_name.entry(by).or_default().push(process);
        }
    }
    let worst = left.into_values().max_by_key(BTreeMap::len);
    let Some(sessions) = worst.filter(|sessions| sessions.len() > MAX_SESSIONS) else {
        if !leaves_some {
            sink.pass(Subject::container(container), || {
                Details::new("an exec session or probe ended and left no process")
            });
        }
        return;
    };
    let mut processes: Vec<_> = sessions.values().flatten().copied().collect();
    processes.sort_unstable_by_key(|process| (process.forked, process.id));
    let since = processes.first().map_or(context.now, |first| first.forked);
    ending::fail_unless_gap(context, since, sink, Subject::container(container), || {
        let listed = processes.iter().take(ending::MAX_LISTED);
        let names: Vec<_> = listed
            .clone()
            .map(|process| {
                let age = Duration(context.now.saturating_sub(process.forked));
                format!("{} (pid {}, {age} old)", process.comm, process.id.pid)
            })
            .collect();
        let more = match processes.len().saturating_sub(ending::MAX_LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let details = Details::new(format!(
            "{} exec sessions or probes of container {} left processes that still run: {}{more}",
            sessions.len(),
            container.name,
            names.join(", ")
        ))
        .expected(
            "sessions that left the same, at most",
            Value::Number(MAX_SESSIONS as u64),
        )
        .observed("sessions", Value::Number(sessions.len() as u64))
        .observed("processes", Value::Number(processes.len() as u64));
        listed.fold(details, |details, process| {
            let by = process.session.unwrap_or_default();
            details.evidence(
                process.forked,
                format!(
                    "{} (pid {}) was forked by the session of pid {}",
                    process.comm, process.id.pid, by.pid
                ),
            )
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rules::testing::*, signal::SIGKILL};

    /// A probe that times out: the runtime kills its shell, and its child may live on.
    fn probe(scene: &mut Scene, app: ProcessId) -> ProcessId {
        let shell = scene.session_with(app, |_| {});
        let child = scene.fork(shell);
        scene.wait_ms(2_000);
        scene.end(shell, WaitStatus::killed(SIGKILL));
        child
    }

    fn app() -> (Scene, ProcessId) {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        (scene, app)
    }

    #[test]
    fn probes_that_each_leave_a_process_fail_with_their_number_and_age() {
        let (mut scene, app) = app();
        for _ in 0..3 {
            probe(&mut scene, app);
        }
        scene.expect("PT209", &[]);
        probe(&mut scene, app);
        let verdicts = scene.expect("PT209", &[Outcome::Fail]);
        let message = &verdicts[0].details.message;
        assert!(
            message.starts_with("3 exec sessions or probes of container app left processes"),
            "{message}"
        );
        assert!(message.contains("8.00 s old"), "{message}");
        assert_eq!(verdicts[0].severity(), Severity::Warning);
    }

    #[test]
    fn daemons_that_sessions_start_on_purpose_are_fine() {
        let (mut scene, app) = app();
        for _ in 0..2 {
            probe(&mut scene, app);
        }
        for _ in 0..5 {
            let session = scene.session_with(app, |_| {});
            scene.end(session, WaitStatus::exited(0));
            scene.wait_ms(1_000);
        }
        scene.expect("PT209", &[Outcome::Pass]);
    }

    #[test]
    fn one_session_may_leave_many() {
        let (mut scene, app) = app();
        let session = scene.session_with(app, |_| {});
        for _ in 0..10 {
            scene.fork(session);
        }
        scene.end(session, WaitStatus::exited(0));
        scene.wait_ms(10_000);
        let session = scene.session_with(app, |_| {});
        scene.end(session, WaitStatus::exited(0));
        scene.expect("PT209", &[Outcome::Pass]);
    }

    #[test]
    fn what_ends_soon_after_its_session_is_not_left() {
        let (mut scene, app) = app();
        for _ in 0..6 {
            let child = probe(&mut scene, app);
            scene.wait_ms(100);
            scene.end(child, WaitStatus::exited(0));
        }
        scene.expect("PT209", &[]);
    }

    #[test]
    fn sessions_that_still_run_leave_nothing() {
        let (mut scene, app) = app();
        for _ in 0..4 {
            let session = scene.session_with(app, |_| {});
            scene.fork(session);
        }
        scene.wait_ms(10_000);
        let session = scene.session_with(app, |_| {});
        scene.end(session, WaitStatus::exited(0));
        scene.expect("PT209", &[Outcome::Pass]);
    }

    #[test]
    fn lost_exits_make_it_inconclusive() {
        let (mut scene, app) = app();
        for _ in 0..3 {
            probe(&mut scene, app);
        }
        scene.lose(Kind::Exit, 1);
        probe(&mut scene, app);
        scene.expect("PT209", &[Outcome::Inconclusive]);
    }
}
