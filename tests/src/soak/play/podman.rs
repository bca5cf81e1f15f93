//! The lives of pods of Podman.

use std::time::Duration;

use nix::libc;

use super::{GRACE, Play, SHORT, healthy::SHELL};
use crate::{
    lab::{EngineContainer, EnginePod, Sharing},
    soak::{
        plan::{ContainerPlan, Life, PodPlan},
        plants::{Plant, Signs},
    },
};

impl Play<'_> {
    /// Makes and removes a pod of Podman with nothing wrong in it.
    pub(super) fn healthy_podman(&self, plan: &PodPlan) {
        let pod = self.podman(plan, Signs::default());
        let containers: Vec<_> = plan
            .containers
            .iter()
            .map(|container| (container, self.start_podman(&pod, container)))
            .collect();
        for (plan, container) in &containers {
            self.use_podman(plan, container);
        }
        self.monitor.pause(plan.linger);
        for (_, container) in containers {
            container.stop(GRACE);
            container.remove();
        }
        self.remove_podman(pod);
    }

    fn podman(&self, plan: &PodPlan, signs: Signs) -> EnginePod<'_> {
        let at = self.monitor.now();
        let sharing = match (plan.shares_pids, plan.host_network) {
            (true, _) => Sharing::Pid,
            (false, true) => Sharing::HostNetwork,
            (false, false) => Sharing::Plain,
        };
        let pod = self.runtimes.podman.pod(sharing);
        // The id of the infra container is the uid of the pod.
        self.made(plan, &plan.name, pod.pause.id(), signs, at);
        pod
    }

    fn start_podman<'a>(&self, pod: &EnginePod<'a>, plan: &ContainerPlan) -> EngineContainer<'a> {
        let container = match plan.life {
            Life::Serves | Life::Crashes => pod.workload(&["serve"]).settled_in(libc::SYS_ppoll),
            Life::Wraps => {
                let shell = pod.workload(&["shell", "/workload", "serve"]);
                shell.settled_in(libc::SYS_rt_sigtimedwait)
            }
            Life::Shell => {
                let shell = pod.container(&["sh", "-c", SHELL]);
                shell.settled_in(libc::SYS_rt_sigsuspend)
            }
            Life::Ends(code) => pod.workload(&["exit", &code.to_string()]),
        };
        self.monitor.contains(pod.pause.id(), container.id());
        container
    }

    fn use_podman(&self, plan: &ContainerPlan, container: &EngineContainer<'_>) {
        let run = |command: &[&str]| {
            let output = container.exec(command);
            assert!(output.status.success(), "{command:?}: {output:?}");
        };
        if plan.orphans > 0 {
            run(&["/workload", "orphan", &plan.orphans.to_string()]);
        }
        for _ in 0..plan.execs {
            match plan.life {
                Life::Shell => run(&["/bin/busybox", "true"]),
                _ => run(&["/workload", "true"]),
            }
        }
        if plan.restarts > 0 && plan.life == Life::Serves {
            let engine = container.engine();
            engine.command(&["restart", "--time", "30", container.id()]);
            let again = engine.container(container.id());
            let _ = again.settled_in(libc::SYS_ppoll);
        }
        if plan.pre_stop {
            run(match plan.life {
                Life::Shell => &["/bin/busybox", "true"],
                _ => &["/workload", "true"],
            });
        }
    }

    /// Makes and removes a pod of Podman with a fault.
    pub(super) fn faulty_podman(&self, plan: &PodPlan, plant: Plant) {
        let signs = plant.signs();
        let pod = self.podman(plan, signs);
        let behaviour: &[&str] = match plant {
            Plant::IgnoresStop => &["ignore-term"],
            Plant::WorkersCutOff => &["abandon", "/workload", "serve"],
            Plant::SessionsLeaveZombies => &["no-reap"],
            Plant::CollectsZombies => &["no-reap", "70"],
            other => unreachable!("{other:?} does not fit Podman"),
        };
        let container = pod.workload(behaviour);
        self.monitor.contains(pod.pause.id(), container.id());
        let call = match plant {
            Plant::WorkersCutOff => libc::SYS_wait4,
            _ => libc::SYS_ppoll,
        };
        let container = container.settled_in(call);
        let grace: Duration = match plant {
            Plant::IgnoresStop => SHORT,
            Plant::WorkersCutOff => {
                container.child_settles_in(libc::SYS_ppoll);
                GRACE
            }
            _ => {
                if plant == Plant::SessionsLeaveZombies {
                    let left = container.exec(&["/workload", "orphan", "3"]);
                    assert!(left.status.success(), "{left:?}");
                }
                self.monitor.await_rules(pod.pause.id(), signs.must);
                GRACE
            }
        };
        container.stop(grace);
        container.remove();
        self.remove_podman(pod);
    }

    fn remove_podman(&self, pod: EnginePod<'_>) {
        let uid = pod.pause.id().to_owned();
        pod.pause.stop(GRACE);
        pod.remove();
        self.monitor.removed(&uid);
    }
}
