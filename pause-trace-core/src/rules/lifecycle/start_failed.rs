//! PT212: what a runtime starts to make a pod does what it is asked for.

use crate::{rules::prelude::*, state::StepEnd};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT212",
        name: "start-failed",
        severity: Severity::Warning,
        summary: "a program that the start of a pod or container needs failed",
        doc: "\
## What it checks
The programs that a runtime executes to start a pod must exit with 0: a CNI plugin that adds an \
interface (`ADD`), an OCI runtime that creates or starts a container (`runc create`, `runc start`), \
and the start of a shim. The finding names the program, how it ended, how long it took, and what it \
had started that failed before it: the plugin that it delegated to, or an OCI hook. Before there is \
a cgroup, the pod is known from what the runtime tells the plugin (`CNI_ARGS`). Not checked: programs \
that stop or query something (`DEL`, `CHECK`, `runc delete`, `kill`, `state`, `exec`), `runc run`, \
which ends with the status of the container, and containers outside pods.

## Why it matters
The pod or container does not start, and no container shows why: a network plugin fails before the \
sandbox exists, and a runtime that cannot execute a command removes the container again. The kubelet \
tries again, later each time.

## How to fix it
For a plugin, look at its configuration in `/etc/cni/net.d` and at the log of the runtime, which has \
the error that the plugin printed; a range without free addresses and a file that is locked are \
frequent reasons. For `runc create`, check the command of the container, its working directory, its \
mounts and its limits. For an OCI hook, run it by hand. If a program was killed, the runtime gave up \
waiting for it, or the OOM killer chose it.

## Example
    portmap ADD failed: exit code 1 after 3.0 s

## Source
CNI specification, \"CNI operations\"; OCI runtime specification, \"Lifecycle\".
",
        needs: &[Kind::Exec, Kind::Exit, Kind::Call],
    },
    on: &[On::StepEnded],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::StepEnded(step) = change else {
        return;
    };
    // Outside pods, a container that cannot be started concerns only who asked for it.
    let Some(pod) = &step.pod else {
        return;
    };
    let is_declared = context.state.pods.contains_key(pod);
    let subject = Subject {
        pod: Some(pod.clone()),
        container: step.container.clone(),
        ..Subject::default()
    };
    if step.is_doubtful {
        if is_declared {
            sink.inconclusive(subject, || details(step));
        }
    } else if !step.has_succeeded() {
        let subject = Subject {
            process: Some(ProcessRef {
                id: step.process,
                ns_pid: step.ns_pid,
                comm: step.comm,
            }),
            ..subject
        };
        sink.fail(subject, || details(step));
    } else if is_declared {
        sink.pass(subject, || {
            Details::new(format!("{} succeeded", step.name()))
                .observed("took", Value::Duration(step.took()))
        });
    }
}

fn details(step: &StepEnd) -> Details {
    let (name, pid) = (step.name(), step.process.pid);
    let after = Duration(step.took());
    let status = step.status;
    let because = step.cause.as_ref().map_or_else(String::new, |cause| {
        format!("; its {} (pid {}): {}", cause.what, cause.pid, cause.status)
    });
    let details = Details::new(format!("{name} failed: {status} after {after}{because}"))
        .expected("status", Value::Status(WaitStatus::exited(0)))
        .observed("status", Value::Status(status))
        .observed("took", Value::Duration(step.took()))
        .evidence(step.began, format!("{name} (pid {pid}) was forked"));
    let details = match &step.request {
        Request::Cni(request) => {
            let CniRequest {
                sandbox,
                interface,
                netns,
                ..
            } = request;
            details
                .observed("interface", Value::Text(interface.to_string()))
                .observed("sandbox", Value::Text(sandbox.to_string()))
                .observed("netns", Value::Text(netns.to_string()))
        }
        Request::Oci(request) => {
            details.observed("container", Value::Text(request.container.to_string()))
        }
    };
    let details = match &step.cause {
        Some(cause) => details.evidence(
            cause.time,
            format!("{} (pid {}) ended: {}", cause.what, cause.pid, cause.status),
        ),
        None => details,
    };
    details.evidence(step.ended, format!("{name} (pid {pid}) ended: {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rules::testing::*, signal::SIGKILL};

    const FAILED: WaitStatus = WaitStatus(1 << 8);

    /// A process of the runtime executes a program that is asked for this.
    fn start(scene: &mut Scene, parent: ProcessId, file: &str, request: Request) -> ProcessId {
        let process = scene.enter(parent, 1, HOST, 0, "x");
        call(scene, process, file, request);
        process
    }

    fn call(scene: &mut Scene, process: ProcessId, file: &str, request: Request) {
        scene.push(Fact::Called(Called { process, request }));
        scene.exec_as(process, file);
    }

    fn cni(command: CniCommand) -> Request {
        Request::Cni(CniRequest {
            command,
            sandbox: Text::new("sandbox-of-web"),
            interface: Text::new("eth0"),
            namespace: Text::new("default"),
            name: Text::new("web"),
            uid: Text::new("uid-of-web"),
            ..CniRequest::default()
        })
    }

    fn oci(command: OciCommand, container: &str) -> Request {
        Request::Oci(OciRequest {
            command,
            container: Text::new(container),
            namespace: Text::default(),
        })
    }

    /// The messages of the failures.
    #[track_caller]
    fn failures(scene: &Scene) -> Vec<String> {
        let verdicts = scene.verdicts("PT212").into_iter();
        let failed = verdicts.filter(|verdict| verdict.outcome == Outcome::Fail);
        failed
            .inspect(|verdict| assert_eq!(verdict.severity(), Severity::Warning))
            .map(|verdict| verdict.details.message)
            .collect()
    }

    #[test]
    fn a_plugin_that_fails_is_found_before_any_container_exists() {
        let mut scene = Scene::new();
        let runtime = scene.runtime;
        let bridge = start(
            &mut scene,
            runtime,
            "/opt/cni/bin/bridge",
            cni(CniCommand::Add),
        );
        scene.end(bridge, WaitStatus::exited(0));
        let portmap = start(
            &mut scene,
            runtime,
            "/opt/cni/bin/portmap",
            cni(CniCommand::Add),
        );
        scene.wait_ms(3_000);
        scene.end(portmap, FAILED);
        let verdicts = scene.expect("PT212", &[Outcome::Fail]);
        assert_eq!(verdicts[0].subject.pod.as_deref(), Some("uid-of-web"));
        let said = &verdicts[0].details.message;
        assert!(
            said.starts_with("portmap ADD failed: exit code 1 after 3.0"),
            "{said}"
        );
        assert!(format!("{:?}", verdicts[0].details.observed).contains("eth0"));
    }

    #[test]
    fn a_failed_delegate_is_the_reason_and_no_finding_of_its_own() {
        let mut scene = Scene::new();
        let runtime = scene.runtime;
        let bridge = start(
            &mut scene,
            runtime,
            "/opt/cni/bin/bridge",
            cni(CniCommand::Add),
        );
        let ipam = start(
            &mut scene,
            bridge,
            "/opt/cni/bin/host-local",
            cni(CniCommand::Add),
        );
        scene.end(ipam, FAILED);
        scene.end(bridge, FAILED);
        let said = failures(&scene);
        assert_eq!(said.len(), 1, "{said:?}");
        let end = format!("; its host-local ADD (pid {}): exit code 1", ipam.pid);
        assert!(
            said[0].starts_with("bridge ADD failed") && said[0].ends_with(&end),
            "{said:?}"
        );
    }

    #[test]
    fn what_a_plugin_tries_and_survives_is_no_failure() {
        let mut scene = Scene::new();
        let runtime = scene.runtime;
        let portmap = start(
            &mut scene,
            runtime,
            "/opt/cni/bin/portmap",
            cni(CniCommand::Add),
        );
        // It inherits the environment.
        let iptables = start(
            &mut scene,
            portmap,
            "/usr/sbin/iptables",
            cni(CniCommand::Add),
        );
        scene.end(iptables, FAILED);
        scene.end(portmap, WaitStatus::exited(0));
        scene.expect("PT212", &[]);
    }

    #[test]
    fn only_what_starts_something_is_judged() {
        use OciCommand::{Delete, Exec, Kill, Run, Serve, State};
        let near = [cni(CniCommand::Del), cni(CniCommand::Check)];
        let of_runc = [Delete, Exec, Kill, Run, Serve, State].map(|command| oci(command, "app"));
        for request in near.into_iter().chain(of_runc) {
            let mut scene = Scene::new();
            scene.pod("p");
            scene.container("p", "app");
            let runtime = scene.runtime;
            let process = start(&mut scene, runtime, "/usr/sbin/runc", request.clone());
            scene.end(process, FAILED);
            assert_eq!(failures(&scene), [""; 0], "{request:?}");
        }
    }

    #[test]
    fn a_program_that_was_asked_for_nothing_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let probe = scene.enter(scene.runtime, 1, HOST, 0, "runc");
        scene.exec_as(probe, "/usr/sbin/runc");
        scene.end(probe, FAILED);
        scene.expect("PT212", &[]);
    }

    #[test]
    fn a_runtime_that_fails_or_is_killed_is_the_containers_finding() {
        for (status, how) in [
            (FAILED, "exit code 1"),
            (WaitStatus::killed(SIGKILL), "killed by SIGKILL"),
        ] {
            for command in [OciCommand::Create, OciCommand::Start] {
                let mut scene = Scene::new();
                scene.pod("p");
                scene.declare_container("p", "app", ContainerKind::App, &Modes::plain());
                let runtime = scene.runtime;
                let runc = start(&mut scene, runtime, "/usr/sbin/runc", oci(command, "app"));
                // runc's own init, which it kills when something fails.
                let init = scene.enter(runc, 1, HOST, 0, "runc");
                scene.exec_file(init, "/proc/self/exe");
                scene.end(init, WaitStatus::killed(SIGKILL));
                scene.end(runc, status);
                let verdicts = scene.expect("PT212", &[Outcome::Fail]);
                assert_eq!(verdicts[0].subject.container.as_deref(), Some("app"));
                let said = &verdicts[0].details.message;
                let begin = format!("runc {} failed: {how} after", command.name());
                assert!(said.starts_with(&begin) && !said.contains("its"), "{said}");
            }
        }
    }

    #[test]
    fn a_hook_that_fails_is_the_reason() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.declare_container("p", "app", ContainerKind::App, &Modes::plain());
        let runtime = scene.runtime;
        let create = oci(OciCommand::Create, "app");
        let runc = start(&mut scene, runtime, "/usr/sbin/runc", create);
        let hook = scene.fork(runc);
        scene.exec_as(hook, "/opt/hooks/check");
        scene.end(hook, WaitStatus::exited(3));
        scene.end(runc, FAILED);
        let said = failures(&scene);
        let end = format!(
            "; its OCI hook /opt/hooks/check (pid {}): exit code 3",
            hook.pid
        );
        assert!(said.len() == 1 && said[0].ends_with(&end), "{said:?}");
    }

    #[test]
    fn a_container_that_is_not_declared_is_known_from_its_shim() {
        let mut scene = Scene::new();
        scene.pod("p");
        let sandbox = scene.events.iter().find_map(|event| match &event.fact {
            Fact::Container(fact) => Some(fact.container.to_string()),
            _ => None,
        });
        let sandbox = sandbox.expect("a sandbox");
        let runtime = scene.runtime;
        let serve = oci(OciCommand::Serve, &sandbox);
        let shim = start(&mut scene, runtime, "/bin/containerd-shim", serve);
        let create = oci(OciCommand::Create, "unknown");
        let runc = start(&mut scene, shim, "/usr/sbin/runc", create);
        scene.end(runc, FAILED);
        let verdicts = scene.expect("PT212", &[Outcome::Fail]);
        assert_eq!(verdicts[0].subject.pod.as_deref(), Some("p"));
    }

    #[test]
    fn a_container_outside_pods_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let runtime = scene.runtime;
        let create = oci(OciCommand::Create, "standalone");
        let runc = start(&mut scene, runtime, "/usr/sbin/runc", create);
        scene.end(runc, FAILED);
        scene.expect("PT212", &[]);
    }

    #[test]
    fn a_script_that_executes_the_runtime_is_one_step() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.declare_container("p", "app", ContainerKind::App, &Modes::plain());
        let runtime = scene.runtime;
        let create = || oci(OciCommand::Create, "app");
        let runc = start(&mut scene, runtime, "/run/runc", create());
        let test = scene.fork(runc);
        scene.exec_as(test, "/bin/grep");
        scene.end(test, FAILED);
        call(&mut scene, runc, "/run/real/runc", create());
        scene.end(runc, FAILED);
        let said = failures(&scene);
        assert!(said.len() == 1 && !said[0].contains("grep"), "{said:?}");
    }

    #[test]
    fn a_start_that_succeeds_passes_unless_records_were_lost() {
        for (lost, outcome) in [(false, Outcome::Pass), (true, Outcome::Inconclusive)] {
            let mut scene = Scene::new();
            scene.pod("p");
            scene.container("p", "app");
            let runtime = scene.runtime;
            if lost {
                scene.lose(Kind::Call, 1);
            }
            let create = oci(OciCommand::Create, "app");
            let runc = start(&mut scene, runtime, "/usr/sbin/runc", create);
            scene.end(runc, WaitStatus::exited(0));
            scene.expect("PT212", &[outcome]);
        }
    }

    #[test]
    fn a_program_that_no_runtime_started_is_not_believed() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "app");
        let create = oci(OciCommand::Create, "app");
        let stranger = scene.stranger;
        let runc = start(&mut scene, stranger, "/tmp/runc", create);
        scene.end(runc, FAILED);
        scene.expect("PT212", &[Outcome::Inconclusive]);
    }
}
