//! Scenarios for zombies. In a shared pid namespace, pause reaps them; otherwise the container's
//! init, if it reaps at all.

use crate::{
    conformance::{scenario::Script, stage::Play},
    playing::PlayError,
    reference::stage::PodKind,
    scenario::Scenario,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "orphans-of-session",
            title: "shareProcessNamespace: pause reaps the processes that kubectl exec left behind",
            proves: &["PT402"],
            finds: &[],
        },
        play: |play| Box::pin(orphans(play, PodKind::SharedPid)),
    },
    Script {
        scenario: Scenario {
            name: "orphans-own-pid",
            title: "with its own pid namespace, a container's init reaps the orphans of its sessions",
            proves: &["PT404"],
            finds: &[],
        },
        play: |play| Box::pin(orphans(play, PodKind::Plain)),
    },
    Script {
        scenario: Scenario {
            name: "parent-does-not-reap",
            title: "a process that does not wait for its children leaves zombies",
            proves: &[],
            finds: &["PT401"],
        },
        play: |play| Box::pin(no_reap(play)),
    },
    Script {
        scenario: Scenario {
            name: "orphans-not-reaped",
            title: "processes that kubectl exec left behind stay zombies if pid 1 does not reap",
            proves: &[],
            finds: &["PT404"],
        },
        play: |play| Box::pin(orphans_not_reaped(play)),
    },
];

async fn orphans(play: &Play<'_>, kind: PodKind) -> Result<String, PlayError> {
    let mut pod = play.pod(kind).await?;
    let app = pod.container("app", &["serve"]).await?;
    pod.exec(&app, &["orphan", "16"]).await?;
    pod.exec(&app, &["orphan", "16"]).await?;
    pod.finish().await?;
    Ok("32 orphans of 2 sessions reaped".to_owned())
}

async fn no_reap(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app", &["no-reap", "2"]).await?;
    play.blame(app.process);
    play.found("PT401").await?;
    pod.finish().await?;
    Ok("2 children, not reaped".to_owned())
}

async fn orphans_not_reaped(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app", &["no-reap"]).await?;
    play.blame(app.process);
    pod.exec(&app, &["orphan", "2"]).await?;
    play.found("PT404").await?;
    pod.finish().await?;
    Ok("2 orphans of a session, not reaped".to_owned())
}
