//! PT205: no process of a pod lives after the pod's removal.

use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT205",
        name: "leftovers",
        severity: Severity::Error,
        summary: "processes of a pod still run after the pod was removed",
        doc: "\
## What it checks
Within a limit after a pod was removed, all processes in the cgroups of its containers and in its \
pid namespace must have ended, the pause included; also those that were moved out of these cgroups, \
and what they forked since.

## Why it matters
These processes keep memory, ports, mounts and volumes of a pod that the API no longer knows. \
Nothing will stop them, and they cause \"device busy\" or \"address in use\" errors in other pods.

## How to fix it
Kill the listed processes. Then check the runtime: in a shared pid namespace the end of a \
container's entrypoint does not end its children, so the runtime must kill the whole cgroup.

## Example
    2 processes are still alive 10.0 s after the pod was removed: sleep (pid 4711, container web), \
sh (pid 4712, container web)

## Source
opencontainers/runc#4047, #4145; kubernetes/kubernetes#107730, #110181 (leaked pause).
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupAttach],
    },
    on: &[On::RemovalDue],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::RemovalDue(pod) = change else {
        return;
    };
    let Some(pod) = context.state.pods.get(pod) else {
        return;
    };
    // Only processes forked before the pause ended: afterwards the kernel forks nothing in that
    // namespace (`disable_pid_allocation`) and may give its inode number to another pod.
    let pid_namespaces: Vec<_> = pod
        .sandboxes
        .iter()
        .filter_map(|id| context.state.containers.get(id))
        .filter_map(|sandbox| {
            let namespaces = sandbox
                .namespaces
                .filter(|namespaces| namespaces.pid_level > 0)?;
            let until = sandbox.ended.map_or(Ktime::MAX, |ended| ended.time);
            Some((namespaces.pid, until))
        })
        .collect();
    let is_left = |process: &&Process| {
        let is_there = |(inode, until): &(u32, Ktime)| {
            *inode == process.namespaces.pid && process.forked <= *until
        };
        let is_its = process.is_from(&pod.id) || pid_namespaces.iter().any(is_there);
        is_its && process.is_alive()
    };
    let mut left: Vec<_> = context.state.processes.iter().filter(is_left).collect();
    left.sort_by_key(|process| process.id);
    let waited = context
        .now
        .saturating_sub(pod.removed.unwrap_or(context.now));
    if left.is_empty() {
        return sink.pass(Subject::pod(&pod.id), || {
            Details::new(format!(
                "no process was left {} after the pod was removed",
                Duration(waited)
            ))
            .observed("processes", Value::Number(0))
            .observed("reaped", Value::Number(pod.reaped))
        });
    }
    let since = left
        .iter()
        .fold(pod.since, |since, process| since.min(process.forked));
    // A process that was moved out of the pod's cgroups has no pod of its own.
    let subject = Subject {
        pod: Some(pod.id.clone()),
        ..Subject::process(left[0])
    };
    ending::fail_unless_gap(context, since, sink, subject, || {
        let name = |process: &Process| match &process.container {
            _ if process.was_moved_out_of(&pod.id) => "moved out of its cgroups".to_owned(),
            Some(container) => format!("container {}", context.container_name(container)),
            None => "its pid namespace".to_owned(),
        };
        let listed = left.iter().take(ending::MAX_LISTED);
        let names: Vec<_> = listed
            .clone()
            .map(|process| {
                format!(
                    "{} (pid {}, {})",
                    process.comm,
                    process.id.pid,
                    name(process)
                )
            })
            .collect();
        let count = if left.len() == 1 {
            "1 process is"
        } else {
            &*format!("{} processes are", left.len())
        };
        let more = if left.len() > ending::MAX_LISTED {
            " …"
        } else {
            ""
        };
        let details = Details::new(format!(
            "{count} still alive {} after the pod was removed: {}{more}",
            Duration(waited),
            names.join(", ")
        ))
        .expected("processes", Value::Number(0))
        .observed("processes", Value::Number(left.len() as u64))
        .observed("since the removal", Value::Duration(waited));
        let details = listed.fold(details, |details, process| {
            let what = format!(
                "fork of {} (pid {}, {})",
                process.comm,
                process.id.pid,
                name(process)
            );
            details.evidence(process.forked, what)
        });
        details.evidence(pod.removed.unwrap_or(context.now), "the pod was removed")
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn a_pod_without_processes_passes() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let init = scene.container("p", "a");
        scene.end(init, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.end(pause, WaitStatus::killed(9));
        scene.wait_ms(1_100);
        scene.expect("PT205", &[Outcome::Pass]);
    }

    #[test]
    fn children_and_the_pause_of_a_removed_pod_fail() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let init = scene.container("p", "a");
        scene.fork(init);
        scene.end(init, WaitStatus::killed(9));
        scene.remove_pod("p");
        scene.wait_ms(1_100);
        let [verdict] = &scene.expect("PT205", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.details.observed[0], ("processes", Value::Number(2)));
        assert!(
            verdict.details.message.contains("container a"),
            "{}",
            verdict.details.message
        );
    }

    /// A privileged container with the host's pid namespace can move its processes anywhere, and
    /// what they fork then is elsewhere from its beginning.
    #[test]
    fn processes_that_were_moved_out_of_the_pods_cgroups_fail() {
        let removed = |ends: bool| {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            let init = scene.container("p", "a");
            let daemon = scene.fork(init);
            scene.move_to(daemon, 1);
            let child = scene.fork(daemon);
            scene.end(init, WaitStatus::exited(0));
            if ends {
                scene.end(child, WaitStatus::exited(0));
                scene.end(daemon, WaitStatus::exited(0));
            }
            scene.end(pause, WaitStatus::killed(9));
            scene.remove_pod("p");
            scene.wait_ms(1_100);
            scene
        };
        let [verdict] = &removed(false).expect("PT205", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.subject.pod.as_deref(), Some("p"));
        let message = &verdict.details.message;
        assert!(message.starts_with("2 processes are"), "{message}");
        assert!(message.contains("moved out of its cgroups"), "{message}");
        removed(true).expect("PT205", &[Outcome::Pass]);
    }

    /// The cgroups of another pod are no home.
    #[test]
    fn a_process_that_was_moved_into_another_pod_is_left_over() {
        let removed = |is_back: bool| {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            let init = scene.container("p", "a");
            let home = scene.cgroup(init);
            scene.pod("q");
            let other = scene.container("q", "b");
            let daemon = scene.fork(init);
            scene.move_to(daemon, scene.cgroup(other));
            if is_back {
                scene.move_to(daemon, home);
                scene.end(daemon, WaitStatus::exited(0));
            }
            for process in [init, pause] {
                scene.end(process, WaitStatus::killed(9));
            }
            scene.remove_pod("p");
            scene.wait_ms(1_100);
            scene
        };
        removed(false).expect("PT205", &[Outcome::Fail]);
        removed(true).expect("PT205", &[Outcome::Pass]);
    }

    #[test]
    fn zombies_and_other_pods_processes_do_not_count() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.pod("q");
        scene.container("q", "b");
        scene.exit(pause, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.wait_ms(1_100);
        scene.expect("PT205", &[Outcome::Pass]);
    }

    #[test]
    fn a_pod_that_reuses_the_pid_namespaces_inode_number_does_not_count() {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        let inode = scene.namespaces(pause).pid;
        scene.end(pause, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.pod_with("q", Modes::plain(), |ns| ns.pid = inode);
        scene.wait_ms(1_100);
        scene.expect("PT205", &[Outcome::Pass]);
    }

    #[test]
    fn lost_exits_make_it_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.lose(Kind::Exit, 1);
        scene.remove_pod("p");
        scene.wait_ms(1_100);
        scene.expect("PT205", &[Outcome::Inconclusive]);
    }
}
