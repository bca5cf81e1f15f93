//! Removes what a run has made: pods, cgroups, the directory of logs. So does the next run, for one that was killed.

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

/// A run's directory for what its containers print, which nobody else can look into.
pub(super) fn make_logs(mark: Mark) -> Result<PathBuf> {
    let directory = logs(mark);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .with_context(|| format!("failed to make {}", directory.display()))?;
    Ok(directory)
}

/// Removes what runs have left that are over.
pub(super) async fn of_dead_runs(client: &Client) -> Result<()> {
    let pods = pods(client, |mark| !mark.is_alive()).await?;
    remove_pods(client, &pods).await?;
    if !pods.is_empty() {
        eprintln!(
            "pause-trace: removed {} pods that an earlier run has left",
            pods.len()
        );
    }
    let of_dead = |name: &str| name.parse().is_ok_and(|mark: Mark| !mark.is_alive());
    remove_cgroups(of_dead)?;
    for entry in fs::read_dir(env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        // In a directory that all may write to a name proves nothing.
        let is_own = |about: fs::Metadata| about.is_dir() && about.uid() == 0;
        if of_dead(&entry.file_name().to_string_lossy()) && entry.metadata().is_ok_and(is_own) {
            remove_logs(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes what a run has made; of the runtime's only where there is a client that answers.
pub(super) async fn of_run(client: Option<&Client>, mark: Mark, logs: &Path) -> Result<()> {
    let removed = match client {
        Some(client) => match pods(client, |of| of == mark).await {
            Ok(pods) => remove_pods(client, &pods).await,
            Err(error) => Err(error),
        },
        None => {
            eprintln!(
                "pause-trace: the runtime does not answer: what it runs for this is killed, and what it knows of it is \
                 for the next run to remove"
            );
            Ok(())
        }
    };
    // One does not have to wait for the other to succeed.
    let name = mark.to_string();
    let emptied = remove_cgroups(|found| found.trim_end_matches(".slice") == name);
    let cleared = remove_logs(logs);
    removed.and(emptied).and(cleared)
}

/// The sandboxes of the runs that `takes` takes.
async fn pods(client: &Client, takes: impl Fn(Mark) -> bool) -> Result<Vec<PodSandbox>> {
    let mut sandboxes = client.sandboxes().await.map_err(failed)?;
    sandboxes.retain(|sandbox| {
        let metadata = sandbox.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.namespace == NAMESPACE)
            && Mark::of_pod(&sandbox.labels).is_some_and(&takes)
    });
    Ok(sandboxes)
}

async fn remove_pods(client: &Client, pods: &[PodSandbox]) -> Result<()> {
    let removals = pods.iter().map(|pod| remove_pod(client, &pod.id));
    let removed: Result<(), _> = join_all(removals).await.into_iter().collect();
    removed
        .map_err(failed)
        .context("pods of namespace pause-trace are left; the next run tries again to remove them")
}

/// Ends and removes a sandbox with its containers. One that is just being started, for a run that was killed meanwhile, a
/// runtime refuses to remove until it has started, and then it has to be stopped first.
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

fn remove_cgroups(takes: impl Fn(&str) -> bool) -> Result<()> {
    for directory in Layout::find_own(takes)? {
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
