//! Processes that nobody reaps, and orphans that fall to the wrong one.

use super::{leave, pod_with_app};
use crate::{
    event::ProcessId,
    reference::{
        broken_pause::Broken,
        protocol::{Answer, Join, Request},
        scenario::Scenario,
        stage::{Play, PodKind, StageError},
    },
    verdict::{Duration, Verdict},
};

/// More than a pod may have at once.
const MANY: u32 = 70;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "zombie",
        title: "a container's process does not wait for its child",
        proves: &[],
        finds: &["PT401"],
        play: |play| Box::pin(zombie(play)),
    },
    Scenario {
        name: "pause-no-reap",
        title: "shareProcessNamespace: pause does not reap an orphan that fell to it",
        proves: &[],
        finds: &["PT402"],
        play: |play| Box::pin(pause_no_reap(play)),
    },
    Scenario {
        name: "zombies-growing",
        title: "a container's zombies grow towards the pod's pid limit",
        proves: &[],
        // Who does not reap is the other's to say.
        finds: &["PT403", "PT401"],
        play: |play| Box::pin(zombies_growing(play)),
    },
    Scenario {
        name: "exec-zombies",
        title: "a container's pid 1 does not reap what an exec probe left behind",
        proves: &[],
        finds: &["PT404"],
        play: |play| Box::pin(exec_zombies(play)),
    },
    Scenario {
        name: "adopted-outside",
        title: "an orphan of an exec session that runs in the node's pid namespace falls to the runtime",
        proves: &[],
        // In a session that is where it should be, it can't happen.
        finds: &["PT405", "PT112"],
        play: |play| Box::pin(adopted_outside(play)),
    },
];

async fn zombie(play: &Play<'_>) -> Result<String, StageError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan.reaps(false)).await?;
    app.ask(Request::Zombie).await?;
    let words = unreaped(&play.found("PT401").await?);
    pod.finish().await?;
    Ok(format!("1 child {words}"))
}

async fn pause_no_reap(play: &Play<'_>) -> Result<String, StageError> {
    let mut pod = play.pod_with(PodKind::SharedPid, Broken::NoReap).await?;
    let app = pod.container("app").await?;
    app.ask(Request::Orphans { count: 1 }).await?;
    let words = unreaped(&play.found("PT402").await?);
    pod.finish().await?;
    Ok(format!("1 orphan {words}"))
}

async fn zombies_growing(play: &Play<'_>) -> Result<String, StageError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = super::built_as(&mut pod, "app", |plan| plan.reaps(false)).await?;
    for _ in 0..MANY {
        app.ask(Request::Zombie).await?;
    }
    play.found("PT403").await?;
    let zombies = pod
        .live()
        .look(|core| core.state.pods.get(&pod.id).map_or(0, |pod| pod.zombies));
    pod.finish().await?;
    Ok(format!("{zombies} zombies"))
}

async fn exec_zombies(play: &Play<'_>) -> Result<String, StageError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan.reaps(false)).await?;
    let probe = pod.exec(&app, |plan| plan.named("probe")).await?;
    probe.ask(Request::Orphans { count: 1 }).await?;
    leave(&pod, &probe).await?;
    let words = unreaped(&play.found("PT404").await?);
    pod.finish().await?;
    Ok(format!("1 orphan {words}"))
}

async fn adopted_outside(play: &Play<'_>) -> Result<String, StageError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan).await?;
    let session = pod
        .exec(&app, |mut plan| {
            plan.plan.pid = Join::Host;
            plan
        })
        .await?;
    let Answer::Pid(orphan) = session.ask(Request::Orphan).await? else {
        return Err(StageError::Unexpected(
            "the session did not say its orphan's pid".to_owned(),
        ));
    };
    let orphan: ProcessId = play
        .await_("the fork of an orphan", |core| {
            core.state
                .processes
                .by_pid(orphan as u32)
                .map(|process| process.id)
        })
        .await?;
    play.blame(orphan);
    session.ask(Request::Release).await?;
    play.found("PT405").await?;
    leave(&pod, &session).await?;
    let runtime = pod.runtime;
    pod.finish().await?;
    Ok(format!(
        "pid {} fell to the runtime, pid {}",
        orphan.pid, runtime.pid
    ))
}

/// For how long, as the kernel's own events say.
fn unreaped(finding: &Verdict) -> String {
    let ended = finding
        .details
        .evidence
        .iter()
        .map(|evidence| evidence.time)
        .max();
    format!(
        "unreaped for {}",
        Duration(finding.time.saturating_sub(ended.unwrap_or(finding.time)))
    )
}
