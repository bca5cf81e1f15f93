//! Observations of a running pod that need no kernel events.

use std::time::Duration;

use super::Told;
use crate::{
    event::{ContainerId, Fact, Observation, Observed, PodId, ProcessId, Text},
    node::{network, procfs},
};

/// The age of a pause when its status is read: it is ready by then, and its start no longer counts
/// as work.
const SETTLED: Duration = Duration::from_secs(1);

/// Observes whether the network of a container that has started is ready.
pub(super) async fn network(pod: PodId, container: ContainerId, process: ProcessId) -> Told {
    let seen = on_a_thread(move || network::read(process.pid)).await;
    // If the process has ended, its pid may have been reused.
    let is_same = !procfs::is_gone(process);
    Told::Fact(seen.filter(|_| is_same).map(|network| {
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

/// Reads the resources and privileges of a pause.
pub(super) async fn pause(pod: PodId, process: ProcessId) -> Told {
    let age = crate::probe::now().saturating_sub(process.start);
    tokio::time::sleep(SETTLED.saturating_sub(Duration::from_nanos(age))).await;
    let status = on_a_thread(move || procfs::pause_status(&pod, process)).await;
    Told::Fact(status.map(Fact::PauseStatus))
}

/// Reads `/proc` on a separate thread, so that it does not block the event loop.
async fn on_a_thread<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(read).await.ok()?.ok()
}
