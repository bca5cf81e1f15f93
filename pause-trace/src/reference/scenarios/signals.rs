//! Scenarios for signals: how a pause reacts to each signal, and how containers are stopped,
//! including those that do not end in time.

use std::time::Duration as Time;

use nix::{
    libc::{SIGINT, SIGKILL, SIGSTOP, SIGTERM},
    sys::signal::Signal,
};

use crate::{
    event::{ContainerKind, Ktime, ProcessId, WaitStatus, signal_name},
    playing::PlayError,
    reference::{
        pod::ContainerPlan,
        protocol::{Answer, OnTerm, Request, Sender},
        scenario::Script,
        stage::{Play, PodKind, ReferencePod, Started},
    },
    scenario::Scenario,
    state::{Ended, Limits, Process, Received},
    verdict::Duration,
};

/// The grace period of containers that do not end within it.
const SHORT_GRACE: Time = Time::from_millis(300);

/// The grace period of a container that never takes its signal. It exceeds `Limits::stop`, before
/// which the container may just be slow.
const PENDING_GRACE: Time = Time::from_nanos(Limits::REFERENCE.stop + 100_000_000);

/// The grace period of containers that end by themselves.
const GRACE: Time = Time::from_secs(5);

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "pause-sigterm",
            title: "SIGTERM ends pause with exit code 0, as pid 1 and as any other",
            proves: &["PT306"],
            finds: &[],
        },
        play: |play| Box::pin(pause_ends(play, Signal::SIGTERM, WaitStatus::exited(0))),
    },
    Script {
        scenario: Scenario {
            name: "pause-sigint",
            title: "SIGINT ends pause with exit code 0, as pid 1 and as any other",
            proves: &["PT306"],
            finds: &[],
        },
        play: |play| Box::pin(pause_ends(play, Signal::SIGINT, WaitStatus::exited(0))),
    },
    Script {
        scenario: Scenario {
            name: "pause-sigkill",
            title: "SIGKILL ends pause at once",
            proves: &["PT202"],
            finds: &[],
        },
        play: |play| {
            Box::pin(pause_ends(
                play,
                Signal::SIGKILL,
                WaitStatus::killed(SIGKILL),
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "pause-sturdy",
            title: "no other signal ends pause, and it reaps as before",
            proves: &["PT307", "PT402"],
            finds: &[],
        },
        play: |play| Box::pin(sturdy(play)),
    },
    Script {
        scenario: Scenario {
            name: "stop-handled",
            title: "a container that handles SIGTERM exits with 0 within its grace period",
            proves: &["PT301", "PT302", "PT308"],
            finds: &[],
        },
        play: |play| Box::pin(handled(play, None)),
    },
    Script {
        scenario: Scenario {
            name: "stop-with-helper",
            title: "a container that exits on SIGTERM leaves only a child without a handler for it",
            proves: &["PT302", "PT311"],
            finds: &[],
        },
        play: |play| Box::pin(handled(play, Some(Request::Child { ignores_term: true }))),
    },
    Script {
        scenario: Scenario {
            name: "stop-order",
            title: "an orderly stop ends the containers before pause",
            proves: &["PT309", "PT202"],
            finds: &[],
        },
        play: |play| Box::pin(in_order(play)),
    },
    Script {
        scenario: Scenario {
            name: "stop-ignored",
            title: "pid 1 with the default disposition never sees SIGTERM and has to be killed",
            proves: &[],
            finds: &["PT301", "PT302"],
        },
        play: |play| Box::pin(overstayed(play, OnTerm::Default, SHORT_GRACE)),
    },
    Script {
        scenario: Scenario {
            name: "stop-blocked",
            title: "a container that blocks SIGTERM keeps it pending and has to be killed",
            proves: &[],
            finds: &["PT308", "PT302"],
        },
        play: |play| Box::pin(overstayed(play, OnTerm::Block, PENDING_GRACE)),
    },
    Script {
        scenario: Scenario {
            name: "stop-not-forwarded",
            title: "a shell as pid 1 keeps SIGTERM to itself, and its child is killed with it",
            proves: &[],
            finds: &["PT304", "PT302"],
        },
        play: |play| Box::pin(not_forwarded(play)),
    },
    Script {
        scenario: Scenario {
            name: "killed-after-grace",
            title: "a container whose SIGTERM handler does not end it is killed after its grace period",
            proves: &["PT301"],
            finds: &["PT302"],
        },
        play: |play| Box::pin(overstayed(play, OnTerm::Swallow, SHORT_GRACE)),
    },
];

async fn pause_ends(
    play: &Play<'_>,
    signal: Signal,
    expected: WaitStatus,
) -> Result<String, PlayError> {
    let mut pods = [
        play.pod(PodKind::Plain).await?,
        play.pod(PodKind::HostPid).await?,
    ];
    let mut words = Vec::new();
    for pod in &mut pods {
        let pause = pod.pause()?;
        pod.inner().signal(pause.pid as i32, signal).await?;
        pod.ended(pause).await?;
        let (received, ended) = story(pod, pause, signal as i32)?;
        if ended.status != expected {
            return Err(PlayError::Unexpected(format!(
                "pause ended with {} after {signal}",
                ended.status
            )));
        }
        words.push(Duration(ended.time.saturating_sub(received.time)).to_string());
    }
    let [first, second] = pods;
    tokio::try_join!(first.remove(), second.remove())?;
    Ok(format!("{expected} after {}", words.join(" and ")))
}

async fn sturdy(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let pause = pod.pause()?;
    let app = pod.container("app").await?;
    let signals = (1..=64).filter(|signal| ![SIGKILL, SIGSTOP, SIGTERM, SIGINT].contains(signal));
    let mut sent = 0;
    for signal in signals {
        pod.inner()
            .signal_from(Sender::Runtime, pause.pid as i32, signal)
            .await?;
        sent += 1;
    }
    let count = |process: &Process| process.signals.len() + process.others.len();
    play.await_("all signals to the pause", |core| {
        core.state
            .processes
            .get(pause)
            .filter(|pause| count(pause) >= sent)
            .map(drop)
    })
    .await?;
    let reaped = |core: &crate::pipeline::Core| {
        Some(
            core.state
                .container_of(core.state.processes.get(pause)?)?
                .reaps
                .count,
        )
    };
    let before = pod.live().read(reaped).unwrap_or_default();
    app.ask(Request::Orphans { count: 8 }).await?;
    play.await_("the reaping of orphans after the signals", |core| {
        (reaped(core)? >= before + 8).then_some(())
    })
    .await?;
    let ended = pod.live().read(|core| {
        core.state
            .processes
            .get(pause)
            .and_then(|pause| pause.ended)
    });
    pod.finish().await?;
    match ended {
        None => Ok(format!(
            "{sent} signals, and pause lives and reaped 8 orphans"
        )),
        Some(ended) => Err(PlayError::Unexpected(format!(
            "pause ended with {}",
            ended.status
        ))),
    }
}

async fn handled(play: &Play<'_>, before: Option<Request>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app").await?;
    if let Some(request) = before {
        app.ask(request).await?;
    }
    let (_, killed) = pod.stop_container(&app, GRACE).await?;
    pod.ended(app.process).await?;
    let (received, ended) = story(&pod, app.process, SIGTERM)?;
    pod.finish().await?;
    if killed || ended.status != WaitStatus::exited(0) {
        return Err(PlayError::Unexpected(format!(
            "the container ended with {}",
            ended.status
        )));
    }
    Ok(format!(
        "{} after {}",
        ended.status,
        Duration(ended.time.saturating_sub(received.time))
    ))
}

async fn in_order(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let pause = pod.pause()?;
    let containers = [pod.container("app").await?, pod.container("sidecar").await?];
    pod.stop(GRACE).await?;
    pod.ended(pause).await?;
    let (_, pause) = story(&pod, pause, SIGTERM)?;
    let mut last: Ktime = 0;
    for container in &containers {
        last = last.max(story(&pod, container.process, SIGTERM)?.1.time);
    }
    pod.remove().await?;
    match pause.time.checked_sub(last) {
        Some(later) => Ok(format!(
            "2 containers ended, pause {} later",
            Duration(later)
        )),
        None => Err(PlayError::Unexpected(
            "pause ended before its containers".to_owned(),
        )),
    }
}

/// Stops a container that does not end on SIGTERM.
async fn overstayed(play: &Play<'_>, term: OnTerm, grace: Time) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = stubborn(play, &mut pod, term).await?;
    pod.stop_container(&app, grace).await?;
    pod.ended(app.process).await?;
    let proof = killed(&pod, app.process, grace)?;
    pod.finish().await?;
    Ok(proof)
}

async fn not_forwarded(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = stubborn(play, &mut pod, OnTerm::Swallow).await?;
    app.ask(Request::Child {
        ignores_term: false,
    })
    .await?;
    let process = app.process;
    let children = async {
        play.await_("that the container's init handled SIGTERM", |core| {
            let init = core.state.processes.get(process)?;
            init.signals
                .iter()
                .find(|received| received.signal == SIGTERM)?
                .handled
        })
        .await?;
        app.ask(Request::Children).await
    };
    let (_, children) = tokio::try_join!(pod.stop_container(&app, SHORT_GRACE), children)?;
    pod.ended(process).await?;
    let proof = killed(&pod, process, SHORT_GRACE)?;
    pod.finish().await?;
    match children {
        Answer::Children(notes) if notes.iter().all(|child| !child.got_term) => Ok(format!(
            "{} child received no SIGTERM, {proof}",
            notes.len()
        )),
        other => Err(PlayError::Unexpected(format!(
            "the container answered {other:?} about its children"
        ))),
    }
}

/// Starts a container that the expected findings name.
async fn stubborn(
    play: &Play<'_>,
    pod: &mut ReferencePod<'_>,
    term: OnTerm,
) -> Result<Started, PlayError> {
    let modes = pod.modes.clone();
    let edit = |plan: ContainerPlan| plan.on_term(term);
    let app = pod
        .container_as("app", ContainerKind::App, modes, edit)
        .await?;
    play.blame(app.process);
    Ok(app)
}

/// What the kernel reported of a signal to a process, and of the end of the process.
fn story(
    pod: &ReferencePod<'_>,
    process: ProcessId,
    signal: i32,
) -> Result<(Received, Ended), PlayError> {
    let story = pod.live().read(|core| {
        let process = core.state.processes.get(process)?;
        let received = process
            .signals
            .iter()
            .find(|received| received.signal == signal)?;
        Some((received.clone(), process.ended?))
    });
    story.ok_or_else(|| {
        let signal = signal_name(signal);
        PlayError::Unexpected(format!(
            "the kernel did not report {signal} to pid {} and the end of this process",
            process.pid
        ))
    })
}

/// The time from SIGTERM to SIGKILL that the kernel reported.
fn killed(
    pod: &ReferencePod<'_>,
    process: ProcessId,
    requested: Time,
) -> Result<String, PlayError> {
    let (received, _) = story(pod, process, SIGTERM)?;
    let (forced, ended) = story(pod, process, SIGKILL)?;
    let grace = forced.time.saturating_sub(received.time);
    let wanted = pod.patience.of(requested).as_nanos() as Ktime;
    if ended.status != WaitStatus::killed(SIGKILL) || grace < wanted {
        return Err(PlayError::Unexpected(format!(
            "{} {} after SIGTERM",
            ended.status,
            Duration(grace)
        )));
    }
    Ok(format!(
        "SIGKILL {} after SIGTERM, with a grace period of {}",
        Duration(grace),
        Duration(wanted)
    ))
}
