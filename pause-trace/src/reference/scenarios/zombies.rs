//! Scenarios for reaping: which process reaps which, how soon, and how many. Orphans are reparented
//! to pid 1 of their pid namespace.

use nix::sys::signal::Signal;

use crate::{
    event::{ContainerId, Ktime, ProcessId},
    playing::PlayError,
    reference::{
        faults::{built_as, leave},
        protocol::{Answer, Join, Request},
        scenario::Script,
        stage::{Play, PodKind, ReferencePod, Started},
    },
    scenario::Scenario,
    state::{Container, Reaps},
    verdict::Duration,
};

/// Enough orphans to show that they are reaped.
const FEW: u32 = 16;

/// Enough orphans to exceed a usual pid limit several times.
const STORM: u32 = 10_000;

/// More zombies than a pod may have at once.
const MANY: u32 = 70;

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "orphans-of-container",
            title: "shareProcessNamespace: pause reaps the orphans of a container",
            proves: &["PT402"],
            finds: &[],
        },
        play: |play| Box::pin(of_container(play)),
    },
    Script {
        scenario: Scenario {
            name: "orphans-of-session",
            title: "shareProcessNamespace: pause reaps the processes that kubectl exec left behind",
            proves: &["PT402"],
            finds: &[],
        },
        play: |play| Box::pin(of_session(play)),
    },
    Script {
        scenario: Scenario {
            name: "orphans-of-probe",
            title: "shareProcessNamespace: pause reaps the children of a probe that timed out",
            proves: &["PT402"],
            finds: &[],
        },
        play: |play| Box::pin(of_probe(play)),
    },
    Script {
        scenario: Scenario {
            name: "orphans-own-pid",
            title: "with its own pid namespace, a container's init reaps its orphans and those of its sessions; pause does not",
            proves: &["PT401", "PT404"],
            finds: &[],
        },
        play: |play| Box::pin(own_pid(play)),
    },
    Script {
        scenario: Scenario {
            name: "zombie-storm",
            title: "pause reaps ten thousand orphans and leaves none",
            proves: &["PT402", "PT403"],
            finds: &[],
        },
        play: |play| Box::pin(storm(play)),
    },
    Script {
        scenario: Scenario {
            name: "parent-does-not-reap",
            title: "a process that does not wait for its children leaves a zombie",
            proves: &[],
            finds: &["PT401"],
        },
        play: |play| Box::pin(does_not_reap(play)),
    },
    Script {
        scenario: Scenario {
            name: "zombies-growing",
            title: "a container's zombies grow towards the pod's pid limit",
            proves: &[],
            // PT401 names the process that does not reap.
            finds: &["PT403", "PT401"],
        },
        play: |play| Box::pin(zombies_growing(play)),
    },
    Script {
        scenario: Scenario {
            name: "adopted-outside",
            title: "an orphan of an exec session in the node's pid namespace is reparented to the runtime",
            proves: &[],
            // PT405 cannot occur without PT112: a session in the right pid namespace keeps its
            // orphans there.
            finds: &["PT405", "PT112"],
        },
        play: |play| Box::pin(adopted_outside(play)),
    },
];

async fn of_container(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let app = pod.container("app").await?;
    let pause = sandbox(&pod)?;
    app.ask(Request::Orphans { count: FEW }).await?;
    let reaps = reaped(play, &pause, FEW, |pause| pause.reaps).await?;
    pod.finish().await?;
    Ok(proof(FEW, "pause", reaps))
}

async fn of_session(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let app = pod.container("app").await?;
    let pause = sandbox(&pod)?;
    let session = pod.exec(&app, |plan| plan).await?;
    session.ask(Request::Orphans { count: FEW }).await?;
    session.container.ask(Request::Exit { code: 0 }).await.ok();
    pod.ended(session.process).await?;
    let reaps = reaped(play, &pause, FEW, |pause| pause.session_reaps).await?;
    pod.finish().await?;
    Ok(proof(FEW, "pause", reaps))
}

async fn of_probe(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let app = pod.container("app").await?;
    let pause = sandbox(&pod)?;
    let probe = pod.exec(&app, |plan| plan.named("probe")).await?;
    for _ in 0..FEW {
        probe.ask(Request::Child { ignores_term: true }).await?;
    }
    // The probe times out. Its children, which the runtime does not know, end by themselves.
    pod.inner().signal(probe.pid(), Signal::SIGKILL).await?;
    pod.ended(probe.process).await?;
    let reaps = reaped(play, &pause, FEW, |pause| pause.session_reaps).await?;
    pod.finish().await?;
    Ok(proof(FEW, "pause", reaps))
}

async fn own_pid(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app").await?;
    let pause = sandbox(&pod)?;
    app.ask(Request::Orphans { count: FEW }).await?;
    let session = pod.exec(&app, |plan| plan).await?;
    session.ask(Request::Orphans { count: FEW }).await?;
    let own = reaped(play, &app.id, FEW, |app| app.reaps).await?;
    let of_session = reaped(play, &app.id, FEW, |app| app.session_reaps).await?;
    let by_pause = pod.live().read(|core| {
        core.state
            .containers
            .get(&pause)
            .map_or(0, |pause| pause.reaps.count)
    });
    session.container.ask(Request::Exit { code: 0 }).await.ok();
    pod.ended(session.process).await?;
    pod.finish().await?;
    let slowest = Reaps {
        slowest: own.slowest.max(of_session.slowest),
        ..own
    };
    match by_pause {
        0 => Ok(format!(
            "{}, 0 by pause",
            proof(2 * FEW, "the container's pid 1", slowest)
        )),
        count => Err(PlayError::Unexpected(format!(
            "pause reaped {count} processes of another pid namespace"
        ))),
    }
}

async fn storm(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let app = pod.container("app").await?;
    let pause = sandbox(&pod)?;
    app.ask(Request::Orphans { count: STORM }).await?;
    let reaps = reaped(play, &pause, STORM, |pause| pause.reaps).await?;
    let left = pod
        .live()
        .read(|core| core.state.pods.get(&pod.id).map_or(0, |pod| pod.zombies));
    pod.finish().await?;
    Ok(format!("{}, {left} left", proof(STORM, "pause", reaps)))
}

async fn does_not_reap(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = built_as(&mut pod, "app", |plan| plan.reaps(false)).await?;
    play.blame(app.process);
    app.ask(Request::Zombie).await?;
    let waited = overdue(play, &pod, &app).await?;
    pod.finish().await?;
    Ok(format!("not reaped for {}", Duration(waited)))
}

async fn zombies_growing(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = built_as(&mut pod, "app", |plan| plan.reaps(false)).await?;
    for _ in 0..MANY {
        app.ask(Request::Zombie).await?;
    }
    play.found("PT403").await?;
    let zombies = pod
        .live()
        .read(|core| core.state.pods.get(&pod.id).map_or(0, |pod| pod.zombies));
    pod.finish().await?;
    Ok(format!("{zombies} zombies"))
}

async fn adopted_outside(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app").await?;
    let session = pod
        .exec(&app, |mut plan| {
            plan.plan.pid = Join::Host;
            plan
        })
        .await?;
    let Answer::Pid(orphan) = session.ask(Request::Orphan).await? else {
        return Err(PlayError::Unexpected(
            "the session did not report its orphan's pid".to_owned(),
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
        "pid {} was reparented to the runtime, pid {}",
        orphan.pid, runtime.pid
    ))
}

fn sandbox(pod: &ReferencePod<'_>) -> Result<ContainerId, PlayError> {
    let sandbox = pod
        .live()
        .read(|core| core.state.pods.get(&pod.id)?.sandbox().cloned());
    sandbox.ok_or_else(|| PlayError::Unexpected("the pod has no sandbox".to_owned()))
}

/// Waits until the kernel has reported that a container reaped this many processes. Returns the
/// counts and times.
async fn reaped(
    play: &Play<'_>,
    container: &ContainerId,
    count: u32,
    reaps: impl Fn(&Container) -> Reaps,
) -> Result<Reaps, PlayError> {
    let what = format!("the reaping of {count} orphans");
    let mut seen = 0;
    loop {
        // Each reaping begins the time limit anew: a machine that is busy needs long for many.
        let now = play
            .await_(&what, |core| {
                let reaps = reaps(core.state.containers.get(container)?);
                (reaps.count > seen).then_some(reaps)
            })
            .await?;
        if now.count >= u64::from(count) {
            return Ok(now);
        }
        seen = now.count;
    }
}

fn proof(count: u32, by: &str, reaps: Reaps) -> String {
    format!(
        "{count} orphans reaped by {by}, the slowest after {}",
        Duration(reaps.slowest)
    )
}

/// Waits until a child of the container's init is an overdue zombie. Returns how long it has been
/// one.
async fn overdue(
    play: &Play<'_>,
    pod: &ReferencePod<'_>,
    parent: &Started,
) -> Result<Ktime, PlayError> {
    let limit = pod.live().read(|core| core.state.limits.zombie);
    play.await_("a zombie that is overdue", |core| {
        let zombie = core
            .state
            .processes
            .children(parent.process)
            .find(|child| child.overdue)?;
        let waited = crate::probe::now().saturating_sub(zombie.ended?.time);
        (waited >= limit).then_some(waited)
    })
    .await
}
