//! Faults of pauses that signal handling, resources or privileges reveal.

use nix::sys::signal::Signal;

use super::LONG;
use crate::{
    playing::PlayError,
    reference::{
        broken_pause::Broken,
        protocol::Request,
        scenario::Script,
        stage::{Play, PodKind},
    },
    scenario::Scenario,
    verdict::Verdict,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "pause-blocks-term",
            title: "pause blocks SIGTERM and must be killed",
            proves: &[],
            finds: &["PT306"],
        },
        play: |play| Box::pin(stopped(play, Broken::BlocksTerm)),
    },
    Script {
        scenario: Scenario {
            name: "pause-exits-1",
            title: "pause exits with 1 on SIGTERM, as if it had failed",
            proves: &[],
            finds: &["PT306"],
        },
        play: |play| Box::pin(stopped(play, Broken::ExitsOne)),
    },
    Script {
        scenario: Scenario {
            name: "pause-first-signal",
            title: "shareProcessNamespace: pause ends on the SIGCHLD of an orphan, and the pod with it",
            proves: &[],
            finds: &["PT307"],
        },
        play: |play| Box::pin(first_signal(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-forks",
            title: "pause has children of its own",
            proves: &[],
            finds: &["PT501"],
        },
        play: |play| Box::pin(excessive(play, Broken::ForksHelpers, "children")),
    },
    Script {
        scenario: Scenario {
            name: "pause-sockets",
            title: "pause listens on ports that its pod's containers share",
            proves: &[],
            finds: &["PT501"],
        },
        play: |play| Box::pin(excessive(play, Broken::OpensSockets, "sockets")),
    },
    Script {
        scenario: Scenario {
            name: "pause-big",
            title: "pause allocates 64 MiB of memory",
            proves: &[],
            finds: &["PT501"],
        },
        play: |play| Box::pin(excessive(play, Broken::BigMemory, "memory")),
    },
    Script {
        scenario: Scenario {
            name: "pause-spins",
            title: "pause begins to use the CPU when it has run for a while",
            proves: &[],
            finds: &["PT501"],
        },
        play: |play| Box::pin(busy(play, Broken::Spins, "CPU time added")),
    },
    Script {
        scenario: Scenario {
            name: "pause-leaks",
            title: "pause opens a descriptor now and then, and closes none",
            proves: &[],
            finds: &["PT501"],
        },
        play: |play| Box::pin(busy(play, Broken::Leaks, "descriptors added")),
    },
    Script {
        scenario: Scenario {
            name: "pause-re-exec",
            title: "pause executes another file",
            proves: &[],
            finds: &["PT502"],
        },
        play: |play| Box::pin(executed_again(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-root",
            title: "pause runs as root with every capability",
            proves: &[],
            finds: &["PT503"],
        },
        play: |play| Box::pin(as_root(play)),
    },
];

async fn stopped(play: &Play<'_>, broken: Broken) -> Result<String, PlayError> {
    let mut pod = play.pod_with(PodKind::Plain, broken).await?;
    let _app = pod.container("app").await?;
    let pause = pod.pause()?;
    let stopped = pod.stop(LONG).await?;
    pod.remove().await?;
    let how = stopped
        .iter()
        .find(|stopped| stopped.pid == pause.pid as i32);
    how.map(|how| {
        format!(
            "{}{}",
            how.status,
            if how.killed {
                " at the end of its grace period"
            } else {
                ""
            }
        )
    })
    .ok_or_else(|| PlayError::Unexpected("pause was not stopped".to_owned()))
}

async fn first_signal(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play
        .pod_with(PodKind::SharedPid, Broken::FirstSignal)
        .await?;
    let app = pod.container("app").await?;
    let pause = pod.pause()?;
    // The container may end before it answers.
    app.ask(Request::Orphans { count: 1 }).await.ok();
    pod.ended(pause).await?;
    let status = pod.inner().exited(app.pid()).await?;
    pod.finish().await?;
    Ok(format!("{}, and the container: {status}", Signal::SIGCHLD))
}

/// A pause that uses more of something than it needs.
async fn excessive(
    play: &Play<'_>,
    broken: Broken,
    what: &'static str,
) -> Result<String, PlayError> {
    let pod = play.pod_with(PodKind::Plain, broken).await?;
    pod.look_at_pause()?;
    let finding = play.found("PT501").await?;
    pod.finish().await?;
    observed(&finding, what).map(|value| format!("{value} {what}"))
}

/// A pause that does something while nobody asks it to.
async fn busy(play: &Play<'_>, broken: Broken, what: &'static str) -> Result<String, PlayError> {
    let pod = play.pod_with(PodKind::Plain, broken).await?;
    play.leave_alone(&pod).await?;
    let finding = play.found("PT501").await?;
    pod.finish().await?;
    observed(&finding, what).map(|value| format!("{what}: {value}"))
}

fn observed(finding: &Verdict, what: &str) -> Result<String, PlayError> {
    let value = finding
        .details
        .observed
        .iter()
        .find(|(name, _)| *name == what);
    value.map(|(_, value)| value.to_string()).ok_or_else(|| {
        PlayError::Unexpected(format!(
            "{} does not report {what}: {}",
            finding.rule.id, finding.details.message
        ))
    })
}

async fn executed_again(play: &Play<'_>) -> Result<String, PlayError> {
    let pod = play.pod_with(PodKind::Plain, Broken::ReExec).await?;
    let execs = observed(&play.found("PT502").await?, "execs")?;
    pod.finish().await?;
    Ok(format!("{execs} execs"))
}

async fn as_root(play: &Play<'_>) -> Result<String, PlayError> {
    let mut plan = PodKind::Plain.plan(play.stage.pause.clone());
    (plan.sandbox.credentials, plan.sandbox.no_new_privs) = (None, false);
    let mut pod = play.prepare_as(PodKind::Plain, plan).await?;
    let pause = pod.start_sandbox().await?;
    play.blame(pause);
    let status = pod.look_at_pause()?;
    pod.finish().await?;
    Ok(format!(
        "uid {}, {} capabilities",
        status.uid,
        status.capabilities.count_ones()
    ))
}
