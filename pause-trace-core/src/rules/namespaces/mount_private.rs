//! PT107: a container has its mount namespace for itself.

use super::membership::{self, Holder};
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT107",
    name: "mount-private",
    severity: Severity::Error,
    summary: "two containers, or a container and the host, share a mount namespace",
    doc: "\
## What it checks
When a container's entrypoint (or a pause) executes, no living process of another container, and not the host, may be in \
its mount namespace. Exec sessions share their container's on purpose and are not compared. A number that a dead container \
had counts for nothing: the kernel gives it out again.

## Why it matters
The mount namespace is what makes a container's file system its own, and Kubernetes never shares it. In the host's, a \
container sees the node's files, the kubelet's credentials and every other pod's volumes; in another container's, it runs \
that image's binaries, and volumes that were meant for one are open to both.

## How to fix it
`linux.namespaces` in the container's OCI bundle must list `mount`, without a path. Compare `ls -l /proc/PID/ns/mnt` of \
both.

## Example
    expected mnt of its own, observed 4026531841 (the host's)

## Source
runtime-spec `linux.namespaces`; mount_namespaces(7); CRI, whose `NamespaceOption` has no mode for mounts.
",
    needs: &[Kind::Exec, Kind::Fork, Kind::Exit, Kind::CgroupAttach],
    on: &[On::Executed],
    judge,
};

const MNT: NamespaceKind = NamespaceKind::Mnt;

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Executed(id) = change else { return };
    let Some((process, container, _)) = membership::first_exec(context, *id, Role::Pause)
        .or_else(|| membership::first_exec(context, *id, Role::Init))
    else {
        return;
    };
    let mnt = process.namespaces.mnt;
    let details = |message: String| {
        Details::new(message)
            .observed("mnt", Value::Namespace(mnt))
            .with_exec(context, process, MNT, mnt)
    };
    match membership::holder(context, container, MNT, mnt) {
        Some(Holder { whose, since }) => {
            membership::fail(context, process, container, since, sink, || {
                details(format!(
                    "{} executed in mnt {mnt}, {whose}, instead of in one of its own",
                    process.comm
                ))
                .expected("mnt", Value::Text("its own".to_owned()))
            })
        }
        None if context.state.host.mnt == 0 => {
            sink.inconclusive(Subject::process(process), || {
                details("the host's namespaces are not known".to_owned())
            });
        }
        None => sink.pass(Subject::process(process), || {
            details(format!("mnt {mnt} is its own"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn containers_and_pause_with_their_own_pass_whatever_sessions_do() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.session_with(init, |_| {});
        scene.container("p", "b");
        scene.expect("PT107", &[Outcome::Pass; 3]);
    }

    #[test]
    fn two_containers_in_one_fail_at_the_second() {
        let mut scene = Scene::new();
        scene.pod("p");
        let first = scene.container("p", "a");
        let mnt = scene.namespaces(first).mnt;
        scene.container_with("p", "b", Modes::plain(), |ns| ns.mnt = mnt);
        let verdicts = scene.expect("PT107", &[Outcome::Pass, Outcome::Pass, Outcome::Fail]);
        assert!(
            verdicts[2].details.message.contains("container a's"),
            "{}",
            verdicts[2].details.message
        );
    }

    #[test]
    fn the_hosts_fails_for_a_container_and_for_a_pause() {
        let mut scene = Scene::new();
        scene.pod_with("p", Modes::plain(), |ns| ns.mnt = HOST.mnt);
        scene.container_with("p", "a", Modes::plain(), |ns| ns.mnt = HOST.mnt);
        scene.expect("PT107", &[Outcome::Fail, Outcome::Fail]);
    }

    #[test]
    fn another_pods_fails() {
        let mut scene = Scene::new();
        scene.pod("q");
        let other = scene.container("q", "x");
        let mnt = scene.namespaces(other).mnt;
        scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.mnt = mnt);
        let verdicts = scene.verdicts("PT107");
        let last = &verdicts[verdicts.len() - 1];
        assert_eq!(last.outcome, Outcome::Fail);
        assert!(
            last.details
                .message
                .contains("container x's of pod default/q"),
            "{}",
            last.details.message
        );
    }

    #[test]
    fn a_number_that_a_dead_container_had_is_free_again() {
        let mut scene = Scene::new();
        scene.pod("p");
        let first = scene.container("p", "a");
        let mnt = scene.namespaces(first).mnt;
        scene.exit(first, WaitStatus::exited(1)); // not reaped: a zombie is in no mount namespace
        scene.container_with("p", "b", Modes::plain(), |ns| ns.mnt = mnt);
        scene.expect("PT107", &[Outcome::Pass; 3]);
    }

    #[test]
    fn who_may_have_ended_unseen_is_not_held_against_anyone() {
        let mut scene = Scene::new();
        scene.pod("p");
        let first = scene.container("p", "a");
        let mnt = scene.namespaces(first).mnt;
        scene.lose(Kind::Exit, 1);
        scene.container_with("p", "b", Modes::plain(), |ns| ns.mnt = mnt);
        let verdicts = scene.verdicts("PT107");
        assert!(
            verdicts
                .iter()
                .all(|verdict| verdict.outcome != Outcome::Fail),
            "{verdicts:#?}"
        );
    }

    #[test]
    fn the_runtimes_own_processes_are_no_containers() {
        let mut scene = Scene::new();
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        // `runc init` on its way, still in the host's namespace, in the cgroup of the container.
        scene.enter(scene.runtime, cgroup, HOST, 0, "runc:[1:CHILD]");
        scene.container("p", "b");
        scene.expect("PT107", &[Outcome::Pass, Outcome::Pass]);
    }
}
