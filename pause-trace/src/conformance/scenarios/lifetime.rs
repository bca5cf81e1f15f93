//! Starts, crashes, restarts and ends of containers and sandboxes.

use std::time::Duration;

use nix::libc::SIGSEGV;

use crate::{
    conformance::{
        scenario::Script,
        stage::{Container, GRACE, Play},
    },
    event::{NamespaceKind, WaitStatus},
    playing::PlayError,
    reference::stage::PodKind,
    scenario::Scenario,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "container-restart",
            title: "a container that exited is restarted into the same namespaces",
            proves: &["PT101", "PT202", "PT203"],
            finds: &[],
        },
        play: |play| Box::pin(restarted(play)),
    },
    Script {
        scenario: Scenario {
            name: "container-crash",
            title: "a container that crashed is restarted into the same namespaces",
            proves: &["PT101", "PT202", "PT203"],
            finds: &[],
        },
        play: |play| Box::pin(crashed(play)),
    },
    Script {
        scenario: Scenario {
            name: "sandbox-replaced",
            title: "a new sandbox of the same pod has namespaces of its own, and its containers are in them",
            proves: &["PT101", "PT201"],
            finds: &[],
        },
        play: |play| Box::pin(replaced(play)),
    },
    Script {
        scenario: Scenario {
            name: "nothing-remains",
            title: "when a pod has ended no process of it is left",
            proves: &["PT205"],
            finds: &[],
        },
        play: |play| Box::pin(nothing_remains(play)),
    },
];

/// The namespaces that all containers of a pod share, also after a restart.
const SHARED: [NamespaceKind; 3] = [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Uts];

async fn restarted(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let first = pod.container("app", &["serve"]).await?;
    let status = pod.stop(&first, GRACE).await?;
    pod.remove(&first).await?;
    let second = pod.container("app", &["serve"]).await?;
    pod.finish().await?;
    expect(status, WaitStatus::exited(0))?;
    Ok(format!("{status}, back in {}", same(&first, &second)?))
}

async fn crashed(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let first = pod.container("app", &["crash"]).await?;
    let status = pod.ended(&first).await?;
    pod.remove(&first).await?;
    let second = pod.container("app", &["serve"]).await?;
    pod.finish().await?;
    if status.signal() != Some(SIGSEGV) {
        return Err(PlayError::Unexpected(format!(
            "the container ended with {status}"
        )));
    }
    Ok(format!("{status}, back in {}", same(&first, &second)?))
}

async fn replaced(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let before = pod.container("app", &["serve"]).await?;
    pod.replace_sandbox().await?;
    let pause = pod.pause().await?;
    let after = pod.container("app", &["serve"]).await?;
    pod.finish().await?;
    let proof = same(&pause, &after)?;
    let kept = |kind: &NamespaceKind| after.namespaces.get(*kind) == before.namespaces.get(*kind);
    // A single inode number may be reused; three at once are not.
    if SHARED.iter().all(kept) {
        let why = format!("the new sandbox has the namespaces of the old one: {proof}");
        return Err(PlayError::Unexpected(why));
    }
    Ok(format!("now in {proof}"))
}

async fn nothing_remains(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let app = pod.container("app", &["serve"]).await?;
    // The processes that a session leaves behind outlive the container.
    pod.exec(&app, &["leave", "4"]).await?;
    pod.stop(&app, Duration::from_secs(2)).await?;
    pod.finish().await?;
    Ok("4 processes that a session had left are gone".to_owned())
}

fn expect(status: WaitStatus, expected: WaitStatus) -> Result<(), PlayError> {
    if status == expected {
        return Ok(());
    }
    Err(PlayError::Unexpected(format!(
        "the container ended with {status} instead of {expected}"
    )))
}

/// Returns the namespaces of both, which must be the same.
fn same(one: &Container, other: &Container) -> Result<String, PlayError> {
    let names = SHARED.iter().map(|kind| {
        let (expected, found) = (one.namespaces.get(*kind), other.namespaces.get(*kind));
        if expected != found {
            let why = format!("{} {found} instead of {expected}", kind.name());
            return Err(PlayError::Unexpected(why));
        }
        Ok(format!("{} {found}", kind.name()))
    });
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    Ok(names.join(" "))
}
