//! Scenarios for stopping containers: those that end in time, and those that do not.

use std::time::{Duration, Instant};

use crate::{
    conformance::{
        scenario::Script,
        stage::{GRACE, Play},
    },
    playing::PlayError,
    reference::stage::PodKind,
    scenario::Scenario,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "stop-handled",
            title: "a container that handles SIGTERM exits with 0 within its grace period",
            proves: &["PT301", "PT302", "PT303"],
            finds: &[],
        },
        play: |play| Box::pin(stopped(play, &["serve"], GRACE)),
    },
    Script {
        scenario: Scenario {
            name: "stop-forwarded",
            title: "an init forwards SIGTERM to its child, and exits as the child does",
            proves: &["PT301", "PT302"],
            finds: &[],
        },
        play: |play| Box::pin(stopped(play, &["shell", "/workload", "serve"], GRACE)),
    },
    Script {
        scenario: Scenario {
            name: "stop-at-once",
            title: "with a grace period of 0, a container is killed at once, as requested",
            proves: &["PT303"],
            finds: &[],
        },
        play: |play| Box::pin(stopped(play, &["serve"], Duration::ZERO)),
    },
    Script {
        scenario: Scenario {
            name: "stop-ignored",
            title: "pid 1 with the default disposition never sees SIGTERM and has to be killed",
            proves: &[],
            finds: &["PT301", "PT302"],
        },
        play: |play| Box::pin(stopped(play, &["ignore-term"], SHORT)),
    },
    Script {
        scenario: Scenario {
            name: "stop-blocked",
            title: "a container that blocks SIGTERM keeps it pending and has to be killed",
            proves: &[],
            finds: &["PT308", "PT302"],
        },
        play: |play| Box::pin(stopped(play, &["block-term"], LONG)),
    },
    Script {
        scenario: Scenario {
            name: "stop-not-forwarded",
            title: "a shell as pid 1 keeps SIGTERM to itself, and its child is killed with it",
            proves: &[],
            finds: &["PT304", "PT302"],
        },
        play: |play| Box::pin(stopped(play, &["no-forward", "/workload", "serve"], SHORT)),
    },
];

/// The shortest grace period that CRI can express, besides 0.
const SHORT: Duration = Duration::from_secs(1);

/// Longer than the limit after which a stop signal counts as still pending.
const LONG: Duration = Duration::from_secs(3);

/// Stops a container. The expected findings name its entrypoint.
async fn stopped(
    play: &Play<'_>,
    behaviour: &[&str],
    grace: Duration,
) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app", behaviour).await?;
    play.blame(app.process);
    if let ["shell" | "no-forward", ..] = behaviour {
        pod.has_child(&app).await?;
    }
    let began = Instant::now();
    let status = pod.stop(&app, grace).await?;
    let took = began.elapsed().as_millis();
    pod.finish().await?;
    Ok(format!("{status} after {took} ms, of {grace:?}"))
}
