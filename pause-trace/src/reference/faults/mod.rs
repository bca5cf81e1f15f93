//! Pods broken on purpose, one promise each.
//!
//! Each is declared to the verifier as a healthy pod and built otherwise. It passes when the rule it is named for has found
//! it and named the process that is at fault, and no other rule has called anything an error.

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

/// A grace period that is long enough for whoever acts on a stop signal at all.
const SHORT: Duration = Duration::from_millis(300);

/// One that is longer than the limit after which a stop signal counts as without effect.
const LONG: Duration = Duration::from_millis(1300);

/// By theme.
const THEMES: [&[Script]; 7] = [
    namespaces::SCRIPTS,
    sandboxes::SCRIPTS,
    sessions::SCRIPTS,
    lifecycle::SCRIPTS,
    signals::SCRIPTS,
    zombies::SCRIPTS,
    pauses::SCRIPTS,
];

/// Every fault, in the order they are played and reported.
pub(crate) fn all() -> impl Iterator<Item = &'static Script> + Clone {
    THEMES.into_iter().flatten()
}

/// A container that is declared as its pod has it, and built as `edit` says.
pub(super) async fn built_as(
    pod: &mut ReferencePod<'_>,
    name: &str,
    edit: impl FnOnce(ContainerPlan) -> ContainerPlan,
) -> Result<Started, PlayError> {
    let modes = pod.modes.clone();
    pod.container_as(name, ContainerKind::App, modes, edit)
        .await
}

/// A pod with one container, which is the one to blame.
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

/// A process' namespace, as the kernel reported it.
fn namespace(pod: &ReferencePod<'_>, process: ProcessId, kind: NamespaceKind) -> u32 {
    pod.live().look(|core| {
        core.state
            .processes
            .get(process)
            .map_or(0, |process| process.namespaces.get(kind))
    })
}

/// A namespace that is kept by an open file, as a bind mount in `/run/netns` keeps it.
struct Pinned(File);

impl Pinned {
    fn of(process: ProcessId, kind: NamespaceKind) -> Result<Self, PlayError> {
        let path = format!("/proc/{}/ns/{}", process.pid, kind.name());
        File::open(&path)
            .map(Self)
            .map_err(|source| PlayError::io(format!("open {path}"), source))
    }

    /// By which path another process finds it.
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

/// Lets a workload end by itself, and waits for that.
pub(super) async fn leave(pod: &ReferencePod<'_>, workload: &Started) -> Result<(), PlayError> {
    // It ends instead of answering.
    workload.container.ask(Request::Exit { code: 0 }).await.ok();
    pod.ended(workload.process).await
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::{reference, rules};

    #[test]
    fn scenarios_and_faults_have_names_of_their_own_and_know_their_rules() {
        let mut names = HashSet::new();
        for script in reference::scenarios::all().chain(super::all()) {
            let scenario = &script.scenario;
            assert!(
                names.insert(scenario.name),
                "{} is there twice",
                scenario.name
            );
            for rule in scenario.finds.iter().chain(scenario.proves) {
                assert!(
                    rules::find(rule).is_some(),
                    "{} is about {rule}, which is no rule",
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
