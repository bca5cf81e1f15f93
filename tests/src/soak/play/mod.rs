//! Plays a plan with real runtimes.

mod faults;
mod healthy;
mod podman;
mod runc;
mod troubles;

use std::{
    fs,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    files::Files,
    monitor::Monitor,
    oracle::Made,
    plan::{Disturbance, PodPlan, Runtime},
    plants::{Plant, Signs},
};
use crate::lab::{Container, Containerd, Engine, Pod, Version, image};

/// How many pods of containerd live at a time. Most of them wait.
const CONTAINERD_PODS: usize = 4;

/// The same for Podman, each of whose commands takes a third of a second of a processor.
const PODMAN_PODS: usize = 1;

/// A grace period longer than a container takes that handles its stop signal.
const GRACE: Duration = Duration::from_secs(30);

/// The grace period of a container that does not end on its stop signal.
const SHORT: Duration = Duration::from_secs(2);

/// A node with containerd and Podman.
pub(super) struct Runtimes {
    pub(super) containerd: Containerd,
    podman: Engine,
    /// Who calls containerd reads it, who kills containerd writes it.
    gate: RwLock<()>,
}

impl Runtimes {
    /// Starts them.
    ///
    /// # Panics
    /// When one does not start.
    pub(super) fn start() -> Self {
        let containerd = Containerd::start(Version::V1);
        let podman = Engine::podman_beside(&containerd);
        containerd.import(&image::workload());
        podman.import(&image::workload());
        containerd.make_runc_faulty(&runc::faults());
        Self {
            containerd,
            podman,
            gate: RwLock::new(()),
        }
    }

    /// What is left of the pods although all of them have been removed.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let pinned = self.containerd.node().path("/run/netns");
        let entries = fs::read_dir(pinned).into_iter().flatten().flatten();
        let mut left: Vec<_> = entries
            .map(|entry| format!("pinned network namespace {}", entry.path().display()))
            .collect();
        if let Ok(sandboxes) = self.containerd.call(self.containerd.client().sandboxes()) {
            let ids = sandboxes.into_iter().map(|sandbox| sandbox.id);
            left.extend(ids.map(|id| format!("sandbox {id}")));
        }
        left
    }
}

/// What the players share.
pub(super) struct Play<'run> {
    pub(super) runtimes: &'run Runtimes,
    pub(super) monitor: &'static Monitor,
    pub(super) files: &'run Files,
    pub(super) seed: u64,
    /// When no further pod is made, from the start of the watch on.
    pub(super) until: Duration,
}

impl Play<'_> {
    /// Makes pods and disturbs the watch until the time is over.
    pub(super) fn run(&self) {
        let next = [const { AtomicU64::new(0) }; 2];
        thread::scope(|scope| {
            let workers = [
                (Runtime::Containerd, CONTAINERD_PODS),
                (Runtime::Podman, PODMAN_PODS),
            ];
            for (runtime, count) in workers {
                for _ in 0..count {
                    let next = &next[runtime as usize];
                    scope.spawn(move || {
                        while self.goes_on() {
                            let index = next.fetch_add(1, Ordering::Relaxed);
                            self.pod(&PodPlan::new(self.seed, runtime, index));
                        }
                    });
                }
            }
            scope.spawn(|| {
                for index in 0.. {
                    let Disturbance { after, what } = Disturbance::new(self.seed, index);
                    let left = self.until.saturating_sub(self.monitor.now());
                    if after > left || !self.monitor.pause(after) {
                        break;
                    }
                    self.trouble(index, what);
                }
            });
        });
    }

    fn goes_on(&self) -> bool {
        self.monitor.now() < self.until && !self.monitor.is_interrupted()
    }

    fn pod(&self, plan: &PodPlan) {
        self.files.note(&format!("{plan}"));
        match (plan.runtime, plan.plant) {
            (Runtime::Containerd, None) => self.healthy(plan),
            (Runtime::Containerd, Some(plant)) => self.faulty(plan, plant),
            (Runtime::Podman, None) => self.healthy_podman(plan),
            (Runtime::Podman, Some(plant)) => self.faulty_podman(plan, plant),
        }
        self.files.note(&format!("{} is removed", plan.name));
    }

    /// Calls containerd, which nobody kills meanwhile. Calls are not nested.
    fn ask<'run, T>(&'run self, call: impl FnOnce(&'run Containerd) -> T) -> T {
        let _gate = self
            .runtimes
            .gate
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        call(&self.runtimes.containerd)
    }

    /// Runs the sandbox of a pod, with this expected of it.
    fn sandbox(&self, plan: &PodPlan, name: &str, signs: Signs) -> Pod<'_> {
        let at = self.monitor.now();
        let lab = &self.runtimes.containerd;
        let mut spec = lab.pod(name);
        if plan.shares_pids {
            spec = spec.shared_pid();
        }
        if plan.host_network {
            spec = spec.host_network();
        }
        let pod = match plan.plant.and_then(Plant::pause) {
            None => self.ask(|_| spec.run()),
            Some(kind) => {
                // Nobody else makes a pod meanwhile.
                let gate = &self.runtimes.gate;
                let _gate = gate.write().unwrap_or_else(PoisonError::into_inner);
                lab.use_pause(kind);
                let pod = spec.run();
                lab.use_pause("good");
                pod
            }
        };
        self.made(plan, name, pod.uid(), signs, at);
        self.monitor.contains(pod.uid(), pod.id());
        pod
    }

    fn made(&self, plan: &PodPlan, name: &str, uid: &str, signs: Signs, at: Duration) {
        self.files.note(&format!("{name} has the uid {uid}"));
        let is_victim = name != plan.name;
        let made = Made {
            plan: if is_victim {
                format!("{name}, the victim of {plan}")
            } else {
                plan.to_string()
            },
            plant: plan.plant.map(|plant| match is_victim {
                true => "entered-by-pod",
                false => plant.name(),
            }),
            signs,
            at,
        };
        self.monitor.made(uid, made);
    }

    /// Starts a container that serves.
    fn serve<'pod>(&self, pod: &'pod Pod<'pod>, name: &str) -> Container<'pod> {
        let container = self.ask(|_| pod.serve(name));
        self.monitor.contains(pod.uid(), container.id());
        container
    }

    /// Ends a container as a kubelet does.
    fn end(&self, container: Container<'_>) {
        self.ask(|_| container.end());
    }

    /// Removes a pod, all of whose containers have ended.
    fn remove(&self, pod: Pod<'_>) {
        let uid = pod.uid().to_owned();
        self.ask(|_| pod.remove());
        self.monitor.removed(&uid);
    }
}
