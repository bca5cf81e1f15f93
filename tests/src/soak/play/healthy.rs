//! The lives of healthy pods of containerd.

use nix::libc;

use super::{GRACE, Play};
use crate::{
    lab::{Container, Pod},
    soak::plan::{ContainerPlan, Life, PodPlan},
    soak::plants::Signs,
};

/// A shell that has a child and ends on SIGTERM.
pub(super) const SHELL: &str = "trap 'exit 0' TERM; sleep 1000 & while :; do wait; done";

impl Play<'_> {
    /// Makes and removes a pod with nothing wrong in it.
    pub(super) fn healthy(&self, plan: &PodPlan) {
        let pod = self.sandbox(plan, &plan.name, Signs::default());
        let mut living: Vec<(&ContainerPlan, String, Container<'_>)> = Vec::new();
        for (index, container) in plan.containers.iter().enumerate() {
            let name = format!("app-{index}");
            // All runs but the last come to an end before the next container starts.
            for attempt in 0..container.restarts {
                let run = self.start(&pod, container, &name, attempt);
                self.finish(container, run);
            }
            let last = self.start(&pod, container, &name, container.restarts);
            match container.life {
                Life::Ends(_) | Life::Crashes => self.finish(container, last),
                _ => {
                    self.use_container(container, &last);
                    living.push((container, name, last));
                }
            }
        }
        self.monitor.pause(plan.linger);
        for (container, _, last) in living.into_iter().rev() {
            if container.pre_stop {
                self.session(&last, &session(container.life));
            }
            self.finish(container, last);
        }
        self.remove(pod);
    }

    /// Starts a container, and waits until it handles its stop signal.
    fn start<'pod>(
        &self,
        pod: &'pod Pod<'pod>,
        plan: &ContainerPlan,
        name: &str,
        attempt: u32,
    ) -> Container<'pod> {
        let spec = pod.container(name).attempt(attempt);
        let container = self.ask(|_| match plan.life {
            Life::Serves => spec.workload(["serve"]).start().settled_in(libc::SYS_ppoll),
            Life::Wraps => {
                let shell = spec.workload(["shell", "/workload", "serve"]).start();
                shell.settled_in(libc::SYS_rt_sigtimedwait)
            }
            Life::Shell => {
                let shell = spec.command(["sh", "-c", SHELL]).start();
                shell.settled_in(libc::SYS_rt_sigsuspend)
            }
            Life::Ends(code) => spec.workload(["exit", &code.to_string()]).start(),
            Life::Crashes => spec.workload(["crash"]).start(),
        });
        self.monitor.contains(pod.uid(), container.id());
        container
    }

    /// Runs the exec sessions of a container.
    fn use_container(&self, plan: &ContainerPlan, container: &Container<'_>) {
        if plan.orphans > 0 {
            self.session(
                container,
                &["/workload", "orphan", &plan.orphans.to_string()],
            );
        }
        for _ in 0..plan.execs {
            self.session(container, &session(plan.life));
        }
    }

    fn session(&self, container: &Container<'_>, command: &[&str]) {
        let output = self.ask(|_| container.exec(command.iter().copied()));
        assert_eq!(output.exit_code, 0, "{command:?}: {output:?}");
    }

    /// Waits for the end of a container that ends by itself, or stops it.
    fn finish(&self, plan: &ContainerPlan, container: Container<'_>) {
        self.ask(|_| {
            if !matches!(plan.life, Life::Ends(_) | Life::Crashes) {
                container.stop(GRACE);
            }
            container.await_end();
            container.remove();
        });
    }
}

/// The command of an exec session: the image of the shell has no workload.
fn session(life: Life) -> [&'static str; 2] {
    match life {
        Life::Shell => ["/bin/busybox", "true"],
        _ => ["/workload", "true"],
    }
}
