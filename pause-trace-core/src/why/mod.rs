//! Why a pod is slow, stuck or dead: reasons, the most likely one first.
//!
//! A [`Case`] is what a node shows of one pod at one moment: what its runtime says, its processes,
//! its cgroups, its network, and the programs that work for it. [`explain`] compares it with the
//! known ways in which a pod fails to start, to serve or to stop. It has no clock and reads
//! nothing: times are given as spans that end now.

mod case;
mod cause;
mod grace;
mod group;
mod holders;
mod limits;
mod lives;
mod network;
mod processes;
mod removed;
mod runs;
mod start;
mod stop;
#[cfg(test)]
mod tests;

pub use case::{
    Case, Container, Ended, Held, Holder, Limits, Listener, Network, Process, Promise, Run,
    Sandbox, Step, StopSent, Work, WorkKind,
};
pub use cause::{Cause, Phase, Reason};
pub use lives::{End, KEPT_NAMESPACES, Life, Lives, RunOf, Sent};
pub use removed::{Removed, ended as how_it_ended};

use crate::event::ContainerKind;

/// What is wrong with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The phase of its life.
    pub phase: Phase,
    /// The most likely reason first.
    pub reasons: Vec<Reason>,
}

impl Explanation {
    /// Whether one of the reasons is a problem, and not only a notice.
    pub fn is_problem(&self) -> bool {
        self.reasons.iter().any(|reason| reason.cause.is_problem())
    }

    /// Whether it is not known if something is wrong.
    pub fn is_undecided(&self) -> bool {
        self.phase == Phase::Empty && !self.is_problem()
    }
}

/// Finds the reasons why a pod is not as it should be.
pub fn explain(case: &Case) -> Explanation {
    let mut reasons = Vec::new();
    start::reasons(case, &mut reasons);
    runs::reasons(case, &mut reasons);
    processes::reasons(case, &mut reasons);
    limits::reasons(case, &mut reasons);
    stop::reasons(case, &mut reasons);
    grace::reasons(case, &mut reasons);
    holders::reasons(case, &mut reasons);
    network::reasons(case, &mut reasons);
    for promise in &case.broken {
        group::add_promise(&mut reasons, promise);
    }
    let phase = phase(case);
    if phase == Phase::Stopping {
        stop::running(case, &mut reasons);
    }
    Explanation {
        reasons: group::ranked(phase, reasons),
        phase,
    }
}

fn phase(case: &Case) -> Phase {
    let mut members = case.containers.iter().filter(|one| !one.is_sandbox());
    let has_start = case.work.iter().any(|work| work.kind.is_start());
    if has_start && !members.clone().any(Container::is_running) {
        return Phase::Starting;
    }
    if stop::is_stopping(case) {
        return Phase::Stopping;
    }
    if members.clone().any(Container::is_restarting) {
        return Phase::Restarting;
    }
    if members.clone().any(Container::is_running) {
        return Phase::Running;
    }
    let is_waiting = |container: &Container| matches!(container.run, Run::Created { .. });
    if case.containers.iter().any(Container::is_running) || members.clone().any(is_waiting) {
        // Only the sandbox runs.
        if start::is_unexplained(case) {
            return Phase::Empty;
        }
        return match members.clone().any(|one| matches!(one.run, Run::Ended(_))) {
            true => Phase::Ended,
            false => Phase::Starting,
        };
    }
    let has_failed = |container: &Container| match &container.run {
        Run::Ended(ended) => ended.code != 0,
        _ => false,
    };
    match members.clone().next().is_some() && !members.any(has_failed) {
        true => Phase::Completed,
        false => Phase::Ended,
    }
}

impl Case {
    /// Whether nothing of the pod runs or is being started any more.
    pub fn is_over(&self) -> bool {
        self.alive().next().is_none() && !self.work.iter().any(|work| work.kind.is_start())
    }

    /// The containers whose processes run, the sandbox too.
    fn alive(&self) -> impl Iterator<Item = &Container> {
        let containers = self.containers.iter();
        containers.filter(|one| one.processes.iter().any(|process| !process.is_zombie()))
    }
}

impl Container {
    fn is_sandbox(&self) -> bool {
        self.kind == ContainerKind::Sandbox
    }

    fn is_running(&self) -> bool {
        matches!(self.run, Run::Running { .. })
    }
}
