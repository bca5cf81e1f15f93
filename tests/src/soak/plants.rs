//! The faults that the soak plants, and what `watch` must say of each.

use super::plan::Runtime;

/// What `watch` says of a pod, as ids of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Each of these accuses the pod, or is inconclusive about it with a reason.
    pub must: &'static [&'static str],
    /// These may accuse it as well.
    pub may: &'static [&'static str],
    /// These may accuse it as well if a disturbance held the watch up: it then judges a process
    /// before it knows its pod.
    pub late: &'static [&'static str],
}

/// A fault that can be planted at will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Plant {
    /// The pause is killed, and its container runs on.
    PauseKilled,
    /// The pause is killed, and the pod gets another sandbox while a container of the first runs.
    SandboxReplaced,
    /// A container is in a network namespace of its own.
    OwnNetwork,
    /// A container is in an ipc namespace of its own.
    OwnIpc,
    /// A container is in a uts namespace of its own.
    OwnUts,
    /// A container of a pod that shares its pid namespace has one of its own.
    OwnPids,
    /// A container is in the node's pid namespace.
    NodesPids,
    /// The sandbox is in the node's ipc namespace.
    SandboxLeaks,
    /// A container enters the network of another pod.
    EntersPod,
    /// A container enters the ipc namespace of the node.
    EntersNode,
    /// A container cannot join the network of its pod.
    JoinFails,
    /// An exec session is in the node's ipc namespace.
    ProbedElsewhere,
    /// The pod has lost its address before its first container starts.
    StartsWithoutAddress,
    /// The pod loses its address while it runs.
    LosesAddress,
    /// The container starts before its sandbox.
    StartsTooEarly,
    /// The runtime says that it has started a container, and has not.
    NeverStarts,
    /// Exec sessions leave processes.
    SessionsLeaveProcesses,
    /// The shim of the pod is killed.
    ShimKilled,
    /// A container ignores its stop signal, and is killed after the grace period.
    IgnoresStop,
    /// The runtime sends SIGKILL instead of the stop signal.
    KilledAtOnce,
    /// The init of a container keeps its stop signal from its child.
    StopNotForwarded,
    /// A container gets its stop signal from two senders.
    StoppedTwice,
    /// The runtime stops the pause before the container.
    PauseStoppedFirst,
    /// Another process kills a container.
    KilledByStranger,
    /// The init of a container ends on its stop signal, and its worker is killed unasked.
    WorkersCutOff,
    /// The init of a container does not reap what an exec session left.
    SessionsLeaveZombies,
    /// The init of a container leaves more zombies than a pod may have.
    CollectsZombies,
    /// The pause does not reap the orphans of a pod that shares its pid namespace.
    PauseDoesNotReap,
    /// The pause listens on a port.
    PauseListens,
    /// The pause runs as root.
    PauseIsRoot,
}

impl Plant {
    /// Every plant.
    pub const ALL: [Self; 30] = [
        Self::PauseKilled,
        Self::SandboxReplaced,
        Self::OwnNetwork,
        Self::OwnIpc,
        Self::OwnUts,
        Self::OwnPids,
        Self::NodesPids,
        Self::SandboxLeaks,
        Self::EntersPod,
        Self::EntersNode,
        Self::JoinFails,
        Self::ProbedElsewhere,
        Self::StartsWithoutAddress,
        Self::LosesAddress,
        Self::StartsTooEarly,
        Self::NeverStarts,
        Self::SessionsLeaveProcesses,
        Self::ShimKilled,
        Self::IgnoresStop,
        Self::KilledAtOnce,
        Self::StopNotForwarded,
        Self::StoppedTwice,
        Self::PauseStoppedFirst,
        Self::KilledByStranger,
        Self::WorkersCutOff,
        Self::SessionsLeaveZombies,
        Self::CollectsZombies,
        Self::PauseDoesNotReap,
        Self::PauseListens,
        Self::PauseIsRoot,
    ];

    /// Its name, which is a part of the name of its pod. The faulty runc knows some pods by it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PauseKilled => "pause-killed",
            Self::SandboxReplaced => "sandbox-replaced",
            Self::OwnNetwork => "own-network",
            Self::OwnIpc => "own-ipc",
            Self::OwnUts => "own-uts",
            Self::OwnPids => "own-pids",
            Self::NodesPids => "nodes-pids",
            Self::SandboxLeaks => "sandbox-leaks",
            Self::EntersPod => "enters-pod",
            Self::EntersNode => "enters-node",
            Self::JoinFails => "join-fails",
            Self::ProbedElsewhere => "probed-elsewhere",
            Self::StartsWithoutAddress => "starts-without-address",
            Self::LosesAddress => "loses-address",
            Self::StartsTooEarly => "starts-too-early",
            Self::NeverStarts => "never-starts",
            Self::SessionsLeaveProcesses => "sessions-leave-processes",
            Self::ShimKilled => "shim-killed",
            Self::IgnoresStop => "ignores-stop",
            Self::KilledAtOnce => "killed-at-once",
            Self::StopNotForwarded => "stop-not-forwarded",
            Self::StoppedTwice => "stopped-twice",
            Self::PauseStoppedFirst => "pause-stopped-first",
            Self::KilledByStranger => "killed-by-stranger",
            Self::WorkersCutOff => "workers-cut-off",
            Self::SessionsLeaveZombies => "sessions-leave-zombies",
            Self::CollectsZombies => "collects-zombies",
            Self::PauseDoesNotReap => "pause-does-not-reap",
            Self::PauseListens => "pause-listens",
            Self::PauseIsRoot => "pause-is-root",
        }
    }

    /// What `watch` says of the pod. The tests in `tests/tests/watch` show each of them alone.
    #[must_use]
    pub fn signs(self) -> Signs {
        let must: &[&str] = match self {
            Self::PauseKilled => {
                return Signs {
                    must: &["PT202"],
                    late: &["PT310"],
                    ..Signs::default()
                };
            }
            Self::SandboxReplaced => {
                return Signs {
                    must: &["PT202", "PT203"],
                    late: &["PT310"],
                    ..Signs::default()
                };
            }
            Self::OwnNetwork => &["PT101"],
            Self::OwnIpc => &["PT102"],
            Self::OwnUts => &["PT103"],
            Self::OwnPids | Self::NodesPids => &["PT104"],
            Self::SandboxLeaks => &["PT105"],
            Self::EntersPod | Self::EntersNode => &["PT109"],
            Self::JoinFails => &["PT111", "PT212"],
            Self::ProbedElsewhere => &["PT112"],
            Self::StartsWithoutAddress => &["PT113"],
            Self::LosesAddress => &["PT114"],
            Self::StartsTooEarly => &["PT201"],
            Self::NeverStarts => &["PT207"],
            Self::SessionsLeaveProcesses => &["PT209"],
            Self::ShimKilled => &["PT210"],
            Self::IgnoresStop => &["PT301", "PT302"],
            Self::KilledAtOnce => &["PT303"],
            Self::StopNotForwarded => &["PT302", "PT304"],
            Self::StoppedTwice => &["PT305"],
            Self::PauseStoppedFirst => &["PT309"],
            Self::KilledByStranger => &["PT310"],
            Self::WorkersCutOff => &["PT311"],
            Self::SessionsLeaveZombies => &["PT404"],
            Self::CollectsZombies => &["PT401", "PT403"],
            Self::PauseDoesNotReap => &["PT402"],
            Self::PauseListens => &["PT501"],
            Self::PauseIsRoot => &["PT503"],
        };
        Signs {
            must,
            ..Signs::default()
        }
    }

    /// What `watch` says of the other pod of a plant that has one.
    #[must_use]
    pub fn signs_of_victim(self) -> Option<Signs> {
        (self == Self::EntersPod).then_some(Signs {
            must: &["PT110"],
            ..Signs::default()
        })
    }

    /// Whether it can be planted in a pod of this runtime.
    #[must_use]
    pub fn fits(self, runtime: Runtime) -> bool {
        let podman = matches!(
            self,
            Self::IgnoresStop
                | Self::WorkersCutOff
                | Self::SessionsLeaveZombies
                | Self::CollectsZombies
        );
        match runtime {
            Runtime::Podman => podman,
            // The stop of a worker that is cut off is known to be found on Docker and Podman.
            Runtime::Containerd => self != Self::WorkersCutOff,
        }
    }

    /// Whether it needs a pod that shares its pid namespace.
    #[must_use]
    pub fn shares_pids(self) -> bool {
        matches!(
            self,
            Self::OwnPids | Self::PauseDoesNotReap | Self::PauseListens
        )
    }

    /// The kind of pause that its pod has, if it is not the usual one.
    #[must_use]
    pub fn pause(self) -> Option<&'static str> {
        match self {
            Self::PauseDoesNotReap => Some("no-reap"),
            Self::PauseListens => Some("listen"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_plant_has_a_name_of_its_own_a_rule_and_a_runtime() {
        let names: BTreeSet<_> = Plant::ALL.iter().map(|plant| plant.name()).collect();
        assert_eq!(names.len(), Plant::ALL.len());
        for plant in Plant::ALL {
            assert!(!plant.signs().must.is_empty(), "{plant:?}");
            let runtimes = [Runtime::Containerd, Runtime::Podman];
            assert!(
                runtimes.iter().any(|runtime| plant.fits(*runtime)),
                "{plant:?}"
            );
        }
    }

    /// The truth page names the rules that a test finds on a real containerd, Docker or Podman.
    #[test]
    fn each_rule_of_a_plant_is_known_to_be_found_on_a_real_runtime() {
        let page = include_str!("../../../docs/truth.md");
        let is_found = |rule: &str| {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| {rule} ")));
            let planted = row
                .and_then(|row| row.split('|').nth(2))
                .unwrap_or_default();
            ["containerd", "Docker", "Podman"]
                .iter()
                .any(|runtime| planted.contains(runtime))
        };
        for plant in Plant::ALL {
            let victim = plant.signs_of_victim().unwrap_or_default();
            for rule in plant.signs().must.iter().chain(victim.must) {
                assert!(is_found(rule), "{plant:?}: {rule}");
            }
        }
    }
}
