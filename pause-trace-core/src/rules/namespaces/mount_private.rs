//! PT107: no other container shares a container's mount namespace.

use super::membership::{self, Holder};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT107",
        name: "mount-private",
        severity: Severity::Error,
        summary: "a container shares its mount namespace with another container or the host",
        doc: "\
## What it checks
When a container's entrypoint or a pause executes, neither the host nor a living process of \
another container may be in its mount namespace. Exec sessions join their container's mount \
namespace by design and are not compared. Namespaces of dead containers are not compared, because \
the kernel reuses inode numbers.

## Why it matters
The mount namespace separates a container's file system from all others, and Kubernetes never \
shares it. In the host's, a container sees the node's files, the kubelet's credentials and the \
volumes of every pod. In another container's, it runs the binaries of that image, and each \
container has access to the other's volumes.

## How to fix it
`linux.namespaces` in the container's OCI bundle must list `mount` without a path. Compare `ls -l \
/proc/PID/ns/mnt` of both processes.

## Example
    nginx executed in mnt namespace 4026531841 of the host instead of in its own

## Source
runtime-spec `linux.namespaces`; mount_namespaces(7); CRI, whose `NamespaceOption` has no mode for \
mounts.
",
        needs: &[Kind::Exec, Kind::Fork, Kind::Exit, Kind::CgroupAttach],
    },
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
        Some(Holder { name, since }) => {
            membership::fail(context, process, container, since, sink, || {
                details(format!(
                    "{} {} in mnt namespace {mnt} of {name} instead of in its own",
                    process.comm,
                    process.is_or_executed()
                ))
                .expected("mnt", Value::Text("its own".to_owned()))
            })
        }
        None if context.state.host.mnt == 0 => {
            sink.inconclusive(Subject::process(process), || {
                details("the host's namespaces are unknown".to_owned())
            });
        }
        None => sink.pass(Subject::process(process), || {
            details(format!("mnt namespace {mnt} is its own"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn containers_and_pause_with_their_own_namespaces_pass_despite_sessions() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.session_with(init, |_| {});
        scene.container("p", "b");
        scene.expect("PT107", &[Outcome::Pass; 3]);
    }

    #[test]
    fn the_second_container_in_a_shared_namespace_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        let first = scene.container("p", "a");
        let mnt = scene.namespaces(first).mnt;
        scene.container_with("p", "b", Modes::plain(), |ns| ns.mnt = mnt);
        let verdicts = scene.expect("PT107", &[Outcome::Pass, Outcome::Pass, Outcome::Fail]);
        assert!(
            verdicts[2]
                .details
                .message
                .contains("of container a instead of"),
            "{}",
            verdicts[2].details.message
        );
    }

    #[test]
    fn the_hosts_namespace_fails_for_a_container_and_for_a_pause() {
        let mut scene = Scene::new();
        scene.pod_with("p", Modes::plain(), |ns| ns.mnt = HOST.mnt);
        scene.container_with("p", "a", Modes::plain(), |ns| ns.mnt = HOST.mnt);
        scene.expect("PT107", &[Outcome::Fail, Outcome::Fail]);
    }

    #[test]
    fn another_pods_namespace_fails() {
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
                .contains("of container x of pod default/q"),
            "{}",
            last.details.message
        );
    }

    #[test]
    fn the_inode_number_of_a_dead_containers_namespace_may_be_reused() {
        let mut scene = Scene::new();
        scene.pod("p");
        let first = scene.container("p", "a");
        let mnt = scene.namespaces(first).mnt;
        scene.exit(first, WaitStatus::exited(1)); // not reaped: a zombie has no mount namespace
        scene.container_with("p", "b", Modes::plain(), |ns| ns.mnt = mnt);
        scene.expect("PT107", &[Outcome::Pass; 3]);
    }

    #[test]
    fn lost_exits_never_make_it_fail() {
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
    fn processes_of_the_runtime_are_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        // `runc init` in the container's cgroup, still in the host's namespace.
        scene.enter(scene.runtime, cgroup, HOST, 0, "runc:[1:CHILD]");
        scene.container("p", "b");
        scene.expect("PT107", &[Outcome::Pass, Outcome::Pass]);
    }
}
