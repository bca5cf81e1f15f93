//! Faults of zombies that are not reaped.

use super::{leave, pod_with_app};
use crate::{
    playing::PlayError,
    reference::{
        broken_pause::Broken,
        protocol::Request,
        scenario::Script,
        stage::{Play, PodKind},
    },
    scenario::Scenario,
    verdict::{Duration, Verdict},
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "zombie",
            title: "a container's process does not wait for its child",
            proves: &[],
            finds: &["PT401"],
        },
        play: |play| Box::pin(zombie(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-no-reap",
            title: "shareProcessNamespace: pause does not reap an orphan that was reparented to it",
            proves: &[],
            finds: &["PT402"],
        },
        play: |play| Box::pin(pause_no_reap(play)),
    },
    Script {
        scenario: Scenario {
            name: "exec-zombies",
            title: "a container's pid 1 does not reap an orphan of an exec probe",
            proves: &[],
            finds: &["PT404"],
        },
        play: |play| Box::pin(exec_zombies(play)),
    },
];

async fn zombie(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan.reaps(false)).await?;
    app.ask(Request::Zombie).await?;
    let words = unreaped(&play.found("PT401").await?);
    pod.finish().await?;
    Ok(format!("1 child {words}"))
}

async fn pause_no_reap(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod_with(PodKind::SharedPid, Broken::NoReap).await?;
    let app = pod.container("app").await?;
    app.ask(Request::Orphans { count: 1 }).await?;
    let words = unreaped(&play.found("PT402").await?);
    pod.finish().await?;
    Ok(format!("1 orphan {words}"))
}

async fn exec_zombies(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app) = pod_with_app(play, PodKind::Plain, |plan| plan.reaps(false)).await?;
    let probe = pod.exec(&app, |plan| plan.named("probe")).await?;
    probe.ask(Request::Orphans { count: 1 }).await?;
    leave(&pod, &probe).await?;
    let words = unreaped(&play.found("PT404").await?);
    pod.finish().await?;
    Ok(format!("1 orphan {words}"))
}

/// How long the process was unreaped, from the times of kernel events.
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
