//! PT903: it is known whose a container is.

use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT903",
    name: "identity-unknown",
    severity: Severity::Warning,
    summary: "a container could not be tied to a pod or to what was asked for",
    doc: "\
## What it checks
A process executed in namespaces that are not the host's, in a cgroup that no runtime has declared to be a \
container's within the limit (10 s on a node). Nothing can be said of it: which namespaces it should have depends on \
what its pod asked for.

## Why it matters
A container that is not known is not checked. It may be one that the runtime's answer did not reach us for, or one \
that no runtime knows of.

## How to fix it
See that the runtime's socket can be reached (`pause-trace doctor`), and that the state directory with the OCI \
bundles (`/run/containerd`, `/run/crio`, `/run/containers`) is mounted where the tracer runs. A sandboxed service of \
the node, as systemd makes them, can be left out by not watching its cgroup.

## Example
    pid 4711 executed /bin/nginx in /kubepods/pod1234/abcd, which no runtime has declared for 10.00 s

## Source
CRI `ContainerStatus`; OCI runtime specification, \"annotations\" and \"cgroupsPath\".
",
    needs: &[],
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
            let path = match state.cgroup_path(cgroup) {
                Some(path) => path.to_string(),
                None => format!("cgroup {cgroup}"),
            };
            let (pid, file) = (process.id.pid, process.executable());
            let limit = Duration(state.limits.identity);
            let namespaces = &process.namespaces;
            Details::new(format!(
                "pid {pid} executed {file} in {path}, which no runtime has declared for {limit}"
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

    /// A container that a runtime has started, in a cgroup that was made and not declared.
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
    fn a_container_that_nobody_declares_is_inconclusive() {
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
            message.contains(r"executed /bin/nginx in /kubepods/a\u{1b}b, which"),
            "{message}"
        );
    }

    #[test]
    fn what_is_in_no_pod_is_not_asked_for() {
        let mut scene = Scene::new();
        unknown(&mut scene, 900, "/docker/a");
        scene.push(Fact::NotInPod { cgroup: 900 });
        scene.wait_ms(1_000);
        scene.expect("PT903", &[]);
    }

    #[test]
    fn each_cgroup_is_told_once() {
        let mut scene = Scene::new();
        unknown(&mut scene, 900, "/a");
        unknown(&mut scene, 900, "/a");
        unknown(&mut scene, 901, "/b");
        scene.wait_ms(1_000);
        scene.expect("PT903", &[Outcome::Inconclusive, Outcome::Inconclusive]);
    }

    #[test]
    fn a_container_that_is_declared_late_is_known() {
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
    fn processes_of_the_node_are_nobodys() {
        let mut scene = Scene::new();
        let stranger = scene.stranger;
        scene.exec(stranger);
        let child = scene.fork(scene.runtime);
        scene.exec(child);
        scene.wait_ms(5_000);
        scene.expect("PT903", &[]);
    }

    #[test]
    fn a_network_plugin_in_a_pods_namespace_is_the_runtimes() {
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
