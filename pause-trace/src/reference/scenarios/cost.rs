//! The memory, CPU time and privileges of a pause, after it has reaped and while it is left alone.

use crate::{
    playing::PlayError,
    reference::{
        protocol::Request,
        scenario::Script,
        stage::{Play, PodKind},
    },
    scenario::Scenario,
    verdict::Duration,
};

/// The orphans that the pause reaps before it is measured.
const WORK: u32 = 256;

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "pause-cost",
            title: "pause takes next to no memory and CPU time, and holds no privilege",
            proves: &["PT501", "PT502", "PT503"],
            finds: &[],
        },
        play: |play| Box::pin(cost(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-idle",
            title: "pause that is left alone uses no CPU time, does not grow and opens nothing",
            proves: &["PT501"],
            finds: &[],
        },
        play: |play| Box::pin(idle(play)),
    },
];

async fn cost(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let app = pod.container("app").await?;
    app.ask(Request::Orphans { count: WORK }).await?;
    pod.quiet().await?;
    let status = pod.look_at_pause()?;
    pod.finish().await?;
    let (kib, cpu) = (status.pss_bytes / 1024, Duration(status.cpu_ns));
    let descriptors = status.descriptors;
    let threads = match status.threads {
        1 => "1 thread".to_owned(),
        threads => format!("{threads} threads"),
    };
    Ok(format!(
        "PSS {kib} KiB, {threads}, {descriptors} descriptors, CPU {cpu} for {WORK} orphans"
    ))
}

async fn idle(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let _app = pod.container("app").await?;
    let (before, after) = play.leave_alone(&pod).await?;
    pod.finish().await?;
    let time = Duration(after.age_ns.saturating_sub(before.age_ns));
    let cpu = Duration(after.cpu_ns.saturating_sub(before.cpu_ns));
    Ok(format!("CPU {cpu} in {time}"))
}
