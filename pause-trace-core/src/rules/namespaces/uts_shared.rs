//! PT103: a pod's containers share the sandbox's uts namespace, or have the one that they request.

use super::membership;
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT103",
    name: "uts-shared",
    severity: Severity::Error,
    summary: "a pod's container runs in a uts namespace other than the requested one",
    doc: "\
## What it checks
When a container's entrypoint executes, its uts namespace must be the requested one. That is \
usually the sandbox's. For a pod with `hostNetwork`, containerd requests the node's, and Podman a \
private one, so this rule compares with the request and not with the network mode. In the \
reference pod it also compares the host names that two containers see.

## Why it matters
A pod has one host name, and all its containers must see it: clustered software derives its \
identity from it. A container in the node's uts namespace has the node's host name, and with \
CAP_SYS_ADMIN can change it for the whole node.

## How to fix it
Compare `ls -l /proc/PID/ns/uts` of the container and of its pause, and the uts entry of \
`linux.namespaces` in the OCI bundles of the container and of its sandbox.

## Example
    nginx executed in uts namespace 4026531838 of the host instead of 4026532176 of the pause (pid \
812)

## Source
Kubernetes: DNS for Services and Pods, \"Pod's hostname\"; runtime-spec `linux.namespaces`; \
uts_namespaces(7).
",
    needs: &[Kind::Exec, Kind::Fork, Kind::Exit, Kind::CgroupAttach],
    on: &[On::Executed, On::Ended, On::Observed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Executed(_) | Change::Ended(_) => {
            membership::judge(context, change, NamespaceKind::Uts, sink);
        }
        Change::Observed(observation) if observation.what == Observed::Hostname => {
            membership::judge_use(context, observation, sink);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn containers_that_joined_pass() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.container("p", "b");
        scene.expect("PT103", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_container_with_a_namespace_of_its_own_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.uts = 77);
        let [verdict] = &scene.expect("PT103", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.details.expected,
            [("uts", Value::Namespace(scene.namespaces(pause).uts))]
        );
        assert_eq!(verdict.details.observed, [("uts", Value::Namespace(77))]);
    }

    #[test]
    fn a_host_network_pod_must_have_the_declared_namespace() {
        let mut containerd = Scene::new();
        containerd.pod_with(
            "p",
            Modes {
                net: Mode::Node,
                uts: Mode::Node,
                ..Modes::plain()
            },
            |_| {},
        );
        containerd.container("p", "a");
        containerd.expect("PT103", &[Outcome::Pass]);

        let mut podman = Scene::new();
        podman.pod_with(
            "p",
            Modes {
                net: Mode::Node,
                ..Modes::plain()
            },
            |_| {},
        );
        podman.container("p", "a");
        podman.container_with(
            "p",
            "b",
            Modes {
                net: Mode::Node,
                ..Modes::plain()
            },
            |ns| ns.uts = HOST.uts,
        );
        podman.expect("PT103", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn a_private_namespace_passes_if_requested() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container_with(
            "p",
            "a",
            Modes {
                uts: Mode::Container,
                ..Modes::plain()
            },
            |ns| ns.uts = 77,
        );
        scene.expect("PT103", &[Outcome::Pass]);
    }

    #[test]
    fn host_names_are_compared() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", Observed::Hostname, true, "p");
        scene.observe(
            "p",
            "a",
            Observed::Hostname,
            false,
            "node-1 \u{1b}[2J instead of p",
        );
        let verdicts = scene.expect("PT103", &[Outcome::Pass, Outcome::Fail]);
        assert!(
            verdicts[1].details.message.contains(r"\u{1b}"),
            "{}",
            verdicts[1].details.message
        );
    }
}
