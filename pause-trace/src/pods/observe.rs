//! Observations of a running pod that need no kernel events.

use std::{io, time::Duration};

use super::Completed;
use crate::{
    event::{ContainerId, Fact, Observation, Observed, PauseStatus, PodId, ProcessId, Text},
    node::{network, procfs, survey},
};

/// The age of a pause when its status is read: it is ready by then, and its start no longer counts
/// as work.
const SETTLED: Duration = Duration::from_secs(1);

/// How long after a look that finds a pod's network missing to look again. In a stop, the network
/// is taken down a moment before the pause ends.
const AGAIN: Duration = Duration::from_secs(5);

/// Observes again whether a pod's network is ready.
pub(super) async fn network_again(
    pod: PodId,
    container: ContainerId,
    process: ProcessId,
) -> Completed {
    tokio::time::sleep(AGAIN).await;
    network(pod, container, process).await
}

/// Observes whether the network of a container that has started is ready.
pub(super) async fn network(pod: PodId, container: ContainerId, process: ProcessId) -> Completed {
    let seen = on_a_thread(move || network::read(process.pid)).await;
    // If the process has ended, its pid may have been reused.
    let is_same = !procfs::is_gone(process);
    Completed::Fact(seen.filter(|_| is_same).map(|network| {
        let addresses: Vec<_> = network.outer_addresses().map(ToString::to_string).collect();
        let detail = match (network.is_loopback_up(), addresses.is_empty()) {
            (false, _) => "loopback is not up".to_owned(),
            (true, true) => "no address but loopback's".to_owned(),
            (true, false) => addresses.join(", "),
        };
        Fact::Observed(Observation {
            pod,
            container,
            what: Observed::NetworkReady,
            holds: network.is_ready(),
            detail: Text::new(&detail),
        })
    }))
}

/// Reads the resources and privileges of a pause that has just executed; `None` if it is old enough
/// for [`pause`] alone. A pod may live for less than that.
pub(super) async fn pause_at_start(pod: PodId, process: ProcessId) -> Completed {
    if age(process) >= SETTLED {
        return Completed::Fact(None);
    }
    Completed::Fact(Some(match measured(&pod, process).await {
        Ok(status) => Fact::PauseStarted(status),
        Err(error) => unmeasured(pod, process, &error),
    }))
}

/// Reads the resources and privileges of a pause.
pub(super) async fn pause(pod: PodId, process: ProcessId) -> Completed {
    let age = age(process);
    tokio::time::sleep(SETTLED.saturating_sub(age)).await;
    Completed::Fact(match measured(&pod, process).await {
        Ok(status) => Some(Fact::PauseStatus(status)),
        Err(error) if age >= SETTLED => Some(unmeasured(pod, process, &error)),
        // What was read at its start stands.
        Err(_) => None,
    })
}

/// Reads how the entrypoint of a container treats signals.
pub(super) async fn signals(process: ProcessId) -> Completed {
    let read = on_a_thread(move || Ok(procfs::signals(process.pid))).await;
    // A zombie treats none, one that is stopped or traced waits for none meanwhile, and the pid of
    // a process that is gone may have been reused.
    let runs = survey::process::read(process.pid)
        .is_some_and(|found| !found.is_zombie() && !matches!(found.state, b'T' | b't'));
    let is_there = runs && !procfs::is_gone(process);
    let masks = read.flatten().filter(|_| is_there);
    Completed::Fact(masks.map(|masks| Fact::SignalMasks { process, masks }))
}

fn age(process: ProcessId) -> Duration {
    Duration::from_nanos(crate::probe::now().saturating_sub(process.start))
}

async fn measured(pod: &PodId, process: ProcessId) -> io::Result<PauseStatus> {
    let pod = pod.clone();
    let read = tokio::task::spawn_blocking(move || procfs::pause_status(&pod, process));
    read.await.map_err(io::Error::other)?
}

fn unmeasured(pod: PodId, process: ProcessId, error: &io::Error) -> Fact {
    let reason = match procfs::is_gone(process) || procfs::is_zombie(process.pid) {
        true => "it had ended by then".to_owned(),
        false => error.to_string(),
    };
    Fact::PauseUnmeasured {
        pod,
        process,
        reason: Text::new(&reason),
    }
}

/// Reads `/proc` on a separate thread, so that it does not block the event loop.
async fn on_a_thread<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(read).await.ok()?.ok()
}
