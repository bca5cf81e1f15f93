//! Removes what a run has created: pods, cgroups, the directory of logs. If a run was killed, the
//! next run removes its leftovers.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::future::join_all;
use pause_trace_cri::{Client, CriError, messages::PodSandbox};

use super::{
    failure::failed,
    mark::{Mark, NAMESPACE},
};
use crate::node::cgroup::{self, Layout};

/// Creates the run's private directory for the logs of its containers.
pub(super) fn make_logs(mark: Mark) -> Result<PathBuf> {
    let directory = logs(mark);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    Ok(directory)
}

/// Removes the leftovers of runs that have ended.
pub(super) async fn of_dead_runs(client: &Client) -> Result<()> {
    let pods = pods(client, |mark| !mark.is_alive()).await?;
    remove_pods(client, &pods).await?;
    if !pods.is_empty() {
        let count = match pods.len() {
            1 => "1 pod".to_owned(),
            count => format!("{count} pods"),
        };
        eprintln!("pause-trace: removed {count} that an earlier run left behind");
    }
    let of_dead = |name: &str| name.parse().is_ok_and(|mark: Mark| !mark.is_alive());
    remove_cgroups(of_dead)?;
    for entry in fs::read_dir(env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        // Every user can create a directory of this name in a world-writable directory, so the
        // owner is checked too.
        let is_own = |about: fs::Metadata| about.is_dir() && about.uid() == 0;
        if of_dead(&entry.file_name().to_string_lossy()) && entry.metadata().is_ok_and(is_own) {
            remove_logs(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes what this run has created. Without a client, because the runtime does not answer, its
/// pods are not removed.
pub(super) async fn of_run(client: Option<&Client>, mark: Mark, logs: &Path) -> Result<()> {
    let removed = match client {
        Some(client) => match pods(client, |of| of == mark).await {
            Ok(pods) => remove_pods(client, &pods).await,
            Err(error) => Err(error),
        },
        None => {
            eprintln!(
                "pause-trace: the runtime does not answer: the processes of this run are killed, and the next run removes its pods \
                 from the runtime"
            );
            Ok(())
        }
    };
    // Each step is tried, even if another one fails.
    let name = mark.to_string();
    let emptied = remove_cgroups(|found| found.trim_end_matches(".slice") == name);
    let cleared = remove_logs(logs);
    removed.and(emptied).and(cleared)
}

/// The sandboxes of the runs that `is_wanted` accepts.
async fn pods(client: &Client, is_wanted: impl Fn(Mark) -> bool) -> Result<Vec<PodSandbox>> {
    let mut sandboxes = client.sandboxes().await.map_err(failed)?;
    sandboxes.retain(|sandbox| {
        let metadata = sandbox.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.namespace == NAMESPACE)
            && Mark::of_pod(&sandbox.labels).is_some_and(&is_wanted)
    });
    Ok(sandboxes)
}

async fn remove_pods(client: &Client, pods: &[PodSandbox]) -> Result<()> {
    let removals = pods.iter().map(|pod| remove_pod(client, &pod.id));
    let removed: Result<(), _> = join_all(removals).await.into_iter().collect();
    removed
        .map_err(failed)
        .context("failed to remove the pods of namespace pause-trace; the next run tries again")
}

/// Stops and removes a sandbox with its containers. If its run was killed while the sandbox was
/// being started, the runtime refuses to remove it until it has started. It then has to be stopped
/// again, so both calls are repeated.
async fn remove_pod(client: &Client, sandbox: &str) -> Result<(), CriError> {
    const PATIENCE: Duration = Duration::from_secs(10);
    const PERIOD: Duration = Duration::from_millis(100);
    let until = Instant::now() + PATIENCE;
    loop {
        let removed = async {
            client.stop_sandbox(sandbox).await?;
            client.remove_sandbox(sandbox).await
        };
        match removed.await {
            Err(error) if error.is_answer() && Instant::now() < until => {
                tokio::time::sleep(PERIOD).await;
            }
            removed => return removed,
        }
    }
}

fn remove_cgroups(is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    for directory in Layout::find_own(is_wanted)? {
        cgroup::remove(&directory)
            .with_context(|| format!("failed to remove the cgroup {}", directory.display()))?;
    }
    Ok(())
}

fn logs(mark: Mark) -> PathBuf {
    env::temp_dir().join(mark.to_string())
}

fn remove_logs(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("failed to remove {}", directory.display())),
    }
}
