//! How findings say that a process came into another namespace.

use super::membership::{self, call_name};
use crate::{
    rules::prelude::*,
    state::{Door, Seen, ThreadCall},
};

/// The parts of the sentence `VERB net namespace 7 BY; WAS`.
pub(super) struct Words {
    /// `entered`, `was forked in`, `was cloned into`.
    pub(super) verb: &'static str,
    /// `by setns`.
    pub(super) by: String,
    /// `it was in 6`.
    pub(super) was: String,
}

/// The words for a process that came from one namespace into another.
pub(super) fn words(process: &Process, thread: Option<u32>, door: &Door, from: u32) -> Words {
    let parent = process.born_of.pid;
    match door {
        Door::Call(call) => Words {
            verb: "entered",
            by: format!("by {}", call_name(*call)),
            was: match thread {
                None => format!("it was in {from}"),
                Some(_) => format!("the process stays in {from}"),
            },
        },
        Door::Thread(ThreadCall { tid, call, .. }, Seen::Fork) => Words {
            verb: "was forked in",
            by: format!(
                "by thread {tid} of pid {parent}, which had called {}",
                call_name(*call)
            ),
            was: format!("pid {parent} itself is in {from}"),
        },
        Door::Thread(ThreadCall { tid, call, .. }, _) => Words {
            verb: "entered",
            by: format!(
                "by the exec of its thread {tid}, which had called {}",
                call_name(*call)
            ),
            was: format!("it was in {from}"),
        },
        Door::Cloned => Words {
            verb: "was cloned into",
            by: format!("by pid {parent}"),
            was: format!("pid {parent} is in {from}"),
        },
        Door::Unseen(Seen::Fork) => Words {
            verb: "was forked in",
            by: format!("by pid {parent}, whose call was not seen"),
            was: format!("pid {parent} was last seen in {from}"),
        },
        Door::Unseen(_) => Words {
            verb: "entered",
            by: "by a call that was not seen".to_owned(),
            was: format!("it was last seen in {from}"),
        },
    }
}

/// Adds what shows that a process is in a namespace.
pub(super) fn with_evidence(
    details: Details,
    context: &Context<'_>,
    (process, thread): (&Process, Option<u32>),
    door: &Door,
    (kind, to): (NamespaceKind, u32),
) -> Details {
    let (now, name, pid) = (context.now, kind.name(), process.id.pid);
    let parent = process.born_of.pid;
    let unseen = |at: String| {
        format!(
            "{at} in {name} namespace {to}; the call that led there was not seen (a 32-bit system \
             call, a call from before the start, or a lost record)"
        )
    };
    match door {
        Door::Call(call) => {
            let caller = membership::short_caller(process, thread);
            details.evidence(now, format!("{caller} called {}", call_name(*call)))
        }
        Door::Thread(of_thread, seen) => {
            let (who, then) = match seen {
                Seen::Fork => (parent, format!("pid {parent} forked pid {pid}")),
                _ => (pid, format!("pid {pid} executed")),
            };
            let (tid, call) = (of_thread.tid, call_name(of_thread.call));
            details
                .evidence(
                    of_thread.time,
                    format!("thread {tid} of pid {who} called {call}"),
                )
                .evidence(now, format!("{then} in {name} namespace {to}"))
        }
        Door::Cloned => details.evidence(
            now,
            format!("pid {parent} forked pid {pid} with a {name} namespace of its own, {to}"),
        ),
        Door::Unseen(Seen::Fork) => {
            details.evidence(now, unseen(format!("pid {parent} forked pid {pid}")))
        }
        Door::Unseen(Seen::Exec) => details.evidence(now, unseen(format!("pid {pid} executed"))),
        Door::Unseen(Seen::Exit) => details.evidence(now, unseen(format!("pid {pid} exited"))),
        Door::Unseen(Seen::Call) => details.evidence(
            now,
            unseen(format!("pid {pid} called setns or unshare while it was")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    const NET: u64 = NamespaceKind::Net.flag();
    const MNT: u64 = NamespaceKind::Mnt.flag();

    #[test]
    fn a_join_that_no_hook_saw_fails_at_the_next_exec_or_exit_or_call() {
        type Then = fn(&mut Scene, ProcessId);
        let records: [(Then, &str); 3] = [
            (|scene, member| scene.exec(member), "executed"),
            (
                |scene, member| scene.end(member, WaitStatus::exited(0)),
                "exited",
            ),
            (
                |scene, member| {
                    scene
                        .change_namespaces(member, NamespaceCall::Unshare, MNT, 0, |ns| ns.mnt = 78)
                },
                "called setns or unshare while it was",
            ),
        ];
        for (then, record) in records {
            let mut scene = Scene::new();
            let other = scene.pod("q");
            let foreign = scene.namespaces(other).net;
            scene.pod("p");
            let init = scene.container("p", "a");
            let home = scene.namespaces(init).net;
            let member = scene.fork(init);
            scene.exec(member);
            scene.move_unseen(member, |ns| ns.net = foreign);
            then(&mut scene, member);
            scene.end(init, WaitStatus::exited(0));
            let [verdict] = &scene.expect("PT109", &[Outcome::Fail])[..] else {
                panic!("one verdict")
            };
            assert_eq!(verdict.severity(), Severity::Error);
            let pid = member.pid;
            assert_eq!(
                verdict.details.message,
                format!(
                    "a (pid {pid}) entered net namespace {foreign} of pod default/q by a call that \
                     was not seen; it was last seen in {home}"
                )
            );
            let what = &verdict.details.evidence[1].what;
            let expected = format!("pid {pid} {record} in net namespace {foreign}; the call");
            assert!(what.starts_with(&expected), "{what}");
            scene.expect("PT110", &[Outcome::Fail]);
            // What a process enters outside its pod is left to PT109.
            scene.expect("PT108", &[Outcome::Pass]);
        }
    }

    #[test]
    fn an_unseen_join_is_judged_for_every_kind_of_namespace() {
        for kind in NamespaceKind::ALL {
            let mut scene = Scene::new();
            scene.pod_with(
                "p",
                Modes {
                    user: Mode::Pod,
                    ..Modes::plain()
                },
                |ns| ns.cgroup = 79,
            );
            let init = scene.container("p", "a");
            let member = scene.fork(init);
            let spoil = |scene: &mut Scene| {
                scene.move_unseen(member, |ns| match kind {
                    NamespaceKind::Mnt => ns.mnt = HOST.mnt,
                    NamespaceKind::Uts => ns.uts = HOST.uts,
                    NamespaceKind::Ipc => ns.ipc = HOST.ipc,
                    NamespaceKind::Net => ns.net = HOST.net,
                    NamespaceKind::Pid => ns.pid_children = HOST.pid,
                    NamespaceKind::User => ns.user = HOST.user,
                    NamespaceKind::Cgroup => ns.cgroup = HOST.cgroup,
                });
            };
            let is_moved = scene.namespaces(member).of_children(kind) != HOST.of_children(kind);
            spoil(&mut scene);
            scene.exec(member);
            let outcomes: &[_] = if is_moved { &[Outcome::Fail] } else { &[] };
            scene.expect("PT109", outcomes);
            assert!(is_moved || kind == NamespaceKind::Cgroup, "{kind:?}");
        }
    }

    #[test]
    fn an_unseen_move_into_an_unknown_namespace_is_inconclusive_and_no_pass() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let member = scene.fork(init);
        scene.move_unseen(member, |ns| ns.mnt = 77);
        scene.exec(member);
        scene.expect("PT109", &[Outcome::Inconclusive]);
    }

    #[test]
    fn an_unseen_join_of_the_pods_own_namespaces_is_no_escape() {
        let mut scene = Scene::new();
        scene.pod("p");
        let first = scene.container("p", "a");
        let mnt = scene.namespaces(first).mnt;
        let second = scene.container("p", "b");
        scene.move_unseen(second, |ns| ns.mnt = mnt);
        scene.exec(second);
        scene.end(second, WaitStatus::exited(0));
        scene.expect("PT109", &[Outcome::Pass]);
    }

    #[test]
    fn a_process_that_a_moved_thread_forks_or_becomes_is_an_error() {
        for forks in [true, false] {
            let mut scene = Scene::new();
            scene.pod("p");
            let init = scene.container("p", "a");
            let home = scene.namespaces(init).mnt;
            scene.change_thread(init, NamespaceCall::Setns, MNT, |ns| ns.mnt = HOST.mnt);
            let moved = match forks {
                true => scene.fork_in(init, |ns| ns.mnt = HOST.mnt),
                false => {
                    scene.move_unseen(init, |ns| ns.mnt = HOST.mnt);
                    scene.exec(init);
                    init
                }
            };
            let [of_thread, of_process] = &scene.expect("PT109", &[Outcome::Fail; 2])[..] else {
                panic!("two verdicts")
            };
            assert_eq!(of_thread.severity(), Severity::Info);
            assert_eq!(of_process.severity(), Severity::Error);
            assert_eq!(of_process.subject.thread, None);
            let tid = of_thread.subject.thread.expect("the thread");
            let (pid, child, host) = (init.pid, moved.pid, HOST.mnt);
            let expected = match forks {
                true => format!(
                    "a (pid {child}) was forked in mnt namespace {host} of the host by thread \
                     {tid} of pid {pid}, which had called setns; pid {pid} itself is in {home}"
                ),
                false => format!(
                    "a (pid {pid}) entered mnt namespace {host} of the host by the exec of its \
                     thread {tid}, which had called setns; it was in {home}"
                ),
            };
            assert_eq!(of_process.details.message, expected);
        }
    }

    #[test]
    fn a_child_of_a_process_that_moved_unseen_is_an_error() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork_in(init, |ns| ns.net = HOST.net);
        let [verdict] = &scene.expect("PT109", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let (child, pid, host) = (child.pid, init.pid, HOST.net);
        let expected = format!(
            "a (pid {child}) was forked in net namespace {host} of the host by pid {pid}, whose \
             call was not seen"
        );
        let message = &verdict.details.message;
        assert!(message.starts_with(&expected), "{message}");
    }

    /// That a clone created one namespace does not excuse that the child is in another pod's.
    #[test]
    fn a_clone_after_an_unseen_join_created_no_namespace_of_another_pod() {
        let mut scene = Scene::new();
        let other = scene.pod("q");
        let foreign = scene.namespaces(other).net;
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.clone_with(init, |ns, _| (ns.net, ns.uts) = (foreign, 77));
        scene.expect("PT109", &[Outcome::Fail]);
        scene.expect("PT110", &[Outcome::Fail]);
    }

    #[test]
    fn an_unseen_unshare_of_the_entrypoint_is_a_warning_at_its_exec() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.move_unseen(init, |ns| ns.net = 77);
        scene.exec(init);
        scene.end(init, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT108", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Warning);
        let message = &verdict.details.message;
        assert!(
            message.contains("for 77 by a call that was not seen"),
            "{message}"
        );
    }

    #[test]
    fn a_child_cloned_into_a_new_network_is_an_info_about_the_child() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let home = scene.namespaces(init).net;
        let child = scene.clone_with(init, |ns, _| ns.net = 77);
        let grandchild = scene.fork(child);
        scene.exec(grandchild);
        scene.end(grandchild, WaitStatus::exited(0));
        scene.end(child, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT108", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Info);
        let (child, pid) = (child.pid, init.pid);
        let message = &verdict.details.message;
        let expected = format!(
            "a (pid {child}) was cloned into net namespace 77 instead of the shared {home} by pid \
             {pid}, "
        );
        assert!(message.starts_with(&expected), "{message}");
        scene.expect("PT109", &[]);
    }

    #[test]
    fn a_thread_that_unshares_and_executes_moves_its_process() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.change_thread(init, NamespaceCall::Unshare, NET, |ns| ns.net = 77);
        scene.move_unseen(init, |ns| ns.net = 77);
        scene.exec(init);
        let [of_thread, of_process] = &scene.expect("PT108", &[Outcome::Fail; 2])[..] else {
            panic!("two verdicts")
        };
        assert_eq!(of_thread.severity(), Severity::Info);
        assert_eq!(of_process.severity(), Severity::Warning);
        let message = &of_process.details.message;
        assert!(
            message.contains("by the exec of its thread") && message.contains("called unshare"),
            "{message}"
        );
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT109", &[Outcome::Pass]);
    }

    #[test]
    fn a_child_of_a_thread_that_never_left_the_shared_network_is_not_reported() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let home = scene.namespaces(init).net;
        scene.change_namespaces(init, NamespaceCall::Unshare, NET, 0, |ns| ns.net = 77);
        scene.fork_in(init, |ns| ns.net = home);
        // One is of the unshare of the first thread.
        scene.expect("PT108", &[Outcome::Fail]);
    }
}
