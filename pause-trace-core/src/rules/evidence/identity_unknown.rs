//! PT903: every container is attributed to a pod.

use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT903",
        name: "identity-unknown",
        severity: Severity::Warning,
        summary: "a container could not be attributed to a pod",
        doc: "\
## What it checks
A process executed in namespaces other than the host's, in a cgroup that no runtime has declared \
as a container within the limit (10 s on a node). It cannot be verified, because the namespaces it \
must have depend on what its pod requests. The same is said of a container that was gone before \
its bundle could be read and its runtime asked.

## Why it matters
An unknown container is not verified. Either the runtime's answer is missing, or no runtime knows \
the container, or pause-trace read the kernel's events too late (it was stopped, or had no CPU time).

## How to fix it
Check that the runtime's socket can be reached (`pause-trace doctor`), and that the state \
directory with the OCI bundles (`/run/containerd`, `/run/crio`, `/run/containers`) is mounted \
where pause-trace runs. If the cgroup belongs to a sandboxed systemd service of the node, ignore \
the finding (`--ignore PT903` hides all findings of this rule).

## Example
    pid 4711 executed /bin/nginx in cgroup /kubepods/pod1234/abcd, and no runtime declared a \
container there within 10.00 s

## Source
CRI `ContainerStatus`; OCI runtime specification, \"annotations\" and \"cgroupsPath\".
",
        needs: &[],
    },
    on: &[On::IdentityDue],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::IdentityDue { process, cgroup } = *change else {
        return;
    };
    let state = context.state;
    let Some(process) = state.processes.get(process) else {
        return;
    };
    sink.about(Topic::Cgroup(cgroup))
        .inconclusive(Subject::process(process), || {
            let removed = state.path_of_removed(cgroup);
            let path = match state.cgroup_path(cgroup).or(removed) {
                Some(path) => path.to_string(),
                None => cgroup.to_string(),
            };
            let (pid, file) = (process.id.pid, process.executable());
            let limit = Duration(state.limits.identity);
            let namespaces = &process.namespaces;
            let why = match removed {
                Some(_) => {
                    "it was removed before its bundle or its runtime could tell which pod it is of"
                        .to_owned()
                }
                None => format!("no runtime declared a container there within {limit}"),
            };
            Details::new(format!(
                "pid {pid} executed {file} in cgroup {path}, and {why}"
            ))
            .expected("declared within", Value::Duration(state.limits.identity))
            .observed("cgroup", Value::Number(cgroup))
            .observed("net", Value::Namespace(namespaces.net))
            .observed("mnt", Value::Namespace(namespaces.mnt))
            .observed("pid", Value::Namespace(namespaces.pid))
            .evidence(
                context.now.saturating_sub(state.limits.identity),
                format!("exec of {file}"),
            )
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    /// A container that a runtime has started in a cgroup that no runtime declares.
    fn unknown(scene: &mut Scene, cgroup: CgroupId, path: &str) -> ProcessId {
        scene.push(Fact::CgroupMade {
            cgroup,
            path: Text::new(path),
        });
        let namespaces = Namespaces {
            mnt: 71,
            net: 72,
            pid: 73,
            pid_children: 73,
            pid_level: 1,
            ..HOST
        };
        let process = scene.enter(scene.runtime, cgroup, namespaces, 1, "nginx");
        scene.exec(process);
        process
    }

    #[test]
    fn an_undeclared_container_is_inconclusive() {
        let mut scene = Scene::new();
        let process = unknown(&mut scene, 900, "/kubepods/a\u{1b}b");
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT903", &[Outcome::Inconclusive]);
        assert_eq!(
            verdicts[0].subject.process.map(|process| process.id),
            Some(process)
        );
        let message = &verdicts[0].details.message;
        assert!(
            message.contains(r"executed /bin/nginx in cgroup /kubepods/a\u{1b}b, and no runtime"),
            "{message}"
        );
    }

    #[test]
    fn a_container_that_was_gone_before_it_was_identified_is_inconclusive() {
        let mut scene = Scene::new();
        let process = unknown(&mut scene, 900, "/kubepods/a");
        scene.end(process, WaitStatus::exited(0));
        scene.push(Fact::CgroupRemoved {
            cgroup: 900,
            path: Text::new("/kubepods/a"),
        });
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT903", &[Outcome::Inconclusive]);
        let message = &verdicts[0].details.message;
        assert!(
            message.contains("in cgroup /kubepods/a, and it was removed before"),
            "{message}"
        );
    }

    #[test]
    fn a_container_outside_every_pod_that_is_gone_is_not_reported() {
        let mut scene = Scene::new();
        let process = unknown(&mut scene, 900, "/docker/a");
        scene.end(process, WaitStatus::exited(0));
        let path = Text::new("/docker/a");
        scene.push(Fact::CgroupRemoved { cgroup: 900, path });
        scene.push(Fact::NotInPod { cgroup: 900 });
        scene.wait_ms(1_000);
        scene.expect("PT903", &[]);
    }

    #[test]
    fn a_container_outside_every_pod_is_not_reported() {
        let mut scene = Scene::new();
        unknown(&mut scene, 900, "/docker/a");
        scene.push(Fact::NotInPod { cgroup: 900 });
        scene.wait_ms(1_000);
        scene.expect("PT903", &[]);
    }

    #[test]
    fn each_cgroup_is_reported_once() {
        let mut scene = Scene::new();
        unknown(&mut scene, 900, "/a");
        unknown(&mut scene, 900, "/a");
        unknown(&mut scene, 901, "/b");
        scene.wait_ms(1_000);
        scene.expect("PT903", &[Outcome::Inconclusive, Outcome::Inconclusive]);
    }

    #[test]
    fn a_container_that_is_declared_within_the_limit_is_not_reported() {
        let mut scene = Scene::new();
        scene.pod("p");
        unknown(&mut scene, 900, "/a");
        scene.wait_ms(500);
        scene.push(Fact::Container(ContainerFact {
            container: "a".into(),
            pod: "p".into(),
            name: Text::new("a"),
            what: ContainerKind::App,
            cgroup: 900,
            modes: Modes::plain(),
            stop_signal: 15,
            sandbox: None,
            file: None,
            source: Source::Bundle,
        }));
        scene.wait_ms(5_000);
        scene.expect("PT903", &[]);
    }

    #[test]
    fn processes_of_the_node_are_not_reported() {
        let mut scene = Scene::new();
        let stranger = scene.stranger;
        scene.exec(stranger);
        let child = scene.fork(scene.runtime);
        scene.exec(child);
        scene.wait_ms(5_000);
        scene.expect("PT903", &[]);
    }

    #[test]
    fn a_cni_plugin_in_a_pods_namespace_is_not_reported() {
        let mut scene = Scene::new();
        let plugin = scene.enter(
            scene.runtime,
            1,
            Namespaces { net: 72, ..HOST },
            0,
            "iptables",
        );
        scene.exec(plugin);
        scene.wait_ms(5_000);
        scene.expect("PT903", &[]);
    }
}
