//! Faults: pods that each break one promise on purpose.
//!
//! Each pod is declared to the verifier as healthy and built differently. A fault passes if its
//! rule reports a violation that names the process at fault, and no other rule reports an error.

mod lifecycle;
mod namespaces;
mod pauses;
mod sandboxes;
mod sessions;
mod signals;
mod zombies;

use std::{fs::File, os::fd::AsRawFd, path::PathBuf, time::Duration};

use super::{
    pod::ContainerPlan,
    protocol::{Join, Request},
    scenario::Script,
    stage::{Play, PodKind, ReferencePod, Started},
};
use crate::event::{ContainerKind, NamespaceKind, ProcessId};
use crate::playing::PlayError;

/// A grace period that is long enough for a process that handles its stop signal.
const SHORT: Duration = Duration::from_millis(300);

/// A grace period longer than the limit after which a stop signal counts as ignored.
const LONG: Duration = Duration::from_millis(1300);

/// The faults by theme.
const THEMES: [&[Script]; 7] = [
    namespaces::SCRIPTS,
    sandboxes::SCRIPTS,
    sessions::SCRIPTS,
    lifecycle::SCRIPTS,
    signals::SCRIPTS,
    zombies::SCRIPTS,
    pauses::SCRIPTS,
];

/// Every fault, in the order in which they are run and reported.
pub(crate) fn all() -> impl Iterator<Item = &'static Script> + Clone {
    THEMES.into_iter().flatten()
}

/// A container that is declared with its pod's modes, and built from the plan that `edit` returns.
pub(super) async fn built_as(
    pod: &mut ReferencePod<'_>,
    name: &str,
    edit: impl FnOnce(ContainerPlan) -> ContainerPlan,
) -> Result<Started, PlayError> {
    let modes = pod.modes.clone();
    pod.container_as(name, ContainerKind::App, modes, edit)
        .await
}

/// A pod with one container, which is at fault.
async fn pod_with_app<'a>(
    play: &Play<'a>,
    kind: PodKind,
    edit: impl FnOnce(ContainerPlan) -> ContainerPlan,
) -> Result<(ReferencePod<'a>, Started), PlayError> {
    let mut pod = play.pod(kind).await?;
    let app = built_as(&mut pod, "app", edit).await?;
    play.blame(app.process);
    Ok((pod, app))
}

/// A namespace of a process, as the kernel reported it.
fn namespace(pod: &ReferencePod<'_>, process: ProcessId, kind: NamespaceKind) -> u32 {
    pod.live().read(|core| {
        core.state
            .processes
            .get(process)
            .map_or(0, |process| process.namespaces.get(kind))
    })
}

/// A namespace that an open file keeps alive, like a bind mount in `/run/netns`.
struct Pinned(File);

impl Pinned {
    fn of(process: ProcessId, kind: NamespaceKind) -> Result<Self, PlayError> {
        let path = format!("/proc/{}/ns/{}", process.pid, kind.name());
        File::open(&path)
            .map(Self)
            .map_err(|source| PlayError::io(format!("open {path}"), source))
    }

    /// The path by which another process can open it.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.0.as_raw_fd()
        ))
    }

    fn join(&self) -> Join {
        Join::Path(self.path())
    }
}

/// Makes a workload exit, and waits for its end.
pub(super) async fn leave(pod: &ReferencePod<'_>, workload: &Started) -> Result<(), PlayError> {
    // It exits without answering.
    workload.container.ask(Request::Exit { code: 0 }).await.ok();
    pod.ended(workload.process).await
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::{reference, rules};

    #[test]
    fn scenarios_and_faults_have_unique_names_and_existing_rules() {
        let mut names = HashSet::new();
        for script in reference::scenarios::all().chain(super::all()) {
            let scenario = &script.scenario;
            assert!(
                names.insert(scenario.name),
                "{} exists twice",
                scenario.name
            );
            for rule in scenario.finds.iter().chain(scenario.proves) {
                assert!(
                    rules::find(rule).is_some(),
                    "{} refers to {rule}, which does not exist",
                    scenario.name
                );
            }
        }
    }

    #[test]
    fn every_fault_is_found_by_one_rule() {
        for fault in super::all() {
            let fault = &fault.scenario;
            assert_eq!(fault.finds.len(), 1, "{}", fault.name);
        }
    }
}
