//! The memory, CPU time and privileges of a pause after it has reaped.

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

pub(super) const SCRIPTS: &[Script] = &[Script {
    scenario: Scenario {
        name: "pause-cost",
        title: "pause takes next to no memory and CPU time, and holds no privilege",
        proves: &["PT501", "PT502", "PT503"],
        finds: &[],
    },
    play: |play| Box::pin(cost(play)),
}];

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
