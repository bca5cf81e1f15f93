//! Faults of processes that enter other namespaces while their container runs.

use std::{path::PathBuf, time::Duration};

use nix::{errno::Errno, sys::signal::Signal};

use super::{namespace, pod_with_app};
use crate::{
    event::NamespaceKind,
    playing::PlayError,
    reference::{
        bystander::Bystander,
        protocol::{Answer, Join, Request},
        scenario::Script,
        stage::{Play, PodKind, Started},
    },
    scenario::Scenario,
    verdict::{Severity, Verdict},
};

/// The probes that each leave a process.
const LEAVING: usize = 3;

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "late-join",
            title: "a container's entrypoint leaves the pod's network for one of its own",
            proves: &[],
            finds: &["PT108"],
        },
        play: |play| Box::pin(late_join(play)),
    },
    Script {
        scenario: Scenario {
            name: "late-join-in-thread",
            title: "a thread of a container's entrypoint leaves the pod's network, the process stays in it",
            proves: &[],
            finds: &["PT108"],
        },
        play: |play| Box::pin(late_join_in_thread(play)),
    },
    Script {
        scenario: Scenario {
            name: "escape",
            title: "a container's process enters the node's network namespace",
            proves: &[],
            finds: &["PT109"],
        },
        play: |play| Box::pin(escape(play)),
    },
    Script {
        scenario: Scenario {
            name: "escape-unseen",
            title: "a container's process enters the node's network namespace through the 32-bit entry of the kernel, and exits",
            proves: &[],
            finds: &["PT109"],
        },
        play: |play| Box::pin(escape_unseen(play)),
    },
    Script {
        scenario: Scenario {
            name: "escape-by-exec",
            title: "a thread of a container's process enters the node's network namespace and executes",
            proves: &[],
            finds: &["PT109"],
        },
        play: |play| Box::pin(escape_by_exec(play)),
    },
    Script {
        scenario: Scenario {
            name: "late-join-by-clone",
            title: "a container's process clones a child into a network of its own",
            proves: &[],
            finds: &["PT108"],
        },
        play: |play| Box::pin(late_join_by_clone(play)),
    },
    Script {
        scenario: Scenario {
            name: "foreign-join",
            title: "a process of the node enters a pod's network namespace",
            proves: &[],
            finds: &["PT110"],
        },
        play: |play| Box::pin(foreign_join(play)),
    },
    Script {
        scenario: Scenario {
            name: "exec-in-host",
            title: "kubectl exec runs in the node's namespaces instead of the container's",
            proves: &[],
            finds: &["PT112"],
        },
        play: |play| Box::pin(exec_in_host(play)),
    },
    Script {
        scenario: Scenario {
            name: "probes-leave",
            title: "a probe times out each time, and leaves a process that keeps running",
            proves: &[],
            finds: &["PT209"],
        },
        play: |play| Box::pin(probes_leave(play)),
    },
];

async fn late_join(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let before = namespace(&pod, app.process, NamespaceKind::Net);
    app.ask(Request::Unshare {
        kinds: vec!["net".to_owned()],
    })
    .await?;
    play.found("PT108").await?;
    let after = namespace(&pod, app.process, NamespaceKind::Net);
    pod.finish().await?;
    Ok(format!("net {before}, then net {after}"))
}

async fn late_join_in_thread(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let before = namespace(&pod, app.process, NamespaceKind::Net);
    app.ask(Request::UnshareInThread {
        kinds: vec!["net".to_owned()],
    })
    .await?;
    let finding = play.found("PT108").await?;
    let after = namespace(&pod, app.process, NamespaceKind::Net);
    let is_of_thread = finding.details.message.starts_with("thread ");
    if !is_of_thread || finding.severity() != Severity::Info || before != after {
        return Err(PlayError::Unexpected(format!(
            "net {before}, then net {after}, and PT108 says as {}: {}",
            finding.severity(),
            finding.details.message
        )));
    }
    pod.finish().await?;
    Ok(format!("net {before} before and after"))
}

async fn escape(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let before = namespace(&pod, app.process, NamespaceKind::Net);
    let path = nodes_network(&app).await?;
    app.ask(Request::Setns { path }).await?;
    play.found("PT109").await?;
    let after = namespace(&pod, app.process, NamespaceKind::Net);
    pod.finish().await?;
    Ok(format!("net {before}, then net {after}, the node's"))
}

async fn escape_unseen(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let path = nodes_network(&app).await?;
    let child = match app.ask(Request::JoinUnseen { path }).await {
        Err(PlayError::Refused {
            errno: Errno::ENOSYS,
            ..
        }) => {
            return Err(PlayError::Impossible(
                "this kernel has no 32-bit entry for a 64-bit program".to_owned(),
            ));
        }
        answer => answer?,
    };
    let finding = play.found("PT109").await?;
    blame_child(play, &child, &finding)?;
    pod.finish().await?;
    Ok(finding.details.message)
}

async fn escape_by_exec(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let path = nodes_network(&app).await?;
    let child = app.ask(Request::JoinInThreadAndExecute { path }).await?;
    let is_error = |finding: &Verdict| finding.severity() == Severity::Error;
    let finding = play.found_where("PT109", is_error).await?;
    blame_child(play, &child, &finding)?;
    pod.finish().await?;
    Ok(finding.details.message)
}

async fn late_join_by_clone(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let child = app
        .ask(Request::Clone {
            kinds: vec!["net".to_owned()],
        })
        .await?;
    let finding = play.found("PT108").await?;
    blame_child(play, &child, &finding)?;
    let message = finding.details.message.clone();
    if !message.contains("was cloned into net namespace") || finding.severity() != Severity::Info {
        return Err(PlayError::Unexpected(format!(
            "PT108 says as {}: {message}",
            finding.severity()
        )));
    }
    pod.finish().await?;
    Ok(message)
}

/// The fault is that of the app's child, whose pid on the node is known from the finding.
fn blame_child(play: &Play<'_>, child: &Answer, finding: &Verdict) -> Result<(), PlayError> {
    match (&finding.subject.process, child) {
        (Some(found), Answer::Pid(child)) if found.ns_pid as i32 == *child => {
            play.blame(found.id);
            Ok(())
        }
        _ => Err(PlayError::Unexpected(format!(
            "the child is {child:?}, and {} says: {}",
            finding.rule.id, finding.details.message
        ))),
    }
}

/// The path of the node's network namespace in a container. Below the container's own /proc is the
/// node's, as if the container had it as a volume.
async fn nodes_network(app: &Started) -> Result<PathBuf, PlayError> {
    app.ask(Request::Unmount {
        path: PathBuf::from("/proc"),
    })
    .await?;
    Ok(PathBuf::from(format!(
        "/proc/{}/ns/net",
        std::process::id()
    )))
}

async fn foreign_join(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let net = namespace(&pod, app.process, NamespaceKind::Net);
    let visitor = Bystander::start(play, &["join", &app.pid().to_string(), "net"]).await?;
    play.blame(visitor.id);
    play.found("PT110").await?;
    pod.finish().await?;
    Ok(format!(
        "pid {} of the node entered net {net}",
        visitor.id.pid
    ))
}

async fn exec_in_host(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let session = pod
        .exec(&app, |mut plan| {
            let spaces = &mut plan.plan;
            for join in [
                &mut spaces.net,
                &mut spaces.ipc,
                &mut spaces.uts,
                &mut spaces.pid,
                &mut spaces.mount,
            ] {
                *join = Join::Host;
            }
            plan
        })
        .await?;
    play.blame(session.process);
    let (its, apps) = (
        namespace(&pod, session.process, NamespaceKind::Mnt),
        namespace(&pod, app.process, NamespaceKind::Mnt),
    );
    super::leave(&pod, &session).await?;
    pod.finish().await?;
    Ok(format!(
        "mnt {its} is the node's, the container's is mnt {apps}"
    ))
}

async fn probes_leave(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    for _ in 0..LEAVING {
        let probe = pod.exec(&app, |plan| plan.named("probe")).await?;
        probe.ask(Request::Stray).await?;
        pod.inner().signal(probe.pid(), Signal::SIGKILL).await?;
        pod.ended(probe.process).await?;
    }
    // Until they are too old to be about to end.
    let limit = pod.live().read(|core| core.state.limits.zombie);
    tokio::time::sleep(Duration::from_nanos(limit)).await;
    let last = pod.exec(&app, |plan| plan.named("probe")).await?;
    last.ask(Request::Exit { code: 0 }).await.ok();
    pod.ended(last.process).await?;
    play.found("PT209").await?;
    let left: Vec<_> = pod.live().read(|core| {
        let processes = core.state.processes.iter();
        let left = processes.filter(|process| {
            process.session.is_some()
                && process.is_alive()
                && process.container.as_ref() == Some(&app.id)
        });
        left.map(|process| process.id).collect()
    });
    for process in &left {
        play.blame(*process);
        let pid = process.pid as i32;
        pod.inner().signal(pid, Signal::SIGKILL).await?;
    }
    pod.finish().await?;
    Ok(format!("{} processes of {LEAVING} probes", left.len()))
}
