//! PT112: an exec session or probe runs in its container's namespaces.

use super::membership;
use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT112",
        name: "exec-session",
        severity: Severity::Error,
        summary: "an exec session or probe runs in other namespaces than its container",
        doc: "\
## What it checks
A process that enters a container from outside and executes (`kubectl exec`, an exec probe, a \
lifecycle hook) must be in all namespaces of the container's entrypoint: net, ipc, uts, pid, mnt, \
user and cgroup. This rule compares them at the session's first exec; later changes by the session \
itself are not checked. If the entrypoint has ended by then, the verdict is inconclusive.

## Why it matters
A probe in wrong namespaces reports the health of something other than the container. A session in \
the host's namespaces gives a root shell on the node to everyone who may exec into the pod.

## How to fix it
The runtime did not join all namespaces: compare `ls -l /proc/PID/ns` of the session and the \
entrypoint, and update the runtime. If a script with nsenter starts the session, make it join all \
namespaces.

## Example
    sh executed in other namespaces than the entrypoint (pid 812): mnt 4026531841 of the host \
instead of 4026532183

## Source
CRI `ExecSync` and `Exec`; Kubernetes: \"Container probes\"; pelagos#332.
",
        needs: &[Kind::Exec, Kind::Fork, Kind::CgroupAttach, Kind::Namespace],
    },
    on: &[On::Executed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Executed(id) = change else { return };
    let Some((session, container, _)) = membership::first_exec(context, *id, Role::Session) else {
        return;
    };
    let subject = || Subject::process(session);
    let Some(init) = container
        .init
        .and_then(|init| context.state.processes.get(init))
    else {
        sink.inconclusive(subject(), || {
            Details::new("the container's entrypoint is unknown")
        });
        return;
    };
    if let Some(ended) = init.ended {
        sink.inconclusive(subject(), || {
            Details::new(format!(
                "{} (pid {}) executed after the container's entrypoint had ended",
                session.comm, session.id.pid
            ))
            .evidence(
                ended.time,
                format!("pid {} ended: {}", init.id.pid, ended.status),
            )
        });
        return;
    }
    // A runtime may join the entrypoint's current namespaces, which it finds in /proc, or the first
    // ones, whose paths it kept.
    let first = container.namespaces.unwrap_or(init.namespaces);
    let differing: Vec<_> = NamespaceKind::ALL
        .into_iter()
        .filter(|kind| {
            let observed = session.namespaces.get(*kind);
            observed != init.namespaces.get(*kind) && observed != first.get(*kind)
        })
        .collect();
    let pid = init.id.pid;
    if differing.is_empty() {
        sink.pass(subject(), || {
            Details::new(format!(
                "all {} namespaces are those of the entrypoint (pid {pid})",
                NamespaceKind::ALL.len()
            ))
            .observed("net", Value::Namespace(session.namespaces.net))
            .observed("pid", Value::Namespace(session.namespaces.pid))
            .observed("mnt", Value::Namespace(session.namespaces.mnt))
        });
        return;
    }
    // If records were lost, the entrypoint may be in other namespaces, or be another process.
    let since = container.since.min(init.forked);
    ending::fail_unless_gap(context, since, sink, subject(), || {
        let differences: Vec<_> = differing
            .iter()
            .map(|kind| {
                let (name, observed) = (kind.name(), session.namespaces.get(*kind));
                let of_host = if membership::is_hosts(context, container, *kind, observed) {
                    " of the host"
                } else {
                    ""
                };
                format!(
                    "{name} {observed}{of_host} instead of {}",
                    init.namespaces.get(*kind)
                )
            })
            .collect();
        let message = format!(
            "{} {} in other namespaces than the entrypoint (pid {pid}): {}",
            session.comm,
            session.is_or_executed(),
            differences.join(", ")
        );
        let evidence = format!(
            "pid {} executed {}; the entrypoint is pid {pid}",
            session.id.pid,
            session.executable()
        );
        differing.iter().fold(
            Details::new(message).evidence(context.now, evidence),
            |details, kind| {
                details
                    .expected(kind.name(), Value::Namespace(init.namespaces.get(*kind)))
                    .observed(kind.name(), Value::Namespace(session.namespaces.get(*kind)))
            },
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn sessions_that_joined_everything_pass() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.session_with(init, |_| {});
        scene.session_with(init, |_| {});
        scene.expect("PT112", &[Outcome::Pass]);
    }

    #[test]
    fn a_session_in_the_hosts_namespaces_fails_and_lists_each_namespace() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let session = scene.session_with(init, |ns| *ns = HOST);
        let [verdict] = &scene.expect("PT112", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.subject.process.map(|process| process.id),
            Some(session)
        );
        let kinds: Vec<_> = verdict
            .details
            .observed
            .iter()
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(kinds, ["net", "ipc", "uts", "pid", "mnt"]);
        for rule in ["PT101", "PT102", "PT103", "PT104", "PT105", "PT107"] {
            assert!(
                scene
                    .verdicts(rule)
                    .iter()
                    .all(|verdict| verdict.outcome == Outcome::Pass),
                "{rule}"
            );
        }
    }

    #[test]
    fn one_missing_join_is_enough() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.session_with(init, |ns| ns.ipc = 77);
        let [verdict] = &scene.expect("PT112", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let expected = Value::Namespace(scene.namespaces(init).ipc);
        assert_eq!(verdict.details.expected, [("ipc", expected)]);
    }

    #[test]
    fn later_changes_by_a_session_are_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let session = scene.session_with(init, |_| {});
        scene.change_namespaces(
            session,
            NamespaceCall::Unshare,
            NamespaceKind::Net.flag(),
            0,
            |ns| ns.net = 77,
        );
        scene.exec(session);
        let child = scene.fork(session);
        scene.exec(child);
        scene.expect("PT112", &[Outcome::Pass]);
    }

    #[test]
    fn a_session_may_join_the_entrypoints_current_or_first_namespaces() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let first = scene.namespaces(init).mnt;
        scene.change_namespaces(
            init,
            NamespaceCall::Unshare,
            NamespaceKind::Mnt.flag(),
            0,
            |ns| ns.mnt = 77,
        );
        scene.session_with(init, |_| {});
        scene.session_with(init, |ns| ns.mnt = first);
        scene.session_with(init, |ns| ns.mnt = 78);
        scene.expect("PT112", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn a_session_into_a_container_that_ended_is_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.exit(init, WaitStatus::exited(0));
        scene.session_with(init, |ns| *ns = HOST);
        scene.expect("PT112", &[Outcome::Inconclusive]);
    }

    #[test]
    fn a_session_in_a_debug_container_is_compared_with_that_container() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        let modes = Modes {
            pid: Mode::Target("a".into()),
            ..Modes::plain()
        };
        let debug = scene.container_with("p", "debug", modes, |_| {});
        scene.session_with(debug, |_| {});
        scene.expect("PT112", &[Outcome::Pass]);
    }

    #[test]
    fn a_runtime_that_executes_itself_inside_the_cgroup_is_no_session() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let (cgroup, runtime) = (scene.cgroup(init), scene.runtime);
        // runc ≥ 1.4: clone3(CLONE_INTO_CGROUP), exec of itself, then the joins, then the user's
        // program.
        let runc = scene.fork(runtime);
        let again = scene.clone_with(runc, |_, own| *own = cgroup);
        scene.exec_file(again, "/proc/self/fd/7");
        let middle = scene.fork(again);
        let joined = scene.namespaces(init);
        scene.change_namespaces(middle, NamespaceCall::Setns, 0, 0, |ns| *ns = joined);
        let session = scene.fork(middle);
        for stage in [middle, again] {
            scene.end(stage, WaitStatus::exited(0));
        }
        scene.exec(session);
        let [verdict] = &scene.expect("PT112", &[Outcome::Pass])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.subject.process.map(|process| process.id),
            Some(session)
        );
    }
}
