//! PT502: the pause is the declared program.

use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT502",
        name: "pause-identity",
        severity: Severity::Error,
        summary: "the pause executed another program than declared, or more than one program",
        doc: "\
## What it checks
The first program that executes in a sandbox is its pause, and it must be the only one: a second \
exec by the same process is a finding. If the runtime declares the pause's file, the executed file \
must be that one. A declared name without a slash is compared with the last part of the path. A \
file executed through a descriptor has no name and is not compared.

## Why it matters
The pause holds the pod's namespaces, and everything in the pod depends on it. A pause that is \
another program controls the pod's network, and `kubectl` does not show it.

## How to fix it
Compare the sandbox image in the runtime's configuration with the one on the node (`crictl images \
--digests`), and `/proc/PID/exe` of the pause with the file in that image. If the entrypoint is a \
shell script that finally executes the pause, make the pause itself the entrypoint.

## Example
    the pause (pid 812) executed /bin/sh instead of /pause

## Source
Kubernetes: build/pause/linux/pause.c; containerd's `sandbox_image`, CRI-O's `pause_image` and \
`pause_command`.
",
        needs: &[Kind::Exec],
    },
    on: &[On::Executed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Executed(id) = change else { return };
    let Some((process, container, _)) = context.inside(*id) else {
        return;
    };
    // The file of a pause that executed before pause-trace started is unknown.
    if process.role != Role::Pause || process.file.0.is_empty() {
        return;
    }
    let pid = process.id.pid;
    let executed = process.executed.unwrap_or(context.now);
    let (file, execs) = (&process.file, process.execs);
    if execs > 1 {
        sink.fail(Subject::process(process), || {
            Details::new(format!(
                "the pause (pid {pid}) executed {execs} programs, most recently {file}"
            ))
            .expected("execs", Value::Number(1))
            .observed("execs", Value::Number(execs.into()))
            .observed("file", Value::Text(file.to_string()))
            .evidence(executed, "first exec")
            .evidence(context.now, format!("exec of {file}"))
        });
        return;
    }
    let declared = container
        .file
        .as_ref()
        .filter(|_| !is_by_descriptor(&file.0));
    match declared {
        Some(declared) if !is_same(&declared.0, &file.0) => {
            sink.fail(Subject::process(process), || {
                Details::new(format!(
                    "the pause (pid {pid}) executed {file} instead of {declared}"
                ))
                .expected("file", Value::Text(declared.to_string()))
                .observed("file", Value::Text(file.to_string()))
                .evidence(executed, format!("exec of {file}"))
            })
        }
        _ if process.execs_before > 0 => sink.inconclusive(Subject::process(process), || {
            Details::new(format!(
                "the pause (pid {pid}) executed {} more before its pod was declared",
                counted(process.execs_before.into(), "program")
            ))
            .observed("file", Value::Text(file.to_string()))
        }),
        _ => sink.pass(Subject::process(process), || {
            let as_declared = if declared.is_some() {
                ", as declared"
            } else {
                ""
            };
            Details::new(format!("executed {file}{as_declared}"))
                .observed("execs", Value::Number(1))
                .observed("file", Value::Text(file.to_string()))
        }),
    }
}

/// Whether a file was executed without naming it, by fexecve(3).
fn is_by_descriptor(file: &[u8]) -> bool {
    [&b"/dev/fd/"[..], b"/proc/self/"]
        .iter()
        .any(|prefix| file.starts_with(prefix))
}

fn is_same(declared: &[u8], executed: &[u8]) -> bool {
    fn last(path: &[u8]) -> &[u8] {
        path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
    if declared.starts_with(b"/") {
        declared == executed
    } else {
        last(declared) == last(executed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    /// A pod whose pause is declared as this file, and executes `/bin/pause`.
    fn declared(file: &str) -> Scene {
        let mut scene = Scene::new();
        scene.pod("p");
        for event in &mut scene.events {
            if let Fact::Container(container) = &mut event.fact {
                container.file = Some(Text::new(file));
            }
        }
        scene
    }

    #[test]
    fn a_pause_from_before_the_start_is_not_judged() {
        let mut scene = Scene::new();
        scene.declare_pod("p", &Modes::plain());
        let cgroup = scene.declare_container("p", "pause", ContainerKind::Sandbox, &Modes::plain());
        scene.push(Fact::Found {
            task: TaskInfo {
                process: ProcessId { pid: 77, start: 5 },
                parent: scene.runtime,
                cgroup,
                namespaces: Namespaces { net: 70, ..HOST },
                ns_pid: 1,
                comm: Comm::new("pause"),
            },
            ended: None,
        });
        scene.expect("PT101", &[]);
        scene.expect("PT502", &[]);
    }

    #[test]
    fn one_exec_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        scene.exec(app);
        let verdicts = scene.expect("PT502", &[Outcome::Pass]);
        assert_eq!(verdicts[0].details.message, "executed /bin/pause");
    }

    #[test]
    fn a_second_exec_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.exec(pause);
        scene.expect("PT502", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn another_file_than_declared_fails() {
        let verdicts = declared("/usr/bin/pause").expect("PT502", &[Outcome::Fail]);
        assert!(
            verdicts[0]
                .details
                .message
                .ends_with("executed /bin/pause instead of /usr/bin/pause")
        );
        declared("paus").expect("PT502", &[Outcome::Fail]);
    }

    #[test]
    fn the_declared_file_passes_by_path_or_by_name() {
        declared("/bin/pause").expect("PT502", &[Outcome::Pass]);
        declared("pause").expect("PT502", &[Outcome::Pass]);
    }

    #[test]
    fn a_file_executed_by_descriptor_is_not_compared() {
        let mut scene = declared("/pause");
        for event in &mut scene.events {
            if let Fact::Exec { file, .. } = &mut event.fact {
                *file = Text::new("/dev/fd/5");
            }
        }
        scene.expect("PT502", &[Outcome::Pass]);
    }

    #[test]
    fn a_child_of_the_pause_is_not_the_pause() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let child = scene.fork(pause);
        scene.exec(child);
        scene.expect("PT502", &[Outcome::Pass]);
    }
}
