//! Faults in stopping: ignored, missing, repeated or foreign signals, and the wrong order.

use nix::{libc::SIGKILL, sys::signal::Signal};

use super::{LONG, SHORT, leave, pod_with_app};
use crate::{
    event::{Fact, ProcessId},
    playing::PlayError,
    reference::{
        bystander::Bystander,
        protocol::{OnTerm, Request},
        scenario::Script,
        stage::{Play, PodKind, ReferencePod, Started},
    },
    scenario::Scenario,
    verdict::Duration,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "ignores-term",
            title: "pid 1 of a container has no handler for SIGTERM, so the kernel drops it",
            proves: &[],
            finds: &["PT301"],
        },
        play: |play| Box::pin(stopped_without_effect(play, OnTerm::Default, SHORT)),
    },
    Script {
        scenario: Scenario {
            name: "killed-without-stop",
            title: "the runtime kills a container that never got its stop signal",
            proves: &[],
            finds: &["PT303"],
        },
        play: |play| Box::pin(killed_without_stop(play)),
    },
    Script {
        scenario: Scenario {
            name: "not-forwarded",
            title: "a container's init handles the stop signal and does not forward it to its child",
            proves: &[],
            finds: &["PT304"],
        },
        play: |play| Box::pin(not_forwarded(play)),
    },
    Script {
        scenario: Scenario {
            name: "stop-twice",
            title: "a container gets its stop signal from the runtime and from another process of the node",
            proves: &[],
            finds: &["PT305"],
        },
        play: |play| Box::pin(stop_twice(play)),
    },
    Script {
        scenario: Scenario {
            name: "blocks-term",
            title: "a container's init blocks SIGTERM, which stays pending until the end",
            proves: &[],
            finds: &["PT308"],
        },
        play: |play| Box::pin(stopped_without_effect(play, OnTerm::Block, LONG)),
    },
    Script {
        scenario: Scenario {
            name: "stop-out-of-order",
            title: "stopping a pod ends pause before its container",
            proves: &[],
            finds: &["PT309"],
        },
        play: |play| Box::pin(stop_order(play)),
    },
    Script {
        scenario: Scenario {
            name: "foreign-kill",
            title: "a process of the node kills a container's process",
            proves: &[],
            finds: &["PT310"],
        },
        play: |play| Box::pin(foreign_kill(play)),
    },
    Script {
        scenario: Scenario {
            name: "workers-cut-off",
            title: "a container's init exits on the stop signal, and its child with a handler for it is killed",
            proves: &[],
            finds: &["PT311"],
        },
        play: |play| Box::pin(workers_cut_off(play)),
    },
];

/// Stops a container that has to be killed.
async fn stopped_without_effect(
    play: &Play<'_>,
    term: OnTerm,
    grace: std::time::Duration,
) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan.on_term(term)).await?;
    let (status, was_killed) = pod.stop_container(&app, grace).await?;
    pod.finish().await?;
    let how = if was_killed {
        "killed"
    } else {
        "ended by itself"
    };
    let grace = play.stage.patience.of(grace);
    Ok(format!("{how} after {} ms, {status}", grace.as_millis()))
}

async fn killed_without_stop(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    declare_stop(&pod);
    pod.inner().signal(app.pid(), Signal::SIGKILL).await?;
    pod.ended(app.process).await?;
    let stops = pod.live().read(|core| {
        let signals = core
            .state
            .processes
            .get(app.process)
            .map(|process| process.signals.clone());
        signals
            .unwrap_or_default()
            .iter()
            .filter(|received| received.signal != SIGKILL)
            .count()
    });
    pod.finish().await?;
    Ok(format!("{stops} stop signals before SIGKILL"))
}

async fn not_forwarded(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) =
        pod_with_app(play, PodKind::Plain, |plan| plan.on_term(OnTerm::Swallow)).await?;
    let child = child(play, &app).await?;
    pod.stop_container(&app, SHORT).await?;
    pod.finish().await?;
    Ok(format!("pid {} received only SIGKILL", child.pid))
}

/// Gives a container's init a child with a handler of its own for SIGTERM.
async fn child(play: &Play<'_>, app: &Started) -> Result<ProcessId, PlayError> {
    app.ask(Request::Child {
        ignores_term: false,
    })
    .await?;
    let children = |core: &crate::pipeline::Core| {
        core.state
            .processes
            .children(app.process)
            .map(|child| child.id)
            .next()
    };
    play.await_("the fork of a child", children).await
}

async fn workers_cut_off(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let child = child(play, &app).await?;
    pod.stop_container(&app, LONG).await?;
    pod.finish().await?;
    Ok(format!("pid {} received only SIGKILL", child.pid))
}

async fn stop_twice(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) =
        pod_with_app(play, PodKind::Plain, |plan| plan.on_term(OnTerm::Swallow)).await?;
    declare_stop(&pod);
    pod.inner().signal(app.pid(), Signal::SIGTERM).await?;
    let stranger = Bystander::start(play, &["kill", &app.pid().to_string(), "15"]).await?;
    let finding = play.found("PT305").await?;
    let between = pod.live().read(|core| {
        let signals = &core.state.processes.get(app.process)?.signals;
        Some(signals.last()?.time.saturating_sub(signals.first()?.time))
    });
    if !finding
        .details
        .message
        .contains(&format!("pid {}", stranger.id.pid))
    {
        return Err(PlayError::Unexpected(format!(
            "PT305 says {}",
            finding.details.message
        )));
    }
    leave(&pod, &app).await?;
    pod.finish().await?;
    Ok(format!(
        "the second, from pid {}, after {}",
        stranger.id.pid,
        Duration(between.unwrap_or(0))
    ))
}

async fn stop_order(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let pause = pod.pause()?;
    play.blame(pause);
    declare_stop(&pod);
    pod.inner()
        .signal(pause.pid as i32, Signal::SIGTERM)
        .await?;
    pod.ended(pause).await?;
    pod.stop_container(&app, SHORT).await?;
    let early = pod.live().read(|core| {
        let ended = |process| core.state.processes.get(process)?.ended;
        Some(ended(app.process)?.time.saturating_sub(ended(pause)?.time))
    });
    pod.finish().await?;
    Ok(format!(
        "pause ended {} before the container",
        Duration(early.unwrap_or(0))
    ))
}

async fn foreign_kill(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let killer = Bystander::start(play, &["kill", &app.pid().to_string(), "9"]).await?;
    let status = pod.inner().exited(app.pid()).await?;
    pod.finish().await?;
    Ok(format!("{status} from pid {}", killer.id.pid))
}

/// Declares that the pod is being stopped, before the stop goes wrong.
fn declare_stop(pod: &ReferencePod<'_>) {
    let grace = std::time::Duration::from_secs(30).as_nanos() as u64;
    pod.live().inject(Fact::PodStopping {
        pod: pod.id.clone(),
        grace,
    });
}
