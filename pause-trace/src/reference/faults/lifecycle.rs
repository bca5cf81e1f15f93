//! Faults of pauses that die, sandboxes that are replaced, and processes that outlive a pod.

use nix::{libc::SIGKILL, sys::signal::Signal};

use super::{Pinned, built_as, leave, namespace, pod_with_app};
use crate::{
    event::NamespaceKind,
    playing::PlayError,
    reference::{
        broken_pause::{Broken, CUE},
        protocol::{Join, Request},
        scenario::Script,
        stage::{Play, PodKind, ReferencePod},
    },
    scenario::Scenario,
    verdict::{Duration, Value},
};

/// A memory limit above the needs of a pause.
const MEMORY_LIMIT: u64 = 32 << 20;

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "before-sandbox",
            title: "a container runs before its sandbox has the pod's namespaces",
            proves: &[],
            finds: &["PT201"],
        },
        play: |play| Box::pin(before_sandbox(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-killed",
            title: "hostPID: a container kills pause while the container runs",
            proves: &[],
            finds: &["PT202"],
        },
        play: |play| Box::pin(pause_killed(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-oom",
            title: "the OOM killer kills pause while a container runs",
            proves: &[],
            finds: &["PT202"],
        },
        play: |play| Box::pin(pause_oom(play)),
    },
    Script {
        scenario: Scenario {
            name: "container-oom",
            title: "the OOM killer kills a child of a container, and with cgroup v2 the container",
            proves: &[],
            finds: &["PT211"],
        },
        play: |play| Box::pin(container_oom(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-crash",
            title: "pause dies of a segmentation fault while a container runs",
            proves: &[],
            finds: &["PT202"],
        },
        play: |play| Box::pin(pause_crash(play)),
    },
    Script {
        scenario: Scenario {
            name: "stale-sandbox",
            title: "a sandbox is replaced while a container lives in the former one",
            proves: &[],
            finds: &["PT203"],
        },
        play: |play| Box::pin(stale_sandbox(play)),
    },
    Script {
        scenario: Scenario {
            name: "dead-sandbox",
            title: "a container is started in the pinned namespaces of a sandbox whose pause is dead",
            proves: &[],
            finds: &["PT203"],
        },
        play: |play| Box::pin(dead_sandbox(play)),
    },
    Script {
        scenario: Scenario {
            name: "leftovers",
            title: "an exec session outlives its pod",
            proves: &[],
            finds: &["PT205"],
        },
        play: |play| Box::pin(leftovers(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-leaked",
            title: "pause outlives its pod",
            proves: &[],
            finds: &["PT205"],
        },
        play: |play| Box::pin(pause_leaked(play)),
    },
    Script {
        scenario: Scenario {
            name: "init-stuck",
            title: "a container is created and joins its namespaces, but is never started",
            proves: &[],
            finds: &["PT207"],
        },
        play: |play| Box::pin(init_stuck(play)),
    },
    Script {
        scenario: Scenario {
            name: "teardown-stalled",
            title: "a container cannot end, because the runtime does not reap an exec session in it",
            proves: &[],
            finds: &["PT208"],
        },
        play: |play| Box::pin(teardown_stalled(play)),
    },
];

async fn before_sandbox(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.prepare(PodKind::Plain).await?;
    let app = built_as(&mut pod, "app", |mut plan| {
        for join in [&mut plan.plan.net, &mut plan.plan.ipc, &mut plan.plan.uts] {
            *join = Join::New;
        }
        plan
    })
    .await?;
    play.blame(app.process);
    let pause = pod.start_sandbox().await?;
    let early = pod.live().read(|core| {
        let executed = |process| core.state.processes.get(process)?.executed;
        Some(executed(pause)?.saturating_sub(executed(app.process)?))
    });
    pod.finish().await?;
    Ok(format!("{} before pause", Duration(early.unwrap_or(0))))
}

async fn pause_killed(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::HostPid, |plan| plan).await?;
    let pause = pod.pause()?;
    play.blame(pause);
    app.ask(Request::SendSignal {
        pid: pause.pid as i32,
        signal: SIGKILL,
    })
    .await?;
    let status = pod.inner().exited(pause.pid as i32).await?;
    pod.finish().await?;
    Ok(format!("{status} from pid {}, a container's", app.pid()))
}

async fn pause_oom(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod_with(PodKind::Plain, Broken::Hungry).await?;
    let id = pod.inner().cgroup_id();
    limit_memory(&mut pod, id)?;
    let status = ends_on_cue(&mut pod).await?;
    pod.finish().await?;
    Ok(format!("{status} at {} MiB", MEMORY_LIMIT >> 20))
}

async fn container_oom(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let is_group = limit_memory(&mut pod, app.container.cgroup_id)?;
    let answer = app.ask(Request::Hungry).await;
    let finding = play.found("PT211").await?;
    // The agent knows the child only by its pid in the pod's pid namespace. Of a group, either may
    // be the first.
    let killed = finding
        .details
        .observed
        .iter()
        .find_map(|(_, value)| match value {
            Value::Process(killed) if is_group || *killed != app.process => Some(*killed),
            _ => None,
        });
    let Some(killed) = killed else {
        return Err(PlayError::Unexpected(finding.details.message));
    };
    play.blame(killed);
    if is_group {
        // The answer does not come if the agent was killed first.
        pod.inner().exited(app.pid()).await?;
    } else {
        answer?;
    }
    pod.finish().await?;
    Ok(finding.details.message)
}

/// Limits the memory of a cgroup of the pod. Returns whether all of its processes are killed if one
/// exceeds the limit.
fn limit_memory(pod: &mut ReferencePod<'_>, id: u64) -> Result<bool, PlayError> {
    let Some(cgroup) = pod.inner().cgroup(id) else {
        return Err(PlayError::Unexpected(
            "the container has no cgroup of its own".to_owned(),
        ));
    };
    let limited = cgroup.limit_memory(MEMORY_LIMIT);
    limited
        .and_then(|()| cgroup.kill_as_group())
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::Unsupported => PlayError::Impossible(
                "this machine lacks a memory controller for cgroups".to_owned(),
            ),
            _ => PlayError::io("limit the memory of a container".to_owned(), error),
        })
}

async fn pause_crash(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod_with(PodKind::Plain, Broken::Crashes).await?;
    let status = ends_on_cue(&mut pod).await?;
    pod.finish().await?;
    Ok(status)
}

/// Sends a pause its cue while a container runs; returns how the pause ended.
async fn ends_on_cue(pod: &mut ReferencePod<'_>) -> Result<String, PlayError> {
    let _app = pod.container("app").await?;
    let pause = pod.pause()?.pid as i32;
    pod.inner().signal(pause, CUE).await?;
    Ok(pod.inner().exited(pause).await?.to_string())
}

async fn stale_sandbox(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let former = pod.pause()?;
    let pause = pod.replace_sandbox().await?;
    let (its, now) = (
        namespace(&pod, former, NamespaceKind::Net),
        namespace(&pod, pause, NamespaceKind::Net),
    );
    pod.stop_container(&app, super::SHORT).await?;
    pod.inner()
        .signal(former.pid as i32, Signal::SIGTERM)
        .await?;
    pod.ended(former).await?;
    pod.finish().await?;
    Ok(format!("net {its}, the new sandbox has net {now}"))
}

async fn dead_sandbox(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let pause = pod.pause()?;
    let [net, ipc, uts] = [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Uts]
        .map(|kind| Pinned::of(pause, kind));
    let (net, ipc, uts) = (net?, ipc?, uts?);
    pod.inner()
        .signal(pause.pid as i32, Signal::SIGTERM)
        .await?;
    pod.ended(pause).await?;
    let app = built_as(&mut pod, "app", |mut plan| {
        (plan.plan.net, plan.plan.ipc, plan.plan.uts) = (net.join(), ipc.join(), uts.join());
        plan
    })
    .await?;
    play.blame(app.process);
    let its = namespace(&pod, app.process, NamespaceKind::Net);
    pod.finish().await?;
    Ok(format!("net {its}, which pause, pid {}, held", pause.pid))
}

async fn leftovers(play: &Play<'_>) -> Result<String, PlayError> {
    // In other pods the kernel would end the session with its pid namespace.
    let (mut pod, app) = pod_with_app(play, PodKind::HostPid, |plan| plan).await?;
    let session = pod.exec(&app, |plan| plan).await?;
    play.blame(session.process);
    pod.stop(super::SHORT).await?;
    pod.declare_removed();
    play.found("PT205").await?;
    let lives = pod
        .inner()
        .exited_within(session.pid(), std::time::Duration::ZERO)
        .await
        .is_err();
    pod.remove().await?;
    Ok(format!(
        "pid {} {}",
        session.pid(),
        if lives { "lives" } else { "has ended" }
    ))
}

async fn pause_leaked(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let pause = pod.pause()?;
    play.blame(pause);
    pod.stop_container(&app, super::SHORT).await?;
    pod.declare_removed();
    let finding = play.found("PT205").await?;
    let lived = finding.time.saturating_sub(pause.start);
    pod.remove().await?;
    Ok(format!(
        "pid {} lives, {} after its start",
        pause.pid,
        Duration(lived)
    ))
}

async fn init_stuck(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let modes = pod.modes.clone();
    let hold = |mut plan: crate::reference::pod::ContainerPlan| {
        plan.plan.hold = true;
        plan
    };
    let prepared = pod
        .prepare_container("app", crate::event::ContainerKind::App, modes, hold)
        .await?;
    let container = pod.inner().launch(prepared).await?;
    let pid = container.pid as u32;
    let process = play
        .await_("the fork of app", |core| {
            core.state.processes.by_pid(pid).map(|process| process.id)
        })
        .await?;
    play.blame(process);
    let finding = play.found("PT207").await?;
    // So that the pod can be stopped in order.
    pod.inner().release(&container).await?;
    let waited = finding.time.saturating_sub(process.start);
    pod.finish().await?;
    Ok(format!("no exec within {}", Duration(waited)))
}

async fn teardown_stalled(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let session = pod.exec(&app, |plan| plan).await?;
    pod.inner().leave_unreaped(session.pid(), true).await?;
    leave(&pod, &app).await?;
    let finding = play.found("PT208").await?;
    let ended = pod
        .live()
        .read(|core| core.state.processes.get(app.process)?.ended);
    let waited = finding
        .time
        .saturating_sub(ended.map_or(finding.time, |ended| ended.time));
    pod.inner().leave_unreaped(session.pid(), false).await?;
    pod.inner().exited(app.pid()).await?;
    pod.finish().await?;
    Ok(format!(
        "pid {} unreaped {} after the end of pid 1",
        session.pid(),
        Duration(waited)
    ))
}
