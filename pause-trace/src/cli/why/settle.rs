//! Looks twice at what is usual for a moment and a fault if it lasts: zombies, uninterruptible
//! sleeps, and signals that are pending.

use std::{collections::HashMap, time::Duration};

use crate::{
    node::{
        procfs,
        survey::process::{self, Process},
    },
    pods::PodView,
};

/// The time between the two looks.
const MOMENT: Duration = Duration::from_secs(1);

/// The signals that have been pending for a while, by the pid of the entrypoint.
pub(super) type Pending = HashMap<u32, u64>;

/// Waits a moment if the pod has processes that need a second look, and keeps of them only what
/// has not changed since. Returns the signals that were pending before.
pub(super) async fn settle(pod: &mut PodView) -> Pending {
    let entrypoints = pod
        .containers
        .iter()
        .filter_map(|container| container.first);
    let pending: Pending = entrypoints
        .filter_map(|pid| Some((pid, procfs::signals(pid)?.pending)))
        .filter(|(_, pending)| *pending != 0)
        .collect();
    let processes = pod.containers.iter().flat_map(|one| &one.processes);
    let doubtful: HashMap<u32, Option<u64>> = processes
        .filter(|process| needs_second_look(process))
        .map(|process| (process.pid, procfs::switches(process.pid)))
        .collect();
    if pending.is_empty() && doubtful.is_empty() {
        return pending;
    }
    tokio::time::sleep(MOMENT).await;
    for container in &mut pod.containers {
        container.processes.retain_mut(|process| {
            let Some(switches) = doubtful.get(&process.pid) else {
                return true;
            };
            let now = process::read(process.pid);
            let Some(now) = now.filter(|now| now.start_ticks == process.start_ticks) else {
                return false; // it was reaped
            };
            let has_run = procfs::switches(process.pid) != *switches;
            process.state = match now.state {
                b'D' if has_run => b'S',
                state => state,
            };
            true
        });
    }
    pending
}

fn needs_second_look(process: &Process) -> bool {
    process.is_zombie() || process.state == b'D'
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::pods::testing;

    /// A pod with one process, which has this state in the first look.
    fn pod(pid: u32, state: u8) -> PodView {
        let mut pod = testing::pods().remove(2);
        pod.containers.truncate(1);
        let mut process = process::read(pid).expect("it runs");
        process.state = state;
        pod.containers[0].first = Some(pid);
        pod.containers[0].processes = vec![process];
        pod
    }

    #[tokio::test]
    async fn a_zombie_that_is_reaped_meanwhile_is_none() {
        let mut child = Command::new("true").spawn().expect("it executes");
        while !procfs::is_zombie(child.id()) {
            std::thread::yield_now();
        }
        let mut of_zombie = pod(child.id(), b'Z');
        settle(&mut of_zombie).await;
        assert_eq!(
            of_zombie.containers[0].processes.len(),
            1,
            "it is still one"
        );
        let mut of_reaped = pod(child.id(), b'Z');
        child.wait().expect("it is ours");
        settle(&mut of_reaped).await;
        assert_eq!(of_reaped.containers[0].processes.len(), 0);
    }

    #[tokio::test]
    async fn an_uninterruptible_sleep_that_ended_is_none() {
        let mut child = Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("it executes");
        let mut of_sleeper = pod(child.id(), b'D');
        let pending = settle(&mut of_sleeper).await;
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert_eq!(of_sleeper.containers[0].processes[0].state, b'S');
        assert_eq!(pending, Pending::new());
    }
}
